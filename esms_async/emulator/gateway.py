"""The emulated gateway as a state machine: fields in, answers out, no I/O, and a given clock.

Whatever changes accounts, RequestIds and messages is decided in this file, and no call waits for
anything: what is checked is stored at once, so of two equal requests exactly one is accepted.
"""

import random
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import attrs

from esms_async._model.checks import check_callback_url
from esms_async._model.codes import RouteKind
from esms_async._model.errors import ConfigurationError, InvalidMessage
from esms_async._model.messages import VIETNAM_TIME, Credentials
from esms_async._model.phone import mask_phone, normalize_phone
from esms_async.emulator import wire
from esms_async.emulator.faults import MAGIC_PHONES
from esms_async.emulator.records import (
    AcceptedMessage,
    DeliveryFault,
    EmulatedAnswer,
    Fields,
    Operation,
    operator,
    plan_delivery,
    progress,
)
from esms_async.emulator.settings import AccountState, Check, Settings

DEFAULT_BALANCE: Final = 1_000_000_000
"""Enough for a million messages, in dong."""

LARGEST_BALANCE: Final = 10**15
"""The most that an account can have, in dong."""

# "Send fixed number with cheap price": fields RequestId and campaignid.
_LONGEST_REQUEST_ID = 50
_LONGEST_CAMPAIGN_ID = 254
# "Get the message status", field PageSize.
_LARGEST_PAGE = 500
# "Get ZNS status information": the speed limit.
_ZALO_QUERIES_PER_SECOND = 30
# "Get SMS by SMSID": of the last 7 days only.
_STATUS_WINDOW = 7 * 24 * 3600.0

# The first year that dates are taken of: years before it are dates that were forgotten.
_FIRST_YEAR = 1000

STATE_CODES: Final[Mapping[AccountState, str | None]] = {
    AccountState.ACTIVE: None,
    AccountState.LOCKED: "143",
    AccountState.IP_NOT_LISTED: "140",
    AccountState.NO_PRICE_LIST: "102",
}
"""The code that each state of an account answers with, or None."""

# "Get list of templates": a variable of at most 20 characters (assumed).
_VARIABLE = re.compile(r"\{P[0-9]{1,4},([1-9][0-9]{0,3})\}")
_FIRST_TEMPLATE_NUMBER = 458
_NETWORKS = (1, 2, 3, 4, 5, 6, 7)


def _check_templates(_: object, __: object, templates: tuple[str, ...]) -> None:
    for template in templates:
        rest = _VARIABLE.sub("", template)
        if not template.strip() or "{" in rest or "}" in rest:
            raise ConfigurationError(
                f"a template must be a text with variables as {{P1,20}}, not {template[:60]!r}"
            )


@attrs.frozen
class BrandnameSetup:
    """A brandname that an account has.

    Args:
        name: The name, as on the phone.
        templates: The registered texts, with variables as `{P1,20}`; none takes any text.
        networks: The telcoids of the operators that it is registered with.

    Raises:
        ConfigurationError: A template is empty, or has a brace that belongs to no variable.
    """

    name: str
    templates: tuple[str, ...] = attrs.field(default=(), validator=_check_templates)
    networks: tuple[int, ...] = _NETWORKS

    def takes(self, content: str) -> bool:
        """Return True where a text fits a template."""
        return not self.templates or any(
            re.fullmatch(_to_pattern(template), content) for template in self.templates
        )


def _to_pattern(template: str) -> str:
    pattern, end = "", 0
    for match in _VARIABLE.finditer(template):
        pattern += re.escape(template[end : match.start()]) + f"(?s:.{{1,{match[1]}}})"
        end = match.end()
    return pattern + re.escape(template[end:])


# "SMS OTP/CSKH": the public test brandname and its template.
TEST_BRANDNAME: Final = BrandnameSetup(
    "Baotrixemay", ("{P1,20} la ma xac minh dang ky Baotrixemay cua ban",)
)
"""The brandname that eSMS gives to everybody for tests."""

# The same page: CODE has at most 8 letters or digits, whatever the list of templates says.
_TEST_CODE = re.compile(r"[A-Za-z0-9]{1,8} ")


