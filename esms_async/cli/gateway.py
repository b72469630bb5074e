"""The gateway that a command sends to: the real one, another address, or an emulator asked for."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import attrs

from esms_async import ClientOptions, Credentials, EsmsClient, RetryPolicy, Route
from esms_async._http.transport import DEFAULT_BASE_URL
from esms_async.cli.errors import InputError
from esms_async.cli.rate import Rate, ReservingLimiter
from esms_async.cli.words import text
from esms_async.client import credentials_from_env, route_from_env
from esms_async.ledger import Ledger

if TYPE_CHECKING:
    from esms_async.emulator import Emulator, Event

# The emulator takes any keys, and is never shown those of a real account.
_EMULATED: Final = Credentials("emulator", "emulator")
_ENOUGH_FOR_ANY_FILE: Final = 10**15
_NO: Final = frozenset({"", "0", "false", "no", "off"})

# Within the same deadline, a command tries more often than a server with a person waiting.
_PATIENT = RetryPolicy(attempts=8, backoff_max=2.0)


@attrs.frozen
class GatewayChoice:
    """What the options of a command say about the gateway.

    Attributes:
        emulator: True for an emulator in this process.
        faults: The faults to arm in it.
        seed: What makes its faults repeatable, or None.
        base_url: Another address of the real gateway, or None.
        sandbox: True has the gateway check messages without sending them.
    """

    emulator: bool = False
    faults: tuple[str, ...] = ()
    seed: int | None = None
    base_url: str | None = None
    sandbox: bool = False

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: They don't; the error says which.
        """
        if self.emulator and self.base_url is not None:
            raise InputError(text("emulator_or_url"))
        if not self.emulator and (self.faults or self.seed is not None):
            raise InputError(text("faults_need_emulator"))

    def asks_for_sandbox(self, environ: Mapping[str, str] = os.environ) -> bool:
        """Tell whether messages are to be checked and not sent.

        Returns:
            True where the option or the variable does. What the variable holds is checked by the
            client; here no word that could mean yes may be taken for a no.
        """
        if self.sandbox or self.emulator:
            return self.sandbox
        return environ.get("ESMS_SANDBOX", "").strip().lower() not in _NO


@attrs.frozen
class Connection:
    """A client with what a command needs to know beside it.

    Attributes:
        client: The client.
        url: Where it sends to.
        secret: What the RequestIds of rows without a key are derived with.
        account_secret: The account's secret key.
        seed: What makes the faults of the emulated gateway repeatable, or None.
        counter: What the emulated gateway saw, or None.
        limiter: What holds the sends to a rate, or None.
    """

    client: EsmsClient
    url: str
    secret: str = attrs.field(repr=False)
    account_secret: str = attrs.field(repr=False)
    seed: int | None = None
    counter: "DeliveryCounter | None" = None
    limiter: ReservingLimiter | None = None


class DeliveryCounter:
    """Counts at an emulated gateway what it accepted, and which phones got one text twice.

    Attributes:
        accepted: How many messages it accepted.
        twice: How many of them reached a phone that had the same text already.
    """

    def __init__(self, emulator: "Emulator") -> None:
        self.accepted: int = 0
        self.twice: int = 0
        self._seen: set[int] = set()
        self._newest = 0
        emulator.subscribe(self._see)

    def _see(self, event: "Event") -> None:
        message = event.message
        # An event comes again when the delivery of its message changes.
        if message is None or message.number <= self._newest:
            return
        self._newest = message.number
        self.accepted += 1
        got = hash((message.phone, message.content))
        self.twice += got in self._seen
        self._seen.add(got)


def row_secret(environ: Mapping[str, str]) -> str:
    """Return the secret that the RequestIds of rows are derived with.

    Returns:
        What `ESMS_ROW_SECRET` holds, else the account's secret key; an empty string for neither.
    """
    return environ.get("ESMS_ROW_SECRET") or environ.get("ESMS_SECRET_KEY", "")


@asynccontextmanager
async def connect(
    choice: GatewayChoice,
    *,
    max_connections: int = 1,
    rate: Rate | None = None,
    ledger: Ledger | None = None,
    route: Route | None = None,
    environ: Mapping[str, str] = os.environ,
) -> AsyncGenerator[Connection]:
    """Make a client for the gateway that was chosen, and start an emulator where one was.

    Args:
        choice: The choice.
        max_connections: How many connections the client opens, and sends there are, at most.
        rate: How fast it sends, or None for as fast as it can.
        ledger: The client's ledger, or None.
        route: How messages travel, or None for what ESMS_ROUTE says.
        environ: Where the account's keys are.

    Yields:
        The client, and what there is to know beside it.

    Raises:
        InputError: The options do not go together.
        ConfigurationError: The keys are missing, or another value cannot work.
    """
    choice.check()
    # By its RequestId as campaign id, `reconcile` finds a send whose outcome stayed unknown.
    options = ClientOptions(
        max_connections=max_connections, retry=_PATIENT, ledger=ledger, trackable=True
    )
    limiter = None
    if rate is not None:
        options["limiter"] = limiter = rate.limiter()
        options["retry"] = rate.allow_for(_PATIENT, max_connections)
    if route is not None:
        options["route"] = route
    if choice.sandbox:
        options["sandbox"] = True
    if choice.emulator:
        options.setdefault("route", route_from_env(environ))
        # Importing it takes as long as the rest of the command.
        from esms_async.emulator import Emulator  # noqa: PLC0415  # see above
        from esms_async.testing import EmulatedClient  # noqa: PLC0415  # the same

        async with (
            Emulator(
                faults=choice.faults, seed=choice.seed, balance=_ENOUGH_FOR_ANY_FILE
            ) as emulator,
            EmulatedClient(emulator, _EMULATED, **options) as client,
        ):
            yield Connection(
                client,
                emulator.url,
                _EMULATED.secret_key,
                _EMULATED.secret_key,
                emulator.seed,
                DeliveryCounter(emulator),
                limiter,
            )
        return
    url = choice.base_url or environ.get("ESMS_BASE_URL") or DEFAULT_BASE_URL
    options["base_url"] = url
    async with EsmsClient.from_env(environ, **options) as client:
        account_secret = credentials_from_env(environ).secret_key
        yield Connection(client, url, row_secret(environ), account_secret, limiter=limiter)
