"""The commands `balance`, `status` and `reconcile`."""

import asyncio
import json
from pathlib import Path
from unittest.mock import ANY

import pytest

from esms_async import EsmsClient, OutcomeUnknown
from esms_async.cli.account import _line, _word
from esms_async.cli.app import run as run_here
from esms_async.emulator import AccountState, Clock, Emulator
from esms_async.ledger import SqliteLedger
from esms_async.queries import Finding, Reconciled, SendStatus, SmsStatus
from tests.cli.support import KEYS, finish, run, start
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


async def ask(emulator: Emulator, *arguments: str) -> tuple[int | None, str, str]:
    """Run a command against an emulator; return its exit code and what it said."""
    asking = await start(*arguments, "--base-url", emulator.url)
    out, err = await finish(asking)
    return asking.returncode, out, err


def test_an_emulated_balance(capsys: pytest.CaptureFixture[str]) -> None:
    """The first line says that no SMS leaves, as with every command."""
    assert run_here(["balance", "--emulator"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "EMULATOR: NO SMS LEAVES THIS MACHINE"
    assert out[-1] == "balance 1,000,000,000,000,000 dong"


async def test_the_balance() -> None:
    """A person reads a line, a program one object."""
    async with Emulator(balance=36693) as emulator:
        code, out, err = await ask(emulator, "balance")
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == "balance 36,693 dong"
        code, out, _ = await ask(emulator, "balance", "--json")
        assert (code, json.loads(out)) == (0, {"balance": 36693, "user_id": "9999"})


def test_a_gateway_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused account has an exit code of its own, and each failure is one line."""
    assert run_here(["balance", "--emulator", "--fault", "code:101"]) == 3
    error = capsys.readouterr().err
    assert error == (
        "GetBalance_json: rejected with code 101: wrong ApiKey or SecretKey; "
        "the gateway says 'Authorize Failed'\n"
    )
    assert run_here(["status", "d8e0", "--emulator", "--fault", "http:404"]) == 1
    assert capsys.readouterr().err == "GetSendStatus: refused with HTTP status 404\n"


async def test_a_status() -> None:
    """It tells a delivered message from one that is not known, or not known yet."""
    clock = Clock(running=False)
    async with Emulator(clock=clock) as emulator:
        async with EsmsClient(CREDENTIALS, base_url=emulator.url) as client:
            sms_id = (await client.send(a_message())).sms_id
        assert sms_id is not None
        code, out, _ = await ask(emulator, "status", sms_id)
        assert (code, out.splitlines()[-1]) == (0, f"waiting (SMSID {sms_id})")
        clock.advance(60)
        code, out, _ = await ask(emulator, "status", sms_id, "--json")
        told = json.loads(out)
        assert (code, told["delivered"], told["final"], told["price"]) == (0, True, True, 850)
        code, out, _ = await ask(emulator, "status", "nobody")
        assert code == 1
        assert out.splitlines()[-1] == "not known, or not known yet (SMSID nobody)"
        code, out, _ = await ask(emulator, "status", "nobody", "--json")
        assert (code, json.loads(out)["known"]) == (1, False)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (SmsStatus("id", SendStatus.FINISHED, succeeded=1), "delivered"),
        (SmsStatus("id", SendStatus.FINISHED, failed=1), "failed"),
        (SmsStatus("id", SendStatus.AWAITING_APPROVAL), "awaiting approval"),
        (SmsStatus("id", 9), "status 9"),
        (SmsStatus("id", None), "status not told"),
    ],
)
def test_the_words_for_a_status(status: SmsStatus, word: str) -> None:
    """A status that no page lists is shown as its number."""
    assert str(_word(status)) == word


async def test_a_ledger_is_reconciled(tmp_path: Path) -> None:
    """What is listed is settled in the ledger, what remains is listed with the reason."""
    path = str(tmp_path / "ledger")
    lost, other = a_message(), a_message("0911000001")
    async with Emulator(faults=["reset@send,phase=after"]) as emulator:
        for message, trackable in ((lost, True), (other, False)):
            async with EsmsClient(
                CREDENTIALS,
                base_url=emulator.url,
                ledger=SqliteLedger(path),
                retry=ONE_ATTEMPT,
                trackable=trackable,
            ) as client:
                with pytest.raises(OutcomeUnknown):
                    await client.send(message)
        sms_id = emulator.messages[0].sms_id
        code, out, err = await ask(emulator, "reconcile", "--ledger", path)
        assert (code, err) == (1, "")
        assert out.splitlines()[1:] == [
            f"accepted 090****484 (SMSID {sms_id}, request id {lost.request_id})",
            (
                "unknown 091****001: messages to this phone are listed for that time, but none "
                "has its request id as campaign id; only a client made with trackable=True "
                f"sends that (request id {other.request_id})"
            ),
            "1 settled, 1 unknown",
        ]
        code, out, _ = await ask(emulator, "reconcile", "--ledger", path, "--json")
        assert (code, json.loads(out)) == (
            1,
            {
                "settled": [],
                "unknown": [
                    {
                        "request_id": other.request_id,
                        "phone": "091****001",
                        "finding": "similar",
                        "sms_id": None,
                        "missing": ANY,
                        "listed": [emulator.messages[1].sms_id],
                    }
                ],
            },
        )
        emulator.account = AccountState.LOCKED
        code, _, err = await ask(emulator, "reconcile", "--ledger", path)
        assert (code, err.partition(":")[0]) == (3, "GetSmsSentData_V2")


def test_a_ledger_without_unknown_sends(tmp_path: Path) -> None:
    """There is nothing to ask for."""
    path = tmp_path / "ledger"

    async def make() -> None:
        async with SqliteLedger(path):
            pass

    asyncio.run(make())
    done = run("reconcile", "--ledger", str(path), "--emulator")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0 settled, 0 unknown")


def test_a_ledger_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """None is made by looking for it, and the option can't be left out."""
    assert run_here(["reconcile", "--ledger", "no-such-file", "--emulator"]) == 2
    assert capsys.readouterr().err.startswith("esms-async: there is no ledger no-such-file")
    assert run_here(["reconcile", "--emulator"]) == 2
    assert "--ledger" in capsys.readouterr().err


def test_what_a_ledger_has_forgotten() -> None:
    """It is printed all the same, with what is missing."""
    gone = Reconciled("login:7", Finding.FOUND, None, missing="its entry was deleted")
    assert str(_line(gone)) == (
        "unknown a phone: it is listed as accepted, but its entry was deleted from the ledger "
        "meanwhile (request id login:7)"
    )