def check_balance(dong: object) -> int:
    """Return a balance.

    Raises:
        ConfigurationError: It is not a whole number of dong.
    """
    # In JSON 850.0 is a whole number too.
    if isinstance(dong, float) and dong.is_integer():
        dong = int(dong)
    if not isinstance(dong, int) or isinstance(dong, bool) or not 0 <= dong <= LARGEST_BALANCE:
        raise ConfigurationError(
            f"balance must be a whole number of dong, from 0 to {LARGEST_BALANCE}"
        )
    return dong


@attrs.frozen
class AccountSetup:
    """An account as an emulator starts with it.

    Args:
        name: What the emulator calls it.
        credentials: Its keys; None takes all that belong to no other account.
        balance: What is on it, in dong.
        brandnames: Its brandnames.
        zalo: The template ids of each OAID; empty takes any.
    """

    name: str = "default"
    credentials: Credentials | None = None
    balance: int = attrs.field(default=DEFAULT_BALANCE, converter=check_balance)
    brandnames: tuple[BrandnameSetup, ...] = (TEST_BRANDNAME,)
    zalo: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])


class Use(NamedTuple):
    """What a RequestId was used for last.

    Attributes:
        until: Until when it blocks another send, seconds since 1970.
        accepted: How many messages were accepted with it, ever.
        sms_id: The SMSID of the last use, or None where that made no message.
    """

    until: float
    accepted: int
    sms_id: str | None


class AcceptedSend(NamedTuple):
    """What an accepted send changes; a store keeps all of it or nothing.

    Attributes:
        message: The message.
        use: The use of its RequestId, or None where it has none.
        balance: What is left on its account, in dong.
    """

    message: AcceptedMessage
    use: Use | None
    balance: int


class RequestIds:
    """The RequestIds of one account.

    Args:
        window: How long one blocks another send, in seconds.
        keep: How many are kept, at least, of those that block no more.
    """

    def __init__(self, window: float, keep: int) -> None:
        self.window = window
        self._keep = keep
        # Of a plain dict, the search for the first key passes all that were removed before it.
        # Plain tuples of plain values are no work for the garbage collector.
        self._uses: OrderedDict[str, tuple[float, int, str | None]] = OrderedDict()

    def blocking(self, request_id: str, now: float) -> Use | None:
        """Return the use by which a RequestId blocks another send now, or None."""
        use = self._uses.get(request_id)
        return None if use is None or use[0] <= now else Use(*use)

    def next_use(self, request_id: str, now: float, sms_id: str | None) -> Use | None:
        """Return the use that a send makes of a RequestId, without noting it.

        Args:
            request_id: The RequestId; an empty one is none, and has no use.
            now: The time, seconds since 1970.
            sms_id: The SMSID of the message that is accepted with it, or None.
        """
        if not request_id:
            return None
        accepted = self.accepted(request_id) + (sms_id is not None)
        return Use(now + self.window, accepted, sms_id)

    def note(self, request_id: str, use: Use, now: float) -> None:
        """Note that a RequestId is used."""
        # Taken out first, so that the oldest use stays in front.
        self._uses.pop(request_id, None)
        self._uses[request_id] = (use.until, use.accepted, use.sms_id)
        if len(self._uses) > self._keep:
            oldest = next(iter(self._uses))
            if self._uses[oldest][0] <= now:
                del self._uses[oldest]

    def load(self, uses: Mapping[str, Use]) -> None:
        """Take in uses that were stored, the oldest first."""
        self._uses.update(
            (request_id, (use.until, use.accepted, use.sms_id)) for request_id, use in uses.items()
        )

    def accepted(self, request_id: str) -> int:
        """Return how many messages were accepted with a RequestId."""
        use = self._uses.get(request_id)
        return 0 if use is None else use[1]

    def clear(self) -> None:
        """Forget them all."""
        self._uses.clear()


class Account:
    """An account of a running emulator.

    Attributes:
        name: What the emulator calls it.
        balance: What is on it, in dong.
        state: What is wrong with it, if anything.
        request_ids: The RequestIds that it has used.
    """

    def __init__(self, setup: AccountSetup, settings: Settings) -> None:
        self.setup = setup
        self.name: str = setup.name
        self.balance: int = setup.balance
        self.state: AccountState = AccountState.ACTIVE
        self.sent: int = 0
        self.request_ids: RequestIds = RequestIds(settings.dedup_window, settings.max_messages)

    def opens(self, fields: Fields) -> bool:
        """Return True where the keys of a request are those of this account."""
        keys = self.setup.credentials
        api_key, secret_key = fields.get("apikey"), fields.get("secretkey")
        if keys is None:
            return bool(api_key and secret_key)
        return (api_key, secret_key) == (keys.api_key, keys.secret_key)

    def brandname(self, name: str | None) -> BrandnameSetup | None:
        """Return a brandname of the account, or None."""
        return next((each for each in self.setup.brandnames if each.name == name), None)

    def reset(self) -> None:
        """Make it as new."""
        self.balance = self.setup.balance
        self.state = AccountState.ACTIVE
        self.sent = 0
        self.request_ids.clear()

    def __repr__(self) -> str:
        return f"<Account {self.name}>"


