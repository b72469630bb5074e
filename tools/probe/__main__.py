"""The command `python -m tools.probe`: probes the gateway and prints the findings as a table."""

import asyncio
import contextlib
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs
import click

from esms_async._http.transport import DEFAULT_BASE_URL, Transport
from esms_async._model.errors import EsmsError, InvalidMessage, QueryAccountRejected, QueryError
from esms_async._model.messages import Credentials, Message
from esms_async._model.phone import mask_phone
from esms_async._model.routes import Brandname, FixedNumber, Route
from esms_async._model.version import __version__
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
# Page "Tin nhắn SMS OTP/CSKH": the brandname that every account can test with, and its template.
_TEST_BRANDNAME: Final = "Baotrixemay"
_TEXTS: Final = {
    _TEST_BRANDNAME: "686868 la ma xac minh dang ky Baotrixemay cua ban",
    None: "686868 la ma cua ban",
}


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--phone", required=True, metavar="PHONE", help="Your own phone; it gets the message."
)
@click.option(
    "--brandname",
    metavar="NAME",
    help=f"Send by this brandname, as the public {_TEST_BRANDNAME} [default: the fixed number].",
)
@click.option("--content", metavar="TEXT", help="Text of the message [default: one that fits].")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what was found to a new file, as JSON.",
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
    brandname: str | None,
    content: str | None,
    record: Path | None,
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
        if record is not None and (record.exists() or not record.parent.is_dir()):
            raise InputError("--record takes a new file in a folder that is there")
        route = FixedNumber() if brandname is None else Brandname(brandname)
        if content is None and (content := _TEXTS.get(brandname)) is None:
            raise InputError("give the --content that fits a template of the brandname")
        message = _message(phone, content, route, callback_url)
        plan = Plan(message, choice.asks_for_sandbox(), callback_url, wait=wait)
        listener = _listener(listen, callback_url)
        credentials = _EMULATED if choice.emulator else credentials_from_env(os.environ)
    except EsmsError as error:
        raise click.ClickException(str(error)) from None
    if not (plan.sandbox or choice.emulator):
        _agree(plan, yes=yes)
    job = _Job(plan, credentials, choice, listener, as_json, record)
    return run_job(job.run, as_json=as_json, debug=debug)


def _message(phone: str, content: str, route: Route, callback_url: str | None) -> Message:
    try:
        # The message itself has no CallbackUrl: not every send of it is to be reported.
        Message(phone, content, callback_url=callback_url)
        return Message(phone, content, route=route)
    except InvalidMessage as error:
        raise InputError(str(error)) from None


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
    record: Path | None

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
            described = self._describe(findings, connection.url)
        self._report(findings, described, screen)
        if self.record is not None:
            written = json.dumps(described, indent=2, ensure_ascii=False)
            self.record.write_text(f"{written}\n", encoding="utf-8")
        return code

    def _describe(self, findings: Findings, url: str) -> dict[str, object]:
        """Describe the probe without keys, phone, text, ids or the name of a machine."""
        is_real = url == DEFAULT_BASE_URL
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "version": __version__,
            "gateway": url if is_real else "another than eSMS's",
            "route": "fixed" if isinstance(self.plan.message.route, FixedNumber) else "brandname",
            "sandbox": self.plan.sandbox,
            **findings.as_json(),
        }

    def _report(self, findings: Findings, described: dict[str, object], screen: Screen) -> None:
        if self.as_json:
            screen.put_json(described)
        else:
            screen.put_line(findings.as_markdown())
        paid = f"Messages accepted: {findings.accepted}"
        if findings.uncertain:
            paid += f", and perhaps {findings.uncertain} more"
        where = "the table as an issue" if self.record is None else self.record
        screen.warn(f"{paid}; please file {where}, whatever it shows")


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
