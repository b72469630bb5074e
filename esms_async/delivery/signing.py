"""Signs the CallbackUrl of each message, and checks the signature of a report that comes in.

The gateway signs nothing, and its report is a GET that anybody who finds the URL can make. So the
last path segment of each message's CallbackUrl holds the RequestId, the end of its validity, and a
signature that needs the secret. It is in the path because the gateway writes the query.
"""

import hmac
import re
import time
from collections.abc import Callable
from typing import Final

from esms_async import ConfigurationError, InvalidMessage, Message
from esms_async._model.checks import check_callback_url, check_seconds
from esms_async._model.request_ids import REQUEST_ID

_TWO_DAYS: Final = 48 * 3600.0
_SHORTEST_SECRET: Final = 16
_KEY_ID_LENGTH: Final = 4
_MAC_LENGTH: Final = 16
# RequestId, end of its validity, key, signature; only the first can hold a dot.
_SEGMENT: Final = re.compile(
    rf"(?P<signed>(?P<request_id>{REQUEST_ID.pattern})\.(?P<until>[0-9a-f]{{1,12}}))"
    rf"\.(?P<key_id>[0-9a-f]{{{2 * _KEY_ID_LENGTH}}})\.(?P<mac>[0-9a-f]{{{2 * _MAC_LENGTH}}})"
)
_LATEST: Final = 16**12 - 1
_LONGEST_SEGMENT: Final = 50 + 12 + 2 * _KEY_ID_LENGTH + 2 * _MAC_LENGTH + 3


class CallbackSigner:
    """Signs the CallbackUrl of each message, and recognizes its own signatures.

    Args:
        secret: The secret to sign with, at least 16 characters that nobody can guess, the same in
            all replicas that send or receive.
        *older: Earlier secrets whose signatures are still valid: to rotate, put a new one first
            and keep the old one here for as long as `lifetime`.
        lifetime: The seconds after the send for which a signature is valid. A ledger must keep
            reports at least that long.
        clock: The time in seconds since the epoch.

    Raises:
        ConfigurationError: A secret is too short, or `lifetime` is not a number of seconds.
    """

    def __init__(
        self,
        secret: str,
        *older: str,
        lifetime: float = _TWO_DAYS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_seconds("lifetime", lifetime)
        keys = [_derive_key(each) for each in (secret, *older)]
        self._keys = {_key_id(key): key for key in reversed(keys)}
        self._key = keys[0]
        self._lifetime = lifetime
        self._clock = clock

    def at(self, url: str) -> Callable[[Message], str]:
        """Return a `callback_url` for `EsmsClient`, a function that signs a URL for each message.

        Args:
            url: The receiver's address from outside, such as `https://shop.example/esms/reports`.

        Raises:
            ConfigurationError: The gateway can't call this URL, or it has a query.
        """
        try:
            check_callback_url(url)
            base = url.rstrip("/") + "/"
            check_callback_url(base + "x" * _LONGEST_SEGMENT)
        except InvalidMessage as error:
            raise ConfigurationError(str(error)) from None
        if "?" in base or "#" in base:
            raise ConfigurationError("callback_url: must have no query and no fragment")
        return lambda message: base + self.sign(message)

    def sign(self, message: Message) -> str:
        """Return the last path segment of a message's CallbackUrl.

        It has at most 105 characters, all safe in a path. The signature of a message with `send_at`
        is valid from then.
        """
        begin = self._clock()
        if message.send_at is not None:
            begin = max(begin, message.send_at.timestamp())
        until = int(min(begin + self._lifetime, _LATEST))
        signed = f"{message.request_id}.{until:x}"
        return f"{signed}.{_key_id(self._key)}.{_mac(self._key, signed)}"

    def read(self, segment: str) -> str | None:
        """Return the RequestId in the last path segment of a request.

        None if the segment was not signed with one of the secrets, was altered, or is too old.
        """
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            return None
        # The id of a key is not secret, so this lookup need not take constant time.
        key = self._keys.get(match["key_id"])
        if key is None or not hmac.compare_digest(_mac(key, match["signed"]), match["mac"]):
            return None
        return None if int(match["until"], 16) < self._clock() else match["request_id"]

    def __repr__(self) -> str:
        return f"<CallbackSigner, keys {', '.join(self._keys)}>"


def _derive_key(secret: object) -> bytes:
    if not isinstance(secret, str) or len(secret) < _SHORTEST_SECRET:
        raise ConfigurationError(
            f"secret must be a str of at least {_SHORTEST_SECRET} characters; make one with "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return hmac.digest(
        secret.encode("utf-8", "surrogatepass"), b"esms_async callback, version 1", "sha256"
    )


def _key_id(key: bytes) -> str:
    return hmac.digest(key, b"key id", "sha256")[:_KEY_ID_LENGTH].hex()


def _mac(key: bytes, signed: str) -> str:
    return hmac.digest(key, signed.encode(), "sha256")[:_MAC_LENGTH].hex()
