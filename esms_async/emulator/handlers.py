"""The operations of the gateway over HTTP: a request in, the fault that it meets, an answer out."""

from collections.abc import Callable, Mapping

import attrs
from aiohttp import web

from esms_async.emulator import wire
from esms_async.emulator.callbacks import Reporter
from esms_async.emulator.engine import Engine
from esms_async.emulator.faults import Fault, Kind, Phase, Sort
from esms_async.emulator.guard import read_body
from esms_async.emulator.misbehaviour import ON_THE_SOCKET, Closing, NoAnswer, misbehave
from esms_async.emulator.records import Operation, SeenRequest, Twist
from esms_async.emulator.wire import Answer, Fields
from esms_async.phone import normalize_phone

FOLDER = "/MainService.svc/json/"
"""The folder of the operations."""


_Operations = Mapping[Operation, Callable[[Fields], Answer]]


class Handlers:
    """Answers the requests of one emulator."""

    def __init__(self, engine: Engine, reporter: Reporter, closing: Closing) -> None:
        self._settings = engine.settings
        self._clock = engine.clock
        self._gateway = engine.gateway
        self._armoury = engine.armoury
        self._journal = engine.journal
        self._reporter = reporter
        self._closing = closing
        self._operations: _Operations = {
            Operation.SEND: self._send,
            Operation.BALANCE: self._gateway.get_balance,
            Operation.STATUS: self._gateway.get_send_status,
            Operation.RECEIVER_STATUS: self._gateway.get_receiver_status,
            Operation.SENT_DATA: self._gateway.get_sent_data,
        }

    def add_routes(self, app: web.Application) -> None:
        """Add the operations, each with and without a slash at the end; neither redirects."""
        self._add_post(app, "SendMultipleMessage_V4_post_json", Operation.SEND)
        self._add_get(app, "SendMultipleMessage_V4_get", Operation.SEND)
        self._add_post(app, "GetBalance_json", Operation.BALANCE)
        self._add_get(app, "GetSendStatus", Operation.STATUS)
        self._add_get(app, "GetSmsReceiverStatus_get", Operation.RECEIVER_STATUS)
        self._add_post(app, "GetSmsSentData_V2", Operation.SENT_DATA)

    def _add_post(self, app: web.Application, name: str, operation: Operation) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            fields = wire.read_json(await read_body(request, self._settings.body_timeout))
            if fields is None:
                # assumed: the page with which the service refuses what it cannot read.
                return _respond(wire.page(self._settings.unreadable_status))
            return await self._exchange(request.method, operation, fields)

        for path in (FOLDER + name, FOLDER + name + "/"):
            app.router.add_post(path, handle)

    def _add_get(self, app: web.Application, name: str, operation: Operation) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._exchange(request.method, operation, wire.read_query(request.query))

        for path in (FOLDER + name, FOLDER + name + "/"):
            # Without HEAD, which would send a message.
            app.router.add_get(path, handle, allow_head=False)

    async def _exchange(
        self, method: str, operation: Operation, fields: Fields
    ) -> web.StreamResponse:
        fault = None
        if self._armoury.loaded:
            fault = self._armoury.draw(Sort.ANSWER, operation, _kept_phone(fields))
        seen = SeenRequest(
            number=self._journal.requests.next_number(),
            at=self._clock.now(),
            operation=operation,
            method=method,
            fields=fields.shown,
            request_id=fields.get("requestid"),
            phone=fields.get("phone"),
            sandbox=fields.get("sandbox") == "1",
            fault=None if fault is None else str(fault),
        )
        if fault is not None:
            return await self._meet(fault, seen, fields)
        answer = self._operations[operation](fields)
        self._note(seen, answer, answer)
        await self._report_early(answer)
        return _respond(answer)

    async def _meet(self, fault: Fault, seen: SeenRequest, fields: Fields) -> web.StreamResponse:
        """Answer a request that meets a fault."""
        decision: Answer | None = None
        if fault.kind is Kind.DELAY and fault.phase is Phase.BEFORE:
            self._journal.note_request(seen)
            if await self._closing.within(fault.seconds):
                return NoAnswer()
        if fault.kind is Kind.DELAY or fault.phase is Phase.AFTER:
            decision = self._operations[seen.operation](fields)
        answer = self._distort(fault, seen.operation, fields, decision)
        is_told = fault.kind not in ON_THE_SOCKET or fault.kind is Kind.DRIBBLE
        self._note(seen, decision, answer if is_told else None)
        await self._report_early(decision)
        if fault.kind in ON_THE_SOCKET:
            return misbehave(fault, answer, self._closing)
        is_late = fault.kind is Kind.DELAY and fault.phase is Phase.AFTER
        if is_late and await self._closing.within(fault.seconds):
            return NoAnswer()
        return _respond(answer)

    def _distort(
        self, fault: Fault, operation: Operation, fields: Fields, decision: Answer | None
    ) -> Answer:
        """Return the answer that a fault puts in the place of the gateway's."""
        match fault.kind:
            case Kind.HTTP:
                return wire.plain(fault.status, fault.retry_after)
            case Kind.HTML:
                return wire.page(fault.status, fault.retry_after)
            case Kind.EMPTY:
                return wire.empty()
            case Kind.INVALID:
                return wire.invalid(self._settings.invalid_status)
            case Kind.CODE | Kind.DUPLICATE:
                sms_id = fields.get("refid") or self._gateway.new_sms_id()
                return wire.coded(operation, fault.code, sms_id)
            case _:
                return decision or wire.invalid(self._settings.invalid_status)

    def _send(self, fields: Fields) -> Answer:
        answer = self._gateway.send(fields)
        if (message := answer.message) is None:
            return answer
        if self._armoury.loaded:
            lag = self._armoury.draw(Sort.STATUS_LAG, Operation.SEND, message.phone)
            dlr = self._armoury.draw(Sort.DELIVERY, Operation.SEND, message.phone)
            if lag is not None or dlr is not None:
                message = self._gateway.twist(
                    message,
                    None if dlr is None else dlr.twist,
                    None if lag is None else lag.seconds,
                )
                answer = attrs.evolve(answer, message=message)
        self._journal.note_message(message)
        if message.callback_url is not None:
            self._reporter.plan(message)
        return answer

    async def _report_early(self, decision: Answer | None) -> None:
        """Send the reports of a message that was accepted just now, if they come this early."""
        message = None if decision is None else decision.message
        if message is not None and message.delivery.twist is Twist.EARLY:
            await self._reporter.send_early(message)

    def _note(self, seen: SeenRequest, decision: Answer | None, told: Answer | None) -> None:
        message = None if decision is None else decision.message
        self._journal.note_request(
            attrs.evolve(
                seen,
                decided=None if decision is None else decision.code,
                told=None if told is None else told.code,
                status=None if told is None else told.status,
                accepted=message is not None,
                sms_id=None if message is None else message.sms_id,
            )
        )


def _kept_phone(fields: Fields) -> str | None:
    try:
        return normalize_phone(fields.get("phone", ""))
    except ValueError:
        return None


def _respond(answer: Answer) -> web.Response:
    response = web.Response(
        text=answer.body, status=answer.status, content_type=answer.content_type
    )
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    return response
