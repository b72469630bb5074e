"""Settings from the environment."""

import pytest
from cryptography.fernet import Fernet

from esms_async import ConfigurationError
from esms_async.workers import QueueSettings

SERVERS = {"ESMS_BROKER_URL": "nats://:hush@host", "ESMS_LEDGER_URL": "redis://:hush@host"}


def test_every_variable_is_read() -> None:
    """Each setting comes from its variable."""
    settings = QueueSettings.from_env(
        {
            **SERVERS,
            "ESMS_QUEUE": "otp",
            "ESMS_RATE": "12.5",
            "ESMS_CONCURRENCY": "8",
            "ESMS_ATTEMPTS": "3",
            "ESMS_DEADLINE": "10",
            "ESMS_QUEUE_KEY": Fernet.generate_key().decode(),
        }
    )
    assert (settings.scheme, settings.name, settings.rate) == ("nats", "otp", 12.5)
    assert (settings.concurrency, settings.retry.attempts) == (8, 3)
    assert settings.ack_wait == 1.5 * settings.retry.deadline == 15.0


def test_what_can_be_left_out_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variables are enough, and the process's own are read by default."""
    for name, value in SERVERS.items():
        monkeypatch.setenv(name, value)
    settings = QueueSettings.from_env()
    assert (settings.name, settings.rate, settings.concurrency) == ("esms", None, 64)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "ESMS_BROKER_URL"),
        ({"ESMS_BROKER_URL": "kafka://hush"}, "ESMS_BROKER_URL"),
        ({"ESMS_BROKER_URL": "nats://[hush"}, "ESMS_BROKER_URL"),
        ({"ESMS_BROKER_URL": "nats://host"}, "ESMS_LEDGER_URL"),
        ({**SERVERS, "ESMS_LEDGER_URL": "sqlite:hush"}, "ESMS_LEDGER_URL"),
        ({"ESMS_BROKER_URL": "memory://", "ESMS_RATE": "1"}, "ESMS_RATE"),
        ({**SERVERS, "ESMS_RATE": "0"}, "ESMS_RATE"),
        ({**SERVERS, "ESMS_RATE": "fast"}, "ESMS_RATE"),
        ({**SERVERS, "ESMS_DEADLINE": "-1"}, "ESMS_DEADLINE"),
        ({**SERVERS, "ESMS_CONCURRENCY": "0"}, "ESMS_CONCURRENCY"),
        ({**SERVERS, "ESMS_CONCURRENCY": "many"}, "ESMS_CONCURRENCY"),
        ({**SERVERS, "ESMS_ATTEMPTS": "1.5"}, "ESMS_ATTEMPTS"),
        ({**SERVERS, "ESMS_QUEUE": "a b"}, "ESMS_QUEUE"),
        ({**SERVERS, "ESMS_QUEUE_KEY": "hush"}, "ESMS_QUEUE_KEY"),
    ],
)
def test_what_cannot_work_is_named(environ: dict[str, str], named: str) -> None:
    """A variable that is missing or can't work is named, and what may be secret is not shown."""
    with pytest.raises(ConfigurationError, match=named) as caught:
        QueueSettings.from_env(environ)
    assert "hush" not in str(caught.value)
