"""What a queue and its workers are set to, read from the environment."""

import os
import re
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

import attrs

from esms_async._model.errors import ConfigurationError
from esms_async._send.retry import RetryPolicy
from esms_async.workers.payload import Seal

_BROKERS: Final = ("nats", "tls", "amqp", "amqps", "memory")
_LEDGERS: Final = ("redis", "rediss", "unix")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,50}")
_MOST_CONCURRENT: Final = 1000

# How long the longest send holds its message: its deadline, and as much again by half for the
# ledger before and after it.
_ACK_WAIT_FACTOR: Final = 1.5


@attrs.frozen
class QueueSettings:
    """Where messages are queued, and how workers send them.

    Attributes:
        broker_url: The broker: `nats://` or `tls://` (NATS), `amqp://` or `amqps://` (RabbitMQ),
            or `memory://`, which sends within the process, for tests.
        ledger_url: The Redis server that holds the ledger, the rate and the outcomes; None for
            one in memory, with `memory://` alone.
        name: What streams, queues and keys of this queue are named after.
        rate: Sends a second of all workers together, or None.
        concurrency: How many sends one worker has under way at most.
        retry: How long a worker pursues a send.
        seal: What encrypts messages on their way.
        account: The variables that the client reads: keys, base URL, sandbox.
    """

    broker_url: str = attrs.field(repr=False)
    ledger_url: str | None = attrs.field(repr=False, default=None)
    name: str = "esms"
    rate: float | None = None
    concurrency: int = 64
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    seal: Seal = attrs.field(factory=Seal, repr=False)
    account: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)

    @property
    def scheme(self) -> str:
        """The scheme of the broker's URL."""
        return urlsplit(self.broker_url).scheme

    @property
    def ack_wait(self) -> float:
        """Seconds after which the broker gives a message of a worker that died to another."""
        return _ACK_WAIT_FACTOR * self.retry.deadline

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from environment variables.

        `ESMS_BROKER_URL` is required, and so is `ESMS_LEDGER_URL` with a broker that is a server.
        `ESMS_QUEUE`, `ESMS_RATE`, `ESMS_CONCURRENCY`, `ESMS_ATTEMPTS`, `ESMS_DEADLINE` and
        `ESMS_QUEUE_KEY` are optional.

        Args:
            environ: The variables; those of the process by default.

        Returns:
            The settings.

        Raises:
            ConfigurationError: A variable is missing or cannot work; the error names it.
        """
        environ = os.environ if environ is None else environ
        broker_url = _url(environ, "ESMS_BROKER_URL", _BROKERS)
        if broker_url is None:
            raise ConfigurationError("set the environment variable ESMS_BROKER_URL")
        ledger_url = _url(environ, "ESMS_LEDGER_URL", _LEDGERS)
        if ledger_url is None and urlsplit(broker_url).scheme != "memory":
            raise ConfigurationError(
                "set the environment variable ESMS_LEDGER_URL: workers share a ledger on Redis"
            )
        rate = _number(environ, "ESMS_RATE")
        if rate is not None and ledger_url is None:
            raise ConfigurationError("ESMS_RATE needs ESMS_LEDGER_URL: the rate is kept on Redis")
        return cls(
            broker_url,
            ledger_url,
            _name(environ),
            rate,
            _count(environ, "ESMS_CONCURRENCY", 64, at_most=_MOST_CONCURRENT),
            RetryPolicy(
                _count(environ, "ESMS_ATTEMPTS", 8),
                _number(environ, "ESMS_DEADLINE") or 30.0,
            ),
            Seal.from_text(environ.get("ESMS_QUEUE_KEY", "")),
            dict(environ),
        )


def _url(environ: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    """Read a URL. No error shows it, for it may hold a password."""
    url = environ.get(name)
    if not url:
        return None
    try:
        known = urlsplit(url).scheme in schemes
    except ValueError:
        known = False
    if not known:
        raise ConfigurationError(f"{name} must begin with {'://, '.join(schemes)}://")
    return url


def _name(environ: Mapping[str, str]) -> str:
    name = environ.get("ESMS_QUEUE") or "esms"
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "ESMS_QUEUE must be 1 to 50 characters out of letters, digits and _ -"
        )
    return name


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ConfigurationError(f"{name} must be a number above 0, not {text!r}")
    return value


def _count(environ: Mapping[str, str], name: str, default: int, *, at_most: int = 10**6) -> int:
    text = environ.get(name)
    if not text:
        return default
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= at_most:
        raise ConfigurationError(f"{name} must be a whole number from 1 to {at_most}, not {text!r}")
    return value
