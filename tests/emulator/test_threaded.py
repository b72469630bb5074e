"""An emulator in a thread: reached from any thread, with and without an event loop."""

import asyncio
import errno
import json
import socket
import threading
import urllib.request
from typing import Any

import pytest

from esms_async._model.errors import ConfigurationError, UsageError
from esms_async.emulator import (
    AccountState,
    Emulator,
    Event,
    EventKind,
    Settings,
    ThreadedEmulator,
    server,
)
from tests.emulator.caller import PHONE, POST_SEND, Caller, send_fields


def send(emulator: Emulator, **changes: object) -> str:
    """Send without any event loop; return the SMSID, if there is one."""
    data = json.dumps(send_fields(**changes)).encode()
    with urllib.request.urlopen(emulator.url + POST_SEND, data=data) as answer:  # noqa: S310  # http
        sms_id: str = json.load(answer).get("SMSID", "")
        return sms_id


def test_it_serves_who_has_no_event_loop() -> None:
    """It answers a blocking call, and is read as any emulator, while it runs and afterwards."""
    with ThreadedEmulator() as emulator:
        sms_id = send(emulator, RequestId="r-1")
        assert emulator.accepted("r-1") == 1
        accepted = asyncio.run(emulator.wait_for(phone=PHONE))
        seen = asyncio.run(emulator.wait_for_request(request_id="r-1"))
        assert (accepted.sms_id, seen.sms_id) == (sms_id, sms_id)
    assert [message.sms_id for message in emulator.messages] == [sms_id]
    emulator.clear_messages()
    assert emulator.messages == []


@pytest.mark.parametrize(
    ("content", "another"), [("111111 la ma", "222222 la ma"), ("Chao ban", "Chao ban")]
)
def test_the_copied_test_holds_for_any_code(content: str, another: str) -> None:
    """Once its first line has the app send, it passes, though the code is another one."""
    with ThreadedEmulator() as emulator:
        sms_id = send(emulator, Content=content)
        story = f"http://127.0.0.1:{emulator.port}/_emulator/messages/{sms_id}"
        with urllib.request.urlopen(story) as answer:
            copied: str = json.load(answer)["pytest"]
        emulator.reset()
        filled = copied.replace("...", "app()", 1)
        namespace: dict[str, Any] = {"app": lambda: send(emulator, Content=another)}
        exec(filled, namespace)  # noqa: S102  # what a person would do with it
        namespace["test_the_message_is_sent_once"](emulator)
        emulator.reset()
        exec(copied, namespace)  # noqa: S102  # the same
        namespace["app"]()
        namespace["app"]()
        with pytest.raises(AssertionError, match="2 messages were accepted"):
            namespace["test_the_message_is_sent_once"](emulator)


def test_the_copied_test_of_a_refused_send_wants_none_accepted() -> None:
    """It passes while the app's sends are refused, and fails once one is accepted."""
    with ThreadedEmulator() as emulator:
        send(emulator, Phone="0900000103")
        with urllib.request.urlopen(
            f"http://127.0.0.1:{emulator.port}/_emulator/sends/1"
        ) as answer:
            copied: str = json.load(answer)["pytest"]
        namespace: dict[str, Any] = {}
        exec(copied, namespace)  # noqa: S102  # what a person would do with it
        namespace["test_no_message_is_accepted"](emulator)
        send(emulator)
        with pytest.raises(AssertionError):
            namespace["test_no_message_is_accepted"](emulator)


async def test_it_serves_who_has_one() -> None:
    """A coroutine waits for what comes over another loop, in both directions."""
    with ThreadedEmulator() as emulator:
        waiting = asyncio.create_task(emulator.wait_for(phone=PHONE))
        async with Caller.to(emulator) as caller:
            got = await caller.send()
        assert (await waiting).sms_id == got.json["SMSID"]


async def test_waiting_can_time_out_and_be_cancelled() -> None:
    """The error is that of an emulator on the caller's own loop."""
    with ThreadedEmulator() as emulator:
        with pytest.raises(TimeoutError, match="s for a message; 0 requests came"):
            await emulator.wait_for(timeout=0.01)
        waiting = asyncio.create_task(emulator.wait_for())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


