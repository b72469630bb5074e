"""What a service chooses, and what is refused when it is chosen."""

import logging
from typing import Any

import pytest

from esms_async import (
    Brandname,
    ConfigurationError,
    Credentials,
    EsmsClient,
    FixedNumber,
    ZaloTemplate,
    otp,
)
from esms_async.otp import Guard, MemoryOtpStore, Otp, Purpose, RedisOtpStore, service
from esms_async.otp.rules import Cap
from esms_async.otp.web import Reply
from esms_async.queries import Templates
from tests.otp.support import KEY, PHONE, TEMPLATE, Clock, Gateway, make_otp

BAD_PURPOSES: dict[str, dict[str, Any]] = {
    "no code": {"template": "your code"},
    "two codes": {"template": "{code} {code}"},
    "no text": {"template": ()},
    "no str": {"template": 5},
    "a tuple with no str": {"template": (TEMPLATE, 5)},
    "a bad one of two": {"template": (TEMPLATE, "x")},
    "control": {"template": "{code}\0"},
    "5 digits": {"digits": 5},
    "11 digits": {"digits": 11},
    "digits that are no int": {"digits": 6.0},
    "True": {"digits": True},
    "ttl 59": {"ttl": 59},
    "ttl 601": {"ttl": 601},
    "ttl str": {"ttl": "300"},
    "attempts 0": {"attempts": 0},
    "attempts 11": {"attempts": 11},
    "lock empty": {"lock": ()},
    "lock 0": {"lock": (0,)},
    "lock str": {"lock": "900"},
    "lock True": {"lock": (True,)},
    "domain URL": {"domain": "https://example.com"},
    "domain int": {"domain": 5},
    "hash": {"android_hash": "short"},
    "141 bytes": {"template": "{code}" + "a" * 123, "android_hash": "FA+9qCX9VSu"},
}


@pytest.mark.parametrize("options", BAD_PURPOSES.values(), ids=BAD_PURPOSES)
def test_bad_purposes(options: dict[str, Any]) -> None:
    """What cannot work is a ConfigurationError that names the argument."""
    options = {"template": TEMPLATE, **options}
    (name,) = set(options) - {"template"} or {"template"}
    with pytest.raises(ConfigurationError, match=name if name != "android_hash" else "hash"):
        Purpose(**options)


