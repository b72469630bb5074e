"""The RequestIds of rows: the same row of the same batch has the same one whenever it is sent."""

import hashlib
import hmac
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from types import TracebackType
from typing import Self

from esms_async._model.request_ids import derive_request_id
from esms_async.cli.errors import InputError
from esms_async.ledger import Ledger, LedgerFacts
from esms_async.ledger.transitions import fingerprint_key, key_id


def row_secret(environ: Mapping[str, str]) -> str:
    """Return the secret that the RequestIds of rows without a key are derived with.

    Returns:
        What `ESMS_ROW_SECRET` holds, else the account's secret key; an empty string for neither.
    """
    return environ.get("ESMS_ROW_SECRET") or environ.get("ESMS_SECRET_KEY", "")


async def hold_to_secret(ledger: Ledger, batch: str, secret: str) -> None:
    """Bind a batch to the secret that the RequestIds of its rows are derived with.

    Under another secret every row would have another RequestId, and would be sent once more.

    Args:
        ledger: The ledger of the batch, open.
        batch: The name of the batch.
        secret: The secret. Of it the ledger keeps what names it, and tells nothing of it.

    Raises:
        InputError: The batch was begun with another secret, or the ledger keeps no facts.
        LedgerError: The ledger can't be used.
    """
    if not isinstance(ledger, LedgerFacts):
        raise InputError(f"a {type(ledger).__name__} can't hold a batch to its secret key")
    ours = key_id(fingerprint_key(secret)).hex()
    kept = await ledger.keep_fact(f"row key of batch {batch}", ours)
    if kept != ours:
        raise InputError(
            f"the rows of batch {batch!r} were sent under another secret key, and under this one "
            "each would be sent anew; set ESMS_ROW_SECRET to the former secret key, which makes "
            "the same ids again (if no row was accepted yet, another --batch does too)"
        )


class RowIds:
    """Derives the RequestIds of one batch. Use it with `with`: it keeps a temporary file.

    Args:
        batch: The name of the batch: a row that is sent in another batch is another message.
        secret: The secret that ids are derived with, as `row_secret` tells it.
    """

    def __init__(self, batch: str, secret: str) -> None:
        self._batch = batch
        self._secret = secret.encode()
        self._seen = _Seen()

    def of_key(self, key: str) -> str:
        """Return the RequestId of a row that has a key."""
        return derive_request_id("bulk key", self._batch, key)

    def claim(self, request_id: str, row: int) -> int:
        """Note which row sends under a RequestId that comes from a key.

        Returns:
            The number of the row that has it: this one, or an earlier one with the same key.
        """
        _, first = self._seen.add(bytes.fromhex(request_id), row)
        return first

    def of_text(self, phone: str, content: str, row: int) -> str:
        """Return the RequestId of a row without a key.

        It depends on how many times the same phone and content have come, and on no other row,
        so that a row that is inserted or taken out leaves the ids of the others alone.

        Args:
            phone: The phone, as `0XXXXXXXXX`.
            content: The text.
            row: The number of the row.
        """
        fingerprint = keyed_fingerprint(self._secret, phone, content)
        times, _ = self._seen.add(fingerprint, row)
        return derive_request_id("bulk text", self._batch, fingerprint, times)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._seen.close()


def keyed_fingerprint(secret: bytes, phone: str, content: str) -> bytes:
    """Return what stands for a phone and a content where neither may be found out.

    A RequestId travels in clear through logs, result files and the gateway. A one-time code has
    few digits and a phone number nine: whoever knows the rest of the text finds both behind a
    plain hash by trying. Behind a hash keyed with the account's secret key that takes the key,
    which neither logs nor result files hold. The price is that a new secret key makes new ids.

    Args:
        secret: The account's secret key.
        phone: The phone, as `0XXXXXXXXX`, so that no two pairs read the same.
        content: The text.

    Returns:
        20 bytes.
    """
    text = f"{phone}{content}".encode("utf-8", "surrogatepass")
    return hmac.digest(secret, text, hashlib.sha256)[:20]


class _Seen:
    """How often each fingerprint has come, and in which row first.

    They may be more than fit into memory, so SQLite keeps them, in a temporary file that has no
    name and is gone when it is closed.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF;"
            "PRAGMA synchronous = OFF;"
            "CREATE TABLE seen (fingerprint BLOB PRIMARY KEY, times INTEGER, row INTEGER)"
            " WITHOUT ROWID;"
            "BEGIN"
        )

    def add(self, fingerprint: bytes, row: int) -> tuple[int, int]:
        """Count one more, and return how many there are now and the row of the first."""
        with closing(
            self._database.execute(
                "INSERT INTO seen VALUES (?, 1, ?)"
                " ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times, row",
                (fingerprint, row),
            )
        ) as counted:
            times, first = counted.fetchone()
            return times, first

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
