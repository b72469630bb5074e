"""The gateway that a command sends to: the real one, another address, or an emulator asked for."""

import os
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs

from esms_async._http.transport import DEFAULT_BASE_URL
from esms_async._model.messages import Credentials
from esms_async._send.retry import RetryPolicy
from esms_async.cli.errors import InputError
from esms_async.cli.identity import row_secret
from esms_async.cli.rate import Rate, Turnstile
from esms_async.cli.report import GatewayCount
from esms_async.client import ClientOptions, EsmsClient, route_from_env
from esms_async.emulator import Emulator, Event
from esms_async.ledger import Ledger
from esms_async.testing import EmulatedClient

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
            raise InputError("--emulator and --base-url exclude each other")
        if not self.emulator and (self.faults or self.seed is not None):
            raise InputError("--fault and --seed are for --emulator; add it")

    def asks_for_sandbox(self, environ: Mapping[str, str] = os.environ) -> bool:
        """Tell whether messages are to be checked and not sent.

        Returns:
            True where the option or the variable does. What the variable holds is judged by the
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
        seed: What makes the faults of the emulated gateway repeatable, or None.
        witness: What the emulated gateway saw, or None.
        turnstile: What holds the sends to a rate, or None.
    """

    client: EsmsClient
    url: str
    secret: str = attrs.field(repr=False)
    seed: int | None = None
    witness: "Witness | None" = None
    turnstile: Turnstile | None = None


class Witness:
    """Counts at the emulated gateway what was accepted, and how much of it should not have been."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._newest = 0
        # Acceptances less messages, by RequestId; what has become even is taken out.
        self._surplus: Counter[str | None] = Counter()
        emulator.subscribe(self._see)

    def expect(self, request_id: str) -> None:
        """Note that one message with a RequestId is to be sent."""
        self._count(request_id, -1)

    @property
    def count(self) -> GatewayCount:
        """What was accepted so far."""
        twice = sum(surplus for surplus in self._surplus.values() if surplus > 0)
        return GatewayCount(self._emulator.mark(), twice)

    def _see(self, event: Event) -> None:
        message = event.message
        # A message is told of again when its delivery changes.
        if message is not None and message.number > self._newest:
            self._newest = message.number
            self._count(message.request_id, 1)

    def _count(self, request_id: str | None, change: int) -> None:
        self._surplus[request_id] += change
        if not self._surplus[request_id]:
            del self._surplus[request_id]


@asynccontextmanager
async def connect(
    choice: GatewayChoice,
    *,
    max_connections: int = 1,
    rate: Rate | None = None,
    ledger: Ledger | None = None,
    environ: Mapping[str, str] = os.environ,
) -> AsyncGenerator[Connection]:
    """Make a client for the gateway that was chosen, and start an emulator where one was.

    Args:
        choice: The choice.
        max_connections: How many connections the client opens, and sends there are, at most.
        rate: How fast it sends, or None for as fast as it can.
        ledger: The client's ledger, or None.
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
    turnstile = None
    if rate is not None:
        options["limiter"] = turnstile = rate.limiter()
        options["retry"] = rate.allow_for(_PATIENT, max_connections)
    if choice.sandbox:
        options["sandbox"] = True
    if choice.emulator:
        options["route"] = route_from_env(environ)
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
                emulator.seed,
                Witness(emulator),
                turnstile,
            )
        return
    url = choice.base_url or environ.get("ESMS_BASE_URL") or DEFAULT_BASE_URL
    options["base_url"] = url
    async with EsmsClient.from_env(environ, **options) as client:
        yield Connection(client, url, row_secret(environ), turnstile=turnstile)
