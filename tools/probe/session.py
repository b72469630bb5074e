"""The sends of a probe, right ones and wrong ones, never more than the person agreed to pay for."""

import json
from collections.abc import Mapping
from typing import Final, cast

import attrs

from esms_async._http.transport import SendRequest, Transport, TransportFailure
from esms_async._model.codes import Scope, lookup
from esms_async._model.errors import EsmsError
from esms_async._model.messages import Credentials, Message
from esms_async._wire.fields import as_code, find
from esms_async._wire.send import SEND_OPERATION, SendEncoder, read_json
from tools.probe.findings import Findings

ACCEPTED: Final = "100"
DUPLICATE: Final = "124"
MOST_PAID: Final = 3
"""A rejected send that is accepted after all, a right one, and its repetition."""

_TIME_LIMIT: Final = 30.0


@attrs.frozen
class Plan:
    """What a probe is to do.

    Attributes:
        message: The message, whose RequestId no send uses.
        sandbox: True sends and pays nothing.
        callback_url: Where delivery is to be reported, or None.
        burst: How many sandbox sends to make at once, to meet a rate limit.
        wait: For how many seconds to wait for delivery reports at most.
    """

    message: Message
    sandbox: bool
    callback_url: str | None = attrs.field(default=None, repr=False)
    burst: int = 40
    wait: float = 120.0


class AccountStopped(EsmsError):
    """The account can't send, so that nothing else can be found out."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the account can't send: code {code}, {lookup(code).meaning}")
        self.code = code


@attrs.frozen
class Seen:
    """One answer, without a word of the gateway's, which might echo the request.

    Attributes:
        status: The HTTP status, or None where no answer came.
        body: What the body is, or why there is none.
        code: The code, or None.
    """

    status: int | None
    body: str
    code: str | None = None

    def __str__(self) -> str:
        return self.body if self.status is None else f"HTTP {self.status}, {self.body}"


class Session:
    """Sends what a probe wants to know the answer of.

    Args:
        transport: What carries the requests; it stays its owner's.
        credentials: The account's keys.
        plan: What the probe is to do.
        findings: Where it is counted what may be charged.
    """

    def __init__(
        self, transport: Transport, credentials: Credentials, plan: Plan, findings: Findings
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._plan = plan
        self._findings = findings
        self.rejected_at: set[int] = set()
        """The HTTP statuses with which codes other than 100 came."""

    async def send(
        self,
        request_id: str,
        changes: Mapping[str, str] | None = None,
        *,
        sandbox: bool = True,
    ) -> Seen:
        """Make one send.

        Args:
            request_id: The RequestId.
            changes: The fields in which it differs from a send that is right.
            sandbox: True has it checked alone.

        Returns:
            The answer.

        Raises:
            AccountStopped: The account can't send.
        """
        encode = SendEncoder(
            self._credentials,
            sandbox=sandbox,
            dumps=lambda fields: json.dumps({**fields, **(changes or {})}),
        )
        body = encode(attrs.evolve(self._plan.message, request_id=request_id))
        if sandbox:
            return await self.post(body)
        # A send that is interrupted may be charged too.
        self._findings.uncertain += 1
        seen = await self.post(body)
        self._findings.accepted += seen.code == ACCEPTED
        self._findings.uncertain -= seen.code is not None
        return seen

    async def post(self, body: bytes) -> Seen:
        """Post any body to the operation that sends.

        Args:
            body: The body.

        Returns:
            The answer.

        Raises:
            AccountStopped: The account can't send.
        """
        try:
            reply = await self._transport.post(
                SEND_OPERATION, SendRequest(body), time_limit=_TIME_LIMIT
            )
        except TransportFailure as failure:
            return Seen(None, f"no answer ({failure.problem})")
        seen = read(reply.status, reply.body)
        if seen.code is not None:
            if lookup(seen.code).scope is Scope.ACCOUNT:
                raise AccountStopped(seen.code)
            if seen.code != ACCEPTED:
                self.rejected_at.add(reply.status)
        return seen


def read(status: int, body: bytes) -> Seen:
    """Read an answer to a send, whatever its status.

    Args:
        status: The HTTP status.
        body: The body, however hostile.

    Returns:
        What is of interest in it.
    """
    if not body.strip():
        return Seen(status, "no body")
    try:
        answer = read_json(body)
    except (ValueError, RecursionError):
        is_page = body.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
        return Seen(status, "an HTML page" if is_page else "no JSON")
    fields = cast("Mapping[object, object]", answer if isinstance(answer, dict) else {})
    if (code := as_code(find(fields, "CodeResult"))) is not None:
        return Seen(status, f"code {code}", code)
    known = find(fields, "error") is not None
    return Seen(status, "an error object" if known else "JSON without a code")
