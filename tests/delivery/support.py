"""What tests of delivery reports share: a signer, messages, and the queries of their reports."""

import asyncio
from urllib.parse import urlencode

from esms_async import Message
from esms_async.delivery import CallbackSigner, DeliveryReport
from tests.limits import generous

SECRET = "a secret that nobody guesses"
SIGNER = CallbackSigner(SECRET)

STATUSES = {
    "delivered": ("5", "1", "0"),
    "failed": ("5", "0", "1"),
    "refused": ("4", "0", "0"),
    "pending": ("2", "0", "0"),
}


def query_of(message: Message, state: str = "delivered", **changes: str) -> str:
    """Return the query of a report."""
    status, success, failed = STATUSES[state]
    fields = {
        "SMSID": "d8e0",
        "SendFailed": failed,
        "SendStatus": status,
        "SendSuccess": success,
        "TotalPrice": "850.0000",
        "TotalReceiver": "1",
        "TotalSent": "1",
        "RequestId": message.request_id,
        "telcoid": "1",
        "phonenumber": message.phone,
    }
    return urlencode({**fields, **changes})


class Handler:
    """An application's handler that notes what it gets, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.reports: list[DeliveryReport] = []
        self.calls = 0
        self._failures = failures
        self._got = asyncio.Condition()

    async def __call__(self, report: DeliveryReport) -> None:
        """Take a report."""
        self.calls += 1
        if self._failures:
            self._failures -= 1
            raise RuntimeError("the database is away")
        async with self._got:
            self.reports.append(report)
            self._got.notify_all()

    async def got(self, count: int) -> None:
        """Wait until it has got a number of reports."""
        async with asyncio.timeout(generous(20)), self._got:
            await self._got.wait_for(lambda: len(self.reports) >= count)
