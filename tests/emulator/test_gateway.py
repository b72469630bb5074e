"""The gateway as a state machine: what is accepted, what is not, and why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from esms_async import Credentials
from esms_async.emulator import AccountSetup, AccountState, Check, Clock, DeliveryFault, Settings
from esms_async.emulator.gateway import Gateway
from esms_async.emulator.records import EmulatedAnswer, Fields
from tests.emulator.caller import CONTENT, PHONE, send_fields

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 24 * 3600


class Bench:
    """A gateway with a clock that stands still."""

    def __init__(
        self, *, balance: int = 1_000_000, credentials: Credentials | None = None, **settings: Any
    ) -> None:
        self.clock = Clock(START, running=False)
        account = AccountSetup("default", credentials, balance)
        self.gateway = Gateway(Settings(**settings), self.clock.time, accounts=[account])

    def send(self, **changes: Any) -> EmulatedAnswer:
        """Send, with some fields changed; None leaves one out."""
        return self.gateway.send(Fields(send_fields(**changes)))

    def code(self, **changes: Any) -> str | None:
        """Send, and return the code."""
        return self.send(**changes).code


def test_a_good_send_is_accepted_and_kept() -> None:
    """Code 100, an SMSID, a message with all that was sent, and the price off the balance."""
    bench = Bench(balance=2000)
    answer = bench.send(
        RequestId="r-1", campaignid="spring", IsUnicode="1", CallbackUrl="http://127.0.0.1/r"
    )
    assert answer.code == "100"
    (message,) = bench.gateway.messages
    assert message == answer.message
    assert attrs.asdict(message, filter=lambda field, _: field.name != "delivery") == {
        "number": 1,
        "at": START,
        "phone": PHONE,
        "content": CONTENT,
        "request_id": "r-1",
        "sms_id": answer.sms_id,
        "unicode": True,
        "campaign_id": "spring",
        "callback_url": "http://127.0.0.1/r",
        "send_at": None,
        "price": 850,
        "account": "default",
        "route": "fixed",
        "sender": None,
        "template": None,
        "params": None,
        "request": 0,
    }
    assert bench.gateway.first.balance == 1150
    assert bench.gateway.accepted("r-1") == 1


def test_what_is_optional_may_be_left_out() -> None:
    """A send without RequestId and the like is accepted, and is not a duplicate of another one."""
    bench = Bench()
    assert [bench.code(), bench.code()] == ["100", "100"]
    message = bench.gateway.messages[0]
    assert (message.request_id, message.campaign_id, message.unicode) == (None, None, False)


@pytest.mark.parametrize("name", ["IsUnicode", "Unicode"])
def test_unicode_is_read_by_either_name(name: str) -> None:
    """The tables say `Unicode`, the samples `IsUnicode`."""
    bench = Bench()
    bench.send(**{name: "1"})
    assert bench.gateway.messages[0].unicode is True


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ApiKey": None}, "101"),
        ({"SecretKey": ""}, "101"),
        ({"SmsType": None}, "300"),
        ({"SmsType": "1"}, "118"),
        ({"SmsType": "2"}, "104"),
        ({"SmsType": "2", "Brandname": "Nobody"}, "104"),
        ({"SmsType": "2", "Brandname": "Baotrixemay"}, "146"),
        ({"Phone": None}, "108"),
        ({"Phone": "090188848"}, "108"),
        ({"Phone": "0901888484,0901888485"}, "163"),
        ({"Phone": "0901888484;0901888485"}, "163"),
        ({"Phone": "0900000099"}, "99"),
        ({"Phone": "0900000103"}, "103"),
        ({"Phone": "84900000201"}, "201"),
        ({"Content": "buy BLOCKED now"}, "201"),
        ({"Content": None}, None),
        ({"Content": " \n"}, None),
        ({"RequestId": "r" * 51}, None),
        ({"campaignid": "c" * 255}, None),
        ({"CallbackUrl": "ftp://127.0.0.1/"}, None),
        ({"SendDate": "2026-03-01T12:00:00"}, None),
        ({"SendDate": "tomorrow"}, None),
        ({"SendDate": "0001-01-01 00:00:00"}, None),
    ],
)
def test_a_send_that_cannot_be_is_refused_and_leaves_no_trace(
    changes: dict[str, Any], code: str | None
) -> None:
    """Each refusal has its code, or is the answer without one; nothing is stored or charged."""
    bench = Bench(blocked_words=("blocked",))
    request_id = changes.get("RequestId", "r-1")
    answer = bench.send(**{"RequestId": request_id, **changes})
    assert answer.code == code
    if code is None:
        assert answer.body == '{"error":"Invalid request"}'
    assert answer.message is None
    assert bench.gateway.messages == []
    assert bench.gateway.first.balance == 1_000_000
    assert bench.gateway.accepted(request_id) == 0
    assert bench.code(RequestId="r-1") == "100"


@pytest.mark.parametrize("phone", ["84901888484", "+84 901 888 484", "0901.888.484"])
def test_the_forms_of_a_phone_are_kept_as_one(phone: str) -> None:
    """A phone is kept as `0XXXXXXXXX`, however it was written."""
    bench = Bench()
    bench.send(Phone=phone)
    assert bench.gateway.messages[0].phone == PHONE


def test_only_the_accounts_own_keys_open_it() -> None:
    """With credentials set, any other pair of keys meets 101."""
    bench = Bench(credentials=Credentials("key", "secret"))
    assert bench.code(ApiKey="key", SecretKey="secret") == "100"
    assert bench.code(ApiKey="key", SecretKey="other") == "101"
    assert bench.code(ApiKey="Key", SecretKey="secret") == "101"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (AccountState.LOCKED, "143"),
        (AccountState.IP_NOT_LISTED, "140"),
        (AccountState.NO_PRICE_LIST, "102"),
    ],
)
def test_the_state_of_the_account_stops_sends_until_it_is_mended(
    state: AccountState, code: str
) -> None:
    """An account that is not active meets its code; once it is, the same send goes through."""
    bench = Bench()
    bench.gateway.first.state = state
    assert bench.code(RequestId="r-1") == code
    bench.gateway.first.state = AccountState.ACTIVE
    assert bench.code(RequestId="r-1") == "100"


def test_the_balance_goes_down_to_nothing_and_no_further() -> None:
    """The last message that the balance covers is accepted, the next one meets 103."""
    bench = Bench(balance=1700)
    assert [bench.code() for _ in range(3)] == ["100", "100", "103"]
    assert bench.gateway.first.balance == 0


def test_a_request_id_blocks_for_24_hours_from_its_acceptance() -> None:
    """The same RequestId meets 124 until 24 hours have gone, whatever else the send says."""
    bench = Bench()
    assert bench.code(RequestId="r-1") == "100"
    bench.clock.advance(DAY - 1)
    assert bench.code(RequestId="r-1", Phone="0901888485", Content="another") == "124"
    bench.clock.advance(1)
    assert bench.code(RequestId="r-1") == "100"
    assert bench.gateway.accepted("r-1") == 2
    bench.clock.advance(DAY - 1)
    assert bench.code(RequestId="r-1") == "124"


def test_a_duplicate_does_not_prolong_the_block() -> None:
    """The 24 hours count from the acceptance, not from the last duplicate."""
    bench = Bench()
    bench.send(RequestId="r-1")
    bench.clock.advance(DAY / 2)
    bench.send(RequestId="r-1")
    bench.clock.advance(DAY / 2)
    assert bench.code(RequestId="r-1") == "100"


def test_a_duplicate_is_not_charged_and_not_kept() -> None:
    """The answer 124 changes neither balance nor messages, and names no SMSID."""
    bench = Bench()
    bench.send(RequestId="r-1")
    before = bench.gateway.first.balance, bench.gateway.messages
    answer = bench.send(RequestId="r-1")
    assert answer.sms_id is None
    assert (bench.gateway.first.balance, bench.gateway.messages) == before


def test_request_ids_differ_by_case() -> None:
    """Two RequestIds that differ in case alone are two."""
    bench = Bench()
    assert [bench.code(RequestId="r-a"), bench.code(RequestId="R-A")] == ["100", "100"]


def test_the_checks_come_in_their_order() -> None:
    """A send that fails every check meets the code of the first, then of the next, and so on."""
    bench = Bench(balance=850, blocked_words=("bad",))
    bench.send(RequestId="r-1")
    bench.gateway.first.state = AccountState.LOCKED
    wrong = {"ApiKey": "", "SmsType": "1", "Phone": "1", "Content": "bad", "RequestId": "r-1"}
    codes = [bench.code(**wrong)]
    codes.append(bench.code(**wrong | {"ApiKey": "k"}))
    bench.gateway.first.state = AccountState.ACTIVE
    for name in ("ApiKey", "SmsType", "Phone", "Content", "RequestId"):
        del wrong[name]
        codes.append(bench.code(**wrong))
    assert codes == ["101", "143", "118", "108", "201", "124", "103"]


def test_the_order_of_the_checks_can_be_set() -> None:
    """With the balance checked first, an empty one hides a duplicate."""
    first = (Check.BALANCE, *(check for check in Check if check is not Check.BALANCE))
    bench = Bench(balance=850, checks=first)
    bench.send(RequestId="r-1")
    assert bench.code(RequestId="r-1") == "103"


def test_a_rejection_can_be_set_to_use_up_its_request_id() -> None:
    """Then the same RequestId meets 124 after a rejection, but not after wrong keys."""
    bench = Bench(rejection_uses_request_id=True)
    assert bench.code(RequestId="r-1", ApiKey="") == "101"
    assert bench.code(RequestId="r-1", Content=None) is None
    assert bench.code(RequestId="r-1", Phone="1") == "108"
    bench.clock.advance(DAY - 1)
    assert bench.code(RequestId="r-1") == "124"
    assert bench.code(RequestId="r-1", Phone="1") == "108"
    assert bench.gateway.accepted("r-1") == 0
    bench.clock.advance(1)
    assert bench.code(RequestId="r-1") == "100"


def test_the_sandbox_checks_and_forgets() -> None:
    """A sandbox send is answered with an SMSID; it is not kept, charged or remembered."""
    bench = Bench(balance=0)
    answers = [bench.send(RequestId="r-1", Sandbox="1") for _ in range(2)]
    assert [answer.code for answer in answers] == ["100", "100"]
    assert answers[0].sms_id
    assert bench.gateway.messages == []
    assert bench.gateway.accepted("r-1") == 0
    assert bench.code(RequestId="r-1", Sandbox="1", Phone="1") == "108"


def test_the_sandbox_can_be_set_to_remember_and_to_need_a_balance() -> None:
    """Both are assumptions, and each can be turned round."""
    remembering = Bench(sandbox_remembers_request_ids=True)
    codes = [remembering.code(RequestId="r-1", Sandbox="1") for _ in range(2)]
    assert codes == ["100", "124"]
    assert remembering.gateway.accepted("r-1") == 0
    assert [remembering.code(Sandbox="1") for _ in range(2)] == ["100", "100"]
    assert Bench(balance=0, sandbox_needs_balance=True).code(Sandbox="1") == "103"


def test_the_answer_124_can_be_set_to_tell_the_send_status() -> None:
    """Then 124 carries the SendStatus of the message, as long as it is known and kept."""
    bench = Bench(duplicate_tells_status=True, max_messages=1, report_delay=10)
    bench.send(RequestId="r-1")
    assert '"SendStatus":"2"' in bench.send(RequestId="r-1").body
    bench.clock.advance(10)
    assert '"SendStatus":"5"' in bench.send(RequestId="r-1").body
    bench.send(RequestId="r-2")
    assert "SendStatus" not in bench.send(RequestId="r-1").body


def test_a_request_id_without_a_message_has_no_status_to_tell() -> None:
    """A RequestId that a rejection used up is a duplicate without a SendStatus."""
    bench = Bench(duplicate_tells_status=True, rejection_uses_request_id=True)
    bench.send(RequestId="r-1", Phone="1")
    answer = bench.send(RequestId="r-1")
    assert (answer.code, "SendStatus" in answer.body) == ("124", False)


def test_a_rate_limit_can_be_set() -> None:
    """Above the limit a send is refused with HTTP 429, until the next second."""
    bench = Bench(sends_per_second=2)
    answers = [bench.send(RequestId=f"r-{number}") for number in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].retry_after == 1
    assert bench.gateway.accepted("r-2") == 0
    bench.clock.advance(1)
    assert bench.code(RequestId="r-2") == "100"


def test_a_rejection_146_carries_an_sms_id_and_no_other_does() -> None:
    """An SMSID in an answer is no sign of acceptance."""
    bench = Bench()
    assert '"SMSID":"' in bench.send(Phone="0900000146").body
    assert "SMSID" not in bench.send(Phone="0900000103").body


def test_messages_make_room_and_their_request_ids_stay() -> None:
    """The ring keeps the newest messages; a RequestId blocks for 24 hours all the same."""
    bench = Bench(max_messages=2)
    for number in range(5):
        bench.send(RequestId=f"r-{number}")
    assert [message.request_id for message in bench.gateway.messages] == ["r-3", "r-4"]
    assert (bench.gateway.pruned, bench.gateway.count) == (3, 5)
    assert bench.code(RequestId="r-0") == "124"
    assert bench.gateway.accepted("r-0") == 1


def test_request_ids_that_block_no_more_make_room_in_the_end() -> None:
    """Once 24 hours have gone, and there are more than messages are kept, they are forgotten."""
    bench = Bench(max_messages=2)
    for number in range(4):
        bench.send(RequestId=f"r-{number}")
    bench.clock.advance(DAY)
    bench.send(RequestId="r-4")
    bench.send(RequestId="r-5")
    known = [bench.gateway.accepted(f"r-{number}") for number in range(6)]
    assert known == [0, 0, 1, 1, 1, 1]


def test_a_send_date_is_vietnam_time() -> None:
    """SendDate is read in UTC+7, and puts the delivery off until then."""
    bench = Bench(report_delay=10)
    message = bench.send(SendDate="2026-03-01 20:00:00").message
    assert message is not None
    assert message.send_at == START + timedelta(hours=1)
    assert message.delivery.finished_at == (START + timedelta(hours=1, seconds=10)).timestamp()


def test_sms_ids_are_unique_over_emulators_and_resets() -> None:
    """An application with a UNIQUE column for SMSIDs meets none twice."""
    first, second = Bench(), Bench()
    ids = [first.send().sms_id, second.send().sms_id]
    first.gateway.reset()
    ids.append(first.send().sms_id)
    assert len(set(ids)) == 3


def test_reset_forgets_messages_and_request_ids() -> None:
    """After a reset the same RequestId is accepted again; the numbers go on."""
    bench = Bench(max_messages=1)
    bench.send(RequestId="r-1")
    bench.send(RequestId="r-2")
    bench.gateway.reset()
    assert (bench.gateway.messages, bench.gateway.pruned) == ([], 0)
    assert bench.gateway.accepted("r-1") == 0
    message = bench.send(RequestId="r-1").message
    assert message is not None
    assert message.number == 3


def test_a_delivery_is_finished_by_hand() -> None:
    """A message whose result would never be known gets one, or another one than planned."""
    bench = Bench()
    message = bench.send().message
    assert message is not None
    bench.gateway.change_delivery(message, DeliveryFault.NEVER, None)
    bench.clock.advance(5)
    failed = bench.gateway.finish(message.sms_id, delivered=False)
    assert failed is not None
    assert (failed.delivery.delivered, failed.delivery.finished_at) == (False, bench.clock.time())
    assert bench.gateway.messages == [failed]
    assert bench.gateway.finish("unknown", delivered=True) is None
