"""The wire format: the exact fields of a send, and what any answer at all is taken for."""

import codecs
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import attrs
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esms_async import Credentials, Evidence, InvalidMessage, Message
from esms_async._model.codes import CODES
from esms_async._send.outcome import evidence_of_code, judge_answer
from esms_async._wire.send import (
    SEND_OPERATION,
    Dumps,
    Loads,
    SendEncoder,
    decode_send,
    read_json,
    retry_after,
)
from tests.factories import CREDENTIALS, a_message

SAMPLES = Path(__file__).parents[1] / "samples"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
PLAIN = Message("+84 901 888 484", "686868 la ma", request_id="login:42")
CONSTANT = {"ApiKey": "KEYKEYKEYKEY", "SecretKey": "SECRETSECRETSECRET", "SmsType": "8"}
MAY_HAVE_ARRIVED = Evidence.MAY_HAVE_ARRIVED


def write_text(fields: Mapping[str, object]) -> str:
    """Write JSON as text with characters as they are."""
    return json.dumps(fields, ensure_ascii=False, indent=1)


@attrs.frozen
class Judged:
    """What a send learns from an answer."""

    evidence: Evidence
    status: int
    code: str | None = None
    sms_id: str | None = None
    detail: str | None = attrs.field(default=None, repr=False)
    problem: str | None = None


def judged(status: int, body: bytes, *, loads: Loads = read_json) -> Judged:
    """Decode an answer and judge it; where no code counts, neither do the fields beside it."""
    answer = decode_send(status, body, loads=loads)
    assert answer.status == status
    assert (answer.code is None) == (answer.problem is not None)
    evidence, problem = judge_answer(answer)
    if problem is not None:
        return Judged(evidence, status, problem=problem)
    return Judged(evidence, status, answer.code, answer.sms_id, answer.detail)


WRITERS: dict[str, Dumps | None] = {
    "own": None,
    "orjson": orjson.dumps,
    "text": write_text,
}
READERS: dict[str, Loads] = {"own": read_json, "orjson": orjson.loads, "json": json.loads}
every_writer = pytest.mark.parametrize("dumps", WRITERS.values(), ids=WRITERS)
every_reader = pytest.mark.parametrize("loads", READERS.values(), ids=READERS)


def sent(
    message: Message,
    *,
    sandbox: bool = False,
    callback_url: str | None = None,
    dumps: Dumps | None = None,
) -> dict[str, object]:
    """Return the object that goes over the wire for a message."""
    encode = SendEncoder(CREDENTIALS, sandbox=sandbox, callback_url=callback_url, dumps=dumps)
    fields: dict[str, object] = json.loads(encode(message).decode())
    return fields


def test_the_operation() -> None:
    """A send goes to the operation of the documentation, last slash included."""
    assert SEND_OPERATION == "SendMultipleMessage_V4_post_json/"


@every_writer
def test_the_fields_of_a_plain_message(dumps: Dumps | None) -> None:
    """What a message leaves open does not go over the wire, and all that does is a string."""
    assert sent(PLAIN, dumps=dumps) == CONSTANT | {
        "Sandbox": "0",
        "Phone": "0901888484",
        "Content": "686868 la ma",
        "IsUnicode": "0",
        "RequestId": "login:42",
    }


@every_writer
def test_the_fields_of_a_full_message(dumps: Dumps | None) -> None:
    """Every field goes out under its documented name, `campaignid` in lower case."""
    message = Message(
        "0901888484",
        'Mã "của"\n\\bạn\u2028: 686868 😀',
        request_id="login:42",
        campaign_id="Khuyến mãi",
        callback_url="https://example.vn/report?a=1&b=2",
        send_at=NOON,
        expires_at=NOON,
    )
    assert sent(message, sandbox=True, dumps=dumps) == CONSTANT | {
        "Sandbox": "1",
        "Phone": "0901888484",
        "Content": 'Mã "của"\n\\bạn\u2028: 686868 😀',
        "IsUnicode": "1",
        "RequestId": "login:42",
        "campaignid": "Khuyến mãi",
        "CallbackUrl": "https://example.vn/report?a=1&b=2",
        "SendDate": "2030-01-01 19:00:00",
    }


