"""The story of a send: its row, its verdict, its timeline, for whatever may happen to it."""

import asyncio
import contextlib
import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import attrs
import pytest

from esms_async.emulator import Clock, Emulator, Kind, Settings
from esms_async.emulator.http import ON_THE_SOCKET
from esms_async.emulator.story import _NO_ANSWER
from tests.emulator.caller import GET_SEND, POST_SEND, Caller, send_fields
from tests.limits import generous

CALLBACK = "http://esms.example/report"


async def tell(
    faults: list[str], sends: list[Mapping[str, Any]], *, after: float = 10, **settings: Any
) -> Any:
    """Send some times, let time pass, and return the story of the first send."""
    clock = Clock(running=False)
    async with (
        Emulator(clock=clock, faults=faults, settings=Settings(**settings)) as emulator,
        Caller.to(emulator) as caller,
    ):
        for changes in sends:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await caller.send(**{"RequestId": "r-1", **changes})
            clock.advance(1)
        clock.advance(after)
        number = emulator.requests[0].number
        return (await caller.request("GET", f"../../_emulator/sends/{number}")).json


def steps(story: Any) -> list[tuple[str, str]]:
    """Return kind and words of each step."""
    return [(step["kind"], f"{step['what']} {step['text']}".strip()) for step in story["steps"]]


async def test_an_answer_that_was_lost() -> None:
    """The phone got it once; the timeline shows where the answer was lost, and the pause."""
    story = await tell(["reset@send,phase=after,times=1"], [{}, {}], report_delay=5)
    assert story["verdict"] == {
        "tone": "ok",
        "text": "Delivered once, one answer lost.",
        "why": "Attempt 1 was accepted. The retry had the same RequestId, so nothing went out "
        "twice.",
    }
    told = steps(story)
    kind, pause = told.pop(3)
    assert (kind, "app waits" in pause) == ("pause", True)
    assert told == [
        ("send", "send attempt 1"),
        ("accepted", "accepted accepted"),
        ("answer", "100 lost on the way"),
        ("send", "send attempt 2"),
        ("answer", "124 RequestId seen: accepted before"),
        ("arrives", "delivered"),
        ("note", "no report no CallbackUrl: no report"),
    ]
    lost = story["steps"][2]
    assert (lost["fault"], lost["struck"]) == ("reset@send,phase=after,times=1", "way")
    assert [step["tone"] for step in story["steps"] if step["what"] == "124"] == ["ok"]
    assert story["marks"] == ["retry", "fault", "dedup"]


async def test_each_answer_that_was_lost_is_counted() -> None:
    """Those to the retries too, which would have said 124."""
    story = await tell(["reset@send,phase=after,times=4"], [{}] * 5)
    assert story["verdict"]["text"] == "Delivered once, 4 answers lost."
    assert story["verdict"]["why"] == (
        "Attempt 1 was accepted. The 4 retries had the same RequestId, so nothing went out twice."
    )


def test_every_fault_without_an_answer_has_its_words() -> None:
    """The story says what came in place of an answer; a dribbled one comes in the end."""
    without = ON_THE_SOCKET.keys() - {Kind.DRIBBLE}
    assert set(_NO_ANSWER) == without, "name it in _NO_ANSWER of esms_async/emulator/story.py"


async def test_a_fault_before_the_gateway_looked() -> None:
    """No arrow back is drawn for an answer that never was."""
    story = await tell(["reset@send,times=1", "http:503@send,times=1"], [{}, {}, {}])
    assert story["verdict"]["text"] == "Delivered once, after 3 attempts."
    assert "2 faults struck before the gateway looked" in story["verdict"]["why"]
    assert ("note", "no answer the connection was reset") in steps(story)
    assert ("answer", "503 Service Unavailable") in steps(story)
    assert [step["tone"] for step in story["steps"] if step["what"] == "503"] == ["warn"]
    assert [step["struck"] for step in story["steps"] if step["kind"] == "send"] == [
        *("door", "door"),
        None,
    ]


