"""How many modules a message passes on its way to the socket and back."""

from esms_async import EsmsClient
from tests.calls import record
from tests.factories import CREDENTIALS, a_message
from tests.scripted_gateway import ScriptedGateway

MOST_FILES = 5
MOST_CHANGES = 12


async def test_a_first_attempt_passes_few_modules(gateway: ScriptedGateway) -> None:
    """Who follows a warm send opens at most five files, and changes between them twelve times."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        await client.send(a_message())
        message = a_message()

        async def send() -> None:
            await client.send(message)

        calls = await record(send())
    assert gateway.accepted[message.request_id] == 1
    assert {"client.py", "_send/send.py", "_wire/send.py", "_http/transport.py"} <= calls.files
    assert len(calls.files) <= MOST_FILES, calls
    assert calls.changes <= MOST_CHANGES, calls
