"""An emulator beyond this machine: names, token, TLS, callbacks, and who is kept out."""

import asyncio
import json
import os
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from esms_async import ConfigurationError, Credentials, EsmsClient
from esms_async.emulator import Emulator
from tests.cli.support import environment
from tests.emulator.caller import POST_SEND, Caller, connection, http_post, send_fields
from tests.factories import a_message

TOKEN = "correct-horse"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # that is what is tested


async def status(emulator: Emulator, method: str, path: str, **headers: str) -> int:
    """Make a request with some headers, and return the status of the answer."""
    head = {"Host": f"127.0.0.1:{emulator.port}", "Content-Length": "0", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in head.items())]
    async with connection(emulator.port) as (reader, writer):
        writer.write("\r\n".join((*lines, "", "")).encode())
        return int((await asyncio.wait_for(reader.readline(), 5)).split()[1])


async def test_a_name_that_is_allowed_is_served_and_no_other() -> None:
    """`--allow-host emulator` opens that name on any port, and none that looks like it."""
    async with Emulator(host=EVERYWHERE, allow_hosts=["emulator"]) as emulator:
        port = emulator.port
        for host in ("emulator", f"emulator:{port}", "EMULATOR:8026", "127.0.0.1", "localhost"):
            assert await status(emulator, "GET", "/_emulator/state", Host=host) == 200, host
        for host in (
            *("evil.example", "emulator.evil.example", "xemulator", "emulator@evil.example"),
            *(EVERYWHERE, f"10.0.0.1:{port}", "", "emulator:evil", "[emulator]]"),
        ):
            for path in ("/_emulator/state", "/", f"/MainService.svc/json/{POST_SEND}"):
                assert await status(emulator, "GET", path, Host=host) in {400, 403}, host
        assert emulator.url == f"http://127.0.0.1:{port}/MainService.svc/json/"


async def test_whether_it_is_ready_may_be_asked_by_any_name() -> None:
    """A health check knows neither name nor token."""
    async with Emulator(token=TOKEN) as emulator:
        assert await status(emulator, "GET", "/_emulator/ready", Host="10.1.2.3:80") == 200
        assert await status(emulator, "GET", "/_emulator/state", Host="10.1.2.3:80") == 403


async def test_a_token_guards_page_and_control_but_no_operation() -> None:
    """Without it 401, by header or by the cookie that the page gets; a send needs none."""
    async with Emulator(token=TOKEN) as emulator, Caller.to(emulator) as caller:
        assert (await caller.send()).code == "100"
        for path in ("/", "/m/x", "/_emulator/state", "/_emulator/page/icon.svg"):
            assert await status(emulator, "GET", path) == 401
            assert await status(emulator, "GET", path, Authorization="Bearer wrong") == 401
        bearer = f"Bearer {TOKEN}"
        assert await status(emulator, "GET", "/_emulator/state", Authorization=bearer) == 200
        assert await status(emulator, "POST", "/_emulator/reset", Authorization="Basic x") == 401
        assert await status(emulator, "GET", f"/_emulator/state?token={TOKEN}") == 401
        got = await caller.request("GET", f"../../?token={TOKEN}")
        assert (got.status, got.headers["Location"]) == (303, "./")
        cookie = got.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        pair = cookie.partition(";")[0]
        assert await status(emulator, "GET", "/", Cookie=pair) == 200
        assert await status(emulator, "GET", "/_emulator/state", Cookie=pair) == 200
        assert (await caller.request("GET", "../../?token=wrong")).status == 401
        # Neither the token nor a wrong one is kept.
        seen = await caller.request(
            "GET", "../../_emulator/requests", headers={"Authorization": bearer}
        )
        assert TOKEN not in seen.text


