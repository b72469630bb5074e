"""Tests of views of a client: what they share with it, and what they change."""

import asyncio

import pytest

from esms_async import ConfigurationError, EsmsClient, OutcomeUnknown, RetryPolicy
from tests.factories import CREDENTIALS, a_message
from tests.scripted_gateway import Exchange, ScriptedGateway, accept
from tests.steps import reset

ONE_ATTEMPT = RetryPolicy(attempts=1)


def a_client(gateway: ScriptedGateway) -> EsmsClient:
    """Return a client of a gateway."""
    return EsmsClient(CREDENTIALS, base_url=gateway.url)


async def test_a_view_tries_as_often_as_its_own_policy_says(gateway: ScriptedGateway) -> None:
    """The view gives up after one attempt, and the client still tries again."""
    async with a_client(gateway) as client:
        gateway.script.append(reset)
        with pytest.raises(OutcomeUnknown) as caught:
            await client.with_options(retry=ONE_ATTEMPT).send(a_message())
        assert len(caught.value.attempts) == 1
        gateway.script.append(reset)
        assert len((await client.send(a_message())).attempts) == 2


async def test_a_view_shares_what_the_client_remembers(gateway: ScriptedGateway) -> None:
    """A message that the client has sent is not sent again by a view of it."""
    message = a_message()
    async with a_client(gateway) as client:
        receipt = await client.send(message)
        assert await client.with_options(retry=ONE_ATTEMPT).send(message) is receipt
    assert gateway.accepted[message.request_id] == 1


async def test_a_view_joins_a_send_of_the_client(gateway: ScriptedGateway) -> None:
    """One request serves a client and a view that send one message at once."""
    message = a_message()
    async with a_client(gateway) as client:
        receipts = await asyncio.gather(
            client.send(message), client.with_options(retry=ONE_ATTEMPT).send(message)
        )
    assert receipts[0] is receipts[1]
    assert gateway.accepted[message.request_id] == 1


async def test_closing_a_view_leaves_the_client_open(gateway: ScriptedGateway) -> None:
    """The connections belong to the client."""
    async with a_client(gateway) as client:
        async with client.with_options(retry=ONE_ATTEMPT) as view:
            await view.send(a_message())
        await client.send(a_message())


async def test_a_view_names_its_own_place_for_reports(gateway: ScriptedGateway) -> None:
    """A view of a client without a CallbackUrl sends one, and a view of the view sends none."""
    bodies: list[bytes] = []

    async def note(exchange: Exchange) -> None:
        bodies.append(exchange.body)
        await accept(exchange)

    gateway.script.extend([note, note])
    async with a_client(gateway) as client:
        view = client.with_options(callback_url="https://example.com/report")
        await view.send(a_message())
        await view.with_options(callback_url=None).send(a_message())
    assert [b"https://example.com/report" in body for body in bodies] == [True, False]


async def test_a_view_has_a_limiter_of_its_own(gateway: ScriptedGateway) -> None:
    """Attempts of the view wait for its limiter, those of the client do not."""
    limiter = asyncio.Semaphore(0)
    async with a_client(gateway) as client:
        view = client.with_options(limiter=limiter)
        waiting = asyncio.ensure_future(view.send(a_message()))
        await client.send(a_message())
        await view.with_options(limiter=None).send(a_message())
        assert not waiting.done()
        limiter.release()
        await waiting


def test_a_view_refuses_what_can_not_work() -> None:
    """A wrong option is named."""
    client = EsmsClient(CREDENTIALS)
    with pytest.raises(ConfigurationError, match="retry"):
        client.with_options(retry=8)  # type: ignore[arg-type]  # the point
    with pytest.raises(ConfigurationError, match="callback_url"):
        client.with_options(callback_url="nowhere")
