"""The inbox page in a real browser: Debian's Chromium, driven without a screen."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta, timezone
from functools import partial
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Locator, Page, ViewportSize, async_playwright, expect
from yarl import URL

from esms_async._model.messages import Credentials
from esms_async.emulator import AccountSetup, Clock, Emulator, Settings, control
from tests.emulator.caller import CONTENT, PHONE, POST_SEND, Caller, send_fields
from tests.limits import generous

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKUP = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
COPYING: dict[str, Any] = {"permissions": ["clipboard-read", "clipboard-write"]}
WIDE: ViewportSize = {"width": 1440, "height": 900}
SMALL: ViewportSize = {"width": 360, "height": 740}
DASH = "\N{EN DASH}"
VIETNAM = timezone(timedelta(hours=7))
CLOCK_AHEAD = timedelta(hours=20)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    pytest.mark.once,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A browser for all tests of the file; each has a context of its own in it."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield running
        finally:
            await running.close()


# As in conftest.py, but on the loop that the browser is driven on.
@pytest_asyncio.fixture(loop_scope="module")
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator as it comes."""
    async with Emulator() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def caller(emulator: Emulator) -> AsyncIterator[Caller]:
    """Calls that emulator."""
    async with Caller.to(emulator) as calling:
        yield calling


