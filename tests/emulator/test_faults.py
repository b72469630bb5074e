"""The grammar of faults: what is read, how it is written again, and what each refusal says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async._model.codes import CODES
from esms_async._model.errors import ConfigurationError, EsmsError
from esms_async.emulator import DeliveryFault, Fault, Kind, Operation, Phase, parse_fault
from esms_async.emulator.faults import _RULES, MAGIC_PHONES, Target

SPECS: list[tuple[str, Fault | None]] = [
    ("reset", Fault(Kind.RESET)),
    ("close,phase=after", Fault(Kind.CLOSE, phase=Phase.AFTER)),
    ("hang@send", Fault(Kind.HANG, operation=Operation.SEND)),
    ("delay:2s", Fault(Kind.DELAY, "2s", seconds=2.0)),
    ("delay:1.5", Fault(Kind.DELAY, "1.5", seconds=1.5)),
    ("delay:250ms", Fault(Kind.DELAY, "250ms", seconds=0.25)),
    ("delay:2m", Fault(Kind.DELAY, "2m", seconds=120.0)),
    ("delay:1h", Fault(Kind.DELAY, "1h", seconds=3600.0)),
    ("truncate", Fault(Kind.TRUNCATE, "0.5", fraction=0.5)),
    ("truncate:0", Fault(Kind.TRUNCATE, "0", fraction=0.0)),
    ("dribble", Fault(Kind.DRIBBLE, "2s", seconds=2.0, phase=Phase.AFTER)),
    ("dribble:1s,phase=before", Fault(Kind.DRIBBLE, "1s", seconds=1.0)),
    ("http:503", Fault(Kind.HTTP, "503", status=503)),
    ("http:429,retry_after=2", Fault(Kind.HTTP, "429", status=429, retry_after=2)),
    ("html", Fault(Kind.HTML, "400", status=400)),
    ("html:502,retry_after=0", Fault(Kind.HTML, "502", status=502, retry_after=0)),
    ("garbage", Fault(Kind.GARBAGE)),
    ("empty", Fault(Kind.EMPTY)),
    ("invalid", Fault(Kind.INVALID)),
    ("code:103@balance", Fault(Kind.CODE, "103", code="103", operation=Operation.BALANCE)),
    ("duplicate", Fault(Kind.DUPLICATE, code="124")),
    ("status_lag:3s", Fault(Kind.STATUS_LAG, "3s", seconds=3.0)),
    ("dlr:never", Fault(Kind.DLR, "never", delivery=DeliveryFault.NEVER)),
    (
        " reset @send , times=3, p=0.1, skip=2, phone=+84 901.888.484 ",
        None,
    ),
    (
        "reset@send,times=3,p=0.1,skip=2,phone=+84 901.888.484",
        Fault(Kind.RESET, operation=Operation.SEND, times=3, p=0.1, skip=2, phone="0901888484"),
    ),
]


def test_every_kind_has_its_rule() -> None:
    """Each kind can be read, and the list above shows how."""
    assert set(_RULES) == set(Kind), "add it to _RULES of esms_async/emulator/faults.py"
    read = {fault.kind for _, fault in SPECS if fault is not None}
    assert read == set(Kind), "add it to SPECS of tests/emulator/test_faults.py"


@pytest.mark.parametrize(("spec", "fault"), SPECS)
def test_a_specification_reads_as_one_fault(spec: str, fault: Fault | None) -> None:
    """Every kind, argument and option of the grammar is read; inner white space is not."""
    if fault is None:
        with pytest.raises(ConfigurationError):
            parse_fault(spec)
    else:
        assert parse_fault(spec) == fault


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "no fault ''; there are reset, close"),
        ("explode", "no fault 'explode'; there are reset, close"),
        ("RESET", "no fault 'RESET'"),
        ("reset:1", "fault reset: takes no argument"),
        ("delay", "fault delay: needs an argument, as in delay:2s"),
        ("delay:", "fault delay: takes a time such as 500ms"),
        ("delay:-1s", "not '-1s'"),
        ("delay:2d", "not '2d'"),
        ("delay:nan", "not 'nan'"),
        ("truncate:1", "takes a fraction from 0 to less than 1, not '1'"),
        ("truncate:half", "not 'half'"),
        ("truncate:nan", "not 'nan'"),
        ("http", "fault http: needs an argument, as in http:503"),
        ("http:99", "takes an HTTP status from 200 to 599 with a body, not '99'"),
        ("http:600", "not '600'"),
        ("http:204", "with a body, not '204'"),
        ("html:304", "with a body, not '304'"),
        ("code:100", "a code of the gateway such as 103, not 100, not '100'"),
        ("code:abc", "not 'abc'"),
        ("dlr:maybe", "takes failed, never, twice, early, late, not 'maybe'"),
        ("reset@sned", "cannot strike @'sned'; it strikes send, balance"),
        ("duplicate@balance", "cannot strike @'balance'; it strikes send"),
        ("dlr:failed@status", "it strikes send"),
        ("reset,phase=during", "takes phase=before or phase=after, not 'during'"),
        ("dlr:failed,phase=after", "fault dlr: takes no phase"),
        ("reset,times=0", "takes times=1 or more, not '0'"),
        ("reset,times=-1", "not '-1'"),
        ("reset,times=many", "not 'many'"),
        ("reset,skip=-1", "takes skip=0 or more, not '-1'"),
        ("reset,p=1.5", "takes p=0 to p=1, not '1.5'"),
        ("reset,p=nan", "not 'nan'"),
        ("reset,p=", "not ''"),
        ("reset,phone=12345", "fault reset: phone <5 characters> is not a Vietnamese mobile"),
        ("reset@balance,phone=0901888484", "cannot pick by phone at @balance"),
        ("reset,retry_after=2", "takes no retry_after; http and html do"),
        ("http:503,retry_after=soon", "takes retry_after in whole seconds, not 'soon'"),
        ("reset,colour=red", "option 'colour' is none of phase, times, p, skip, phone"),
        ("reset,times=1,times=2", "option 'times' is given twice"),
        ("reset,", "option '' is none of"),
    ],
)
def test_a_wrong_specification_says_which_part_and_what_is_allowed(spec: str, words: str) -> None:
    """A refusal names the part in one line, and is this package's error and a ValueError."""
    with pytest.raises(ConfigurationError) as caught:
        parse_fault(spec)
    assert isinstance(caught.value, EsmsError)
    assert isinstance(caught.value, ValueError)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_no_specification() -> None:
    """Another type than str is refused by its name."""
    with pytest.raises(ConfigurationError, match="not int"):
        parse_fault(503)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    "spec", ["reset,phone=0901888484", "reset,0901888484", "0901888484", "reset@0901888484"]
)
def test_no_whole_phone_number_shows(spec: str) -> None:
    """Neither a refusal, nor the repr or the str of a fault, shows a phone number in full."""
    try:
        shown = repr(parse_fault(spec)) + str(parse_fault(spec))
    except ConfigurationError as error:
        shown = str(error)
    assert "0901888484" not in shown


