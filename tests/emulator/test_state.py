"""State that can be set and kept: settings, balance, accounts, clock, the database."""

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from esms_async import ConfigurationError, Credentials
from esms_async.emulator import (
    AccountSetup,
    AccountState,
    BrandnameSetup,
    Clock,
    Emulator,
    Settings,
    parse_settings,
)
from esms_async.emulator.settings import SETTINGS
from tests.cli.support import environment
from tests.emulator.caller import CONTENT, GET_SEND, PHONE, POST_SEND, Caller, send_fields

STATE = "../../_emulator/state"


@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ("report_delay=500ms", "report_delay", 0.5),
        ("dedup_window=1h", "dedup_window", 3600.0),
        ("price=0", "price", 0),
        ("invalid_status=400", "invalid_status", 400),
        ("sends_per_second=none", "sends_per_second", None),
        ("sends_per_second=5", "sends_per_second", 5),
        ("refuses_duplicates=off", "refuses_duplicates", False),
        ("sandbox_needs_balance=TRUE", "sandbox_needs_balance", True),
        ("blocked_words=a, b", "blocked_words", ("a", "b")),
        ("checks=type,keys,account,phone,content,request_id,balance", "checks", None),
        (r"otp_pattern=code=(\d+)", "otp_pattern", r"code=(\d+)"),
        ("max_messages=7", "max_messages", 7),
    ],
)
def test_every_type_of_setting_is_written_as_text(written: str, name: str, value: Any) -> None:
    """`--set name=value` reads it; what it is not given stays as it was."""
    settings = parse_settings([written], Settings(status_lag=3))
    if value is not None or name == "sends_per_second":
        assert getattr(settings, name) == value
    assert settings.status_lag == 3


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("nonsense=1", "there is no setting 'nonsense'; there are checks, dedup_window"),
        ("report_delay", "--set takes NAME=VALUE, not 'report_delay'"),
        ("price=-1", "price must be a whole number, from 0 to 1000000000000, not '-1'"),
        ("report_delay=soon", "report_delay must be seconds, from 0 to 1000000000000, not 'soon'"),
        ("report_timeout=0", "report_timeout must be seconds, more than 0 and at most 10000"),
        ("refuses_duplicates=perhaps", "refuses_duplicates must be true or false"),
        ("sends_per_second=0", "sends_per_second must be a whole number, from 1 to 10000"),
        ("invalid_status=500", "invalid_status must be 200 or 400"),
        ("checks=keys", "checks must be a list that must name each of these once"),
        ("otp_pattern=(", "pattern must be a regular expression"),
        (f"otp_pattern={'x' * 201}", "at most 200 characters"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(written: str, words: str) -> None:
    """The error names the setting, what fits, and what was written."""
    with pytest.raises(ConfigurationError) as caught:
        parse_settings([written])
    assert words in str(caught.value)


async def test_state_is_changed_over_http(emulator: Emulator, caller: Caller) -> None:
    """Balance, account, clock and settings, each of which the next send meets."""
    got = await caller.request(
        "PATCH",
        STATE,
        json={
            "balance": 850.0,
            "account": "active",
            "clock": {"shift": 3600},
            "settings": {"price": 850, "report_delay": 0, "otp_pattern": "ma (x+)"},
        },
    )
    assert got.status == 200
    assert (got.json["balance"], got.json["clock"]["shift"]) == (850, 3600)
    assert got.json["settings"]["report_delay"] == 0
    assert (await caller.send(Content="686868 ma xxx")).code == "100"
    assert (await caller.send()).code == "103"
    latest = await caller.request("GET", "../../_emulator/codes/latest")
    assert latest.json["code"] == "xxx"
    await caller.request("PATCH", STATE, json={"account": "locked", "price": 0})
    assert (await caller.send()).code == "143"
    assert emulator.account is AccountState.LOCKED
    emulator.reset()
    assert (emulator.clock.shift, emulator.settings, emulator.account) == (
        0,
        Settings(),
        AccountState.ACTIVE,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"balance": -1}, "balance must be a whole number of dong"),
        ({"balance": 10**30}, "balance must be a whole number of dong, from 0 to 1000000000000000"),
        ({"balance": True}, "balance must be"),
        ({"balance": 8.5}, "balance must be"),
        ({"account": "gone"}, "account must be one of active, locked"),
        ({"account": 7}, "not '7'"),
        ({"clock": {"shift": -1}}, "clock.shift must be 0 or more, not -1"),
        ({"clock": {"shift": "1h"}}, "clock must be such as"),
        ({"clock": 7}, "clock must be an object"),
        ({"clock": {"shift": 1, "x": 2}}, "clock must be such as"),
        ({"settings": {"nope": 1}}, "there is no setting 'nope'"),
        ({"settings": {"price": "850"}}, "price must be a whole number, from 0 to 10"),
        ({"settings": {"checks": ["keys"]}}, "checks must be a list"),
        ({"settings": {"checks": 7}}, "checks must be a list"),
        ({"settings": {"blocked_words": [""]}}, "blocked_words must be a list of words"),
        ({"settings": {"otp_pattern": "("}}, "pattern must be a regular expression"),
        ({"settings": {"max_messages": 1}}, "max_messages is fixed when the emulator starts"),
        ({"settings": []}, "settings must be an object"),
        ({"blance": 1}, "there is no 'blance'; there are balance, account, clock, settings, acc"),
        ({"accounts": {"nope": {}}}, "there is no account 'nope'; there are default"),
        ({"accounts": {"default": {"x": 1}}}, "an account has balance and state, and no 'x'"),
        ({"accounts": {"default": {"balance": "x"}}}, "balance must be"),
        ({"accounts": {"default": 7}}, "accounts.default must be an object"),
    ],
)
async def test_a_bad_value_changes_nothing_and_is_named(
    emulator: Emulator, caller: Caller, change: dict[str, Any], words: str
) -> None:
    """400 with the name; what stood beside it is not changed either."""
    got = await caller.request("PATCH", STATE, json={"balance": 5, **change})
    assert got.status == 400
    assert words in got.json["error"]
    assert emulator.balance == 1_000_000_000
    assert emulator.clock.shift == 0


