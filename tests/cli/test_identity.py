"""The RequestIds of rows."""

import hashlib
from typing import cast

import pytest

from esms_async import derive_request_id
from esms_async.cli.errors import InputError
from esms_async.cli.identity import RowIds, hold_to_secret, keyed_fingerprint, row_secret
from esms_async.ledger import Ledger, MemoryLedger
from esms_async.ledger.transitions import fingerprint, fingerprint_key, key_id
from tests.factories import a_message

_TEXTS = [("0901888484", "111111 la ma"), ("0901888485", "111111 la ma"), ("0901888484", "2")]


def _of_texts(texts: list[tuple[str, str]], batch: str = "batch", key: str = "secret") -> list[str]:
    with RowIds(batch, key) as ids:
        return [ids.of_text(*text, row) for row, text in enumerate(texts, 2)]


def _of_keys(keys: list[str], batch: str = "batch", key: str = "secret") -> list[str]:
    with RowIds(batch, key) as ids:
        return [ids.of_key(each) for each in keys]


def test_the_same_rows_have_the_same_ids() -> None:
    """Running a file again gives every row the id that it had, and no two rows one id."""
    assert _of_texts(_TEXTS) == _of_texts(_TEXTS)
    assert len({*_of_texts(_TEXTS * 3)}) == 9
    assert _of_keys(["1", "2"]) == _of_keys(["1", "2"])


def test_an_inserted_row_shifts_no_other() -> None:
    """The id of a row depends on the rows equal to it, and on no other."""
    new = ("0901888486", "3")
    first, second, third = _of_texts(_TEXTS)
    inserted = _of_texts([new, *_TEXTS[:1], new, *_TEXTS[1:]])
    assert [inserted[1], *inserted[3:]] == [first, second, third]


def test_another_batch_or_secret_makes_other_ids() -> None:
    """The batch tells sendings apart; the secret goes into texts, and not into keys."""
    assert not {*_of_texts(_TEXTS)} & {*_of_texts(_TEXTS, batch="other")}
    assert not {*_of_texts(_TEXTS)} & {*_of_texts(_TEXTS, key="other")}
    assert not {*_of_keys(["1"])} & {*_of_keys(["1"], batch="other")}
    assert _of_keys(["1"]) == _of_keys(["1"], key="other")


def test_a_key_never_meets_a_text() -> None:
    """A key that looks like what a text becomes makes another id than the text."""
    fingerprint = keyed_fingerprint(b"secret", "0901888484", "2").hex()
    assert not {*_of_texts(_TEXTS)} & {*_of_keys([fingerprint, "0901888484", "1"])}


def test_a_key_belongs_to_its_first_row() -> None:
    """A second row with the key is told which one was first."""
    with RowIds("batch", "secret") as ids:
        request_id = ids.of_key("order 1")
        assert [ids.claim(request_id, row) for row in (5, 9)] == [5, 5]
        assert ids.claim(ids.of_key("order 2"), 10) == 10


def test_a_code_cannot_be_found_by_trying() -> None:
    """Without the secret key, no code tried with all else known gives the fingerprint."""
    phone, code = "0901888484", "42"
    made = keyed_fingerprint(b"secret", phone, f"{code} la ma")
    for tried in range(100):
        text = f"{phone}{tried:02} la ma".encode()
        assert made != hashlib.sha256(text).digest()[: len(made)]
        assert made != keyed_fingerprint(b"guessed", phone, f"{tried:02} la ma")
        assert derive_request_id("bulk text", "batch", text, 1) not in _of_texts(
            [(phone, f"{code} la ma")]
        )


@pytest.mark.parametrize(
    ("environ", "secret"),
    [
        ({"ESMS_SECRET_KEY": "new", "ESMS_ROW_SECRET": "former"}, "former"),
        ({"ESMS_SECRET_KEY": "new", "ESMS_ROW_SECRET": ""}, "new"),
        ({}, ""),
    ],
)
def test_a_former_secret_can_be_named(environ: dict[str, str], secret: str) -> None:
    """Rows go by a variable of their own, else by the account's secret key."""
    assert row_secret(environ) == secret


async def test_a_batch_is_held_to_its_secret() -> None:
    """Another secret is refused in words without either; another batch may have another."""
    async with MemoryLedger() as ledger:
        for _ in range(2):
            await hold_to_secret(ledger, "october", "former secret")
        with pytest.raises(InputError, match="set ESMS_ROW_SECRET to the former") as refused:
            await hold_to_secret(ledger, "october", "new secret")
        assert "'october'" in str(refused.value)
        assert "new secret" not in str(refused.value)
        await hold_to_secret(ledger, "november", "new secret")
        kept = await ledger.keep_fact("row key of batch october", "")
    assert kept == key_id(fingerprint_key("former secret")).hex()


async def test_a_ledger_that_keeps_no_facts_holds_no_batch() -> None:
    """A ledger of the caller's own that can't do it is refused in words."""
    with pytest.raises(InputError, match="a object can't hold a batch"):
        await hold_to_secret(cast("Ledger", object()), "october", "secret")


def test_the_id_of_a_key_begins_its_fingerprints() -> None:
    """What a ledger holds a batch to is what its entries show of the key anyway."""
    key = fingerprint_key("secret")
    assert fingerprint(a_message(), key).startswith(key_id(key))
    assert key_id(key) != key_id(fingerprint_key("other"))
