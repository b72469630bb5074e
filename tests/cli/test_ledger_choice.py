"""Which ledger a job keeps."""

from pathlib import Path

import pytest

import esms_async.ledger
from esms_async.cli.errors import InputError
from esms_async.cli.ledger_choice import LedgerChoice, choose_ledger, ledger_at
from esms_async.cli.words import text
from esms_async.ledger import RedisLedger, SqliteLedger


def _choose(
    path: str = "-",
    named: str | None = None,
    *,
    refused: bool = False,
    sandbox: bool = False,
    emulator: bool = False,
) -> LedgerChoice:
    return choose_ledger(path, named, refused=refused, sandbox=sandbox, emulator=emulator)


def test_a_ledger_stands_beside_its_input(tmp_path: Path) -> None:
    """A file has one without being asked; a pipe has no place for one, and the line says so."""
    path = tmp_path / "a.csv"
    path.touch()
    assert _choose(str(path)) == LedgerChoice(
        f"{path}.ledger", text("ledger", place=f"{path}.ledger")
    )
    assert _choose("-").place is None
    assert str(_choose("-").line).startswith(
        "No ledger: standard input is no file to keep one beside"
    )
    assert str(_choose("/dev/null").line).startswith("No ledger: /dev/null is no file")


def test_what_reaches_no_phone_keeps_no_ledger(tmp_path: Path) -> None:
    """A ledger of what the sandbox took would keep the rows from being sent for real."""
    path = tmp_path / "a.csv"
    path.touch()
    assert str(_choose(str(path), sandbox=True).line) == "No ledger: the sandbox sends nothing"
    assert _choose(str(path), emulator=True) == LedgerChoice()
    assert _choose(str(path), "b.ledger", emulator=True).place == "b.ledger"
    assert _choose(str(path), refused=True, emulator=True) == LedgerChoice()
    assert "for 24 hours the gateway refuses (code 124)" in str(
        _choose(str(path), refused=True).line
    )
    for sandbox in (False, True):
        with pytest.raises(InputError, match="ledger"):
            _choose(str(path), "b.ledger", refused=not sandbox, sandbox=sandbox)


def test_a_password_does_not_show() -> None:
    """The URL of a ledger on Redis is shown without what opens it."""
    choice = _choose(named="rediss://user:word@redis.example:6380/2?password=word")
    assert str(choice.line) == "Ledger: rediss://redis.example:6380/2"
    assert "word" not in repr(choice)


def test_a_place_is_a_file_or_on_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kind of ledger it is shows in the name; nothing is opened yet."""
    assert isinstance(ledger_at("redis://127.0.0.1:1/0"), RedisLedger)
    assert isinstance(_choose(named="a.ledger").make(), SqliteLedger)
    assert _choose().make() is None

    def lack(_: str) -> None:
        raise ImportError("it needs redis-py")

    monkeypatch.setattr(esms_async.ledger, "__getattr__", lack)
    with pytest.raises(InputError, match="needs redis-py"):
        ledger_at("redis://127.0.0.1:1/0")


def test_an_invalid_url_is_named_without_its_words() -> None:
    """The error shows what a URL looks like, and nothing that may be a password."""
    with pytest.raises(InputError, match=r"write it as redis://host:6379/0$") as refused:
        _choose(named="redis://user:word@[bad")
    assert "word" not in str(refused.value)