def read_phone(fields: Fields) -> str | None:
    """Return the phone of a request as `0XXXXXXXXX`, or None where it has none."""
    try:
        return normalize_phone(fields.get("phone", ""))
    except ValueError:
        return None


@attrs.define(repr=False)
class _Send:
    """A send while it is checked."""

    fields: Fields
    account: Account
    opened: bool
    number: int
    zalo: bool
    request_id: str
    sandbox: bool
    route: RouteKind = RouteKind.FIXED
    brandname: BrandnameSetup | None = None
    phone: str = ""
    content: str = ""
    send_at: datetime | None = None


class _Limiter:
    """Counts what comes within one second of the clock."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def may_pass(self, limit: int, now: float) -> bool:
        """Count one more; return False where it is beyond the limit."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count <= limit


def _keep_in_memory(*_: object) -> None:
    """Store nothing."""


class Gateway:
    """The accounts of the gateway, and the messages that it accepted.

    Args:
        settings: How it behaves.
        time: The clock, seconds since 1970.
        accounts: The accounts; the first one is the one that `Emulator.balance` speaks of.
        on_use: Called with account, RequestId and use where no message is accepted, to store it.
        on_accept: Called with what each accepted send is about to change, to store it.
        on_message: Called with each message whose delivery has changed, to store it.

    Raises:
        ConfigurationError: Two accounts have the same name or the same keys.
    """

    def __init__(
        self,
        settings: Settings,
        time: Callable[[], float],
        *,
        accounts: Iterable[AccountSetup] = (AccountSetup(),),
        on_use: Callable[[str, str, Use], None] = _keep_in_memory,
        on_accept: Callable[[AcceptedSend], None] = _keep_in_memory,
        on_message: Callable[[AcceptedMessage], None] = _keep_in_memory,
    ) -> None:
        self._settings = settings
        self._time = time
        self._on_use = on_use
        self._on_accept = on_accept
        self._on_message = on_message
        self._accounts = {setup.name: Account(setup, settings) for setup in accounts}
        self._by_key: dict[str | None, Account] = {}
        for account in self._accounts.values():
            keys = account.setup.credentials
            key = None if keys is None else keys.api_key
            if key in self._by_key:
                raise ConfigurationError(f"account {account.name!r} has the keys of another one")
            self._by_key[key] = account
        self.first: Account = next(iter(self._accounts.values()))
        self._fallback = self._by_key.get(None, self.first)
        self._by_check: dict[Check, Callable[[_Send], EmulatedAnswer | None]] = {
            Check.KEYS: self._check_keys,
            Check.ACCOUNT: self._check_account,
            Check.TYPE: self._check_type,
            Check.PHONE: self._check_phone,
            Check.CONTENT: self._check_content,
            Check.REQUEST_ID: self._check_request_id,
            Check.BALANCE: self._check_balance,
        }
        self._checks = [self._by_check[check] for check in settings.checks]
        self._messages: OrderedDict[str, AcceptedMessage] = OrderedDict()
        # From the operating system, whatever seed the faults go by.
        self._random = random.Random()  # noqa: S311  # unique, not secret
        self._count = 0
        self._pruned = 0
        self._sends = _Limiter()
        self._zalo_queries = _Limiter()
        self._queries: Mapping[Operation, Callable[[Account, Fields], EmulatedAnswer]] = {
            Operation.BALANCE: self._get_balance,
            Operation.STATUS: partial(self._get_status, Operation.STATUS),
            Operation.RECEIVER_STATUS: partial(self._get_status, Operation.RECEIVER_STATUS),
            Operation.ZALO_STATUS: self._get_zalo_status,
            Operation.SENT_DATA: self._get_sent_data,
            Operation.BRANDNAMES: self._get_brandnames,
            Operation.TEMPLATES: self._get_templates,
            Operation.PRICE: self._get_price,
        }

    @property
    def settings(self) -> Settings:
        """How it behaves. It can be set."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._checks = [self._by_check[check] for check in settings.checks]
        for account in self._accounts.values():
            account.request_ids.window = settings.dedup_window

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts."""
        return tuple(self._accounts.values())

    def account(self, name: str) -> Account:
        """Return an account by its name.

        Raises:
            ConfigurationError: There is none.
        """
        if name not in self._accounts:
            raise ConfigurationError(
                f"there is no account {name[:60]!r}; there are {', '.join(self._accounts)}"
            )
        return self._accounts[name]

    @property
    def messages(self) -> list[AcceptedMessage]:
        """The accepted messages that are kept, oldest first."""
        return list(self._messages.values())

    @property
    def kept(self) -> int:
        """How many messages are kept."""
        return len(self._messages)

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
        """Return how many sends with a RequestId were accepted, over all accounts."""
        return sum(each.request_ids.accepted(request_id) for each in self._accounts.values())

    def account_of(self, fields: Fields) -> Account | None:
        """Return the account whose keys a request has, or None."""
        account = self._find_account(fields)
        return account if account.opens(fields) else None

    def _find_account(self, fields: Fields) -> Account:
        if len(self._by_key) == 1:
            return self.first
        return self._by_key.get(fields.get("apikey"), self._fallback)

    def new_sms_id(self) -> str:
        """Make an SMSID that no other message has, in whatever run."""
        return f"{self._random.getrandbits(128):032x}"

    def load(
        self,
        messages: Iterable[AcceptedMessage],
        uses: Iterable[tuple[str, str, Use]],
        balances: Mapping[str, int],
    ) -> None:
        """Take in what was stored by an earlier run."""
        for message in messages:
            self._messages[message.sms_id] = message
            self._count = max(self._count, message.number)
            if message.account in self._accounts:
                self._accounts[message.account].sent += 1
        for name, request_id, use in uses:
            if name in self._accounts:
                self._accounts[name].request_ids.load({request_id: use})
        for name, balance in balances.items():
            if name in self._accounts:
                self._accounts[name].balance = balance

    def send(self, fields: Fields, *, number: int = 0, zalo: bool = False) -> EmulatedAnswer:
        """Take a send: check it, and accept it or not.

        Args:
            fields: The fields of the request.
            number: The number of the request.
            zalo: True for SendZaloMessage_V6.

        Returns:
            The answer; its `message` is the message that was accepted.
        """
        limit = self._settings.sends_per_second
        if limit is not None and not self._sends.may_pass(limit, self._time()):
            return wire.too_many()
        account = self._find_account(fields)
        send = _Send(
            fields,
            account,
            account.opens(fields),
            number,
            zalo,
            fields.get("requestid", ""),
            fields.get("sandbox") == "1",
        )
        for check in self._checks:
            if (refusal := check(send)) is not None:
                self._note_refusal(send, refusal)
                if refusal.code is None:
                    return refusal
                return attrs.evolve(refusal, status=self._settings.rejection_status)
        if send.sandbox:
            if self._settings.sandbox_remembers_request_ids:
                self._use_up(send)
            return wire.checked(self.new_sms_id())
        return wire.accepted(self._accept(send))

    def change_delivery(
        self, message: AcceptedMessage, fault: DeliveryFault | None, status_lag: float | None
    ) -> AcceptedMessage:
        """Make the delivery of a message unusual.

        Args:
            message: A message that was just accepted.
            fault: How, or None.
            status_lag: How long the status calls do not know it, or None for the setting.

        Returns:
            The message as it is now.
        """
        delivery = plan_delivery(
            self._settings, message.at.timestamp(), message.send_at, fault, status_lag
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
            by_hand=True,
        )
        return self._replace(attrs.evolve(message, delivery=delivery))

    def query(self, operation: Operation, fields: Fields) -> EmulatedAnswer:
        """Answer an operation that sends nothing."""
        # assumed: what stops sends for the whole account stops the other calls too, but for the
        # price list, which is a matter of sends.
        account = self.account_of(fields)
        code = "101" if account is None else STATE_CODES[account.state]
        if account is None or code not in (None, "102"):
            return wire.coded(operation, code or "101", fields.get("refid", ""))
        return self._queries[operation](account, fields)

    def _get_balance(self, account: Account, _: Fields) -> EmulatedAnswer:
        return wire.balance(account.balance)

    def _get_sent_data(self, account: Account, fields: Fields) -> EmulatedAnswer:
        try:
            begin = _read_time(fields.get("from", ""))
            end = _read_time(fields.get("to", ""))
            page = int(fields.get("page", "1"))
            size = min(int(fields.get("pagesize", _LARGEST_PAGE)), _LARGEST_PAGE)
        except ValueError:
            return self._invalid(
                "From and To must be times as 2026-01-31 23:59:59, Page and PageSize numbers"
            )
        if page < 1 or size < 1:
            return self._invalid("Page and PageSize must be 1 or more")
        written = fields.get("smstype")
        route = wire.LISTED_TYPES.get(written or "")
        found = [
            message
            for message in self._messages.values()
            if begin <= message.at <= end
            and message.account == account.name
            and (not written or message.route is route)
        ]
        now = self._time()
        rows = found[(page - 1) * size : page * size]
        return wire.sent_data(len(found), [(message, progress(message, now)) for message in rows])

    def _get_brandnames(self, account: Account, _: Fields) -> EmulatedAnswer:
        return wire.brandnames(each.name for each in account.setup.brandnames)

    def _get_templates(self, account: Account, fields: Fields) -> EmulatedAnswer:
        brandname = account.brandname(fields.get("brandname"))
        if brandname is None:
            return wire.coded(Operation.TEMPLATES, "104", "")
        return wire.templates(
            (network, template, _FIRST_TEMPLATE_NUMBER + number)
            for number, (template, network) in enumerate(
                (template, network)
                for template in brandname.templates
                for network in brandname.networks
            )
        )

    def _get_price(self, account: Account, fields: Fields) -> EmulatedAnswer:
        code = None
        if fields.get("smstype") not in wire.SMS_TYPES:
            code = "118" if fields.get("smstype") else "300"
        elif not read_phone(fields):
            code = "108"
        elif fields["smstype"] == "2" and account.brandname(fields.get("brandname")) is None:
            code = "104"
        if code is not None:
            return wire.coded(Operation.PRICE, code, "")
        return wire.price(self._settings.price)

    def _get_status(self, operation: Operation, account: Account, fields: Fields) -> EmulatedAnswer:
        sms_id, now = fields.get("refid", ""), self._time()
        message = self._known(account, sms_id, now)
        if message is None:
            return wire.coded(operation, "105", sms_id)
        write = wire.send_status if operation is Operation.STATUS else wire.receiver_status
        return write(message, progress(message, now))

    def _get_zalo_status(self, account: Account, fields: Fields) -> EmulatedAnswer:
        oa_id, message_id, now = fields.get("oaid"), fields.get("messageid"), self._time()
        known, code = account.setup.zalo, None
        if not self._zalo_queries.may_pass(_ZALO_QUERIES_PER_SECOND, now):
            code = "160"
        elif not oa_id or (known and oa_id not in known):
            code = "204" if oa_id else "791"
        elif not message_id:
            code = "851"
        if code is not None:
            return wire.coded(Operation.ZALO_STATUS, code, "")
        message = self._known(account, message_id or "", now)
        if message is not None and (message.route is not RouteKind.ZALO or message.sender != oa_id):
            message = None
        return wire.zalo_status(message, None if message is None else progress(message, now))

    def _known(self, account: Account, sms_id: str, now: float) -> AcceptedMessage | None:
        """Return a message that the status calls know, or None."""
        message = self._messages.get(sms_id)
        if (
            message is None
            or message.account != account.name
            or not message.delivery.visible_at <= now <= message.at.timestamp() + _STATUS_WINDOW
        ):
            return None
        return message

    def _replace(self, message: AcceptedMessage) -> AcceptedMessage:
        self._on_message(message)
        self._messages[message.sms_id] = message
        return message

    def clear_messages(self) -> None:
        """Forget all messages, but no RequestId; the numbers of the messages go on."""
        self._messages.clear()
        self._pruned = 0

    def reset(self) -> None:
        """Forget messages and RequestIds, and make the accounts as new; the numbers go on."""
        self.clear_messages()
        for account in self._accounts.values():
            account.reset()

    def _accept(self, send: _Send) -> AcceptedMessage:
        now, account = self._time(), send.account
        message = self._new_message(send, now)
        use = account.request_ids.next_use(send.request_id, now, message.sms_id)
        balance = account.balance - message.price
        # A store that refuses raises here, and nothing has changed.
        self._on_accept(AcceptedSend(message, use, balance))
        self._count = message.number
        account.balance = balance
        account.sent += 1
        if use is not None:
            account.request_ids.note(send.request_id, use, now)
        self._messages[message.sms_id] = message
        if len(self._messages) > self._settings.max_messages:
            self._messages.popitem(last=False)
            self._pruned += 1
        return message

    def _new_message(self, send: _Send, now: float) -> AcceptedMessage:
        settings, fields = self._settings, send.fields
        return AcceptedMessage(
            number=self._count + 1,
            at=datetime.fromtimestamp(now, UTC),
            phone=send.phone,
            content=send.content,
            request_id=send.request_id or None,
            sms_id=self.new_sms_id(),
            unicode=send.zalo or fields.get("isunicode", fields.get("unicode")) == "1",
            campaign_id=fields.get("campaignid") or None,
            callback_url=fields.get("callbackurl") or None,
            send_at=send.send_at,
            price=settings.zalo_price if send.zalo else settings.price,
            delivery=plan_delivery(settings, now, send.send_at),
            account=send.account.name,
            route=send.route,
            sender=_SENDERS[send.route](fields),
            template=fields.get("tempid") if send.zalo else None,
            params=fields.params if send.zalo else None,
            request=send.number,
        )

    def _note_refusal(self, send: _Send, refusal: EmulatedAnswer) -> None:
        # assumed: wrong keys can't use up a RequestId of an account that they do not open.
        if not self._settings.rejection_uses_request_id or refusal.code in (None, "101"):
            return
        if send.account.request_ids.blocking(send.request_id, self._time()) is None:
            self._use_up(send)

    def _use_up(self, send: _Send) -> None:
        """Use up the RequestId of a send that makes no message."""
        now, account = self._time(), send.account
        if (use := account.request_ids.next_use(send.request_id, now, None)) is not None:
            self._on_use(account.name, send.request_id, use)
            account.request_ids.note(send.request_id, use, now)

    def _reject(self, code: str, why: str | None = None) -> EmulatedAnswer:
        return wire.rejected(code, self.new_sms_id(), why=why)

    def _invalid(self, why: str) -> EmulatedAnswer:
        return wire.invalid(self._settings.invalid_status, why)

    def _check_keys(self, send: _Send) -> EmulatedAnswer | None:
        if send.opened:
            return None
        if not (send.fields.get("apikey") and send.fields.get("secretkey")):
            return self._reject("101", "ApiKey or SecretKey is missing or empty.")
        return self._reject("101", "ApiKey and SecretKey are those of no account here.")

    def _check_account(self, send: _Send) -> EmulatedAnswer | None:
        code = STATE_CODES[send.account.state]
        if code is None:
            return None
        return self._reject(code, f"The account is set to {send.account.state}.")

    def _check_type(self, send: _Send) -> EmulatedAnswer | None:
        if send.zalo:
            return self._check_zalo(send)
        written = send.fields.get("smstype")
        if not written:
            return self._reject("300", "SmsType is missing.")
        if written not in wire.SMS_TYPES:
            return self._reject("118", f"SmsType {written[:20]!r} is not emulated; 8 and 2 are.")
        send.route = wire.SMS_TYPES[written]
        name = send.fields.get("brandname")
        if send.route is RouteKind.FIXED:
            return None
        send.brandname = send.account.brandname(name)
        if send.brandname is not None:
            return None
        known = ", ".join(each.name for each in send.account.setup.brandnames)
        words = f"Brandname {name[:40]!r} is not" if name else "Brandname is missing; it must be"
        return self._reject("104", f"{words} one of the account's: {known}.")

    def _check_zalo(self, send: _Send) -> EmulatedAnswer | None:
        send.route = RouteKind.ZALO
        oa_id, template = send.fields.get("oaid"), send.fields.get("tempid")
        if not (oa_id and template):
            return self._reject("791", "OAID or TempID is missing.")
        known = send.account.setup.zalo
        if known and oa_id not in known:
            return self._reject("204", f"OAID {oa_id[:40]!r} is not one of the account's.")
        if known and template not in known[oa_id]:
            return self._reject("789", f"TempID {template[:40]!r} is not one of the OA's.")
        return None

    def _check_phone(self, send: _Send) -> EmulatedAnswer | None:
        written = send.fields.get("phone", "")
        if "," in written or ";" in written:
            return self._reject("163", "Phone holds more than one number.")
        try:
            send.phone = normalize_phone(written)
        except ValueError as error:
            return self._reject("108", f"Phone: {error}.")
        code = MAGIC_PHONES.get(send.phone)
        if code is None:
            return None
        return self._reject(code, f"{mask_phone(send.phone)} is a number that always meets {code}.")

    def _check_content(self, send: _Send) -> EmulatedAnswer | None:
        if send.zalo:
            if send.fields.params is None:
                return self._reject("790", "TempData must be an object with a text for each name.")
            send.content = "\n".join(f"{name}: {text}" for name, text in send.fields.params.items())
        else:
            send.content = send.fields.get("content", "")
        if self._settings.blocked_words:
            folded = send.content.casefold()
            for word in self._settings.blocked_words:
                if word.casefold() in folded:
                    return self._reject("201", f"The text holds the blocked word {word!r}.")
        # assumed: what no code speaks of is not a valid request.
        problem = "Content is missing or empty." if not send.content.strip() else _read(send)
        if problem is not None:
            return self._invalid(problem)
        return None if send.brandname is None else self._check_template(send, send.brandname)

    def _check_template(self, send: _Send, brandname: BrandnameSetup) -> EmulatedAnswer | None:
        number, name = operator(send.phone)
        if send.phone and number not in brandname.networks and number in _NETWORKS:
            return self._reject("177", f"{brandname.name} is not registered with {name}.")
        if brandname.takes(send.content):
            if brandname != TEST_BRANDNAME or _TEST_CODE.match(send.content):
                return None
            # assumed: the code that answers it.
            return self._reject("146", f"CODE of {brandname.name} has at most 8 letters or digits.")
        return self._reject(
            "146",
            f"The text fits no template of {brandname.name}: {' | '.join(brandname.templates)}",
        )

    def _check_request_id(self, send: _Send) -> EmulatedAnswer | None:
        if not (send.request_id and self._settings.refuses_duplicates) or (
            send.sandbox and not self._settings.sandbox_remembers_request_ids
        ):
            return None
        use = send.account.request_ids.blocking(send.request_id, self._time())
        return None if use is None else wire.rejected("124", "", self._told_status(use))

    def _told_status(self, use: Use) -> int | None:
        if not self._settings.duplicate_tells_status or use.sms_id is None:
            return None
        message = self._messages.get(use.sms_id)
        return None if message is None else progress(message, self._time()).send_status

    def _check_balance(self, send: _Send) -> EmulatedAnswer | None:
        if send.sandbox and not self._settings.sandbox_needs_balance:
            return None
        price = self._settings.zalo_price if send.zalo else self._settings.price
        if send.account.balance >= price:
            return None
        return self._reject(
            "103", f"The balance is {send.account.balance} dong; this costs {price}."
        )


