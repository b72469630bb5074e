"""The FastAPI router, its problems, the lifespan, and phone numbers in pydantic models."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError

from esms_async import (
    ConfigurationError,
    Credentials,
    EsmsClient,
    InvalidMessage,
    NotSent,
    OutcomeUnknown,
    UsageError,
)
from esms_async.emulator import Emulator
from esms_async.otp import Guard, MemoryOtpStore, Otp, Purpose, SqliteOtpStore, Verification
from esms_async.otp.fastapi import Esms, VietnamesePhone, esms_lifespan, esms_of, otp_router
from esms_async.otp.web import Caller, OtpEndpoints, Reply, problem
from tests.otp.support import KEY, OTHER, PHONE, TEMPLATE, Clock, Gateway, make_otp, wrong

try:
    from fastapi.testclient import TestClient
except RuntimeError:  # of the oldest FastAPI alone, whose test client is made of an old httpx
    pytest.skip("this FastAPI's test client wants an httpx of its time", allow_module_level=True)


def client_ip(request: Request) -> str | None:
    """Return the address that the test's proxy gives."""
    return request.headers.get("x-test-ip")


async def log_in(request: Request, phone: str, verification: Verification) -> dict[str, str]:
    """Answer with who has logged in."""
    assert verification.ok
    assert verification.device
    return {"phone": phone, "device": verification.device}


@pytest.fixture
def otp(sms: Gateway, clock: Clock) -> Otp:
    """Codes on a gateway that takes notes."""
    return make_otp(sms, MemoryOtpStore(clock=clock))


@pytest.fixture
def page(otp: Otp) -> Iterator[TestClient]:
    """A page of an application with the router."""
    app = FastAPI(lifespan=esms_lifespan(otp))
    app.include_router(
        otp_router(
            otp,
            client_ip=client_ip,
            on_verified=log_in,
            device=lambda request: request.cookies.get("device"),
        ),
        prefix="/login",
    )
    with TestClient(app) as page:
        yield page


def post(page: TestClient, path: str, headers: dict[str, str] | None = None, **data: object) -> Any:
    """Post a JSON object."""
    return page.post(f"/login/{path}", json=data, headers=headers)


def test_a_login(page: TestClient, sms: Gateway, clock: Clock) -> None:
    """Start, resend, a wrong code, the right one."""
    answer = post(page, "start", phone="+84 901 888 484")
    assert answer.status_code == 202
    challenge = answer.json()
    assert set(challenge) == {"id", "expires_at", "resend_after"}
    assert challenge["resend_after"] == 30
    assert datetime.fromisoformat(challenge["expires_at"]).timestamp() == clock.now + 300
    clock.advance(30)
    again = post(page, "resend", id=challenge["id"], phone=PHONE)
    assert again.status_code == 202
    assert again.json()["expires_at"] == challenge["expires_at"]
    name = again.json()["id"]
    answer = post(page, "verify", id=name, phone=PHONE, code=wrong(sms.code()))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["reason"], answer.json()["attempts_left"]) == ("wrong", 4)
    answer = post(page, "verify", id=name, phone="0901.888.484", code=sms.code())
    assert answer.status_code == 200
    assert answer.json()["phone"] == PHONE
    answer = post(page, "verify", id=name, phone=PHONE, code=sms.code())
    assert (answer.status_code, answer.json()["reason"]) == (400, "used")