def test_every_setting_is_described() -> None:
    """Each has a type, a schema whose default fits, and a sentence."""
    for name, setting in SETTINGS.items():
        assert setting.type.fits(setting.default), name
        assert setting.words.endswith("."), name
        assert json.dumps(setting.schema)


async def test_several_accounts_are_told_apart() -> None:
    """Each has its keys, balance, state, RequestIds, messages and brandnames."""
    shop = AccountSetup(
        "shop", Credentials("shop-key", "shop-secret"), 850, (BrandnameSetup("Shop"),)
    )
    async with Emulator(accounts=[shop]) as emulator, Caller.to(emulator) as caller:
        keys = {"ApiKey": "shop-key", "SecretKey": "shop-secret"}
        assert (await caller.send(RequestId="r-1")).code == "100"
        assert (await caller.send(RequestId="r-1", **keys)).code == "100"
        assert (await caller.send(RequestId="r-1", **keys)).code == "124"
        assert (await caller.send(**keys)).code == "103"
        assert (await caller.send(ApiKey="shop-key", SecretKey="wrong")).code == "101"
        assert [message.account for message in emulator.messages] == ["default", "shop"]
        assert emulator.accepted("r-1") == 2
        emulator.assert_never_twice()
        balance = await caller.request("POST", "GetBalance_json", json=keys)
        assert balance.json["Balance"] == 0
        sms_id = emulator.messages[0].sms_id
        params = {**keys, "RefId": sms_id}
        assert (await caller.request("GET", "GetSendStatus", params=params)).code == "105"
        named = await caller.request("GET", "GetListBrandname/shop-key/shop-secret")
        assert named.json["ListBrandName"] == [{"Brandname": "Shop", "Type": 2}]
        change = {"accounts": {"shop": {"balance": 9000, "state": "locked"}}}
        state = (await caller.request("PATCH", STATE, json=change)).json
        assert [(each["name"], each["code"]) for each in state["accounts"]] == [
            ("default", None),
            ("shop", "143"),
        ]
        assert state["accounts"][1]["api_key"] == "sh…"
        assert (await caller.send(**keys)).code == "143"
        assert (await caller.send()).code == "100"
        rows = (await caller.request("GET", "../../_emulator/inbox?account=shop")).json["rows"]
        assert {row["account"] for row in rows} == {"shop"}


