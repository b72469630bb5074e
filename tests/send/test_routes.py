"""One Message, three routes: the client's default, the Message's own, and what they may not mix."""

import json

import pytest

from esms_async import (
    AccountRejected,
    Brandname,
    ConfigurationError,
    EsmsClient,
    FixedNumber,
    InvalidMessage,
    Message,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RetryPolicy,
    Route,
    ZaloTemplate,
)
from esms_async._model.routes import FIXED_NUMBER
from esms_async._send.outcome import SETTLING_CODES
from esms_async._wire.send import SendEncoder
from esms_async.emulator import Emulator
from esms_async.ledger import Ledger, MemoryLedger
from esms_async.ledger.transitions import fingerprint
from esms_async.testing import EmulatedClient, emulated_client
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK

PHONE = "0901888484"
TEXT = "686868 la ma xac minh dang ky Baotrixemay cua ban"
BRAND = Brandname("Baotrixemay")
ZALO = ZaloTemplate("4097311281936189049", "207487")
OTP = {"otp": "686868", "tên": 'An "x"'}


def requests_of(client: EmulatedClient) -> int:
    """Return how many requests the emulator saw."""
    return len(client.emulator.requests)


@pytest.mark.parametrize(
    ("route", "kind", "sender"),
    [(FixedNumber(), "fixed", None), (BRAND, "brandname", "Baotrixemay"), (ZALO, "zalo", None)],
)
@pytest.mark.parametrize("own", [True, False], ids=["of the message", "of the client"])
async def test_a_message_travels_by_its_route(
    route: Route, kind: str, sender: str | None, own: bool
) -> None:
    """The route decides operation and fields, whoever names it."""
    params = OTP if route is ZALO else None
    content = None if params else TEXT
    message = Message(PHONE, content, params=params, route=route if own else None)
    async with emulated_client(route=FIXED_NUMBER if own else route) as client:
        receipt = await client.send(message)
        (seen,) = client.emulator.messages
        assert seen.sms_id == receipt.sms_id
        assert seen.request_id == message.request_id
        assert seen.route == kind
        assert seen.sender == (sender or (ZALO.oa_id if params else None))
        assert dict(seen.params or {}) == (params or {})
        if params:
            assert seen.template == ZALO.template_id
        else:
            assert seen.content == TEXT
        assert await client.send(message) == receipt


async def test_a_view_has_another_default(request: pytest.FixtureRequest) -> None:
    """A message that names its own route keeps it in every view."""
    async with emulated_client() as client:
        view = client.with_options(route=BRAND)
        assert (client.route, view.route) == (FIXED_NUMBER, BRAND)
        assert view.with_options(callback_url=None).route == BRAND
        assert view.retry == client.retry == RetryPolicy()
        await view.send(Message(PHONE, TEXT))
        await view.send(Message(PHONE, TEXT, route=FixedNumber()))
        assert [seen.route for seen in client.emulator.messages] == ["brandname", "fixed"]


@pytest.mark.parametrize("with_ledger", [True, False])
async def test_the_same_id_by_another_default_is_a_conflict(with_ledger: bool) -> None:
    """Also where the very same Message object is sent, and while the first one is remembered."""
    ledger = MemoryLedger() if with_ledger else None
    message = Message(PHONE, TEXT)
    async with emulated_client(ledger=ledger) as client:
        receipt = await client.send(message)
        asked = requests_of(client)
        with pytest.raises(RequestIdConflict):
            await client.with_options(route=BRAND).send(message)
        same = Message(PHONE, TEXT, route=BRAND, request_id=message.request_id)
        with pytest.raises(RequestIdConflict):
            await client.send(same)
        assert requests_of(client) == asked
        explicit = Message(PHONE, TEXT, route=FixedNumber(), request_id=message.request_id)
        assert (await client.send(explicit)).sms_id == receipt.sms_id


async def test_the_ledger_alone_tells_another_default() -> None:
    """A second client has no memory of the first one's sends."""
    message = Message(PHONE, TEXT)
    async with Emulator() as emulator, MemoryLedger() as ledger:
        async with EmulatedClient(emulator, ledger=ledger) as client:
            await client.send(message)
        async with EmulatedClient(emulator, ledger=ledger, route=BRAND) as client:
            with pytest.raises(RequestIdConflict):
                await client.send(message)
        assert len(emulator.messages) == 1


async def test_another_zalo_param_is_another_message() -> None:
    """Params are part of what a RequestId stands for."""
    message = Message(PHONE, params=OTP, route=ZALO)
    async with emulated_client() as client:
        await client.send(message)
        other = Message(PHONE, params={"otp": "1"}, route=ZALO, request_id=message.request_id)
        with pytest.raises(RequestIdConflict):
            await client.send(other)


