"""The parts of one emulator that keep its state, together."""

import attrs

from esms_async.emulator.arming import Armoury
from esms_async.emulator.clock import Clock
from esms_async.emulator.gateway import Gateway
from esms_async.emulator.journal import Journal
from esms_async.emulator.settings import Settings


@attrs.frozen
class Engine:
    """What the handlers, the reports and the Python interface of one emulator work on.

    Attributes:
        settings: What no page documents, and the bounds.
        clock: What time it is.
        gateway: The account, RequestIds and messages.
        armoury: The faults.
        journal: What came in and went out, and who listens.
    """

    settings: Settings
    clock: Clock
    gateway: Gateway
    armoury: Armoury
    journal: Journal