async def test_messages_are_picked_by_their_account() -> None:
    """Two accounts send to one phone, and a test reads what its own has sent."""
    shop = AccountSetup("shop", Credentials("shop-key", "shop-secret"))
    keys = {"ApiKey": "shop-key", "SecretKey": "shop-secret"}
    async with Emulator(accounts=[shop]) as emulator, Caller.to(emulator) as caller:
        await caller.send(Content="111111 la ma", **keys)
        await caller.send(Content="222222 la ma")
        await caller.send(Content="Xin chao", **keys)
        await caller.request("GET", "Nothing")

        async def ask(path: str) -> Any:
            return (await caller.request("GET", f"../../_emulator/{path}")).json

        for account, code, number in (("shop", "111111", 3), ("default", "222222", 2)):
            query = f"account={account}&phone={PHONE}"
            assert (await ask(f"codes/latest?{query}"))["code"] == code
            assert (await ask(f"messages/latest?{query}"))["number"] == number
            assert {each["account"] for each in (await ask(f"messages?{query}"))["messages"]} == {
                account
            }
            requests = (await ask(f"requests?account={account}"))["requests"]
            assert {each["account"] for each in requests} == {account}
            assert emulator.latest_code(PHONE, account=account) == code
            assert (await emulator.wait(PHONE, account=account)).number == number
        assert [each.number for each in emulator.find(account="shop")] == [1, 3]
        assert emulator.assert_sent_once(PHONE, account="default").number == 2
        with pytest.raises(TimeoutError, match="a message of the account shop;"):
            await emulator.wait_for(account="shop", since=3, timeout=0.01)
        with pytest.raises(ConfigurationError, match="no account 'nobody'; there are default, sh"):
            emulator.find(account="nobody")
        with pytest.raises(ConfigurationError, match="no account 'nobody'"):
            await emulator.wait_for(account="nobody")


async def test_the_counts_of_the_inbox_are_those_of_the_account() -> None:
    """What another account sent, or nobody, is counted where no account is named."""
    shop = AccountSetup("shop", Credentials("shop-key", "shop-secret"))
    keys = {"ApiKey": "shop-key", "SecretKey": "shop-secret"}
    settings = Settings(max_messages=3)
    async with (
        Emulator(accounts=[shop], settings=settings) as emulator,
        Caller.to(emulator) as caller,
    ):
        await caller.request("GET", "Nothing")
        for _ in range(2):
            await caller.send()
        await caller.send(Content="Xin chao", **keys)
        await caller.send(Phone="0900000103", **keys)
        path = "../../_emulator/inbox"
        counts = (await caller.request("GET", f"{path}?account=shop")).json["counts"]
        assert counts == {
            "all": 2,
            "messages": 1,
            "code": 1,
            "trouble": 1,
            "not_taken": 0,
            "pruned": 0,
        }
        counts = (await caller.request("GET", f"{path}?account=default")).json["counts"]
        assert counts == {
            "all": 1,
            "messages": 2,
            "code": 1,
            "trouble": 0,
            "not_taken": 0,
            "pruned": 1,
        }
        counts = (await caller.request("GET", path)).json["counts"]
        assert counts == {
            "all": 4,
            "messages": 3,
            "code": 2,
            "trouble": 1,
            "not_taken": 1,
            "pruned": 1,
        }