def test_refusals_and_locks(page: TestClient, sms: Gateway, clock: Clock) -> None:
    """429 with Retry-After, for refused sends and for locks; 410 for a resend that is too late."""
    name = post(page, "start", phone=PHONE).json()["id"]
    answer = post(page, "resend", id=name, phone=PHONE)
    assert (answer.status_code, answer.json()["reason"]) == (429, "cooldown")
    assert answer.headers["retry-after"] == "30"
    assert "attempts_left" not in answer.json()
    for _ in range(5):
        answer = post(page, "verify", id=name, phone=PHONE, code=wrong(sms.code()))
    last = answer.json()
    assert (answer.status_code, last["reason"], last["attempts_left"]) == (400, "wrong", 0)
    assert last["detail"] == "The code is wrong, and no more can be tried for now. Try again later."
    assert answer.headers["retry-after"] == "900"
    answer = post(page, "verify", id=name, phone=PHONE, code=sms.code())
    assert (answer.status_code, answer.json()["reason"]) == (429, "locked")
    assert answer.headers["retry-after"] == "900"
    assert post(page, "start", phone=PHONE).json()["reason"] == "locked"
    clock.advance(0.5)
    assert post(page, "start", phone=PHONE).headers["retry-after"] == "900"
    clock.advance(900)
    answer = post(page, "verify", id=name, phone=PHONE, code=sms.code())
    assert (answer.status_code, answer.json()["reason"]) == (400, "expired")
    answer = post(page, "resend", id=name, phone=PHONE)
    assert (answer.status_code, answer.json()["reason"]) == (410, "expired")
    assert answer.json()["title"] == "Gone"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"{}", b'{"id": "x", "code": "1"}'),
        *(b"phone=0901888484", b'{"phone": 901888484}', b'{"phone": null}', b"[" * 10_000),
        b'{"phone": "0901888484", "more": "%b"}' % (b"x" * 20_000),
    ],
    ids=lambda body: body[:20],
)
def test_an_invalid_body(page: TestClient, body: bytes) -> None:
    """What is no JSON object, or has no text for the phone, is a 422 of the request."""
    for path in ("start", "resend", "verify"):
        answer = page.post(f"/login/{path}", content=body, headers={"accept-language": "vi"})
        assert (answer.status_code, answer.json()["reason"]) == (422, "request")
        assert answer.json()["detail"] == (
            "Yêu cầu không hợp lệ: có thông tin bị thiếu hoặc không đúng."
        )
        assert answer.headers["content-type"] == "application/problem+json"


def test_bad_fields(page: TestClient) -> None:
    """A bad phone, no id, a code that is a number: 422, and the phone is not shown."""
    for phone in ("0281234567", "", "x" * 1000):
        answer = post(page, "start", phone=phone)
        assert (answer.status_code, answer.json()["reason"]) == (422, "phone")
        assert "0281234567" not in answer.text
    assert post(page, "resend", phone=PHONE).json()["reason"] == "request"
    assert post(page, "verify", phone=PHONE, id="x").json()["reason"] == "request"
    assert post(page, "verify", phone=PHONE, id="x", code=123456).status_code == 422
    assert post(page, "verify", phone=PHONE, id="x", code="1" * 200).status_code == 422


