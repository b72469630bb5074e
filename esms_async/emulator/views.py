"""What the control interface and the inbox page show of an emulator, as JSON values."""

from collections.abc import Mapping
from datetime import UTC, datetime

from esms_async.emulator import wire
from esms_async.emulator.arming import ArmedFault
from esms_async.emulator.clock import Clock
from esms_async.emulator.delivery import FINISHED, SENT, progress
from esms_async.emulator.records import AcceptedMessage, SeenRequest, SentReport
from esms_async.text import measure

View = Mapping[str, object]
"""A JSON object."""


def view_message(message: AcceptedMessage, now: float) -> View:
    """Show an accepted message.

    Args:
        message: The message.
        now: The emulator's time, seconds since 1970.
    """
    size = measure(message.content, unicode=True if message.unicode else None)
    delivery = message.delivery
    return {
        "number": message.number,
        "at": _time(message.at),
        "phone": message.phone,
        "content": message.content,
        "otp": message.otp,
        "request_id": message.request_id,
        "sms_id": message.sms_id,
        "unicode": message.unicode,
        "alphabet": size.alphabet.label,
        "units": size.units,
        "parts": size.parts,
        "campaign_id": message.campaign_id,
        "callback_url": message.callback_url,
        "send_at": _time(message.send_at),
        "price": message.price,
        "state": _state(message, now),
        "delivery": {
            "started_at": _seconds(delivery.started_at),
            "finished_at": _seconds(delivery.finished_at),
            "delivered": delivery.delivered,
            "twist": delivery.twist,
        },
    }


def _state(message: AcceptedMessage, now: float) -> str:
    current = progress(message, now)
    if current.send_status == FINISHED:
        return "delivered" if current.success else "failed"
    return "sent" if current.send_status == SENT else "waiting"


def view_request(request: SeenRequest) -> View:
    """Show a request, and what became of it."""
    code = request.told or request.decided
    return {
        "number": request.number,
        "at": _time(request.at),
        "operation": request.operation,
        "method": request.method,
        "request_id": request.request_id,
        "phone": request.phone,
        "sandbox": request.sandbox,
        "fault": request.fault,
        "decided": request.decided,
        "told": request.told,
        "status": request.status,
        "meaning": None if code in (None, "100") else wire.error_message(code),
        "accepted": request.accepted,
        "sms_id": request.sms_id,
        "fields": request.fields,
    }


def view_report(report: SentReport) -> View:
    """Show a try to deliver a report."""
    return {
        "number": report.number,
        "at": _time(report.at),
        "sms_id": report.sms_id,
        "send_status": report.send_status,
        "attempt": report.attempt,
        "result": report.result,
    }


def view_fault(armed: ArmedFault) -> View:
    """Show an armed fault and what is left of it."""
    return {
        "number": armed.number,
        "spec": str(armed.fault),
        "used": armed.used,
        "left": armed.left,
    }


def view_clock(clock: Clock) -> View:
    """Show what time it is."""
    return {"now": _time(clock.now()), "running": clock.running}


def _seconds(at: float | None) -> str | None:
    return None if at is None else _time(datetime.fromtimestamp(at, UTC))


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")