@pytest.mark.parametrize(
    ("own", "of_the_account", "reported_to"),
    [
        (None, None, None),
        (None, "https://b.vn/", "https://b.vn/"),
        ("https://a.vn/", None, "https://a.vn/"),
        ("https://a.vn/", "https://b.vn/", "https://a.vn/"),
    ],
)
def test_where_delivery_is_reported(
    own: str | None, of_the_account: str | None, reported_to: str | None
) -> None:
    """A message's own CallbackUrl wins over that of the client."""
    message = Message("0901888484", "x", callback_url=own)
    assert sent(message, callback_url=of_the_account).get("CallbackUrl") == reported_to


@pytest.mark.parametrize(
    ("send_at", "wire"),
    [
        pytest.param(datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01 07:00:00", id="UTC"),
        pytest.param(datetime(2030, 12, 31, 17, tzinfo=UTC), "2031-01-01 00:00:00", id="next year"),
        pytest.param(
            datetime(2030, 1, 1, 9, 5, 7, tzinfo=timezone(timedelta(hours=7))),
            "2030-01-01 09:05:07",
            id="Vietnam",
        ),
        pytest.param(
            datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
            "2030-01-01 16:30:00",
            id="half-hour offset",
        ),
        pytest.param(
            datetime(2030, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), "2030-01-01 07:00:00", id="fraction"
        ),
        pytest.param(
            datetime(999, 12, 31, 17, tzinfo=UTC), "1000-01-01 00:00:00", id="first moment"
        ),
    ],
)
def test_when_it_is_to_be_sent(send_at: datetime, wire: str) -> None:
    """SendDate is the time in Vietnam, in whole seconds, whatever zone it was given in."""
    assert sent(Message("0901888484", "x", send_at=send_at))["SendDate"] == wire


def test_a_message_does_not_leak_into_the_next() -> None:
    """One encoder encodes each message on its own."""
    encode = SendEncoder(CREDENTIALS)
    first = encode(PLAIN)
    assert b"campaignid" in encode(Message("0901888484", "x", campaign_id="c"))
    assert encode(PLAIN) == first


@pytest.mark.parametrize("made", ["nowhere", "", None, 7, b"https://example.com/"], ids=repr)
def test_a_function_that_makes_no_callback_url_is_refused(made: str) -> None:
    """What a caller's function returns is checked as a callback URL of a message is."""
    with pytest.raises(InvalidMessage, match="callback_url: must be"):
        SendEncoder(CREDENTIALS, callback_url=lambda message: made)(PLAIN)


def test_the_own_writer_is_compact_ascii() -> None:
    """Without a hook the body is ASCII without spaces, so no charset can garble it."""
    body = SendEncoder(Credentials("clé", "bí mật"))(a_message(content="Mã của bạn 😀"))
    assert body.isascii()
    assert json.dumps(json.loads(body), separators=(",", ":")).encode() == body


printable = st.characters(exclude_categories=["C", "Z"])
any_content = st.text(st.one_of(printable, st.sampled_from(' "\\/\n\r\t\f\u2028\u200b😀')))


@given(
    api_key=st.text(printable, min_size=1),
    content=any_content.map(lambda text: f"x{text}"),
    campaign_id=st.text(printable, min_size=1, max_size=254),
)
def test_every_writer_writes_the_same(api_key: str, content: str, campaign_id: str) -> None:
    """Whatever the texts hold, the own writer and the hooks put the same object on the wire."""
    message = Message("0901888484", content, campaign_id=campaign_id)
    credentials = Credentials(api_key, "SECRET")
    bodies = [SendEncoder(credentials, dumps=dumps)(message) for dumps in WRITERS.values()]
    objects = [json.loads(body) for body in bodies]
    assert objects == [objects[0]] * len(bodies)
    assert objects[0]["ApiKey"] == api_key
    assert objects[0]["Content"] == message.content
    assert objects[0]["campaignid"] == campaign_id


CASES = sorted(path.parent for path in SAMPLES.glob("*/answer"))


@every_reader
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_samples(case: Path, loads: Loads) -> None:
    """Each recorded answer is taken for what it is."""
    expected = json.loads((case / "expected.json").read_bytes())
    expected["evidence"] = Evidence(expected["evidence"])
    answer = judged(expected["status"], (case / "answer").read_bytes(), loads=loads)
    assert answer == Judged(**expected)


def test_the_samples_are_found() -> None:
    """No folder lacks its half, and the documented answers are all there."""
    assert {case.name for case in CASES} >= {
        "accepted",
        "duplicate",
        "duplicate_with_status",
        "invalid_request",
        "rejected_with_sms_id",
        "wrong_keys",
    }
    assert {path for path in SAMPLES.iterdir() if path.is_dir()} == set(CASES)


@pytest.mark.parametrize("code", [*CODES, "0", "98", "999999"])
def test_every_code(code: str) -> None:
    """Every code, listed or not, is read from a string and from a number."""
    for written in (f'"{code}"', code):
        answer = judged(200, b'{"CodeResult":%s}' % written.encode())
        assert answer == Judged(evidence_of_code(code), 200, code)


DOCUMENTED = b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"'
BODIES: dict[str, tuple[bytes, Judged]] = {
    name: (body, Judged(Evidence.ACCEPTED, 200, "100", sms_id))
    for name, body, sms_id in [
        ("lower case", b'{"coderesult":"100","smsid":"d8e0"}', "d8e0"),
        ("upper case", b'{"CODERESULT":"100","SMSID":"d8e0"}', "d8e0"),
        ("camel case", b'{"codeResult":"100","smsId":"d8e0"}', "d8e0"),
        ("the documented name wins", b'{"CODERESULT":"101","CodeResult":"100"}', None),
        ("spaces in the code", b'{"CodeResult":" 100\\n"}', None),
        ("white space around", b' \r\n\t{ "CodeResult" : "100" }\n\n', None),
        ("byte order mark", codecs.BOM_UTF8 + b'{"CodeResult":"100"}', None),
        ("UTF-16", '{"CodeResult":"100","SMSID":"d8e0"}'.encode("utf-16"), "d8e0"),
        ("UTF-32", '{"CodeResult":"100","SMSID":"d8e0"}'.encode("utf-32"), "d8e0"),
        ("unknown fields", b'{"New":{"a":[1]},"CodeResult":"100","":null}', None),
        ("an error beside the code", b'{"error":"x","CodeResult":"100"}', None),
        ("SMSID in the form of the sample", b'%sd8-e0"}' % DOCUMENTED, "d8-e0"),
        ("SMSID escaped", b'%sd8\\u0065"}' % DOCUMENTED, "d8e"),
        ("SMSID empty in the form of the sample", b'%s"}' % DOCUMENTED, None),
        ("SMSID too long for the sample", b'%s%s"}' % (DOCUMENTED, b"x" * 201), None),
        ("a second code after the sample", b'%sd8","CodeResult":"100"}' % DOCUMENTED, "d8"),
        ("SMSID a number", b'{"CodeResult":100,"SMSID":4711}', "4711"),
        ("SMSID empty", b'{"CodeResult":100,"SMSID":""}', None),
        ("SMSID null", b'{"CodeResult":100,"SMSID":null}', None),
        ("SMSID a flag", b'{"CodeResult":100,"SMSID":true}', None),
        ("SMSID a list", b'{"CodeResult":100,"SMSID":["d8e0"]}', None),
        ("SMSID a huge number", b'{"CodeResult":100,"SMSID":1%s}' % (b"0" * 30), None),
        ("SMSID with a line break", b'{"CodeResult":100,"SMSID":"d8\\ne0"}', None),
        ("SMSID of 200 characters", b'{"CodeResult":100,"SMSID":"%s"}' % (b"x" * 200), "x" * 200),
        ("SMSID of 201 characters", b'{"CodeResult":100,"SMSID":"%s"}' % (b"x" * 201), None),
        ("64 kB", b'{"CodeResult":"100","Pad":"%s"}' % (b"x" * 65_000), None),
    ]
} | {
    name: (body, Judged(Evidence.MESSAGE_REJECTED, 200, "108", None, detail))
    for name, body, detail in [
        ("words", '{"CodeResult":"108","errormessage":"Sai số"}'.encode(), "Sai số"),
        ("words empty", b'{"CodeResult":"108","ErrorMessage":""}', None),
        ("words null", b'{"CodeResult":"108","ErrorMessage":null}', None),
        ("words an object", b'{"CodeResult":"108","ErrorMessage":{"a":"b"}}', None),
        ("words with half a pair", b'{"CodeResult":"108","ErrorMessage":"\\ud83d"}', "\ud83d"),
    ]
}


@pytest.mark.parametrize(("body", "answer"), BODIES.values(), ids=BODIES)
def test_forms_of_an_answer(body: bytes, answer: Judged) -> None:
    """Letter case, types, charset, white space and further fields do not change an answer."""
    assert judged(200, body) == answer
    assert judged(200, body, loads=json.loads) == answer


NO_OBJECT, NO_CODE = "the answer is not a JSON object", "the answer holds no CodeResult"
UNREADABLE = {
    "empty": (b"", NO_OBJECT),
    "white space": (b" \n", NO_OBJECT),
    "null": (b"null", NO_OBJECT),
    "true": (b"true", NO_OBJECT),
    "a number": (b"100", NO_OBJECT),
    "a string": (b'"100"', NO_OBJECT),
    "a list": (b'[{"CodeResult":"100"}]', NO_OBJECT),
    "two objects": (b'{"CodeResult":"100"}{"CodeResult":"100"}', NO_OBJECT),
    "cut": (b'{"CodeResult":"100","SMSID":"d8', NO_OBJECT),
    "text before": (b'ok {"CodeResult":"100"}', NO_OBJECT),
    "single quotes": (b"{'CodeResult':'100'}", NO_OBJECT),
    "HTML": (b"<html>CodeResult 100</html>", NO_OBJECT),
    "XML": (b"<CodeResult>100</CodeResult>", NO_OBJECT),
    "NUL": (b"\x00" * 100, NO_OBJECT),
    "another charset": ('{"CodeResult":"100","ErrorMessage":"é"}'.encode("latin-1"), NO_OBJECT),
    "deep lists": (b"[" * 60_000, NO_OBJECT),
    "an integer beyond reading": (b'{"CodeResult":%s}' % (b"1" * 60_000), NO_OBJECT),
    "an empty object": (b"{}", NO_CODE),
    "another field": (b'{"CodeResponse":"100"}', NO_CODE),
    "code null": (b'{"CodeResult":null}', NO_CODE),
    "code true": (b'{"CodeResult":true}', NO_CODE),
    "code empty": (b'{"CodeResult":""}', NO_CODE),
    "code a word": (b'{"CodeResult":"OK"}', NO_CODE),
    "code in words": (b'{"CodeResult":"100 OK"}', NO_CODE),
    "code a fraction": (b'{"CodeResult":100.0}', NO_CODE),
    "code NaN": (b'{"CodeResult":NaN}', NO_CODE),
    "code Infinity": (b'{"CodeResult":Infinity}', NO_CODE),
    "code an overflow": (b'{"CodeResult":1e999}', NO_CODE),
    "code negative": (b'{"CodeResult":-100}', NO_CODE),
    "code a negative string": (b'{"CodeResult":"-100"}', NO_CODE),
    "code of seven digits": (b'{"CodeResult":1000000}', NO_CODE),
    "code of seven digits in a string": (b'{"CodeResult":"1000000"}', NO_CODE),
    "code a huge integer": (b'{"CodeResult":%s}' % (b"1" * 4000), NO_CODE),
    "code of another script": ('{"CodeResult":"\uff11\uff10\uff10"}'.encode(), NO_CODE),
    "code a list": (b'{"CodeResult":["100"]}', NO_CODE),
    "code an object": (b'{"CodeResult":{"CodeResult":"100"}}', NO_CODE),
    "an error that is null": (b'{"error":null}', NO_CODE),
    "the last of two names": (b'{"CodeResult":"100","CodeResult":null}', NO_CODE),
    "an error object": (b'{"error":"Invalid request"}', "the answer is an error object"),
    "an error in another case": (b'{"Error":{"a":1}}', "the answer is an error object"),
}


@pytest.mark.parametrize(("body", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_may_have_arrived(body: bytes, problem: str) -> None:
    """An answer of 200 without a readable code leaves open whether the message was taken."""
    assert judged(200, body) == Judged(MAY_HAVE_ARRIVED, 200, problem=problem)


@pytest.mark.parametrize("depth", [900, 4_000, 60_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"":', b"}")])
def test_deep_nesting_may_have_arrived(opening: bytes, closing: bytes, depth: int) -> None:
    """However deep an answer is nested, and however deep Python reads, it is unreadable."""
    body = b'{"CodeResult":' + opening * depth + b"0" + closing * depth + b"}"
    answer = judged(200, body)
    assert (answer.evidence, answer.code) == (MAY_HAVE_ARRIVED, None)


@pytest.mark.parametrize("status", [100, 301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 599])
@pytest.mark.parametrize(
    "body",
    [b"", b'{"CodeResult":"100","SMSID":"d8e0"}', b'{"CodeResult":"108"}', b'{"error":"x"}'],
)
def test_an_ambiguous_status_goes_over_any_body(status: int, body: bytes) -> None:
    """Behind a redirect, "not now" or a server's error no body is believed."""
    expected = Judged(MAY_HAVE_ARRIVED, status, problem=f"HTTP status {status}")
    assert judged(status, body) == expected


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 411, 413, 415, 422, 451, 499])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"CodeResult":null}', b'{"error":null}']
)
def test_a_refusal_by_http_without_a_code(status: int, body: bytes) -> None:
    """Any other 4xx refuses the request by its status alone."""
    expected = Judged(Evidence.REFUSED, status, problem=f"HTTP status {status}")
    assert judged(status, body) == expected


@pytest.mark.parametrize("status", [200, 201, 204, 299, 400, 401, 403, 404, 409, 422, 451, 499])
@pytest.mark.parametrize("code", [*CODES, "999999"])
def test_a_code_in_a_2xx_or_a_refusal_is_read(status: int, code: str) -> None:
    """A code counts under 2xx and under a 4xx that refuses, except 100 in such a 4xx."""
    answer = judged(status, b'{"CodeResult":"%s","SMSID":"d8e0"}' % code.encode())
    if code == "100" and status >= 400:
        problem = f"code 100 with HTTP status {status}"
        assert answer == Judged(MAY_HAVE_ARRIVED, status, problem=problem)
    else:
        assert answer == Judged(evidence_of_code(code), status, code, "d8e0")


@pytest.mark.parametrize("status", [200, 201, 204, 400, 403, 404])
def test_an_error_object_is_ambiguous_at_any_status(status: int) -> None:
    """Whether `{"error": …}` means that nothing was taken is not documented."""
    assert judged(status, b'{"error":"Invalid request"}') == Judged(
        MAY_HAVE_ARRIVED, status, problem="the answer is an error object"
    )


def fails_with(error: Exception) -> Loads:
    """Return a hook that can't read."""

    def loads(body: bytes) -> object:
        raise error

    return loads


def reads(value: object) -> Loads:
    """Return a hook that reads the same from any body."""

    def loads(body: bytes) -> object:
        return value

    return loads


def read_form(body: bytes) -> object:
    """Read a body that is not JSON."""
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}


