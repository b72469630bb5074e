"""The RequestIds of rows."""

import hashlib

from esms_async import derive_request_id
from esms_async.cli.identity import RowIds, keyed_fingerprint

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
