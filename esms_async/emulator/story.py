"""What the page, the API and a failing test show: rows, timelines, verdicts, requests.

A row is a logical send or a request that was not taken. All times are ISO 8601 in UTC.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, quote_plus

import attrs

from esms_async._model.codes import RouteKind
from esms_async._model.messages import VIETNAM_TIME
from esms_async._model.phone import mask_phone
from esms_async._model.text import (
    Alphabet,
    foreign_characters,
    measure,
    needs_unicode,
    normalize_text,
)
from esms_async.emulator import wire
from esms_async.emulator.clock import Clock
from esms_async.emulator.faults import ArmedFault
from esms_async.emulator.gateway import STATE_CODES, Account
from esms_async.emulator.journal import Send
from esms_async.emulator.records import (
    FINISHED,
    MASK,
    SENT,
    AcceptedMessage,
    DeliveryFault,
    EmulatedAnswer,
    Operation,
    RawRequest,
    SeenRequest,
    SentReport,
    Struck,
    find_spelled_otp,
    operator,
    progress,
)
from esms_async.emulator.settings import AccountState

View = Mapping[str, object]
"""A JSON object."""

# So long a pause of the app is worth a line of its own, in seconds.
_PAUSE = 0.05
_MOST_FORCING = 8
# Far more than a phone takes; a longer text is shown and measured as far as this.
_LONGEST_TEXT = 4096
_SHOWN_BODY = 4096
# A shorter value in place of a key stands in every other word: only the whole word is masked.
_SHORT_KEY = 4
_MOST_REQUESTS = 50
_DROPPED_HEADERS = frozenset({b"cookie", b"authorization", b"proxy-authorization"})
_NAMES: Final = frozenset(
    (
        *("apikey", "secretkey", "phone", "content", "smstype", "isunicode", "unicode"),
        *("sandbox", "campaignid", "requestid", "callbackurl", "senddate", "brandname", "oaid"),
        *("tempid", "tempdata", "sendingmode", "refid", "from", "to", "page", "pagesize"),
        *("true", "false", "null"),
    )
)
_WORD = re.compile(r"\w+")


@attrs.define
class _Text:
    """What is measured of a text once, and what else of its row stays as it is."""

    content: str
    code: str | None
    alphabet: Alphabet
    units: int
    parts: int
    forced_by: tuple[str, ...]
    parts_plain: int
    part_starts: tuple[int, ...]
    lossy: bool
    pattern: re.Pattern[str] | None
    row: View | None = None


def _measure(content: str, *, unicode: bool, pattern: re.Pattern[str] | None) -> _Text:
    size = measure(content, unicode=True if unicode else None)
    foreign = needs_unicode(content)
    starts, used = [0], 0
    if size.parts > 1:
        # A surrogate pair or an escape pair is never split, as `measure` counts it.
        for at, character in enumerate(normalize_text(content)):
            width = measure(character, unicode=size.alphabet is Alphabet.UCS2).units
            if used + width > size.alphabet.part:
                starts.append(at)
                used = 0
            used += width
    return _Text(
        content,
        find_spelled_otp(content, pattern),
        size.alphabet,
        size.units,
        size.parts,
        tuple(foreign_characters(content)[:_MOST_FORCING]) if foreign else (),
        measure(content, unicode=False).parts if foreign else size.parts,
        tuple(starts),
        foreign and not unicode,
        pattern,
    )


def _text_of(send: Send, content: str, *, unicode: bool, pattern: re.Pattern[str] | None) -> _Text:
    text, content = send.text, content[:_LONGEST_TEXT]
    if not isinstance(text, _Text) or text.content != content or text.pattern != pattern:
        text = send.text = _measure(content, unicode=unicode, pattern=pattern)
    return text


@attrs.frozen
class State:
    """What is true of a send: a word for the row, a tone, and what stands out."""

    name: str
    word: str
    tone: str
    marks: tuple[str, ...]

    @property
    def is_trouble(self) -> bool:
        """True where somebody should look at it."""
        return self.tone in ("bad", "warn") or "retry" in self.marks


def state_of(send: Send, now: float, *, lossy: bool = False) -> State:
    """Return what is true of a send at a time in seconds since 1970."""
    message = send.message
    marks = _marks(send, lossy=lossy)
    if message is None:
        return State(*_state_without_message(send.requests), marks)
    name, word, tone = _state_of_message(message, now)
    if tone == "ok" and "callback" in marks:
        word, tone = f"callback {_callback_problem(send)}", "warn"
    elif tone == "ok" and lossy:
        word, tone = "IsUnicode=0", "warn"
    if len(send.messages) > 1:
        word, tone = f"sent {len(send.messages)} times", "bad"
    return State(name, word, tone, marks)


def _marks(send: Send, *, lossy: bool) -> tuple[str, ...]:
    """Return what stands out of a send."""
    requests, messages = send.requests, send.messages
    marks: list[str] = []
    if len(messages) > 1:
        marks.append("twice")
    if len(requests) + send.requests_pruned > 1:
        marks.append("retry")
    if any(each.fault for each in requests) or any(each.delivery.fault for each in messages):
        marks.append("fault")
    if any("124" in (each.decided, each.told) for each in requests):
        marks.append("dedup")
    if send.reports and _callback_problem(send) is not None:
        marks.append("callback")
    if lossy and messages:
        marks.append("unicode")
    return tuple(marks)


def _state_of_message(message: AcceptedMessage, now: float) -> tuple[str, str, str]:
    current = progress(message, now)
    if current.send_status == FINISHED:
        return (
            ("delivered", "delivered", "ok")
            if current.success
            else (("failed", "not delivered", "bad"))
        )
    if current.send_status == SENT:
        return "sent", "sent, no report", "wait"
    if message.send_at is not None and message.delivery.started_at > now:
        return "held", _due(message.delivery.started_at, now), "wait"
    return "waiting", "waiting", "wait"


def _due(at: float, now: float) -> str:
    due = datetime.fromtimestamp(at, VIETNAM_TIME)
    days = (due.date() - datetime.fromtimestamp(now, VIETNAM_TIME).date()).days
    if days == 0:
        return f"{due:%H:%M} today"
    return f"{due:%H:%M} tomorrow" if days == 1 else f"{due:%d/%m %H:%M}"


def _state_without_message(requests: Sequence[SeenRequest]) -> tuple[str, str, str]:
    for request in reversed(requests):
        if request.sandbox and request.decided == "100":
            return "sandbox", "sandbox", "mute"
        code = request.decided or request.told
        if code is not None:
            return "rejected", f"rejected {code}", "bad"
        if request.fault is None and request.status is not None:
            word = "invalid request" if request.status in (200, 400) else f"HTTP {request.status}"
            return "rejected", word, "bad"
    if requests and requests[-1].status is None and requests[-1].duration is None:
        return "lost", "under way", "wait"
    return "lost", "never looked at", "bad"


def _callback_problem(send: Send) -> str | None:
    """Return what went wrong with the last final report, in a word, or None."""
    final = [report for report in send.reports if report.send_status == FINISHED]
    if not final or final[-1].result.startswith("2"):
        return None
    return final[-1].result


def _look(
    send: Send, now: float, pattern: re.Pattern[str] | None
) -> tuple[str, RouteKind, _Text, State]:
    """Return phone, route, text and state of a send."""
    message = send.message
    if message is not None:
        phone, route = message.phone, message.route
        content, unicode = message.content, message.unicode
    else:
        first = send.requests[0] if send.requests else None
        fields: Mapping[str, str] = {} if first is None else first.fields
        phone = "" if first is None else first.phone or ""
        content = _field(fields, "content") or _field(fields, "tempdata") or ""
        route = (first and first.route) or RouteKind.FIXED
        unicode = _field(fields, "isunicode") == "1"
    text = _text_of(send, content, unicode=unicode, pattern=pattern)
    state = state_of(send, now, lossy=text.lossy and route is not RouteKind.ZALO)
    return phone, route, text, state


def flags_of(send: Send, now: float, pattern: re.Pattern[str] | None) -> int:
    """Return the flags of a send."""
    _, _, text, state = _look(send, now, pattern)
    return (text.code is not None) + 2 * state.is_trouble


def view_row(send: Send, now: float, pattern: re.Pattern[str] | None = None) -> View:
    """Show a send as a row of the list."""
    phone, route, text, state = _look(send, now, pattern)
    if text.row is None or text.row["sms_id"] != (send.message and send.message.sms_id):
        text.row = _view_fixed(send, phone, route, text)
    return {
        **text.row,
        "state": state.name,
        "word": state.word,
        "tone": state.tone,
        "attempts": len(send.requests) + send.requests_pruned,
        "marks": state.marks,
        "ghost": _ghost(send, state),
        "warning": _LOSSY if "unicode" in state.marks else None,
        "trouble": state.is_trouble,
    }


def _view_fixed(send: Send, phone: str, route: RouteKind, text: _Text) -> View:
    """Show what of a row stays as it is."""
    message, first = send.message, send.requests[0] if send.requests else None
    at = first.at if first is not None else message.at if message is not None else None
    return {
        "kind": "send",
        "number": send.number,
        "link": f"/r/{send.number}" if message is None else f"/m/{message.sms_id}",
        "at": _time(at),
        "account": send.account,
        "phone": phone,
        "phone_shown": f"{phone[:4]} {phone[4:7]} {phone[7:]}".strip(),
        "operator": operator(phone)[1],
        "route": route,
        "sender": _sender(send, route),
        "content": text.content,
        "params": None if message is None else message.params,
        "oa": message.sender if message is not None and route is RouteKind.ZALO else None,
        "template": None if message is None else message.template,
        "code": None if text.code is None else _compact(text.code, text.pattern),
        "code_spelled": text.code,
        "sms_id": None if message is None else message.sms_id,
        "request_id": send.request_id,
        "campaign_id": None if message is None else message.campaign_id,
        "callback_url": None if message is None else message.callback_url,
        "send_at": None if message is None else _time(message.send_at),
        "price": 0 if message is None else message.price,
        "alphabet": text.alphabet.label,
        "units": text.units,
        "limit": text.alphabet.single if text.parts == 1 else text.alphabet.part * text.parts,
        "parts": text.parts,
        "forced_by": text.forced_by,
        "parts_plain": text.parts_plain,
        "price_plain": 0 if message is None else message.price,
        "part_starts": text.part_starts,
        "not_taken": False,
    }


_LOSSY: Final = "Diacritics under IsUnicode=0: it may arrive without them, or not at all"


def _compact(code: str, pattern: re.Pattern[str] | None) -> str:
    return code if pattern is not None else re.sub("[ -]", "", code)


def _field(fields: Mapping[str, str], name: str) -> str | None:
    return next((value for written, value in fields.items() if written.lower() == name), None)


def _sender(send: Send, route: RouteKind) -> str:
    if route is RouteKind.ZALO:
        return "Zalo"
    if route is RouteKind.FIXED:
        return "Fixed number"
    if send.message is not None:
        return send.message.sender or ""
    return (_field(send.requests[0].fields, "brandname") if send.requests else None) or ""


def _ghost(send: Send, state: State) -> str | None:
    """Say why the phone does not show the message, or return None where it does."""
    if state.name == "held" and send.message is not None:
        due = datetime.fromtimestamp(send.message.delivery.started_at, VIETNAM_TIME)
        return f"Arrives {due:%a} {due.day} {due:%b}, {due:%H:%M}"
    if state.name == "lost" and state.tone == "wait":
        return "Under way"
    words = _GHOSTS[state.name]
    return words if words is None else words.format(word=state.word)


_GHOSTS: Final[Mapping[str, str | None]] = {
    "delivered": None,
    "failed": "Never arrived: delivery failed",
    "rejected": "Never reached this phone: {word}",
    "sandbox": "Sandbox: never reaches a phone",
    "waiting": "On its way",
    "sent": "Sent; nobody knows whether it arrived",
    "lost": "The gateway never looked at it",
}


def view_not_taken(request: SeenRequest) -> View:
    """Show a request that was not taken as a row of the list."""
    return {
        "kind": "not_taken",
        "number": request.number,
        "link": f"/r/{request.number}",
        "at": _time(request.at),
        "method": request.method,
        "path": _masked(request.path, request.raw),
        "path_short": _shorten(_masked(request.path, request.raw)),
        "reason": request.why,
        "fix": request.fix,
        "status": request.status,
        "tone": "bad",
        "word": "not taken",
        "repeats": request.repeats,
        "not_taken": True,
        "trouble": True,
    }


def _shorten(path: str) -> str:
    folder, slash, rest = path.rstrip("/").rpartition("/")
    return f"…/{rest}{path[len(folder + slash + rest) :]}" if folder else path


def view_send(
    send: Send, now: float, base_url: str, pattern: re.Pattern[str] | None = None
) -> View:
    """Show a send whole: its row, verdict, timeline, requests and reports."""
    row = view_row(send, now, pattern)
    message = send.message
    state = state_of(send, now, lossy=row["warning"] is not None)
    problem = None
    if message is None:
        problem = "Only accepted messages are delivered"
    elif message.callback_url is None:
        problem = "The message has no CallbackUrl to send a report to"
    elif state.name not in ("delivered", "failed"):
        problem = "The message has no result yet"
    return {
        **row,
        "verdict": view_verdict(send, state),
        "steps": list(view_steps(send, now)),
        "requests": [view_request(request) for request in send.requests[-_MOST_REQUESTS:]],
        "requests_pruned": send.requests_pruned + max(len(send.requests) - _MOST_REQUESTS, 0),
        "reports": [view_report(report, send) for report in send.reports],
        "curl": _curl(send, base_url),
        "pytest": _pytest(row),
        "can": {
            "deliver": message is not None,
            "fail": message is not None,
            "resend": problem is None,
            "why_not": problem,
        },
    }


def view_verdict(send: Send, state: State) -> View:
    """Say in one sentence what became of a send, and in another why."""
    text, why = _verdict(send, state)
    return {"tone": state.tone, "text": text, "why": why}


def _verdict(send: Send, state: State) -> tuple[str, str]:  # noqa: PLR0911  # one for each state
    message = send.message
    if message is None:
        return _verdict_without_message(state, send.requests[-1] if send.requests else None)
    if len(send.messages) > 1:
        return (
            f"Accepted {len(send.messages)} times: the phone gets the message more than once.",
            (
                "The same RequestId came again after the gateway had forgotten it, or RequestIds "
                "are not refused (refuses_duplicates)."
            ),
        )
    match state.name:
        case "delivered":
            return _verdict_of_delivered(send, state)
        case "failed":
            source = "The report" if message.callback_url else "GetSendStatus"
            return "Accepted, but the phone did not get it.", f"{source} says failed."
        case "held":
            return (
                f"Held until {state.word}.",
                "SendDate was given. Move the clock ahead, or deliver it now.",
            )
        case "sent":
            return (
                "Sent, and no report will come.",
                "The fault dlr:never keeps its report back.",
            )
        case _:
            return "Accepted, on its way to the phone.", _why_once(send)


def _verdict_of_delivered(send: Send, state: State) -> tuple[str, str]:
    count = len(send.requests) + send.requests_pruned
    if callback := _callback_problem(send):
        return (
            f"Delivered, but your callback {_callback_words(callback)}.",
            _callback_why(send, callback),
        )
    if state.word == "IsUnicode=0":
        return (
            "Delivered, with diacritics under IsUnicode=0.",
            (
                "A real phone may show them as “?”, or get nothing. Set IsUnicode=1 or leave the "
                "diacritics out."
            ),
        )
    words = "Delivered"
    if count > 1 and (lost := _count_lost(send)):
        words = f"Delivered once, {_times(lost, 'answer')} lost"
    elif "dedup" in state.marks:
        words = "Delivered once, asked for twice"
    elif count > 1:
        words = f"Delivered once, after {count} attempts"
    return f"{words}.", _why_once(send)


def _count_lost(send: Send) -> int:
    """Return how many answers which say that the message is accepted did not reach the app."""
    return sum(
        1 for each in send.requests if each.decided in ("100", "124") and each.told != each.decided
    )


def _why_once(send: Send) -> str:
    """Say why a message was taken once, whatever the attempts met."""
    count = len(send.requests) + send.requests_pruned
    lost = _count_lost(send)
    early = sum(1 for each in send.requests if each.struck is Struck.DOOR)
    if count > 1 and lost:
        found = (index for index, each in enumerate(send.requests, 1) if each.decided == "100")
        # The emulator does not keep that attempt if hundreds followed it, nor after a restart.
        number = next(found, 0)
        accepted = f"Attempt {number}" if number else "An earlier attempt"
        again = count - bool(number)
        retries = "The retry" if again == 1 else f"The {again} retries"
        return (
            f"{accepted} was accepted. {retries} had the same RequestId, so nothing went out twice."
        )
    if count > 1 and early:
        struck = _times(early, "fault").capitalize()
        return f"{struck} struck before the gateway looked, so nothing was taken twice."
    if lost:
        return "The answer was lost: the app does not know that the message was accepted."
    return "One attempt." if count <= 1 else f"{count} attempts with one RequestId: taken once."


def _verdict_without_message(state: State, last: SeenRequest | None) -> tuple[str, str]:
    if state.name == "sandbox":
        return "Checked only.", "Sandbox messages are not stored, charged or delivered."
    if state.name == "rejected" and last is not None:
        code = last.decided or last.told
        words = f"Rejected with {code}" if code else state.word.capitalize()
        meaning = wire.error_message(code) if code else None
        why = last.why or meaning or "The gateway gave no code."
        if last.fault is not None and last.decided is None:
            why = f"The fault {last.fault} answered in place of the gateway."
        elif code == "124":
            why = "The RequestId was used by a message that is not shown here."
        head = f"{words}: {meaning}" if meaning and meaning != why else words
        return f"{head.rstrip('.')}.", why
    if state.tone == "wait":
        return "Under way.", "No answer was given yet."
    return "The gateway never looked at it.", "A fault struck first: nothing was taken or charged."


def _times(count: int, noun: str) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"


def _callback_words(result: str) -> str:
    match result:
        case "timeout":
            return "did not answer in time"
        case "not allowed" | "dropped":
            return "was not called"
        case "failed":
            return "could not be reached"
        case _:
            return f"answered {result}"


def _callback_why(send: Send, result: str) -> str:
    why = next((each.why for each in reversed(send.reports) if each.why), None)
    if result.isdigit():
        return "eSMS repeats a report after a timeout only, so your app was not told again."
    return f"{why[0].upper()}{why[1:]}." if why else "The report was lost."


def view_steps(send: Send, now: float) -> Iterator[View]:
    """Show what happened to a send as steps between app, gateway and phone, in order of time."""
    start = send.requests[0].at if send.requests else send.messages[0].at
    steps = [*_request_steps(send), *_delivery_steps(send, now)]
    # What happens within a millisecond stays in this order: a report follows what it reports.
    steps.sort(key=lambda step: step.at.replace(microsecond=step.at.microsecond // 1000 * 1000))
    silent_since: datetime | None = None
    for step in steps:
        if step.kind == "send":
            if silent_since is not None and not step.later:
                pause = (step.at - silent_since).total_seconds()
                if pause >= _PAUSE:
                    words = _duration(pause)
                    yield _Step(
                        silent_since, "pause", None, None, words, f"app waits {words}"
                    ).view(start)
            silent_since = step.at
        elif step.kind == "answer":
            silent_since = step.at
        yield step.view(start)


@attrs.frozen
class _Step:
    """One arrow, dot or note of a timeline."""

    at: datetime
    kind: str
    source: str | None
    target: str | None
    what: str
    text: str = ""
    fault: str | None = None
    struck: str | None = None
    status: str | None = None
    duration: float | None = None
    attempt: int | None = None
    repeat: bool = False
    later: bool = False
    tone: str = ""

    def view(self, start: datetime) -> View:
        return {
            "at": _time(self.at),
            "ms": round((self.at - start).total_seconds() * 1000, 1),
            "from": self.source,
            "to": self.target,
            "duration_ms": _milliseconds(self.duration),
            **_pick(self, _STEP_NAMES),
        }


def _request_steps(send: Send) -> Iterator[_Step]:
    accepted = {message.request: message for message in send.messages}
    skipped, unanswered = send.requests_pruned, False
    for index, request in enumerate(send.requests):
        attempt = index + 1 + (skipped if index else 0)
        at_door = request.struck is Struck.DOOR
        count = len(send.requests) + skipped
        yield _Step(
            request.at,
            "send",
            "app",
            "gateway",
            "send",
            f"attempt {attempt}" if count > 1 else "",
            request.fault if at_door else None,
            "door" if at_door else None,
            attempt=attempt,
            tone="warn" if at_door else "",
        )
        if index == 0 and skipped:
            words = f"{skipped} more attempts are not kept"
            yield _Step(request.at, "note", None, None, str(skipped), words)
        if (message := accepted.get(request.number)) is not None:
            is_held = message.delivery.started_at > message.at.timestamp()
            word = "held" if is_held and message.send_at is not None else "accepted"
            yield _Step(request.at, word, "gateway", None, word, word)
        if at_door and request.status is None:
            # No arrow back: there was no answer that could have been drawn.
            end = request.at + timedelta(seconds=request.duration or 0)
            yield _Step(end, "note", None, None, "no answer", _NO_ANSWER[_kind(request.fault)])
        else:
            answer = _answer_step(request, attempt)
            # 124 is as wished where the answer to an earlier attempt was lost.
            if answer.what == "124" and unanswered:
                answer = attrs.evolve(answer, tone="ok")
            yield answer
        unanswered = unanswered or request.told is None


_NO_ANSWER: Final = {
    "reset": "the connection was reset",
    "close": "the connection was closed",
    "hang": "no answer came",
    "garbage": "bytes came that are not HTTP",
    "truncate": "the answer broke off",
}


def _kind(fault: str | None) -> str:
    """Return the kind of a fault by its specification."""
    word = re.split("[:@,]", fault or "")[0]
    return word if word in _NO_ANSWER else "hang"


def _answer_step(request: SeenRequest, attempt: int) -> _Step:
    at = request.at + timedelta(seconds=request.duration or 0)
    on_way = request.struck is Struck.WAY
    what = request.told or (str(request.status) if request.status is not None else "no answer")
    if on_way and request.told is None and request.decided is not None:
        if request.status is None:
            what, text = f"{request.decided} lost on the way", ""
        else:
            text = f"{request.decided} lost on the way"
        tone = "bad"
    elif what == "no answer":
        text, tone = "", "bad"
    else:
        text, tone = _ANSWERS.get(what, (request.why or _meaning(what), "bad"))
        if request.told is None and request.struck is Struck.DOOR:
            # Nothing is lost: the app may ask again.
            tone = "warn"
    if request.sandbox and what == "100":
        text, tone = "would be accepted", "mute"
    return _Step(
        at,
        "answer",
        "gateway",
        "app",
        what,
        text,
        request.fault if on_way else None,
        "way" if on_way else None,
        None if request.status is None else str(request.status),
        request.duration,
        attempt,
        tone=tone,
    )


_ANSWERS: Final = {
    "100": ("accepted", "ok"),
    "124": ("RequestId seen: accepted before", "warn"),
}


def _meaning(what: str) -> str:
    if what.isdigit() and len(what) == 3 and what in _STATUSES:
        return _STATUSES[what]
    return wire.error_message(what)


_STATUSES: Final = {
    str(status.value): status.phrase for status in HTTPStatus if status.value in (*range(400, 600),)
}


def _delivery_steps(send: Send, now: float) -> Iterator[_Step]:
    for message in send.messages:
        delivery, fault = message.delivery, message.delivery.fault
        spec = None if fault is None else f"dlr:{fault}"
        end = delivery.finished_at
        if end is None:
            yield _Step(
                _at(delivery.started_at), "note", None, None, "no report",
                "sent; no report will come", spec, "phone", tone="warn",
            )  # fmt: skip
            continue
        later = end > now
        what = "delivered" if delivery.delivered else "failed"
        held = later and delivery.started_at > now
        yield _Step(
            _at(delivery.started_at if held else end),
            "due" if held else "arrives",
            "gateway",
            "phone",
            "due" if held else what,
            "by hand" if delivery.by_hand else "",
            spec,
            "phone" if fault is DeliveryFault.FAILED else None,
            later=later,
            tone="warn" if held else "ok" if delivery.delivered else "bad",
        )
        if message.callback_url is None and not later:
            yield _Step(_at(end), "note", None, None, "no report", "no CallbackUrl: no report")
    for report in send.reports:
        yield _report_step(report, send)


def _report_step(report: SentReport, send: Send) -> _Step:
    message = next((each for each in send.messages if each.sms_id == report.sms_id), None)
    word = "waiting"
    if report.send_status == FINISHED:
        word = "delivered" if message is None or message.delivery.delivered else "failed"
    text = f"report: {word}"
    if report.attempt > 1:
        text += f", try {report.attempt}"
    if report.repeat:
        text += ", once more"
    return _Step(
        report.at,
        "report",
        "gateway",
        "app",
        f"callback {report.result}",
        text,
        status=report.result,
        duration=report.duration,
        attempt=report.attempt,
        repeat=report.repeat or report.attempt > 1,
        tone="ok" if report.result.startswith("2") else "bad",
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_MESSAGE_NAMES: Final = (
    *("number", "account", "phone", "route", "sender", "content", "params", "template"),
    *("request_id", "sms_id", "unicode", "campaign_id", "callback_url", "price"),
)
_REQUEST_NAMES: Final = (
    *("number", "operation", "method", "account", "request_id", "phone", "sandbox", "fault"),
    *("struck", "decided", "told", "status", "accepted", "sms_id", "fields", "taken", "fix"),
    *("repeats", "wanted", "wanted_marks"),
)
_REPORT_NAMES: Final = (*("number", "sms_id", "send_status", "attempt", "result", "repeat"),)
_STEP_NAMES: Final = (
    *("kind", "what", "text", "fault", "struck", "status", "attempt", "repeat", "later", "tone"),
)


def _pick(record: object, names: Iterable[str]) -> View:
    """Show what needs no other form."""
    return {name: getattr(record, name) for name in names}


def view_message(message: AcceptedMessage, now: float, pattern: re.Pattern[str] | None) -> View:
    """Show an accepted message."""
    size = measure(message.content, unicode=True if message.unicode else None)
    delivery = message.delivery
    spelled = find_spelled_otp(message.content, pattern)
    code = None if spelled is None else _compact(spelled, pattern)
    lossy = not message.unicode and needs_unicode(message.content)
    return {
        **_pick(message, _MESSAGE_NAMES),
        "at": _time(message.at),
        "otp": code,
        "code": code,
        "alphabet": size.alphabet.label,
        "units": size.units,
        "parts": size.parts,
        "send_at": _time(message.send_at),
        "warning": _LOSSY if lossy else None,
        "state": _state_of_message(message, now)[0],
        "delivery": {
            "started_at": _seconds(delivery.started_at),
            "finished_at": _seconds(delivery.finished_at),
            "delivered": delivery.delivered,
            "fault": delivery.fault,
        },
    }


def view_request(request: SeenRequest) -> View:
    """Show a request, and what became of it."""
    code = request.told or request.decided
    head, body = show_raw(request)
    return {
        **_pick(request, _REQUEST_NAMES),
        "at": _time(request.at),
        "path": _masked(request.path, request.raw),
        "meaning": None if code in (None, "100") else wire.error_message(code),
        "reason": request.why,
        "marks": [mark for mark in request.marks if mark in head or mark in body],
        "head": head,
        "body": body,
        "body_bytes": 0 if request.raw is None else request.raw.body_bytes,
        "answer": _show_answer(request.answer),
        "duration_ms": _milliseconds(request.duration),
        "client": _header(request.raw, b"user-agent"),
    }


def show_raw(request: SeenRequest) -> tuple[str, str]:
    """Return head and body of a request with the secrets in it masked."""
    raw = request.raw
    if raw is None:
        return "", ""
    lines = [f"{request.method} {_masked(raw.target, raw)} HTTP/1.1"]
    for name, value in raw.headers:
        if name.lower() not in _DROPPED_HEADERS:
            lines.append(f"{name.decode('latin-1')}: {_masked(value.decode('latin-1'), raw)}")
    text = raw.body.decode(errors="replace")
    shown = _masked(text, raw) if raw.readable else shape_of(text)
    if len(shown) > _SHOWN_BODY or raw.body_bytes > len(raw.body):
        shown = f"{shown[:_SHOWN_BODY]}… ({raw.body_bytes} bytes)"
    return "\n".join(lines), shown


def shape_of(text: str) -> str:
    """Return a text that could not be read with all but punctuation and field names blotted out."""

    def blot(match: re.Match[str]) -> str:
        return match[0] if match[0].lower() in _NAMES else "x" * len(match[0])

    return _WORD.sub(blot, text)


def _masked(text: str, raw: RawRequest | None) -> str:
    """Mask the values of the keys, in whatever form a request can spell them."""
    for secret in () if raw is None else sorted(raw.secrets, key=len, reverse=True):
        for spelled in {
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
        }:
            if len(secret) < _SHORT_KEY:
                text = re.sub(rf"(?<!\w){re.escape(spelled)}(?!\w)", MASK, text)
            else:
                text = text.replace(spelled, MASK)
    return text


def _header(raw: RawRequest | None, name: bytes) -> str | None:
    for written, value in () if raw is None else raw.headers:
        if written.lower() == name:
            return _masked(value.decode("latin-1"), raw)
    return None


def _show_answer(answer: EmulatedAnswer | None) -> str | None:
    if answer is None:
        return None
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", f"Content-Type: {answer.content_type}"]
    if answer.retry_after is not None:
        lines.append(f"Retry-After: {answer.retry_after}")
    return "\n".join((*lines, "", answer.body[:_SHOWN_BODY]))


def view_report(report: SentReport, send: Send | None = None) -> View:
    """Show a try to deliver a report."""
    message = None if send is None else send.message
    return {
        **_pick(report, _REPORT_NAMES),
        "at": _time(report.at),
        "duration_ms": _milliseconds(report.duration),
        "url": None if message is None else message.callback_url,
        "reason": report.why,
    }


def view_fault(armed: ArmedFault) -> View:
    """Show an armed fault and what is left of it."""
    return {
        "number": armed.number,
        "spec": str(armed.fault),
        "name": armed.name,
        "used": armed.used,
        "left": armed.left,
        "spent": armed.left == 0,
    }


def view_clock(clock: Clock) -> View:
    """Show what time it is."""
    return {"now": _time(clock.now()), "running": clock.running, "shift": clock.shift}


def view_account(account: Account) -> View:
    """Show an account, with its ApiKey masked."""
    keys = account.setup.credentials
    return {
        "name": account.name,
        "api_key": "any" if keys is None else f"{keys.api_key[:2]}…",
        "balance": account.balance,
        "state": account.state,
        "code": STATE_CODES[account.state],
        "brandnames": [each.name for each in account.setup.brandnames],
        "messages": account.sent,
    }


_STATE_WORDS: Final = {
    AccountState.ACTIVE: "active",
    AccountState.LOCKED: "inactive or locked",
    AccountState.IP_NOT_LISTED: "this address is not on the whitelist",
    AccountState.NO_PRICE_LIST: "no price list",
}

ACCOUNT_STATES: Final[list[dict[str, str | None]]] = [
    {"name": state, "code": STATE_CODES[state], "words": words}
    for state, words in _STATE_WORDS.items()
]
"""What an account can be set to, for the page."""


def _curl(send: Send, base_url: str) -> str:
    """Write the first request as a curl command, with keys that any emulator takes.

    Whoever sent the message also wrote what a person is about to paste into a shell: all of it is
    quoted.
    """
    if not send.requests:
        return ""
    first = send.requests[0]
    fields = {name: "any" if value == MASK else value for name, value in first.fields.items()}
    name = first.path.rstrip("/").rpartition("/")[2]
    words = ["curl", f"{base_url}{name}"]
    if first.method == "GET":
        words.append("--get")
    if first.method == "GET" or name == _FORM_SEND:
        for field, value in fields.items():
            words += ["--data-urlencode", f"{field}={value}"]
    else:
        body = json.dumps(fields, ensure_ascii=False)
        words += ["-H", "Content-Type: application/json", "-d", body]
    return shlex.join(words)


_FORM_SEND: Final = "SendMultipleMessage_V4_post"


def _pytest(row: View) -> str:
    """Write the skeleton of a test of the app that sent a message."""
    if row["sms_id"] is None:
        return (
            "def test_no_message_is_accepted(esms_emulator):\n"
            "    ...  # have the app send to esms_emulator.url\n"
            "    assert esms_emulator.requests\n"
            "    assert esms_emulator.messages == []\n"
        )
    phone = row["phone"]
    if row["code"]:
        wait = (
            f"    code = esms_emulator.latest_code({phone!r})  # waits for it, up to 5 s\n"
            "    ...  # have the app take the code\n"
        )
    else:
        wait = f"    esms_emulator.wait({phone!r})  # up to 5 s\n"
    return (
        "def test_the_message_is_sent_once(esms_emulator):\n"
        "    ...  # have the app send to esms_emulator.url\n"
        f"{wait}"
        f"    esms_emulator.assert_sent_once({phone!r})\n"
    )


def tell_story(sends: Iterable[Send], not_taken: Iterable[SeenRequest], now: float) -> str:
    """Write the timelines of sends for a report of a failed test, without texts and phones."""
    lines: list[str] = []
    for send in sends:
        state = state_of(send, now)
        phone = send.message.phone if send.message else send.requests[0].phone or ""
        lines.append(f"{mask_phone(phone)} {send.request_id or 'without RequestId'}: {state.word}")
        for step in view_steps(send, now):
            arrow = {("app", "gateway"): "app → gateway", ("gateway", "app"): "app ← gateway"}.get(
                (str(step["from"]), str(step["to"])),
                "gateway → phone" if step["to"] == "phone" else "",
            )
            if step["later"] or step["kind"] == "accepted":
                continue
            fault = f" ⚡ {step['fault']} ({step['struck']})" if step["fault"] else ""
            what = "" if step["kind"] in ("pause", "note") else f"{step['what']} "
            lines.append(f"  {step['ms']:>9} ms  {arrow:<15} {what}{step['text']}{fault}".rstrip())
    for request in not_taken:
        path = _shorten(_masked(request.path, request.raw))
        words = f"not taken: {request.method} {path}: {request.why} {request.fix or ''}"
        lines.append(words.rstrip())
    return "\n".join(lines)


def is_send(request: SeenRequest) -> bool:
    """Return True for a request that asks for a message."""
    return request.operation is Operation.SEND


def _seconds(at: float | None) -> str | None:
    return None if at is None else _time(_at(at))


def _time(at: datetime | None) -> str | None:
    if at is None:
        return None
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="milliseconds")
