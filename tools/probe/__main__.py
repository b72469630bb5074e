"""The command `python -m tools.probe`: probes the gateway and prints the findings as a table."""

import asyncio
import contextlib
import os
import re
import sys
from typing import Final

import attrs
import click

from esms_async._http.transport import Transport
from esms_async._model.errors import EsmsError, InvalidMessage, QueryAccountRejected, QueryError
from esms_async._model.messages import Credentials, Message
from esms_async._model.phone import mask_phone
from esms_async.cli.app import run
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import GatewayChoice, connect
from esms_async.cli.interrupt import on_interrupt
from esms_async.cli.options import Command, gateway_options
from esms_async.cli.running import run_job
from esms_async.cli.screen import Screen
from esms_async.client import credentials_from_env
from tools.probe.findings import Findings
from tools.probe.listener import Listener
from tools.probe.probe import Probe
from tools.probe.session import MOST_PAID, AccountStopped, Plan, Session

_LISTEN: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})"
)
_EMULATED: Final = Credentials("emulator", "emulator")


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--phone", required=True, metavar="PHONE", help="Your own phone; it gets the message."
)
@click.option(
    "--content", default="686868 la ma cua ban", metavar="TEXT", help="Text of the message."
)
@click.option("--callback-url", metavar="URL", help="URL at which the gateway reaches --listen.")
@click.option("--listen", metavar="HOST:PORT", help="Address to receive delivery reports at.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 86400),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest time to wait for reports.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the first paid message.")
@gateway_options
def probe_command(
    *,
    phone: str,
    content: str,
    callback_url: str | None,
    listen: str | None,
    wait: float,
    yes: bool,
    choice: GatewayChoice,
    as_json: bool,
    debug: bool,
) -> int:
    """Observe with a real account, once, what the gateway's documents leave open.

    It sends a few messages. Before the first paid one it says how many there may be, and asks.
    With --sandbox it costs nothing and observes less. The printed table can go into an issue as
    it is.
    """
    try:
        choice.check()
        plan = _plan(phone, content, callback_url, wait, sandbox=choice.asks_for_sandbox())
        listener = _listener(listen, callback_url)
        credentials = _EMULATED if choice.emulator else credentials_from_env(os.environ)
    except EsmsError as error:
        raise click.ClickException(str(error)) from None
    if not (plan.sandbox or choice.emulator):
        _agree(plan, yes=yes)
    job = _Job(plan, credentials, choice, listener, as_json)
    return run_job(job.run, as_json=as_json, debug=debug)


def _plan(
    phone: str, content: str, callback_url: str | None, wait: float, *, sandbox: bool
) -> Plan:
    try:
        # The message itself has no CallbackUrl: not every send of it is to be reported.
        message = Message(phone, content)
        Message(phone, content, callback_url=callback_url)
    except InvalidMessage as error:
        raise InputError(str(error)) from None
    return Plan(message, sandbox, callback_url, wait=wait)


def _listener(listen: str | None, callback_url: str | None) -> Listener | None:
    if (listen is None) != (callback_url is None):
        raise InputError("--callback-url and --listen go together; give both or neither")
    if listen is None:
        return None
    match = _LISTEN.fullmatch(listen)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise InputError("--listen takes an address and a port, as 0.0.0.0:8080")
    return Listener(match["six"] or match["host"], int(match["port"]))


def _agree(plan: Plan, *, yes: bool) -> None:
    """Say how many messages may be charged, and go on only if a person agrees."""
    click.echo(
        f"At most {MOST_PAID} messages to {mask_phone(plan.message.phone)} will be charged, "
        "one where all is as assumed.",
        err=True,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException("nobody can be asked here; add --yes, or --sandbox")
    click.confirm("Send them?", abort=True, err=True)


@attrs.frozen
class _Job:
    """A probe with everything that it needs."""

    plan: Plan
    credentials: Credentials
    choice: GatewayChoice
    listener: Listener | None
    as_json: bool

    async def run(self, screen: Screen) -> ExitCode:
        """Probe, and print what was found."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connect(self.choice))
            screen.banner(connection.url, connection.seed)
            try:
                # A query is free, and shows whether the gateway answers and knows the account.
                await connection.client.balance()
            except QueryError as error:
                screen.warn(str(error))
                refused = isinstance(error, QueryAccountRejected)
                return ExitCode.ACCOUNT_REJECTED if refused else ExitCode.REFUSED
            transport = Transport(connection.url)
            stack.push_async_callback(transport.aclose)
            if self.listener is not None:
                await stack.enter_async_context(self.listener)
            findings = Findings()
            session = Session(transport, self.credentials, self.plan, findings)
            probe = Probe(self.plan, session, findings, self.listener)
            code = await _carry_out(probe, screen)
        self._report(findings, screen)
        return code

    def _report(self, findings: Findings, screen: Screen) -> None:
        if self.as_json:
            screen.put_json({"sandbox": self.plan.sandbox, **findings.as_json()})
        else:
            screen.put_line(findings.as_markdown())
        paid = f"Messages accepted: {findings.accepted}"
        if findings.uncertain:
            paid += f", and perhaps {findings.uncertain} more"
        screen.warn(f"{paid}; please file the table as an issue, whatever it shows")


def _cancel(running: asyncio.Future[None]) -> None:
    running.cancel()


async def _carry_out(probe: Probe, screen: Screen) -> ExitCode:
    running = asyncio.ensure_future(probe.run())
    with on_interrupt(lambda _: _cancel(running)):
        try:
            await running
        except AccountStopped as stopped:
            screen.warn(str(stopped))
            return ExitCode.ACCOUNT_REJECTED
        except asyncio.CancelledError:
            return ExitCode.INTERRUPTED
    return ExitCode.ACCEPTED


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], probe_command, "python -m tools.probe"))