@pytest.mark.parametrize("ledger", [None, MemoryLedger()], ids=["no ledger", "ledger"])
@pytest.mark.parametrize(
    ("message", "route", "field"),
    [
        (Message(PHONE, params=OTP), FixedNumber(), "params"),
        (Message(PHONE, params=OTP), BRAND, "params"),
        (Message(PHONE, TEXT), ZALO, "content"),
    ],
)
async def test_what_the_default_route_does_not_take_leaves_nothing(
    message: Message, route: Route, field: str, ledger: Ledger | None
) -> None:
    """The check is made at the send, before the claim; the id stays free."""
    async with emulated_client(route=route, ledger=ledger) as client:
        with pytest.raises(InvalidMessage) as raised:
            await client.send(message)
        assert raised.value.field == field
        # Who resumes knows of an attempt, by whatever route it was made.
        with pytest.raises(OutcomeUnknown, match=field):
            await client.resume(message)
        assert requests_of(client) == 0
        fitting = ZALO if message.params else BRAND
        assert (await client.with_options(route=fitting).send(message)).sms_id


def test_fingerprints_tell_routes_and_keep_what_ledgers_hold() -> None:
    """The one of the fixed number stays as ledgers hold it; each route has its own."""
    key = b"k" * 32
    plain = Message(PHONE, TEXT, request_id="x")
    assert fingerprint(plain, key).hex() == "ff2e1080e005866f31981963228edcce4b3f6736"
    told = {
        fingerprint(plain, key),
        fingerprint(plain, key, BRAND),
        fingerprint(plain, key, Brandname("Other")),
        fingerprint(Message(PHONE, params=OTP), key, ZALO),
        fingerprint(Message(PHONE, params={"otp": "1"}), key, ZALO),
        fingerprint(Message(PHONE, params=OTP), key, ZaloTemplate("1", "2")),
        fingerprint(Message(PHONE, params=OTP), key, ZaloTemplate("1", "2", sending_mode="3")),
    }
    assert len(told) == 7
    own = Message(PHONE, TEXT, route=BRAND)
    assert fingerprint(own, key) == fingerprint(plain, key, BRAND)
    assert fingerprint(own, key, ZALO) == fingerprint(plain, key, BRAND)
    turned = Message(PHONE, params=dict(reversed(OTP.items())), route=ZALO)
    assert fingerprint(turned, key) == fingerprint(Message(PHONE, params=OTP, route=ZALO), key)


def test_the_environment_names_the_default() -> None:
    """What can't be used is named with its variable."""
    keys = {"ESMS_API_KEY": "k", "ESMS_SECRET_KEY": "s"}
    assert EsmsClient.from_env(keys).route == FIXED_NUMBER
    assert EsmsClient.from_env({**keys, "ESMS_ROUTE": "brandname:Baotrixemay"}).route == BRAND
    named = EsmsClient.from_env({**keys, "ESMS_ROUTE": "brandname:x"}, route=ZALO)
    assert named.route == ZALO
    for text in ("brand:x", "brandname:", "zalo:1"):
        with pytest.raises(ConfigurationError, match="ESMS_ROUTE"):
            EsmsClient.from_env({**keys, "ESMS_ROUTE": text})
    for value in ("fixed", Brandname, None):
        with pytest.raises(ConfigurationError, match="route"):
            EsmsClient(CREDENTIALS, route=value)  # type: ignore[arg-type]  # what an untyped caller may pass
    with pytest.raises(ConfigurationError, match="route"):
        EsmsClient(CREDENTIALS).with_options(route="fixed")  # type: ignore[arg-type]  # the same


@pytest.mark.parametrize("dumps", [None, json.dumps])
def test_the_fields_of_each_route(dumps: None) -> None:
    """Pages "Tin nhắn SMS OTP/CSKH" and "Tin nhắn Zalo"."""
    encode = SendEncoder(CREDENTIALS, sandbox=True, trackable=True, dumps=dumps)
    common = {
        "ApiKey": CREDENTIALS.api_key,
        "SecretKey": CREDENTIALS.secret_key,
        "Sandbox": "1",
        "Phone": PHONE,
        "RequestId": "x",
        "campaignid": "x",
    }
    text = {"Content": TEXT, "IsUnicode": "0"}
    brand = Message(PHONE, TEXT, route=Brandname('A "B"'), request_id="x")
    assert json.loads(encode(brand)) == {
        **common,
        **text,
        "SmsType": "2",
        "Brandname": 'A "B"',
    }
    zalo = Message(PHONE, params=OTP, route=ZALO, request_id="x")
    assert json.loads(encode(zalo)) == {
        **common,
        "OAID": ZALO.oa_id,
        "TempID": ZALO.template_id,
        "SendingMode": "1",
        "TempData": OTP,
    }
    fixed = Message(PHONE, TEXT, request_id="x")
    assert json.loads(encode(fixed)) == {**common, **text, "SmsType": "8"}