def test_the_bounds_of_purposes() -> None:
    """What is just within the bounds is taken."""
    Purpose(TEMPLATE, digits=6, ttl=60, attempts=1, lock=(1,))
    Purpose([TEMPLATE], digits=10, ttl=600, attempts=10)
    Purpose("{code}" + "a" * 121, android_hash="FA+9qCX9VSu")
    Purpose("{code}" + "a" * 500)


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({}, None),
        ({"domain": "example.com"}, "@example.com #123456"),
        ({"android_hash": "FA+9qCX9VSu"}, "FA+9qCX9VSu"),
        (
            {"domain": "example.com:8080", "android_hash": "FA+9qCX9VSu"},
            "@example.com:8080 #123456 FA+9qCX9VSu",
        ),
    ],
)
def test_the_last_line(options: dict[str, Any], last: str | None) -> None:
    """It is what WICG and Android's SMS Retriever read."""
    lines = Purpose(TEMPLATE, **options).text(1, "123456").split("\n")
    assert lines == ["123456 la ma xac minh cua ban", *([last] if last else [])]


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"per_phone": cap}
            for cap in ("", "3", "3/10", "0/1h", "3/0m", "3/10w", "x", 3, "3/1h,")
        ),
        {"per_ip": "20"},
        {"per_prefix": 5},
        {"total": "x"},
        {"wrong_per_ip": "-1/1h"},
        {"conversion": -0.1},
        {"conversion": 1.1},
        {"conversion": None},
        {"conversion_floor": 0},
        {"conversion_floor": 1.5},
    ],
    ids=str,
)
def test_bad_guards(options: dict[str, Any]) -> None:
    """A cap that can't be read is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        Guard(**options)


def test_caps_are_read() -> None:
    """Seconds, minutes, hours, days, and several at once; None means no cap."""
    assert Guard(per_phone=" 3 / 10m , 10/1d ").caps("per_phone") == (
        Cap(3, 600_000),
        Cap(10, 86_400_000),
    )
    assert Guard(total="1/30s").caps("total") == (Cap(1, 30_000),)
    assert Guard(total=None).caps("total") == ()


BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "short key": {"keys": [b"k" * 31]},
    "no key": {"keys": []},
    "a key alone": {"keys": KEY},
    "int key": {"keys": [5]},
    "short phone_key": {"phone_key": b"k"},
    "no purposes": {"purposes": {}},
    "purpose alone": {"purposes": Purpose(TEMPLATE)},
    "text for a purpose": {"purposes": {"login": TEMPLATE}},
    "no name": {"purposes": {"": Purpose(TEMPLATE)}},
    "guard": {"guard": "3/10m"},
    "resend_after empty": {"resend_after": ()},
    "resend_after negative": {"resend_after": (-1,)},
    "resend_after number": {"resend_after": 30},
    "same_text_after": {"same_text_after": -1},
    "test number": {"test_numbers": {"12": "123456"}},
    "test code": {"test_numbers": {PHONE: "12345"}},
    "test code letters": {"test_numbers": {PHONE: "12345x"}},
    "test numbers list": {"test_numbers": [PHONE]},
    "routes": {"routes": ["sms"]},
}


@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options(options: dict[str, Any]) -> None:
    """What cannot work is a ConfigurationError when Otp is made."""
    with pytest.raises(ConfigurationError):
        make_otp(Gateway(), MemoryOtpStore(), **options)


def test_something_that_is_not_a_store() -> None:
    """A URL is no store; the error names the stores."""
    with pytest.raises(ConfigurationError, match="RedisOtpStore"):
        make_otp(Gateway(), "redis://127.0.0.1")  # type: ignore[arg-type]  # what is refused


def test_a_short_key_names_the_command_that_makes_one() -> None:
    """The command is there to be copied, and the key is not shown."""
    with pytest.raises(ConfigurationError, match=r"python -c .*secrets\.token_urlsafe") as caught:
        make_otp(Gateway(), MemoryOtpStore(), keys=[b"my short key"])
    assert "my short key" not in str(caught.value)


@pytest.mark.parametrize(
    ("default", "routes"), [(Brandname("Shop"), None), (FixedNumber(), [None, Brandname("Shop")])]
)
def test_a_text_that_fits_no_template_is_refused_when_otp_is_made(
    default: Any, routes: Any
) -> None:
    """The error names the purpose, the text and what does not fit, for each text and route."""
    templates = Templates("Shop", ["{P1,20} la ma xac minh cua ban", "Ma cua ban la {P1,20}"])
    esms = EsmsClient(Credentials("key", "secret"), route=default, templates=templates)

    def make(*texts: str) -> None:
        purposes = {"login": Purpose(TEMPLATE), "pay": Purpose(texts)}
        options: dict[str, Any] = {"keys": [KEY], "purposes": purposes, "routes": routes}
        Otp(esms, store=MemoryOtpStore(), **options)

    make(TEMPLATE, "Ma cua ban la {code}")
    with pytest.raises(
        ConfigurationError, match=r"purpose pay, text 2: content: fits no template .* Shop"
    ):
        make(TEMPLATE, "Ma xac nhan: {code}")


async def test_keys_may_be_texts(sms: Gateway) -> None:
    """What an environment variable holds needs no encoding."""
    text = make_otp(sms, store := MemoryOtpStore(), keys=[KEY.decode()])
    challenge = await text.start(PHONE)
    assert (await make_otp(sms, store).verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_purposes_have_to_be_named_where_there_are_two(sms: Gateway) -> None:
    """One purpose need not be named; of two, none is guessed, and unknown ones are refused."""
    purposes = {"login": Purpose(TEMPLATE), "pay": Purpose(TEMPLATE)}
    otp = make_otp(sms, MemoryOtpStore(), purposes=purposes)
    for name in (None, "other"):
        with pytest.raises(ConfigurationError, match="login, pay"):
            await otp.start(PHONE, name)
        with pytest.raises(ConfigurationError, match="login, pay"):
            await otp.verify("x", "1", phone=PHONE, purpose=name)
        with pytest.raises(ConfigurationError, match="login, pay"):
            await otp.unlock(PHONE, name)
    with pytest.raises(ConfigurationError, match="subject"):
        await otp.start(PHONE, "login", subject=7)  # type: ignore[arg-type]  # what is refused


async def test_purposes_are_copied(sms: Gateway) -> None:
    """Changing the dict later changes nothing."""
    purposes = {"login": Purpose(TEMPLATE)}
    otp = make_otp(sms, MemoryOtpStore(), purposes=purposes)
    purposes.clear()
    await otp.start(PHONE)


def test_test_numbers_warn(caplog: pytest.LogCaptureFixture) -> None:
    """The log says that they must own no account, without the numbers."""
    with caplog.at_level(logging.WARNING, "esms_async.otp"):
        make_otp(Gateway(), MemoryOtpStore(), test_numbers={PHONE: "123456"})
    assert "must own no account" in caplog.text
    assert PHONE not in caplog.text
    assert "123456" not in caplog.text


BRAND = Brandname("Baotrixemay")
ZALO = ZaloTemplate("4097311281936189049", "207487")


@pytest.mark.parametrize(
    ("routes", "templates", "resend_after", "warns"),
    [
        ([BRAND], TEMPLATE, (30,), True),
        ([BRAND, BRAND], TEMPLATE, (30,), True),
        ([BRAND], TEMPLATE, (300,), False),
        ([BRAND], (TEMPLATE, "Ma cua ban: {code}"), (30,), False),
        ([BRAND, FixedNumber()], TEMPLATE, (30,), False),
        ([FixedNumber()], TEMPLATE, (30,), False),
        (None, TEMPLATE, (30,), False),
    ],
)
def test_one_text_on_a_brandname_warns(
    routes: Any,
    templates: Any,
    resend_after: Any,
    warns: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Operators may drop a resend of the same text; the log says what to do about it."""
    with caplog.at_level(logging.WARNING, "esms_async.otp"):
        make_otp(
            Gateway(),
            MemoryOtpStore(),
            purposes={"login": Purpose(templates)},
            routes=routes,
            resend_after=resend_after,
        )
    assert ("second template" in caplog.text) == warns


