"""What is told of a send: its row, its verdict, its timeline, for whatever may happen to it."""

import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from esms_async.emulator import Clock, Emulator, Settings
from tests.emulator.caller import Caller

CALLBACK = "http://esms.example/report"


async def tell(
    faults: list[str], sends: list[Mapping[str, Any]], *, after: float = 10, **settings: Any
) -> Any:
    """Send some times, let time pass, and return what is told of the first send."""
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
    story = await tell(["reset@send,phase=after,times=1"], [{}, {}])
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
        ("arrives", "delivered"),
        ("note", "no report no CallbackUrl: no report"),
        ("send", "send attempt 2"),
        ("answer", "124 RequestId seen: accepted before"),
    ]
    lost = story["steps"][2]
    assert (lost["fault"], lost["struck"]) == ("reset@send,phase=after,times=1", "way")
    assert story["steps"][-1]["tone"] == "ok"
    assert story["marks"] == ["retry", "fault", "dedup"]


async def test_a_fault_before_the_gateway_looked() -> None:
    """No arrow back is drawn for an answer that never was."""
    story = await tell(["reset@send,times=1", "http:503@send,times=1"], [{}, {}, {}])
    assert story["verdict"]["text"] == "Delivered once, after 3 attempts."
    assert "2 faults struck before the gateway looked" in story["verdict"]["why"]
    assert ("note", "no answer the connection was reset") in steps(story)
    assert ("answer", "503 Service Unavailable") in steps(story)
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
        while len(emulator.reports) < 1:
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
        ("account=other", []),
        ("filter=trouble", []),
        ("filter=code&q=nothing", []),
        ("before=2", [1]),
        ("limit=1", [2]),
    ):
        got = (await caller.request("GET", f"../../_emulator/inbox?{query}")).json
        assert [row["number"] for row in got["rows"]] == numbers, query
    assert len(emulator.messages) == 2