@pytest.mark.parametrize(
    ("faults", "changes", "word", "verdict", "why"),
    [
        ([], {}, "delivered", "Delivered.", "One attempt."),
        (["dlr:failed"], {}, "not delivered", "Accepted, but the phone", "GetSendStatus says"),
        (
            ["dlr:failed"],
            {"CallbackUrl": CALLBACK},
            *("not delivered", "Accepted, but the phone", "The report says failed."),
        ),
        (["dlr:never"], {}, "sent, no report", "Sent, and no report will come.", "dlr:never"),
        (
            [],
            {"CallbackUrl": CALLBACK},
            "callback not allowed",
            "Delivered, but your callback was not called.",
            "Reports go to this machine only; start the emulator with --allow-callback-host",
        ),
        ([], {"Content": "Mã 1234"}, "IsUnicode=0", "Delivered, with diacritics", "Set IsUnicode"),
        ([], {"Sandbox": "1"}, "sandbox", "Checked only.", "not stored, charged or delivered"),
        (
            [],
            {"Phone": "0900000103"},
            *("rejected 103", "Rejected with 103: the balance does", "always meets 103"),
        ),
        ([], {"Content": ""}, "invalid request", "Invalid request.", "Content is missing"),
        (["code:103"], {}, "rejected 103", "Rejected with 103", "The fault code:103 answered"),
        (["reset"], {}, "never looked at", "The gateway never looked", "A fault struck first"),
        (["html:502"], {}, "never looked at", "The gateway never looked", "A fault struck first"),
        (["duplicate"], {}, "rejected 124", "Rejected with 124", "The fault duplicate"),
        (
            ["truncate:0.5,phase=after"],
            {},
            *("delivered", "Delivered.", "the app does not know that the message was accepted"),
        ),
    ],
)
async def test_each_outcome_has_its_word_and_verdict(
    faults: list[str], changes: dict[str, Any], word: str, verdict: str, why: str
) -> None:
    """What the row says in a word, the story says in two sentences."""
    story = await tell(faults, [changes])
    assert story["word"] == word
    assert verdict in story["verdict"]["text"]
    assert why in story["verdict"]["why"]
    assert story["tone"] == story["verdict"]["tone"]


async def test_what_waits_and_what_is_held() -> None:
    """A step that is yet to come is marked as such; a SendDate is told as a time in Vietnam."""
    story = await tell([], [{}], after=0, report_delay=60)
    assert (story["word"], story["ghost"]) == ("waiting", "On its way")
    assert [step["what"] for step in story["steps"] if step["later"]] == ["delivered"]
    story = await tell([], [{"SendDate": "2090-01-02 09:30:00"}])
    assert (story["state"], story["word"]) == ("held", "02/01 09:30")
    assert story["ghost"] == "Arrives Mon 2 Jan, 09:30"
    assert story["verdict"]["text"] == "Held until 02/01 09:30."
    assert ("held", "held held") in steps(story)
    assert ("due", "due") in steps(story)
    assert story["can"]["why_not"] == "The message has no CallbackUrl to send a report to"


async def test_a_message_that_the_phone_got_twice() -> None:
    """After 24 hours the gateway has forgotten the RequestId, and the verdict is red."""
    async with Emulator(clock=Clock(running=False)) as emulator, Caller.to(emulator) as caller:
        await caller.send(RequestId="r-1")
        emulator.clock.advance(24 * 3600)
        await caller.send(RequestId="r-1")
        story = (await caller.request("GET", "../../_emulator/sends/1")).json
        assert (story["word"], story["tone"]) == ("sent 2 times", "bad")
        assert story["verdict"]["text"].startswith("Accepted 2 times")
        assert "24 h" in next(step["what"] for step in story["steps"] if step["kind"] == "pause")
        by_request = (await caller.request("GET", "../../_emulator/sends/2")).json
        assert by_request["number"] == 1


async def test_a_report_says_what_it_reports() -> None:
    """Delivered or failed, by hand or not, once more or not; never `finished failed`."""
    async with Emulator(clock=Clock(running=False)) as emulator, Caller.to(emulator) as caller:
        await caller.send(CallbackUrl="http://127.0.0.1:1/")
        sms_id = emulator.messages[0].sms_id
        emulator.finish(sms_id, delivered=False)
        while len(emulator.reports) < 1:  # nothing tells of it
            await caller.request("GET", "../../_emulator/ready")
        path = f"../../_emulator/messages/{sms_id}"
        story = (await caller.request("GET", path)).json
        words = dict(steps(story))
        assert words["report"] == "callback failed report: failed"
        assert words["arrives"] == "failed by hand"
        assert "the receiver can't be reached" in story["reports"][0]["reason"]
        assert story["can"]["resend"] is True


async def test_hundreds_of_attempts_are_bounded(emulator: Emulator, caller: Caller) -> None:
    """The first attempt and the newest stay; the others are counted."""
    for _ in range(130):
        await caller.send(RequestId="r-1")
    story = (await caller.request("GET", "../../_emulator/sends/1")).json
    assert story["attempts"] == 130
    assert len(story["requests"]) == 50
    assert story["requests_pruned"] == 80
    assert any("30 more attempts are not kept" in step["text"] for step in story["steps"])