@pytest.mark.parametrize(
    "options",
    [
        {"token": "short"},
        {"allow_hosts": ["http://emulator"]},
        {"allow_hosts": ["emulator:80"]},
        {"allow_hosts": "emulator"},
        {"allow_callback_hosts": ["*"]},
        {"allow_callback_hosts": [""]},
    ],
)
def test_what_cannot_work_is_refused_by_name(options: dict[str, Any]) -> None:
    """The error names the argument."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Emulator(**options)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no command openssl")
async def test_it_serves_tls_by_a_certificate_of_its_own(tmp_path: Path) -> None:
    """A client that trusts the certificate sends by https://; the same folder serves again."""
    for _ in range(2):
        async with Emulator(tls=tmp_path, allow_hosts=["emulator"]) as emulator:
            assert emulator.url.startswith("https://127.0.0.1:")
            context = ssl.create_default_context(cafile=str(emulator.certificate))
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
                EsmsClient(Credentials("k", "s"), base_url=emulator.url, session=session) as client,
            ):
                assert (await client.send(a_message())).sms_id
                async with session.get(emulator.page + "_emulator/state") as response:
                    assert (await response.json())["tls"] is True
                origin = {"Origin": emulator.page.rstrip("/")}
                async with session.post(
                    emulator.page + "_emulator/reset", headers=origin
                ) as response:
                    assert response.status == 200
    assert {file.name for file in tmp_path.iterdir()} == {"cert.pem", "key.pem"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no command openssl")
async def test_a_passing_certificate_is_gone_in_the_end() -> None:
    """`self-signed` leaves no file behind."""
    async with Emulator(tls="self-signed") as emulator:
        assert emulator.certificate is not None
        assert emulator.certificate.exists()
    assert not emulator.certificate.exists()


async def test_a_folder_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    """The error says what is taken."""
    (tmp_path / "cert.pem").write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"cert\.pem and key\.pem"):
        async with Emulator(tls=tmp_path):
            pass


async def test_reports_go_to_the_hosts_that_are_allowed() -> None:
    """Another host is not called; the record says how to allow it, and the page says why."""
    async with (
        Emulator(allow_callback_hosts=["app.invalid"]) as emulator,
        Caller.to(emulator) as caller,
    ):
        emulator.change({"report_delay": 0})
        for host in ("app.invalid", "other.example", "169.254.169.254", "[::ffff:10.0.0.1]"):
            await caller.send(RequestId=host, CallbackUrl=f"http://{host}/report")
        allowed, *refused = emulator.messages
        while len(emulator.reports) < 8:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
        results = {
            message.request_id: {
                report.result for report in emulator.reports if report.sms_id == message.sms_id
            }
            for message in (allowed, *refused)
        }
        assert results.pop("app.invalid") == {"failed"}
        assert set(map(frozenset, results.values())) == {frozenset({"not allowed"})}
        why = [report.why for report in emulator.reports if report.sms_id == refused[0].sms_id]
        assert "--allow-callback-host other.example" in (why[0] or "")


APP = """
import json, sys, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

seen = []

class App(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        # On a busy machine the answer may be late, and the report comes again.
        if self.path not in seen:
            seen.append(self.path)
            print("report", self.path, flush=True)

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.3", 0), App)
body = {"ApiKey": "k", "SecretKey": "s", "SmsType": "8", "Phone": "0901888484",
        "Content": "482913 la ma xac minh", "RequestId": "r-1",
        "CallbackUrl": f"http://app:{server.server_port}/report"}
url = sys.argv[1] + "SendMultipleMessage_V4_post_json/"
with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as answer:
    print("answer", json.load(answer)["CodeResult"], flush=True)
while len(seen) < 2:
    server.handle_request()
"""

SDK = """
import asyncio
from esms_async import EsmsClient, Message

async def main():
    async with EsmsClient.from_env() as esms:
        receipt = await esms.send(Message("0901888485", "771122 la ma xac minh"))
        print("sent", bool(receipt.sms_id), flush=True)

asyncio.run(main())
"""

HOSTS = "127.0.0.1 localhost\n127.0.0.2 emulator\n127.0.0.3 app\n127.0.0.4 browser\n"