@pytest.mark.parametrize("own", [True, False], ids=["own route", "default"])
async def test_a_brandname_that_does_not_exist_stops_a_stream(own: bool) -> None:
    """Code 104 would meet every message of it: nothing more is pulled, and the reason is raised."""
    nobody = Brandname("Nobody")
    route = nobody if own else None
    messages = (Message(f"09011{number:05}", TEXT, route=route) for number in range(1000))
    async with emulated_client(route=BRAND if own else nobody) as client:
        outcomes = client.send_many(messages, concurrency=4)
        told = 0
        with pytest.raises(Rejected) as caught:
            async for _ in outcomes:
                told += 1
        assert caught.value.code == "104"
        assert not isinstance(caught.value, AccountRejected)
        assert caught.value.route == nobody
        assert caught.value.refuses_route
        assert 0 < told < 20
        assert requests_of(client) == told


async def test_a_text_without_a_template_stops_no_stream() -> None:
    """Code 146 is of one message; the next one may fit."""
    texts = ["no template", TEXT, "no template", TEXT]
    messages = [Message(f"09011{number:05}", text) for number, text in enumerate(texts)]
    async with (
        emulated_client(route=BRAND) as client,
        client.send_many(messages, ordered=True) as outcomes,
    ):
        told = [outcome.ok async for outcome in outcomes]
    assert told == [False, True, False, True]


@pytest.mark.parametrize("code", ["104", "146", "177", "99", "799", "132"])
async def test_a_refusal_after_a_lost_answer_proves_nothing(code: str) -> None:
    """The attempt before it may have been accepted, on every route."""
    for message in (
        Message(PHONE, TEXT, route=BRAND),
        Message(PHONE, TEXT, route=FixedNumber()),
        Message(PHONE, params=OTP, route=ZALO),
    ):
        async with emulated_client(retry=QUICK) as client:
            client.emulator.fault("reset@send,phase=after,times=1")
            client.emulator.fault(f"code:{code}@send")
            with pytest.raises(OutcomeUnknown) as caught:
                await client.send(message)
            assert caught.value.rejection is not None
            assert caught.value.rejection.code == code
            assert client.emulator.accepted(message.request_id) == 1


@pytest.mark.parametrize("code", sorted(SETTLING_CODES))
async def test_a_rejection_of_the_message_settles_on_every_route(code: str) -> None:
    """Every earlier attempt would have met it, too."""
    for message in (
        Message(PHONE, TEXT, route=BRAND),
        Message(PHONE, params=OTP, route=ZALO),
    ):
        async with emulated_client(retry=QUICK) as client:
            client.emulator.fault("reset@send,phase=before,times=1")
            client.emulator.fault(f"code:{code}@send")
            with pytest.raises(Rejected) as caught:
                await client.send(message)
            assert caught.value.code == code


@pytest.mark.parametrize("by_message", [True, False], ids=["by Message", "by the default"])
async def test_reconcile_finds_a_brandname_message(by_message: bool) -> None:
    """It reads the lists of the default route and of the routes that Messages name."""
    message = Message(PHONE, TEXT, route=BRAND)
    async with emulated_client(ledger=MemoryLedger(), trackable=True, retry=ONE_ATTEMPT) as client:
        client.emulator.fault("reset@send,phase=after,times=1")
        with pytest.raises(OutcomeUnknown):
            await client.send(message)
        assert not (await client.reconcile([message.request_id])).settled
        view = client if by_message else client.with_options(route=BRAND)
        found = await view.reconcile([message] if by_message else None)
        assert [one.request_id for one in found.settled] == [message.request_id]
        assert found.unknown == ()
        with pytest.raises(ConfigurationError, match="several sends"):
            await client.reconcile(message)  # type: ignore[arg-type]  # what an untyped caller may pass


async def test_the_log_names_the_route(caplog: pytest.LogCaptureFixture) -> None:
    """The default of the view that sent it, where the message names none."""
    with caplog.at_level("DEBUG", "esms_async"):
        async with emulated_client() as client:
            await client.with_options(route=BRAND).send(Message(PHONE, TEXT))
            await client.send(Message(PHONE, params=OTP, route=ZALO))
    routes = [record.esms_route for record in caplog.records if hasattr(record, "esms_route")]
    assert routes == [str(BRAND)] * 2 + [str(ZALO)] * 2
