"""Rare cases of the emulator: accounts that are gone, empty lists, forms in the wrong place."""

import asyncio
import logging
import signal
import threading
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import attrs
import pytest

from esms_async import Credentials
from esms_async.emulator import (
    AccountSetup,
    Emulator,
    Settings,
    ThreadedEmulator,
    command,
    control,
    http,
)
from esms_async.emulator.journal import Event, EventKind
from esms_async.emulator.records import SeenRequest
from tests.emulator.caller import KEYS, POST_SEND, Caller, send_fields


def refused() -> SeenRequest:
    """Return a request that was not taken."""
    return SeenRequest(1, datetime.now(UTC), None, "POST", {}, path="/x", taken=False)


async def test_settings_can_be_set_as_a_whole(emulator: Emulator, caller: Caller) -> None:
    """The setter takes a whole Settings."""
    emulator.settings = attrs.evolve(emulator.settings, price=100)
    before = emulator.balance
    await caller.send()
    assert before - emulator.balance == 100


async def test_an_account_that_is_gone_after_a_restart(tmp_path: Path) -> None:
    """What was stored of it is kept to be seen, and belongs to nobody."""
    db = tmp_path / "emulator.db"
    shop = AccountSetup("shop", Credentials("shop-key", "shop-secret"))
    keys = {"ApiKey": "shop-key", "SecretKey": "shop-secret", "RequestId": "r-1"}
    async with Emulator(db=db, accounts=[shop]) as emulator, Caller.to(emulator) as caller:
        assert (await caller.send(**keys)).code == "100"
        assert emulator.messages[0].account == "shop"
        emulator.clock.advance(60)
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        assert emulator.messages[0].account == "shop"
        assert emulator.accepted("r-1") == 0
        assert (await caller.send(**keys)).code == "100"


async def test_a_message_outlives_its_send() -> None:
    """Sends that were refused make its row go; the message can still be finished by hand."""
    settings = Settings(max_messages=2)
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        await caller.send(RequestId="r-1")
        (message,) = emulator.messages
        for number in range(3):
            await caller.send(RequestId=f"x-{number}", Phone="12")
        assert not emulator.finish(message.sms_id, delivered=False).delivery.delivered


@pytest.mark.parametrize("data", [None, "482913", []])
async def test_invalid_parameters(caller: Caller, data: Any) -> None:
    """TempData that holds no parameters is code 790."""
    fields = {**KEYS, "OAID": "1", "TempID": "2", "Phone": "0901888484", "TempData": data}
    got = await caller.request("POST", "SendZaloMessage_V6/", json=fields)
    assert got.status == 400 or got.code == "790"


async def test_a_form_where_nothing_takes_forms(emulator: Emulator, caller: Caller) -> None:
    """GetBalance takes JSON alone, and no other URL is named."""
    await caller.request("POST", "GetBalance_json", data=KEYS)
    (refused,) = emulator.not_taken
    assert refused.fix == "Send JSON, or use the JSON that the documentation shows."


async def test_the_inbox_of_what_was_not_taken(emulator: Emulator, caller: Caller) -> None:
    """Rows of sends are left out; bytes that are not HTTP have neither head nor body."""
    await caller.send()
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
    writer.write(b"\x01\x02\r\n\r\n")
    await reader.read()
    writer.close()
    inbox = await caller.request("GET", "../../_emulator/inbox", params={"filter": "not_taken"})
    (row,) = inbox.json["rows"]
    seen = await caller.request("GET", f"../../_emulator/requests/{row['number']}")
    assert (seen.json["head"], seen.json["body"]) == ("", "")


async def test_a_message_of_an_earlier_run_has_no_request(tmp_path: Path) -> None:
    """Its request is not stored, so there is nothing to copy as curl."""
    db = tmp_path / "emulator.db"
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        await caller.request("POST", POST_SEND, json=send_fields())
        sms_id = emulator.messages[0].sms_id
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        view = await caller.request("GET", f"../../_emulator/messages/{sms_id}")
        assert view.json["curl"] == ""