def test_a_send_that_fails_is_a_503(
    page: TestClient, sms: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """What was not sent is a 503, and the log says why; what may have been sent is a 202."""
    sms.fail(lambda m: NotSent(m, (), "refused"))
    answer = post(page, "start", phone=PHONE)
    assert (answer.status_code, answer.json()["reason"]) == (503, "send")
    assert ("esms_async.otp", logging.WARNING, "a code was not sent: refused") in (
        caplog.record_tuples
    )
    sms.fail(lambda m: OutcomeUnknown(m, (), "lost"), arrives=True)
    assert post(page, "start", phone=PHONE).status_code == 202


@pytest.mark.parametrize(
    ("allow", "status"), [(None, 503), (lambda _: True, 202)], ids=["waits", "does not wait"]
)
async def test_a_message_that_the_client_refuses_is_no_failure_of_the_phone(
    allow: Any, status: int, sms: Gateway, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback URL that can't be used is a 503, and the log names the field."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    sms.fail(lambda _: InvalidMessage("callback_url", "is no URL"))
    reply = await OtpEndpoints(otp, allow=allow).start({"phone": PHONE}, Caller())
    await otp.aclose()
    assert reply.status == status
    warning = "a code was not sent: callback_url: is no URL"
    assert ("esms_async.otp", logging.WARNING, warning) in caplog.record_tuples


def test_a_store_that_fails_is_a_503(
    sms: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent or believed where the store can't be used, and the log says why."""
    otp = make_otp(sms, SqliteOtpStore(tmp_path / "no" / "such" / "folder"))
    app = FastAPI()
    app.include_router(otp_router(otp, client_ip=client_ip, on_verified=log_in), prefix="/login")
    page = TestClient(app)
    for path in ("start", "verify", "resend"):
        answer = post(page, path, phone=PHONE, id="x", code="123456")
        assert (answer.status_code, answer.json()["reason"]) == (503, "store")
        assert "a request was answered with 503: " in caplog.messages[-1]
    assert sms.sends == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("vi", "vi"),
        ("vi-VN,vi;q=0.9,en;q=0.8", "vi"),
        ("en-US,en;q=0.9,vi;q=0.8", "en"),
        ("fr, vi;q=0.5", "vi"),
        ("vi;q=0, en", "en"),
        ("vi;q=x", "en"),
        ("*", "en"),
    ],
)
def test_problems_speak_vietnamese_and_english(header: str | None, language: str) -> None:
    """Accept-Language chooses; each reason has both, and the answer says which it is."""
    for reason in (
        *("wrong", "last_wrong", "used", "expired", "invalid_phone", "request"),
        *("cooldown", "locked"),
        *("phone", "ip", "prefix", "total", "fraud", "store", "send"),
    ):
        reply = problem(reason, header)
        other = problem(reason, "en" if language == "vi" else "vi")
        assert reply.headers["Content-Language"] == language
        assert reply.headers["Vary"] == "Accept-Language"
        assert reply.body["detail"] != other.body["detail"]
        assert reply.body["status"] == reply.status
        assert reply.body["detail"].isascii() == (language == "en")


def test_the_router_speaks_the_language_of_its_caller(page: TestClient) -> None:
    """The header of the request is what counts."""
    answer = post(page, "start", {"accept-language": "vi-VN"}, phone="12")
    assert answer.headers["content-language"] == "vi"
    assert answer.json()["detail"] == "Đây không phải là số di động Việt Nam."


def test_the_address_is_what_the_function_says(page: TestClient) -> None:
    """No header counts by itself: only what `client_ip` returns does."""
    for number in range(20):
        headers = {"x-test-ip": "203.0.113.7", "x-forwarded-for": f"198.51.100.{number}"}
        assert post(page, "start", headers, phone=f"0911{number:06}").status_code == 202
    answer = post(page, "start", headers, phone=PHONE)
    assert (answer.status_code, answer.json()["reason"]) == (429, "ip")
    assert post(page, "start", phone=PHONE).status_code == 202


def test_the_cookie_of_a_device(page: TestClient, sms: Gateway) -> None:
    """`device` reads the cookie, which opens what a stranger has locked."""
    name = post(page, "start", phone=PHONE).json()["id"]
    device = post(page, "verify", id=name, phone=PHONE, code=sms.code()).json()["device"]
    name = post(page, "start", phone=PHONE).json()["id"]
    for _ in range(5):
        post(page, "verify", id=name, phone=PHONE, code=wrong(sms.code()))
    assert post(page, "start", phone=PHONE).status_code == 429
    page.cookies.set("device", device)
    name = post(page, "start", phone=PHONE).json()["id"]
    assert post(page, "verify", id=name, phone=PHONE, code=sms.code()).status_code == 200


def test_unknown_phones_get_the_same_answers(sms: Gateway, clock: Clock) -> None:
    """With `allow`, a phone without an account gets no SMS, and nothing in the answers tells."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    app = FastAPI(lifespan=esms_lifespan(otp))

    async def allow(phone: str) -> bool:
        return phone == PHONE

    app.include_router(
        otp_router(otp, "login", client_ip=client_ip, on_verified=log_in, allow=allow),
        prefix="/login",
    )
    with TestClient(app) as page:

        def talk(phone: str) -> list[tuple[int, str | None]]:
            answers = [post(page, "start", phone=phone), post(page, "start", phone=phone)]
            name = answers[0].json()["id"]
            answers.append(post(page, "resend", id=name, phone=phone))
            clock.advance(30)
            answers.append(post(page, "resend", id=name, phone=phone))
            answers += [
                post(page, "verify", id=name, phone=phone, code=code)
                for code in ("x", "111111", "111112", "111113", "111114", "111115", "111116")
            ]
            clock.now -= 30
            return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]

        clock_before = clock.now
        sms.fail(lambda m: OutcomeUnknown(m, (), "lost"), arrives=True)
        known = talk(PHONE)
        sms.script.clear()
        clock.now = clock_before + 30
        unknown = talk(OTHER)
        assert known == unknown
        assert sms.per_phone() == {PHONE: 1}


async def test_allow_answers_before_the_gateway(sms: Gateway, clock: Clock) -> None:
    """Where phones are told apart nothing waits for the gateway, so time tells nothing."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    endpoints = OtpEndpoints(otp, allow=lambda phone: phone == PHONE)
    release = sms.hold()
    reply = await endpoints.start({"phone": PHONE}, Caller())
    assert isinstance(reply, Reply)
    assert reply.status == 202
    assert not release.is_set()
    clock.advance(30)
    sms.hold()
    again = await endpoints.resend({"phone": PHONE, "id": reply.body["id"]}, Caller())
    assert again.status == 202
    release.set()
    for task in list(otp._tasks):
        task.cancel()
    await asyncio.gather(*otp._tasks, return_exceptions=True)


def test_what_on_verified_returns_is_the_answer(sms: Gateway, clock: Clock) -> None:
    """A Response of its own, cookies and all; the subject is bound, too, also one of the body."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    app = FastAPI(lifespan=esms_lifespan(otp))

    def respond(request: Request, phone: str, verification: Verification) -> Response:
        response = Response(status_code=204)
        response.set_cookie("device", verification.device or "", httponly=True)
        return response

    async def subject(request: Request) -> str | None:
        order: str | None = (await request.json()).get("order")
        return order

    router = otp_router(otp, client_ip=client_ip, on_verified=respond, subject=subject)
    app.include_router(router, prefix="/login")
    with TestClient(app) as page:
        name = post(page, "start", phone=PHONE, order="7").json()["id"]
        fields = {"id": name, "phone": PHONE, "code": sms.code()}
        assert post(page, "verify", **fields, order="8").json()["reason"] == "expired"
        answer = post(page, "verify", **fields, order="7")
        assert (answer.status_code, answer.content) == (204, b"")
        assert "HttpOnly" in answer.headers["set-cookie"]


def test_the_routes_are_documented(page: TestClient) -> None:
    """OpenAPI shows three routes with their bodies, answers and problems."""
    paths = page.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/login/start", "/login/resend", "/login/verify"}
    start = paths["/login/start"]["post"]
    assert "application/json" in start["requestBody"]["content"]
    assert {"202", "default"} <= set(start["responses"])
    assert "application/problem+json" in start["responses"]["default"]["content"]


@pytest.mark.parametrize("purpose", [None, "other"])
def test_a_purpose_that_is_missing_is_refused_when_the_router_is_made(
    purpose: str | None, sms: Gateway
) -> None:
    """The endpoints of any framework name the purposes that there are, before any request."""
    purposes = {"login": Purpose(TEMPLATE), "pay": Purpose(TEMPLATE)}
    otp = make_otp(sms, MemoryOtpStore(), purposes=purposes)
    with pytest.raises(ConfigurationError, match="purpose must be one of login, pay"):
        OtpEndpoints(otp, purpose)
    with pytest.raises(ConfigurationError, match="purpose must be one of login, pay"):
        otp_router(otp, purpose, client_ip=client_ip, on_verified=log_in)


def test_each_purpose_has_a_router(sms: Gateway, clock: Clock) -> None:
    """Two routers of one application make codes of their own purposes."""
    purposes = {"login": Purpose(TEMPLATE), "pay": Purpose(TEMPLATE, digits=8)}
    otp = make_otp(sms, MemoryOtpStore(clock=clock), purposes=purposes)
    app = FastAPI(lifespan=esms_lifespan(otp))
    for name in purposes:
        router = otp_router(otp, purpose=name, client_ip=client_ip, on_verified=log_in)
        app.include_router(router, prefix=f"/{name}")
    with TestClient(app) as page:
        for path, digits in (("login", 6), ("pay", 8)):
            assert page.post(f"/{path}/start", json={"phone": PHONE}).status_code == 202
            assert len(sms.code()) == digits
            clock.advance(30)


async def test_a_failure_of_the_service_itself_is_not_hidden(sms: Gateway, clock: Clock) -> None:
    """A subject that is no text is the developer's error, and no problem of the caller."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    with pytest.raises(ConfigurationError, match="subject must be a str"):
        await OtpEndpoints(otp).start({"phone": PHONE}, Caller(subject=7))  # type: ignore[arg-type]  # what is refused


# The client, and phones.


async def test_endpoints_get_the_client() -> None:
    """The lifespan opens the client, `Esms` gives it to an endpoint, and it is closed after."""
    async with Emulator() as gateway:
        client = EsmsClient(Credentials("key", "secret"), base_url=gateway.url)
        app = FastAPI(lifespan=esms_lifespan(client))

        @app.get("/balance")
        async def balance(esms: Esms) -> int:
            return int((await esms.balance()).amount)

        def visit() -> int:
            with TestClient(app) as page:
                return int(page.get("/balance").json())

        assert await asyncio.to_thread(visit) == (await gateway_balance(gateway))


async def gateway_balance(gateway: Emulator) -> int:
    """Return what is on the emulator's account."""
    async with EsmsClient(Credentials("key", "secret"), base_url=gateway.url) as client:
        return int((await client.balance()).amount)


def test_an_application_without_a_client_says_so() -> None:
    """The error names the remedy."""
    app = FastAPI()

    @app.get("/")
    async def root(esms: Esms) -> None:
        pass

    with pytest.raises(UsageError, match="esms_lifespan"):
        TestClient(app).get("/")
    assert esms_of.__doc__


class _Form(BaseModel):
    phone: VietnamesePhone


@pytest.mark.parametrize("written", ["0901888484", "+84 901-888.484", "84901888484"])
def test_pydantic_phones_are_kept_in_one_form(written: str) -> None:
    """Whatever people write becomes `0XXXXXXXXX`."""
    assert _Form(phone=written).phone == PHONE


def test_pydantic_refuses_what_is_no_mobile_number() -> None:
    """A landline is a validation error, and the schema has examples."""
    with pytest.raises(ValidationError, match="not a Vietnamese mobile number"):
        _Form(phone="0281234567")
    assert _Form.model_json_schema()["properties"]["phone"]["examples"]


def test_without_fastapi_the_module_says_what_to_install() -> None:
    """The error names the extra."""
    program = (
        "import sys; sys.modules['fastapi'] = None\n"
        "try:\n    import esms_async.otp.fastapi\nexcept ImportError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"pip install 'esms_async[fastapi]'" in ran.stdout


@pytest.fixture
async def emulated() -> AsyncIterator[tuple[Emulator, Otp]]:
    """Codes over a real client and an emulator."""
    async with (
        Emulator() as gateway,
        EsmsClient(Credentials("key", "secret"), base_url=gateway.url) as client,
        Otp(
            client,
            store=MemoryOtpStore(),
            keys=[KEY],
            purposes={"login": Purpose(TEMPLATE)},
            guard=Guard(),
        ) as otp,
    ):
        yield gateway, otp


async def test_a_lost_answer_is_one_sms(emulated: tuple[Emulator, Otp]) -> None:
    """The gateway takes the message and the answer is lost: one SMS, and the code is right."""
    gateway, otp = emulated
    gateway.fault("reset,phase=after,times=1")
    challenge = await otp.start(PHONE)
    (message,) = gateway.messages
    assert message.phone == PHONE
    assert (await otp.verify(challenge.id, message.content[:6], phone=PHONE)).ok
