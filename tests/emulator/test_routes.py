"""Brandname and Zalo messages, forms, templates and prices, as the pages document them."""

from typing import Any

import pytest

from esms_async import ConfigurationError
from esms_async.codes import RouteKind
from esms_async.emulator import AccountSetup, BrandnameSetup, Clock, Emulator
from esms_async.emulator.gateway import TEST_BRANDNAME
from tests.emulator.caller import KEYS, PHONE, Caller, send_fields

TEXT = "1234 la ma xac minh dang ky Baotrixemay cua ban"
BRANDNAME = {"SmsType": "2", "Brandname": "Baotrixemay", "Content": TEXT}
ZALO: dict[str, Any] = {
    **KEYS,
    "OAID": "4097311281936189049",
    "Phone": PHONE,
    "TempID": "358921",
    "TempData": {"otp": "482913", "name": "An"},
    "SendingMode": "1",
    "campaignid": "spring",
    "RequestId": "z-1",
}
ZALO_URL = "SendZaloMessage_V6/"


async def test_the_test_brandname_sends_its_template(emulator: Emulator, caller: Caller) -> None:
    """The default account has Baotrixemay with the documented text, and the same RequestId rule."""
    assert (await caller.send(RequestId="b-1", **BRANDNAME)).code == "100"
    duplicate = await caller.send(RequestId="b-1", **BRANDNAME)
    assert duplicate.code == "124"
    (message,) = emulator.messages
    assert (message.route, message.sender, message.otp) == (
        RouteKind.BRANDNAME,
        "Baotrixemay",
        "1234",
    )
    row = (await caller.request("GET", "../../_emulator/inbox")).json["rows"][0]
    assert (row["route"], row["sender"]) == ("brandname", "Baotrixemay")


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"Brandname": None}, "104", "Brand name code is not exist"),
        ({"Brandname": "baotrixemay"}, "104", "Brand name code is not exist"),
        ({"Content": "1234 la ma"}, "146", "Sai template Brandname CSKH"),
        ({"Content": f"{'1' * 21}{TEXT[4:]}"}, "146", "Sai template Brandname CSKH"),
        ({"Content": TEXT + "!"}, "146", "Sai template Brandname CSKH"),
        ({"Content": f"123456789{TEXT[4:]}"}, "146", "Sai template Brandname CSKH"),
        ({"Content": f"123-456{TEXT[4:]}"}, "146", "Sai template Brandname CSKH"),
        ({"Phone": "0900000177"}, "177", None),
    ],
)
async def test_a_brandname_send_that_does_not_fit_is_refused(
    emulator: Emulator, caller: Caller, changes: dict[str, Any], code: str, words: str | None
) -> None:
    """104 for the name, 146 with an SMSID for the text, 177 for the operator."""
    got = await caller.send(**{**BRANDNAME, **changes})
    assert got.code == code
    assert words in (None, got.json["ErrorMessage"])
    assert ("SMSID" in got.json) is (code == "146")
    assert emulator.messages == []


@pytest.mark.parametrize("template", ["{P1", "x}", "{P1,0} x", "{P1,99999999} x", "{code} x", ""])
def test_a_template_that_cannot_be_read_is_refused(template: str) -> None:
    """A text with it would fit nothing, or fail when a message comes."""
    with pytest.raises(ConfigurationError, match="a template must be a text with variables as"):
        BrandnameSetup("Shop", ("{P1,6} la ma", template))


async def test_a_brandname_of_ones_own() -> None:
    """Without templates any text fits; an operator that it is not registered with answers 177."""
    setup = AccountSetup(
        "default", None, brandnames=(TEST_BRANDNAME, BrandnameSetup("Shop", (), (1,)))
    )
    async with Emulator(accounts=[setup]) as emulator, Caller.to(emulator) as caller:
        fields = {"SmsType": "2", "Brandname": "Shop", "Content": "anything"}
        assert (await caller.send(Phone="0961888484", **fields)).code == "100"
        assert (await caller.send(Phone="0918238965", **fields)).code == "177"
        assert "not registered with Vinaphone" in (emulator.requests[-1].why or "")