async def test_routes_take_turns_after_the_texts(sms: Gateway, clock: Clock) -> None:
    """Send n takes text (n-1) mod T and route ((n-1) div T) mod R; Zalo gets the code alone."""
    otp = make_otp(
        sms,
        MemoryOtpStore(clock=clock),
        purposes={"login": Purpose(("A {code}", "B {code}"), ttl=600)},
        routes=[BRAND, ZALO],
        resend_after=(1,),
        guard=Guard(per_phone=None),
    )
    challenge = await otp.start(PHONE)
    for _ in range(4):
        clock.advance(1)
        await otp.resend(challenge.id, phone=PHONE)
    told = [(type(m.route).__name__, m.content and m.content[0]) for m in sms.sends]
    assert told == [
        ("Brandname", "A"),
        ("Brandname", "B"),
        ("ZaloTemplate", None),
        ("ZaloTemplate", None),
        ("Brandname", "A"),
    ]
    code = (sms.sends[0].content or "").split()[1]
    assert sms.sends[2].params == {"otp": code}
    assert (await otp.verify(challenge.id, code, phone=PHONE)).ok


def test_reprs_hold_nothing_secret() -> None:
    """Neither keys, nor phones, nor devices, nor the password of a URL show."""
    otp = make_otp(Gateway(), RedisOtpStore("redis://u:password@127.0.0.1:1"))
    assert repr(otp) == (
        "Otp(store=RedisOtpStore(<127.0.0.1:1, database 0>, prefix='esms'), purposes=['login'])"
    )
    shown = repr(
        service.Verification(ok=True, reason="verified", attempts_left=5, device="a device")
    )
    assert "a device" not in shown


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The module imports the store on Redis late, and nothing else."""
    with pytest.raises(AttributeError, match="nothing"):
        _ = otp.nothing


def test_a_reply_is_written_as_json() -> None:
    """For frameworks that take a text; Vietnamese letters stay as they are."""
    assert Reply(200, {"title": "Mã sai"}, {}).text() == '{"title": "Mã sai"}'
