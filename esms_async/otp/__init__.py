"""One-time codes over SMS: each send reaches the phone at most once, each code works once.

::

    otp = Otp(esms, store=store, keys=[KEY], purposes={"login": Purpose("{code} is your code")})
    challenge = await otp.start(phone)
    result = await otp.verify(challenge.id, code, phone=phone)
"""

from typing import TYPE_CHECKING

from esms_async.otp.policy import Guard, Purpose
from esms_async.otp.rules import OtpRefused, OtpStoreError
from esms_async.otp.service import Challenge, Otp, Verification
from esms_async.otp.stores import MemoryOtpStore, OtpStore, SqliteOtpStore

if TYPE_CHECKING:
    from esms_async.otp.redis import RedisOtpStore as RedisOtpStore

# RedisOtpStore is not among them: a star import must work without the extra `redis`.
__all__ = [
    "Challenge",
    "Guard",
    "MemoryOtpStore",
    "Otp",
    "OtpRefused",
    "OtpStore",
    "OtpStoreError",
    "Purpose",
    "SqliteOtpStore",
    "Verification",
]


def __getattr__(name: str) -> object:
    """Import the store on Redis on first use, because it needs an extra."""
    if name != "RedisOtpStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from esms_async.otp.redis import RedisOtpStore  # noqa: PLC0415  # as said above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ImportError(
            "RedisOtpStore needs redis-py; install it with: pip install 'esms_async[redis]'"
        ) from None
    return RedisOtpStore
