"""The adapters: real servers, raw requests, and the statuses that the receiver says."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import uvicorn
from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette

from esms_async import Message
from esms_async.delivery import ReportReceiver, Result
from esms_async.delivery.aiohttp import report_routes
from esms_async.delivery.fastapi import report_router
from esms_async.delivery.starlette import report_routes as starlette_routes
from esms_async.otp.fastapi import esms_lifespan
from tests.delivery.support import SIGNER, Handler, query_of
from tests.factories import a_message

Server = Callable[[ReportReceiver, str], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def aiohttp_server(receiver: ReportReceiver, path: str) -> AsyncIterator[int]:
    """Serve an aiohttp application, and give its port."""

    async def own(_: web.Application) -> AsyncIterator[None]:
        async with receiver:
            yield

    app = web.Application()
    app.cleanup_ctx.append(own)
    app.add_routes(report_routes(receiver, path))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@asynccontextmanager
async def fastapi_server(receiver: ReportReceiver, path: str) -> AsyncIterator[int]:
    """Serve a FastAPI application under uvicorn, and give its port."""
    app = FastAPI(lifespan=esms_lifespan(receiver))
    app.include_router(report_router(receiver, path))
    assert app.openapi()["paths"] == {}
    async with served(app) as port:
        yield port


@asynccontextmanager
async def starlette_server(receiver: ReportReceiver, path: str) -> AsyncIterator[int]:
    """Serve a Starlette application under uvicorn, and give its port."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with receiver:
            yield

    app = Starlette(routes=starlette_routes(receiver, path), lifespan=lifespan)
    async with served(app) as port:
        yield port


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[int]:
    """Serve an application under uvicorn, and give its port."""
    config = uvicorn.Config(app, port=0, log_level="error", access_log=False, http="h11", ws="none")
    server = Served(config)
    task = asyncio.create_task(server.serve())
    await server.ready.wait()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


class Served(uvicorn.Server):
    """A server that says when it listens, and leaves the signals of the process alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: object = None) -> None:
        """Start to listen."""
        await super().startup()
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def get(port: int, target: str, method: str = "GET") -> int:
    """Make a request, as it is written, and return the status of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.read()).split(b" ")[1])
    writer.close()
    await writer.wait_closed()
    return status


def target(message: Message, query: str, path: str = "/esms/reports") -> str:
    """Return what the gateway asks for."""
    return f"{path}/{SIGNER.sign(message)}?{query}"


SERVERS = pytest.mark.parametrize("serve", [aiohttp_server, fastapi_server, starlette_server])


@SERVERS
async def test_a_report_comes_through(serve: Server) -> None:
    """It is handed on once, with all fields of the query, and each repetition is answered 200."""
    handler, message = Handler(), a_message()
    async with serve(ReportReceiver(handler, signer=SIGNER), "/esms/reports/") as port:
        statuses = [await get(port, target(message, query_of(message))) for _ in range(3)]
        await handler.got(1)
    assert statuses == [200, 200, 200]
    assert [(report.request_id, report.phone) for report in handler.reports] == [
        (message.request_id, message.phone)
    ]


@SERVERS
async def test_what_is_wrong_is_refused(serve: Server) -> None:
    """The receiver's own word goes out, whatever the query looks like."""
    handler, message, other = Handler(), a_message(), a_message()
    receiver = ReportReceiver(handler, signer=SIGNER)
    query = query_of(message)
    async with serve(receiver, "/hooks") as port:
        statuses = [
            await get(port, each)
            for each in (
                f"/hooks/forged?{query}",
                f"/hooks/%00%FF?{query}",
                target(other, query, "/hooks"),
                target(message, query + "&x=%ff", "/hooks"),
                target(message, query + "&x=%", "/hooks"),
                target(message, "", "/hooks"),
                f"/hooks?{query}",
                f"/hooks/a/b?{query}",
            )
        ]
    assert statuses == [404, 404, 404, 400, 400, 400, 404, 404]
    assert handler.reports == []
    assert receiver.counts == {Result.REFUSED: 3, Result.UNREADABLE: 3}


@SERVERS
async def test_only_get_brings_a_report(serve: Server) -> None:
    """A HEAD or a POST changes nothing."""
    handler, message = Handler(), a_message()
    async with serve(ReportReceiver(handler, signer=SIGNER), "/esms/reports") as port:
        for method in ("HEAD", "POST"):
            assert await get(port, target(message, query_of(message)), method) == 405
    assert handler.reports == []


@SERVERS
async def test_a_handler_that_fails_costs_no_report(serve: Server) -> None:
    """The gateway gets 200, and the report is handed on later."""
    handler, message = Handler(failures=1), a_message()
    async with serve(ReportReceiver(handler, signer=SIGNER), "/esms/reports") as port:
        assert await get(port, target(message, query_of(message))) == 200
        await handler.got(1)
    assert handler.calls == 2


# The extras.


def run_without(modules: str, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a Python that lacks some modules."""
    preamble = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(name, *rest):\n"
        f"        if name in {modules.split()}:\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Absent)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", preamble + program], capture_output=True, text=True, check=False
    )


def test_reports_are_taken_without_any_extra() -> None:
    """Neither FastAPI nor redis-py is needed to send, or to take reports with aiohttp."""
    result = run_without(
        "fastapi starlette pydantic redis click rich",
        "import asyncio\n"
        "from esms_async import EsmsClient\n"
        "from esms_async.delivery import CallbackSigner, DeliveryReport, ReportReceiver\n"
        "from esms_async.delivery.aiohttp import report_routes\n"
        "async def on_report(report): print(report.state)\n"
        "signer = CallbackSigner('x' * 16)\n"
        "receiver = ReportReceiver(on_report, signer=signer)\n"
        "report = DeliveryReport.from_query('RequestId=a&SendStatus=4')\n"
        "async def main():\n"
        "    async with receiver:\n"
        "        print(len(report_routes(receiver)), (await receiver.hand_on(report)).status)\n"
        "asyncio.run(main())\n",
    )
    assert sorted(result.stdout.splitlines()) == ["1 200", "refused"], result.stderr


def test_a_missing_fastapi_is_named() -> None:
    """Without the extra, one line says what to install."""
    result = run_without("fastapi", "import esms_async.delivery.fastapi")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: esms_async.delivery.fastapi needs FastAPI")
    assert "pip install 'esms_async[fastapi]'" in last
    assert "During handling" not in result.stderr


def test_a_missing_starlette_is_named() -> None:
    """Its router needs nothing else, and one line says what to install."""
    result = run_without("starlette fastapi pydantic", "import esms_async.delivery.starlette")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: esms_async.delivery.starlette needs Starlette")
    result = run_without("fastapi pydantic", "import esms_async.delivery.starlette")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("absent", "module"), [("starlette", "fastapi"), ("http", "starlette"), ("anyio", "starlette")]
)
def test_another_missing_module_is_not_blamed_on_the_framework(absent: str, module: str) -> None:
    """The error names the module that is really missing."""
    result = run_without(absent, f"import esms_async.delivery.{module}")
    assert f"No module named {absent}" in result.stderr
    assert "install it with" not in result.stderr
