"""What the emulated gateway is set to do where no page documents it, and the bounds it keeps.

Each setting marked `assumed` stands for something that only a real account can tell.
"""

import enum
import math
from typing import cast

import attrs

from esms_async.errors import ConfigurationError


class Check(enum.StrEnum):
    """One thing that the gateway looks at before it accepts a send."""

    KEYS = "keys"
    ACCOUNT = "account"
    TYPE = "type"
    PHONE = "phone"
    CONTENT = "content"
    REQUEST_ID = "request_id"
    BALANCE = "balance"


class AccountState(enum.StrEnum):
    """What is wrong with the account, if anything; an empty balance is a matter of `balance`."""

    ACTIVE = "active"
    LOCKED = "locked"
    IP_NOT_LISTED = "ip_not_listed"
    NO_PRICE_LIST = "no_price_list"


def _check_order(_: object, attribute: "attrs.Attribute[tuple[Check, ...]]", value: object) -> None:
    if not isinstance(value, tuple) or sorted(cast("tuple[str]", value)) != sorted(Check):
        raise ConfigurationError(
            f"{attribute.name} must name each of these once: {', '.join(Check)}"
        )


def _check_seconds(_: object, attribute: "attrs.Attribute[float]", value: object) -> None:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not (math.isfinite(value) and value >= 0)
    ):
        raise ConfigurationError(f"{attribute.name} must be seconds, 0 or more")


def _check_timeout(_: object, attribute: "attrs.Attribute[float]", value: object) -> None:
    _check_seconds(_, attribute, value)
    if not value:
        raise ConfigurationError(f"{attribute.name} must be more than 0 seconds")


def _check_count(_: object, attribute: "attrs.Attribute[int]", value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"{attribute.name} must be a whole number, 0 or more")


def _check_status(_: object, attribute: "attrs.Attribute[int]", value: object) -> None:
    if value not in (200, 400):
        raise ConfigurationError(f"{attribute.name} must be 200 or 400")


def _check_size(_: object, attribute: "attrs.Attribute[int]", value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{attribute.name} must be a whole number, 1 or more")


@attrs.frozen(kw_only=True)
class Settings:
    """How the emulated gateway behaves. Times are seconds, prices are dong.

    Args:
        checks: The order in which a send is checked; the first check that fails answers.
        dedup_window: How long a RequestId is remembered.
        refuses_duplicates: True answers 124 to a RequestId that was used, for SmsType 8 too.
        rejection_status: The HTTP status of an answer with a code other than 100.
        unreadable_status: The HTTP status of the page that answers what is no JSON.
        rejection_uses_request_id: True has a rejected send use up its RequestId.
        sandbox_remembers_request_ids: True has sandbox sends use up theirs.
        sandbox_needs_balance: True refuses a sandbox send that the balance does not cover.
        duplicate_tells_status: True puts `SendStatus` into the answer 124.
        invalid_status: The HTTP status of `{"error": …}`.
        sends_per_second: More sends than this in one second are refused with HTTP 429; None
            sets no limit.
        price: What one accepted message costs.
        blocked_words: A content that holds one, in any case, is refused with code 201.
        status_lag: How long after a send its SMSID is not known to the status calls.
        report_delay: How long after a send it is delivered, and reported.
        late_report_delay: The same, for a message that meets the fault `dlr:late`.
        report_timeout: How long a delivery report waits for the receiver's answer.
        report_retries: How often a report that timed out is sent again.
        report_retry_delay: The pause before it is.
        remote_callbacks: True sends reports to other machines too, not to this one alone.
        max_messages: How many accepted messages are kept; the oldest go first.
        max_requests: The same for requests, and for delivery reports.
        max_request_bytes: A larger request body is refused with HTTP 413.
        body_timeout: How long a request body may take to arrive.
        idle_timeout: How long a connection is kept on which no whole request head arrives; before
            the first one of a connection, aiohttp counts from 3.14.4 on.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    # assumed: the order.
    checks: tuple[Check, ...] = attrs.field(default=tuple(Check), validator=_check_order)
    # "Send fixed number with cheap price", field RequestId: 24 hours.
    dedup_window: float = attrs.field(default=24 * 3600.0, validator=_check_seconds)
    # assumed: the nine that follow.
    refuses_duplicates: bool = True
    rejection_status: int = attrs.field(default=200, validator=_check_status)
    unreadable_status: int = attrs.field(default=400, validator=_check_status)
    rejection_uses_request_id: bool = False
    sandbox_remembers_request_ids: bool = False
    sandbox_needs_balance: bool = False
    duplicate_tells_status: bool = False
    invalid_status: int = attrs.field(default=200, validator=_check_status)
    sends_per_second: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_size)
    )
    # The page "Get send status" shows 850.0000 for one message; assumed: no part counts extra.
    price: int = attrs.field(default=850, validator=_check_count)
    blocked_words: tuple[str, ...] = ()
    # assumed: the times; that a report is sent again up to 5 times, on timeout, is documented.
    status_lag: float = attrs.field(default=0.0, validator=_check_seconds)
    report_delay: float = attrs.field(default=1.0, validator=_check_seconds)
    late_report_delay: float = attrs.field(default=60.0, validator=_check_seconds)
    report_timeout: float = attrs.field(default=5.0, validator=_check_timeout)
    report_retries: int = attrs.field(default=5, validator=_check_count)
    report_retry_delay: float = attrs.field(default=1.0, validator=_check_seconds)
    remote_callbacks: bool = False
    max_messages: int = attrs.field(default=5000, validator=_check_size)
    max_requests: int = attrs.field(default=5000, validator=_check_size)
    max_request_bytes: int = attrs.field(default=128 * 1024, validator=_check_size)
    body_timeout: float = attrs.field(default=10.0, validator=_check_timeout)
    idle_timeout: float = attrs.field(default=75.0, validator=_check_timeout)
