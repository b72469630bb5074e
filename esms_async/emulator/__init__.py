"""A local eSMS gateway for development and tests: it answers as the real one, and fails on demand.

::

    async with Emulator() as gateway:
        gateway.fault("reset,phase=after,times=1")
        ...  # EsmsClient(credentials, base_url=gateway.url)
        assert gateway.accepted(message.request_id) == 1
"""

from esms_async.emulator.clock import Clock
from esms_async.emulator.faults import ArmedFault, Fault, Kind, Phase, parse_fault
from esms_async.emulator.gateway import AccountSetup, BrandnameSetup
from esms_async.emulator.journal import Event, EventKind
from esms_async.emulator.records import (
    AcceptedMessage,
    Delivery,
    DeliveryFault,
    Operation,
    SeenRequest,
    SentReport,
)
from esms_async.emulator.server import Emulator, ThreadedEmulator
from esms_async.emulator.settings import AccountState, Check, Settings, parse_settings

__all__ = [
    "AcceptedMessage",
    "AccountSetup",
    "AccountState",
    "ArmedFault",
    "BrandnameSetup",
    "Check",
    "Clock",
    "Delivery",
    "DeliveryFault",
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
    "ThreadedEmulator",
    "parse_fault",
    "parse_settings",
]