@pytest.mark.parametrize(
    "loads",
    [
        fails_with(ValueError("686868")),
        fails_with(RecursionError()),
        fails_with(MemoryError()),
        fails_with(KeyError("x")),
        reads(None),
        reads([("CodeResult", "100")]),
        reads(b'{"CodeResult":"100"}'),
    ],
    ids=["ValueError", "RecursionError", "MemoryError", "KeyError", "None", "list", "bytes"],
)
def test_a_hook_may_fail_in_any_way(loads: Loads) -> None:
    """A hook that raises, or returns no dict, makes the answer unreadable, and nothing worse."""
    expected = Judged(MAY_HAVE_ARRIVED, 200, problem=NO_OBJECT)
    assert judged(200, b'{"CodeResult":"100"}', loads=loads) == expected


def test_a_hook_decides_how_to_read() -> None:
    """What a hook reads is believed, with keys of whatever type in it."""
    body = urlencode({"CodeResult": "100", "SMSID": "d8e0"}).encode()
    accepted = Judged(Evidence.ACCEPTED, 200, "100", "d8e0")
    assert judged(200, body, loads=read_form) == accepted
    keyed = reads({1: 2, None: 3, b"x": 4, "coderesult": 124})
    assert judged(200, b"", loads=keyed).code == "124"