@pytest.mark.parametrize(
    "accounts",
    [
        [AccountSetup("default"), AccountSetup("other")],
        [AccountSetup("a", Credentials("k", "s")), AccountSetup("b", Credentials("k", "t"))],
        [AccountSetup("default"), AccountSetup("default", Credentials("k", "s"))],
    ],
)
def test_accounts_with_the_same_name_or_keys_are_refused(accounts: list[AccountSetup]) -> None:
    """Nobody could tell them apart."""
    with pytest.raises(ConfigurationError):
        Emulator(accounts=accounts)


async def test_what_was_accepted_is_known_after_a_restart(tmp_path: Path) -> None:
    """Messages, RequestIds, balance, numbers and the moved clock live on; requests do not."""
    db = tmp_path / "emulator.db"
    async with Emulator(db=db, balance=10_000) as emulator, Caller.to(emulator) as caller:
        sent = await caller.send(
            RequestId="r-1", SendDate="2099-01-01 00:00:00", campaignid="spring", IsUnicode="1"
        )
        emulator.clock.advance(3600)
        await caller.request("POST", POST_SEND, data=b"{")
        before = emulator.messages
    async with Emulator(db=db, balance=10_000) as emulator, Caller.to(emulator) as caller:
        assert emulator.messages == before
        assert (emulator.balance, emulator.clock.shift) == (9150, 3600)
        assert (emulator.requests, emulator.not_taken) == ([], [])
        assert (await caller.send(RequestId="r-1")).code == "124"
        assert (await caller.send(RequestId="r-2")).code == "100"
        assert emulator.accepted("r-1") == 1
        assert [message.number for message in emulator.messages] == [1, 2]
        path = f"../../_emulator/messages/{sent.json['SMSID']}"
        story = (await caller.request("GET", path)).json
        assert (story["state"], story["sms_id"]) == ("held", sent.json["SMSID"])
        assert len({step["at"] for step in story["steps"]}) >= 1
        emulator.reset()
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        assert emulator.messages == []
        assert (await caller.send(RequestId="r-1")).code == "100"
        emulator.clear_messages()
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        assert emulator.messages == []
        assert (await caller.send(RequestId="r-1")).code == "124"


async def test_the_story_of_a_message_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The attempt that was accepted is not kept, and the retries did no harm."""
    db, settings = tmp_path / "emulator.db", Settings(report_delay=0)
    async with Emulator(db=db, settings=settings) as emulator, Caller.to(emulator) as caller:
        sent = await caller.send(RequestId="r-1")
    async with (
        Emulator(db=db, faults=["reset,phase=after"]) as emulator,
        Caller.to(emulator) as caller,
    ):
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await caller.send(RequestId="r-1")
        path = f"../../_emulator/messages/{sent.json['SMSID']}"
        verdict = (await caller.request("GET", path)).json["verdict"]
    assert verdict["text"] == "Delivered once, 2 answers lost."
    assert verdict["why"].startswith("An earlier attempt was accepted. The 2 retries had the same")


async def test_a_killed_emulator_has_forgotten_nothing(tmp_path: Path) -> None:
    """After kill -9 a resume meets 124, so that no double send is the emulator's own."""
    answers: list[str] = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "esms_async.emulator", "--port", "0"),
            *("--db", str(tmp_path / "emulator.db")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment({}),
        )
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        async with (
            aiohttp.ClientSession() as session,
            session.post(url + POST_SEND, json=send_fields(RequestId="r-1")) as response,
        ):
            answers.append((await response.json())["CodeResult"])
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert answers == ["100", "124"]


