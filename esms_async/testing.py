"""Makes a client with its own emulator, for tests and first steps."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Unpack

from esms_async import ClientOptions, ConfigurationError, Credentials, EsmsClient
from esms_async.emulator import Emulator

__all__ = ["EmulatedClient", "EmulatedOptions", "emulated_client"]

# An emulator takes any keys, and must never get those of a real account.
_KEYS: Final = Credentials("emulator", "emulator")


class EmulatedOptions(ClientOptions, total=False):
    """The keyword arguments of `emulated_client`: those of the client, and `emulator`."""

    emulator: Emulator
    credentials: Credentials


class EmulatedClient(EsmsClient):
    """A client that sends to an emulator in this process.

    Args:
        emulator: A running emulator.
        credentials: The keys of its account; it takes any by default.
        **options: Keyword arguments of the client, except `base_url`.
    """

    # The port of an emulator in this process changes with each run.
    _destination = "an emulator of this process"

    def __init__(
        self,
        emulator: Emulator,
        credentials: Credentials = _KEYS,
        **options: Unpack[ClientOptions],
    ) -> None:
        if "base_url" in options:
            raise ConfigurationError("base_url cannot be given: it is the emulator's")
        options["base_url"] = emulator.url
        super().__init__(credentials, **options)
        self._emulator = emulator

    @property
    def emulator(self) -> Emulator:
        """The emulator that it sends to."""
        return self._emulator


@asynccontextmanager
async def emulated_client(
    emulator: Emulator | None = None,
    credentials: Credentials = _KEYS,
    **options: Unpack[ClientOptions],
) -> AsyncGenerator[EmulatedClient]:
    """Start an emulator, and make a client for it.

    Args:
        emulator: An emulator to start, with settings of your own; a default one if it is None.
        credentials: The keys of its account; it takes any by default.
        **options: Keyword arguments of the client, except `base_url`.

    Yields:
        The client. It is closed, and then the emulator, when the context is left.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """
    emulator = Emulator() if emulator is None else emulator
    async with emulator, EmulatedClient(emulator, credentials, **options) as client:
        yield client
