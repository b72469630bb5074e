"""RequestIds: minted anew for each logical send, or derived from a business key."""

import hashlib
import os
import re
from uuid import UUID

from esms_async.errors import InvalidMessage

# At most 50 characters is documented ("Send fixed number with cheap price", field RequestId).
# The character set is this package's own: what survives a URL, a log and a CSV file unchanged.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,50}")

_DERIVED_LENGTH = 40
_DERIVATION = b"esms_async request id, version 1"


def new_request_id() -> str:
    """Mint a RequestId that no other send has.

    Returns:
        32 hexadecimal digits, 128 random bits from the operating system (safe across forks).
    """
    return os.urandom(16).hex()


def derive_request_id(*parts: str | int | bytes | UUID) -> str:
    """Derive a RequestId from a business key, the same in every process.

    Two different tuples of parts never share an id: each part goes in with its type and its
    length, so `("ab", "c")`, `("a", "bc")` and `("abc",)` differ, as do `1` and `"1"`.
    The id travels in clear through logs and the gateway: do not put a one-time code into the
    parts, for a code of few digits can be found by trying them all.

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