@pytest.mark.parametrize("stored", [True, False])
async def test_half_a_surrogate_pair_is_not_taken(tmp_path: Path, *, stored: bool) -> None:
    """The answer is the same with a database and without one, and by GET nothing can carry it."""
    db = tmp_path / "emulator.db" if stored else None
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        for name in ("RequestId", "Content", "campaignid", "Phone", "ApiKey"):
            assert (await caller.send(**{name: "x\ud800"})).status == 400
        assert (emulator.messages, emulator.balance) == ([], 1_000_000_000)
        assert (await caller.send(RequestId="\U0001f600")).code == "100"
        query = f"ApiKey=k&SecretKey=s&SmsType=8&Phone={PHONE}&Content=x&RequestId=x%ED%A0%80"
        assert (await caller.request("GET", f"{GET_SEND}?{query}")).code == "100"
        assert [each.request_id for each in emulator.messages] == ["\U0001f600", "x" + 3 * "\ufffd"]


@pytest.mark.parametrize("table", ["messages", "request_ids", "facts"])
async def test_a_send_that_the_database_refuses_is_not_half_taken(
    tmp_path: Path, table: str
) -> None:
    """Message, RequestId and balance are kept together or not at all, on disk and in memory."""
    db = tmp_path / "emulator.db"
    async with Emulator(db=db, balance=10_000):
        pass
    with sqlite3.connect(db) as connection:
        connection.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    connection.close()
    async with Emulator(db=db, balance=10_000) as emulator, Caller.to(emulator) as caller:
        assert (await caller.send(RequestId="r-1")).status == 500
        assert (emulator.messages, emulator.accepted("r-1"), emulator.mark()) == ([], 0, 0)
        assert emulator.balance == 10_000
        # Ended as by kill -9: nothing is stored at the end.
        assert emulator._database is not None
        emulator._database.close()
        emulator._database = None
    with sqlite3.connect(db) as connection:
        connection.execute("DROP TRIGGER full")
    connection.close()
    async with Emulator(db=db, balance=10_000) as emulator, Caller.to(emulator) as caller:
        assert (await caller.send(RequestId="r-1")).code == "100"
        assert [message.number for message in emulator.messages] == [1]
        assert emulator.balance == 9150


async def test_a_delivery_that_is_due_after_a_restart_is_made(tmp_path: Path) -> None:
    """What waits for its SendDate arrives when the clock gets there."""
    db = tmp_path / "emulator.db"
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        await caller.send(CallbackUrl="http://esms.example/", SendDate="2090-01-01 00:00:00")
    async with Emulator(db=db, clock=Clock(running=False)) as emulator:
        emulator.clock.advance(80 * 366 * 24 * 3600)
        assert [report.send_status for report in emulator.reports] == [2, 5]


async def test_a_delivery_and_a_used_up_request_id_are_known_after_a_restart(
    tmp_path: Path,
) -> None:
    """A delivery that was changed by hand, and the RequestId of a send that made no message."""
    db, settings = tmp_path / "emulator.db", Settings(rejection_uses_request_id=True)
    async with Emulator(db=db, settings=settings) as emulator, Caller.to(emulator) as caller:
        sent = await caller.send(SendDate="2099-01-01 00:00:00")
        assert (await caller.send(RequestId="r-1", Phone="1")).code == "108"
        message = f"../../_emulator/messages/{sent.json['SMSID']}"
        await caller.request("POST", f"{message}/deliver")
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        assert (await caller.request("GET", message)).json["state"] == "delivered"
        assert (await caller.send(RequestId="r-1")).code == "124"
    # Without a database, nothing of that outlives the emulator.
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        assert (await caller.send(RequestId="r-1", Phone="1")).code == "108"
        assert (await caller.send(RequestId="r-1")).code == "124"


async def test_the_database_is_bounded(tmp_path: Path) -> None:
    """No more messages come back than are kept."""
    db = tmp_path / "emulator.db"
    async with Emulator(db=db) as emulator, Caller.to(emulator) as caller:
        for _ in range(5):
            await caller.send()
    async with Emulator(db=db, settings=Settings(max_messages=2)) as emulator:
        assert [message.number for message in emulator.messages] == [4, 5]


