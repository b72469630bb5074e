"""The socket of an emulator: what it serves, where, and within which bounds."""

import asyncio

from aiohttp import web

from esms_async.emulator.guard import guard, quiet_logger
from esms_async.emulator.settings import Settings
from esms_async.errors import ConfigurationError

_BACKLOG = 1024
# Handlers wait for nothing once the emulator closes; this is for what never finished arriving.
_SHUTDOWN_TIMEOUT = 0.1
# So long is read on after a refusal, so that a client which still sends gets to see it.
_LINGERING_TIME = 0.25


def new_application(settings: Settings) -> web.Application:
    """Make an application that lets nobody in but programs of this machine."""
    return web.Application(client_max_size=settings.max_request_bytes, middlewares=[guard])


async def listen(app: web.Application, host: str, port: int, settings: Settings) -> web.AppRunner:
    """Serve an application.

    Args:
        app: The application.
        host: The address to listen on.
        port: The port; 0 takes one that is free.
        settings: The bounds.

    Returns:
        What serves it, to be cleaned up in the end.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=quiet_logger(),
        shutdown_timeout=_SHUTDOWN_TIMEOUT,
        keepalive_timeout=settings.idle_timeout,
        lingering_time=_LINGERING_TIME,
        # A compressed body is no JSON: 300 kB of gzip can hold 300 MB.
        auto_decompress=False,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error}); choose another port, or 0"
        ) from None
    return runner


async def close(runner: web.AppRunner) -> None:
    """Stop to serve; what clients have not read of their answers by then is dropped."""
    connections = [] if runner.server is None else runner.server.connections
    transports = [each.transport for each in connections if each.transport is not None]
    await runner.cleanup()
    for transport in transports:
        transport.abort()
    # The sockets are closed when the loop turns.
    await asyncio.sleep(0)
