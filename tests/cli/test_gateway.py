"""The gateway that a command sends to."""

import pytest

from esms_async import ConfigurationError, EsmsClient, Message
from esms_async.cli.errors import InputError
from esms_async.cli.gateway import DeliveryCounter, GatewayChoice, connect
from esms_async.emulator import Emulator, Event, EventKind
from tests.cli.support import KEYS
from tests.factories import API_KEY, CREDENTIALS, SECRET_KEY


@pytest.mark.parametrize(
    "choice",
    [
        GatewayChoice(emulator=True, base_url="http://127.0.0.1:1/"),
        GatewayChoice(faults=("reset",)),
        GatewayChoice(seed=0),
    ],
)
async def test_options_that_exclude_each_other_are_an_error(choice: GatewayChoice) -> None:
    """Nothing that speaks of an emulator is taken where none was asked for."""
    with pytest.raises(InputError):
        async with connect(choice, environ=KEYS):
            pass


@pytest.mark.parametrize("missing", ["ESMS_API_KEY", "ESMS_SECRET_KEY"])
async def test_a_missing_key_is_an_error(missing: str) -> None:
    """Without the account's keys nothing stands in for them, an emulator least of all."""
    environ = {name: value for name, value in KEYS.items() if name != missing}
    with pytest.raises(ConfigurationError, match=missing):
        async with connect(GatewayChoice(), environ=environ):
            pass


@pytest.mark.parametrize("url", ["http://esms.example/", "https://user:word@esms.example/"])
async def test_an_unsafe_address_is_an_error(url: str) -> None:
    """The keys go over TLS, or not at all."""
    with pytest.raises(ConfigurationError, match="base_url"):
        async with connect(GatewayChoice(base_url=url), environ=KEYS):
            pass


async def test_the_real_gateway_is_the_default() -> None:
    """With keys and nothing else said, messages go to the service itself."""
    async with connect(GatewayChoice(), environ=KEYS) as connection:
        assert connection.url == "https://rest.esms.vn/MainService.svc/json/"
        assert (connection.counter, connection.seed) == (None, None)
        assert SECRET_KEY not in repr(connection)


async def test_the_address_of_the_environment_counts() -> None:
    """`ESMS_BASE_URL` is used, unless an option names another address."""
    async with Emulator() as emulator:
        environ = {**KEYS, "ESMS_BASE_URL": emulator.url}
        async with connect(GatewayChoice(), environ=environ) as connection:
            assert connection.url == emulator.url
            assert (await connection.client.send(Message("0901888484", "686868"))).sms_id
        choice = GatewayChoice(base_url="http://localhost:1/")
        async with connect(choice, environ=environ) as connection:
            assert connection.url == "http://localhost:1/"


async def test_the_sandbox_is_asked_for() -> None:
    """The option reaches the gateway, which stores nothing then."""
    async with Emulator() as emulator:
        choice = GatewayChoice(base_url=emulator.url, sandbox=True)
        async with connect(choice, environ=KEYS) as connection:
            assert (await connection.client.send(Message("0901888484", "686868"))).sms_id
        assert emulator.mark() == 0


async def test_an_emulator_never_sees_the_keys() -> None:
    """It is started when asked for, with its faults, and is given keys of its own."""
    choice = GatewayChoice(emulator=True, faults=("http:503,times=1",), seed=5)
    async with connect(choice, environ=KEYS) as connection:
        assert connection.url.startswith("http://127.0.0.1:")
        assert connection.seed == 5
        assert connection.secret not in (API_KEY, SECRET_KEY)
        receipt = await connection.client.send(Message("0901888484", "686868"))
        assert len(receipt.attempts) == 2


async def test_deliveries_are_counted_at_the_gateway() -> None:
    """It counts what was accepted, and sees when a phone got the same text twice."""
    async with connect(GatewayChoice(emulator=True)) as connection:
        client, counter = connection.client, connection.counter
        assert counter is not None
        message = Message("0901888484", "686868")
        await client.send(message)
        assert (counter.accepted, counter.twice) == (1, 0)
        await client.send(Message("0901888484", "another text"))
        assert (counter.accepted, counter.twice) == (2, 0)
        await client.send(message.renewed())
        assert (counter.accepted, counter.twice) == (3, 1)


async def test_deliveries_are_counted_a_message_once() -> None:
    """An event that comes again because the delivery changed is no second acceptance."""
    async with Emulator() as emulator:
        counter = DeliveryCounter(emulator)
        client = EsmsClient(CREDENTIALS, base_url=emulator.url)
        async with client:
            await client.send(Message("0901888484", "686868"))
        for message in emulator.messages * 2:
            counter._see(Event(EventKind.MESSAGE, message=message))
        assert (counter.accepted, counter.twice) == (1, 0)