def test_a_long_word_is_cut_in_the_refusal() -> None:
    """A refusal stays one readable line, however long the wrong part is."""
    with pytest.raises(ConfigurationError) as caught:
        parse_fault("reset," + "x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "spec",
    [
        "reset",
        "close,phase=after",
        "delay:2s,phase=after",
        "dribble:1s,phase=before",
        "http:503@send,times=3,p=0.1,skip=2,retry_after=2",
        "dlr:twice,times=1",
    ],
)
def test_a_fault_is_written_as_it_was_read(spec: str) -> None:
    """The str of a fault is its specification, and its repr holds it."""
    assert str(parse_fault(spec)) == spec
    assert spec in repr(parse_fault(spec))


def test_the_phone_of_a_fault_is_written_masked() -> None:
    """The phone that a fault picks shows masked."""
    assert str(parse_fault("reset,phone=84901888484")) == "reset,phone=090****484"


@pytest.mark.parametrize(
    ("spec", "operation", "phone", "fits"),
    [
        ("reset", Operation.BALANCE, None, True),
        ("reset@send", Operation.BALANCE, None, False),
        ("reset@send", Operation.SEND, "0901888484", True),
        ("reset,phone=0901888484", Operation.SEND, "0901888484", True),
        ("reset,phone=0901888484", Operation.SEND, "0901888485", False),
        ("reset,phone=0901888484", Operation.SEND, None, False),
        ("duplicate", Operation.SENT_DATA, None, False),
        ("dlr:failed", Operation.SEND, "0901888484", True),
    ],
)
def test_a_fault_picks_by_operation_phone_and_kind(
    spec: str, operation: Operation, phone: str | None, *, fits: bool
) -> None:
    """A fault fits a request unless its kind, `@operation` or `phone` speaks against it."""
    assert parse_fault(spec).fits(operation, phone) is fits


def test_each_kind_is_about_one_thing() -> None:
    """A delivery and a lag are faults of their own sort beside that of the answer."""
    assert parse_fault("dlr:late").target is Target.DELIVERY
    assert parse_fault("status_lag:1s").target is Target.STATUS_LAG
    assert parse_fault("empty").target is Target.ANSWER


def test_every_code_but_acceptance_has_its_magic_phone() -> None:
    """`0900000NNN` meets the code NNN, with zeros before a shorter code."""
    assert MAGIC_PHONES["0900000103"] == "103"
    assert MAGIC_PHONES["0900000099"] == "99"
    assert sorted(MAGIC_PHONES.values()) == sorted(set(CODES) - {"100"})


@given(st.text(max_size=60))
def test_any_text_is_a_fault_or_a_refusal(spec: str) -> None:
    """No text makes the grammar fail in any other way."""
    try:
        fault = parse_fault(spec)
    except ConfigurationError:
        return
    assert isinstance(fault, Fault)


@given(
    st.sampled_from(["reset", "delay:", "http:", "truncate:", "code:", "dlr:"]),
    st.text("0123456789.smh-e+@,=phtwice", max_size=12),
)
def test_near_misses_are_a_fault_or_a_refusal(head: str, tail: str) -> None:
    """Nor does a text that begins as a fault does."""
    try:
        fault = parse_fault(head + tail)
    except ConfigurationError:
        return
    assert parse_fault(str(fault)) == fault or fault.phone
