"""What goes wrong, in Vietnamese: the errors of click, of the package and of the system.

The package raises its errors in English, for programs. Here the sentence is the key, as a pattern:
what stands in its place in one sentence is said in Vietnamese too, if it is known. A test finds an
error of the package that is new or changed, and not in here. It is imported only where it is shown.
"""

import re
from typing import Final

from esms_async.codes import lookup


def in_vietnamese(problem: str) -> str:
    """Return a problem in Vietnamese; a sentence that is not known stays as it is."""
    for pattern, said in _PROBLEMS:
        if match := pattern.fullmatch(problem):
            parts = {name: in_vietnamese(part) for name, part in match.groupdict("").items()}
            meaning = lookup(match["code"]).meaning_vi if "code" in parts else ""
            return said.format_map({**parts, "meaning": meaning})
    return problem


# The first pattern that fits counts, so those that fit much stand below.
_PROBLEMS: Final = [
    (re.compile(re.escape(problem)), said)
    for problem, said in {
        "No such file or directory": "không có tệp này",
        "Permission denied": "không có quyền",
        "Is a directory": "đó là một thư mục",
        "Not a directory": "đó không phải thư mục",
        "File exists": "đã có tệp này",
        "No space left on device": "đĩa đã đầy",
        "Read-only file system": "ổ đĩa hoặc thư mục này chỉ cho đọc",
        "database or disk is full": "đĩa đã đầy",
        "disk I/O error": "lỗi đọc ghi đĩa",
        "unable to open database file": "không mở được tệp",
        "file is not a database": "tệp này không phải SQLite",
        "attempt to write a readonly database": "tệp chỉ cho đọc",
        "Connection refused": "kết nối bị từ chối",
        "Connection reset by peer": "kết nối bị cắt giữa chừng",
        "Address already in use": "địa chỉ đang được dùng",
        "Name or service not known": "không tìm thấy tên máy này",
        "ledger": "sổ ghi",
        "queue": "hàng đợi",
        "limiter": "bộ giới hạn tốc độ",
    }.items()
] + [
    (re.compile(pattern, re.DOTALL), said)
    for pattern, said in {
        # What click 8.1 to 8.5 say of wrong use, without the full stop.
        r"(?P<problem>No such (?:option|command).*?)\.? "
        r"\(?(?:Did you mean(?: one of:)?|Possible options:) (?P<others>.+?)\??\)?": (
            "{problem}; ý bạn là {others}?"
        ),
        r"No such option:? (?P<name>\S+?)\.?": "không có tùy chọn {name}",
        r"No such command (?P<name>.+?)\.?": "không có lệnh {name}",
        r"Missing command": "thiếu tên lệnh",
        r"Missing argument '(?P<name>.+?)'(?:\. Choose from:.+)?": "thiếu đối số {name}",
        r"Missing option '(?P<name>.+?)'": "thiếu tùy chọn {name}",
        r"Option (?P<name>\S+) requires an argument": "tùy chọn {name} cần một giá trị",
        r"Option (?P<name>\S+) does not take a value": "tùy chọn {name} không nhận giá trị",
        r"Invalid value for (?P<name>.+?): (?P<problem>.+)": (
            "giá trị của {name} không hợp lệ: {problem}"
        ),
        r"(?P<value>.+) is not a valid (?:integer|float|integer range)": "{value} không phải là số",
        r"(?P<value>.+) is not in the range (?P<range>.+)": "{value} nằm ngoài khoảng {range}",
        r"(?P<value>.+) is not one of (?P<choices>.+)": "{value} không thuộc {choices}",
        r"there are too many arguments; put quotes around each": (
            "có quá nhiều đối số; hãy đặt mỗi đối số trong dấu nháy"
        ),
        # Settings.
        r"set the environment variable ESMS_QUEUE_URL, or give --queue URL": (
            "hãy đặt biến môi trường ESMS_QUEUE_URL, hoặc cho --queue URL"
        ),
        r"set the environment variables? (?P<names>.+)": "hãy đặt biến môi trường {names}",
        r"(?P<name>\w+) and (?P<other>ESMS_\w+)": "{name} và {other}",
        r"(?P<name>ESMS_\w+) must be 1 or 0, not (?P<value>.+)": (
            "{name} phải là 1 hoặc 0, không phải {value}"
        ),
        r"(?P<name>api_key|secret_key) must be (?P<words>.+)": (
            "{name} phải là các ký tự ASCII nhìn thấy được, và không để trống"
        ),
        r"base_url is not a URL": "địa chỉ của cổng không phải là URL",
        r"base_url must be an absolute https:// URL": "địa chỉ của cổng phải bắt đầu bằng https://",
        r"base_url must not hold a user name or password": (
            "địa chỉ của cổng không được chứa tên hoặc mật khẩu"
        ),
        r"base_url must not hold a query or a fragment": (
            "địa chỉ của cổng không được chứa ? hoặc #"
        ),
        r"base_url must be https://; .+": (
            "địa chỉ của cổng phải bắt đầu bằng https://; http:// gửi khóa không mã hóa, nên chỉ "
            "dùng được với máy này và với trình giả lập mà ESMS_ALLOW_HTTP nêu tên"
        ),
        r"allow_http must hold host names without scheme and port, not (?P<value>.+)": (
            "ESMS_ALLOW_HTTP phải là tên máy, không có http:// và port, không phải {value}"
        ),
        r"allow_http must not hold (?P<value>.+): http:// carries the keys in clear": (
            "ESMS_ALLOW_HTTP không được chứa {value}: http:// gửi khóa không mã hóa"
        ),
        r"(?P<option>--route|ESMS_ROUTE|--brandname): (?P<problem>.+)": "{option}: {problem}",
        r"a route is (?P<forms>.+), not (?P<value>.+)": "kênh gửi là {forms}, không phải {value}",
        r"(?P<name>name|oa_id|template_id) must be printable, .+: (?P<value>.+)": (
            "tên phải in được, không có khoảng trắng ở hai đầu và không để trống: {value}"
        ),
        r"(?P<name>name|oa_id|template_id) has more than (?P<most>\d+) characters": (
            "tên dài hơn {most} ký tự"
        ),
        r"(?P<name>oa_id|template_id) must hold no colon: (?P<value>.+)": (
            "{name} không được có dấu hai chấm: {value}"
        ),
        r'(?P<name>mode) must be "1" \(normal\) or "3" \(beyond the quota\), not (?P<value>.+)': (
            "{name} phải là 1 (thường) hoặc 3 (vượt hạn mức), không phải {value}"
        ),
        r"the gateway gives prices for brandname messages only, not for the route (?P<route>.+)": (
            "cổng chỉ cho biết giá của tin brandname, không có giá của kênh gửi {route}"
        ),
        r"sms_id must be a str of 1 to (?P<most>\d+) printable characters": (
            "SMSID phải có 1 đến {most} ký tự in được"
        ),
        # Messages.
        r"phone:? .+ is not a Vietnamese mobile number; .+": (
            "không phải số di động Việt Nam; số đó gồm 0 và chín chữ số, chữ số đầu là 3, 5, 7, 8 "
            "hoặc 9"
        ),
        r"content: is empty; give the text to send": "nội dung để trống; hãy cho nội dung cần gửi",
        r"content: is missing; give the text to send, or params": (
            "thiếu nội dung; hãy cho nội dung cần gửi, hoặc các tham số"
        ),
        r"content: would take (?P<parts>\d+) parts; a message has at most (?P<most>\d+)": (
            "nội dung dài {parts} phần tin; một tin có nhiều nhất {most} phần"
        ),
        r"content: holds half a surrogate pair at position (?P<place>\d+); decode it as UTF-8": (
            "nội dung có ký tự hỏng ở vị trí {place}; hãy đọc nó theo UTF-8"
        ),
        r"content: holds the control character (?P<sign>\S+) at position (?P<place>\d+); remove "
        r"it": ("nội dung có ký tự điều khiển {sign} ở vị trí {place}; hãy xóa đi"),
        r"content: and params exclude each other; a Zalo message has params": (
            "không dùng nội dung và tham số cùng lúc; tin Zalo có tham số"
        ),
        r"content: can't be sent; the route (?P<route>.+) takes params instead": (
            "kênh gửi {route} không nhận nội dung mà nhận tham số"
        ),
        r"params: can't be sent; the route (?P<route>.+) takes content instead": (
            "kênh gửi {route} không nhận tham số mà nhận nội dung"
        ),
        r"params: are missing; the route (?P<route>.+) takes them": (
            "thiếu tham số; kênh gửi {route} cần chúng"
        ),
        r"params: are empty; give the parameters of the template": (
            "không có tham số nào; hãy cho các tham số của mẫu tin"
        ),
        r"params: must have printable names": "tên của tham số phải in được",
        r"params: must hold a printable text for (?P<name>.+), and not an empty one": (
            "tham số {name} phải là nội dung in được, không để trống"
        ),
        r"request_id: must be 1 to 50 characters out of letters, digits and \. _ : -": (
            "mã yêu cầu phải có 1 đến 50 ký tự gồm chữ cái, chữ số và . _ : -"
        ),
        # Templates.
        r"fits no template of the brandname (?P<brandname>\S+): (?P<problem>.+)": (
            "không khớp mẫu tin nào của brandname {brandname}: {problem}"
        ),
        r"the text ends before (?P<part>.+), which takes 1 or more": (
            "nội dung hết trước {part}, phần này cần ít nhất 1 ký tự"
        ),
        r"the part for (?P<part>.+) is too long by (?P<over>\d+)": (
            "phần cho {part} dài quá {over} ký tự"
        ),
        r"the part for (?P<part>.+) must not have (?P<length>\d+) characters": (
            "phần cho {part} không được có {length} ký tự"
        ),
        r"the text goes on after the end of (?P<part>.+)": "nội dung còn tiếp sau phần cuối {part}",
        r"(?P<part>.+) is missing, or is not where the template has it": (
            "thiếu {part}, hoặc nó không đứng ở chỗ như trong mẫu tin"
        ),
        r"it is no JSON object": "không phải đối tượng JSON",
        r"(?P<field>\S+) is missing": "thiếu {field}",
        # What became of a send or a query.
        r"it may have been accepted: (?P<problem>.+)": "có thể đã được nhận: {problem}",
        r"it may have been accepted, and can't be sent now: (?P<problem>.+)": (
            "có thể đã được nhận, và bây giờ không gửi được: {problem}"
        ),
        r"an earlier attempt may have been accepted, and then: (?P<problem>.+)": (
            "một lần thử trước có thể đã được nhận, sau đó: {problem}"
        ),
        r"not sent: (?P<problem>.+)": "chưa gửi: {problem}",
        r"(?P<problem>.+); not tried again, because the retry budget is used up": (
            "{problem}; không thử lại, vì đã hết hạn mức thử lại"
        ),
        r"(?P<doubt>the ledger could not say .+|another process .+), and here: (?P<problem>.+)": (
            "{doubt}, còn ở đây: {problem}"
        ),
        r"the ledger could not say whether it was sent before: (?P<problem>.+)": (
            "sổ ghi không cho biết tin đã được gửi trước đó hay chưa: {problem}"
        ),
        r"the claim could not be given back": "chưa ghi lại được rằng tin chưa được gửi",
        r"the ledger could not say whether another process sends it": (
            "sổ ghi không cho biết có tiến trình khác đang gửi tin này hay không"
        ),
        r"another process (?:is|may be) sending the same message": (
            "có thể một tiến trình khác đang gửi cùng tin này"
        ),
        r"the client is closed, so its ledger could not say whether it was sent before": (
            "client đã đóng, nên sổ ghi không cho biết tin đã được gửi trước đó hay chưa"
        ),
        r"the (?:client|session) is closed": "client đã đóng",
        r"the deadline or expires_at has passed": "đã hết thời hạn",
        r"expires_at has passed": "đã hết thời hạn",
        r"it is too late to send it again": "đã quá muộn để gửi lại",
        r"the gateway has seen the request id, accepted or rejected": (
            "cổng đã từng nhận mã yêu cầu này, không rõ được nhận hay bị từ chối"
        ),
        r"another message (?:is under way|came before) with the same request id; nothing sent": (
            "một tin khác đã dùng mã yêu cầu này; không gửi gì"
        ),
        r"the ledger holds this request id for another message": (
            "trong sổ ghi, mã yêu cầu này thuộc về tin khác"
        ),
        r"the limiter gave no place before the deadline": (
            "bộ giới hạn tốc độ không cho lượt trước thời hạn"
        ),
        r"the limiter failed: (?P<problem>.+)": "bộ giới hạn tốc độ bị lỗi: {problem}",
        r"cancelled.*": "bị hủy",
        r"accepted, and cancelled after that": "đã được nhận, sau đó bị hủy",
        r"a worker may send it yet": "một worker còn có thể gửi tin này",
        r"the program is ending": "chương trình đang kết thúc",
        r"the (?:send|retry policy) failed: (?P<problem>.+)": "lỗi khi gửi: {problem}",
        r"the answer is larger than (?P<most>\d+) bytes": "câu trả lời dài hơn {most} byte",
        r"the request was given up": "yêu cầu đã bị bỏ",
        r"the connection was closed while it was idle": "kết nối đã bị đóng khi đang rỗi",
        r"the connection held an answer that nobody had asked for": (
            "kết nối có câu trả lời mà không ai hỏi"
        ),
        r"HTTP status (?P<status>[0-9]+)": "mã HTTP {status}",
        r"refused with HTTP status (?P<status>[0-9]+)": "bị từ chối với mã HTTP {status}",
        r"rejected with code (?P<code>\d+): .+; the gateway says (?P<words>'.*'|\".*\")": (
            "mã {code}: {meaning}; cổng báo {words}"
        ),
        r"rejected with code (?P<code>\d+): .+": "mã {code}: {meaning}",
        r"(?P<query>(?:Get|MultiChannel|Send)\S+): (?P<problem>.+)": "{query}: {problem}",
        r"500ms, 2s or 5m": "500ms, 2s hoặc 5m",
        r"500ms, 2s, 5m or 1h": "500ms, 2s, 5m hoặc 1h",
        r"fixed, brandname:NAME or zalo:OAID:TEMPID\[:MODE\]": (
            "fixed, brandname:TÊN hoặc zalo:OAID:TEMPID[:MODE]"
        ),
        r"(?:Client|Connection|Server|OS)\w*: Connect call failed "
        r"\('(?P<host>[^']+)', (?P<port>\d+)(?:, .*)?\)": "không kết nối được tới {host}:{port}",
        r"(?:Client|Connection|Server|OS)\w*: (?P<problem>.+)": "{problem}",
        r"(?:Connection|Server)?TimeoutError|Timeout, no answer within .+": (
            "không có câu trả lời kịp thời"
        ),
        r"ServerDisconnectedError|ClientPayloadError": "kết nối bị cắt giữa chừng",
        r"ClientResponseError": "câu trả lời không đúng dạng HTTP",
        r"the answer is an error object": "câu trả lời là một đối tượng báo lỗi",
        r"(?P<what>the answer|a template|\w+) (?:is not|holds no) .+": (
            "không đọc được câu trả lời của cổng"
        ),
        # Ledgers.
        r"the (?P<what>ledger|queue|limiter) on Redis (?P<place>.+?) can't be used: "
        r"(?P<problem>.+)": ("không dùng được {what} trên Redis {place}: {problem}"),
        r"the ledger (?P<place>.+) can't be used: (?P<problem>.+)": (
            "không dùng được sổ ghi {place}: {problem}"
        ),
        r"the ledger (?P<place>.+) is in use by another process; end it, or use another file": (
            "sổ ghi {place} đang được một tiến trình khác dùng; hãy dừng nó, hoặc dùng tệp khác"
        ),
        r"the ledger (?P<place>.+) is of version (?P<version>\d+), and .+ reads version "
        r"(?P<own>\d+); .+": (
            "sổ ghi {place} là của phiên bản {version}, còn bản esms_async này đọc phiên bản "
            "{own}; "
            "hãy dùng bản đã tạo ra nó, hoặc chọn tệp khác"
        ),
        r"the ledger (?P<place>.+) is cut short, and was left as it is": (
            "sổ ghi {place} bị cắt ngắn, và được giữ nguyên"
        ),
        r"(?P<place>.+) is not a ledger, and was left as it is; name another file": (
            "{place} không phải sổ ghi, và được giữ nguyên; hãy chọn tệp khác"
        ),
        r"(?P<place>.+) is an SQLite file of something else, and .+": (
            "{place} là tệp SQLite của chương trình khác, và được giữ nguyên; hãy chọn tệp khác"
        ),
        r"(?P<place>.+) can't be a file: it holds a NUL; name another file": (
            "{place} không thể là tên tệp: nó chứa ký tự NUL; hãy chọn tệp khác"
        ),
        r"the entry of request id (?P<request_id>\S+) can't be read; .+": (
            "không đọc được mục của mã yêu cầu {request_id}; bản esms_async mới hơn, hoặc chương "
            "trình khác, đã ghi nó"
        ),
        r"the ledger holds what was sent to (?P<kept>.+); use another ledger for .+ to "
        r"(?P<now>.+)": (
            "sổ ghi này giữ những gì đã gửi tới {kept}; hãy dùng sổ ghi khác cho những gì gửi tới "
            "{now}"
        ),
        r"the ledger belongs to another ApiKey, .+ run (?P<command>`.+`) once, .+": (
            "sổ ghi thuộc về ApiKey khác, mà những gì tài khoản này đã gửi không nói gì về tài "
            "khoản kia; nếu đây là khóa mới của cùng tài khoản, hoặc lần trước gõ sai ApiKey, hãy "
            "chạy {command} một lần, nếu không hãy dùng sổ ghi khác"
        ),
        r"a (?P<ledger>\w+) is bound to no account": "{ledger} không gắn với tài khoản nào",
        r"the URL of the Redis server can't be read; .+": (
            "không đọc được URL của máy chủ Redis; hãy viết như redis://user:password@host:port/0, "
            "rediss://… hoặc unix:///path, ký tự đặc biệt trong tên và mật khẩu viết dạng %XX"
        ),
        r"RedisLedger needs redis-py; install it with: (?P<command>.+)": (
            "sổ ghi trên Redis cần redis-py; hãy cài bằng: {command}"
        ),
        # Queues and workers.
        r"the name of a queue must be 1 to 50 letters, digits, _ or -, not (?P<value>.+)": (
            "tên hàng đợi phải có 1 đến 50 chữ cái, chữ số, _ hoặc -, không phải {value}"
        ),
        r"the queue does not run on a Redis Cluster, .+": (
            "hàng đợi không chạy trên Redis Cluster, vì một script đọc nhiều khóa; hãy cho URL của "
            "một máy chính, và dùng nhiều hàng đợi nếu một máy không đủ"
        ),
        r"Redis (?P<place>.+) has maxmemory-policy (?P<policy>\S+): .+(?:run: "
        r"(?P<command>.+)|noeviction)": (
            "Redis {place} có maxmemory-policy {policy}: khi hết bộ nhớ nó quên những gì đã gửi; "
            "hãy "
            "chạy: CONFIG SET maxmemory-policy noeviction"
        ),
        r"Redis (?P<place>.+) has no append-only file: .+": (
            "Redis {place} không có append-only file: khi nó bị sập, những gì sổ ghi đã ghi từ bản "
            "snapshot cuối bị mất, và một tin có thể được gửi hai lần; hãy đặt appendonly là yes"
        ),
        r"Redis (?P<place>.+) does not say whether it keeps the ledger; .+": (
            "Redis {place} không cho biết có giữ được sổ ghi hay không; hãy cho phép nó chạy INFO"
        ),
        r"set ESMS_QUEUE_KEY or ESMS_QUEUE_CLEAR=1, not both": (
            "hãy đặt ESMS_QUEUE_KEY hoặc ESMS_QUEUE_CLEAR=1, không đặt cả hai"
        ),
        r"set ESMS_QUEUE_KEY, .+; make a key with: (?P<command>.+); ESMS_QUEUE_CLEAR=1 .+": (
            "hãy đặt ESMS_QUEUE_KEY để mã hóa tin trong hàng đợi; tạo khóa bằng: {command}; với "
            "ESMS_QUEUE_CLEAR=1 thì nội dung và số điện thoại đọc được trên máy chủ Redis"
        ),
        r"a key of the queue must be 32 bytes in base64url, .+": (
            "khóa của hàng đợi phải là 32 byte dạng base64url, như Fernet.generate_key() in ra; "
            "nhiều "
            "khóa thì cách nhau bằng dấu phẩy"
        ),
        r"key must not be empty; set ESMS_QUEUE_CLEAR=1 for no key": (
            "khóa không được để trống; không dùng khóa thì đặt ESMS_QUEUE_CLEAR=1"
        ),
        r"--concurrency, or ESMS_CONCURRENCY, must be a whole number from 1 to (?P<most>\d+)": (
            "--concurrency, hoặc ESMS_CONCURRENCY, phải là số nguyên từ 1 đến {most}"
        ),
        r"(?P<option>\S+), or (?P<name>\S+), must be a number above 0, not (?P<value>.+)": (
            "{option}, hoặc {name}, phải là số lớn hơn 0, không phải {value}"
        ),
        r"--rate, or ESMS_RATE, must be a number, and /s, /m or /h, as in 50/s or 600/m, "
        r"not (?P<value>.+)": (
            "--rate, hoặc ESMS_RATE, phải là số, có thể thêm /s, /m hoặc /h, ví dụ 50/s hoặc "
            "600/m, không phải {value}"
        ),
        r"--listen must be HOST:PORT, not (?P<value>.+)": (
            "--listen phải có dạng HOST:PORT, không phải {value}"
        ),
        r"--listen (?P<place>\S+) can't be used: (?P<problem>.+)": (
            "không dùng được --listen {place}: {problem}"
        ),
        r"batch must have 1 to (?P<most>\d+) bytes": "tên đợt gửi phải có 1 đến {most} byte",
        r"the Redis server has lost what it knew of batch (?P<batch>.+); send it again: .+": (
            "máy chủ Redis đã mất những gì nó biết về đợt {batch}; hãy gửi lại đợt đó: tin đã được "
            "nhận không bị gửi hai lần"
        ),
        r"another process has taken over batch (?P<batch>.+)": (
            "một tiến trình khác đã nhận đợt {batch}"
        ),
        r"no worker could read it: (?P<problem>.+)": "không worker nào đọc được tin: {problem}",
        r"it is not a message of a queue": "đó không phải tin của hàng đợi",
        r"it is written in form (?P<form>\d+), which this worker can't read": (
            "tin viết ở dạng {form}, worker này không đọc được"
        ),
        r"it was written for another request id": "tin được viết cho mã yêu cầu khác",
        r"it is not JSON": "đó không phải JSON",
        r"it was changed, or written for another id or queue": (
            "tin đã bị sửa, hoặc được viết cho mã hay hàng đợi khác"
        ),
        r"(?P<count>\d+) workers died while they had it": (
            "{count} worker đã chết trong lúc giữ tin này"
        ),
        r"refused with HTTP status (?P<status>\d+) and no code: .+": (
            "bị từ chối với mã HTTP {status}, không có mã lỗi: tường lửa hoặc proxy trước cổng "
            "từ chối "
            "máy này; hãy cho nó đi qua"
        ),
        r"the gateway does not answer \((?P<problem>.+)\); see to the network": (
            "cổng không trả lời ({problem}); hãy xem lại mạng"
        ),
        # The emulator.
        r"fault (?P<name>\w+): (?P<problem>.+)": "lỗi giả {name}: {problem}",
        r"there is no fault (?P<name>.+?); there are (?P<names>.+)": (
            "không có lỗi giả {name}; có {names}"
        ),
        r"there is no setting (?P<name>.+?); there are (?P<names>.+)": (
            "không có cài đặt {name}; có {names}"
        ),
        r"cannot strike @(?P<name>.+); it strikes (?P<names>.+)": (
            "không gây được ở @{name}; gây được ở {names}"
        ),
        r"takes a time such as (?P<example>.+), not (?P<value>.+)": (
            "cần một khoảng thời gian như {example}, không phải {value}"
        ),
        r"takes a fraction from 0 to less than 1, not (?P<value>.+)": (
            "cần một số từ 0 đến dưới 1, không phải {value}"
        ),
        r"takes an HTTP status from 200 to 599 with a body, not (?P<value>.+)": (
            "cần một mã HTTP có nội dung, từ 200 đến 599, không phải {value}"
        ),
        r"takes a code of the gateway such as 103, not 100, not (?P<value>.+)": (
            "cần một mã của cổng như 103, khác 100, không phải {value}"
        ),
        r"takes no phase: it concerns messages that are accepted": (
            "không nhận phase: lỗi này chỉ dành cho tin đã được nhận"
        ),
        r"takes (?P<option>times|skip)=(?P<least>\d) or more, not (?P<value>.+)": (
            "cần {option}={least} trở lên, không phải {value}"
        ),
        r"takes p=0 to p=1, not (?P<value>.+)": "cần p=0 đến p=1, không phải {value}",
        r"cannot pick by phone at @(?P<name>.+), which names none": (
            "không chọn theo số điện thoại ở @{name} được, vì yêu cầu đó không có số nào"
        ),
        r"takes no retry_after; http and html do": ("không nhận retry_after; http và html thì có"),
        r"takes retry_after in whole seconds, not (?P<value>.+)": (
            "cần retry_after là số giây nguyên, không phải {value}"
        ),
        r"option (?P<name>.+) is given twice": "tùy chọn {name} được cho hai lần",
        r"option (?P<name>.+) is none of (?P<names>.+)": "tùy chọn {name} không thuộc {names}",
        r"takes no argument": "không nhận đối số",
        r"needs an argument, as in (?P<example>.+)": "cần một đối số, ví dụ {example}",
        r"takes (?P<names>.+), not (?P<value>.+)": "cần {names}, không phải {value}",
        r"--listen takes an address and a port such as (?P<example>.+), not (?P<value>.+)": (
            "--listen cần địa chỉ và port như {example}, không phải {value}"
        ),
        r"--api-key and --secret-key go together; give both or neither": (
            "--api-key và --secret-key đi cùng nhau; hãy cho cả hai, hoặc không cho cái nào"
        ),
        r"--account takes a name other than default and keys, as (?P<example>.+)": (
            "--account cần tên khác default và hai khóa, ví dụ {example}"
        ),
        r"--brandname takes NAME or NAME=TEMPLATE, not (?P<value>.+)": (
            "--brandname cần TÊN hoặc TÊN=MẪU, không phải {value}"
        ),
        r"a template must be a text with variables as (?P<example>\S+), not (?P<value>.+)": (
            "mẫu tin phải là một nội dung với các biến như {example}, không phải {value}"
        ),
        r"--set takes NAME=VALUE, not (?P<value>.+)": ("--set cần TÊN=GIÁ_TRỊ, không phải {value}"),
        r"--dlr-delay takes a time such as (?P<example>.+), not (?P<value>.+)": (
            "--dlr-delay cần một khoảng thời gian như {example}, không phải {value}"
        ),
        r"cannot use the database (?P<file>.+?) \((?P<problem>.+)\); (?P<remedy>.+)": (
            "không dùng được cơ sở dữ liệu {file} ({problem}); {remedy}"
        ),
        r"make the folder (?P<folder>.+), or name another file": (
            "hãy tạo thư mục {folder}, hoặc chọn tệp khác"
        ),
        r"end the emulator that has it open, or name another file": (
            "hãy dừng trình giả lập đang mở nó, hoặc chọn tệp khác"
        ),
        r"name another file": "hãy chọn tệp khác",
        r"cannot listen on (?P<place>\S+) \((?P<problem>.+)\); (?P<remedy>.+)": (
            "không lắng nghe được ở {place} ({problem}); {remedy}"
        ),
        r"choose another port, or 0": "hãy chọn port khác, hoặc 0",
        r"name an address of this machine": "hãy nêu một địa chỉ của máy này",
        r"cannot make or read a certificate in (?P<folder>.+?) \((?P<problem>.+)\); .+": (
            "không tạo hoặc đọc được chứng chỉ trong {folder} ({problem}); cần có lệnh openssl, "
            "hoặc "
            "một thư mục có cert.pem và key.pem"
        ),
        r"token must have at least (?P<least>\d+) characters": (
            "token phải có ít nhất {least} ký tự"
        ),
        r"accounts must have names of their own": "các tài khoản phải có tên khác nhau",
        r"account (?P<name>.+) has the keys of another one": (
            "tài khoản {name} có khóa của tài khoản khác"
        ),
        r"(?P<name>allow_\w+) must be host names without scheme and port, not (?P<value>.+)": (
            "{name} phải là tên máy, không có http:// và port, không phải {value}"
        ),
        r"balance must be a whole number of dong, from 0 to (?P<most>\d+)": (
            "số dư phải là số đồng nguyên, từ 0 đến {most}"
        ),
        r"pattern must have at most (?P<most>\d+) characters": (
            "biểu thức chính quy dài nhất {most} ký tự"
        ),
        r"pattern must be a regular expression, not (?P<value>.+)": (
            "cần một biểu thức chính quy, không phải {value}"
        ),
        r"(?P<name>\w+) must be (?P<kind>.+), not (?P<value>.+)": (
            "{name} phải là {kind}, không phải {value}"
        ),
        r"seconds, from 0 to (?P<most>\d+)": "số giây, từ 0 đến {most}",
        r"seconds, more than 0 and at most (?P<most>\d+)": "số giây, lớn hơn 0 và không quá {most}",
        r"a whole number, from (?P<least>\d) to (?P<most>\d+)": (
            "số nguyên, từ {least} đến {most}"
        ),
        r"a whole number, from (?P<least>\d) to (?P<most>\d+), or none": (
            "số nguyên, từ {least} đến {most}, hoặc none"
        ),
        r"(?P<one>200|true) or (?P<other>400|false)": "{one} hoặc {other}",
        r"a list of words": "danh sách các từ",
        r"a list that must name each of these once: (?P<names>.+)": (
            "danh sách nêu mỗi từ này đúng một lần: {names}"
        ),
        r"a regular expression, or none": "biểu thức chính quy, hoặc none",
        r"Certificate: (?P<file>.+)": "Chứng chỉ: {file}",
        r"Open to the network at (?P<place>\S+): .+": (
            "Mạng bên ngoài truy cập được ở {place}: tên máy (Host) không phải là xác thực; "
            "--token bảo "
            "vệ trang và API điều khiển, tường lửa bảo vệ phần còn lại"
        ),
        r"More requests were not taken; the page shows them\.": (
            "Còn những yêu cầu khác không được nhận; trang hộp thư liệt kê chúng."
        ),
        # The reason stands on the page of the emulator in the same words.
        r"Not taken: (?P<request>.+)": "Không nhận: {request}",
        # Warnings of the package.
        r"KEYS AND MESSAGES GO IN CLEAR to (?P<url>\S+), .+": (
            "KHÓA VÀ TIN NHẮN ĐI KHÔNG MÃ HÓA tới {url}, theo ESMS_ALLOW_HTTP; điều đó chỉ dành "
            "cho "
            "trình giả lập, không bao giờ cho cổng thật"
        ),
        r"esms_async was not checked with aiohttp (?P<version>\S+), .+": (
            "esms_async chưa được kiểm tra với aiohttp {version}, nên một lần gửi không có câu trả "
            "lời có thể bị tính là đã tới; hãy tìm bản esms_async biết aiohttp này"
        ),
        r"request id (?P<id>\S+): (?P<status>\w+) could not be recorded \((?P<problem>.+)\); .+": (
            "mã yêu cầu {id}: chưa ghi được kết quả vào sổ ({problem}); đang thử lại"
        ),
        r"request id (?P<id>\S+): (?P<status>\w+) was never recorded; .+": (
            "mã yêu cầu {id}: không ghi được kết quả; sổ ghi cho biết tin có thể đã được nhận"
        ),
        r"the limiter failed after an attempt: (?P<problem>.+)": (
            "bộ giới hạn tốc độ bị lỗi sau một lần thử: {problem}"
        ),
        # The system.
        r"(?:\[Errno -?\d+\] )?(?P<problem>No such file or directory|Permission denied|"
        r"Is a directory|No space left on device|Read-only file system|Connection refused|"
        r"Connection reset by peer|"
        r"Address already in use|Name or service not known|File exists|Not a directory|"
        r"database or disk is full|disk I/O error|unable to open database file|file is not a "
        r"database"
        r"|attempt to write a readonly database)(?:: '.+')?": "{problem}",
        r"(?:Error |\[Errno ).*(?:Connect call failed|[Cc]onnection refused).*": (
            "không kết nối được"
        ),
        r"(?:\[Errno \d+\] )?error while attempting to bind on address .+: "
        r"address already in use": ("địa chỉ đang được dùng"),
        r"(?:\[Errno \d+\] )?error while attempting to bind on address .+: (?P<problem>.+)": (
            "{problem}"
        ),
        r"\w+Error: (?P<problem>\[Errno .+)": "{problem}",
    }.items()
]
