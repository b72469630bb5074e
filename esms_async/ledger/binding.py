"""Binds a ledger to one destination and one account.

A ledger that holds a message as accepted keeps it from being sent. That is true only for the
gateway and the account that accepted it.
"""

import hashlib
from typing import Final

from esms_async._model.errors import ForeignLedger, LedgerError
from esms_async.ledger.base import Ledger, LedgerFacts

_DESTINATION: Final = "destination"
_ACCOUNT: Final = "account"
_DIGITS: Final = 16


async def bind(ledger: Ledger, *, destination: str, api_key: str) -> None:
    """Bind an open ledger to a destination and an account, or check that it is bound to them.

    The destination is scheme, host and port, and " sandbox" if the gateway only checks. The ledger
    keeps a hash of the ApiKey. A ledger that keeps no facts (`LedgerFacts`) is not bound.

    Raises:
        ForeignLedger: The ledger belongs to another destination or account.
        LedgerError: The ledger can't be used.
    """
    if not isinstance(ledger, LedgerFacts):
        return
    kept = await ledger.keep_fact(_DESTINATION, destination)
    if kept != destination:
        raise ForeignLedger(
            f"the ledger holds what was sent to {kept}; use another ledger for what is sent to "
            f"{destination}"
        )
    account = account_of(api_key)
    if await ledger.keep_fact(_ACCOUNT, account) != account:
        raise ForeignLedger(
            "the ledger belongs to another ApiKey, and what one account has sent says nothing of "
            "another; if these are new keys of the same account, or the former ApiKey was "
            "mistyped, run `esms-async ledger rebind LEDGER` once, else use another ledger"
        )


async def rebind(ledger: Ledger, *, api_key: str) -> bool:
    """Bind an open ledger to a new ApiKey of its account; return False if it already is.

    Raises LedgerError if the ledger keeps no facts or can't be used.
    """
    if not isinstance(ledger, LedgerFacts):
        raise LedgerError(f"a {type(ledger).__name__} is bound to no account")
    account = account_of(api_key)
    if (await ledger.facts()).get(_ACCOUNT) == account:
        return False
    await ledger.replace_fact(_ACCOUNT, account)
    return True


def account_of(api_key: str) -> str:
    """Return the name of an account in a ledger: 16 hex digits of a hash of its ApiKey."""
    labelled = b"esms_async ledger account, version 1\n" + api_key.encode()
    return hashlib.sha256(labelled).hexdigest()[:_DIGITS]
