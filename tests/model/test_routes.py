"""Routes are values: what can't work is refused, and what can be written can be read."""

import pickle
from collections.abc import Callable

import attrs
import pytest

from esms_async import (
    Brandname,
    ConfigurationError,
    FixedNumber,
    InvalidMessage,
    Message,
    Route,
    ZaloTemplate,
)
from esms_async._model.routes import Params, parse_route

PHONE = "0901888484"

BRAND = Brandname("Baotrixemay")
ZALO = ZaloTemplate("4097311281936189049", "207487")
BEYOND = ZaloTemplate("4097311281936189049", "207487", sending_mode="3")
OTP = {"otp": "686868"}
WRITTEN: dict[str, Route] = {
    "fixed": FixedNumber(),
    "brandname:Baotrixemay": BRAND,
    "brandname:a:b": Brandname("a:b"),
    "zalo:4097311281936189049:207487": ZALO,
    "zalo:4097311281936189049:207487:3": BEYOND,
}


@pytest.mark.parametrize(("text", "route"), WRITTEN.items(), ids=WRITTEN)
def test_a_route_is_read_as_it_is_written(text: str, route: Route) -> None:
    """The written form is that of ESMS_ROUTE and --route."""
    assert parse_route(text) == route
    assert str(route) == text


@pytest.mark.parametrize(
    "text",
    ["", "8", "fixed:x", "brandname", "brandname:", "zalo", "zalo:1", "zalo:1:2:4",
     "zalo:1:2:3:4", "zalo::2", "Fixed", "brandname: x"],
)  # fmt: skip
def test_what_is_no_route(text: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(ConfigurationError):
        parse_route(text)


def test_a_brandname_without_a_name_shows_the_form() -> None:
    """Somebody who left the name out sees how a route is written."""
    with pytest.raises(ConfigurationError, match="a route is fixed, brandname:NAME or"):
        parse_route("brandname")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Brandname(""),
        lambda: Brandname(" x"),
        lambda: Brandname("a\nb"),
        lambda: Brandname("x" * 101),
        lambda: Brandname(5),  # type: ignore[arg-type]  # what an untyped caller may pass
        lambda: ZaloTemplate("", "1"),
        lambda: ZaloTemplate("1", "a:b"),
        lambda: ZaloTemplate("1", 207487),  # type: ignore[arg-type]  # the same
        lambda: ZaloTemplate("1", "2", sending_mode="2"),
    ],
)
def test_what_is_no_name_of_a_route(make: Callable[[], Route]) -> None:
    """A route is checked when it is made."""
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize("route", WRITTEN.values(), ids=WRITTEN)
def test_routes_are_values(route: Route) -> None:
    """They are equal by what they hold, hashable, picklable and frozen."""
    copied = pickle.loads(pickle.dumps(route))  # noqa: S301  # made in this line
    assert copied == route
    assert hash(copied) == hash(route)
    assert copied != object()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        route.other = 1  # type: ignore[union-attr]  # the point


def test_params_are_a_copy_that_never_changes() -> None:
    """What the caller does with the mapping afterwards changes no Message."""
    given = dict(OTP)
    message = Message(PHONE, params=given, route=ZALO)
    given["otp"] = "000000"
    assert message.params == OTP
    assert message.content is None
    assert not message.unicode
    assert dict(message.params or {}) == OTP
    assert len(message.params or {}) == 1
    copied = pickle.loads(pickle.dumps(message))  # noqa: S301  # made in this line
    assert copied == message
    assert hash(copied) == hash(message)
    assert hash(Params({"a": "1", "b": "2"})) == hash(Params({"b": "2", "a": "1"}))
    with pytest.raises(AttributeError):
        Params(OTP).other = 1
    assert attrs.evolve(message, phone="0911000001").params == OTP
    assert message.renewed().params == OTP
    assert message.renewed().route == ZALO


def test_a_repr_shows_the_route_and_no_value_of_a_param() -> None:
    """A parameter may be a one-time code."""
    message = Message(PHONE, params=OTP, route=ZALO)
    assert repr(ZALO) in repr(message)
    assert repr(BRAND) in repr(Message(PHONE, "x", route=BRAND))
    assert "route" not in repr(Message(PHONE, "x"))
    assert repr(message.params) == "<1 params>"
    assert "686868" not in repr(message)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("content", lambda: Message(PHONE)),
        ("content", lambda: Message(PHONE, "x", params=OTP)),
        ("content", lambda: Message(PHONE, "x", route=ZALO)),
        ("params", lambda: Message(PHONE, route=ZALO)),
        ("params", lambda: Message(PHONE, params=OTP, route=BRAND)),
        ("params", lambda: Message(PHONE, params=OTP, route=FixedNumber())),
        ("params", lambda: Message(PHONE, params={}, route=ZALO)),
        ("params", lambda: Message(PHONE, params={"": "x"})),
        ("params", lambda: Message(PHONE, params={"otp": ""})),
        ("params", lambda: Message(PHONE, params={"otp": "a\0b"})),
        ("params", lambda: Message(PHONE, params={"otp": 686868})),  # type: ignore[dict-item]  # what an untyped caller may pass
        ("params", lambda: Message(PHONE, params=["otp"])),  # type: ignore[arg-type]  # the same
        ("route", lambda: Message(PHONE, "x", route="fixed")),  # type: ignore[arg-type]  # the same
        ("route", lambda: Message(PHONE, "x", route=FixedNumber)),  # type: ignore[arg-type]  # the same
        ("unicode", lambda: Message(PHONE, params=OTP, unicode=True)),
    ],
)
def test_wrong_combinations(field: str, make: Callable[[], Message]) -> None:
    """The error names the field, and shows no value."""
    with pytest.raises(InvalidMessage) as raised:
        make()
    assert raised.value.field == field
    assert "686868" not in str(raised.value)