_SENDERS: Final[Mapping[RouteKind, Callable[[Fields], str | None]]] = {
    RouteKind.FIXED: lambda _: None,
    RouteKind.BRANDNAME: lambda fields: fields.get("brandname"),
    RouteKind.ZALO: lambda fields: fields.get("oaid"),
}


def _read(send: _Send) -> str | None:
    """Read the optional fields; return what is wrong with one of them, or None."""
    fields = send.fields
    if len(send.request_id) > _LONGEST_REQUEST_ID:
        return f"RequestId has {len(send.request_id)} characters; at most 50 are taken."
    if len(fields.get("campaignid", "")) > _LONGEST_CAMPAIGN_ID:
        return f"campaignid has {len(fields['campaignid'])} characters; at most 254 are taken."
    try:
        if url := fields.get("callbackurl"):
            check_callback_url(url)
    except InvalidMessage:
        return "CallbackUrl is not an absolute http:// or https:// URL that can be called."
    try:
        if written := fields.get("senddate"):
            send.send_at = _read_time(written)
    except ValueError:
        return "SendDate must be a time in Vietnam as 2026-01-31 23:59:59."
    return None


def _read_time(written: str) -> datetime:
    at = datetime.strptime(written, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # the zone is next
    if at.year < _FIRST_YEAR:
        raise ValueError("a date that was forgotten, which in .NET is the year 1")
    return at.replace(tzinfo=VIETNAM_TIME)
