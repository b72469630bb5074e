"""A ledger belongs to one destination and one account."""

from collections.abc import Callable
from typing import cast

import pytest

from esms_async import LedgerError
from esms_async.ledger import Ledger, LedgerFacts, LedgerReports
from esms_async.ledger.binding import account_of, bind, rebind

GATEWAY = "https://rest.esms.vn:443"


class BareLedger:
    """A ledger of the caller's own, which keeps no facts and no reports."""

    is_open = True


async def test_a_ledger_is_bound_by_whoever_comes_first(
    make_ledger: Callable[[], Ledger],
) -> None:
    """The same destination and account are let in, now and after it was opened again."""
    for _ in range(2):
        ledger = make_ledger()
        await ledger.open()
        await bind(ledger, destination=GATEWAY, api_key="a key")
        await bind(ledger, destination=GATEWAY, api_key="a key")
        await ledger.aclose()


@pytest.mark.parametrize(
    "other", [f"{GATEWAY} sandbox", "https://rest.esms.vn:8443", "http://127.0.0.1:443"]
)
async def test_another_destination_is_refused(ledger: Ledger, other: str) -> None:
    """The error names both."""
    await bind(ledger, destination=GATEWAY, api_key="a key")
    with pytest.raises(LedgerError, match=f"sent to {GATEWAY}; .* sent to {other}$"):
        await bind(ledger, destination=other, api_key="a key")


async def test_another_account_is_refused_until_it_is_rebound(ledger: Ledger) -> None:
    """The error names the command; after it the new key is let in, and the former is not."""
    await bind(ledger, destination=GATEWAY, api_key="a key")
    with pytest.raises(LedgerError, match="`esms-async ledger rebind LEDGER`") as refused:
        await bind(ledger, destination=GATEWAY, api_key="the next key")
    assert "next key" not in str(refused.value)
    assert await rebind(ledger, api_key="the next key")
    assert not await rebind(ledger, api_key="the next key")
    await bind(ledger, destination=GATEWAY, api_key="the next key")
    with pytest.raises(LedgerError, match="another ApiKey"):
        await bind(ledger, destination=GATEWAY, api_key="a key")


async def test_a_ledger_keeps_no_key(ledger: Ledger) -> None:
    """Only a short hash is stored, and it is not that of the key alone."""
    await bind(ledger, destination=GATEWAY, api_key="a key")
    assert isinstance(ledger, LedgerFacts)
    facts = await ledger.facts()
    assert facts == {"destination": GATEWAY, "account": account_of("a key")}
    assert len(facts["account"]) == 16
    assert "a key" not in str(facts)


async def test_a_ledger_without_facts_is_not_bound() -> None:
    """It need not keep any; rebinding it says so."""
    bare = BareLedger()
    assert not isinstance(bare, LedgerFacts | LedgerReports)
    await bind(cast("Ledger", bare), destination=GATEWAY, api_key="a key")
    with pytest.raises(LedgerError, match="BareLedger is bound to no account"):
        await rebind(cast("Ledger", bare), api_key="a key")
