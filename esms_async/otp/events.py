"""Reports the results of one-time codes to the log and OpenTelemetry, without phone or code.

The logger is `esms_async.otp`. Where OpenTelemetry's API is installed (extra `otel`), the global
meter gets these counters, whose attributes are few and bounded:

| metric | attributes (`esms.otp.…`) |
|---|---|
| `esms.otp.started` | purpose |
| `esms.otp.sent` | purpose, operator, route, status |
| `esms.otp.send.duration` (s) | purpose, operator, route, status |
| `esms.otp.verified` | purpose, operator, route |
| `esms.otp.failed` | purpose, reason: wrong, used, expired, locked |
| `esms.otp.refused` | purpose, reason |

Conversion by operator and route is verified divided by sent.
"""

import logging
from typing import TYPE_CHECKING, Final

from esms_async import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram

_logger = logging.getLogger("esms_async.otp")

# The numbering plan since 2018; a number that was ported to another operator counts as before.
_RANGES: Final = (
    ("viettel", "032 033 034 035 036 037 038 039 086 096 097 098"),
    ("mobifone", "070 076 077 078 079 089 090 093"),
    ("vinaphone", "081 082 083 084 085 088 091 094"),
    ("vietnamobile", "052 056 058 092"),
    ("gmobile", "059 099"),
    ("itel", "087"),
    ("reddi", "055"),
)
_OPERATORS: Final = {start: name for name, starts in _RANGES for start in starts.split()}


def operator_of(phone: str) -> str:
    """Return the operator of a phone's number range."""
    return _OPERATORS.get(phone[:3], "other")


def route_name(route: object) -> str:
    """Return the kind of a route, without its names."""
    return "default" if route is None else type(route).__name__


class OtpEvents:
    """Counts and logs the results of codes."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._duration: Histogram | None = None
        try:
            from opentelemetry import metrics  # noqa: PLC0415  # only where it is installed
        except ModuleNotFoundError:
            return
        meter = metrics.get_meter("esms_async.otp", __version__)
        self._counters = {
            name: meter.create_counter(f"esms.otp.{name}", unit="{code}")
            for name in ("started", "sent", "verified", "failed", "refused")
        }
        self._duration = meter.create_histogram("esms.otp.send.duration", unit="s")

    def started(self, purpose: str) -> None:
        """Count a new code."""
        self._count("started", {"purpose": purpose})

    def sent(self, purpose: str, phone: str, route: object, status: str, seconds: float) -> None:
        """Count a send by its result."""
        attributes = {**_where(purpose, phone, route), "status": str(status)}
        self._count("sent", attributes)
        if self._duration is not None:
            self._duration.record(seconds, _prefixed(attributes))

    def verified(self, purpose: str, phone: str, route: object) -> None:
        """Count a code that was entered."""
        self._count("verified", _where(purpose, phone, route))

    def failed(self, purpose: str, reason: str) -> None:
        """Count a code that was not accepted."""
        self._count("failed", {"purpose": purpose, "reason": reason})

    def refused(self, purpose: str, reason: str) -> None:
        """Count a code that a limit refused to send."""
        self._count("refused", {"purpose": purpose, "reason": reason})

    def _count(self, name: str, attributes: dict[str, str]) -> None:
        if _logger.isEnabledFor(logging.DEBUG):
            extra = {f"esms_otp_{key}": value for key, value in attributes.items()}
            _logger.debug("%s %s", name, " ".join(attributes.values()), extra=extra)
        if counter := self._counters.get(name):
            counter.add(1, _prefixed(attributes))


def _where(purpose: str, phone: str, route: object) -> dict[str, str]:
    return {"purpose": purpose, "operator": operator_of(phone), "route": route_name(route)}


def _prefixed(attributes: dict[str, str]) -> dict[str, str]:
    return {f"esms.otp.{name}": value for name, value in attributes.items()}
