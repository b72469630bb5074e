"""An eSMS gateway written from the pages of the API alone, which counts each message it accepts.

It imports nothing of the package that it judges, and speaks HTTP by hand.
"""

import array
import asyncio
import fcntl
import itertools
import json
import socket
import ssl
import struct
import termios
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.limits import generous

# "Send fixed number with cheap price", field RequestId: blocked for 24 hours.
MEMORY = 24 * 3600.0
ZALO = "SendZaloMessage_V6"
SEND = "SendMultipleMessage_V4_post_json"
LIST = "GetSmsSentData_V2"
BALANCE = "GetBalance_json"
ERRORS = {
    "99": "Phone is blocked",
    "101": "Authorize Failed",
    "103": "Balance not enough",
    "108": "Phone not valid",
    "124": "Request exist 1",
    "140": "IP not in whitelist",
    "163": "Only one phone allowed",
    "177": "Operator not registered",
    "201": "Content holds a blocked word",
    "300": "SmsType is missing",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the gateway does with one request.

    Attributes:
        unread: Resets the connection at the first byte, before anything is read.
        deliveries: How often the request reaches the gateway: 0 never, 2 twice on the way. The
            last delivery makes the answer.
        code: The code of a refusal, which is given in place of an acceptance.
        status: The HTTP status of the answer.
        body: Replaces the body of the answer.
        head: Further header lines of the answer, each with its line end.
        sms_id: An answer 124 tells the SMSID too.
        end: How it ends: with an answer, or with a reset, a close, a hang or half an answer.
        close: Closes the connection after the answer.
        pause: Seconds before the answer.
        before: Waits for this event before the request is taken.
        after: Waits for this event between the taking and the answer.
        stray: Bytes that nobody asked for, sent behind the answer.
    """

    unread: bool = False
    deliveries: int = 1
    code: str | None = None
    status: int = 200
    body: bytes | None = None
    head: str = ""
    sms_id: bool = False
    end: Literal["answer", "reset", "close", "hang", "cut"] = "answer"
    close: bool = False
    pause: float = 0.0
    before: asyncio.Event | None = None
    after: asyncio.Event | None = None
    stray: bytes | None = None


PLAIN = Plan()
RESET_UNREAD = Plan(unread=True)
RESET_BEFORE = Plan(deliveries=0, end="reset")
RESET_AFTER = Plan(end="reset")
CLOSE_AFTER = Plan(end="close")
HANG_AFTER = Plan(end="hang")
CUT_AFTER = Plan(end="cut")
BUSY_BEFORE = Plan(deliveries=0, status=503, body=b"")
BUSY_AFTER = Plan(status=503)
FIREWALL = Plan(deliveries=0, status=403, body=b"<html>Forbidden</html>")
ERROR_BEFORE = Plan(deliveries=0, body=b'{"error":"Invalid request"}')
ERROR_AFTER = Plan(body=b'{"error":"Invalid request"}')
GARBAGE_AFTER = Plan(body=b"<html>\xff\xfe")
TWICE = Plan(deliveries=2)
TWICE_WITH_SMSID = Plan(deliveries=2, sms_id=True)
REFUSAL_OF_ACCEPTANCE = Plan(status=400)


def answer(fields: Mapping[str, object], status: int = 200, head: str = "") -> bytes:
    """Write a whole HTTP answer."""
    return raw_answer(json.dumps(fields).encode(), status, head)


def raw_answer(body: bytes, status: int = 200, head: str = "") -> bytes:
    """Write a whole HTTP answer around a body."""
    lines = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{head}\r\n"
    return lines.encode() + body


STRAYS = {
    "bad request": raw_answer(b"<h1>Bad Request</h1>", 400),
    "wrong keys": answer({"CodeResult": "101", "ErrorMessage": "Authorize Failed"}),
    "foreign acceptance": answer({"CodeResult": "100", "SMSID": "foreign"}),
    "foreign duplicate": answer({"CodeResult": "124", "ErrorMessage": "Request exist 1"}),
    "timeout page": raw_answer(b"", 408, "Connection: close\r\n"),
}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One message that the gateway took.

    Attributes:
        tick: When, on the gateway's count of events.
        tag: By which client, as its URL tells.
        request_id: The RequestId.
        phone: The phone.
        sms_id: The SMSID that it was given.
        campaign: Its campaign id.
        at: When, in seconds since the epoch on the gateway's clock.
    """

    tick: int
    tag: str
    request_id: str
    phone: str
    sms_id: str
    campaign: str
    at: float


class Gateway:
    """A gateway on a real socket.

    Args:
        tls: The TLS side of the server, or None for plain HTTP.
        rejected_uses_up_id: Whether a rejected send uses up its RequestId (nobody knows).
        clock: Seconds since the epoch.
        accounts: Each ApiKey with its SecretKey; None takes every pair.

    Attributes:
        script: What to do with the next requests.
        scripts: What to do with the next requests of a RequestId; wins over `script`.
        draw: Chooses what to do with a request for which there is no script.
        refuse: Returns the code with which a message is refused whenever it comes, or None.
        accepted: How many messages each RequestId was accepted for.
        phones: How many messages each phone was accepted for.
        requests: How many requests of each RequestId were read.
        acceptances: Each acceptance.
        connections: How many connections were opened.
        answered: When requests of a tag and RequestId were answered, or their connection ended.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        rejected_uses_up_id: bool = False,
        clock: Callable[[], float] = time.time,
        accounts: Mapping[str, str] | None = None,
    ) -> None:
        self.script: deque[Plan] = deque()
        self.scripts: defaultdict[str, deque[Plan]] = defaultdict(deque)
        self.draw: Callable[[], Plan] = lambda: PLAIN
        self.refuse: Callable[[Mapping[str, Any]], str | None] = lambda fields: None
        self.rejected_uses_up_id = rejected_uses_up_id
        self.accepted: Counter[str] = Counter()
        self.phones: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.acceptances: list[Acceptance] = []
        self.connections = 0
        self.answered: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self.ticks = itertools.count(1)
        self._tls = tls
        self._clock = clock
        self._accounts = accounts
        self._seen: dict[tuple[str, str], tuple[float, str]] = {}
        self._sms_ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._busy = 0
        self._reading: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}
        self._serving: set[asyncio.StreamWriter] = set()
        self._late: dict[asyncio.StreamWriter, float] = {}
        self._change: asyncio.Event = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def total(self) -> int:
        """How many requests were read."""
        return self.requests.total()

    def url(self, tag: str = "") -> str:
        """Return a base URL; what a client sends to it carries the tag."""
        scheme = "https" if self._tls else "http"
        folder = f"/{tag}" if tag else ""
        return f"{scheme}://127.0.0.1:{self._port}{folder}/MainService.svc/json/"

    def sms_ids(self, request_id: str) -> list[str]:
        """Return the SMSIDs of what was accepted under a RequestId."""
        return [one.sms_id for one in self.acceptances if one.request_id == request_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true of the gateway, which it checks at each of its steps."""
        async with asyncio.timeout(generous(60)):
            while not condition():
                self._change.clear()
                await self._change.wait()

    async def until_idle(self) -> None:
        """Wait until no request is being served."""
        await self.until(lambda: self._busy == 0)

    def is_shaking_hands(self) -> bool:
        """Tell whether a connection is open that no task serves yet: a request may be in it."""
        local = f":{self._port:04X}"
        table = Path("/proc/net/tcp").read_text(encoding="ascii")
        rows = [line.split() for line in table.splitlines()]
        # Ports are compared, not counts: a connection that is served may be closed already.
        opened = {
            int(row[2].rpartition(":")[2], 16)
            for row in rows
            if row[1].endswith(local) and row[3] == "01"
        }
        served = {writer.get_extra_info("peername")[1] for writer in self._reading}
        return not opened <= served

    def jump(self, seconds: float) -> None:
        """Let the clock have jumped just now: what was sent before counts as taken before."""
        for writer, reader in self._reading.items():
            waiting = array.array("i", [0])
            number = writer.get_extra_info("socket").fileno()
            if number >= 0:  # a connection that was just reset has no socket any more
                fcntl.ioctl(number, termios.FIONREAD, waiting)
            has_read = bool(reader._buffer)  # type: ignore[attr-defined]  # no public name
            if waiting[0] or has_read or writer in self._serving:
                self._late[writer] = seconds

    def say(self, raw: bytes) -> None:
        """Send bytes over every open connection at once, before any event loop can notice."""
        for writer in self._writers:
            writer.write(raw)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, limit=2**20, backlog=1000
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self._reading[writer] = reader
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            pass  # the gateway is being left
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            del self._reading[writer]
            self._late.pop(writer, None)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        self._busy += 1
        self._serving.add(writer)
        try:
            plan = self.script.popleft() if self.script else self.draw()
            if plan.unread:
                return _reset(writer)
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            target = head.split(" ", 2)[1]
            length = next(
                int(line[15:])
                for line in head.split("\r\n")
                if line[:15].lower() == "content-length:"
            )
            fields = json.loads(await reader.readexactly(length))
            return await self._answer(target, fields, plan, reader, writer)
        finally:
            self._busy -= 1
            self._serving.discard(writer)
            self._late.pop(writer, None)
            self._change.set()

    async def _answer(
        self,
        target: str,
        fields: dict[str, Any],
        plan: Plan,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        operation = target.strip("/").rpartition("/")[2]
        if operation == LIST:
            writer.write(answer(self._list(fields)))
            return True
        if operation == BALANCE:
            writer.write(answer({"Balance": 36693, "CodeResponse": "100", "UserID": 9999}))
            return True
        assert operation in (SEND, ZALO), target
        request_id = str(fields["RequestId"])
        if self.scripts.get(request_id):
            plan = self.scripts[request_id].popleft()
        self.requests[request_id] += 1
        self._change.set()
        if plan.before is not None:
            await plan.before.wait()
        said: dict[str, object] = {}
        for _ in range(plan.deliveries):
            said = self._take(target.split("/")[1], fields, plan, self._late.get(writer, 0.0))
        self._change.set()
        if plan.after is not None:
            await plan.after.wait()
        if plan.pause:
            await asyncio.sleep(plan.pause)
        body = json.dumps(said).encode() if plan.body is None else plan.body
        self.answered[target.split("/")[1], request_id].append(next(self.ticks))
        return await _finish(plan, body, reader, writer)

    def _take(
        self, tag: str, fields: Mapping[str, Any], plan: Plan, late: float
    ) -> dict[str, object]:
        """Take a message, or refuse it, by the rules of the pages."""
        api_key, request_id = str(fields["ApiKey"]), str(fields["RequestId"])
        if self._accounts is not None and self._accounts.get(api_key) != fields["SecretKey"]:
            return _refusal("101")
        now, key = self._clock() - late, (api_key, request_id)
        seen_at, sms_id = self._seen.get(key, (None, ""))
        is_seen = seen_at is not None and now - seen_at < MEMORY
        code = plan.code or self.refuse(fields)
        if self.rejected_uses_up_id:
            if is_seen:
                code = "124"
            elif code is not None:
                self._seen[key] = now, ""
        elif code is None and is_seen:
            code = "124"
        if code == "124" and plan.sms_id and sms_id:
            return {**_refusal("124"), "SMSID": sms_id}
        if code is not None:
            return _refusal(code)
        sms_id = f"{next(self._sms_ids):032x}"
        self._seen[key] = now, sms_id
        self.accepted[request_id] += 1
        self.phones[str(fields["Phone"])] += 1
        self.acceptances.append(
            Acceptance(
                next(self.ticks),
                tag,
                request_id,
                str(fields["Phone"]),
                sms_id,
                str(fields.get("campaignid", "")),
                now,
            )
        )
        return {"CodeResult": "100", "CountRegenerate": 0, "SMSID": sms_id}

    def _list(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """Answer GetSmsSentData_V2 with all that was accepted in the period."""
        since, until = (
            datetime.strptime(str(fields[name]), "%Y-%m-%d %H:%M:%S")
            .replace(tzinfo=UTC)
            .timestamp()
            - timedelta(hours=7).total_seconds()
            for name in ("From", "To")
        )
        found = [one for one in self.acceptances if since <= one.at <= until + 1]
        page, size = int(fields["Page"]), int(fields["PageSize"])
        rows = [
            {
                "Campaign": one.campaign,
                "Content": "",
                "Phone": one.phone,
                "ReferenceId": one.sms_id,
                "SellPrice": 850,
                "SendResult": 1,
                "SendStatus": 5,
                "SentTime": f"/Date({int(one.at * 1000)}+0700)/",
                "SmsId": one.tick,
                "SmsType": 8,
            }
            for one in found[(page - 1) * size : page * size]
        ]
        return {"CodeResult": "100", "CountTotal": len(found), "SentData": rows}


def _refusal(code: str) -> dict[str, object]:
    return {
        "CodeResult": code,
        "CountRegenerate": 0,
        "ErrorMessage": ERRORS.get(code, "No such thing"),
    }


def _reset(writer: asyncio.StreamWriter) -> bool:
    """End a connection with a RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _finish(
    plan: Plan, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    match plan.end:
        case "reset":
            return _reset(writer)
        case "close":
            return False
        case "hang":
            await reader.read()
            return False
        case "cut":
            writer.write(b"HTTP/1.1 200 Said\r\nContent-Length: 999\r\n\r\n" + body)
            return False
        case "answer":
            writer.write(raw_answer(body, plan.status, plan.head))
    if plan.stray is not None:
        # At once: it lies in the socket before the client can write its next request.
        writer.write(plan.stray)
    return not plan.close
