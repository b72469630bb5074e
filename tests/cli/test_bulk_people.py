"""The command `bulk` for people: what their lists hold, and what they do by mistake."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from esms_async.cli.app import run
from esms_async.cli.errors import ExitCode
from esms_async.cli.running import run_job
from esms_async.cli.screen import Screen
from esms_async.emulator import Emulator
from esms_async.ledger import SqliteLedger
from tests.cli.support import (
    KEYS,
    answer_at_a_terminal,
    finish,
    listed_in,
    start,
    words,
    write_csv,
    write_recipients,
)
from tests.factories import ONE_ATTEMPT
from tests.limits import generous

Bulk = Callable[..., tuple[int, dict[str, int], str]]


@pytest.fixture
def bulk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bulk:
    """Run the command with an emulator of its own, and a ledger that stays."""

    def command(path: str, *options: str) -> tuple[int, dict[str, int], str]:
        ledger = ("--ledger", str(tmp_path / "kept.ledger"))
        code = run(["bulk", path, "--emulator", "--json", *ledger, *options])
        out, err = capsys.readouterr()
        counts = json.loads(out) if out else {}
        return code, {name: count for name, count in counts.items() if count}, err

    return command


def _export(path: Path, rows: int) -> str:
    """Write a list as Excel leaves it: of ten numbers one is lost, and nine can be repaired."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Họ tên", "Số điện thoại", "Nội dung"])
    for number in range(rows):
        kept = 950_000_000 + number
        forms = (
            *(kept, f"84{kept}.0", f"{kept}.0", f"0{kept}", f"(+84) {kept}", f"+84 (0) {kept}"),
            *(float(f"84{kept}"), f"{kept:.8E}", f"84 {kept}", "9.01888E+08"),
        )
        sheet.append([f"Người {number}", forms[number % 10], f"ma {number}"])
    book.save(path)
    return str(path)


def test_an_export_of_excel_is_sent_as_far_as_it_can_be_told(bulk: Bulk, tmp_path: Path) -> None:
    """Every number that is certain is sent; one screen says what was repaired and what was not."""
    path, listed = _export(tmp_path / "khách.xlsx", 2000), tmp_path / "out.csv"
    code, counts, err = bulk(path, "--results", str(listed))
    assert (code, counts["accepted"], counts["invalid"], counts["repaired"]) == (1, 1800, 200, 1200)
    assert "200  invalid: Excel rounded the phone number; format the column as text" in err
    assert "200  numbers had lost their zero: repaired (rows 2, 12, 22, …)" in err
    # A screen has 24 lines, and the plan stands above the outcomes.
    assert len(err[: err.index("accepted")].splitlines()) <= 24
    rows = listed_in(listed)
    assert [row["Họ tên"] for row in rows] == [f"Người {number}" for number in range(2000)]
    # The phone stands in the results as in the list.
    assert (rows[0]["Số điện thoại"], rows[0]["status"]) == ("950000000", "accepted")


