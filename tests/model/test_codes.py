"""The gateway's code table: every documented code, and whom it concerns."""

from unicodedata import normalize

import pytest

from esms_async import Brandname, FixedNumber, Message, Rejected, Route, ZaloTemplate
from esms_async._model.codes import _TABLE
from esms_async._send.outcome import SETTLING_CODES
from esms_async.codes import CODES, RouteKind, Scope, lookup

ALL, FIXED, BRANDNAME, ZALO = "all", RouteKind.FIXED, RouteKind.BRANDNAME, RouteKind.ZALO
# "Bảng mã lỗi" and the pages of the sends: what a send meets, and on which routes.
OF_A_SEND = {
    "99": (Scope.ATTEMPT, ALL),
    "100": (Scope.ACCEPTED, ALL),
    "101": (Scope.ACCOUNT, ALL),
    "102": (Scope.ACCOUNT, ALL),
    "103": (Scope.ACCOUNT, ALL),
    "104": (Scope.ROUTE, BRANDNAME),
    "108": (Scope.MESSAGE, ALL),
    "118": (Scope.ACCOUNT, ALL),
    "124": (Scope.DUPLICATE, ALL),
    "132": (Scope.ROUTE, FIXED),
    "140": (Scope.ACCOUNT, ALL),
    "143": (Scope.ACCOUNT, ALL),
    "146": (Scope.ATTEMPT, BRANDNAME),
    "163": (Scope.CALLER, FIXED),
    "177": (Scope.ATTEMPT, BRANDNAME),
    "201": (Scope.MESSAGE, BRANDNAME),
    "204": (Scope.ROUTE, ZALO),
    "300": (Scope.CALLER, BRANDNAME),
    "789": (Scope.ROUTE, ZALO),
    "790": (Scope.ATTEMPT, ZALO),
    "791": (Scope.ROUTE, ZALO),
    "799": (Scope.ROUTE, ZALO),
    "801": (Scope.ATTEMPT, ZALO),
    "802": (Scope.ROUTE, ZALO),
}
# fmt: off
OF_OTHER_PRODUCTS = [str(code) for code in (
    105, 106, 107, 110, 115, 117, 120, 160, 171, 199, 210, 301, 687, 851, 854,
)]
# fmt: on


def test_the_table_is_whole() -> None:
    """Every documented code has its one row, and no other code has one."""
    assert sorted(row.code for row in _TABLE) == sorted([*OF_A_SEND, *OF_OTHER_PRODUCTS])


@pytest.mark.parametrize(
    ("code", "scope", "routes"),
    [
        *((code, *row) for code, row in OF_A_SEND.items()),
        *((code, Scope.OTHER, None) for code in OF_OTHER_PRODUCTS),
    ],
)
def test_whom_a_code_concerns(code: str, scope: Scope, routes: str | None) -> None:
    """Each code has its scope, its routes, and a meaning and advice in one plain line each."""
    row = lookup(code)
    assert (row.code, row.scope) == (code, scope)
    listed = {str(kind) for kind in row.routes}
    assert listed == ({"fixed", "brandname", "zalo"} if routes == ALL else {routes} - {None})
    assert row is CODES[code]
    for text in (row.meaning, row.meaning_vi, row.advice, row.advice_vi):
        assert text.isprintable()
        assert len(text) > 10


def test_what_settles_is_of_the_message_or_the_caller() -> None:
    """Every other refusal proves nothing of an earlier attempt."""
    told = {c for c, row in CODES.items() if row.scope in (Scope.MESSAGE, Scope.CALLER)}
    assert told == SETTLING_CODES


@pytest.mark.parametrize(
    ("code", "route", "refuses", "elsewhere"),
    [
        ("104", Brandname("x"), True, False),
        ("104", FixedNumber(), False, True),
        ("104", None, True, False),
        ("132", FixedNumber(), True, False),
        ("799", ZaloTemplate("1", "2"), True, False),
        ("146", Brandname("x"), False, False),
        ("146", FixedNumber(), False, True),
        ("177", Brandname("x"), False, False),
        ("999", Brandname("x"), False, False),
        (None, Brandname("x"), False, False),
    ],
)
def test_what_refuses_a_whole_route(
    code: str | None, route: Route | None, refuses: bool, elsewhere: bool
) -> None:
    """Only on the routes that the code is documented for; elsewhere the reason says so."""
    rejection = Rejected(Message("0901888484", "x"), (), code=code, status=200, route=route)
    assert rejection.refuses_route is refuses
    assert rejection.route == route
    assert ("no page lists it for the route" in str(rejection)) is elsewhere


@pytest.mark.parametrize("code", [*CODES, "999"])
def test_each_language_is_its_own(code: str) -> None:
    """The Vietnamese words have diacritics and are composed (NFC), the English ones are ASCII."""
    row = lookup(code)
    for english in (row.meaning, row.advice):
        assert english.isascii()
    for vietnamese in (row.meaning_vi, row.advice_vi):
        assert not vietnamese.isascii()
        assert normalize("NFC", vietnamese) == vietnamese
    for advice in (row.advice, row.advice_vi):
        assert advice.endswith(".")


@pytest.mark.parametrize("code", ["0", "999", "123456", "0100", "", "abc"])
def test_unlisted_codes_pass_through(code: str) -> None:
    """A code that no page lists keeps its number, tells nothing else, and stays unlisted."""
    row = lookup(code)
    assert (row.code, row.scope) == (code, Scope.OTHER)
    assert row.meaning == "a code that no page of the gateway lists"
    assert code not in CODES


def test_the_table_cannot_be_changed() -> None:
    """Neither the table nor a row of it can be changed."""
    with pytest.raises(TypeError):
        CODES["100"] = CODES["101"]  # type: ignore[index]  # that it is refused is the point
    with pytest.raises(AttributeError):
        CODES["100"].scope = Scope.OTHER  # type: ignore[misc]  # the same
