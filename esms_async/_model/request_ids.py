"""Makes RequestIds: minted for each logical send, or derived from a business key."""

import hashlib
import os
import re
import time
from uuid import UUID

from esms_async._model.errors import InvalidMessage

# At most 50 characters is documented ("Send fixed number with cheap price", field RequestId).
# The character set is this package's own: what survives a URL, a log and a CSV file unchanged.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,50}")

# With a time between 2004 and 2109: most other ids of 32 hexadecimal digits, such as a hash of the
# caller's own, would have a time outside these years.
_MINTED = re.compile(r"0[1-3][0-9a-f]{10}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_DERIVED_LENGTH = 40
_DERIVATION = b"esms_async request id, version 1"


def new_request_id() -> str:
    """Mint a RequestId that no other send has: a UUID of version 7 (RFC 9562), in hexadecimal.

    It holds 48 bits of milliseconds since the epoch and, as RFC 9562 section 6.2 (method 3) allows,
    12 bits for the fraction of the millisecond. The other 62 bits come fresh from the operating
    system for every id and are never counted up, so forked workers draw different ids.

    Returns:
        32 hexadecimal digits. Ids sort by the time at which they were minted.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    # The version of RFC 9562 is 7, and its variant 0b10 goes before the 62 random bits.
    moment = milliseconds << 16 | 7 << 12 | (rest << 12) // 1_000_000
    random = 1 << 63 | int.from_bytes(os.urandom(8), "big") >> 2
    return (moment << 64 | random).to_bytes(16, "big").hex()


def minted_at(request_id: str) -> float | None:
    """Return when `new_request_id` minted an id, in seconds since the epoch.

    None if the id has another form: a derived id, or one of the caller's own.
    """
    if _MINTED.fullmatch(request_id) is None:
        return None
    return (int(request_id[:12], 16) + int(request_id[13:16], 16) / 4096) / 1000


def derive_request_id(*parts: str | int | bytes | UUID) -> str:
    """Derive a RequestId from a business key, the same in every process.

    Two different tuples of parts never share an id: each part goes in with its type and its
    length, so `("ab", "c")`, `("a", "bc")` and `("abc",)` differ, as do `1` and `"1"`.
    Logs and the gateway show the id, so do not put a one-time code into the parts: trying all
    values would find it.

    Args:
        *parts: At least one, such as `("login", user_id, challenge_id)`.

    Returns:
        40 hexadecimal digits, 160 bits of SHA-256.

    Raises:
        InvalidMessage: No part was given, or one is of another type (None, float, bool), which
            would make the id depend on more, or on less, than it seems to.
    """
    if not parts:
        raise InvalidMessage("request_id", "needs at least one part to be derived from")
    digest = hashlib.sha256(_DERIVATION)
    for position, part in enumerate(parts):
        kind, data = _encode_part(part, position)
        digest.update(b"%s%d:" % (kind, len(data)))
        digest.update(data)
    return digest.hexdigest()[:_DERIVED_LENGTH]


def _write_int(part: int, position: int) -> bytes:
    try:
        return b"%d" % part
    except ValueError:
        raise InvalidMessage(
            "request_id", f"part {position + 1} is a number of too many digits"
        ) from None


def _encode_part(part: object, position: int) -> tuple[bytes, bytes]:
    match part:
        case bool():
            pass
        case str():
            return b"s", part.encode("utf-8", "surrogatepass")
        case int():
            return b"i", _write_int(part, position)
        case bytes():
            return b"b", part
        case UUID():
            return b"u", part.bytes
        case _:
            pass
    raise InvalidMessage(
        "request_id",
        f"part {position + 1} is of type {type(part).__name__}; give str, int, bytes or UUID",
    )