async def test_brandnames_templates_and_prices_are_listed(caller: Caller) -> None:
    """Byte-shape for byte-shape as the samples show them, odd spellings included."""
    got = await caller.request("GET", "GetListBrandname/any-key/any-secret")
    assert got.text == (
        '{"CodeResponse":"100","ListBrandName":[{"Brandname":"Baotrixemay","Type":2}]}'
    )
    got = await caller.post("GetTemplate/", SmsType="2", Brandname="Baotrixemay")
    assert got.json["BrandnameTemplates"][0] == {
        "NetworkID": 1,
        "TempContent": "{P1,20} la ma xac minh dang ky Baotrixemay cua ban",
        "TempId": 458,
    }
    assert list(got.json) == ["BrandnameTemplates", "CodeResult", "ErrorMessage"]
    got = await caller.get(
        "SummaryMultipleMessage_V4_get",
        Phone=PHONE,
        Content=TEXT,
        SmsType="2",
        BrandName="Baotrixemay",
    )
    assert got.text == (
        '{"CodeResult":"100","ErrorMessage":"success","TotalPrice":850,"TotalReceiver":1}'
    )


async def test_a_key_in_the_path_is_shown_nowhere(emulator: Emulator, caller: Caller) -> None:
    """GetListBrandname carries both keys in its path; its spelling mistakes do too."""
    await caller.request("GET", "GetListBrandname/S3CRET-KEY/S3CRET-TOO")
    await caller.request("GET", "GetListBrandnames/S3CRET-KEY/S3CRET-TOO")
    shown = (await caller.request("GET", "../../_emulator/requests")).text
    shown += (await caller.request("GET", "../../_emulator/inbox")).text
    shown += repr(emulator.requests) + repr(emulator.not_taken) + emulator.story()
    assert "S3CRET" not in shown


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"SmsType": None}, "300"),
        ({"SmsType": "1"}, "118"),
        ({"Phone": "1"}, "108"),
        ({"BrandName": "Nobody"}, "104"),
        ({"ApiKey": ""}, "101"),
    ],
)
async def test_a_price_that_cannot_be_told_has_a_code(
    caller: Caller, fields: dict[str, Any], code: str
) -> None:
    """The same codes as for a send."""
    query = {**KEYS, "Phone": PHONE, "Content": "x", "SmsType": "2", "BrandName": "Baotrixemay"}
    wanted = {name: value for name, value in {**query, **fields}.items() if value is not None}
    got = await caller.request("GET", "SummaryMultipleMessage_V4_get", params=wanted)
    assert got.code == code


async def test_wrong_keys_and_names_of_the_lists() -> None:
    """101 in `CodeResult`, though the list itself has `CodeResponse`; 104 for the template."""
    account = AccountSetup("default", None)
    async with Emulator(accounts=[account]) as emulator, Caller.to(emulator) as caller:
        got = await caller.post("GetTemplate/", SmsType="2", Brandname="Nobody")
        assert got.code == "104"
        emulator.account = "locked"  # type: ignore[assignment]  # a word is taken too
        got = await caller.request("GET", "GetListBrandname/a/b")
        assert got.json["CodeResult"] == "143"
        assert (await caller.post("GetTemplate/")).code == "143"


async def test_a_form_is_taken_as_json_is(emulator: Emulator, caller: Caller) -> None:
    """The X-Form variant, for customers who can't send JSON."""
    fields = send_fields(RequestId="f-1", Content="Mã xác minh & 686868 + 1", IsUnicode="1")
    for code in ("100", "124"):
        got = await caller.request("POST", "SendMultipleMessage_V4_post/", data=fields)
        assert got.code == code
    assert emulator.messages[0].content == "Mã xác minh & 686868 + 1"