async def test_parts_are_measured_and_what_forced_them(emulator: Emulator, caller: Caller) -> None:
    """A dash takes a text to UCS-2: three parts in place of one, each with its beginning."""
    text = "GiaoNhanh: don hang cua ban \u2013 da den kho. " + "x" * 110
    await caller.send(Content=text)
    await caller.send(Content="\U0001f600" * 80, IsUnicode="1")
    emoji, dash = (await caller.request("GET", "../../_emulator/inbox")).json["rows"]
    assert (dash["alphabet"], dash["parts"], dash["parts_plain"]) == ("UCS-2", 3, 1)
    assert (dash["forced_by"], dash["part_starts"]) == (["\u2013"], [0, 67, 134])
    assert dash["limit"] == 201
    # A pair of surrogates is never split: 33 of them in a part of 67 units.
    assert emoji["part_starts"] == [0, 33, 66]
    assert len(emulator.messages) == 2


async def test_the_inbox_is_searched_without_diacritics_and_by_phone(
    emulator: Emulator, caller: Caller
) -> None:
    """A person types `ma xac`, or a phone with spaces and +84."""
    await caller.send(Content="Mã xác minh: 1234", Phone="0911000001")
    await caller.send(Content="Đơn hàng", Phone="0911000002")
    for query, numbers in (
        ("q=ma xac", [1]),
        ("q=don hang", [2]),
        ("q=0911 000 001", [1]),
        ("q=%2B84911000002", [2]),
        ("phone=0911000001", [1]),
        ("phone=0911000009", []),
        ("account=default", [2, 1]),
        ("filter=trouble", []),
        ("filter=code&q=nothing", []),
        ("before=2", [1]),
        ("limit=1", [2]),
    ):
        got = (await caller.request("GET", f"../../_emulator/inbox?{query}")).json
        assert [row["number"] for row in got["rows"]] == numbers, query
    assert len(emulator.messages) == 2


async def test_what_a_person_pastes_into_a_shell_is_quoted(
    emulator: Emulator, caller: Caller
) -> None:
    """A message that holds quotes and commands makes one curl command, by GET, form and POST."""
    content = "1234'; touch /tmp/pwned; echo '$(id) `id` \" \\ \n"
    fields = send_fields(Content=content)
    await caller.request("GET", GET_SEND, params=fields)
    await caller.request("POST", "SendMultipleMessage_V4_post", data=fields)
    await caller.send(Content=content)
    for number in (1, 2, 3):
        story = (await caller.request("GET", f"../../_emulator/sends/{number}")).json
        words = shlex.split(story["curl"])
        assert words[0] == "curl"
        assert any(content in word or json.dumps(content)[1:-1] in word for word in words[2:])
        assert "pwned" in story["curl"]
        assert not any(word in ("touch", "id") for word in words)
    assert len(emulator.messages) == 3


async def test_a_receiver_that_answers_badly_is_told_as_such() -> None:
    """An HTTP status is named, and why eSMS does not ask again; so is a broken answer."""

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        writer.close()

    answers = [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n"]
    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with (
        server,
        Emulator(clock=Clock(running=False)) as emulator,
        Caller.to(emulator) as caller,
    ):
        stories = []
        for _ in range(2):
            await caller.send(CallbackUrl=url)
            message = emulator.messages[-1]
            known = len(emulator.reports)
            emulator.finish(message.sms_id)
            while len(emulator.reports) == known:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)
            path = f"../../_emulator/messages/{message.sms_id}"
            stories.append((await caller.request("GET", path)).json)
    assert [story["verdict"]["text"] for story in stories] == [
        "Delivered, but your callback answered 500.",
        "Delivered, but your callback could not be reached.",
    ]
    assert "repeats a report after a timeout only" in stories[0]["verdict"]["why"]
    assert "The receiver's answer can't be read" in stories[1]["verdict"]["why"]


async def test_a_receiver_that_times_out_and_reports_that_come_again() -> None:
    """Each try is numbered; a report that came once is marked when it comes once more."""
    hold: list[asyncio.StreamWriter] = []
    heard: list[bytes] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        if len(heard) > 2:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            writer.close()
        else:
            hold.append(writer)
        if len(heard) == 2:
            # What is answered from now on is in time on the slowest machine.
            emulator.settings = attrs.evolve(settings, report_timeout=generous(5))

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    settings = Settings(report_timeout=0.05, report_retry_delay=0, report_retries=2)
    async with server, Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        await caller.send(CallbackUrl=url, SendDate="2090-01-01 00:00:00")
        sms_id = emulator.messages[0].sms_id
        emulator.finish(sms_id)
        path = f"../../_emulator/messages/{sms_id}"
        while len(emulator.reports) < 1:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
        first = (await caller.request("GET", path)).json
        while len(emulator.reports) < 3:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
        emulator.resend_report(sms_id)
        while len(emulator.reports) < 4:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
        story = (await caller.request("GET", path)).json
        for writer in hold:
            writer.close()
    assert "did not answer in time" in first["verdict"]["text"]
    reports = [step["text"] for step in story["steps"] if step["kind"] == "report"]
    assert reports == [
        "report: delivered",
        "report: delivered, try 2",
        "report: delivered, try 3",
        "report: delivered, once more",
    ]
    assert story["verdict"]["text"] == "Delivered."


