"""A message on its way through a queue: its JSON form, which can be sealed, and back."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self, cast

import attrs

from esms_async._model.errors import ConfigurationError, EsmsError, InvalidMessage
from esms_async._model.messages import Message
from esms_async._model.routes import FIXED_NUMBER

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

VERSION: Final = 1
"""The form written here. A worker reads it and every earlier one; upgrade workers first."""

_TIMES: Final = ("send_at", "expires_at")
_OPTIONS: Final = ("campaign_id", "callback_url", *_TIMES)


class UnreadablePayload(EsmsError, ValueError):
    """What came out of the queue is no message that can be sent; nothing of it was sent.

    Attributes:
        problem: What is wrong, without its content.
        request_id: The RequestId, or None where not even that could be read.
        batch: The batch, or None.
        run: The run of the batch, or None.
    """

    def __init__(
        self,
        problem: str,
        request_id: str | None = None,
        batch: str | None = None,
        run: int | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.request_id = request_id
        self.batch = batch
        self.run = run


class Seal:
    """Encrypts what a broker must not be able to read, with keys that it does not have.

    Args:
        keys: Fernet keys. The first encrypts; all of them decrypt, so that a key can be changed
            while messages wait. None at all leaves messages as they are.

    Raises:
        ConfigurationError: One is no Fernet key, or the library is missing.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._fernet = _fernet(keys) if keys else None

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Make one of keys that are separated by commas."""
        return cls([key.strip() for key in text.split(",") if key.strip()])

    def close(self, text: str) -> dict[str, str]:
        """Return a text as a field to write: sealed, or as it is."""
        if self._fernet is None:
            return {"message": text}
        return {"sealed": self._fernet.encrypt(text.encode()).decode()}

    def open(self, fields: Mapping[str, object]) -> str:
        """Return the text of a field that was written.

        Args:
            fields: The fields.

        Returns:
            The text.

        Raises:
            UnreadablePayload: There is none, or no key of this worker opens it.
        """
        text, sealed = fields.get("message"), fields.get("sealed")
        if isinstance(text, str):
            return text
        if not isinstance(sealed, str):
            raise UnreadablePayload("it holds no message")
        if self._fernet is None:
            raise UnreadablePayload("it is sealed; give the worker ESMS_QUEUE_KEY")
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  # it is there by now

        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise UnreadablePayload("no key in ESMS_QUEUE_KEY opens it") from None


def _fernet(keys: Sequence[str]) -> "MultiFernet":
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            "ESMS_QUEUE_KEY needs cryptography; install it with: pip install 'esms_async[taskiq]'"
        ) from None
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise ConfigurationError(
            "ESMS_QUEUE_KEY must be Fernet keys, separated by commas; make one with: "
            'python -c "from cryptography.fernet import Fernet; '
            'print(Fernet.generate_key().decode())"'
        ) from None


@attrs.frozen
class Queued:
    """A message as it is queued.

    Attributes:
        message: The message.
        enqueued_at: When it was put in, UTC.
        batch: Where its outcome is told, or None where it is not.
        run: Which run of the batch put it in, where a later one makes it void; else None.
    """

    message: Message
    enqueued_at: datetime
    batch: str | None = None
    run: int | None = None


def dump(queued: Queued, seal: Seal) -> str:
    """Write a message down.

    Args:
        queued: The message.
        seal: What encrypts its phone, its content and its options.

    Returns:
        JSON. The RequestId is in clear.

    Raises:
        InvalidMessage: The message has another route than the fixed number.
    """
    message = queued.message
    if message.route not in (None, FIXED_NUMBER) or message.params is not None:
        raise InvalidMessage(
            "route", "can't go through a queue of workers, which send by the fixed number alone"
        )
    fields: dict[str, object] = {
        "request_id": message.request_id,
        "phone": message.phone,
        "content": message.content,
        "unicode": message.unicode,
    }
    for name in _OPTIONS:
        value = getattr(message, name)
        if value is not None:
            fields[name] = value.isoformat() if isinstance(value, datetime) else value
    return json.dumps(
        {
            "version": VERSION,
            "request_id": message.request_id,
            "enqueued_at": queued.enqueued_at.isoformat(),
            "batch": queued.batch,
            "run": queued.run,
            **seal.close(json.dumps(fields, ensure_ascii=False)),
        }
    )


def load(text: str, seal: Seal) -> Queued:
    """Read a message that was written down, and check all of it.

    Args:
        text: The JSON.
        seal: What decrypts it.

    Returns:
        The message.

    Raises:
        UnreadablePayload: It can't be read. What could be is in the error.
    """
    outer = _object(text)
    request_id, batch, run = outer.get("request_id"), outer.get("batch"), outer.get("run")
    known = (
        request_id if isinstance(request_id, str) else None,
        batch if isinstance(batch, str) else None,
        run if isinstance(run, int) else None,
    )
    if outer.get("version") != VERSION:
        raise UnreadablePayload("a later release of esms_async wrote it; upgrade workers", *known)
    try:
        message = _message(_object(seal.open(outer)), request_id)
        return Queued(message, _aware(outer["enqueued_at"]), *known[1:])
    except InvalidMessage as error:
        raise UnreadablePayload(str(error), *known) from None
    except UnreadablePayload as error:
        raise UnreadablePayload(error.problem, *known) from None
    except (KeyError, TypeError, ValueError):
        raise UnreadablePayload("a field is missing or of another kind", *known) from None


def _object(text: str) -> dict[str, object]:
    try:
        value: object = json.loads(text)
    except ValueError:
        raise UnreadablePayload("it is no JSON") from None
    if not isinstance(value, dict):
        raise UnreadablePayload("it is no JSON object")
    return cast("dict[str, object]", value)


def _message(fields: Mapping[str, object], request_id: object) -> Message:
    if fields.get("request_id") != request_id:
        raise UnreadablePayload("it was sealed for another request id")
    options = {name: fields.get(name) for name in _OPTIONS}
    options.update({name: _aware(fields[name]) for name in _TIMES if name in fields})
    return Message(
        cast("str", fields["phone"]),
        cast("str", fields["content"]),
        request_id=cast("str", fields["request_id"]),
        unicode=cast("bool", fields["unicode"]),
        **options,  # type: ignore[arg-type]  # Message checks every one
    )


def _aware(value: object) -> datetime:
    moment = datetime.fromisoformat(cast("str", value))
    if moment.utcoffset() is None:
        raise ValueError("a naive datetime")
    return moment
