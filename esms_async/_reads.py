"""Limits how much asyncio reads at once from a connection.

asyncio asks for 256 kB with each read. Until a process has freed a block of that size, glibc maps
and unmaps the memory for every read. That takes six times as long as the read itself, and was an
eighth of the time of a row of `esms-async bulk`. glibc reuses memory for blocks below 128 kB.
"""

from typing import Final

LARGEST_READ: Final = 64 * 1024
"""The most bytes of one read."""


def read_less(transport: object) -> None:
    """Limit the reads of a transport to 64 kB, if it is one of asyncio's own."""
    reader = getattr(transport, "_ssl_protocol", transport)
    if getattr(reader, "max_size", 0) > LARGEST_READ:
        setattr(reader, "max_size", LARGEST_READ)  # noqa: B010  # no type has it