async def test_a_zalo_message_has_parameters(emulator: Emulator, caller: Caller) -> None:
    """It is accepted like an SMS, with its RequestId, its price, its code and its parameters."""
    got = await caller.request("POST", ZALO_URL, json=ZALO)
    assert (got.code, len(got.json["SMSID"])) == ("100", 32)
    assert (await caller.request("POST", ZALO_URL, json=ZALO)).code == "124"
    (message,) = emulator.messages
    assert (message.route, message.sender, message.template) == (
        RouteKind.ZALO,
        ZALO["OAID"],
        "358921",
    )
    assert (message.params, message.otp, message.price) == (
        {"otp": "482913", "name": "An"},
        "482913",
        300,
    )
    path = f"../../_emulator/messages/{message.sms_id}"
    view = (await caller.request("GET", path)).json
    assert (view["sender"], view["oa"], view["params"]["name"]) == ("Zalo", ZALO["OAID"], "An")
    assert (await caller.get("GetSendStatus", RefId=message.sms_id)).code == "100"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"OAID": ""}, "791"),
        ({"TempID": None}, "791"),
        ({"OAID": "1"}, "204"),
        ({"TempID": "1"}, "789"),
        ({"TempData": None}, "790"),
        ({"Phone": "1"}, "108"),
        ({"ApiKey": ""}, "101"),
    ],
)
async def test_a_zalo_message_that_does_not_fit_is_refused(
    changes: dict[str, Any], code: str
) -> None:
    """Each with the code of the table."""
    setup = AccountSetup("default", zalo={ZALO["OAID"]: (ZALO["TempID"],)})
    async with Emulator(accounts=[setup]) as emulator, Caller.to(emulator) as caller:
        fields = {name: value for name, value in {**ZALO, **changes}.items() if value is not None}
        assert (await caller.request("POST", ZALO_URL, json=fields)).code == code
        assert (await caller.request("POST", ZALO_URL, json=ZALO)).code == "100"
        assert len(emulator.messages) == 1


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        ([{"key": "otp", "value": "1"}, {"Key": "n", "Value": 2}], True),
        ({"otp": 1, "new": True}, True),
        ([{"key": "otp"}], False),
        (["otp"], False),
        ({"otp": {"a": 1}}, False),
        ({}, False),
        ([], False),
    ],
)
async def test_both_forms_of_the_parameters_are_read(
    emulator: Emulator, caller: Caller, data: Any, *, taken: bool
) -> None:
    """An object, or the older list of pairs; anything else is not taken."""
    got = await caller.request("POST", ZALO_URL, json={**ZALO, "TempData": data})
    assert (got.status == 200) is taken
    assert len(emulator.messages) == taken


async def test_a_zalo_report_has_its_own_parameters(emulator: Emulator, caller: Caller) -> None:
    """TypeId 25, oaid and tempid; error_info for one that failed."""
    from esms_async.emulator import wire  # noqa: PLC0415  # for this test alone
    from esms_async.emulator.records import finished  # noqa: PLC0415  # the same

    await caller.request("POST", ZALO_URL, json=ZALO)
    message = emulator.messages[0]
    report = wire.report(message, finished(message))
    assert (report["TypeId"], report["oaid"], report["tempid"]) == ("25", ZALO["OAID"], "358921")
    assert report["error_info"] == ""
    failed = emulator.finish(message.sms_id, delivered=False)
    assert wire.report(failed, finished(failed))["error_info"].startswith("%7B%22error%22%3A-114")


