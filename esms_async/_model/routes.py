"""Defines routes, the ways a message travels, and the parameters of a Zalo message."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, cast

import attrs

from esms_async._model.codes import RouteKind
from esms_async._model.errors import ConfigurationError, InvalidMessage

_LONGEST_NAME: Final = 100
_MODES: Final = ("1", "3")
_FORMS: Final = "fixed, brandname:NAME or zalo:OAID:TEMPID[:MODE]"


def _check_name(_: object, attribute: "attrs.Attribute[str]", value: object) -> None:
    field = attribute.name
    if not isinstance(value, str):
        raise ConfigurationError(f"{field} must be a str, not {type(value).__name__}")
    if not value or value != value.strip() or not value.isprintable():
        raise ConfigurationError(
            f"{field} must be printable, without white space around it, and not empty: {value!r}"
        )
    if len(value) > _LONGEST_NAME:
        raise ConfigurationError(f"{field} has more than {_LONGEST_NAME} characters")


def _check_id(_: object, attribute: "attrs.Attribute[str]", value: object) -> None:
    _check_name(_, attribute, value)
    if ":" in cast("str", value):
        raise ConfigurationError(f"{attribute.name} must hold no colon: {value!r}")


def _check_mode(_: object, attribute: "attrs.Attribute[str]", value: object) -> None:
    if value not in _MODES:
        raise ConfigurationError(
            f'{attribute.name} must be "1" (normal) or "3" (beyond the quota), not {value!r}'
        )


@attrs.frozen
class FixedNumber:
    """A number of eSMS's own sends the text (SmsType 8, "Voice OTP").

    The phone may ring and read the text out. Nothing has to be registered.
    """

    kind: ClassVar[RouteKind] = RouteKind.FIXED
    takes_params: ClassVar[bool] = False

    def __str__(self) -> str:
        return "fixed"


@attrs.frozen
class Brandname:
    """An SMS with a sender name (SmsType 2, OTP and customer care), which eSMS recommends.

    The text must fit a template that is registered for the brandname.

    Args:
        name: The brandname, as it is registered with eSMS.

    Raises:
        ConfigurationError: It can't be a brandname.
    """

    name: str = attrs.field(validator=_check_name)

    kind: ClassVar[RouteKind] = RouteKind.BRANDNAME
    takes_params: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"brandname:{self.name}"


@attrs.frozen
class ZaloTemplate:
    """A Zalo message (ZNS): a registered template with parameters, from an Official Account.

    Args:
        oa_id: The OAID of the Official Account.
        template_id: The TempID of the template.
        sending_mode: "1" is normal, "3" sends beyond the quota, for Official Accounts on Zalo's
            whitelist.

    Raises:
        ConfigurationError: A value can't work; the error names it.
    """

    oa_id: str = attrs.field(validator=_check_id)
    template_id: str = attrs.field(validator=_check_id)
    sending_mode: str = attrs.field(default="1", kw_only=True, validator=_check_mode)

    kind: ClassVar[RouteKind] = RouteKind.ZALO
    takes_params: ClassVar[bool] = True

    def __str__(self) -> str:
        mode = "" if self.sending_mode == "1" else f":{self.sending_mode}"
        return f"zalo:{self.oa_id}:{self.template_id}{mode}"


Route = FixedNumber | Brandname | ZaloTemplate
"""How a message travels."""

FIXED_NUMBER: Final = FixedNumber()
"""The default route of a client."""


def parse_route(text: str) -> Route:
    """Read a route as `str(route)` writes it: `fixed`, `brandname:NAME`, `zalo:OAID:TEMPID[:MODE]`.

    Raises:
        ConfigurationError: It has another form, or a part that can't work.
    """
    kind, _, rest = text.strip().partition(":")
    match kind, rest.split(":"):
        case "fixed", [""]:
            return FIXED_NUMBER
        case "brandname", _ if rest:
            return Brandname(rest)
        case "zalo", [oa_id, template_id]:
            return ZaloTemplate(oa_id, template_id)
        case "zalo", [oa_id, template_id, mode]:
            return ZaloTemplate(oa_id, template_id, sending_mode=mode)
        case _:
            raise ConfigurationError(f"a route is {_FORMS}, not {text!r}")


def check_route(value: object) -> None:
    """Raise ConfigurationError unless a value is a route."""
    if not isinstance(value, Route):
        raise ConfigurationError(
            "route must be a FixedNumber(), Brandname or ZaloTemplate, not "
            f"{value.__name__ if isinstance(value, type) else type(value).__name__}"
        )


def check_fits(route: Route, *, has_content: bool, has_params: bool) -> None:
    """Raise InvalidMessage unless a message has what its route takes: content or params.

    It gets neither of them, because error trackers record the locals of every frame.
    """
    if route.takes_params and not has_params:
        if not has_content:
            raise InvalidMessage("params", f"are missing; the route {route} takes them")
        raise InvalidMessage("content", f"can't be sent; the route {route} takes params instead")
    if has_params and not route.takes_params:
        raise InvalidMessage("params", f"can't be sent; the route {route} takes content instead")


class Params(Mapping[str, str]):
    """The parameters of a Zalo template: a mapping that never changes and can be hashed."""

    __slots__ = ("_values",)
    _values: dict[str, str]

    def __init__(self, values: Mapping[str, str]) -> None:
        if not isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            kind = type(values).__name__
            del values
            raise InvalidMessage("params", f"must be a mapping of names to texts, not {kind}")
        copied = dict(values)
        del values
        problem = _problem_of_params(copied)
        if problem is not None:
            # Error trackers record the locals of every frame.
            del copied
            raise InvalidMessage("params", problem)
        object.__setattr__(self, "_values", copied)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"params can't be changed: {name}")

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"<{len(self._values)} params>"

    def __reduce__(self) -> tuple[type["Params"], tuple[dict[str, str]]]:
        return Params, (self._values,)


def _problem_of_params(values: Mapping[str, str]) -> str | None:
    if not values:
        return "are empty; give the parameters of the template"
    for name, value in cast("Mapping[object, object]", values).items():
        if not isinstance(name, str) or not name or not name.isprintable():
            return "must have printable names"
        if not isinstance(value, str):
            return f"must hold a str for {name}, not {type(value).__name__}"
        if not value or not value.isprintable():
            return f"must hold a printable text for {name}, and not an empty one"
    return None