async def test_what_is_under_way_is_told_as_such(emulator: Emulator, caller: Caller) -> None:
    """A request that waits has no answer yet, and one that hung has none in the end."""
    emulator.fault("delay:60s,times=1")
    emulator.fault("hang,times=1")
    for request_id in ("r-1", "r-2"):
        sending = asyncio.create_task(caller.send(RequestId=request_id))
        await emulator.wait_for_request(request_id=request_id)
        number = emulator.requests[-1].number
        path = f"../../_emulator/sends/{number}"
        story = (await caller.request("GET", path)).json
        assert (story["word"], story["ghost"]) == ("under way", "Under way")
        assert story["verdict"]["text"] == "Under way."
        sending.cancel()


async def test_the_other_words(emulator: Emulator, caller: Caller) -> None:
    """Due today, asked for twice, an HTTP status without a name, minutes of waiting."""
    later = datetime.now(UTC) + timedelta(hours=7, minutes=1)
    await caller.send(SendDate=f"{later:%Y-%m-%d %H:%M:%S}")
    emulator.fault("http:599,retry_after=3,times=1,skip=0")
    await caller.send(RequestId="r-2")
    await caller.send(RequestId="r-3")
    emulator.clock.advance(600)
    await caller.send(RequestId="r-3")
    emulator.clock.advance(3600)
    stories = [
        (await caller.request("GET", f"../../_emulator/sends/{number}")).json
        for number in (1, 2, 3)
    ]
    assert stories[0]["state"] == "delivered"
    assert "HTTP/1.1 599 Unknown" in stories[1]["requests"][0]["answer"]
    assert "Retry-After: 3" in stories[1]["requests"][0]["answer"]
    assert stories[2]["verdict"]["text"] == "Delivered once, asked for twice."
    assert "10 min" in next(s["what"] for s in stories[2]["steps"] if s["kind"] == "pause")


async def test_a_fault_that_spoils_an_answer_is_drawn_on_its_way() -> None:
    """The status is named, and the code that was lost behind it."""
    story = await tell(["http:503,phase=after,times=1"], [{}, {}])
    assert ("answer", "503 100 lost on the way") in steps(story)


async def test_a_duplicate_whose_first_send_is_not_kept(emulator: Emulator, caller: Caller) -> None:
    """After Clear a RequestId still blocks; the verdict says where the message went."""
    await caller.send(RequestId="r-1")
    emulator.clear_messages()
    await caller.send(RequestId="r-1")
    story = (await caller.request("GET", "../../_emulator/sends/2")).json
    assert story["word"] == "rejected 124"
    assert "not shown here" in story["verdict"]["why"]


async def test_a_held_message_is_due_today() -> None:
    """A SendDate later on the same day is told by its time alone."""
    clock = Clock(datetime(2026, 3, 1, 1, tzinfo=UTC), running=False)
    async with Emulator(clock=clock) as emulator, Caller.to(emulator) as caller:
        for day in ("2026-03-01", "2026-03-02"):
            await caller.send(SendDate=f"{day} 12:30:00")
        rows = (await caller.request("GET", "../../_emulator/inbox")).json["rows"]
        assert [row["word"] for row in rows] == ["12:30 tomorrow", "12:30 today"]
        assert repr(emulator._gateway.first) == "<Account default>"


async def test_a_story_for_a_report(emulator: Emulator, caller: Caller) -> None:
    """What a failing test shows, written in this process."""
    await caller.send(RequestId="r-1")
    await caller.send(Phone="nonsense")
    await caller.request("POST", POST_SEND, data=b"{")
    await caller.request("POST", "../../")
    told = emulator.story()
    assert "090****484 r-1: waiting" in told
    assert "<8 characters> without RequestId: rejected 108" in told
    assert "not taken: POST" in told
    assert len(emulator.not_taken) == 1
    assert emulator.assert_sent_once("0901888484").request_id == "r-1"
    emulator.assert_never_twice()
    await caller.send(RequestId="r-2")
    for check in (emulator.assert_never_twice, lambda: emulator.assert_sent_once("0901888484")):
        with pytest.raises(AssertionError, match="r-2"):
            check()
    with pytest.raises(AssertionError, match="0 messages were accepted"):
        emulator.assert_sent_once("0911000009")
    got = await caller.request("POST", "../../_emulator/clock/advance", json={"seconds": 10**11})
    assert (got.status, "at most" in got.json["error"]) == (400, True)
