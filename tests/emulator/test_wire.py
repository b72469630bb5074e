"""What the emulator reads of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async.emulator import wire
from esms_async.emulator.records import Fields, show_fields


def test_field_names_are_read_in_any_case_and_shown_as_written() -> None:
    """Fields are found in lower case; what is shown keeps their spelling and masks the keys."""
    fields = wire.read_json(b'{"APIKEY":"k-1","secretKey":"s-1","PHONE":"09","campaignID":"c"}')
    assert fields == {"apikey": "k-1", "secretkey": "s-1", "phone": "09", "campaignid": "c"}
    assert fields is not None
    assert show_fields(fields.written) == {
        "APIKEY": "***",
        "secretKey": "***",
        "PHONE": "09",
        "campaignID": "c",
    }


def test_the_repr_of_fields_shows_names_alone() -> None:
    """A key that was read shows in no repr."""
    fields = wire.read_json(b'{"ApiKey":"k-1"}')
    assert repr(fields) == "<Fields apikey>"


def test_numbers_booleans_and_null_are_read_as_their_text() -> None:
    """A JSON number is its text, a boolean 1 or 0, and null is a field that is not there."""
    fields = wire.read_json(b'{"SmsType":8,"Sandbox":true,"IsUnicode":false,"RequestId":null}')
    assert fields == {"smstype": "8", "sandbox": "1", "isunicode": "0"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"Phone":["0901888484"]}',
        b'{"Phone":{}}',
        b"[" * 100_000,
        b'{"Page":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_flat_object_is_not_read(body: bytes) -> None:
    """Anything but a flat JSON object reads as None, however deep or long it is."""
    assert wire.read_json(body) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_not(body: bytes) -> None:
    """No body makes reading fail in any other way."""
    fields = wire.read_json(body)
    assert fields is None or isinstance(fields, Fields)


def test_a_status_without_a_name_still_makes_a_page() -> None:
    """An HTTP status that nobody has named is answered too."""
    assert wire.plain(599).body == "599 Unknown"
    assert "<h1>599 Unknown</h1>" in wire.page(599).body


def test_a_request_with_thousands_of_fields_is_shown_in_part() -> None:
    """What is kept of a hostile request is bounded in number, names and values."""
    fields = wire.read_query({f"{number}{'x' * 200}": "y" * 9000 for number in range(1000)})
    assert len(fields) == 1000
    assert len(show_fields(fields.written)) == 50
    assert {len(name) for name in show_fields(fields.written)} == {100}
    assert {len(value) for value in show_fields(fields.written).values()} == {4096}


def test_of_a_form_the_first_value_counts() -> None:
    """A field that comes twice is read by its first value, in the order in which fields came."""
    fields = wire.read_form(b"b=1&a=2&b=3&c=")
    assert fields == {"b": "1", "a": "2", "c": ""}
    assert list(fields or ()) == ["b", "a", "c"]
    assert wire.read_form(b"\xff=1") is None