COMPOSE = """
set -e
mount --bind "$1" /etc/hosts
ip link set lo up
cd "$2"
export PYTHONPATH="$3"
"$4" -m esms_async.emulator --listen 0.0.0.0:8026 --allow-host emulator \\
    --allow-callback-host app --set report_delay=0.1 >emulator.out 2>emulator.err &
emulator=$!
trap 'kill $emulator; wait $emulator || true' EXIT
for _ in $(seq 300); do
    "$4" -c "import urllib.request as u; u.urlopen('http://emulator:8026/_emulator/ready')" \\
        2>/dev/null && break
    sleep 0.1
done
"$4" app.py http://emulator:8026/MainService.svc/json/
ESMS_API_KEY=k ESMS_SECRET_KEY=s ESMS_ALLOW_HTTP=emulator \\
    ESMS_BASE_URL=http://emulator:8026/MainService.svc/json/ "$4" sdk.py
"$4" - <<'PY'
import json, urllib.error, urllib.request as u
page = u.urlopen("http://emulator:8026/")
print("page", page.status)
print("code", json.load(u.urlopen("http://emulator:8026/_emulator/codes/latest?phone=0901888484"))["code"])
try:
    u.urlopen("http://browser:8026/")
except u.HTTPError as error:
    print("foreign", error.code)
except Exception as error:
    print("foreign", type(error).__name__)
PY
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it takes the namespaces of Linux")
async def test_emulator_app_and_browser_under_three_names(tmp_path: Path) -> None:
    """As in docker-compose: three host names, a send, its callbacks, the SDK, the page."""
    probe = await asyncio.create_subprocess_exec(
        *("unshare", "-rmn", "true"), stderr=asyncio.subprocess.DEVNULL
    )
    if await probe.wait() != 0:
        pytest.skip("this machine gives no namespaces to a user")
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "sdk.py").write_text(SDK)
    (tmp_path / "compose.sh").write_text(COMPOSE)
    root = str(Path(__file__).parent.parent.parent)
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-rmn", "bash", "compose.sh"),
        *(str(tmp_path / "hosts"), str(tmp_path), root, sys.executable),
        cwd=tmp_path,
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    said = out.decode().splitlines()
    assert said[0] == "answer 100", (said, err)
    assert [line.split("&")[0].split("?")[0] for line in said[1:3]] == ["report /report"] * 2
    # On a busy machine the two come at once, in any order.
    assert any("SendStatus=5" in line for line in said[1:3])
    # `browser` resolves to the same port; the name is not allowed, so that rebinding gains nothing.
    assert said[3:] == ["sent True", "page 200", "code 482913", "foreign 403"]
    warned = (tmp_path / "emulator.err").read_text()
    assert "Open to the network at 0.0.0.0:8026: a Host header is no authentication" in warned
    assert "Not taken: GET / (403): The Host header names 'browser'" in warned


@asynccontextmanager
async def open_to_all() -> AsyncIterator[Emulator]:
    """Run an emulator that listens on every address."""
    async with Emulator(host=EVERYWHERE, allow_hosts=["emulator"], token=TOKEN) as emulator:
        yield emulator


async def test_open_to_the_network_it_keeps_the_same_strangers_out() -> None:
    """Foreign Host, Origin and Fetch-Site, too large and endless requests: as on 127.0.0.1."""
    async with open_to_all() as emulator, Caller.to(emulator) as caller:
        bearer = f"Bearer {TOKEN}"
        reset = "/_emulator/reset"
        refused = [
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Origin": f"http://evil.example:{emulator.port}"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "null"},
        ]
        for headers in refused:
            got = await status(emulator, "POST", reset, Authorization=bearer, **headers)
            assert got == 403, headers
        good = {"Host": "emulator:8026", "Origin": "http://emulator:8026"}
        assert await status(emulator, "POST", reset, Authorization=bearer, **good) == 200
        large = await caller.request("POST", POST_SEND, data=b"x" * 500_000)
        assert large.status == 413
        async with connection(emulator.port) as (_, writer):
            writer.write(http_post(emulator.port, send_fields())[:-5])
            assert (await caller.send()).code == "100"
        # Over HTTP nobody can have it call other machines.
        changed = await caller.request(
            "PATCH",
            "../../_emulator/state",
            json={"settings": {"remote_callbacks": True}},
            headers={"Authorization": bearer},
        )
        assert (changed.status, "remote_callbacks is fixed" in changed.json["error"]) == (400, True)


CLIENTS = Path(__file__).parent / "clients"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("node", ("client.mjs",)),
        ("java", ("Client.java",)),
        ("curl", ("bash", "client.sh")),
        ("perl", ("client.pl",)),
    ],
)
async def test_clients_in_other_languages_send_every_operation(
    emulator: Emulator, program: str, arguments: tuple[str, ...]
) -> None:
    """Each calls every operation by the means of its standard library, and prints the codes."""
    command = shutil.which(program)
    if command is None:
        pytest.skip(f"this machine has no {program}")
    first, *rest = arguments
    line = (first, str(CLIENTS / rest[0])) if rest else (command, str(CLIENTS / first))
    process = await asyncio.create_subprocess_exec(
        *line,
        emulator.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err
    codes = json.loads(out)
    assert codes == {
        "post_json": "100",
        "get": "100",
        "form": "100",
        "brandname": "100",
        "zalo": "100",
        "zalo_status": "100",
        "balance": "100",
        "status": "100",
        "receivers": "100",
        "sent": "100",
        "brandnames": "100",
        "templates": "100",
        "price": "100",
    }
    assert len(emulator.messages) == 5
    assert emulator.not_taken == []
