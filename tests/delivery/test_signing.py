"""Signed CallbackUrls: only what was signed is read, for as long as it is good."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import hypothesis.strategies as st
import pytest
from hypothesis import given

from esms_async import ConfigurationError, Message
from esms_async.delivery import CallbackSigner
from tests.factories import a_message

SECRET = "a secret that nobody guesses"
NOW = 1_800_000_000.0
SIGNER = CallbackSigner(SECRET, clock=lambda: NOW)
HOURS = 3600.0


def at(now: float, *secrets: str) -> CallbackSigner:
    """Make a signer at another time."""
    return CallbackSigner(*(secrets or (SECRET,)), clock=lambda: now)


def test_what_was_signed_is_read() -> None:
    """Every replica that has the secret reads the RequestId."""
    message = a_message()
    assert at(NOW + HOURS).read(SIGNER.sign(message)) == message.request_id


@pytest.mark.parametrize("request_id", ["a", "..", "a.b.c", ":-_.", "x" * 50])
def test_any_request_id_survives_its_path(request_id: str) -> None:
    """Dots and length do no harm: the segment is one, and is read as it was written."""
    message = Message("0901888484", "x", request_id=request_id)
    url = SIGNER.at("https://shop.example/esms/reports")(message)
    folder, _, segment = urlsplit(url).path.rpartition("/")
    assert folder == "/esms/reports"
    assert segment.strip(".")
    assert len(segment) <= 105
    assert SIGNER.read(segment) == request_id


@given(st.data())
def test_an_altered_segment_is_refused(data: st.DataObject) -> None:
    """One character of another value, one more or one less, and nothing is read."""
    segment = SIGNER.sign(a_message())
    place = data.draw(st.integers(0, len(segment) - 1))
    other = data.draw(st.characters().filter(lambda character: character != segment[place]))
    altered = data.draw(
        st.sampled_from(
            [
                segment[:place] + other + segment[place + 1 :],
                segment[:place] + other + segment[place:],
                segment[:place] + segment[place + 1 :],
                segment[:place],
                segment.upper(),
                segment + other,
            ]
        )
    )
    assert altered == segment or SIGNER.read(altered) is None


@given(st.text())
def test_anything_else_is_refused(segment: str) -> None:
    """Whatever text comes, nothing is read and nothing is raised."""
    assert SIGNER.read(segment) is None


def test_another_secret_does_not_read_it() -> None:
    """Who does not know the secret can neither sign nor read."""
    message = a_message()
    forged = at(NOW, "another secret of some length").sign(message)
    assert SIGNER.read(forged) is None
    # Not even under the name of the right key.
    stolen = SIGNER.sign(message).split(".")[-2]
    *begin, _, mac = forged.split(".")
    assert SIGNER.read(".".join([*begin, stolen, mac])) is None


def test_secrets_are_rotated() -> None:
    """The first signs; those after it still read; one that was taken away reads no more."""
    old, new = a_message(), a_message()
    new_secret = "the secret of next month"
    both = at(NOW, new_secret, SECRET)
    assert both.read(SIGNER.sign(old)) == old.request_id
    assert both.read(both.sign(new)) == new.request_id
    assert SIGNER.read(both.sign(new)) is None
    assert at(NOW, new_secret).read(SIGNER.sign(old)) is None


def test_a_signature_is_good_for_its_lifetime() -> None:
    """Two days by default, and not longer."""
    segment = SIGNER.sign(a_message())
    assert at(NOW + 48 * HOURS).read(segment) is not None
    assert at(NOW + 48 * HOURS + 1).read(segment) is None


def test_the_lifetime_begins_when_the_message_is_sent() -> None:
    """A message that is sent next week is reported next week."""
    send_at = datetime.fromtimestamp(NOW + 168 * HOURS, UTC)
    segment = SIGNER.sign(Message("0901888484", "x", send_at=send_at))
    assert at(NOW + 216 * HOURS).read(segment) is not None
    assert at(NOW + 216 * HOURS + 1).read(segment) is None
    past = datetime.fromtimestamp(NOW - 168 * HOURS, UTC)
    assert at(NOW + HOURS).read(SIGNER.sign(Message("0901888484", "x", send_at=past))) is not None


def test_a_lifetime_may_be_endless() -> None:
    """A duration beyond all calendars is as long as can be written."""
    signer = CallbackSigner(SECRET, lifetime=1e300)
    message = a_message()
    assert signer.read(signer.sign(message)) == message.request_id


@pytest.mark.parametrize("secret", ["", "fifteen letters", None, b"bytes of any length"])
def test_a_weak_secret_is_refused_and_not_shown(secret: object) -> None:
    """The error says how to make one."""
    with pytest.raises(ConfigurationError, match="at least 16") as caught:
        CallbackSigner(SECRET, secret)  # type: ignore[arg-type]  # as an untyped caller may
    assert str(secret) not in str(caught.value) or not secret


@pytest.mark.parametrize(
    "url",
    [
        "shop.example/reports",
        "ftp://shop.example/",
        "https://shop.example/?a=1",
        "https://shop.example/#x",
        "https://shop.example/" + "x" * 1900,
        None,
    ],
)
def test_a_place_that_cannot_be_called_is_refused(url: object) -> None:
    """What the gateway can't call, or can't append its query to, is refused at once."""
    with pytest.raises(ConfigurationError, match="callback_url"):
        SIGNER.at(url)  # type: ignore[arg-type]  # as an untyped caller may


def test_a_lifetime_must_be_one() -> None:
    """Nothing and less are no lifetimes."""
    with pytest.raises(ConfigurationError, match="lifetime"):
        CallbackSigner(SECRET, lifetime=0)


def test_no_secret_shows() -> None:
    """A signer shows the ids of its keys."""
    shown = repr(CallbackSigner(SECRET, "the secret of last month"))
    assert "secret" not in shown
    assert SIGNER.sign(a_message()).split(".")[-2] in shown
