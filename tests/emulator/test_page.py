"""The inbox page over HTTP: its files, its headers, and who may load it."""

import re
from importlib.resources import files
from typing import Any

import pytest

from esms_async.emulator import Emulator
from tests.emulator.caller import POST_SEND, Caller, Got, send_fields

FOLDER = files("esms_async.emulator") / "static"
SCRIPTS = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".js"))


async def get(caller: Caller, path: str, **headers: str) -> Got:
    """Get a path of the emulator."""
    return await caller.request("GET", f"../../{path}", headers=headers)


async def test_the_page_is_served_at_the_root(caller: Caller) -> None:
    """The page itself is HTML in UTF-8, as it was written."""
    got = await get(caller, "")
    assert got.status == 200
    assert got.headers["Content-Type"] == "text/html; charset=utf-8"
    assert got.text == (FOLDER / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("inbox.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
        *[(name, "text/javascript") for name in SCRIPTS],
    ],
)
async def test_its_files_are_served_by_their_types(
    caller: Caller, name: str, content_type: str
) -> None:
    """Each file comes with the one type that a browser which must not sniff takes it for."""
    got = await get(caller, f"_emulator/page/{name}")
    assert got.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert got.text == (FOLDER / name).read_text("utf-8")


@pytest.mark.parametrize("path", ["m/c2478769e9f544bf00696e152b1fcfce", "r/41", "m/<b>"])
async def test_a_deep_link_serves_the_page(caller: Caller, path: str) -> None:
    """The page itself finds out what the address names, and says where it is gone."""
    got = await get(caller, path)
    page = (FOLDER / "index.html").read_text("utf-8")
    assert (got.status, got.text) == (200, page.replace('"_emulator/', '"../_emulator/'))
    assert "script-src 'self'" in got.headers["Content-Security-Policy"]


async def test_everything_that_is_asked_for_is_there(caller: Caller) -> None:
    """What the page and its scripts name is served, and nothing of another machine is named."""
    page = (await get(caller, "")).text
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    for name in SCRIPTS:
        script = (FOLDER / name).read_text("utf-8")
        named |= {f"_emulator/page/{found}" for found in re.findall(r'from "\./([^"]+)"', script)}
    assert {f"_emulator/page/{name}" for name in SCRIPTS} <= named
    for path in named:
        # From the root of a host nothing is named, or a proxy could not serve the page in a folder.
        assert not path.startswith("/")
        assert (await get(caller, path)).status == 200, path


async def test_the_page_has_no_way_to_make_markup_of_text() -> None:
    """No script writes HTML, and no markup carries a script or a style of its own."""
    ways = r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval)\b"
    for name in SCRIPTS:
        assert not re.search(ways, (FOLDER / name).read_text("utf-8")), name
    page = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=)", page)


@pytest.mark.parametrize("path", ["", "_emulator/page/inbox.js"])
async def test_the_headers_let_nothing_else_in(caller: Caller, path: str) -> None:
    """No script but the page's own, no other site's frame, no text as markup, no cache."""
    headers = (await get(caller, path)).headers
    policy = headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
    assert "require-trusted-types-for 'script'" in policy
    assert not any("unsafe" in part or "*" in part or ":" in part for part in policy)
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "_emulator/page/",
        "_emulator/page/index.html",
        "_emulator/page/..%2f..%2f__init__.py",
        "_emulator/page/%2e%2e/page.py",
        "_emulator",
        "index.html",
    ],
)
async def test_no_other_file_is_served(caller: Caller, path: str) -> None:
    """Only what is named is there, whatever tricks a path plays."""
    assert (await get(caller, path)).status == 404


SELF = {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
REFUSED = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]


def filled(headers: dict[str, str], emulator: Emulator) -> dict[str, str]:
    """Return headers with the port of an emulator."""
    return {name: value.format(port=emulator.port) for name, value in headers.items()}


@pytest.mark.parametrize("headers", REFUSED)
async def test_pages_of_other_sites_change_and_read_nothing(
    emulator: Emulator, caller: Caller, headers: dict[str, str]
) -> None:
    """What a browser marks as another site's request is refused wherever it goes."""
    options: dict[str, Any] = {"headers": filled(headers, emulator)}
    answers = [
        await caller.request("POST", "../../_emulator/reset", **options),
        await caller.request("POST", "../../_emulator/faults", json={"spec": "hang"}, **options),
        await caller.request("DELETE", "../../_emulator/messages", **options),
        await caller.request("GET", "../../_emulator/messages", **options),
        await caller.request("POST", POST_SEND, json=send_fields(), **options),
    ]
    assert [got.status for got in answers] == [403] * 5
    assert (emulator.messages, emulator.requests, emulator.faults) == ([], [], ())


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}, SELF])
async def test_the_page_and_programs_are_served(
    emulator: Emulator, caller: Caller, headers: dict[str, str]
) -> None:
    """What comes from the page itself, from a person's hand or from no browser is taken."""
    got = await caller.request("POST", "../../_emulator/reset", headers=filled(headers, emulator))
    assert got.status == 200


async def test_a_link_elsewhere_may_lead_to_the_page_alone(caller: Caller) -> None:
    """Following a link opens the page; nothing else can be reached that way."""
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    for path in ("", "m/c2478769e9f544bf00696e152b1fcfce", "r/41"):
        assert (await get(caller, path, **link)).status == 200
    assert (await get(caller, "_emulator/messages", **link)).status == 403
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert (await get(caller, "", **framed)).status == 403


@pytest.mark.parametrize("path", ["", "_emulator/messages", "_emulator/events"])
async def test_another_host_is_refused_here_too(caller: Caller, path: str) -> None:
    """A name that merely resolves to this machine opens neither page nor control interface."""
    assert (await get(caller, path, Host="evil.example")).status == 403
