"""What a gateway must do with the public test brandname: the emulator here, or the real one.

Against the real gateway, set `ESMS_CONTRACT_API_KEY`, `ESMS_CONTRACT_SECRET_KEY` and
`ESMS_CONTRACT_PHONE`, and run `pytest tests/test_contract.py`. It asks, and sends to the sandbox.
`ESMS_CONTRACT_SEND=1` sends one real SMS to that phone, and asks for its duplicate.
`ESMS_CONTRACT_BRANDNAME`, `ESMS_CONTRACT_TEXT` and `ESMS_CONTRACT_URL` replace the test brandname,
its text and the address.
"""

import os
import secrets
from collections.abc import AsyncIterator, Callable

import attrs
import pytest

from esms_async import (
    Brandname,
    Credentials,
    DuplicateRequestId,
    EsmsClient,
    Message,
    Rejected,
)
from esms_async.emulator import Emulator

SET = {
    name.removeprefix("ESMS_CONTRACT_"): value
    for name, value in os.environ.items()
    if name.startswith("ESMS_CONTRACT_") and value
}
IS_REAL = {"API_KEY", "SECRET_KEY", "PHONE"} <= set(SET)
SENDS = not IS_REAL or SET.get("SEND") == "1"
BRAND = Brandname(SET.get("BRANDNAME", "Baotrixemay"))
PHONE = SET.get("PHONE", "0901888484")
REGISTERED = SET.get("TEXT", "{code} la ma xac minh dang ky Baotrixemay cua ban")


@attrs.frozen
class Place:
    """A gateway, and the way to make clients of it, each without a memory of the others."""

    client: Callable[..., EsmsClient]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """The real gateway where the variables name an account, else an emulator."""
    if IS_REAL:
        keys = Credentials(SET["API_KEY"], SET["SECRET_KEY"])
        url = {"base_url": SET["URL"]} if "URL" in SET else {}
        yield Place(lambda sandbox: EsmsClient(keys, route=BRAND, sandbox=sandbox, **url))  # type: ignore[arg-type]  # base_url alone
        return
    async with Emulator() as emulator:
        keys = Credentials("any", "any")
        yield Place(
            lambda sandbox: EsmsClient(keys, route=BRAND, sandbox=sandbox, base_url=emulator.url)
        )


def a_text() -> str:
    """Return a text that fits, with another code each time."""
    return REGISTERED.replace("{code}", f"{secrets.randbelow(10**6):06}")


async def test_the_account_has_the_brandname(place: Place) -> None:
    """It is listed, with a template that the text fits."""
    async with place.client(sandbox=True) as esms:
        assert BRAND.name in [one.name for one in await esms.brandnames()]
        templates = await esms.templates(BRAND)
        assert templates.match(a_text())
        assert not templates.match("no such template")


async def test_a_message_has_a_price(place: Place) -> None:
    """The gateway tells it before anything is sent."""
    async with place.client(sandbox=True) as esms:
        assert (await esms.price(Message(PHONE, a_text()))).amount > 0


async def test_the_sandbox_accepts_what_fits(place: Place) -> None:
    """It answers with an SMSID, and sends nothing."""
    async with place.client(sandbox=True) as esms:
        assert (await esms.send(Message(PHONE, a_text()))).sms_id


@pytest.mark.parametrize(
    ("route", "content", "code"),
    [(Brandname("No such name"), None, "104"), (BRAND, "no such template", "146")],
    ids=["104", "146"],
)
async def test_what_does_not_fit_is_rejected(
    place: Place, route: Brandname, content: str | None, code: str
) -> None:
    """An unknown brandname, and a text without a template."""
    async with place.client(sandbox=True) as esms:
        with pytest.raises(Rejected) as caught:
            await esms.send(Message(PHONE, content or a_text(), route=route))
        assert caught.value.code == code


@pytest.mark.skipif(not SENDS, reason="sends an SMS: set ESMS_CONTRACT_SEND=1")
async def test_a_request_id_is_taken_once(place: Place) -> None:
    """A second client that knows nothing of the first gets 124."""
    message = Message(PHONE, a_text())
    async with place.client(sandbox=False) as esms:
        assert (await esms.send(message)).sms_id
    async with place.client(sandbox=False) as esms:
        with pytest.raises(DuplicateRequestId):
            await esms.send(message)