def test_the_words_of_the_gateway_do_not_show() -> None:
    """The repr of an answer leaves out the gateway's words, which may hold the content."""
    answer = judged(200, b'{"CodeResult":"201","ErrorMessage":"blocked: 686868"}')
    assert answer.detail == "blocked: 686868"
    assert "686868" not in repr(answer)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
names = st.sampled_from(["CodeResult", "coderesult", "SMSID", "ErrorMessage", "error", "x"])
codes = st.sampled_from(["100", 100, "124", "101", " 108 ", "999", 0, -1, None, "", True, 1e2])
answers = st.dictionaries(names, codes | json_values).map(
    lambda value: json.dumps(value).encode("utf-8", "surrogatepass")
)
bodies = st.binary() | answers | st.tuples(answers, st.integers(0, 60)).map(lambda b: b[0][: b[1]])


@given(st.integers(100, 599) | st.sampled_from([200, 400]), bodies)
@example(200, b'{"CodeResult":"100"}')
def test_any_bytes_give_an_answer(status: int, body: bytes) -> None:
    """Whatever comes, decoding does not raise, and an answer is only what its status allows."""
    answer = judged(status, body)
    refuses = 400 <= status < 500 and status not in {408, 425, 429}
    assert (answer.code is None) == (answer.problem is not None)
    assert (answer.evidence is Evidence.ACCEPTED) == (answer.code == "100")
    if answer.code is None:
        assert answer.evidence in {MAY_HAVE_ARRIVED, Evidence.REFUSED if refuses else None}
    else:
        assert 200 <= status < 300 or refuses
        assert answer.evidence is evidence_of_code(answer.code)
    if answer.problem is not None:
        assert answer.problem in {
            f"HTTP status {status}",
            f"code 100 with HTTP status {status}",
            "the answer is an error object",
            NO_OBJECT,
            NO_CODE,
        }