async def test_a_reset_after_the_end(emulator: Emulator) -> None:
    """An emulator that is closed can be reset."""
    await emulator.aclose()
    emulator.reset()
    assert emulator.requests == []
    Emulator().reset()


def test_the_version_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that is only on the path has no version."""

    def find(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(control, "version", find)
    assert control.installed_version() == "not installed"


async def test_signals_where_the_loop_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the handlers are those of the process; a second signal changes nothing."""
    loop = asyncio.get_running_loop()

    def refuse(*_: object) -> None:
        raise NotImplementedError

    async def serve(_: object, stopped: asyncio.Future[int], *__: object) -> int:
        for _number in range(2):
            signal.raise_signal(signal.SIGTERM)
        return await stopped

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(loop, "add_signal_handler", refuse)
    monkeypatch.setattr(command, "serve", serve)
    try:
        assert await command._run(Emulator()) == signal.SIGTERM
        await asyncio.sleep(0)
    finally:
        signal.signal(signal.SIGHUP, hup)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_interrupt_before_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it starts ends it with the code of a signal."""

    async def interrupted(_: Emulator) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    assert command.main([]) == 130


async def test_what_the_console_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is named, and a quiet moment starts the count of lines anew."""
    lines: list[str] = []
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(command, "_LINES_WITHIN", -1.0)
    emulator = Emulator(tls="self-signed")

    named = asyncio.Event()

    def warn(line: str) -> None:
        if line.startswith("Certificate: "):
            named.set()

    serving = asyncio.create_task(command.serve(emulator, stopped, lines.append, warn))
    await named.wait()
    console = command._Console(lines.append)
    for _ in range(2 * command._MOST_LINES):
        console.listen(Event(EventKind.NOT_TAKEN, request=refused()))
    assert sum("Not taken: " in line for line in lines) == 2 * command._MOST_LINES
    stopped.set_result(15)
    assert await serving == 15


def test_a_port_that_is_too_high(capsys: pytest.CaptureFixture[str]) -> None:
    """The parser names what it takes."""
    with pytest.raises(SystemExit):
        command.parse(["--port", "70000"], {})
    assert "70000" in capsys.readouterr().err


async def test_early_reports_beside_another_fault(emulator: Emulator, caller: Caller) -> None:
    """The reports come first, also where the answer is spoilt."""
    emulator.fault("dlr:early")
    emulator.fault("http:503,phase=after")
    assert (await caller.send()).status == 503
    assert len(emulator.messages) == 1


def test_warnings_of_the_server_are_logged() -> None:
    """Only what is not HTTP is recorded in place of being logged."""
    logger = http._new_logger(lambda _: None)
    for level in (logging.DEBUG, logging.WARNING):
        record = logger.makeRecord("x", level, "x", 1, "words", (), None)
        assert bool(logger.filter(record)) is (level == logging.WARNING)


async def test_messages_without_a_request_id_can_be_twice(
    emulator: Emulator, caller: Caller
) -> None:
    """Then phone and text alone decide."""
    await caller.send()
    emulator.assert_never_twice()
    await caller.send()
    with pytest.raises(AssertionError, match="twice"):
        emulator.assert_never_twice()


def test_an_error_at_the_end_of_the_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes where the errors of threads go."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
    emulator = ThreadedEmulator()
    close = emulator.aclose

    async def fail() -> None:
        await close()
        raise RuntimeError("at the end")

    monkeypatch.setattr(emulator, "aclose", fail)
    with emulator:
        pass
    assert str(raised[0]) == "at the end"


async def test_a_receiver_that_is_not_there(emulator: Emulator, caller: Caller) -> None:
    """The verdict says that the callback could not be reached."""
    emulator.settings = attrs.evolve(emulator.settings, report_retries=0)
    told = asyncio.Event()
    emulator.subscribe(lambda event: told.set() if event.report is not None else None)
    await caller.send(CallbackUrl="http://127.0.0.1:1/report")
    emulator.clock.advance(60)
    await told.wait()
    sms_id = emulator.messages[0].sms_id
    view = await caller.request("GET", f"../../_emulator/messages/{sms_id}")
    assert "could not be reached" in str(view.json["verdict"])