def test_a_row_that_repeats_another_is_held_back(bulk: Bulk, tmp_path: Path) -> None:
    """The same text to the same phone goes out once, however the phone is written."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a", "+84 901888484,a", "901888484,a"])
    code, counts, err = bulk(path)
    assert (code, counts["accepted"], counts["held_back"]) == (1, 1, 2)
    assert "2  held back: repeats the phone and the text of an earlier row" in err
    assert "1 accepted, 0 reached a phone twice" in err
    code, counts, err = bulk(path, "--allow-duplicates", "--batch", "b")
    assert (code, counts["accepted"]) == (0, 3)
    assert "3 accepted, 2 reached a phone twice" in err
    assert bulk(path, "--allow-duplicates", "--batch", "b")[1]["already_done"] == 3


def test_a_second_text_for_a_phone_is_held_back(bulk: Bulk, tmp_path: Path) -> None:
    """Whether it stands in the list or was sent by an earlier run, --allow-again alone sends it."""
    rows = ["0901888484,a", "0901888484,b", "0901888485,a"]
    path = write_csv(tmp_path / "a.csv", rows)
    code, counts, err = bulk(path)
    assert (code, counts["accepted"], counts["held_back"]) == (1, 2, 1)
    assert "an earlier row has another text for this phone" in err
    write_csv(tmp_path / "a.csv", ["0901888484,typo mended", "0901888485,a"])
    code, counts, err = bulk(path)
    assert (code, counts["already_done"], counts["held_back"]) == (1, 1, 1)
    assert "this batch has sent another text to this phone; --batch NEW begins" in err
    # The order of the rows does not matter, and nothing is sent twice.
    write_csv(tmp_path / "a.csv", [rows[1], rows[0], rows[2]])
    for sent, done in ((1, 2), (0, 3)):
        code, counts, _ = bulk(path, "--allow-again")
        assert (code, counts.get("accepted", 0), counts["already_done"]) == (0, sent, done)


def test_a_batch_is_held_to_its_text(bulk: Bulk, tmp_path: Path) -> None:
    """A mended template is refused, or goes to those alone who got nothing."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,1", "0900000201,2"], "phone,code")
    assert bulk(path, "--content", "{code} la mma")[1] == {
        "total": 2,
        "accepted": 1,
        "rejected": 1,
        "seconds": pytest.approx(0, abs=generous(60)),
    }
    code, counts, err = bulk(path, "--content", "{code} la ma")
    assert (code, counts) == (2, {})
    (line,) = (line for line in err.splitlines() if line.startswith("esms-async: "))
    assert "batch 'a' was begun with another text" in line
    assert "use --batch NEW" in line
    assert "add --template-changed" in line
    for _ in range(2):
        code, counts, err = bulk(path, "--content", "{code} la ma", "--template-changed")
        assert (counts["already_done"], counts["rejected"]) == (1, 1)
        assert "accepted" not in counts
    assert bulk(path, "--content", "{code} la mma")[0] == 2


def test_a_column_that_is_spelled_another_way_is_the_same_text(bulk: Bulk, tmp_path: Path) -> None:
    """A template is compared by the columns that it takes; a brace in it is none."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,1,2"], "phone,Mã,Tên")
    assert bulk(path, "--content", "{{ma}} {Mã} {Tên}")[0] == 0
    for same in ("{{ma}} {mã} {ten}", "{{ma}} { MA } {Tên}"):
        code, counts, _ = bulk(path, "--content", same)
        assert (code, counts["already_done"]) == (0, 1)
    for other in ("{{ma}} {Mã}  {Tên}", "{{ma}} {Tên} {Mã}", "{{mã}} {Mã} {Tên}"):
        code, _, err = bulk(path, "--content", other)
        assert (code, "was begun with another text" in err) == (2, True)


async def test_a_new_text_never_goes_to_those_in_doubt(emulator: Emulator, tmp_path: Path) -> None:
    """A row that may have been accepted keeps its first text."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,1", "0901888485,2"], "phone,code")
    command = ("bulk", path, "--base-url", emulator.url, "--json", "--concurrency", "1")
    emulator.fault("hang,phase=after,times=1")
    running = await start(*command, "--content", "{code} old")
    await emulator.wait_for_request(timeout=generous(30))
    running.kill()
    await running.communicate()
    emulator.clear_faults()
    changed = await start(*command, "--content", "{code} new", "--template-changed")
    counts = json.loads((await finish(changed))[0])
    # The second row was claimed ahead, so it may have been sent, as far as anybody can know.
    assert (changed.returncode, counts["unknown"]) == (1, 2)
    assert [message.content for message in emulator.messages] == ["1 old"]
    old = await start(*command, "--content", "{code} old", "--template-changed")
    counts = json.loads((await finish(old))[0])
    assert (old.returncode, counts["accepted"], counts["deduplicated"]) == (0, 2, 1)