near_the_sample = st.tuples(
    st.sampled_from([DOCUMENTED, DOCUMENTED.lower(), DOCUMENTED[:-1], b" " + DOCUMENTED]),
    st.text(st.sampled_from('aZ09 -"\\,:{}éế\x00'), max_size=12).map(str.encode) | st.binary(),
    st.sampled_from([b'"}', b'","CodeResult":"101"}', b'"}\n', b"}", b""]),
).map(b"".join)


@given(st.sampled_from([200, 201, 400, 500]), answers | near_the_sample)
@example(200, DOCUMENTED + b'd8e0","CodeResult":"101"}')
@example(200, DOCUMENTED + b"d8e0")
@example(200, DOCUMENTED + b'd8e0"')
@example(400, DOCUMENTED + b'd8e0"}')
@example(500, DOCUMENTED + b'd8e0"}')
def test_the_own_reader_takes_no_short_cut_that_shows(status: int, body: bytes) -> None:
    """An answer means the same whether the own reader or the standard library's reads it."""
    assert judged(status, body) == judged(status, body, loads=json.loads)


@given(st.binary() | answers | near_the_sample)
def test_the_own_reader_reads_what_json_reads(body: bytes) -> None:
    """The fast reader takes and refuses the same bytes as the standard library's."""

    def what_comes_of(loads: Loads) -> str:
        try:
            return repr(loads(body))
        except ValueError as error:
            return f"{type(error).__name__}: {error}"

    assert what_comes_of(read_json) == what_comes_of(json.loads)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("0", 0.0, id="at once"),
        pytest.param("120", 120.0, id="seconds"),
        pytest.param(" 7\t", 7.0, id="white space"),
        pytest.param("007", 7.0, id="leading zeros"),
        pytest.param("9" * 9, 999_999_999.0, id="nine digits"),
        pytest.param("9" * 5000, 999_999_999.0, id="beyond reading"),
        pytest.param("", None, id="empty"),
        pytest.param("   ", None, id="blank"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("1e3", None, id="exponent"),
        pytest.param("inf", None, id="infinity"),
        pytest.param("nan", None, id="not a number"),
        pytest.param("soon", None, id="a word"),
        pytest.param("120 seconds", None, id="a unit"),
        pytest.param("120, 240", None, id="two values"),
        pytest.param("١٢٠", None, id="digits of another script"),
        pytest.param("²", None, id="a superscript"),
        pytest.param("Tue, 01 Jan 2030 12:01:30 GMT", 90.0, id="IMF date"),
        pytest.param("Tuesday, 01-Jan-30 12:01:30 GMT", 90.0, id="RFC 850 date"),
        pytest.param("Tue Jan  1 12:01:30 2030", 90.0, id="asctime date"),
        pytest.param("Tue, 01 Jan 2030 12:01:30 -0000", 90.0, id="date without a zone"),
        pytest.param("Tue, 01 Jan 2030 19:01:30 +0700", 90.0, id="date in Vietnam"),
        pytest.param("Tue, 01 Jan 2030 12:00:00 GMT", 0.0, id="now"),
        pytest.param("Mon, 01 Jan 2024 00:00:00 GMT", 0.0, id="past"),
        pytest.param("Tue, 32 Jan 2030 12:01:30 GMT", None, id="no such day"),
        pytest.param("Tue, 01 Jan 2030 25:01:30 GMT", None, id="no such hour"),
        pytest.param("Tue, 01 Jan 99999 12:01:30 GMT", None, id="no such year"),
        pytest.param("Tue, 01 Jan %s 12:01:30 GMT" % ("9" * 20), None, id="an endless year"),
        pytest.param("Tue, 01 Jan 2030 12:01:30 +9999", None, id="no such zone"),
        pytest.param("Tue, 01 Jan 2030 12:01:30 +99999999999999", None, id="an endless zone"),
        pytest.param("Tue, 01 Jan 2030 %s:01:30 GMT" % ("1" * 5000), None, id="beyond reading, 2"),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Retry-After is read as seconds or a date; what is neither asks for nothing."""
    assert retry_after(header, NOON) == seconds


digits = st.text("0123456789", max_size=25)
date_like = st.builds(
    "{}, {} {} {} {}:{}:{} {}{}".format,
    st.sampled_from(["Tue", "x", ""]),
    digits,
    st.sampled_from(["Jan", "dec", "x"]),
    digits,
    digits,
    digits,
    digits,
    st.sampled_from(["+", "-", "GMT", ""]),
    digits,
)


@given(st.text() | digits | date_like)
def test_any_retry_after_is_a_pause_or_nothing(header: str) -> None:
    """Whatever the header holds, reading it does not raise, and the pause is a finite number."""
    seconds = retry_after(header, NOON)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