def test_a_jump_of_its_clock_is_made_in_its_thread() -> None:
    """Reports fall due at once, and are sent by the emulator's loop; so are those by hand."""
    receiver = socket.create_server(("127.0.0.1", 0))
    receiver.settimeout(5)
    url = f"http://127.0.0.1:{receiver.getsockname()[1]}/"
    heard: list[bytes] = []

    def hear() -> None:
        connection, _ = receiver.accept()
        with connection:
            heard.append(connection.recv(2000))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    settings = Settings(report_delay=3600)
    with receiver, ThreadedEmulator(settings=settings) as emulator:
        sms_id = send(emulator, CallbackUrl=url)
        emulator.clock.advance(1800)
        hear()
        emulator.finish(sms_id)
        hear()
        emulator.resend_report(sms_id)
        hear()
    statuses = [b"SendStatus=2", b"SendStatus=5", b"SendStatus=5"]
    assert all(status in request for status, request in zip(statuses, heard, strict=True))


def test_listeners_are_called_in_its_thread() -> None:
    """Whatever the test's own thread changes is told there, where a listener may change more."""
    kinds: list[EventKind] = []
    threads: set[str] = set()

    def listen(event: Event) -> None:
        kinds.append(event.kind)
        threads.add(threading.current_thread().name)
        if len(kinds) == 1:
            emulator.balance = 7

    with ThreadedEmulator() as emulator:
        end = emulator.subscribe(listen)
        emulator.fault("reset").disarm()
        emulator.account = AccountState.LOCKED
        emulator.clear_messages()
        assert (emulator.balance, emulator.account) == (7, AccountState.LOCKED)
        emulator.reset()
        end()
        emulator.clear_faults()
    # Armed, and therein the balance; disarmed, locked, cleared; what a reset tells.
    assert kinds[:5] == [*[EventKind.STATE] * 4, EventKind.RESET]
    assert kinds.count(EventKind.RESET) == 2
    assert threads == {"esms-emulator"}


def test_a_port_that_is_taken_is_told_where_it_was_started() -> None:
    """The error is raised in the thread of the caller, and nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        emulator = ThreadedEmulator(port=other.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot listen on"), emulator:
            pass
    assert "esms-emulator" not in {thread.name for thread in threading.enumerate()}


async def test_it_runs_on_the_loop_of_its_caller_too() -> None:
    """With `async with` it is an emulator like any other."""
    async with ThreadedEmulator() as emulator, Caller.to(emulator) as caller:
        waiting = asyncio.create_task(emulator.wait_for(phone=PHONE))
        await caller.send()
        emulator.clock.advance(1)
        assert (await waiting).phone == PHONE


def test_what_is_no_longer_running_has_no_url() -> None:
    """Outside of its context the port is gone."""
    with ThreadedEmulator() as emulator:
        assert emulator.port
    with pytest.raises(UsageError, match="not running"):
        _ = emulator.port


def test_it_can_be_waited_for_without_an_event_loop() -> None:
    """`wait` and `latest_code` block; when it does not run, and in its thread, they refuse."""
    refused: list[type[BaseException]] = []

    def listen(_: Event) -> None:
        try:
            emulator.wait(timeout=0)
        except UsageError as error:
            refused.append(type(error))

    with ThreadedEmulator() as emulator:
        later = threading.Timer(0.05, send, (emulator,))
        later.start()
        assert emulator.wait(PHONE).phone == PHONE
        later.join()
        assert emulator.latest_code(PHONE) == "686868"
        assert emulator.latest_code(pattern="xac (minh)") == "minh"
        with pytest.raises(TimeoutError, match=r"waited 0\.01 s"):
            emulator.wait("0911000009", timeout=0.01)
        end = emulator.subscribe(listen)
        send(emulator)
        end()
        assert UsageError in refused
        emulator.clock.advance(60)
        emulator.reset()
        assert emulator.clock.shift == 0
    with pytest.raises(UsageError, match="not running"):
        emulator.wait(PHONE)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENFILE, "Too many open files in system"), "ulimit -n"),
        (RuntimeError("A test tried to use socket.socket."), "--allow-hosts=127.0.0.1"),
        (RuntimeError("something else"), "see the error above"),
    ],
)
def test_a_start_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    """It is raised where the emulator was started, with what to do, and no thread is left."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(server, "_require_files", fail)
    emulator = ThreadedEmulator()
    with pytest.raises(ConfigurationError, match="the emulator cannot start") as caught, emulator:
        pass
    assert remedy in str(caught.value)
    assert "esms-emulator" not in {thread.name for thread in threading.enumerate()}
