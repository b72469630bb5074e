"""The command `send`."""

import asyncio
import json
import signal

import pytest

from esms_async import EsmsClient, Receipt
from esms_async.cli.app import run as run_here
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.screen import Screen
from esms_async.cli.send import OneMessage, send
from esms_async.codes import lookup
from esms_async.emulator import Emulator
from tests.cli.support import KEYS, finish, run_apart, start
from tests.limits import generous


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def test_a_message_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    """The first line says that no SMS leaves, the last what became of the message, masked."""
    arguments = ["send", "+84 901 888 484", "686868 la ma", "--emulator", "--request-id", "login:7"]
    assert run_here(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "EMULATOR: NO SMS LEAVES THIS MACHINE"
    assert out[-1].startswith("accepted 090****484 (SMSID ")
    assert out[-1].endswith(", request id login:7, 1 attempt)")


def test_a_lost_answer_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that is known by code 124 has no SMSID yet, and the line says why."""
    arguments = ["send", "0901888484", "686868 la ma", "--emulator"]
    assert run_here([*arguments, "--fault", "reset,phase=after,times=1"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "2 attempts, learned from code 124; the SMSID comes with the delivery report" in line


def test_a_refusal_is_said_in_vietnamese(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who reads Vietnamese learns why the gateway refused the message."""
    monkeypatch.setenv("ESMS_LANG", "vi")
    assert run_here(["send", "0901888484", "x", "--emulator", "--fault", "code:201"]) == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"bị từ chối 090****484: mã 201: {lookup('201').meaning_vi}")


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        ("code:201", 1, "rejected 090****484: code 201: the content holds a"),
        ("code:101", 3, "rejected 090****484: code 101: wrong ApiKey or SecretKey"),
    ],
)
def test_a_refusal_has_its_exit_code(
    fault: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal of the message is told apart from one of the account."""
    arguments = ["send", "0901888484", "686868 la ma", "--emulator", "--fault", fault]
    assert run_here(arguments) == code
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith(line)
    assert "686868" not in out


def test_json_goes_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output holds one object and nothing else."""
    arguments = ["send", "0901888484", "686868 la ma", "--emulator", "--request-id", "id", "--json"]
    assert run_here(arguments) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert len(told.pop("sms_id")) == 32
    assert told == {
        "phone": "090****484",
        "request_id": "id",
        "status": "accepted",
        "code": "100",
        "attempts": 1,
        "reason": "",
        "deduplicated": False,
    }
    assert "686868" not in err


def test_the_content_can_be_piped_in() -> None:
    """A content of `-` is read from standard input, so that no history keeps it."""
    done = run_apart("send", "0901888484", "-", "--emulator", stdin="mã 686868\r\n".encode())
    assert done.returncode == 0
    done = run_apart("send", "0901888484", "-", "--emulator", stdin=b"\xff\n")
    assert (done.returncode, "content: holds half a surrogate" in done.stderr) == (2, True)
    done = run_apart("send", "0901888484", "-", "--emulator", stdin=b"\n")
    assert (done.returncode, done.stderr) == (
        2,
        "esms-async: content: is empty; give the text to send\n",
    )


async def test_an_unknown_outcome_is_resumed() -> None:
    """After an interrupt the line that is shown finds out that the message had arrived."""
    async with Emulator(faults=["hang,phase=after,times=1"]) as emulator:
        message = ["send", "0901888484", "686868 la ma", "--base-url", emulator.url]
        sending = await start(*message)
        await emulator.wait_for(timeout=generous(30))
        sending.send_signal(signal.SIGINT)
        out, err = await finish(sending)
        assert (sending.returncode, err) == (130, "")
        assert "unknown 090****484: it may have been accepted: cancelled" in out
        resume = out.splitlines()[-1].partition("--request-id ")[2].split()
        resumed = await start(*message, "--request-id", *resume)
        out = (await finish(resumed))[0]
        assert resumed.returncode == 0
        assert "learned from code 124" in out
        assert emulator.mark() == 1


async def test_a_cancellation_that_tells_nothing_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message that nobody knows anything about has no line."""

    async def cancelled(*_: object) -> Receipt:
        raise asyncio.CancelledError

    monkeypatch.setattr(EsmsClient, "send", cancelled)
    options = OneMessage("0901888484", "686868")
    with pytest.raises(asyncio.CancelledError):
        await send(options, GatewayChoice(emulator=True), Screen())


async def test_an_interrupt_during_a_pause_ends_it() -> None:
    """SIGTERM does not wait for the pause that the gateway asked for."""
    async with Emulator(faults=["http:503,retry_after=20"]) as emulator:
        sending = await start("send", "0901888484", "686868", "--base-url", emulator.url)
        await emulator.wait_for_request(timeout=generous(30))
        sending.terminate()
        out = (await finish(sending))[0]
        assert sending.returncode == 130
        assert "unknown 090****484: it may have been accepted: cancelled" in out
        assert emulator.mark() == 0


async def test_the_sandbox_is_told_from_a_send() -> None:
    """What was only checked does not read as accepted, and a refusal stays one."""
    async with Emulator() as emulator:
        message = ["send", "0901888484", "686868", "--base-url", emulator.url]
        for more, extra in (["--sandbox"], {}), ([], {"ESMS_SANDBOX": "1"}):
            sending = await start(*message, *more, extra={**KEYS, **extra})
            out = (await finish(sending))[0]
            assert sending.returncode == 0
            assert out.splitlines()[-1].startswith("checked, not sent (sandbox) 090****484 (")
        emulator.fault("code:201")
        sending = await start(*message, "--sandbox")
        assert "\nrejected 090****484: " in (await finish(sending))[0]
        assert emulator.mark() == 0


@pytest.mark.parametrize(
    ("fault", "code", "word"),
    [("html:403", 3, "rejected"), ("code:101", 3, "rejected"), ("code:201", 1, "rejected")],
)
async def test_what_refuses_every_message_has_its_exit_code(
    fault: str, code: int, word: str
) -> None:
    """A 4xx without a code ends the command as the rejection of the account does."""
    async with Emulator(faults=[fault]) as emulator:
        sending = await start("send", "0901888484", "686868", "--base-url", emulator.url)
        out, _ = await finish(sending)
        assert sending.returncode == code
        assert out.splitlines()[-1].startswith(f"{word} 090****484: ")


async def test_code_124_is_never_sent_as_a_new_message() -> None:
    """The command says unknown, and that its message must not be sent under a new id."""
    async with Emulator() as emulator:
        message = ["send", "0901888484", "686868", "--base-url", emulator.url, "--request-id", "a"]
        await finish(await start(*message))
        again = await start(*message)
        out, _ = await finish(again)
        assert again.returncode == 1
        assert "\nunknown 090****484: code 124: the gateway has had this message before" in out
        assert out.splitlines()[-1].startswith("Do not send it as a new message: ")
        assert emulator.mark() == 1


async def test_an_id_that_is_too_old_is_not_sent_again() -> None:
    """An id older than the gateway's day is not resumed, and the way to go on is shown."""
    async with Emulator() as emulator:
        old = "01900000000070008000000000000000"
        message = ["send", "0901888484", "686868", "--base-url", emulator.url]
        sending = await start(*message, "--request-id", old, "--resume")
        out, _ = await finish(sending)
        assert sending.returncode == 1
        assert out.splitlines()[-1].startswith("Do not send it again: ")
        assert emulator.requests == []
