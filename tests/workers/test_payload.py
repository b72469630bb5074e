"""The form in which a message is queued, sealed or not."""

import builtins
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from esms_async import Brandname, ConfigurationError, FixedNumber, InvalidMessage, Message
from esms_async.workers.payload import Queued, Seal, UnreadablePayload, dump, load

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))
OPEN = Seal()


def full_message() -> Message:
    """Make a message with every field given."""
    return Message(
        "0901888484",
        "686868 là mã xác minh",
        request_id="login:1",
        campaign_id="spring",
        callback_url="https://example.com/report",
        send_at=NOW,
        expires_at=NOW + timedelta(minutes=5),
    )


@pytest.mark.parametrize("seal", [OPEN, Seal([KEY])], ids=["open", "sealed"])
@pytest.mark.parametrize("message", [full_message(), Message("0901888484", "686868")])
def test_a_message_comes_back_as_it_went_in(message: Message, seal: Seal) -> None:
    """Every field survives, in the clear and sealed."""
    queued = Queued(message, NOW, "campaign", 3)
    assert load(dump(queued, seal), seal) == queued


@pytest.mark.parametrize(
    "message",
    [
        Message("0901888484", "x", route=Brandname("Baotrixemay")),
        Message("0901888484", params={"otp": "1"}),
    ],
)
def test_other_routes_are_refused(message: Message) -> None:
    """A worker would send it by the fixed number."""
    with pytest.raises(InvalidMessage, match="route"):
        dump(Queued(message, NOW), OPEN)
    plain = Message("0901888484", "x", route=FixedNumber(), request_id="a")
    assert load(dump(Queued(plain, NOW), OPEN), OPEN).message.content == "x"


@given(st.text(min_size=1).filter(lambda text: text.isprintable() and not text.isspace()))
def test_any_text_survives(content: str) -> None:
    """Whatever a message may say comes back."""
    message = Message("0901888484", content[:100])
    assert load(dump(Queued(message, NOW), OPEN), OPEN).message == message


def test_sealed_it_shows_neither_phone_nor_content() -> None:
    """A broker that has a sealed message on its disk can read its RequestId alone."""
    text = dump(Queued(full_message(), NOW), Seal([KEY]))
    assert "login:1" in text
    assert not any(part in text for part in ("0901888484", "686868", "spring", "example.com"))


def test_keys_can_be_changed_while_messages_wait() -> None:
    """What an old key sealed is opened as long as that key is among the keys."""
    text = dump(Queued(full_message(), NOW), Seal.from_text(KEY))
    assert load(text, Seal.from_text(f"{OTHER_KEY}, {KEY}")).message == full_message()
    with pytest.raises(UnreadablePayload, match="no key in ESMS_QUEUE_KEY") as caught:
        load(text, Seal([OTHER_KEY]))
    assert caught.value.request_id == "login:1"


def test_without_keys_what_is_sealed_stays_closed() -> None:
    """A worker that was given no key says so."""
    with pytest.raises(UnreadablePayload, match="give the worker ESMS_QUEUE_KEY"):
        load(dump(Queued(full_message(), NOW), Seal([KEY])), OPEN)


def test_a_sealed_message_is_not_taken_for_another() -> None:
    """Who can write to the broker can't put a sealed message under another RequestId."""
    fields = json.loads(dump(Queued(full_message(), NOW), Seal([KEY])))
    fields["request_id"] = "login:2"
    with pytest.raises(UnreadablePayload, match="sealed for another"):
        load(json.dumps(fields), Seal([KEY]))


def changed(**fields: object) -> str:
    """Return a queued message with other fields."""
    return json.dumps({**json.loads(dump(Queued(full_message(), NOW, "b", 1), OPEN)), **fields})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        (changed(version=2), "a later release"),
        (changed(message=None), "holds no message"),
        (changed(message="{}"), "another request id"),
        (changed(enqueued_at="yesterday"), "a field is missing or of another kind"),
        (changed(enqueued_at="2026-03-01T08:00:00"), "a field is missing or of another kind"),
        (changed(message='{"request_id": "login:1"}'), "a field is missing or of another kind"),
        (
            changed(
                message='{"request_id": "login:1", "phone": "1", "content": "x", "unicode": false}'
            ),
            "phone",
        ),
    ],
)
def test_what_is_no_message_is_refused(text: str, problem: str) -> None:
    """Each thing that can be wrong is named, and what was said of the batch is kept."""
    with pytest.raises(UnreadablePayload, match=problem) as caught:
        load(text, OPEN)
    if text[:2] != "{" and text != "[]":
        assert (caught.value.request_id, caught.value.batch) == ("login:1", "b")


def test_what_stands_around_a_message_may_be_missing() -> None:
    """An unreadable message without RequestId, batch or run is refused all the same."""
    with pytest.raises(UnreadablePayload) as caught:
        load('{"version": 0}', OPEN)
    assert (caught.value.request_id, caught.value.batch, caught.value.run) == (None, None, None)


def test_what_is_no_key_is_refused_and_not_shown() -> None:
    """A key that is none is named by its variable."""
    with pytest.raises(ConfigurationError, match="ESMS_QUEUE_KEY must be Fernet keys") as caught:
        Seal.from_text("hush-hush")
    assert "hush" not in str(caught.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keys are given and cryptography is not there, the error says what to install."""
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match="pip install"):
        Seal([KEY])