def test_a_batch_is_held_to_its_key_and_route(bulk: Bulk, tmp_path: Path) -> None:
    """Under another key every row would have another id, and would go out again."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a,7"], "phone,content,order")
    assert bulk(path)[0] == 0
    code, _, err = bulk(path, "--key", "order")
    assert (code, "was begun without --key" in err) == (2, True)
    code, _, err = bulk(path, "--brandname", "Baotrixemay")
    assert (code, "was begun by the route fixed" in err) == (2, True)
    assert bulk(path, "--key", "order", "--batch", "b")[0] == 0
    assert "was begun with --key order" in bulk(path, "--batch", "b")[2]
    # The key is the phone, and is compared as one.
    write_csv(tmp_path / "a.csv", ["0901888484,a,7", "901888484,b,8"], "phone,content,order")
    code, counts, _ = bulk(path, "--key", "phone", "--batch", "c")
    assert (code, counts["accepted"], counts["invalid"]) == (1, 1, 1)


def test_a_gateway_that_can_t_be_reached_stops_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After some rows that never left the machine it says why, and exits with 4."""
    monkeypatch.setattr("esms_async.cli.gateway._PATIENT", ONE_ATTEMPT)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    path = write_recipients(tmp_path / "a.csv", 500)
    arguments = ["bulk", path, "--base-url", url, "--concurrency", "4", "--json"]
    assert run([*arguments, "--stop-after", "10"]) == 4
    out, err = capsys.readouterr()
    # What was in flight when it stopped, too.
    assert 10 <= json.loads(out)["not_sent"] == json.loads(out)["total"] <= 14
    assert "Stopped because the gateway can't be reached: 10 rows in a row" in err
    assert "To go on, run the same command again" in " ".join(err.split())
    assert err.count("nothing left this machine") == 1


def test_a_list_without_rows_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header alone sends nothing to anybody, and does not end with 0."""
    path = write_csv(tmp_path / "a.csv", [])
    for more in ("--dry-run", "--emulator"):
        assert run(["bulk", path, more]) == 2
        assert "has a header and no rows" in capsys.readouterr().err


def test_a_reason_is_said_once(bulk: Bulk, tmp_path: Path) -> None:
    """The gateway's own words are left out where they say the same; each reason has its advice."""
    path = write_csv(
        tmp_path / "a.csv", ["0900000201,tin thu nhat", "0900000201,tin thu hai"], "phone,content"
    )
    _, _, err = bulk(path, "--allow-again")
    assert "the gateway says" not in err
    assert err.count("2  rejected: code 201: ") == 1


@pytest.mark.parametrize(
    ("answer", "language", "sent"),
    [
        (b"n\n", "en", 0),
        (b"\n", "en", 0),
        (b"y\n", "en", 1),
        (b"c\n", "en", 0),
        (b"c\n", "vi", 1),
        ("có\n".encode(), "vi", 1),
        (b"y\n", "vi", 0),
    ],
)
async def test_at_a_terminal_one_question_is_asked(
    emulator: Emulator,
    tmp_path: Path,
    answer: bytes,
    language: str,
    sent: int,
) -> None:
    """Nothing is sent before a yes in the language of the question."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a"])
    arguments = ("bulk", path, "--base-url", emulator.url)
    code, shown = await asyncio.to_thread(
        answer_at_a_terminal, answer, *arguments, language=language
    )
    assert (code, emulator.mark()) == (1 - sent, sent)
    asked, nothing = {
        "en": ("Send 1 messages now? [y/N]", "Nothing was sent."),
        "vi": ("Gửi 1 tin ngay bây giờ? [c/K]", "Chưa gửi gì."),
    }[language]
    assert asked in shown.decode()
    assert (nothing in shown.decode()) == (not sent)


async def test_yes_asks_nothing(emulator: Emulator, tmp_path: Path) -> None:
    """A script that has a terminal is not held up."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a"])
    arguments = ("bulk", path, "--base-url", emulator.url, "--yes")
    running = asyncio.to_thread(answer_at_a_terminal, b"", *arguments)
    code, shown = await running
    assert (code, emulator.mark(), b"[y/N]" in shown) == (0, 1, False)


async def test_results_that_are_removed_are_noticed(emulator: Emulator, tmp_path: Path) -> None:
    """The job stops and says so; the next run lists every row."""
    path, listed = write_recipients(tmp_path / "a.csv", 200), tmp_path / "out.csv"
    command = ["bulk", path, "--base-url", emulator.url, "--concurrency", "4"]
    command += ["--results", str(listed)]
    emulator.fault("code:201,times=1")
    emulator.fault("delay:20ms")
    running = await start(*command)
    await emulator.wait_for_request(count=30, timeout=generous(30))
    listed.unlink()
    out, err = await finish(running)
    assert running.returncode == 2
    problem = f"esms-async: --results {listed} was removed or replaced while it was written"
    assert err.splitlines().count(problem) == 1
    assert "Every row with its reason" not in out + err
    emulator.clear_faults()
    running = await start(*command)
    await finish(running)
    assert running.returncode == 1
    assert len(listed_in(listed)) == emulator.mark() + 1 == 200


