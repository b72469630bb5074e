"""Encrypts messages on their way through Redis (AES-GCM), and reads back what it wrote.

A message in a stream is one byte for the version of this form, four bytes that name the key
(zeros: in clear), and JSON, which is encrypted behind a nonce of 12 bytes. The name of the queue
and the RequestId are authenticated with it, so a text can't be moved under another id.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from esms_async import ConfigurationError, EsmsError, InvalidMessage, Message

_VERSION: Final = b"\x01"
_CLEAR: Final = bytes(4)
_NONCE: Final = 12
_HEADER: Final = len(_VERSION) + len(_CLEAR)
# No message that this package writes comes near it.
_LARGEST: Final = 256 * 1024
_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(check_circular=False, ensure_ascii=False, separators=(",", ":")).encode


class Unreadable(EsmsError, ValueError):
    """What came out of the queue is not a message that can be sent; it was not sent.

    Attributes:
        form: The form that it claims to have: a version and the name of a key.
    """

    def __init__(self, problem: str, form: str = "") -> None:
        super().__init__(problem)
        self.form = form


class MessageCipher:
    """Writes and reads the messages of one queue.

    Args:
        queue: The name of the queue.
        keys: Keys of 32 bytes in base64url, separated by commas: the first encrypts, each of them
            decrypts. An empty text writes and reads messages in clear.

    Raises:
        ConfigurationError: One is not such a key.
    """

    def __init__(self, queue: str, keys: str) -> None:
        ciphers = {_key_id(key): AESGCM(key) for key in _parse(keys)}
        self._queue = queue.encode()
        self._ciphers = ciphers
        self._key_id = next(iter(ciphers), _CLEAR)
        self._headers = {_VERSION + key_id for key_id in ciphers or (_CLEAR,)}

    @property
    def form(self) -> str:
        """The form that it writes: a version and the name of a key."""
        return _form(_VERSION + self._key_id)

    def reads(self, form: str) -> bool:
        """Tell whether it reads messages of a form."""
        return form in map(_form, self._headers)

    def write(self, fields: Mapping[str, object], request_id: str) -> bytes:
        """Return the fields of a message as the stream holds them."""
        text = _encode(fields).encode()
        header = _VERSION + self._key_id
        if not self._ciphers:
            return header + text
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._key_id].encrypt(nonce, text, self._bound(header, request_id))
        return header + nonce + sealed

    def read(self, written: bytes, request_id: str) -> Message:
        """Return the message that was written, with all of it checked.

        Raises:
            Unreadable: It can't be read.
        """
        header, rest = written[:_HEADER], written[_HEADER:]
        if len(written) > _LARGEST or len(header) < _HEADER:
            raise Unreadable("it is not a message of a queue")
        if header not in self._headers:
            form = _form(header)
            raise Unreadable(f"it is written in form {form}, which this worker can't read", form)
        if self._ciphers:
            cipher, nonce = self._ciphers[header[1:]], rest[:_NONCE]
            try:
                rest = cipher.decrypt(nonce, rest[_NONCE:], self._bound(header, request_id))
            except (InvalidTag, ValueError):
                raise Unreadable("it was changed, or written for another id or queue") from None
        try:
            message = Message.from_dict(_decode(rest.decode()))
        except InvalidMessage as error:
            raise Unreadable(str(error)) from None
        except (ValueError, RecursionError):
            raise Unreadable("it is not JSON") from None
        if message.request_id != request_id:
            raise Unreadable("it was written for another request id")
        return message

    def _bound(self, header: bytes, request_id: str) -> bytes:
        return b"\n".join((header, self._queue, request_id.encode()))


def keys_from_env(environ: Mapping[str, str]) -> str:
    """Return `ESMS_QUEUE_KEY`, or an empty text where `ESMS_QUEUE_CLEAR` asks for no encryption.

    Raises:
        ConfigurationError: There is no key, and ESMS_QUEUE_CLEAR is not 1; or there are both.
    """
    keys, clear = environ.get("ESMS_QUEUE_KEY", ""), environ.get("ESMS_QUEUE_CLEAR", "")
    if clear not in {"", "0", "1"}:
        raise ConfigurationError(f"ESMS_QUEUE_CLEAR must be 1 or 0, not {clear!r}")
    if keys and clear == "1":
        raise ConfigurationError("set ESMS_QUEUE_KEY or ESMS_QUEUE_CLEAR=1, not both")
    if not keys and clear != "1":
        raise ConfigurationError(
            "set ESMS_QUEUE_KEY, with which messages in the queue are encrypted; make a key with: "
            'python -c "import base64, os; '
            'print(base64.urlsafe_b64encode(os.urandom(32)).decode())"; '
            "ESMS_QUEUE_CLEAR=1 leaves texts and phone numbers readable on the Redis server"
        )
    return keys


def _parse(keys: str) -> list[bytes]:
    parsed: list[bytes] = []
    for key in filter(None, map(str.strip, keys.split(","))):
        try:
            parsed.append(base64.b64decode(key.encode(), altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            parsed.append(b"")
    if any(len(key) != 32 for key in parsed) or (keys and not parsed):
        raise ConfigurationError(
            "a key of the queue must be 32 bytes in base64url, as Fernet.generate_key() prints "
            "them; separate several by commas"
        )
    return parsed


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"esms_async queue key id\n" + key).digest()[: len(_CLEAR)]


def _form(header: bytes) -> str:
    return f"{header[:1].hex()}:{'clear' if header[1:] == _CLEAR else header[1:].hex()}"
