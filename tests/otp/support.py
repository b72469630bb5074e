"""A world for one-time codes: stores on a clock that tests move, and a gateway that takes notes."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs

from esms_async import EsmsError, FixedNumber, Message, Receipt, RetryPolicy, Route
from esms_async.otp import Guard, Otp, OtpRefused, OtpStore, Purpose

KEY = b"k" * 32
OLD, NEW = b"old key " * 4, b"new key " * 4
PHONE, OTHER = "0901888484", "0911000001"
IP = "203.0.113.7"
TEMPLATE = "{code} la ma xac minh cua ban"
NO_GUARD = Guard(None, None, None, None, None, 0)
_CODE = re.compile(r"\b[0-9]{6,10}\b")


@attrs.define
class Clock:
    """Seconds since the epoch, which pass only when a test says so."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Gateway:
    """Stands in for a client: takes every message down, and answers as a script says.

    A phone gets one SMS for each RequestId, however often it is sent.
    """

    route: Route = FixedNumber()
    retry = RetryPolicy()

    def __init__(self) -> None:
        self.retries: list[RetryPolicy] = []
        self.sends: list[Message] = []
        self.resumed: list[Message] = []
        self.sms: dict[str, Message] = {}
        self.script: list[Callable[[Message], Awaitable[Receipt]]] = []

    def with_options(self, *, retry: RetryPolicy) -> "Gateway":
        """Note the options of a view."""
        self.retries.append(retry)
        return self

    def check(self, message: Message) -> None:
        """Take every message."""

    async def send(self, message: Message) -> Receipt:
        """Take a message."""
        self.sends.append(message)
        if self.script:
            return await self.script.pop(0)(message)
        return await self.accept(message)

    async def resume(self, message: Message) -> Receipt:
        """Take a message of an earlier attempt."""
        self.resumed.append(message)
        return await self.send(message)

    async def accept(self, message: Message) -> Receipt:
        """Send an SMS, unless one with this RequestId was sent."""
        self.sms.setdefault(message.request_id, message)
        return Receipt(message.request_id, "sms")

    def fail(self, error: Callable[[Message], EsmsError], *, arrives: bool = False) -> None:
        """Let the next send end with an error, after it has arrived or before."""

        async def answer(message: Message) -> Receipt:
            if arrives:
                await self.accept(message)
            raise error(message)

        self.script.append(answer)

    def hold(self) -> asyncio.Event:
        """Let the next send wait until the event is set."""
        release = asyncio.Event()

        async def answer(message: Message) -> Receipt:
            await release.wait()
            return await self.accept(message)

        self.script.append(answer)
        return release

    async def wait_for_send(self, count: int = 1) -> None:
        """Wait until so many messages were taken."""
        while len(self.sends) < count:  # noqa: ASYNC110  # sends are made by other tasks
            await asyncio.sleep(0.001)

    def code(self, phone: str = PHONE) -> str:
        """Return the code of the newest SMS to a phone."""
        texts = [message.content for message in self.sms.values() if message.phone == phone]
        codes: list[str] = _CODE.findall(texts[-1] or "")
        return codes[0]

    def per_phone(self) -> Counter[str]:
        """Return how many SMS each phone got."""
        return Counter(message.phone for message in self.sms.values())


def wrong(code: str) -> str:
    """Return another code of the same length."""
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"


def make_otp(gateway: Gateway, store: OtpStore, **options: object) -> Otp:
    """Make an Otp with one purpose, on a gateway that stands in for a client."""
    chosen: dict[str, object] = {"keys": [KEY], "purposes": {"login": Purpose(TEMPLATE)}, **options}
    return Otp(gateway, store=store, **chosen)  # type: ignore[arg-type]  # it has what is called


async def refused(call: Awaitable[object]) -> OtpRefused:
    """Return the refusal that a call ends with."""
    try:
        await call
    except OtpRefused as error:
        return error
    raise AssertionError("it was not refused")
