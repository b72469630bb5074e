"""Says what the command says in English and in Vietnamese, from one catalogue.

`ESMS_LANG` chooses the language, and by default the locale does. A `Text` is a sentence that has
not been said yet: it names its entry and holds the values, so equal reasons can be counted.
"""

import enum
import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Self

import attrs

from esms_async.codes import lookup

_SWAPPED: Final = str.maketrans(",.", ".,")
# That is for programs; a person runs the command again.
_NEW_MESSAGE: Final = re.compile(
    r",? (?:and|then) make a new Message|,? (?:rồi|và) tạo Message mới"
)


class Language(enum.Enum):
    """A language of the command."""

    ENGLISH = "en"
    VIETNAMESE = "vi"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return the language that the environment asks for; English if it asks for neither."""
        locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG", "")
        asked = environ.get("ESMS_LANG") or locale
        return cls("vi" if re.match(r"(?i)vi(?![a-z])", asked) else "en")

    def number(self, value: int | Decimal) -> str:
        """Write a number with its thousands apart."""
        return self._punctuated(f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}")

    def decimal(self, value: float) -> str:
        """Write a number with two decimals."""
        return self._punctuated(f"{value:,.2f}")

    def _punctuated(self, written: str) -> str:
        return written if self is Language.ENGLISH else written.translate(_SWAPPED)


@attrs.frozen
class Text:
    """A sentence of the catalogue with its values, in no language yet.

    Attributes:
        key: Its entry.
        values: What is put into it.
    """

    key: str
    values: tuple[tuple[str, object], ...] = ()

    def said(self, language: Language) -> str:
        """Return the sentence in a language."""
        values: dict[str, object] = {}
        for name, value in self.values:
            if isinstance(value, Text):
                values[name] = value.said(language)
            elif isinstance(value, int | Decimal) and not isinstance(value, bool):
                values[name] = language.number(value)
            elif name == "problem" and language is Language.VIETNAMESE:
                from esms_async.cli.problems_vi import in_vietnamese  # noqa: PLC0415  # rarely needed

                values[name] = in_vietnamese(str(value))
            else:
                values[name] = value
            if name == "code":
                code = lookup(str(value))
                is_english = language is Language.ENGLISH
                values["meaning"] = code.meaning if is_english else code.meaning_vi
        return CATALOGUES[language][self.key].format_map(values)

    def __str__(self) -> str:
        return self.said(Language.ENGLISH)


def text(key: str, **values: object) -> Text:
    """Return a sentence of the catalogue."""
    return Text(key, tuple(values.items()))


def advice_on(code: str, language: Language) -> str:
    """Return what to do about a code."""
    known = lookup(code)
    advice = known.advice if language is Language.ENGLISH else known.advice_vi
    return _NEW_MESSAGE.sub("", advice)


_ENGLISH: Final = {
    # The list.
    "standard_input": "standard input",
    "standard_input_closed": "standard input is closed; lead a file into it, or /dev/null",
    "file_empty": "{file} is empty",
    "file_unreadable": "cannot read {file}: {problem}",
    "file_changed": "{file} was written while it was read; run the command again",
    "file_compressed": "{file} is compressed; save it as CSV in UTF-8, or as .xlsx",
    "json_array": "{file} is a JSON array; write one object a line (JSON Lines)",
    "header_too_long": "the first line of {file} is longer than {longest} characters",
    "header_not_utf8": (
        "the header of {file} is not UTF-8; save the file as 'CSV UTF-8', or as .xlsx"
    ),
    "header_not_csv": "the header of {file} is not well-formed CSV",
    "no_header": (
        "the first row of {file} holds a phone number; the first row must name the columns"
    ),
    "no_rows": "{file} has a header and no rows; nothing can be sent",
    "excel_missing": (
        "{file} is a workbook; install what reads it with: pip install 'esms_async[excel]', or "
        "save it as CSV UTF-8"
    ),
    "workbook_from_pipe": "a workbook can't be read from a pipe; give the name of its file",
    "workbook_password": "{file} is protected by a password; save it without one",
    "workbook_unreadable": "{file} can't be read as a workbook ({problem}); save it as .xlsx again",
    "no_phone_column": (
        "the header of {file} has no column 'phone', and no other column is known to hold phone "
        "numbers; the first row must name the columns, and --phone-column NAME says which"
    ),
    "many_phone_columns": (
        "more than one column of {file} could hold the phone: {columns}; "
        "choose one with --phone-column NAME"
    ),
    "no_content_column": (
        "the header of {file} has no column 'content' (columns: {columns}); name the column with "
        "--content-column NAME, or compose the text, as in --content 'Ma cua ban: {{column}}'"
    ),
    "many_content_columns": (
        "more than one column of {file} could hold the text: {columns}; "
        "choose one with --content-column NAME"
    ),
    "column_missing": (
        "the header of {file} has no column {column!r}, which {option} names (columns: {columns})"
    ),
    "column_twice": (
        "the header of {file} has more than one column {column!r}, which {option} names; rename one"
    ),
    "template_empty": "the template is empty; give the text to send",
    "template_brace": (
        "the template has a brace at position {position} that names no column; write {{column}}, "
        "or {{{{ and }}}} for braces"
    ),
    # The options.
    "retry_needs_ledger": "--retry-rejected needs the ledger that knows what was rejected",
    "changed_needs_ledger": "--template-changed needs the ledger that knows what was sent",
    "two_contents": "--content and --content-column exclude each other",
    "batch_needed": (
        "--ledger needs --batch NAME with standard input: by it the rows are known again"
    ),
    "rate": "--rate takes a number, and /s, /m or /h, as in 50/s or 600/m",
    "emulator_or_url": "--emulator and --base-url exclude each other",
    "faults_need_emulator": "--fault and --seed are for --emulator; add it",
    "ledger_url": "the ledger's URL can't be read; write it as redis://host:6379/0",
    "ledger_or_none": "--ledger and --no-ledger exclude each other",
    "ledger_in_sandbox": "the sandbox sends nothing that a ledger could hold; leave --ledger out",
    # The batch.
    "other_template": (
        "batch {batch!r} was begun with another text, which may have reached people; for a new "
        "message use --batch NEW; to correct a mistake add --template-changed: the new text goes "
        "only to rows that nobody got"
    ),
    "other_route": (
        "batch {batch!r} was begun by the route {route}; use --batch NEW to send by another"
    ),
    "other_key": (
        "batch {batch!r} was begun with --key {column}; give it again, or use --batch NEW"
    ),
    "other_key_none": "batch {batch!r} was begun without --key; leave it out, or use --batch NEW",
    "other_secret": (
        "the rows of batch {batch!r} were sent under another secret key, and under this one "
        "each would be sent again; set ESMS_ROW_SECRET to the former secret key, which makes "
        "the same ids again; if that one was mistyped, so no row was accepted, add --batch NEW"
    ),
    "no_facts": "a {ledger} keeps no facts, so it can't hold a batch; use another ledger",
    # Why a row gives no message.
    "line_too_long": "is longer than {longest} characters",
    "quote_open": "opens a quote that is not closed",
    "stray_quote": "holds a quote inside quotes; double it",
    "stray_return": "holds a carriage return outside quotes; end lines with LF or CRLF",
    "too_few_fields": "has fewer fields ({count}) than the header ({width})",
    "too_many_fields": (
        "has more fields ({count}) than the header ({width}); put quotes around a field that holds "
        "the delimiter"
    ),
    "not_json": "is not JSON",
    "not_an_object": "is not a JSON object",
    "two_keys_of_one_name": "has two keys of one name; rename one",
    "value_missing": "{column}: is missing",
    "value_empty": "{column}: is empty",
    "value_empty_in_workbook": (
        "{column}: is empty, an error such as #DIV/0!, or a formula without a value, which Excel "
        "gives it if you open the file and save it"
    ),
    "value_type": "{column}: is of type {type}; write it as a string",
    "not_utf8": "the row is not UTF-8; save the file as 'CSV UTF-8', or as .xlsx",
    "control_character": "the text holds the control character {code_point}; remove it",
    "content_too_long": "the text takes more than {most} SMS parts",
    "message_invalid": "{problem}",
    "phone_rounded": "Excel rounded the phone number; format the column as text",
    "phone_invalid": (
        "the phone is not a Vietnamese mobile number (0 and nine digits, the first of them 3, 5, "
        "7, 8 or 9)"
    ),
    # Why a row is held back, or not sent under its key.
    "repeated": "repeats the phone and the text of an earlier row; --allow-duplicates sends it",
    "other_text": "an earlier row has another text for this phone; --allow-again sends both",
    "other_text_sent": (
        "this batch has sent another text to this phone; --batch NEW begins a new batch, "
        "--allow-again sends this text too"
    ),
    "other_text_in_doubt": (
        "this batch may have sent another text to this phone; --batch NEW begins a new batch, "
        "--allow-again sends this text too"
    ),
    "done_with_other_text": "the phone got the earlier text",
    "in_doubt_with_other_text": (
        "the earlier text may have been accepted; run the earlier command, or reconcile, to find "
        "out"
    ),
    "key_repeated": "{column}: an earlier row has this key, and goes first",
    "key_used": (
        "this key was used for another phone or text; give the row another one to send this too"
    ),
    "key_used_and_refused": (
        "this key was used for another phone or text, which was refused; add --retry-rejected to "
        "send this one"
    ),
    # What became of a row.
    "code": "code {code}: {meaning}",
    "code_and_words": "code {code}: {meaning}; the gateway says '{words}'",
    "code_124": (
        "code 124: the gateway has had this message before, and nothing here tells what became of "
        "it"
    ),
    "http_refusal": "refused with HTTP status {status}",
    "http_refusal_advice": (
        "Check the URL (ESMS_BASE_URL, --base-url), and any proxy or firewall in front of the "
        "gateway."
    ),
    "expired": "it may have been accepted too long ago to be sent again",
    "unknown": "it may have been accepted: {problem}",
    "not_sent": "nothing left this machine: {problem}",
    "failed": "{problem}",
    "other_reasons": "other reasons; the results list them all",
    # What was repaired.
    "repaired_lost_zero": "numbers had lost their zero: repaired",
    "repaired_decimal": "numbers had become decimals (….0, E+10): repaired",
    "repaired_country_code": "numbers had brackets, or a zero after the country code: repaired",
    # The plan.
    "emulator": "EMULATOR: NO SMS LEAVES THIS MACHINE",
    "emulator_inbox": "Inbox: {page} (seed {seed})",
    "says": "{problem}",
    "gateway": "Gateway: {url}",
    "gateway_seed": "Gateway: {url} (seed {seed})",
    "ledger": "Ledger: {place}",
    "no_ledger_for": "No ledger: {file} is no file to keep one beside; --ledger names one",
    "no_ledger_sandbox": "No ledger: the sandbox sends nothing",
    "no_ledger_wanted": (
        "No ledger: for 24 hours the gateway refuses (code 124) what it has accepted of this "
        "batch; run after that, it sends every row again"
    ),
    "sending": "Sending {file} as batch {batch!r}",
    "sheet": "Sheet: {title}",
    "columns": "Columns: phone {phone}, text {content}",
    "columns_guessed": (
        "Columns: phone {phone} (found by its name or content; --phone-column sets it), "
        "text {content}"
    ),
    "columns_template": "Columns: phone {phone}; the text is the template's",
    "columns_template_guessed": (
        "Columns: phone {phone} (found by its name or content; --phone-column sets it); "
        "the text is the template's"
    ),
    "route": "Route: {route}",
    "route_fixed": "fixed number",
    "no_plan": "A pipe is sent as it is read, so there is no plan of it.",
    "label_rows": "rows",
    "label_to_send": "to send",
    "label_checked": "can be sent",
    "label_unicode": "of these with diacritics",
    "label_parts": "SMS parts",
    "label_cost": "estimated cost in dong",
    "label_accepted": "accepted",
    "label_retried": "of these retried",
    "label_deduplicated": "of these deduplicated",
    "label_already_done": "already done",
    "label_rejected": "rejected",
    "label_not_sent": "not sent",
    "label_unknown": "unknown",
    "label_duplicates": "of these code 124",
    "label_held_back": "held back",
    "label_invalid": "invalid",
    "label_repaired": "phones repaired",
    "label_total": "total",
    "one_row": "row {row}",
    "some_rows": "rows {rows}",
    "first_rows": "rows {rows}, …",
    "more_reasons": "and {count} more reasons",
    "listed_in": "Every row with its reason: {file}",
    "list_with": "--results OUT.csv lists every row with its reason.",
    "ask": "Send {count} messages now? [y/N]",
    # What means yes; anything else means no.
    "yes": "y yes",
    "ask_all": "Send every row now? [y/N]",
    "nothing_sent": "Interrupted: nothing was sent",
    "workers_send": "The workers of queue {name} send",
    "nothing_sent_no": "Nothing was sent.",
    "dry_run": "Dry run: nothing was sent.",
    # The progress.
    "done": "{count} done",
    "done_of": "{count} of {expected} done",
    "rate_now": "{rate}/s",
    "left": "{time} left",
    "retried": "retried",
    "more_like_this": "{line} (and {count} more like this)",
    # The end.
    "seconds": "{seconds} s, {rate} msgs/s",
    "emulated_count": (
        "By the gateway's own count: {accepted} accepted, {twice} reached a phone twice"
    ),
    "sandbox": "Sandbox: what was accepted was checked, not sent.",
    "stopping": "Stopping: waiting for what is in flight; interrupt again to stop now",
    "stopping_now": "Stopping now",
    "stopping_queue": (
        "Stopping: no further row goes into the queue; waiting for what workers have of it; "
        "interrupt again to leave that to them"
    ),
    "stopping_queue_now": "Leaving what is in the queue to the workers",
    "stopped_account": "Stopped because the account can't send: rejected with {reason}.",
    "stopped_everybody": "Stopped because every row would be refused: {reason}.",
    "stopped_unreachable": (
        "Stopped because the gateway can't be reached: {count} rows in a row never left this "
        "machine. --stop-after sets how many; 0 goes on."
    ),
    "interrupted": "Interrupted.",
    "nothing_after": "This run sent nothing after row {row}.",
    "nothing_tried": "This run sent nothing.",
    "duplicates": (
        "{count} of the unknown rows have code 124: the gateway has had these messages before, and "
        "nothing here tells what became of them. Do not send them as new messages: wait for their "
        "delivery reports."
    ),
    "duplicates_reconcile": (
        "{count} of the unknown rows have code 124: the gateway has had these messages before, and "
        "nothing here tells what became of them. Do not send them as new messages: wait for their "
        "delivery reports, or look for them in the gateway's list with:"
    ),
    "go_on": "To go on, run {again}; it sends only what is not settled.",
    "go_on_soon": "To go on, run {again} within 23 hours; it sends only what is not settled.",
    "go_on_emulator": "To go on, run {again}; a new emulator has accepted nothing yet.",
    "go_on_without_ledger": (
        "To go on, run {again} within 23 hours: the gateway refuses (code 124) what it has "
        "accepted already, so no phone gets a message twice."
    ),
    "same_command": "the same command again",
    "same_command_batch": "it again with --batch {batch}",
    "retry_hint": "With --retry-rejected, the same command sends the rejected rows again.",
    # The file of results.
    "results_suffix": "--results {file} must end in .csv or .jsonl",
    "results_are_input": "--results {file} is the input or the ledger; name another file",
    "results_in_use": "--results {file} is being written by another run; name another file",
    "results_not_empty": (
        "--results {file} is not empty, and a dry run writes over nothing; name another file, or "
        "remove it"
    ),
    "results_removed": "--results {file} was removed or replaced while it was written",
    "results_unwritable": "cannot write {file}: {problem}",
    # Errors from below.
    "own_error": "an error of this program ({type}); --debug shows where",
    "cannot_write": "cannot write: {problem}",
    # One message.
    "content_or_param": "give the CONTENT to send, or --param for a Zalo template",
    "two_routes": "--route and --brandname exclude each other",
    "param": "--param takes NAME=VALUE",
    "param_twice": "--param gives {name} twice",
    "resume_needs_id": "--resume needs the --request-id of the earlier send",
    "one_accepted": "accepted",
    "one_rejected": "rejected",
    "one_not_sent": "not sent",
    "one_unknown": "unknown",
    "one_invalid": "invalid",
    "one_held_back": "held back",
    "one_sandboxed": "checked, not sent (sandbox)",
    "one_sms_id": "SMSID {sms_id}",
    "one_request_id": "request id {request_id}",
    "one_attempt": "{count} attempt",
    "one_attempts": "{count} attempts",
    "one_deduplicated": "learned from code 124; the SMSID comes with the delivery report",
    "one_duplicate": (
        "Do not send it as a new message: the gateway has had this request id before. Wait for the "
        "delivery report, or look for the message in the account's list."
    ),
    "one_expired": (
        "Do not send it again: the gateway may have accepted it and forgotten its request id. Look "
        "for the message in the account's list."
    ),
    "one_resume": (
        "To find out, run it again within 23 hours with --request-id {request_id} --resume"
    ),
    # Queries.
    "query_failed": "{problem}",
    "balance": "balance {amount} dong",
    "status_unknown": "not known, or not known yet (SMSID {sms_id})",
    "status_of": "{status} (SMSID {sms_id})",
    "status_delivered": "delivered",
    "status_failed": "failed",
    "status_composing": "composing",
    "status_awaiting_approval": "awaiting approval",
    "status_waiting": "waiting",
    "status_sending": "sending",
    "status_refused": "refused",
    "status_finished": "finished",
    "status_sent": "sent",
    "status_number": "status {number}",
    "status_not_told": "status not told",
    "reconciled_accepted": "accepted {phone} (SMSID {sms_id}, request id {request_id})",
    "reconciled_unknown": "unknown {phone}: {missing} (request id {request_id})",
    "some_phone": "a phone",
    "missing_found": (
        "it is listed as accepted, but its entry was deleted from the ledger meanwhile"
    ),
    "missing_undecided": "it is listed, but the gateway has not taken it yet, or refuses it",
    "missing_ambiguous": "several listed messages have its request id as campaign id",
    "missing_similar": (
        "messages to this phone are listed for that time, but none has its request id as campaign "
        "id; only a client made with trackable=True sends that"
    ),
    "missing_absent": (
        "it is not listed, which proves nothing: the list lags behind, and a client made without "
        "trackable=True sends no campaign id to find it by"
    ),
    "reconciled": "{settled} settled, {unknown} unknown",
    "no_brandname": "the account has no brandname",
    "brandname_advertising": "advertising",
    "brandname_customer_care": "customer care and OTP",
    "brandname_viber": "viber",
    "brandname_type": "type {type}",
    "brandname_type_unknown": "type not told",
    "no_template": "no template is registered for the brandname {brandname}",
    "no_text": "{file} holds no text",
    "text_problem": "row {row}: {problem}",
    "more_problems": "and {count} more; --json lists them all",
    "texts_fit": "{fitting} of {count} texts fit a template of {brandname}",
    "texts_with": "  with {network}: {count}",
    "file_not_utf8": "{file} is not UTF-8; save it as UTF-8",
    "content_column_needed": "{file} has no column 'content'; name it in the first row",
    "price": "price {amount} dong",
    # Ledgers and reports.
    "no_ledger_there": "there is no ledger {place}; name its file, or a redis:// URL",
    "no_ledger_of_queue": (
        "{place} holds no ledger of queue {name}; set ESMS_QUEUE_NAME to the queue's name"
    ),
    "no_such_send": "the ledger holds no send with the request id {request_id}",
    "reason_attempt": "an attempt may have been accepted",
    "reason_duplicate": "the gateway answered 124, and no known attempt explains it",
    "reason_message": "every attempt of this message would be rejected",
    "reason_sender": "the account or the request was refused, not the message",
    "entry_request_id": "request_id",
    "entry_status": "status",
    "entry_reason": "reason",
    "entry_generation": "generation",
    "entry_phone": "phone",
    "entry_in_doubt_since": "in_doubt_since",
    "entry_updated_at": "updated_at",
    "entry_sms_id": "sms_id",
    "entry_deduplicated": "deduplicated",
    "entry_code": "code",
    "entry_http_status": "http_status",
    "entry_detail": "detail",
    "unsettled": "{count} unsettled",
    "older_than": "--older-than takes a number and s, m, h or d, as in 30d",
    "deleted": "{count} deleted",
    "rebound": "The ledger belongs to the account of ESMS_API_KEY now.",
    "bound_already": (
        "The ledger belongs to the account of ESMS_API_KEY already; nothing was changed."
    ),
    "same_account": (
        "Do ESMS_API_KEY and ESMS_SECRET_KEY belong to the account that filled this ledger? [y/N]"
    ),
    "nobody_to_ask": ("nobody can be asked here; add --yes if these are keys of the same account"),
    "nothing_changed": "nothing was changed",
    "report_failed": "{report}  {stored_at}  {failures} failures  {detail}",
    "reports_failed": "{count} failed",
    "no_such_report": "no failed report has the key {report}",
    "reports_retried": "{count} to be handed on again",
    # Queues.
    "queue_needed": "give --queue URL, or set ESMS_QUEUE_URL",
    "queue_extra": "a queue needs {name}; install it with: pip install 'esms_async[cli,queue]'",
    "worker_extra": (
        "the worker needs {name}; install it with: pip install 'esms_async[cli,queue]'"
    ),
    "uvloop_extra": (
        "--loop uvloop needs uvloop; install it with: pip install 'esms_async[cli,queue,uvloop]'"
    ),
    "queue_or_option": (
        "--queue and {option} exclude each other: workers send, and are set by environment "
        "variables"
    ),
    "secret_or_key": (
        "set ESMS_SECRET_KEY, by which rows are known again, or name a column that tells them "
        "apart: --key COLUMN"
    ),
    "dead_ids_needed": "name the ids that `queue dead` shows, or give --all",
    "no_dead_id": (
        "{id!r} is no id of a dead message; `esms-async queue dead` lists them, as 1700000000000-0"
    ),
    "requeued": "{count} put back into the queue",
    "dropped": "{count} deleted",
    "paused": "paused: what is in flight is finished",
    "resumed": "resumed",
    "lane": "{lane}: {waiting} waiting, {under_way} under way, oldest {seconds} s",
    "parked": "parked: {count}",
    "dead": "dead: {count}",
    "workers": "workers: {count}",
    "workers_paused": "workers: {count}, paused",
    "breaker": "breaker {name} is open: {remedy}",
    "breaker_code": "code {code}: {meaning}. {advice}",
    "no_worker": "no worker runs for queue {name}; esms-async worker starts one",
    "queue_full": "the Redis server is out of memory (maxmemory); workers wait until it has some",
    "queue_paused": "queue {name} is paused; esms-async queue resume has its workers go on",
    "workers_stopped": (
        "{count} of {workers} workers of queue {name} are stopped by breaker {breakers}; their "
        "logs name the remedy"
    ),
    "queue_goes_on": "the workers of queue {name} go on",
    "queue_empty": "the queue is empty",
    "queue_not_empty": "time is up, and the queue is not empty",
    # What ends a command.
    "standard_output_closed": "standard output is closed; lead it to a file, or to /dev/null",
    "see_help": "{problem}; see {command} --help",
    "interrupted_here": "interrupted",
}

_VIETNAMESE: Final = {
    "standard_input": "đầu vào chuẩn",
    "standard_input_closed": "đầu vào chuẩn đã đóng; hãy nối một tệp vào, hoặc /dev/null",
    "file_empty": "{file} không có gì",
    "file_unreadable": "không đọc được {file}: {problem}",
    "file_changed": "{file} bị ghi lại trong lúc đang đọc; hãy chạy lại lệnh",
    "file_compressed": "{file} là tệp nén; hãy lưu thành CSV UTF-8 hoặc .xlsx",
    "json_array": "{file} là một mảng JSON; hãy ghi mỗi dòng một đối tượng (JSON Lines)",
    "header_too_long": "dòng đầu của {file} dài hơn {longest} ký tự",
    "header_not_utf8": (
        "dòng tiêu đề của {file} không phải UTF-8; hãy lưu tệp dạng 'CSV UTF-8' hoặc .xlsx"
    ),
    "header_not_csv": "dòng tiêu đề của {file} không đúng dạng CSV",
    "no_header": "dòng đầu của {file} chứa số điện thoại; dòng đầu phải là tên các cột",
    "no_rows": "{file} chỉ có dòng tiêu đề, không có dòng nào để gửi",
    "excel_missing": (
        "{file} là bảng tính Excel; để đọc, hãy cài bằng: pip install 'esms_async[excel]', hoặc "
        "lưu thành CSV UTF-8"
    ),
    "workbook_from_pipe": "không đọc được bảng tính qua ống dẫn; hãy cho biết tên tệp",
    "workbook_password": "{file} có mật khẩu; hãy lưu lại không có mật khẩu",
    "workbook_unreadable": (
        "không đọc được {file} như một bảng tính ({problem}); hãy lưu lại thành .xlsx"
    ),
    "no_phone_column": (
        "tiêu đề của {file} không có cột 'phone', và không rõ cột nào chứa số điện thoại; dòng đầu "
        "phải là tên các cột, --phone-column TÊN chỉ ra cột đó"
    ),
    "many_phone_columns": (
        "có hơn một cột của {file} có thể là số điện thoại: {columns}; "
        "hãy chọn bằng --phone-column TÊN"
    ),
    "no_content_column": (
        "tiêu đề của {file} không có cột 'content' (các cột: {columns}); hãy chỉ ra cột bằng "
        "--content-column TÊN, hoặc ghép nội dung từ các cột, ví dụ --content 'Ma cua ban: {{cột}}'"
    ),
    "many_content_columns": (
        "có hơn một cột của {file} có thể là nội dung: {columns}; "
        "hãy chọn bằng --content-column TÊN"
    ),
    "column_missing": (
        "tiêu đề của {file} không có cột {column!r} mà {option} nêu (các cột: {columns})"
    ),
    "column_twice": (
        "tiêu đề của {file} có hơn một cột {column!r} mà {option} nêu; hãy đổi tên một cột"
    ),
    "template_empty": "mẫu tin để trống; hãy cho nội dung cần gửi",
    "template_brace": (
        "dấu ngoặc nhọn ở vị trí {position} của mẫu tin không nêu cột nào; hãy viết {{cột}}, hoặc "
        "{{{{ và }}}} nếu cần dấu ngoặc"
    ),
    "retry_needs_ledger": "--retry-rejected cần sổ ghi biết tin nào đã bị từ chối",
    "changed_needs_ledger": "--template-changed cần sổ ghi biết tin nào đã gửi",
    "two_contents": "không dùng --content và --content-column cùng lúc",
    "batch_needed": (
        "với đầu vào chuẩn, --ledger cần thêm --batch TÊN để lần sau nhận ra các dòng"
    ),
    "rate": "--rate là một số, có thể thêm /s, /m hoặc /h, ví dụ 50/s hoặc 600/m",
    "emulator_or_url": "không dùng --emulator và --base-url cùng lúc",
    "faults_need_emulator": "--fault và --seed chỉ dùng với --emulator; hãy thêm vào",
    "ledger_url": "không đọc được URL của sổ ghi; hãy viết như redis://host:6379/0",
    "ledger_or_none": "không dùng --ledger và --no-ledger cùng lúc",
    "ledger_in_sandbox": "sandbox không gửi gì để ghi sổ; hãy bỏ --ledger",
    "other_template": (
        "đợt {batch!r} đã bắt đầu với nội dung khác, có thể đã đến người nhận; nếu là tin mới, hãy "
        "dùng --batch TÊN_MỚI; nếu sửa lỗi, hãy thêm --template-changed: nội dung mới chỉ gửi cho "
        "những dòng chưa ai nhận được"
    ),
    "other_route": (
        "đợt {batch!r} đã bắt đầu qua kênh gửi {route}; hãy dùng --batch TÊN_MỚI để gửi qua kênh "
        "khác"
    ),
    "other_key": (
        "đợt {batch!r} đã bắt đầu với --key {column}; hãy dùng lại, hoặc dùng --batch TÊN_MỚI"
    ),
    "other_key_none": (
        "đợt {batch!r} đã bắt đầu không có --key; hãy bỏ ra, hoặc dùng --batch TÊN_MỚI"
    ),
    "other_secret": (
        "các dòng của đợt {batch!r} đã gửi với secret key khác, dùng khóa này thì mỗi dòng sẽ bị "
        "gửi lại; hãy đặt ESMS_ROW_SECRET bằng secret key cũ; nếu khóa cũ bị gõ sai nên chưa dòng "
        "nào được nhận, hãy thêm --batch TÊN_MỚI"
    ),
    "no_facts": "{ledger} không lưu được thông tin của đợt gửi; hãy dùng sổ ghi khác",
    "line_too_long": "dài hơn {longest} ký tự",
    "quote_open": "mở dấu nháy kép mà không đóng",
    "stray_quote": "có dấu nháy kép bên trong dấu nháy; hãy viết đôi",
    "stray_return": "có ký tự xuống dòng (CR) ngoài dấu nháy; hãy kết thúc dòng bằng LF hoặc CRLF",
    "too_few_fields": "có ít ô ({count}) hơn dòng tiêu đề ({width})",
    "too_many_fields": (
        "có nhiều ô ({count}) hơn dòng tiêu đề ({width}); hãy đặt ô chứa dấu phân cách trong dấu "
        "nháy"
    ),
    "not_json": "không phải JSON",
    "not_an_object": "không phải đối tượng JSON",
    "two_keys_of_one_name": "có hai khóa cùng tên; hãy đổi tên một khóa",
    "value_missing": "{column}: thiếu",
    "value_empty": "{column}: để trống",
    "value_empty_in_workbook": (
        "{column}: để trống, báo lỗi như #DIV/0!, hoặc là công thức chưa có giá trị; hãy mở tệp "
        "bằng Excel rồi lưu lại để có giá trị"
    ),
    "value_type": "{column}: kiểu {type}; hãy viết thành chuỗi",
    "not_utf8": "dòng này không phải UTF-8; hãy lưu tệp dạng 'CSV UTF-8' hoặc .xlsx",
    "control_character": "nội dung có ký tự điều khiển {code_point}; hãy xóa đi",
    "content_too_long": "nội dung dài hơn {most} phần tin",
    "message_invalid": "tin không hợp lệ: {problem}",
    "phone_rounded": "Excel đã làm tròn số điện thoại; hãy định dạng cột thành văn bản (Text)",
    "phone_invalid": (
        "không phải số di động Việt Nam (0 và chín chữ số, chữ số đầu là 3, 5, 7, 8 hoặc 9)"
    ),
    "repeated": "trùng số điện thoại và nội dung với dòng trước; --allow-duplicates thì vẫn gửi",
    "other_text": "dòng trước có nội dung khác cho số này; --allow-again thì gửi cả hai",
    "other_text_sent": (
        "đợt này đã gửi nội dung khác cho số này; --batch TÊN_MỚI mở đợt mới, --allow-again thì "
        "gửi thêm nội dung này"
    ),
    "other_text_in_doubt": (
        "đợt này có thể đã gửi nội dung khác cho số này; --batch TÊN_MỚI mở đợt mới, --allow-again "
        "thì gửi thêm nội dung này"
    ),
    "done_with_other_text": "số này đã nhận nội dung cũ",
    "in_doubt_with_other_text": (
        "nội dung cũ có thể đã được nhận; hãy chạy lệnh cũ, hoặc reconcile, để biết"
    ),
    "key_repeated": "{column}: dòng trước đã có khóa này và được gửi trước",
    "key_used": "khóa này đã dùng cho số hoặc nội dung khác; hãy đổi khóa nếu muốn gửi thêm",
    "key_used_and_refused": (
        "khóa này đã dùng cho số hoặc nội dung khác và bị từ chối; thêm --retry-rejected để gửi "
        "dòng này"
    ),
    "code": "mã {code}: {meaning}",
    "code_and_words": "mã {code}: {meaning}; cổng báo '{words}'",
    "code_124": "mã 124: cổng đã từng nhận tin này, ở đây không biết kết quả ra sao",
    "http_refusal": "bị từ chối với mã HTTP {status}",
    "http_refusal_advice": (
        "Hãy kiểm tra địa chỉ (ESMS_BASE_URL, --base-url), và proxy hay tường lửa trước cổng."
    ),
    "expired": "có thể đã được nhận từ quá lâu, không gửi lại được nữa",
    "unknown": "có thể đã được nhận: {problem}",
    "not_sent": "chưa có gì rời máy này: {problem}",
    "failed": "không gửi được: {problem}",
    "other_reasons": "lý do khác; tệp kết quả ghi đủ",
    "repaired_lost_zero": "số bị mất số 0 ở đầu: đã sửa",
    "repaired_decimal": "số bị đổi thành số thập phân (….0, E+10): đã sửa",
    "repaired_country_code": "số có dấu ngoặc hoặc số 0 sau mã nước: đã sửa",
    "emulator": "TRÌNH GIẢ LẬP: KHÔNG TIN NÀO RỜI MÁY NÀY",
    "emulator_inbox": "Hộp thư: {page} (seed {seed})",
    "says": "{problem}",
    "gateway": "Cổng: {url}",
    "gateway_seed": "Cổng: {url} (seed {seed})",
    "ledger": "Sổ ghi: {place}",
    "no_ledger_for": "Không có sổ ghi: {file} không phải tệp để đặt sổ bên cạnh; dùng --ledger",
    "no_ledger_sandbox": "Không có sổ ghi: sandbox không gửi gì",
    "no_ledger_wanted": (
        "Không có sổ ghi: trong 24 giờ cổng từ chối (mã 124) tin đã nhận của đợt này; chạy sau đó "
        "thì mọi dòng bị gửi lại"
    ),
    "sending": "Gửi {file}, đợt {batch!r}",
    "sheet": "Trang tính: {title}",
    "columns": "Các cột: số điện thoại {phone}, nội dung {content}",
    "columns_guessed": (
        "Các cột: số điện thoại {phone} (đoán theo tên hoặc dữ liệu; --phone-column để chọn), "
        "nội dung {content}"
    ),
    "columns_template": "Các cột: số điện thoại {phone}; nội dung theo mẫu",
    "columns_template_guessed": (
        "Các cột: số điện thoại {phone} (đoán theo tên hoặc dữ liệu; --phone-column để chọn); "
        "nội dung theo mẫu"
    ),
    "route": "Kênh gửi: {route}",
    "route_fixed": "đầu số cố định",
    "no_plan": "Ống dẫn được gửi ngay khi đọc, nên không có kế hoạch trước.",
    "label_rows": "số dòng",
    "label_to_send": "sẽ gửi",
    "label_checked": "gửi được",
    "label_unicode": "trong đó có dấu",
    "label_parts": "số phần tin",
    "label_cost": "chi phí ước tính (đồng)",
    "label_accepted": "đã được nhận",
    "label_retried": "trong đó phải thử lại",
    "label_deduplicated": "trong đó xác nhận qua mã 124",
    "label_already_done": "đã xong từ trước",
    "label_rejected": "bị từ chối",
    "label_not_sent": "chưa gửi",
    "label_unknown": "chưa rõ",
    "label_duplicates": "trong đó mã 124",
    "label_held_back": "giữ lại",
    "label_invalid": "không hợp lệ",
    "label_repaired": "số đã sửa",
    "label_total": "tổng cộng",
    "one_row": "dòng {row}",
    "some_rows": "dòng {rows}",
    "first_rows": "dòng {rows}, …",
    "more_reasons": "và {count} lý do khác",
    "listed_in": "Từng dòng và lý do: {file}",
    "list_with": "--results OUT.csv ghi lại từng dòng và lý do.",
    "ask": "Gửi {count} tin ngay bây giờ? [c/K]",
    "yes": "c co có",
    "ask_all": "Gửi mọi dòng ngay bây giờ? [c/K]",
    "nothing_sent": "Đã dừng: chưa gửi gì",
    "workers_send": "Các worker của hàng đợi {name} gửi",
    "nothing_sent_no": "Chưa gửi gì.",
    "dry_run": "Chạy thử: không gửi gì.",
    "done": "xong {count}",
    "done_of": "xong {count} trên {expected}",
    "rate_now": "{rate}/giây",
    "left": "còn {time}",
    "retried": "thử lại",
    "more_like_this": "{line} (và {count} lần nữa)",
    "seconds": "{seconds} giây, {rate} tin/giây",
    "emulated_count": "Theo cổng đếm: {accepted} tin được nhận, {twice} tin đến một máy hai lần",
    "sandbox": "Sandbox: tin được nhận chỉ là kiểm tra, không gửi.",
    "stopping": "Đang dừng: chờ những tin đang gửi; ngắt lần nữa để dừng ngay",
    "stopping_now": "Dừng ngay",
    "stopping_queue": (
        "Đang dừng: không đưa thêm dòng nào vào hàng đợi; chờ các worker gửi xong phần đã đưa vào; "
        "ngắt lần nữa để giao phần đó cho worker"
    ),
    "stopping_queue_now": "Giao phần còn trong hàng đợi cho các worker",
    "stopped_account": "Đã dừng vì tài khoản không gửi được: {reason}.",
    "stopped_everybody": "Đã dừng vì mọi dòng đều sẽ bị từ chối: {reason}.",
    "stopped_unreachable": (
        "Đã dừng vì không kết nối được tới cổng: {count} dòng liên tiếp chưa rời máy này. "
        "--stop-after đổi con số này; 0 là không dừng."
    ),
    "interrupted": "Đã ngắt.",
    "nothing_after": "Lần chạy này không gửi gì sau dòng {row}.",
    "nothing_tried": "Lần chạy này không gửi gì.",
    "duplicates": (
        "{count} dòng chưa rõ có mã 124: cổng đã từng nhận các tin này, ở đây không biết kết quả. "
        "Đừng gửi chúng như tin mới: hãy chờ báo cáo phát tin."
    ),
    "duplicates_reconcile": (
        "{count} dòng chưa rõ có mã 124: cổng đã từng nhận các tin này, ở đây không biết kết quả. "
        "Đừng gửi chúng như tin mới: hãy chờ báo cáo phát tin, hoặc tìm trong danh sách của cổng:"
    ),
    "go_on": "Để tiếp tục, hãy chạy {again}; chỉ những dòng chưa xong mới được gửi.",
    "go_on_soon": (
        "Để tiếp tục, hãy chạy {again} trong vòng 23 giờ; chỉ những dòng chưa xong mới được gửi."
    ),
    "go_on_emulator": "Để tiếp tục, hãy chạy {again}; trình giả lập mới chưa nhận tin nào.",
    "go_on_without_ledger": (
        "Để tiếp tục, hãy chạy {again} trong vòng 23 giờ: cổng từ chối (mã 124) tin đã nhận, nên "
        "không máy nào nhận một tin hai lần."
    ),
    "same_command": "lại lệnh này",
    "same_command_batch": "lại với --batch {batch}",
    "retry_hint": "Thêm --retry-rejected, lệnh này sẽ gửi lại các dòng bị từ chối.",
    "results_suffix": "--results {file} phải có đuôi .csv hoặc .jsonl",
    "results_are_input": "--results {file} chính là tệp vào hoặc sổ ghi; hãy chọn tệp khác",
    "results_in_use": "--results {file} đang được một lần chạy khác ghi; hãy chọn tệp khác",
    "results_not_empty": (
        "--results {file} đã có nội dung, chạy thử không ghi đè; hãy chọn tệp khác, hoặc xóa tệp đó"
    ),
    "results_removed": "--results {file} bị xóa hoặc thay trong lúc đang ghi",
    "results_unwritable": "không ghi được {file}: {problem}",
    "own_error": "lỗi của chương trình ({type}); --debug cho biết ở đâu",
    "cannot_write": "không ghi được: {problem}",
    "content_or_param": "hãy cho CONTENT cần gửi, hoặc --param với mẫu tin Zalo",
    "two_routes": "không dùng --route và --brandname cùng lúc",
    "param": "--param viết dạng TÊN=GIÁ_TRỊ",
    "param_twice": "--param cho {name} hai lần",
    "resume_needs_id": "--resume cần --request-id của lần gửi trước",
    "one_accepted": "đã được nhận",
    "one_rejected": "bị từ chối",
    "one_not_sent": "chưa gửi",
    "one_unknown": "chưa rõ",
    "one_invalid": "không hợp lệ",
    "one_held_back": "giữ lại",
    "one_sandboxed": "đã kiểm tra, không gửi (sandbox)",
    "one_sms_id": "SMSID {sms_id}",
    "one_request_id": "mã yêu cầu {request_id}",
    "one_attempt": "{count} lần thử",
    "one_attempts": "{count} lần thử",
    "one_deduplicated": "biết được nhờ mã 124; SMSID sẽ đến cùng báo cáo phát tin",
    "one_duplicate": (
        "Đừng gửi nó như tin mới: cổng đã từng nhận mã yêu cầu này. Hãy chờ báo cáo phát tin, hoặc "
        "tìm tin trong danh sách của tài khoản."
    ),
    "one_expired": (
        "Đừng gửi lại: cổng có thể đã nhận tin và đã quên mã yêu cầu. Hãy tìm tin trong danh sách "
        "của tài khoản."
    ),
    "one_resume": (
        "Để biết kết quả, hãy chạy lại trong vòng 23 giờ với --request-id {request_id} --resume"
    ),
    "query_failed": "không hỏi được cổng: {problem}",
    "balance": "số dư {amount} đồng",
    "status_unknown": "cổng không biết, hoặc chưa biết (SMSID {sms_id})",
    "status_of": "{status} (SMSID {sms_id})",
    "status_delivered": "đã đến máy",
    "status_failed": "không đến được máy",
    "status_composing": "đang soạn",
    "status_awaiting_approval": "chờ duyệt",
    "status_waiting": "chờ gửi",
    "status_sending": "đang gửi",
    "status_refused": "bị từ chối",
    "status_finished": "đã gửi xong",
    "status_sent": "đã gửi",
    "status_number": "trạng thái {number}",
    "status_not_told": "cổng không cho biết trạng thái",
    "reconciled_accepted": "đã được nhận {phone} (SMSID {sms_id}, mã yêu cầu {request_id})",
    "reconciled_unknown": "chưa rõ {phone}: {missing} (mã yêu cầu {request_id})",
    "some_phone": "một số điện thoại",
    "missing_found": "danh sách ghi là đã nhận, nhưng tin này vừa bị xóa khỏi sổ ghi",
    "missing_undecided": "có trong danh sách, nhưng cổng chưa nhận, hoặc từ chối tin này",
    "missing_ambiguous": "nhiều tin trong danh sách có campaign id là mã yêu cầu này",
    "missing_similar": (
        "danh sách có tin tới số này vào lúc đó, nhưng không tin nào có campaign id là mã yêu cầu "
        "này; chỉ client đặt trackable=True mới gửi nó"
    ),
    "missing_absent": (
        "không có trong danh sách, nhưng điều đó không chứng minh gì: danh sách đến chậm, và "
        "client không đặt trackable=True thì không gửi campaign id để tìm"
    ),
    "reconciled": "{settled} tin đã chốt, {unknown} tin chưa rõ",
    "no_brandname": "tài khoản không có brandname nào",
    "brandname_advertising": "quảng cáo",
    "brandname_customer_care": "chăm sóc khách hàng và OTP",
    "brandname_viber": "Viber",
    "brandname_type": "loại {type}",
    "brandname_type_unknown": "không rõ loại",
    "no_template": "chưa có mẫu tin nào đăng ký cho brandname {brandname}",
    "no_text": "{file} không có nội dung nào",
    "text_problem": "dòng {row}: {problem}",
    "more_problems": "và {count} dòng nữa; --json liệt kê hết",
    "texts_fit": "{fitting} trên {count} nội dung khớp một mẫu tin của {brandname}",
    "texts_with": "  với {network}: {count}",
    "file_not_utf8": "{file} không phải UTF-8; hãy lưu lại dạng UTF-8",
    "content_column_needed": "{file} không có cột 'content'; hãy ghi tên cột ở dòng đầu",
    "price": "giá {amount} đồng",
    "no_ledger_there": "không có sổ ghi {place}; hãy cho tên tệp, hoặc địa chỉ redis://",
    "no_ledger_of_queue": (
        "{place} không có sổ ghi của hàng đợi {name}; hãy đặt ESMS_QUEUE_NAME bằng tên hàng đợi"
    ),
    "no_such_send": "sổ ghi không có tin nào với mã yêu cầu {request_id}",
    "reason_attempt": "một lần thử có thể đã được nhận",
    "reason_duplicate": "cổng trả lời 124, không lần thử nào đã biết cho thấy vì sao",
    "reason_message": "mọi lần thử của tin này đều sẽ bị từ chối",
    "reason_sender": "tài khoản hoặc yêu cầu bị từ chối, không phải tin này",
    "entry_request_id": "mã yêu cầu",
    "entry_status": "trạng thái",
    "entry_reason": "lý do",
    "entry_generation": "số lần giữ",
    "entry_phone": "số điện thoại",
    "entry_in_doubt_since": "chưa rõ từ",
    "entry_updated_at": "đổi lúc",
    "entry_sms_id": "SMSID",
    "entry_deduplicated": "biết qua mã 124",
    "entry_code": "mã",
    "entry_http_status": "mã HTTP",
    "entry_detail": "cổng báo",
    "unsettled": "{count} tin chưa chốt",
    "older_than": "--older-than là một số kèm s, m, h hoặc d, ví dụ 30d",
    "deleted": "đã xóa {count} tin",
    "rebound": "Từ giờ sổ ghi thuộc về tài khoản của ESMS_API_KEY.",
    "bound_already": "Sổ ghi vốn đã thuộc về tài khoản của ESMS_API_KEY; không đổi gì.",
    "same_account": (
        "ESMS_API_KEY và ESMS_SECRET_KEY có thuộc về tài khoản đã ghi sổ này không? [c/K]"
    ),
    "nobody_to_ask": ("ở đây không hỏi ai được; hãy thêm --yes nếu đây là khóa của cùng tài khoản"),
    "nothing_changed": "không đổi gì",
    "report_failed": "{report}  {stored_at}  {failures} lần lỗi  {detail}",
    "reports_failed": "{count} báo cáo bị lỗi",
    "no_such_report": "không có báo cáo bị lỗi nào với key {report}",
    "reports_retried": "{count} báo cáo sẽ được chuyển lại",
    "queue_needed": "hãy cho --queue URL, hoặc đặt ESMS_QUEUE_URL",
    "queue_extra": "hàng đợi cần {name}; hãy cài bằng: pip install 'esms_async[cli,queue]'",
    "worker_extra": "worker cần {name}; hãy cài bằng: pip install 'esms_async[cli,queue]'",
    "uvloop_extra": (
        "--loop uvloop cần uvloop; hãy cài bằng: pip install 'esms_async[cli,queue,uvloop]'"
    ),
    "queue_or_option": (
        "không dùng --queue và {option} cùng lúc: worker gửi tin, và được đặt bằng biến môi trường"
    ),
    "secret_or_key": (
        "hãy đặt ESMS_SECRET_KEY để lần sau nhận ra các dòng, hoặc nêu cột phân biệt chúng: "
        "--key CỘT"
    ),
    "dead_ids_needed": "hãy nêu các id mà `queue dead` liệt kê, hoặc dùng --all",
    "no_dead_id": (
        "{id!r} không phải id của tin không gửi được; `esms-async queue dead` liệt kê các id, dạng "
        "1700000000000-0"
    ),
    "requeued": "đã đưa {count} tin về lại hàng đợi",
    "dropped": "đã xóa {count} tin",
    "paused": "đã tạm dừng: tin đang gửi được gửi nốt",
    "resumed": "đã chạy tiếp",
    "lane": "{lane}: {waiting} tin chờ, {under_way} tin đang gửi, tin cũ nhất {seconds} giây",
    "parked": "tạm gác: {count}",
    "dead": "không gửi được: {count}",
    "workers": "worker: {count}",
    "workers_paused": "worker: {count}, đang tạm dừng",
    "breaker": "cầu dao {name} đang ngắt: {remedy}",
    "breaker_code": "mã {code}: {meaning}. {advice}",
    "no_worker": "không có worker nào chạy cho hàng đợi {name}; esms-async worker chạy một worker",
    "queue_full": "máy chủ Redis hết bộ nhớ (maxmemory); các worker chờ cho đến khi có lại",
    "queue_paused": "hàng đợi {name} đang tạm dừng; esms-async queue resume cho worker chạy tiếp",
    "workers_stopped": (
        "{count} trên {workers} worker của hàng đợi {name} đang bị cầu dao {breakers} chặn; log "
        "của chúng nêu cách khắc phục"
    ),
    "queue_goes_on": "các worker của hàng đợi {name} chạy tiếp",
    "queue_empty": "hàng đợi đã trống",
    "queue_not_empty": "hết giờ mà hàng đợi chưa trống",
    "standard_output_closed": "đầu ra chuẩn đã đóng; hãy nối vào một tệp, hoặc /dev/null",
    "see_help": "{problem}; xem {command} --help",
    "interrupted_here": "đã ngắt",
}

CATALOGUES: Final[Mapping[Language, Mapping[str, str]]] = MappingProxyType(
    {Language.ENGLISH: _ENGLISH, Language.VIETNAMESE: _VIETNAMESE}
)
