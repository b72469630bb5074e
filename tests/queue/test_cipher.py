"""How messages are written into the queue, and what is read back."""

import sys

import pytest

import esms_async.queue
from esms_async import Message
from esms_async.queue.cipher import MessageCipher, Unreadable
from tests.queue.support import KEY, OTHER_KEY

MESSAGE = Message("0901888484", "686868 la ma", request_id="r")


@pytest.mark.parametrize("keys", [KEY, ""])
def test_a_message_is_read_back_under_its_own_id_alone(keys: str) -> None:
    """In clear or encrypted, a text that is moved under another id is not sent."""
    cipher = MessageCipher("esms", keys)
    written = cipher.write(MESSAGE.to_dict(), "r")
    assert (b"686868" in written) == (not keys)
    assert cipher.read(written, "r") == MESSAGE
    with pytest.raises(Unreadable, match="another"):
        cipher.read(written, "other")


def test_a_key_is_changed_without_a_loss() -> None:
    """The first key writes and each of them reads; one that is not there names the form."""
    old, new = MessageCipher("esms", KEY), MessageCipher("esms", f"{OTHER_KEY}, {KEY}")
    written = old.write(MESSAGE.to_dict(), "r")
    assert new.read(written, "r") == MESSAGE
    assert new.reads(old.form)
    with pytest.raises(Unreadable, match="can't read") as caught:
        old.read(new.write(MESSAGE.to_dict(), "r"), "r")
    assert caught.value.form == new.form


@pytest.mark.parametrize(
    "text", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"version": ' + b"9" * 10_000 + b"}"]
)
def test_what_is_no_message_is_refused(text: bytes) -> None:
    """Whatever stands there, reading it ends in one kind of error."""
    with pytest.raises(Unreadable):
        MessageCipher("esms", "").read(b"\x01\0\0\0\0" + text, "r")


def test_the_package_imports_what_it_needs_when_a_name_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that is missing names the extra; a name that is not there is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = esms_async.queue.Nothing
    for name in ("queue", "cipher"):
        monkeypatch.delitem(sys.modules, f"esms_async.queue.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ImportError, match=r"esms_async\[queue\]"):
        _ = esms_async.queue.MessageQueue