async def test_the_state_of_a_zalo_message() -> None:
    """0 while it is on its way, 1 with the time when it is there, -1 for one that is not known."""
    clock = Clock(running=False)
    async with Emulator(clock=clock) as emulator, Caller.to(emulator) as caller:

        async def ask(message_id: str) -> Any:
            got = await caller.post("GetZaloMessageStatus", OAID=ZALO["OAID"], MessageId=message_id)
            assert (got.code, got.json["ErrorMessage"]) == ("100", "success. ")
            return got.json["Data"]

        sms_id = (await caller.request("POST", ZALO_URL, json=ZALO)).json["SMSID"]
        waiting = await ask(sms_id)
        assert (waiting["status"], waiting["delivery_time"]) == (0, "")
        clock.advance(60)
        end = emulator.messages[0].delivery.finished_at or 0
        assert await ask(sms_id) == {
            "delivery_time": f"{end * 1000:.0f}",
            "message": "The message was delivered to the user's phone",
            "status": 1,
        }
        emulator.finish(sms_id, delivered=False)
        assert (await ask(sms_id))["status"] == 0
        assert (await ask("another"))["message"] == "The message does not exist"
        sms = (await caller.send()).json["SMSID"]
        assert (await ask(sms))["status"] == -1


async def test_a_wrong_question_for_the_state_of_a_zalo_message() -> None:
    """What is missing or not known has a code of its own, and so has the 31st in one second."""
    account = AccountSetup(zalo={ZALO["OAID"]: ("358921",)})
    clock = Clock(running=False)
    async with (
        Emulator(clock=clock, accounts=[account]) as emulator,
        Caller.to(emulator) as caller,
    ):
        asked = [
            ("791", {"MessageId": "1"}),
            ("204", {"OAID": "1", "MessageId": "1"}),
            ("851", {"OAID": ZALO["OAID"]}),
            ("101", {"ApiKey": None}),
        ]
        for code, fields in asked:
            got = await caller.post("GetZaloMessageStatus", **fields)
            assert got.code == code
        for _ in range(27):
            got = await caller.post("GetZaloMessageStatus", OAID=ZALO["OAID"], MessageId="1")
            assert got.code == "100"
        assert (await caller.post("GetZaloMessageStatus", OAID="1", MessageId="1")).code == "160"
        clock.advance(1)
        assert (await caller.post("GetZaloMessageStatus", OAID="1", MessageId="1")).code == "204"


async def test_the_sent_data_are_listed_by_type(emulator: Emulator, caller: Caller) -> None:
    """SmsType 8 lists the fixed number, 2 the brandname; without it both are there."""
    await caller.send()
    await caller.send(**BRANDNAME)
    period = {"From": "2000-01-01 00:00:00", "To": "2100-01-01 00:00:00"}
    found = {}
    for kind in ("8", "2", ""):
        got = await caller.post("GetSmsSentData_V2", SmsType=kind, **period)
        found[kind] = [row["SmsType"] for row in got.json["SentData"]]
    assert found == {"8": [8], "2": [2], "": [8, 2]}
    assert len(emulator.messages) == 2


async def test_faults_strike_every_route(emulator: Emulator, caller: Caller) -> None:
    """`@send` is a send, however it travels."""
    armed = emulator.fault("code:103@send")
    assert (await caller.request("POST", ZALO_URL, json=ZALO)).code == "103"
    assert (await caller.send(**BRANDNAME)).code == "103"
    form = await caller.request("POST", "SendMultipleMessage_V4_post", data=send_fields())
    assert form.code == "103"
    assert armed.used == 3
    emulator.fault("invalid@templates")
    assert (await caller.post("GetTemplate")).json == {"error": "Invalid request"}


async def test_diacritics_without_unicode_are_marked(emulator: Emulator, caller: Caller) -> None:
    """Page and API say that the text may arrive without them, or not at all."""
    await caller.send(Content="Mã xác minh: 686868", IsUnicode="0")
    await caller.send(Content="Mã xác minh: 686868", IsUnicode="1")
    with_it, without = (await caller.request("GET", "../../_emulator/inbox")).json["rows"]
    assert (with_it["warning"], with_it["marks"]) == (None, [])
    assert "may arrive without them, or not at all" in without["warning"]
    assert without["marks"] == ["unicode"]
    listed = (await caller.request("GET", "../../_emulator/messages")).json["messages"]
    assert [each["warning"] is None for each in listed] == [True, False]
    assert len(emulator.messages) == 2
