"""The emulated gateway as a state machine: fields in, answers out, no I/O, and a given clock.

Whatever changes the account, the RequestIds and the messages is decided in this file, and no call
waits for anything: what is checked is stored in the same breath, so that of two equal requests
exactly one is accepted.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from esms_async.emulator import wire
from esms_async.emulator.dedup import RequestIds, Use
from esms_async.emulator.delivery import Progress, plan_delivery, progress
from esms_async.emulator.faults import MAGIC_PHONES
from esms_async.emulator.records import AcceptedMessage, Operation, Twist
from esms_async.emulator.settings import AccountState, Check, Settings
from esms_async.emulator.wire import Answer, Fields
from esms_async.errors import InvalidMessage
from esms_async.messages import VIETNAM_TIME, Credentials, check_callback_url
from esms_async.phone import normalize_phone

# "Send fixed number with cheap price": fields RequestId and campaignid.
_LONGEST_REQUEST_ID = 50
_LONGEST_CAMPAIGN_ID = 254
# "Get the message status", field PageSize.
_LARGEST_PAGE = 500
# "Get SMS by SMSID": of the last 7 days only.
_STATUS_WINDOW = 7 * 24 * 3600.0

# The first year that dates are taken of: years before it are dates that were forgotten.
_FIRST_YEAR = 1000

_STATE_CODES = {
    AccountState.ACTIVE: None,
    AccountState.LOCKED: "143",
    AccountState.IP_NOT_LISTED: "140",
    AccountState.NO_PRICE_LIST: "102",
}


@attrs.define(repr=False)
class _Send:
    """A send while it is checked."""

    fields: Fields
    request_id: str
    sandbox: bool
    phone: str = ""
    send_at: datetime | None = None


class Gateway:
    """One account of the gateway.

    Args:
        settings: How it behaves.
        time: The clock, seconds since 1970.
        balance: What is on the account, in dong.
        credentials: Its keys; None takes any that are not empty.
        seed: What the SMSIDs are made from.
    """

    def __init__(
        self,
        settings: Settings,
        time: Callable[[], float],
        *,
        balance: int,
        credentials: Credentials | None = None,
        seed: int = 0,
    ) -> None:
        self.balance: int = balance
        self.state = AccountState.ACTIVE
        self._settings = settings
        self._time = time
        self._credentials = credentials
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311  # SMSIDs to repeat, no secrets
        checks: dict[Check, Callable[[_Send], Answer | None]] = {
            Check.KEYS: self._check_keys,
            Check.ACCOUNT: self._check_account,
            Check.TYPE: self._check_type,
            Check.PHONE: self._check_phone,
            Check.CONTENT: self._check_content,
            Check.REQUEST_ID: self._check_request_id,
            Check.BALANCE: self._check_balance,
        }
        self._checks = [checks[check] for check in settings.checks]
        self._messages: dict[str, AcceptedMessage] = {}
        self._count = 0
        self._pruned = 0
        self._request_ids = RequestIds(settings.dedup_window, settings.max_messages)
        self._second = 0
        self._sends_this_second = 0

    @property
    def messages(self) -> list[AcceptedMessage]:
        """The accepted messages that are kept, oldest first."""
        return list(self._messages.values())

    @property
    def count(self) -> int:
        """The number of the newest accepted message."""
        return self._count

    @property
    def pruned(self) -> int:
        """How many accepted messages had to make room for newer ones."""
        return self._pruned

    def find(self, sms_id: str) -> AcceptedMessage | None:
        """Return the message that is kept by an SMSID, or None."""
        return self._messages.get(sms_id)

    def accepted(self, request_id: str) -> int:
        """Return how many sends with a RequestId were accepted."""
        return self._request_ids.accepted(request_id)

    def new_sms_id(self) -> str:
        """Mint an SMSID."""
        return f"{self._random.getrandbits(128):032x}"

    def send(self, fields: Fields) -> Answer:
        """Take a send: check it, and accept it or not.

        Args:
            fields: The fields of the request.

        Returns:
            The answer; its `message` is the message that was accepted.
        """
        if self._too_fast():
            return wire.too_many()
        send = _Send(fields, fields.get("requestid", ""), fields.get("sandbox") == "1")
        for check in self._checks:
            if (refusal := check(send)) is not None:
                self._note_refusal(send, refusal)
                if refusal.code is None:
                    return refusal
                return attrs.evolve(refusal, status=self._settings.rejection_status)
        if send.sandbox:
            if self._settings.sandbox_remembers_request_ids:
                self._request_ids.use(send.request_id, self._time(), None)
            return wire.checked(self.new_sms_id())
        message = self._store(send)
        self._request_ids.use(send.request_id, self._time(), message.sms_id)
        return wire.accepted(message)

    def twist(
        self, message: AcceptedMessage, twist: Twist | None, status_lag: float | None
    ) -> AcceptedMessage:
        """Make the delivery of a message unusual.

        Args:
            message: A message that was just accepted.
            twist: How, or None.
            status_lag: How long the status calls are not to know it, or None for as set.

        Returns:
            The message as it is now.
        """
        delivery = plan_delivery(
            self._settings, message.at.timestamp(), message.send_at, twist, status_lag
        )
        return self._replace(attrs.evolve(message, delivery=delivery))

    def finish(self, sms_id: str, *, delivered: bool) -> AcceptedMessage | None:
        """Let a message reach its phone, or fail to, now.

        Args:
            sms_id: Its SMSID.
            delivered: True where the phone gets it.

        Returns:
            The message as it is now, or None where none is kept by that SMSID.
        """
        message = self._messages.get(sms_id)
        if message is None:
            return None
        now = self._time()
        delivery = attrs.evolve(
            message.delivery,
            started_at=min(message.delivery.started_at, now),
            finished_at=now,
            delivered=delivered,
        )
        return self._replace(attrs.evolve(message, delivery=delivery))

    def get_balance(self, fields: Fields) -> Answer:
        """Answer GetBalance_json."""
        return self._refuse_query(Operation.BALANCE, fields) or wire.balance(self.balance)

    def get_send_status(self, fields: Fields) -> Answer:
        """Answer GetSendStatus."""
        return self._get_status(Operation.STATUS, fields, wire.send_status)

    def get_receiver_status(self, fields: Fields) -> Answer:
        """Answer GetSmsReceiverStatus_get."""
        return self._get_status(Operation.RECEIVER_STATUS, fields, wire.receiver_status)

    def get_sent_data(self, fields: Fields) -> Answer:
        """Answer GetSmsSentData_V2."""
        refusal = self._refuse_query(Operation.SENT_DATA, fields)
        if refusal is not None:
            return refusal
        try:
            begin = _read_time(fields.get("from", ""))
            end = _read_time(fields.get("to", ""))
            page = int(fields.get("page", "1"))
            size = min(int(fields.get("pagesize", _LARGEST_PAGE)), _LARGEST_PAGE)
        except ValueError:
            return self._invalid()
        if page < 1 or size < 1:
            return self._invalid()
        found = [message for message in self._messages.values() if begin <= message.at <= end]
        if fields.get("smstype") not in (None, "", wire.FIXED_NUMBER):
            found = []
        now = self._time()
        rows = found[(page - 1) * size : page * size]
        return wire.sent_data(len(found), [(message, progress(message, now)) for message in rows])

    def _get_status(
        self,
        operation: Operation,
        fields: Fields,
        write: Callable[[AcceptedMessage, Progress], Answer],
    ) -> Answer:
        refusal = self._refuse_query(operation, fields)
        if refusal is not None:
            return refusal
        sms_id, now = fields.get("refid", ""), self._time()
        message = self._messages.get(sms_id)
        if (
            message is None
            or now < message.delivery.visible_at
            or now > message.at.timestamp() + _STATUS_WINDOW
        ):
            return wire.coded(operation, "105", sms_id)
        return write(message, progress(message, now))

    def _refuse_query(self, operation: Operation, fields: Fields) -> Answer | None:
        # assumed: what stops sends for the whole account stops the other calls too, but for the
        # price list, which is a matter of sends.
        code = "101" if not self._opens(fields) else _STATE_CODES[self.state]
        if code in (None, "102"):
            return None
        return wire.coded(operation, code, fields.get("refid", ""))

    def _replace(self, message: AcceptedMessage) -> AcceptedMessage:
        self._messages[message.sms_id] = message
        return message

    def clear_messages(self) -> None:
        """Forget all messages, but no RequestId; the numbers of the messages go on."""
        self._messages.clear()
        self._pruned = 0

    def reset(self) -> None:
        """Forget all messages and RequestIds; the numbers of the messages go on."""
        self.clear_messages()
        self._request_ids.clear()
        self._random.seed(self._seed)

    def _store(self, send: _Send) -> AcceptedMessage:
        settings, fields, now = self._settings, send.fields, self._time()
        self._count += 1
        self.balance -= settings.price
        message = AcceptedMessage(
            number=self._count,
            at=datetime.fromtimestamp(now, UTC),
            phone=send.phone,
            content=fields["content"],
            request_id=send.request_id or None,
            sms_id=self.new_sms_id(),
            unicode=fields.get("isunicode", fields.get("unicode")) == "1",
            campaign_id=fields.get("campaignid") or None,
            callback_url=fields.get("callbackurl") or None,
            send_at=send.send_at,
            price=settings.price,
            delivery=plan_delivery(settings, now, send.send_at),
        )
        self._messages[message.sms_id] = message
        if len(self._messages) > settings.max_messages:
            del self._messages[next(iter(self._messages))]
            self._pruned += 1
        return message

    def _note_refusal(self, send: _Send, refusal: Answer) -> None:
        # assumed: wrong keys can't use up a RequestId of an account that they do not open.
        if not self._settings.rejection_uses_request_id or refusal.code in (None, "101"):
            return
        now = self._time()
        if self._request_ids.blocking(send.request_id, now) is None:
            self._request_ids.use(send.request_id, now, None)

    def _too_fast(self) -> bool:
        limit = self._settings.sends_per_second
        if limit is None:
            return False
        second = int(self._time())
        if second != self._second:
            self._second, self._sends_this_second = second, 0
        self._sends_this_second += 1
        return self._sends_this_second > limit

    def _reject(self, code: str) -> Answer:
        return wire.rejected(code, self.new_sms_id())

    def _invalid(self) -> Answer:
        return wire.invalid(self._settings.invalid_status)

    def _check_keys(self, send: _Send) -> Answer | None:
        return None if self._opens(send.fields) else self._reject("101")

    def _opens(self, fields: Fields) -> bool:
        api_key, secret_key = fields.get("apikey"), fields.get("secretkey")
        if self._credentials is None:
            return bool(api_key and secret_key)
        return (api_key, secret_key) == (self._credentials.api_key, self._credentials.secret_key)

    def _check_account(self, _: _Send) -> Answer | None:
        code = _STATE_CODES[self.state]
        return None if code is None else self._reject(code)

    def _check_type(self, send: _Send) -> Answer | None:
        written = send.fields.get("smstype")
        if not written:
            return self._reject("300")
        return None if written == wire.FIXED_NUMBER else self._reject("118")

    def _check_phone(self, send: _Send) -> Answer | None:
        written = send.fields.get("phone", "")
        if "," in written or ";" in written:
            return self._reject("163")
        try:
            send.phone = normalize_phone(written)
        except ValueError:
            return self._reject("108")
        code = MAGIC_PHONES.get(send.phone)
        return None if code is None else self._reject(code)

    def _check_content(self, send: _Send) -> Answer | None:
        content = send.fields.get("content", "")
        if self._settings.blocked_words:
            folded = content.casefold()
            if any(word.casefold() in folded for word in self._settings.blocked_words):
                return self._reject("201")
        # assumed: what no code speaks of is not a valid request.
        if not content.strip() or not _reads(send):
            return self._invalid()
        return None

    def _check_request_id(self, send: _Send) -> Answer | None:
        if not (send.request_id and self._settings.refuses_duplicates) or (
            send.sandbox and not self._settings.sandbox_remembers_request_ids
        ):
            return None
        use = self._request_ids.blocking(send.request_id, self._time())
        return None if use is None else wire.rejected("124", "", self._told_status(use))

    def _told_status(self, use: Use) -> int | None:
        if not self._settings.duplicate_tells_status or use.sms_id is None:
            return None
        message = self._messages.get(use.sms_id)
        return None if message is None else progress(message, self._time()).send_status

    def _check_balance(self, send: _Send) -> Answer | None:
        if send.sandbox and not self._settings.sandbox_needs_balance:
            return None
        return None if self.balance >= self._settings.price else self._reject("103")


def _reads(send: _Send) -> bool:
    """Read the optional fields; False where one of them can't be."""
    fields = send.fields
    if len(send.request_id) > _LONGEST_REQUEST_ID:
        return False
    if len(fields.get("campaignid", "")) > _LONGEST_CAMPAIGN_ID:
        return False
    try:
        if url := fields.get("callbackurl"):
            check_callback_url(url)
        if written := fields.get("senddate"):
            send.send_at = _read_time(written)
    except (InvalidMessage, ValueError):
        return False
    return True


def _read_time(written: str) -> datetime:
    at = datetime.strptime(written, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # the zone is next
    if at.year < _FIRST_YEAR:
        raise ValueError("a date that was forgotten, which in .NET is the year 1")
    return at.replace(tzinfo=VIETNAM_TIME)
