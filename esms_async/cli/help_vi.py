"""The help of the command in Vietnamese.

It is imported only where it is shown. As with gettext, the English text is the key: a text that
is new or changed, and not in here, fails a test.
"""

from collections.abc import Iterable
from typing import Final

import click


class VietnameseFormatter(click.HelpFormatter):
    """Writes the help of a command in Vietnamese."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how the command is called."""
        del prefix
        super().write_usage(prog, args, prefix="Cách dùng: ")

    def write_heading(self, heading: str) -> None:
        """Write the heading of a section."""
        super().write_heading(_HEADINGS[heading])

    def write_text(self, text: str) -> None:
        """Write what the command does."""
        super().write_text("\n\n".join(map(_translated, text.split("\n\n"))))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write a table of options or commands."""
        translated = [(name, _described(words)) for name, words in rows]
        super().write_dl(translated, col_max, col_spacing)


def _translated(paragraph: str) -> str:
    # A command line within a text is the same in every language.
    return HELP.get(" ".join(paragraph.split()), paragraph)


def _described(words: str) -> str:
    """Translate the help of an option, and what click puts behind it: `text  [default: 64]`."""
    if words in HELP or "[" not in words:
        return _translated(words)
    text, _, extras = words.rpartition("[")
    for english, vietnamese in _EXTRAS:
        extras = extras.replace(english, vietnamese)
    return f"{_translated(text)}  [{extras}".strip()


_HEADINGS: Final = {
    "Options": "Tùy chọn",
    "Commands": "Các lệnh",
}

_EXTRAS: Final = (
    ("default: ", "mặc định: "),
    ("env var: ", "biến môi trường: "),
    ("required", "bắt buộc"),
)

_LEDGER: Final = "LEDGER là tệp của sổ ghi SQLite, hoặc địa chỉ redis:// của sổ ghi trên Redis."

HELP: Final = {
    # The command itself.
    "Send OTP messages through eSMS.vn, each phone at most once.": (
        "Gửi tin OTP qua eSMS.vn, mỗi số nhận nhiều nhất một lần."
    ),
    "Set the keys in ESMS_API_KEY and ESMS_SECRET_KEY; --emulator needs none.": (
        "Đặt hai khóa vào ESMS_API_KEY và ESMS_SECRET_KEY; --emulator thì không cần khóa."
    ),
    "Exit codes: 0 all accepted, 1 some not, 2 wrong use or unreadable input, 3 the gateway "
    "refuses the account, 4 the gateway can't be reached, 130 interrupted.": (
        "Mã thoát: 0 mọi tin đã được nhận, 1 có tin chưa được nhận, 2 dùng sai hoặc không đọc được "
        "đầu vào, 3 cổng từ chối tài khoản, 4 không kết nối được tới cổng, 130 bị ngắt."
    ),
    "Show the version and exit.": "Hiện phiên bản rồi thoát.",
    "Show this message and exit.": "Hiện trợ giúp này rồi thoát.",
    # Options of several commands.
    "Send to an emulator; no SMS is sent.": "Gửi tới trình giả lập; không SMS nào được gửi.",
    "Inject a fault; repeatable.": "Gây một lỗi giả; dùng được nhiều lần.",
    "Seed of its random faults.": "Seed của các lỗi ngẫu nhiên.",
    "URL of the gateway.": "Địa chỉ của cổng.",
    "Only check messages; send none.": "Chỉ kiểm tra tin, không gửi.",
    "Print one JSON object at the end.": "Cuối cùng in một đối tượng JSON.",
    "Print JSON.": "In JSON.",
    "Print JSON, one object a line.": "In JSON, mỗi dòng một đối tượng.",
    "Send by this brandname.": "Gửi bằng brandname này.",
    "Brandname; its case counts.": "Brandname; phân biệt chữ hoa, chữ thường.",
    # bulk
    "Send a message to every row of FILE: CSV, TSV, JSON Lines or .xlsx; - is standard input.": (
        "Gửi một tin cho mỗi dòng của FILE: CSV, TSV, JSON Lines hoặc .xlsx; - là đầu vào chuẩn."
    ),
    "At a terminal it shows the plan and asks before it sends.": (
        "Trên terminal, lệnh cho xem kế hoạch và hỏi trước khi gửi."
    ),
    "Send a message to every row of a file.": "Gửi một tin cho mỗi dòng của tệp.",
    "Text, like '{code} is it' [default: a column].": (
        "Nội dung, ví dụ 'Ma cua ban: {code}' [mặc định: một cột]."
    ),
    "Column of the phone [default: found].": "Cột số điện thoại [mặc định: tự tìm].",
    "Column of the text [default: found].": "Cột nội dung [mặc định: tự tìm].",
    "Route [default: ESMS_ROUTE, or fixed].": "Kênh gửi [mặc định: ESMS_ROUTE, hoặc fixed].",
    "Parameter of a Zalo template; repeatable [default: every column].": (
        "Tham số của mẫu tin Zalo; dùng được nhiều lần [mặc định: mọi cột]."
    ),
    "Name of the batch [default: name of FILE].": "Tên đợt gửi [mặc định: tên của FILE].",
    "Column that identifies a row [default: the phone].": (
        "Cột để nhận ra từng dòng [mặc định: số điện thoại]."
    ),
    "Most sends at a time.": "Số tin gửi cùng lúc nhiều nhất.",
    "Most requests a second, or a minute: 600/m.": (
        "Số yêu cầu nhiều nhất mỗi giây, hoặc mỗi phút: 600/m."
    ),
    "Ledger [default: FILE.ledger].": "Sổ ghi [mặc định: FILE.ledger].",
    "Keep no ledger; a later run sends every row again.": (
        "Không giữ sổ ghi; lần chạy sau gửi lại mọi dòng."
    ),
    "Send rows again that were rejected.": "Gửi lại các dòng bị từ chối.",
    "Send a new text to rows that nobody got.": "Gửi nội dung mới cho các dòng chưa ai nhận.",
    "Send rows that repeat phone and text.": "Gửi cả dòng trùng số điện thoại và nội dung.",
    "Send a phone further texts of the batch.": "Gửi cho một số cả nội dung khác trong đợt.",
    "Stop after N rows in a row that could not leave; 0 never stops.": (
        "Dừng sau N dòng liên tiếp không rời được máy; 0 là không dừng."
    ),
    "Write every row to OUT.csv or OUT.jsonl.": "Ghi từng dòng vào OUT.csv hoặc OUT.jsonl.",
    "Let the workers of a queue send.": "Để các worker của hàng đợi gửi.",
    "Check and measure every row; send nothing.": "Kiểm tra và đo từng dòng; không gửi gì.",
    "Send without a question.": "Gửi mà không hỏi.",
    "Hide the plan, the progress and the reasons.": "Ẩn kế hoạch, tiến độ và lý do.",
    # send
    "Send CONTENT to PHONE; if CONTENT is -, read it from standard input.": (
        "Gửi CONTENT tới PHONE; nếu CONTENT là -, đọc nội dung từ đầu vào chuẩn."
    ),
    "Without --brandname and --route it travels as ESMS_ROUTE says, or by the fixed number: then "
    "the phone may ring and read it out.": (
        "Không có --brandname và --route thì tin đi theo ESMS_ROUTE, hoặc qua đầu số cố định: khi "
        "đó điện thoại có thể đổ chuông rồi đọc mã."
    ),
    "Other users of the machine can read a command line, and the shell keeps it in its history: "
    "pipe a one-time code in.": (
        "Người dùng khác của máy đọc được dòng lệnh, và shell giữ nó trong lịch sử: hãy đưa mã OTP "
        "vào bằng ống dẫn."
    ),
    "Send one message.": "Gửi một tin.",
    "As ESMS_ROUTE: brandname:NAME, zalo:OAID:TEMPID.": (
        "Như ESMS_ROUTE: brandname:NAME, zalo:OAID:TEMPID."
    ),
    "Of a Zalo template; repeatable.": "Tham số của mẫu tin Zalo; dùng được nhiều lần.",
    "The RequestId [default: a new one].": "Mã yêu cầu [mặc định: mã mới].",
    "An earlier send of ID may have been accepted.": ("Lần gửi trước với ID có thể đã được nhận."),
    # Queries.
    "Show the balance of the account in dong.": "Xem số dư của tài khoản, tính bằng đồng.",
    "Show the status of the message with SMSID; exit with 1 if it is not known, or not yet.": (
        "Xem trạng thái của tin có SMSID; thoát với mã 1 nếu cổng không biết, hoặc chưa biết."
    ),
    "Show the status of the message with SMSID.": "Xem trạng thái của tin có SMSID.",
    "Settle the unknown sends of a ledger by the gateway's list; exit with 1 if some stay "
    "unknown.": (
        "Chốt các tin chưa rõ trong sổ ghi theo danh sách của cổng; thoát với mã 1 nếu vẫn còn tin "
        "chưa rõ."
    ),
    "Settle the unknown sends of a ledger by the gateway's list.": (
        "Chốt các tin chưa rõ theo danh sách của cổng."
    ),
    "Ledger.": "Sổ ghi.",
    "Show the brandnames of the account, and what each is for.": (
        "Xem các brandname của tài khoản và công dụng."
    ),
    "Show what sending TEXT to PHONE by a brandname would cost; nothing is sent.": (
        "Xem giá gửi TEXT tới PHONE bằng brandname; không gửi gì."
    ),
    "Show what sending TEXT to PHONE by a brandname would cost.": "Xem giá một tin brandname.",
    "Show the templates of a brandname, operator by operator; {P1,20} is 1 to 20 characters.": (
        "Xem các mẫu tin của brandname theo từng nhà mạng; {P1,20} là 1 đến 20 ký tự."
    ),
    "Show the templates of a brandname, or check texts.": (
        "Xem mẫu tin của brandname, hoặc kiểm tra nội dung."
    ),
    "Check the texts of FILE against the templates of a brandname; exit with 1 if one fits none.": (
        "Đối chiếu các nội dung trong FILE với mẫu tin của brandname; thoát với mã 1 nếu có nội "
        "dung không khớp mẫu nào."
    ),
    "FILE is CSV or JSON Lines with a column content, or has a text on each line; - is standard "
    "input. Nothing is sent.": (
        "FILE là CSV hoặc JSON Lines có cột content, hoặc mỗi dòng một nội dung; - là đầu vào "
        "chuẩn. Không gửi gì."
    ),
    "Check the texts of a file.": "Kiểm tra các nội dung trong tệp.",
    "Text, like '{code} is it'.": "Nội dung, ví dụ 'Ma cua ban: {code}'.",
    # ledger
    "Look at what a ledger knows of each send.": "Xem sổ ghi biết gì về từng tin.",
    "LEDGER is the file of an SQLite ledger, or the redis:// URL of one on Redis.": _LEDGER,
    "Print every send in LEDGER, one JSON object a line.": (
        "In mọi tin trong LEDGER, mỗi dòng một đối tượng JSON."
    ),
    "Print every send.": "In mọi tin.",
    "Print CSV, not JSON.": "In CSV thay vì JSON.",
    "Delete the sends in LEDGER that did not change for a time.": (
        "Xóa khỏi LEDGER các tin đã lâu không thay đổi."
    ),
    "A message that is sent again after that is sent as a new one. Delivery reports that were "
    "handed on go with them; with --unsettled, all reports.": (
        "Gửi lại tin đã xóa là gửi một tin mới. Các báo cáo phát tin đã chuyển xong cũng bị xóa "
        "theo; với --unsettled thì mọi báo cáo."
    ),
    "Delete old sends.": "Xóa các tin cũ.",
    "As 12h.": "Ví dụ 12h.",
    "Delete unknown ones too.": "Xóa cả các tin chưa rõ.",
    "Bind LEDGER to the account of ESMS_API_KEY, after new keys of the same account.": (
        "Gắn LEDGER với tài khoản của ESMS_API_KEY, sau khi chính tài khoản đó đổi khóa."
    ),
    "A ledger holds what one account has sent. With another account, a message in doubt could "
    "reach its phone twice.": (
        "Một sổ ghi giữ những gì một tài khoản đã gửi. Với tài khoản khác, tin chưa rõ có thể đến "
        "máy hai lần."
    ),
    "Go on after new keys of the same account.": "Tiếp tục sau khi tài khoản đổi khóa.",
    "Do not ask.": "Không hỏi.",
    "Show what LEDGER holds of the send with REQUEST_ID; exit with 1 if it holds nothing.": (
        "Xem LEDGER ghi gì về tin có REQUEST_ID; thoát với mã 1 nếu không có gì."
    ),
    "Show one send.": "Xem một tin.",
    "List the sends in LEDGER whose outcome is unknown; exit with 1 if there are any.": (
        "Liệt kê các tin trong LEDGER chưa rõ kết quả; thoát với mã 1 nếu có."
    ),
    "List what may have been accepted.": "Liệt kê các tin có thể đã được nhận.",
    # reports
    "List and retry delivery reports that the application's handler failed to take.": (
        "Liệt kê và chuyển lại các báo cáo phát tin mà hàm xử lý của ứng dụng không nhận được."
    ),
    "LEDGER is the file of an SQLite ledger, or the redis:// URL of one on Redis. One process at a "
    "time uses a file, so stop the service first where the ledger is one.": (
        f"{_LEDGER} Mỗi lúc chỉ một tiến trình dùng được tệp, nên nếu sổ ghi là tệp, hãy dừng dịch "
        "vụ trước."
    ),
    "List and retry delivery reports that failed.": "Liệt kê, chuyển lại báo cáo bị lỗi.",
    "List the reports in LEDGER that are kept as failed; exit with 1 if there are any.": (
        "Liệt kê các báo cáo bị lỗi trong LEDGER; thoát với mã 1 nếu có."
    ),
    "List the reports that failed.": "Liệt kê các báo cáo bị lỗi.",
    "Let the service that receives reports hand failed ones on again: those with a KEY, or all.": (
        "Để dịch vụ nhận báo cáo chuyển lại các báo cáo bị lỗi: những báo cáo có KEY, hoặc tất cả."
    ),
    "KEY is the first column of `reports failed`; exit with 1 if one of them is not a failed "
    "report.": (
        "KEY là cột đầu của `reports failed`; thoát với mã 1 nếu có KEY không phải của báo cáo bị "
        "lỗi."
    ),
    "Hand failed reports on again.": "Chuyển lại các báo cáo bị lỗi.",
    # worker and queue
    "Send the messages of a queue until SIGTERM or Ctrl-C; what is in flight is finished.": (
        "Gửi các tin của hàng đợi cho đến khi có SIGTERM hoặc Ctrl-C; tin đang gửi được gửi nốt."
    ),
    "The environment sets the rest: ESMS_API_KEY, ESMS_SECRET_KEY and ESMS_QUEUE_KEY (or "
    "ESMS_QUEUE_CLEAR=1); ESMS_BASE_URL and ESMS_SANDBOX as for other commands. ESMS_QUEUE_URL, "
    "ESMS_QUEUE_NAME, ESMS_RATE, ESMS_CONCURRENCY, ESMS_DEADLINE and ESMS_LOOP stand for the "
    "options.": (
        "Biến môi trường đặt phần còn lại: ESMS_API_KEY, ESMS_SECRET_KEY và ESMS_QUEUE_KEY (hoặc "
        "ESMS_QUEUE_CLEAR=1); ESMS_BASE_URL và ESMS_SANDBOX như ở các lệnh khác. ESMS_QUEUE_URL, "
        "ESMS_QUEUE_NAME, ESMS_RATE, ESMS_CONCURRENCY, ESMS_DEADLINE và ESMS_LOOP thay cho các "
        "tùy chọn."
    ),
    "Send the messages of a queue.": "Gửi các tin của hàng đợi.",
    "Most attempts a second of all workers together.": (
        "Số lần thử nhiều nhất mỗi giây của mọi worker cộng lại."
    ),
    "Most sends at a time [default: 64].": "Số tin gửi cùng lúc nhiều nhất [mặc định: 64].",
    "Time for one try of a message [default: 30].": (
        "Thời gian cho một lượt gửi của một tin [mặc định: 30]."
    ),
    "Serve /livez, /readyz and /metrics.": "Phục vụ /livez, /readyz và /metrics.",
    "Event loop that it runs on.": "Vòng lặp sự kiện mà worker chạy trên đó.",
    "Look at a queue, and steer its workers.": "Xem hàng đợi và điều khiển các worker.",
    "Redis server of the queue.": "Máy chủ Redis của hàng đợi.",
    "Name of the queue.": "Tên hàng đợi.",
    "List the messages that could not be sent; each with its reason.": (
        "Liệt kê các tin không gửi được; mỗi tin kèm lý do."
    ),
    "List the messages that could not be sent": "Liệt kê các tin không gửi được",
    "Wait until the queue is empty; exit with 1 if it is not in time.": (
        "Chờ đến khi hàng đợi trống; thoát với mã 1 nếu hết giờ mà chưa trống."
    ),
    "Wait until the queue is empty": "Chờ đến khi hàng đợi trống",
    "Wait no longer than this.": "Chờ không lâu hơn thế này.",
    "Have all workers take no more messages.": "Cho mọi worker ngừng nhận thêm tin.",
    "Put dead messages back into the queue.": "Đưa các tin không gửi được về lại hàng đợi.",
    "All of them.": "Tất cả.",
    "Delete dead messages for good; nobody sends them any more.": (
        "Xóa hẳn các tin không gửi được; không ai gửi chúng nữa."
    ),
    "Delete dead messages for good": "Xóa hẳn các tin không gửi được",
    "Have the workers go on after a pause.": "Cho các worker chạy tiếp sau khi tạm dừng.",
    "Show what waits, who works and what is broken.": (
        "Xem tin nào chờ, worker nào chạy và chỗ nào hỏng."
    ),
    # completion
    "Print a script with which SHELL completes the commands and options of esms-async.": (
        "In đoạn script để SHELL tự điền các lệnh và tùy chọn của esms-async."
    ),
    "Load it when the shell starts, with this line in ~/.bashrc or ~/.zshrc:": (
        "Nạp nó khi shell khởi động, bằng dòng này trong ~/.bashrc hoặc ~/.zshrc:"
    ),
    "for fish, run once: esms-async completion fish > ~/.config/fish/completions/esms-async.fish": (
        "với fish, chạy một lần: esms-async completion fish > "
        "~/.config/fish/completions/esms-async.fish"
    ),
    "Print a shell completion script.": "In script tự điền lệnh cho shell.",
    # emulator
    "Run a gateway on this machine, from which no SMS leaves, until Ctrl-C.": (
        "Chạy một cổng trên máy này cho đến khi nhấn Ctrl-C; không SMS nào rời máy."
    ),
    "The first line is its URL, for ESMS_BASE_URL. Others can read keys on a command line, but not "
    "in ESMS_EMULATOR_API_KEY, _SECRET_KEY and _TOKEN.": (
        "Dòng đầu là địa chỉ của nó, dùng cho ESMS_BASE_URL. Người khác đọc được khóa trên dòng "
        "lệnh, nhưng không đọc được trong ESMS_EMULATOR_API_KEY, _SECRET_KEY và _TOKEN."
    ),
    "Run a gateway that sends no SMS.": "Chạy một cổng không gửi SMS.",
    "0: any.": "0: cổng bất kỳ.",
    "Listen there, as 0.0.0.0:8026.": "Lắng nghe ở đó, ví dụ 0.0.0.0:8026.",
    "A name that clients call it by.": "Tên mà client dùng để gọi nó.",
    "Reports may go there.": "Báo cáo được gửi tới đó.",
    "Page and control ask for it.": "Trang và API điều khiển đòi nó.",
    "self-signed, or a folder for the keys.": "self-signed, hoặc thư mục chứa khóa.",
    "Keep messages over restarts.": "Giữ tin qua các lần khởi động.",
    "Change a setting, as report_delay=0.": "Đổi một cài đặt, ví dụ report_delay=0.",
    "Find codes by a regular expression.": "Tìm mã bằng biểu thức chính quy.",
    "One more account.": "Thêm một tài khoản.",
    "One more brandname.": "Thêm một brandname.",
    "In dong.": "Tính bằng đồng.",
    "Arm a fault, as reset,times=1.": "Cài một lỗi giả, ví dụ reset,times=1.",
    "Make chance in faults repeatable.": "Làm lỗi ngẫu nhiên lặp lại được.",
    "Accept only this key and its secret.": "Chỉ nhận khóa này và secret của nó.",
}
"""Every text of the help by the English one."""