async def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """One that is open elsewhere, is of another program, or is none."""
    db = tmp_path / "emulator.db"
    async with Emulator(db=db):
        with pytest.raises(ConfigurationError, match=r"emulator\.db' .*locked\); end the emulator"):
            async with Emulator(db=db):
                pass
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(ConfigurationError, match="belongs to another program"):
        async with Emulator(db=other):
            pass
    with sqlite3.connect(db) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="version 99 is not known"):
        async with Emulator(db=db):
            pass
    (tmp_path / "text.db").write_text("no database at all, but some text" * 100)
    with pytest.raises(ConfigurationError, match=r"text\.db"):
        async with Emulator(db=tmp_path / "text.db"):
            pass
    with pytest.raises(ConfigurationError, match=r"make the folder '/.+/no folder', or name anoth"):
        async with Emulator(db=tmp_path / "no folder" / "x.db"):
            pass


async def test_codes_are_found_by_a_pattern(emulator: Emulator, caller: Caller) -> None:
    """`?pattern=` takes group 1, or the whole match; a message without it is passed over."""
    await caller.send(Content="Ma don ABC-77; ma la 686868")
    await caller.send(Content="khong co gi")
    ask = "../../_emulator/codes/latest"
    got = await caller.request("GET", ask, params={"pattern": r"ABC-(\d+)"})
    assert (got.json["code"], got.json["message"]["number"]) == ("77", 1)
    got = await caller.request("GET", ask, params={"pattern": r"ABC-\d+"})
    assert got.json["code"] == "ABC-77"
    assert (await caller.request("GET", ask, params={"phone": PHONE})).json["code"] == "686868"
    latest = await caller.request(
        "GET", "../../_emulator/messages/latest", params={"pattern": "co (gi)"}
    )
    assert (latest.json["number"], latest.json["code"]) == (2, "gi")
    listed = await caller.request("GET", "../../_emulator/messages", params={"pattern": "ABC"})
    assert [each["number"] for each in listed.json["messages"]] == [1]
    got = await caller.request("GET", ask, params={"pattern": "nothing"})
    assert (got.status, "with a code" in got.json["error"]) == (404, True)
    got = await caller.request("GET", ask, params={"pattern": "("})
    assert (got.status, "pattern must be" in got.json["error"]) == (400, True)
    assert emulator.latest_code(PHONE, pattern=r"la (\d+)") == "686868"
    assert (await emulator.wait(PHONE, pattern=r"la (\d+)")).number == 1
    assert emulator.code_of(emulator.messages[1]) is None
    with pytest.raises(TimeoutError, match="with a code; 2 requests came"):
        await emulator.wait("0911000009", pattern="la", timeout=0.01)
    with pytest.raises(TimeoutError, match="with a code; 2 requests came"):
        await emulator.wait_for(phone="0911000009", with_code=True, timeout=0.01)
    with pytest.raises(LookupError, match=r"no code was sent to 091\*\*\*\*009 so far"):
        emulator.latest_code("0911000009")
    with pytest.raises(LookupError, match="no code was sent so far"):
        emulator.latest_code(pattern="nothing")


async def test_a_reset_ends_what_hangs(emulator: Emulator, caller: Caller) -> None:
    """A request that a fault holds gets no answer, and the next test is not met by it."""
    emulator.fault("hang")
    sending = asyncio.create_task(caller.send(Content=CONTENT))
    await emulator.wait_for_request()
    emulator.reset()
    with pytest.raises(aiohttp.ClientError):
        await sending
    assert (await caller.send()).code == "100"


async def test_another_pattern_counts_codes_anew(emulator: Emulator, caller: Caller) -> None:
    """Rows, counts and the filter go by the pattern that is set now, not by the one before."""
    await caller.send(Content="Ma don hang: AB12")

    async def codes() -> tuple[int, list[str]]:
        got = (await caller.request("GET", "../../_emulator/inbox?filter=code")).json
        return got["counts"]["code"], [row["code"] for row in got["rows"]]

    assert await codes() == (0, [])
    emulator.change({"otp_pattern": "hang: (AB..)"})
    assert await codes() == (1, ["AB12"])
    emulator.change({"otp_pattern": None})
    assert await codes() == (0, [])