@asynccontextmanager
async def opened(
    emulator: Emulator,
    browser: Browser,
    path: str = "/",
    *,
    root: str = "",
    refused: int | None = 0,
    script: str | None = None,
    **options: Any,
) -> AsyncIterator[Page]:
    """Open the page of an emulator; whatever it complains of in its console fails the test.

    It stands at the root of the emulator, or at `root` behind a proxy.

    A request that is refused is an error in the console of Chromium; `refused` says how many are,
    or is None where that depends on how fast the machine is.
    """
    complaints: list[str] = []
    options.setdefault("viewport", WIDE)
    context = await browser.new_context(**options)
    limit = 1000 * generous(30)
    context.set_default_timeout(limit)
    expect.set_options(timeout=limit)
    page = await context.new_page()
    if script is not None:
        await page.add_init_script(script)
    page.on("console", lambda line: complaints.append(f"{line.type}: {line.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto((root or f"http://127.0.0.1:{emulator.port}") + path)
    await expect(page.get_by_test_id("count")).to_contain_text("Live")
    try:
        yield page
    finally:
        await context.close()
    expected = [line for line in complaints if "responded with a status of 4" in line]
    assert complaints == expected
    assert refused in (None, len(expected))


async def clipboard(page: Page) -> str:
    """Return what was copied last."""
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


async def copied(page: Page, button: Locator, words: str) -> str:
    """Press a button that copies, and return what it copied."""
    await button.click()
    await expect(page.get_by_test_id("toast")).to_have_text(f"Copied {words}")
    return await clipboard(page)


async def send_many(caller: Caller, count: int, first: int = 0) -> None:
    """Send messages with codes that follow each other, the first with 100000."""
    for start in range(first, first + count, 100):
        await asyncio.gather(
            *(
                caller.send(RequestId=f"r-{number}", Content=f"{100_000 + number} la ma")
                for number in range(start, min(start + 100, first + count))
            )
        )


async def refuse_form(caller: Caller) -> None:
    """Send a form where JSON is taken."""
    await caller.request("POST", POST_SEND + "/", data=send_fields(Content="305718 la ma"))


# What a person sees first


async def test_the_newest_message_stands_open_with_its_code(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Without a click: the code in list, story and handset, and in the title of the tab."""
    async with opened(emulator, browser, **COPYING) as page:
        see = page.get_by_test_id
        await expect(see("bar")).to_have_text("No SMS leaves this machine")
        await expect(see("empty")).to_have_text("Nothing yet. This page fills by itself.")
        await expect(see("phone")).to_contain_text("Waiting for the first message")
        await caller.send(Phone="0911000001", RequestId="r-1", Content="111111 la ma")
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(see("empty")).to_be_hidden()
        await caller.send(RequestId="r-2", Content="222222 la ma")
        await expect(see("row")).to_have_count(2)
        await expect(see("row").first.get_by_test_id("otp")).to_have_text("222222")
        await expect(see("detail-phone")).to_have_text("0901 888 484")
        await expect(see("detail-otp")).to_contain_text("222222")
        await expect(see("bubble")).to_have_text("222222 la ma")
        await expect(see("verdict")).to_contain_text("Delivered.")
        await expect(see("count")).to_have_text("Live · 2 messages")
        assert await page.title() == "(2) 222222 · eSMS emulator"
        await page.keyboard.press("c")
        await expect(see("toast")).to_have_text("Copied 222222")
        await expect(see("detail-otp")).to_contain_text("Copied")
        assert await clipboard(page) == "222222"
        row = see("row").last
        assert await copied(page, row.get_by_test_id("otp"), "111111") == "111111"
        # To copy a code from the list does not open its message.
        await expect(see("detail-otp")).to_contain_text("222222")


async def test_everything_that_a_program_needs_can_be_copied(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Base URL, link, ids, the request as a curl command, and the skeleton of a test."""
    await caller.send(RequestId="order-77", Content="222222 la ma")
    [message] = emulator.messages
    async with opened(emulator, browser, **COPYING) as page:
        see = page.get_by_test_id
        await expect(see("base-url")).to_have_text(emulator.url)
        assert await copied(page, see("copy-url"), "the base URL") == emulator.url
        link = f"http://127.0.0.1:{emulator.port}/m/{message.sms_id}"
        assert await copied(page, see("deep-link"), "the link") == link
        assert await copied(page, see("request-id"), "the RequestId") == "order-77"
        assert await copied(page, see("sms-id"), "the SMSID") == message.sms_id
        command = await copied(page, see("copy-curl"), "the curl command")
        assert command.startswith("curl")
        assert PHONE in command
        test = await copied(page, see("copy-pytest"), "the pytest skeleton")
        compile(test, "test_copied.py", "exec")
        assert "esms_emulator" in test


async def test_codes_can_be_copied_where_there_is_no_clipboard_to_ask(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """A page over http by another name than localhost has no navigator.clipboard."""
    await caller.send(Content="222222 la ma")
    script = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    async with opened(emulator, browser, script=script, **COPYING) as page:
        see = page.get_by_test_id
        await expect(see("detail-otp")).to_be_visible()
        await page.keyboard.press("c")
        await expect(see("toast")).to_have_text("Copied 222222")
        await page.keyboard.press("/")
        await page.keyboard.press("Control+v")
        await expect(see("search")).to_have_value("222222")


async def test_the_snippets_of_the_empty_page_work(emulator: Emulator, browser: Browser) -> None:
    """Pasted into Python and into a shell, they send a message that the page then shows."""
    async with opened(emulator, browser, **COPYING) as page:
        see = page.get_by_test_id
        await see("snippet-tab").get_by_text("Python").click()
        snippet = await copied(page, see("copy-snippet"), "the snippet")
        # What the snippet runs itself runs within the loop of the test.
        program = snippet.replace("asyncio.run(main())", "")
        namespace: dict[str, Any] = {}
        exec(program, namespace)  # noqa: S102  # what a person would do with it
        await namespace["main"]()
        await expect(see("otp")).to_have_text("482913")
        await see("clear").click()
        await see("snippet-tab").get_by_text("curl").click()
        command = await see("snippet").inner_text()
        shell = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        answer, _ = await shell.communicate()
        assert b'"CodeResult":"100"' in answer
        await expect(see("otp")).to_have_text("482913")


async def test_six_rows_and_the_code_fit_the_most_common_laptop(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """At 1366 by 650 pixels, nothing has to be clicked or scrolled."""
    await send_many(caller, 20)
    async with opened(emulator, browser, viewport={"width": 1366, "height": 650}) as page:
        see = page.get_by_test_id
        await expect(see("detail-otp")).to_contain_text("100019")
        inside = await page.evaluate(
            """() => {
              const { top, bottom } = document.getElementById("scroller").getBoundingClientRect();
              const rows = [...document.querySelectorAll("[data-testid=row]")];
              return rows.map((row) => row.getBoundingClientRect())
                .filter((box) => box.top >= top && box.bottom <= bottom).length;
            }"""
        )
        assert inside >= 6
        for name in ("detail-otp", "verdict", "timeline"):
            await expect(see(name)).to_be_in_viewport(ratio=1)
        await expect(see("bubble").last).to_be_in_viewport(ratio=1)


# Following, selecting, searching


async def test_another_row_ends_following_and_new_ones_are_counted(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """What is read stays open; "2 new" leads back to the newest."""
    await caller.send(Phone="0911000001", Content="111111 la ma")
    await caller.send(Phone="0911000002", Content="222222 la ma")
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("follow")).to_have_attribute("aria-pressed", "true")
        await see("open").last.click()
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(see("follow")).to_have_attribute("aria-pressed", "false")
        await caller.send(Phone="0911000003", Content="333333 la ma")
        await expect(see("fresh")).to_have_text("1 new")
        await caller.send(Phone="0911000004", Content="444444 la ma")
        await expect(see("fresh")).to_have_text("2 new")
        await expect(see("detail-otp")).to_contain_text("111111")
        await see("fresh").click()
        await expect(see("detail-otp")).to_contain_text("444444")
        await expect(see("fresh")).to_be_hidden()
        await expect(see("follow")).to_have_attribute("aria-pressed", "true")
        await see("follow").click()
        await caller.send(Phone="0911000005", Content="555555 la ma")
        await expect(see("fresh")).to_have_text("1 new")
        await expect(see("detail-otp")).to_contain_text("444444")


async def test_messages_are_found_by_phone_text_request_id_and_sms_id(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Each word that a message is known by finds it, without diacritics too, and no other."""
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        got = await caller.send(Phone="0911000001", Content="Mã Đăng nhập 111111")
        await caller.send(Phone="0911000002", RequestId="order-2", Content="222222 hello")
        await caller.send(Phone="0900000103", RequestId="order-3", Content="333333 rejected")
        await refuse_form(caller)
        row = see("row")
        await expect(row).to_have_count(3)
        # Each finds another one than the search before it: the page takes a moment to begin.
        for query, phone in (
            ("+84 911 000 001", "0911 000 001"),
            ("order-2", "0911 000 002"),
            ("ma dang NHAP", "0911 000 001"),
            ("333333 rejected", "0900 000 103"),
            (got.json["SMSID"], "0911 000 001"),
            ("hello", "0911 000 002"),
            ("Mã Đ", "0911 000 001"),
        ):
            await see("search").fill(query)
            await expect(row).to_have_count(1)
            await expect(row).to_contain_text(phone)
            await expect(see("not-taken")).to_have_count(0)
        await see("search").fill("form-encoded")
        await expect(see("not-taken")).to_have_count(1)
        await see("search").fill("nothing of the kind")
        await expect(see("empty")).to_have_text("Nothing fits. Esc clears the search.")
        await page.keyboard.press("Escape")
        await expect(row).to_have_count(3)


async def test_filters_count_and_show_codes_trouble_and_what_was_not_taken(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Each filter says how many there are before it is chosen."""
    await caller.send(Phone="0911000001", Content="111111 la ma")
    await caller.send(Phone="0911000002", Content="no code in here")
    await caller.send(Phone="0900000103", Content="rejected, without a code")
    await refuse_form(caller)
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        for name, words, rows, refused in (
            ("code", "Codes 1", 1, 0),
            ("trouble", "Trouble 1", 1, 0),
            ("nt", "Not taken (1)", 0, 1),
            ("all", "All 4", 3, 1),
        ):
            await expect(see(f"filter-{name}")).to_have_text(words)
            await see(f"filter-{name}").click()
            await expect(see("row")).to_have_count(rows)
            await expect(see("not-taken")).to_have_count(refused)
            await expect(see(f"filter-{name}")).to_have_attribute("aria-pressed", "true")


async def test_a_link_leads_to_its_message_and_stays_there(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """/m/<SMSID> and /r/<number> open what they name; one that is gone says so."""
    await caller.send(Phone="0911000001", Content="111111 la ma")
    await caller.send(Phone="0900000103", Content="222222 rejected")
    await refuse_form(caller)
    [message] = emulator.messages
    async with opened(emulator, browser, f"/m/{message.sms_id}") as page:
        see = page.get_by_test_id
        await expect(see("detail-otp")).to_contain_text("111111")
        await caller.send(Phone="0911000002", Content="333333 la ma")
        await expect(see("fresh")).to_have_text("1 new")
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(see("row").locator("[aria-current=true]")).to_contain_text("111111")
        links = [await see(name).last.get_attribute("href") for name in ("not-taken", "open")]
        rejected = (
            await see("row")
            .filter(has_text="rejected")
            .get_by_test_id("open")
            .first.get_attribute("href")
        )
    assert links[1] == f"/m/{message.sms_id}"
    async with opened(emulator, browser, str(links[0])) as page:
        await expect(page.get_by_test_id("verdict")).to_contain_text("form-encoded")
    async with opened(emulator, browser, str(rejected)) as page:
        await expect(page.get_by_test_id("verdict")).to_contain_text("103")
    async with opened(emulator, browser, "/m/gone", refused=1) as page:
        await expect(page.get_by_test_id("verdict")).to_contain_text(
            "Nothing is kept under /m/gone"
        )
        await page.get_by_test_id("follow").click()
        await expect(page.get_by_test_id("detail-otp")).to_contain_text("333333")


# What happened


async def test_a_lost_answer_is_drawn_where_it_was_lost(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """The bolt stands on the answer's way, the retry below it, and the verdict says once."""
    emulator.fault("reset@send,phase=after,times=1")
    with pytest.raises(aiohttp.ClientError):
        await caller.send(RequestId="r-1")
    assert (await caller.send(RequestId="r-1")).code == "124"
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("verdict")).to_contain_text("Delivered once, one answer lost")
        step = see("step")
        await expect(step.nth(0)).to_contain_text("attempt 1")
        await expect(step.nth(0)).to_contain_text("accepted")
        await expect(step.nth(1).get_by_test_id("attempt-fault")).to_have_text(
            "reset@send,phase=after,times=1"
        )
        assert await step.nth(1).locator(".cut:not(.door) .bolt").count() == 1
        await expect(step.nth(2)).to_contain_text("attempt 2")
        await expect(step.nth(3)).to_contain_text("124")
        await expect(see("attempts")).to_contain_text("delivered")
        row = see("row")
        await expect(row.get_by_test_id("badge-retried")).to_contain_text("1 retried")
        await expect(row.get_by_test_id("badge-fault")).to_have_count(1)
        await caller.send(RequestId="r-2", Content="asked for twice")
        await caller.send(RequestId="r-2", Content="asked for twice")
        await expect(row.first.get_by_test_id("badge-deduplicated")).to_have_text("124")
        await see("open").last.click()
        await expect(see("detail-otp")).to_contain_text("686868")
        await see("raw-toggle").first.click()
        raw = see("raw").first
        await expect(raw).to_contain_text("POST /MainService.svc/json/")
        await expect(raw).to_contain_text(CONTENT)
        await expect(see("raw-answer").first).to_be_hidden()
        assert "THE-SECRET-KEY" not in await page.content()
        assert "THE-API-KEY" not in await page.content()


async def test_a_fault_before_the_gateway_stands_at_its_door(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """It never looked: the bolt is at its lane, and nothing is accepted."""
    emulator.fault("http:503@send,times=1,retry_after=1")
    assert (await caller.send(RequestId="r-1")).status == 503
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("step").first.locator(".door .bolt")).to_have_count(1)
        await expect(see("step").nth(1)).to_contain_text("503")
        await expect(see("row").get_by_test_id("state")).to_have_text("never looked at")
        await expect(see("bubble")).to_have_class("bubble ghost")
        await expect(see("deliver")).to_have_count(0)
        assert (await caller.send(RequestId="r-1")).code == "100"
        await expect(see("verdict")).to_contain_text("Delivered")
        await expect(see("bubble")).to_have_class("bubble")


async def test_many_attempts_are_folded_until_somebody_asks(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Of fifteen attempts, the first, the accepted one and the last are drawn."""
    emulator.fault("http:503@send,times=14")
    for _ in range(15):
        await caller.send(RequestId="r-1")
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("more-steps")).to_have_text("13 more attempts")
        await expect(see("step").first).to_contain_text("attempt 1")
        await expect(see("attempts")).to_contain_text("attempt 15")
        assert await see("step").count() <= 8
        await expect(see("raw-toggle")).to_have_count(8)
        await see("more-requests").click()
        await expect(see("raw-toggle")).to_have_count(15)
        await see("more-steps").click()
        await expect(see("more-steps")).to_have_count(0)
        assert await see("step").count() >= 31


@asynccontextmanager
async def receiver(status: int) -> AsyncIterator[str]:
    """Serve a CallbackUrl that answers with a status, and one below it that never answers."""
    closing = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async def hang(_: web.Request) -> web.Response:
        await closing.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/report", answer)
    app.router.add_get("/report/hang", hang)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/report"
    finally:
        closing.set()
        await runner.cleanup()


async def test_a_callback_that_fails_does_not_make_the_message_fail(browser: Browser) -> None:
    """The state is the phone's; what the app answered is told apart from it."""
    async with (
        receiver(500) as url,
        Emulator(settings=Settings(report_delay=0.1)) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        see = page.get_by_test_id
        await caller.send(RequestId="r-1", Content="no code here", CallbackUrl=url)
        await expect(see("verdict")).to_contain_text("Delivered, but your callback answered 500")
        await expect(see("row").get_by_test_id("state")).to_have_text("callback 500")
        await expect(see("attempts")).to_contain_text("callback 500")
        await expect(see("bubble")).to_have_class("bubble")
        await expect(see("callback-url")).to_have_text(url)


async def test_reports_that_come_again_are_told_apart(browser: Browser) -> None:
    """Tries after a timeout are folded and counted; a report that comes twice is amber."""
    settings = Settings(report_delay=0.1, report_retry_delay=0.05)
    async with (
        receiver(200) as url,
        Emulator(settings=settings) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        see = page.get_by_test_id
        emulator.fault("dlr:twice,times=1")
        await caller.send(Phone="0911000001", Content="no code", CallbackUrl=url)
        repeated = see("step").filter(has_text="callback").locator(".warn")
        await expect(repeated).to_have_count(2)
        await expect(repeated.last).to_contain_text("once more")
        # Not before: a receiver that does answer may take longer on a busy machine.
        emulator.change({"report_timeout": 0.05})
        await caller.send(Phone="0911000002", Content="no code", CallbackUrl=f"{url}/hang")
        await expect(see("more-steps")).to_have_text("10 more reports")
        await expect(see("step").last).to_contain_text("try 6")
        await expect(see("verdict")).to_contain_text("Delivered, but your callback")
        await expect(see("row").first.get_by_test_id("state")).to_have_text("callback timeout")


async def test_delivery_is_decided_with_three_buttons(browser: Browser) -> None:
    """Deliver, fail and resend each send a report, which is drawn with what came of it."""
    settings = Settings(report_delay=3600)
    async with (
        receiver(200) as url,
        Emulator(settings=settings) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        see = page.get_by_test_id
        await caller.send(RequestId="r-1", Content="no code here", CallbackUrl=url)
        state = see("row").get_by_test_id("state")
        report = see("step").filter(has_text="callback")
        await expect(state).to_have_text("waiting")
        await expect(see("resend")).to_be_disabled()
        for button, word, count in (
            ("deliver", "delivered", 1),
            ("resend", "delivered", 2),
            ("fail", "not delivered", 3),
        ):
            await see(button).click()
            await expect(report).to_have_count(count)
            await expect(state).to_have_text(word)
        await expect(see("bubble")).to_have_class("bubble ghost")
        assert [sent.send_status for sent in emulator.reports] == [5, 5, 5]


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", POST_SEND + "/", {"data": send_fields()}, "form"),
    ("POST", POST_SEND + "/", {"data": b'{"ApiKey": "THE-API-KEY", "Pho'}, ""),
    ("GET", POST_SEND + "/", {}, "GET"),
    ("POST", "SendMultipleMesage_V4_post_json/", {"json": send_fields()}, ""),
]


async def test_what_was_not_taken_is_explained(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """A wrong request stands in the list with its reason, what came, and what would be taken."""
    for method, path, options, _ in WRONG:
        await caller.request(method, path, **options)
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        row = see("not-taken")
        await expect(row).to_have_count(len(WRONG))
        for place, (method, _, _, word) in enumerate(reversed(WRONG)):
            await row.nth(place).click()
            reason = await row.nth(place).get_by_test_id("reason").inner_text()
            assert word in reason
            await expect(see("verdict")).to_contain_text(reason)
            await expect(see("raw")).to_contain_text(f"{method} /MainService.svc/json/")
            await expect(see("raw-answer")).to_contain_text("HTTP/1.1 4")
            await expect(see("phone")).to_be_hidden()
            assert "THE-SECRET-KEY" not in await page.content()
        await row.last.click()
        await expect(see("raw").locator("mark")).to_contain_text("x-www-form-urlencoded")
        await expect(see("wanted").locator("mark")).to_contain_text("application/json")


# What the phone shows


async def test_the_handset_shows_the_thread_of_the_number(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """All messages of the phone, the selected one marked, and what never came is dashed."""
    await caller.send(Content="Chao ban")
    await caller.send(Phone="0911000001", Content="333333 of somebody else")
    await caller.send(Content="222222 checked", Sandbox="1")
    await caller.send(Content="111111 la ma cua ban")
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        bubble = see("bubble")
        await expect(bubble).to_have_text(["Chao ban", "222222 checked", "111111 la ma cua ban"])
        await expect(bubble.nth(2)).to_have_attribute("aria-current", "true")
        await expect(bubble.nth(1)).to_have_class("bubble ghost")
        await expect(bubble.nth(2).locator(".otp")).to_have_text("111111")
        await expect(see("phone")).to_contain_text("No SIM")
        await expect(see("phone")).to_contain_text("0901 888 484")
        await expect(see("phone")).to_contain_text("Mobifone")
        await caller.send(Content="444444 la ma")
        await expect(bubble).to_have_count(4)
        await see("open").nth(2).click()
        await expect(bubble.nth(2)).not_to_have_attribute("aria-current", "true")


async def test_parts_and_what_made_them_are_shown(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """A dash that forces UCS-2 is marked, and the parts begin where the gateway splits."""
    content = (
        f"GiaoNhanh: don hang da den kho Thu Duc {DASH} shipper se goi ban truoc 18:00 hom nay nhe"
    )
    await caller.send(Content=content, IsUnicode="1")
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("parts")).to_contain_text("2 parts · UCS-2")
        bubble = see("bubble")
        await expect(bubble.locator(".pt")).to_have_text(["1/2", "2/2"])
        await expect(bubble.locator("mark")).to_have_text(DASH)
        # GSM 03.40: 67 UCS-2 units a part.
        first = await bubble.evaluate("(node) => node.textContent.split('2/2')[0].slice(3)")
        assert first == content[:67]


async def test_diacritics_without_unicode_are_warned_about(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """The phone may show something else than what was sent."""
    await caller.send(Content="Đơn hàng đang được giao")
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("row").get_by_test_id("state")).to_have_text("IsUnicode=0")
        await expect(see("thread")).to_contain_text("IsUnicode=0")
        await expect(see("verdict")).to_contain_text("IsUnicode=0")


async def test_a_zalo_message_is_a_card_with_its_values(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Of many values the first stand there, and the others on request; long ones break."""
    params = {f"gia_tri_{number:02}": "9" * number * 4 for number in range(1, 21)}
    await caller.request(
        "POST",
        "SendZaloMessage_V6/",
        json={
            **send_fields(Content=None, SmsType=None, RequestId="zns-1"),
            "OAID": "4097311281936189049",
            "TempID": "358921",
            "TempData": params,
        },
    )
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("row")).to_contain_text("Zalo")
        await expect(see("row").get_by_test_id("text")).to_contain_text("Template 358921")
        bubble = see("bubble")
        await expect(bubble.locator("dd")).to_have_count(8)
        await see("all-params").click()
        await expect(bubble.locator("dd")).to_have_count(20)
        assert await bubble.evaluate("(node) => node.scrollWidth <= node.clientWidth")


# What is set from the page


async def test_a_fault_is_armed_with_one_click_and_again_when_it_is_spent(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Presets arm, spent faults are folded away, and the drawer stays as it was left."""
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("faults")).to_be_hidden()
        await expect(see("fault-count")).to_be_hidden()
        await see("faults-toggle").click()
        await page.get_by_role("button", name="503 three times").click()
        await page.get_by_role("button", name="Lose the next answer").click()
        armed = see("armed").get_by_test_id("fault")
        await expect(armed).to_have_count(2)
        await expect(see("fault-count")).to_have_text("2")
        await armed.filter(has_text="503").get_by_test_id("disarm").click()
        await expect(armed).to_have_count(1)
        with pytest.raises(aiohttp.ClientError):
            await caller.send(RequestId="r-1")
        await expect(see("fault-count")).to_be_hidden()
        await see("spent").locator("summary").click()
        spent = see("spent").get_by_test_id("fault")
        await expect(spent.get_by_test_id("fault-left")).to_have_text("used 1× · spent")
        await spent.get_by_test_id("again").click()
        await expect(see("fault-count")).to_have_text("1")
        # The drawer covers the handset alone: list and timeline are where they were.
        boxes = [await see(name).bounding_box() for name in ("faults", "timeline")]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert boxes[1]["x"] + boxes[1]["width"] <= boxes[0]["x"]
        await page.reload()
        await expect(see("faults")).to_be_visible()
        await expect(see("preset")).to_have_count(10)
        await see("disarm-all").click()
        await expect(armed).to_have_count(0)
        await page.keyboard.press("f")
        await expect(see("faults")).to_be_hidden()


async def test_any_fault_can_be_written_and_a_wrong_one_is_explained(
    emulator: Emulator, browser: Browser
) -> None:
    """The error stands under the field until something else is written."""
    async with opened(emulator, browser, refused=1) as page:
        see = page.get_by_test_id
        await page.keyboard.press("f")
        spec, error = see("fault-spec"), see("fault-error")
        await spec.fill("http:999")
        await spec.press("Enter")
        await expect(error).to_contain_text("fault http: takes an HTTP status from 200 to 599")
        await expect(spec).to_have_attribute("aria-invalid", "true")
        await spec.fill(f"html:502@send,p=0.5,phone={PHONE}")
        await expect(error).to_be_empty()
        await see("fault-arm").click()
        await expect(see("fault")).to_contain_text("html:502@send,p=0.5,phone=090****484")
        await expect(spec).to_have_value("")
        await see("reset").click()
        await expect(see("fault")).to_have_count(0)
        assert emulator.faults == ()


async def test_the_clock_is_moved_and_the_page_says_so(browser: Browser) -> None:
    """A day ahead: the chip says it, days are headed, and what was held has come."""
    async with Emulator() as emulator, Caller.to(emulator) as caller:
        due = (emulator.clock.now() + CLOCK_AHEAD).astimezone(VIETNAM)
        await caller.send(Content="held back", SendDate=f"{due:%Y-%m-%d %H:%M:%S}")
        async with opened(emulator, browser) as page:
            see = page.get_by_test_id
            await expect(see("attempts")).to_contain_text("held")
            await expect(see("bubble")).to_have_class("bubble ghost")
            await expect(see("clock")).not_to_have_attribute("data-shifted", "")
            await see("clock-advance").click()
            await expect(see("clock")).to_have_attribute("data-shifted", "")
            await expect(see("clock")).to_contain_text("+24 h ahead")
            await expect(see("verdict")).to_contain_text("Delivered")
            await expect(see("bubble")).to_have_class("bubble")
            await expect(see("rows")).to_contain_text("Yesterday")
            await page.locator("#clock-open").click()
            slider = see("clock-shift")
            await expect(slider).to_have_value("24")
            await slider.press("ArrowLeft")
            await expect(see("clock-pop")).to_contain_text("ahead of real time")
            await expect(slider).to_have_value("24")
            await slider.press("ArrowRight")
            await expect(see("clock")).to_contain_text("+25 h ahead")


async def test_a_clock_that_stands_is_shown_to_stand(browser: Browser) -> None:
    """And delivery comes about when it is moved by a test."""
    async with (
        Emulator(clock=Clock(running=False)) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        see = page.get_by_test_id
        await caller.send(Content="no code")
        await expect(see("row").get_by_test_id("state")).to_have_text("waiting")
        await expect(see("clock")).to_contain_text("stopped")
        emulator.clock.advance(5)
        await expect(see("row").get_by_test_id("state")).to_have_text("delivered")


async def test_balance_and_state_of_the_account_are_set(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """An amount, presets and a state; the chip turns red, and a wrong amount is explained."""
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await see("account").click()
        field = see("balance-input")
        await field.fill("a lot")
        await field.press("Enter")
        await expect(see("account-error")).to_have_text(
            "The balance is a whole number of đồng, not “a lot”."
        )
        await field.fill("1,700")
        await field.press("Enter")
        await expect(see("balance")).to_have_text("1,700 đ")
        await expect(see("account-error")).to_be_empty()
        assert emulator.balance == 1700
        await page.get_by_role("button", name="Used up").click()
        await expect(see("balance")).to_have_text("0 đ")
        assert (await caller.send()).code == "103"
        await expect(see("account")).to_have_class("btn num alarm")
        await page.get_by_role("button", name="Full").click()
        await expect(see("balance")).to_have_text("1,000,000,000 đ")
        await see("account-state").select_option("locked")
        await expect(see("balance")).to_have_text("143 locked")
        assert (await caller.send()).code == "143"
        await see("account-state").select_option("active")
        await expect(see("balance")).to_have_text("1,000,000,000 đ")
        await page.keyboard.press("Escape")
        await expect(see("account-pop")).to_be_hidden()
        await expect(see("account")).to_be_focused()


async def test_each_of_several_accounts_is_set_apart(browser: Browser) -> None:
    """Rows of the others say whose they are, and each has a balance of its own."""
    bank = AccountSetup("bank", Credentials("bank-key", "bank-secret"), balance=9000)
    async with (
        Emulator(balance=5000, accounts=[bank]) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        see = page.get_by_test_id
        await caller.send(Content="111111 shop")
        await caller.send(ApiKey="bank-key", SecretKey="bank-secret", Content="222222 bank")
        await expect(see("row")).to_have_count(2)
        await expect(see("row").first).to_contain_text("bank · Fixed number")
        await expect(see("row").last).not_to_contain_text("default ·")
        await expect(see("balance")).to_have_text("default · 4,150 đ")
        await see("account").click()
        await see("account-which").select_option("bank")
        await expect(see("balance")).to_have_text("bank · 8,150 đ")
        await see("balance-input").fill("0")
        await see("balance-input").press("Enter")
        await expect(see("balance")).to_have_text("bank · 0 đ")
        state = await page.evaluate("fetch('/_emulator/state').then((answer) => answer.json())")
        assert [account["balance"] for account in state["accounts"]] == [4150, 0]


# Hostile content


async def test_markup_stays_text_wherever_it_comes_from(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Whatever field, header or path holds it, markup is shown as it was sent, and runs nothing."""
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        content = f"{MARKUP} 135790"
        await caller.send(
            Content=content,
            RequestId=MARKUP[:50],
            campaignid=MARKUP,
            CallbackUrl="http://127.0.0.1:9/?%3Cb%3E",
        )
        await expect(see("bubble")).to_have_text(content)
        await expect(see("campaign-id")).to_have_text(MARKUP)
        await caller.send(Phone=MARKUP, Content=content, Sandbox=MARKUP)
        await expect(see("detail-phone")).to_contain_text("<img")
        await caller.request(
            "POST",
            f"{MARKUP}/",
            data=MARKUP.encode(),
            headers={"User-Agent": MARKUP, "X-A": MARKUP},
        )
        await expect(see("not-taken")).to_have_count(1)
        # What could be a key in an unreadable body is masked.
        await expect(see("raw")).to_contain_text(f"User-Agent: {MARKUP[:20]}")
        await caller.request(
            "POST",
            "SendZaloMessage_V6/",
            json={
                **send_fields(Content=None, SmsType=None),
                "OAID": MARKUP,
                "TempID": MARKUP,
                "TempData": {MARKUP: MARKUP},
            },
        )
        await expect(see("row")).to_have_count(3)
        for place in range(3):
            await see("open").nth(place).click()
            await expect(see("open").nth(place)).to_have_attribute("aria-current", "true")
            # Until its story is loaded, the one before it stands there.
            link = await see("open").nth(place).get_attribute("href")
            assert link is not None
            await expect(see("deep-link")).to_contain_text(link[:7])
            await see("raw-toggle").first.click()
            await expect(see("raw").first).to_be_visible()
        assert await page.locator("img, main script, iframe").count() == 0
        assert "owned" not in await page.title()


# Keys, names, widths


async def test_everything_can_be_done_by_keyboard(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """`j`, `k` and arrows select, `/` searches, `f` and `?` open, Esc closes and focus returns."""
    for number in (1, 2, 3):
        await caller.send(Phone=f"091100000{number}", Content=f"{number * 111111} la ma")
    async with opened(emulator, browser, **COPYING) as page:
        see = page.get_by_test_id
        press = page.keyboard.press
        await expect(see("row")).to_have_count(3)
        phone = see("detail-phone")
        for key, number in (
            ("j", 2),
            ("k", 3),
            ("k", 3),
            ("ArrowDown", 2),
            ("j", 1),
            ("j", 1),
            ("ArrowUp", 2),
        ):
            await press(key)
            await expect(phone).to_have_text(f"0911 000 00{number}")
        focused = page.locator(":focus")
        await expect(focused).to_have_attribute("aria-current", "true")
        style = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(style) == "solid"
        await press("c")
        await expect(see("toast")).to_have_text("Copied 222222")
        await press("/")
        await expect(see("search")).to_be_focused()
        await page.keyboard.type("333333")
        await press("Enter")
        await expect(phone).to_have_text("0911 000 003")
        await press("/")
        await page.keyboard.type("jk/f?c")
        await expect(see("search")).to_have_value("jk/f?c")
        await press("Escape")
        await expect(see("row")).to_have_count(3)
        await press("?")
        await expect(see("keys-dialog")).to_be_visible()
        await press("Escape")
        await expect(see("keys-dialog")).to_be_hidden()
        await press("f")
        await expect(see("faults")).to_be_visible()
        await see("preset").first.focus()
        await press("Space")
        await expect(see("fault")).to_have_count(1)
        await see("disarm").focus()
        await press("Enter")
        await expect(see("fault")).to_have_count(0)
        await press("Escape")
        await expect(see("faults")).to_be_hidden()
        await expect(see("faults-toggle")).to_be_focused()
        # In the thread, arrows scroll.
        before = await phone.inner_text()
        await see("thread").focus()
        await press("ArrowDown")
        await press("ArrowUp")
        await expect(phone).to_have_text(before)


NAMELESS = """() => [...document.querySelectorAll("button, input, select, a, [tabindex='0']")]
  .filter((node) => node.checkVisibility() && !node.textContent.trim() && !node.labels?.length
    && !node.getAttribute("aria-label") && !node.getAttribute("aria-labelledby"))
  .map((node) => node.outerHTML)"""

# WCAG 2.2, 1.4.3: 4.5 to 1, and 3 to 1 for large text. Disabled controls are exempt.
FAINT = """() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([red, green, blue]) => [red, green, blue]
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    const words = [...node.childNodes].filter((child) => child.nodeType === 3 && child.data.trim());
    if (!words.length || node.closest(".vh, :disabled, noscript")) continue;
    if (!node.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(node);
    const [one, other] = [light(parse(style.color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const enough = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < enough) faint.push([ratio.toFixed(2), node.className, words[0].data]);
  }
  return faint;
}"""


async def fill_with_everything(emulator: Emulator, caller: Caller) -> None:
    """Send one message of each state, some wrong requests, and a fault."""
    await caller.send(Phone="0911000001", Content="Đơn hàng đang được giao")
    await caller.send(Phone="0900000103", Content="222222 rejected")
    await caller.send(Content="333333 checked", Sandbox="1")
    due = (emulator.clock.now() + CLOCK_AHEAD).astimezone(VIETNAM)
    await caller.send(Content="held back", SendDate=f"{due:%Y-%m-%d %H:%M:%S}")
    await refuse_form(caller)
    emulator.fault("dlr:failed,times=1")
    await caller.send(Phone="0911000002", Content="444444 lost", CallbackUrl="http://127.0.0.1:9/")
    emulator.fault("http:503@send,times=2,skip=1,retry_after=3600,phone=0911000003")
    for _ in range(4):
        await caller.send(Phone="0911000003", RequestId="r" * 50, Content="12345678 " + "x" * 300)
    await caller.send(Content="555555 la ma xac minh cua ban")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_and_can_be_read(
    emulator: Emulator, caller: Caller, browser: Browser, scheme: str
) -> None:
    """No control is nameless, and no text is fainter than WCAG AA allows, in any state."""
    await fill_with_everything(emulator, caller)
    async with opened(emulator, browser, color_scheme=scheme, reduced_motion="reduce") as page:
        see = page.get_by_test_id
        await see("faults-toggle").click()
        await expect(see("preset")).to_have_count(10)
        count = await page.locator(".row").count()
        for place in range(count):
            await page.locator(".row").nth(place).click()
            await expect(page.locator(".row").nth(place)).to_have_attribute("aria-current", "true")
            await expect(see("verdict")).to_be_visible()
            assert await page.evaluate(NAMELESS) == []
            assert await page.evaluate(FAINT) == []
        await page.keyboard.press("f")
        await see("account").click()
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(FAINT) == []


PARTS = "html, main, .inbox, .filters, .foot, .live, #count, #detail, #story, .top"
OVERFLOWING = f"""() => [...document.querySelectorAll("{PARTS}")]
  .filter((node) => node.scrollWidth > node.clientWidth)
  .map((node) => `${{node.className || node.tagName}} ${{node.scrollWidth}}`)"""
OVERLAPPING = """() => {
  const boxes = [...document.querySelectorAll(".top > *:not(.pop)")]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().width)
    .map((node) => [node.className, node.getBoundingClientRect()]);
  const meet = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
    && one.top < other.bottom - 1 && other.top < one.bottom - 1;
  return boxes.flatMap(([name, one], place) => boxes.slice(place + 1)
    .filter(([, other]) => meet(one, other))
    .map(([other]) => `${name} over ${other}`));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "width", [320, 360, 480, 719, 720, 768, 1023, 1024, 1279, 1280, 1366, 1600]
)
async def test_the_page_fits_every_width(
    emulator: Emulator, caller: Caller, browser: Browser, width: int, scheme: str
) -> None:
    """Nothing is cut off to the side and nothing lies over another, with the clock moved, too."""
    await fill_with_everything(emulator, caller)
    size = {"width": width, "height": 740}
    async with opened(emulator, browser, color_scheme=scheme, viewport=size) as page:
        see = page.get_by_test_id
        count = await page.locator(".row").count()
        for place in range(0, count, 2):
            await page.locator(".row").nth(place).click()
            await expect(see("verdict")).to_be_visible()
            assert await page.evaluate(OVERFLOWING) == []
            if width < 720:
                await see("back").click()
        await see("clock-advance").click()
        await expect(see("clock")).to_have_attribute("data-shifted", "")
        assert await page.evaluate(OVERFLOWING) == []
        assert await page.evaluate(OVERLAPPING) == []
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(part) for part in background[4:-1].split(",")) < 200
        assert is_dark is (scheme == "dark")


async def test_on_a_phone_the_keyboard_leads_to_a_message_and_back_too(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Whether Enter or a click opens the row, one Escape returns to the list."""
    await send_many(caller, 3)
    async with opened(emulator, browser, viewport=SMALL) as page:
        see = page.get_by_test_id
        await expect(see("row")).to_have_count(3)
        enter, click = partial(page.keyboard.press, "Enter"), see("open").first.click
        for place, open_row in ((1, enter), (2, click)):
            await page.keyboard.press("j")
            await expect(see("open").nth(place)).to_be_focused()
            await expect(page).to_have_url(f"http://127.0.0.1:{emulator.port}/")
            await open_row()
            await expect(see("back")).to_be_focused()
            await expect(page).to_have_url(re.compile("/m/"))
            await page.keyboard.press("Escape")
            await expect(see("rows")).to_be_visible()
            await expect(page).to_have_url(f"http://127.0.0.1:{emulator.port}/")


async def test_large_counts_fit_every_width(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Thousands in every filter and in the foot: all of it is in the list's column, words too."""
    await send_many(caller, 1500)
    for _ in range(10):
        await asyncio.gather(*(caller.send(Phone="0900000103") for _ in range(120)))
    await refuse_form(caller)
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("filter-trouble")).to_have_text("Trouble 1,200")
        await see("open").nth(1).click()
        await caller.send(Content="333333 la ma")
        for width in (320, 360, 719, 720, 1023, 1024, 1280, 1366, 1440, 1600):
            await page.set_viewport_size({"width": width, "height": 740})
            if width == 320:
                await see("back").click()
            await expect(see("count")).to_contain_text("1,501 messages")
            assert await page.evaluate(OVERFLOWING) == [], width
            # However many lines the filters take, what is new lies below them.
            boxes = [await see(name).bounding_box() for name in ("filter-nt", "fresh")]
            assert boxes[0] is not None
            assert boxes[1] is not None
            assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]


async def test_on_a_phone_a_message_opens_over_the_list_and_back_leads_there(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """The page's own Back and the browser's both return to the row that was opened."""
    await caller.send(Phone="0911000001", Content="111111 la ma")
    await caller.send(Phone="0911000002", Content="222222 la ma")
    async with opened(emulator, browser, viewport=SMALL) as page:
        see = page.get_by_test_id
        await expect(see("detail-phone")).to_be_hidden()
        await see("open").last.click()
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(see("rows")).to_be_hidden()
        await expect(see("back")).to_be_focused()
        await see("back").click()
        await expect(see("open").last).to_be_focused()
        await see("open").first.click()
        await expect(see("detail-otp")).to_contain_text("222222")
        await caller.send(Phone="0911000003", Content="333333 la ma")
        await page.go_back()
        await expect(see("row")).to_have_count(3)
        await expect(see("rows")).to_be_visible()
        await see("faults-toggle").click()
        await expect(see("faults")).to_be_in_viewport()


async def test_nothing_moves_where_motion_is_unwelcome(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """A row that arrives and the drawer that opens are animated, unless motion is reduced."""
    running = "document.getAnimations().map((each) => each.animationName)"
    press = f"(button) => {{ button.click(); return {running} }}"
    for motion, names in (("no-preference", ["slide"]), ("reduce", [])):
        async with opened(emulator, browser, reduced_motion=motion) as page:
            assert await page.get_by_test_id("faults-toggle").evaluate(press) == names


# Many messages, and an emulator that goes away


async def test_of_thousands_of_messages_only_those_in_sight_are_drawn(browser: Browser) -> None:
    """All 5,000 can be scrolled to, the oldest is found, and an arrival redraws no other row."""
    async with Emulator() as emulator, Caller.to(emulator) as caller:
        await send_many(caller, 5000)
        # All are delivered: a burst of news would leave the newest rows alone.
        emulator.clock.advance(60)
        async with opened(emulator, browser) as page:
            see = page.get_by_test_id
            row = see("row")
            await expect(see("detail-otp")).to_contain_text("104999")
            assert await row.count() < 40
            await expect(see("older")).to_have_text("Show older (4,500)")
            await see("search").fill("100000 la")
            await expect(row).to_have_count(1)
            await expect(row).to_contain_text("100000")
            await page.keyboard.press("Escape")
            await expect(row.first).to_contain_text("104999")
            await page.evaluate("for (const row of rows.children) row.isOld = true")
            await caller.send(Content="999999 la ma")
            await expect(row.first).to_contain_text("999999")
            # One row is new; none of the twenty others was made again.
            assert await page.evaluate("[...rows.children].filter((row) => !row.isOld).length") == 1
            for left in range(3999, 0, -500):
                await page.evaluate("scroller.scrollTop = scroller.scrollHeight")
                await expect(see("older")).to_have_text(f"Show older ({left:,})")
                assert await row.count() < 40
            await see("older").click()
            await expect(see("older")).to_be_hidden()
            await page.evaluate("scroller.scrollTop = scroller.scrollHeight")
            await expect(row.last).to_contain_text("100001")
            await expect(see("pruned")).to_have_text("1 older row made room for newer ones.")
        oldest = emulator.messages[0]
        async with opened(emulator, browser, f"/m/{oldest.sms_id}") as page:
            see = page.get_by_test_id
            await expect(see("detail-otp")).to_contain_text("100001")
            # It is not among the rows that are loaded, and stays open all the same.
            await caller.send(Content="888888 la ma")
            await expect(see("fresh")).to_have_text("1 new")
            await expect(see("detail-otp")).to_contain_text("100001")


async def test_what_is_read_stays_in_place_while_others_arrive(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Whoever has scrolled down does not lose the row before their eyes."""
    await send_many(caller, 60)
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await expect(see("row").first).to_contain_text("100059")
        await see("follow").click()
        await page.evaluate("scroller.scrollTop = 1000")
        row = see("row").filter(has_text="100040")
        before = await row.bounding_box()
        await send_many(caller, 5, first=60)
        await expect(see("fresh")).to_have_text("5 new")
        assert await row.bounding_box() == before


async def test_a_burst_shows_the_newest_and_loses_nothing(
    emulator: Emulator, caller: Caller, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than anybody can follow comes as its newest rows; what stands open is asked for."""
    monkeypatch.setattr(control, "_BURST", 40)
    monkeypatch.setattr(control, "_TOP", 10)
    journal = emulator._journal
    await caller.send(Content="111111 la ma", Phone="0911000001")
    await caller.send(Content="222222 la ma")
    async with opened(emulator, browser) as page:
        see = page.get_by_test_id
        await see("row").nth(1).click()
        await expect(see("detail-otp")).to_contain_text("111111")
        await send_many(caller, 30)
        await expect(see("fresh")).to_have_text("30 new")
        emulator.finish(emulator.messages[0].sms_id, delivered=False)
        # In one turn of the loop, so that all of it is in one batch.
        for _ in range(50):
            journal.note_state()
        await expect(see("older")).to_have_text("Show older (22)")
        await expect(see("row").first).to_contain_text("100029")
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(see("verdict")).to_contain_text("the phone did not get it")
        await expect(see("fresh")).to_have_text("30 new")
        await see("older").click()
        await expect(see("older")).to_be_hidden()
        await expect(see("live")).to_contain_text("32 messages")
        await see("fresh").click()
        await expect(see("detail-otp")).to_contain_text("100029")


async def test_the_page_holds_no_more_with_each_message(browser: Browser) -> None:
    """After thousands of messages, the page keeps as much as after the first thousand."""
    settings = Settings(max_messages=1000)
    async with (
        Emulator(settings=settings) as emulator,
        Caller.to(emulator) as caller,
        # A row may have made room for newer ones before the page asks for its story.
        opened(emulator, browser, refused=None) as page,
    ):
        devtools = await page.context.new_cdp_session(page)

        async def size() -> tuple[int, int]:
            await devtools.send("HeapProfiler.collectGarbage")
            heap = await devtools.send("Runtime.getHeapUsage")
            counters = await devtools.send("Memory.getDOMCounters")
            return heap["usedSize"], counters["nodes"]

        sizes: list[tuple[int, int]] = []
        for start in range(0, 6000, 1500):
            await send_many(caller, 1500, first=start)
            newest = f"{100_000 + start + 1499}"
            await expect(page.get_by_test_id("detail-otp")).to_contain_text(newest)
            sizes.append(await size())
        # The first round fills the page. A busy browser keeps for a while what it has drawn.
        most_bytes, most_nodes = sizes[0][0] + 2_000_000, sizes[0][1] + 500
        end = time.monotonic() + generous(20)
        while sizes[-1][0] >= most_bytes or sizes[-1][1] >= most_nodes:
            assert time.monotonic() < end, sizes
            sizes.append(await size())


async def test_the_page_finds_back_to_an_emulator_that_was_started_again(browser: Browser) -> None:
    """While nothing answers, the page says so; then it shows what the new emulator has."""
    async with Emulator() as first, Caller.to(first) as caller:
        await caller.send(Content="111111 old")
        context = await browser.new_context(viewport=WIDE)
        expect.set_options(timeout=1000 * generous(30))
        page = await context.new_page()
        see = page.get_by_test_id
        await page.goto(f"http://127.0.0.1:{first.port}/")
        await expect(see("otp")).to_have_text("111111")
        await expect(see("lost")).to_be_hidden()
        port = first.port
        await first.aclose()
        await expect(see("lost")).to_contain_text("The emulator does not answer")
        await expect(see("live")).to_have_text("Not connected")
        # What was known stays to be read.
        await expect(see("detail-otp")).to_contain_text("111111")
    async with Emulator(port=port) as second, Caller.to(second) as caller:
        await caller.send(Content="222222 new")
        await expect(see("otp")).to_have_text("222222")
        await expect(see("lost")).to_be_hidden()
        await expect(see("live")).to_contain_text("Live")
        await context.close()


async def test_a_page_that_is_kept_behind_a_token_opens_with_it(browser: Browser) -> None:
    """The token is given once, in the address; files, questions and the stream need no more."""
    async with Emulator(token="a-token-of-the-test") as emulator, Caller.to(emulator) as caller:
        async with opened(emulator, browser, "/?token=a-token-of-the-test") as page:
            see = page.get_by_test_id
            await caller.send(Content="222222 la ma")
            await expect(see("detail-otp")).to_contain_text("222222")
            assert "token" not in page.url
        context = await browser.new_context()
        page = await context.new_page()
        answer = await page.goto(f"http://127.0.0.1:{emulator.port}/")
        assert answer is not None
        assert answer.status == 401
        await context.close()


@asynccontextmanager
async def proxied(emulator: Emulator, folder: str) -> AsyncIterator[str]:
    """Serve an emulator below a folder, at another port, as a reverse proxy does.

    It passes the Host header on, as nginx does with `proxy_set_header Host $http_host`.
    """
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            url = f"http://127.0.0.1:{emulator.port}/{request.raw_path.removeprefix(folder)}"
            async with session.request(
                request.method,
                URL(url, encoded=True),
                headers=request.headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status, headers=answer.headers)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

        app = web.Application()
        app.router.add_route("*", f"{folder}{{path:.*}}", forward)
        # A page that is closed ends its stream.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{folder.rstrip('/')}"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("folder", ["/", "/sms/"])
async def test_behind_a_proxy_the_page_works_and_names_the_addresses_of_the_proxy(
    browser: Browser, folder: str
) -> None:
    """At another port or in a folder, links, calls, the stream and what is copied fit the page."""
    async with (
        Emulator(token="a-token-of-the-test") as emulator,
        Caller.to(emulator) as caller,
        proxied(emulator, folder) as root,
        opened(
            emulator, browser, "/?token=a-token-of-the-test", root=root, refused=1, **COPYING
        ) as page,
    ):
        see = page.get_by_test_id
        url = f"{root}/MainService.svc/json/"
        await expect(page).to_have_url(f"{root}/")
        await expect(see("base-url")).to_have_text(url)
        await expect(see("snippet")).to_contain_text(f"{url}SendMultipleMessage_V4_post_json/")
        await caller.send(Phone="0911000001", Content="111111 la ma")
        await caller.send(Phone="0911000002", Content="222222 la ma")
        await expect(see("detail-otp")).to_contain_text("222222")
        assert await copied(page, see("copy-url"), "the base URL") == url
        command = await copied(page, see("copy-curl"), "the curl command")
        assert command.startswith(f"curl {url}SendMultipleMessage")
        link = f"{root}/m/{emulator.messages[0].sms_id}"
        await see("open").last.click()
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(page).to_have_url(link)
        assert await see("open").last.evaluate("(row) => row.href") == link
        assert await copied(page, see("deep-link"), "the link") == link
        await page.reload()
        await expect(see("detail-otp")).to_contain_text("111111")
        await see("faults-toggle").click()
        await see("preset").first.click()
        await expect(see("fault")).to_have_count(1)
        await see("follow").click()
        await expect(page).to_have_url(f"{root}/")
        await expect(see("detail-otp")).to_contain_text("222222")
        await page.goto(f"{root}/m/gone")
        await expect(see("verdict")).to_contain_text("Nothing is kept under /m/gone")


async def test_news_is_told_while_the_page_is_hidden(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """The bell asks the browser first; what comes together is told together, with its code."""
    # Headless Chromium shows no notifications, and no other tab can hide its page.
    script = """
      window.Notification = class {
        static requestPermission = async () => "granted";
        constructor(_, { body }) { document.documentElement.dataset.told = body; }
      };
      Object.defineProperty(document, "hidden", { get: () => window.isAway === true });
    """
    async with opened(emulator, browser, script=script) as page:
        see = page.get_by_test_id
        await caller.send(Content="111111 la ma")
        await expect(see("detail-otp")).to_contain_text("111111")
        await expect(page.locator("#say")).to_have_text("0901 888 484: 111111")
        await see("notify").click()
        await expect(see("notify")).to_have_attribute("aria-pressed", "true")
        await page.evaluate("isAway = true")
        await caller.send(Content="222222 la ma")
        html = page.locator("html")
        await expect(html).to_have_attribute("data-told", "0901 888 484: 222222")
        await see("notify").click()
        await caller.send(Content="333333 la ma")
        await expect(see("detail-otp")).to_contain_text("333333")
        await expect(page.locator("#say")).to_have_text("0901 888 484: 333333")
        await expect(html).to_have_attribute("data-told", "0901 888 484: 222222")