async def test_an_interrupt_releases_what_was_claimed_ahead(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A row that was claimed and not begun is not in doubt."""
    path = write_recipients(tmp_path / "a.csv", 100)
    emulator.fault("delay:100ms")
    running = await start("bulk", path, "--base-url", emulator.url, "--concurrency", "4")
    await emulator.wait_for_request(count=6, timeout=generous(30))
    running.send_signal(signal.SIGINT)
    await finish(running)
    assert running.returncode == 130
    async with SqliteLedger(f"{path}.ledger") as ledger:
        assert [entry async for entry in ledger.unsettled()] == []
        statuses = [entry.status.value async for entry in ledger.entries()]
    assert statuses.count("accepted") == emulator.mark()
    assert statuses.count("not_sent") == len(statuses) - emulator.mark() > 0


def test_everything_can_be_said_in_vietnamese(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, reasons, advice and errors follow ESMS_LANG."""
    monkeypatch.setenv("ESMS_LANG", "vi")
    path = write_csv(tmp_path / "a.csv", ["901888484,a", "1,b", "0900000201,c"])
    code, counts, err = bulk(path)
    assert (code, counts["accepted"]) == (1, 1)
    told = " ".join(words(err))
    assert "sẽ gửi 2" in told
    assert "1 số bị mất số 0 ở đầu: đã sửa (dòng 2)" in told
    assert "không hợp lệ: không phải số di động Việt Nam" in told
    assert "bị từ chối: mã 201:" in told
    assert "esms-async: " in bulk(str(tmp_path / "none.csv"))[2]
    assert "không đọc được" in bulk(str(tmp_path / "none.csv"))[2]


@pytest.mark.parametrize(
    "route", [("--route", "zalo:OA1:T1"), ("--brandname", "B", "--route", "fixed")]
)
def test_a_route_takes_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], route: tuple[str, ...]
) -> None:
    """A Zalo template takes the other columns as parameters; two routes exclude each other."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,An,7", "0901888485,,8"], "phone,name,code")
    code = run(["bulk", path, "--dry-run", "--json", *route])
    out, err = capsys.readouterr()
    if "--brandname" in route:
        assert (code, "exclude each other" in err) == (2, True)
        return
    counts = json.loads(out)
    assert (code, counts["checked"], counts["invalid"]) == (1, 1, 1)
    assert "text name, code" in err
    assert run(["bulk", path, "--dry-run", *route, "--param", "ma=code"]) == 0


def test_one_fact_of_the_log_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred warnings of one kind are one line, and how many more there were."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    async def job(_: Screen) -> ExitCode:
        for number in range(100):
            logging.getLogger("esms_async").warning("request %s: disk full", number)
            logging.getLogger("esms_async.outcomes").warning("an outcome")
        return ExitCode.ACCEPTED

    assert run_job(job, as_json=False, debug=False) == 0
    assert capsys.readouterr().err.splitlines() == [
        "request 0: disk full",
        "request 0: disk full (and 99 more like this)",
    ]


def test_the_plan_tells_what_a_brandname_costs(bulk: Bulk, tmp_path: Path) -> None:
    """The price of the first message stands for all."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a", "0901888485,b"])
    _, _, err = bulk(path, "--brandname", "Baotrixemay")
    assert "estimated cost" in " ".join(words(err)).casefold()
    # Where the price can't be asked, the plan has none.
    _, _, err = bulk(path, "--brandname", "Nobody", "--batch", "b")
    assert "estimated cost" not in " ".join(words(err)).casefold()


def test_a_zalo_batch_is_held_to_its_parameters(bulk: Bulk, tmp_path: Path) -> None:
    """Its columns are the template of the batch."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,An,7"], "phone,name,code")
    assert bulk(path, "--route", "zalo:OA1:T1")[1]["total"] == 1
    code, _, err = bulk(path, "--route", "zalo:OA1:T1", "--param", "code")
    assert (code, "was begun with another text" in err) == (2, True)
