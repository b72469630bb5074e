"""Has asyncio ask for less with each read than it does on its own.

asyncio asks for 256 kB. Until a process has freed a block of that size, glibc maps so much memory
anew for each read and gives it back at once: six times the time of the read itself, and an eighth
of a row of `esms-async bulk`. A block below 128 kB comes from memory that is there.
"""

from typing import Final

LARGEST_READ: Final = 64 * 1024
"""The most bytes of one read."""


def read_less(transport: object) -> None:
    """Have the transport of a connection read 64 kB at once, if it is one of asyncio's own."""
    reader = getattr(transport, "_ssl_protocol", transport)
    if getattr(reader, "max_size", 0) > LARGEST_READ:
        setattr(reader, "max_size", LARGEST_READ)  # noqa: B010  # no type has it
