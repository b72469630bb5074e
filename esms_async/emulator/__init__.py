"""A local eSMS gateway for development and tests: it answers as the real one, and fails on demand.

async with Emulator() as gateway:
    gateway.fault("reset,phase=after,times=1")
    ...  # EsmsClient(credentials, base_url=gateway.url)
    assert gateway.accepted(message.request_id) == 1
"""

from esms_async.emulator.arming import ArmedFault
from esms_async.emulator.clock import Clock
from esms_async.emulator.faults import Fault, Kind, Phase, parse_fault
from esms_async.emulator.journal import Event, EventKind
from esms_async.emulator.records import (
    AcceptedMessage,
    Delivery,
    Operation,
    SeenRequest,
    SentReport,
    Twist,
)
from esms_async.emulator.server import Emulator
from esms_async.emulator.settings import AccountState, Check, Settings

__all__ = [
    "AcceptedMessage",
    "AccountState",
    "ArmedFault",
    "Check",
    "Clock",
    "Delivery",
    "Emulator",
    "Event",
    "EventKind",
    "Fault",
    "Kind",
    "Operation",
    "Phase",
    "SeenRequest",
    "SentReport",
    "Settings",
    "Twist",
    "parse_fault",
]
