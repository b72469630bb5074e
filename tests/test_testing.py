"""A client with an emulator of its own."""

import subprocess
import sys

import pytest

from esms_async import ConfigurationError, Credentials, EsmsClient, Message, NotSent, Rejected
from esms_async.emulator import Emulator
from esms_async.testing import emulated_client
from tests.factories import CREDENTIALS, QUICK, a_message


async def test_a_client_comes_with_its_emulator() -> None:
    """What it sends is accepted there, and can be read there."""
    async with emulated_client() as esms:
        message = a_message()
        receipt = await esms.send(message)
        (accepted,) = esms.emulator.messages
        assert (accepted.sms_id, accepted.content) == (receipt.sms_id, message.content)


async def test_both_are_closed_in_the_end() -> None:
    """After the context neither sends nor serves."""
    async with emulated_client() as esms:
        url = esms.emulator.url
    with pytest.raises(NotSent, match="closed"):
        await esms.send(a_message())
    async with EsmsClient(CREDENTIALS, base_url=url, retry=QUICK) as other:
        with pytest.raises(NotSent):
            await other.send(a_message())


async def test_the_emulator_and_the_client_can_be_set_up() -> None:
    """An emulator of one's own is started; the other options are those of the client."""
    emulator = Emulator(faults=["http:503,times=1"], credentials=CREDENTIALS)
    async with emulated_client(
        emulator=emulator, credentials=CREDENTIALS, retry=QUICK, sandbox=True
    ) as esms:
        assert esms.emulator is emulator
        receipt = await esms.send(a_message())
        assert len(receipt.attempts) == 2
        assert emulator.messages == []


async def test_its_keys_are_those_of_no_account() -> None:
    """An emulator that asks for keys refuses those that are made up."""
    async with emulated_client(emulator=Emulator(credentials=Credentials("k", "s"))) as esms:
        with pytest.raises(Rejected, match="101"):
            await esms.send(Message("0911000001", "1234"))


async def test_its_address_is_the_emulators() -> None:
    """A base_url is refused, for messages would go elsewhere; the emulator is not left running."""
    emulator = Emulator()
    with pytest.raises(ConfigurationError, match="base_url"):
        async with emulated_client(emulator=emulator, base_url="https://rest.esms.vn/"):
            pass
    assert repr(emulator) == "<Emulator not running>"


def test_a_client_that_only_sends_imports_nothing_else() -> None:
    """Neither the emulator nor what few programs need: ledgers, queries and `reconcile`."""
    program = (
        "import sys, esms_async\n"
        "later = {'esms_async._redis', 'esms_async._send.query', 'esms_async._send.reconcile',"
        " 'esms_async._wire.queries', 'esms_async.ledger.memory', 'esms_async.ledger.redis',"
        " 'esms_async.ledger.sqlite', 'aiohttp.web'}\n"
        "assert not [name for name in sys.modules if 'emulat' in name or name in later]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
