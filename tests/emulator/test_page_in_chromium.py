"""The inbox page in a real browser: Debian's Chromium, driven without a screen."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from esms_async.emulator import Clock, Emulator, Settings
from tests.emulator.caller import PHONE, Caller
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

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    pytest.mark.endurance,
]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser of its own."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def opened(
    emulator: Emulator, browser: Browser, *, refused: int = 0, **options: Any
) -> AsyncIterator[Page]:
    """Open the page of an emulator; whatever it complains of in its console fails the test.

    A request that is refused is an error in the console of Chromium; `refused` says how many are.
    """
    complaints: list[str] = []
    context = await browser.new_context(**options)
    # A slow machine may take its time; what does not come at all comes neither in half a minute.
    context.set_default_timeout(generous(30_000))
    expect.set_options(timeout=generous(30_000))
    page = await context.new_page()
    page.on("console", lambda line: complaints.append(f"{line.type}: {line.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"http://127.0.0.1:{emulator.port}/")
    await expect(page.get_by_test_id("live")).to_have_text("live")
    try:
        yield page
    finally:
        await context.close()
    expected = [complaint for complaint in complaints if "status of 400" in complaint]
    assert (len(expected), complaints) == (refused, expected)


async def clipboard(page: Page) -> str:
    """Return what was copied last."""
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


COPYING: dict[str, Any] = {"permissions": ["clipboard-read", "clipboard-write"]}


async def test_what_an_app_sends_shows_up_and_can_be_copied(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """From the empty page's snippet to the code on the clipboard, without loading anything anew."""
    async with opened(emulator, browser, **COPYING) as page:
        await expect(page.get_by_test_id("bar")).to_contain_text("No SMS leaves this machine")
        await expect(page.get_by_test_id("base-url")).to_have_text(emulator.url)
        await page.get_by_test_id("copy-url").click()
        await expect(page.get_by_test_id("toast")).to_have_text("Copied the base URL")
        assert await clipboard(page) == emulator.url
        await page.get_by_test_id("copy-snippet").click()
        await expect(page.get_by_test_id("toast")).to_have_text("Copied the snippet")
        assert emulator.url in await clipboard(page)

        await caller.send(Phone="0911000001", Content="111111 first")
        await caller.send(RequestId="r-2", Content="222222 second")
        row = page.get_by_test_id("row")
        await expect(row).to_have_count(2)
        await expect(page.get_by_test_id("empty")).to_be_hidden()
        await expect(row.first.get_by_test_id("otp")).to_have_text("222222")
        await expect(row.first.get_by_test_id("phone")).to_have_text("0901 888 484")
        await expect(row.last.get_by_test_id("text")).to_have_text("111111 first")
        await expect(page.get_by_test_id("balance")).to_have_text("999,998,300 đ")
        await expect(page.get_by_test_id("count")).to_have_text("2")
        await row.first.get_by_test_id("otp").click()
        await expect(page.get_by_test_id("toast")).to_have_text("Copied 222222")
        assert await clipboard(page) == "222222"

        await page.get_by_test_id("clear").click()
        await expect(page.get_by_test_id("empty")).to_be_visible()
        assert (emulator.messages, emulator.accepted("r-2")) == ([], 1)


async def test_a_snippet_of_the_empty_page_works(emulator: Emulator, browser: Browser) -> None:
    """Pasted into Python, the snippet sends a message that the page then shows."""
    async with opened(emulator, browser) as page:
        snippet = await page.get_by_test_id("snippet").inner_text()
        # What the snippet runs itself runs within the loop of the test.
        program = snippet.replace("asyncio.run(main())", "")
        namespace: dict[str, Any] = {}
        exec(program, namespace)  # noqa: S102  # what a person would do with it
        await namespace["main"]()
        await expect(page.get_by_test_id("otp").first).to_have_text("482913")


async def test_a_fault_is_armed_with_one_click_and_seen_to_strike(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """A lost answer shows as such, and the retry as deduplicated, with every attempt."""
    async with opened(emulator, browser) as page:
        await page.get_by_role("button", name="503 three times").click()
        await page.get_by_role("button", name="Lose the next answer").click()
        fault = page.get_by_test_id("fault")
        await expect(fault).to_have_count(2)
        await fault.first.get_by_test_id("disarm").click()
        await expect(fault).to_have_count(1)
        await expect(page.get_by_test_id("fault-count")).to_have_text("1 armed")
        with pytest.raises(aiohttp.ClientError):
            await caller.send(RequestId="r-1")
        assert (await caller.send(RequestId="r-1")).code == "124"
        await expect(fault.get_by_test_id("fault-left")).to_have_text("used 1×, used up")
        row = page.get_by_test_id("row")
        for kind, words in (
            ("retried", "retried ×1"),
            ("deduplicated", "deduplicated"),
            ("fault", "fault reset"),
        ):
            await expect(row.get_by_test_id(f"badge-{kind}")).to_have_text(words)
        await row.get_by_test_id("open").click()
        attempt = page.get_by_test_id("attempt")
        await expect(attempt).to_have_count(2)
        await expect(attempt.first.get_by_test_id("answer")).to_have_text(
            "no answer, but the gateway had accepted it"
        )
        await expect(attempt.first.get_by_test_id("attempt-fault")).to_contain_text("phase=after")
        await expect(attempt.last.get_by_test_id("answer")).to_have_text("124 Request exist 1")
        await attempt.first.get_by_test_id("raw-toggle").click()
        raw = await attempt.first.get_by_test_id("raw").inner_text()
        assert '"ApiKey": "***"' in raw
        assert "THE-SECRET-KEY" not in await page.content()


async def test_any_fault_can_be_written_and_a_wrong_one_is_explained(
    emulator: Emulator, browser: Browser
) -> None:
    """The error stands beside the field, and what is armed can all be taken away again."""
    async with opened(emulator, browser, refused=1) as page:
        spec = page.get_by_test_id("fault-spec")
        error = page.get_by_test_id("fault-error")
        await spec.fill("http:999")
        await spec.press("Enter")
        await expect(error).to_contain_text("fault http: takes an HTTP status from 200 to 599")
        await expect(spec).to_have_attribute("aria-invalid", "true")
        await spec.fill(f"html:502@send,p=0.5,phone={PHONE}")
        await expect(error).to_be_empty()
        await page.get_by_test_id("fault-arm").click()
        await expect(page.get_by_test_id("fault")).to_contain_text(
            "html:502@send,p=0.5,phone=090****484"
        )
        await expect(spec).to_have_value("")
        await page.get_by_test_id("disarm-all").click()
        await expect(page.get_by_test_id("fault")).to_have_count(0)
        assert emulator.faults == ()


async def test_messages_are_found_by_phone_text_request_id_and_sms_id(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Each word that a message is known by finds it, without diacritics too, and no other."""
    async with opened(emulator, browser) as page:
        got = await caller.send(Phone="0911000001", Content="Mã Đăng nhập 111111")
        await caller.send(Phone="0911000002", RequestId="order-2", Content="222222 hello")
        await caller.send(Phone="0900000103", RequestId="order-3", Content="333333 rejected")
        row = page.get_by_test_id("row")
        await expect(row).to_have_count(3)
        for query, phone in (
            ("+84 911 000 001", "0911 000 001"),
            ("ma dang NHAP", "0911 000 001"),
            (got.json["SMSID"], "0911 000 001"),
            ("Mã", "0911 000 001"),
            ("order-2", "0911 000 002"),
            ("333333 rejected", "0900 000 103"),
        ):
            await page.get_by_test_id("search").fill(query)
            await expect(row).to_have_count(1)
            await expect(row.get_by_test_id("phone")).to_have_text(phone)
        await page.get_by_test_id("search").fill("nothing of the kind")
        await expect(page.get_by_test_id("found")).to_have_text("0 found")
        await expect(row).to_have_count(0)


async def test_delivery_is_decided_with_three_buttons(browser: Browser) -> None:
    """Deliver, fail and resend each send a report, which is listed with what came of it."""
    settings = Settings(report_delay=3600)
    async with (
        Emulator(settings=settings) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        await caller.send(RequestId="r-1", CallbackUrl="http://127.0.0.1:9/report")
        await page.get_by_test_id("open").click()
        state = page.get_by_test_id("detail-state")
        report = page.get_by_test_id("report")
        await expect(state).to_have_text("waiting")
        await expect(page.get_by_test_id("resend")).to_be_disabled()
        await page.get_by_test_id("resend").click(force=True)
        await expect(page.get_by_test_id("toast")).to_have_text("Deliver it or let it fail first")
        await expect(report).to_have_count(0)
        for button, word, count in (
            ("deliver", "delivered", 1),
            ("resend", "delivered", 2),
            ("fail", "failed", 3),
        ):
            await page.get_by_test_id(button).click()
            await expect(report).to_have_count(count)
            await expect(state).to_have_text(word)
        await expect(report.last).to_contain_text("5 finished")
        await expect(page.get_by_test_id("row").get_by_test_id("state")).to_have_text("failed")
        assert [sent.send_status for sent in emulator.reports] == [5, 5, 5]


async def test_delivery_comes_about_by_the_clock(browser: Browser) -> None:
    """A jump of the emulator's clock shows on the page."""
    async with (
        Emulator(clock=Clock(running=False)) as emulator,
        Caller.to(emulator) as caller,
        opened(emulator, browser) as page,
    ):
        await caller.send()
        state = page.get_by_test_id("row").get_by_test_id("state")
        await expect(state).to_have_text("waiting")
        emulator.clock.advance(5)
        await expect(state).to_have_text("delivered")


async def test_markup_in_a_message_stays_text(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """Whatever field holds it, markup is shown as it was sent, and runs nothing."""
    async with opened(emulator, browser) as page:
        content = f"{MARKUP} 135790"
        await caller.send(
            Content=content,
            RequestId=MARKUP[:50],
            campaignid=MARKUP,
            CallbackUrl="http://127.0.0.1:9/?%3Cb%3E",
        )
        await caller.send(Phone=MARKUP, Content=content, Sandbox=MARKUP)
        row = page.get_by_test_id("row")
        await expect(row).to_have_count(2)
        await expect(row.first.get_by_test_id("phone")).to_have_text(MARKUP)
        for place in (0, 1):
            await row.nth(place).get_by_test_id("open").click()
            await expect(page.get_by_test_id("bubble")).to_have_text(content)
        await expect(page.get_by_test_id("campaign-id")).to_have_text(MARKUP)
        assert await page.locator("img, main script").count() == 0
        assert await page.title() == "eSMS emulator"


async def test_everything_can_be_done_by_keyboard(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """`/` searches, `j` and `k` go up and down, Enter copies, and where one is can be seen."""
    for number in (1, 2, 3):
        await caller.send(Phone=f"091100000{number}", Content=f"{number * 111111} la ma")
    async with opened(emulator, browser, **COPYING) as page:
        await expect(page.get_by_test_id("row")).to_have_count(3)
        phone = page.get_by_test_id("detail-phone")
        for key, number in (("j", 3), ("j", 2), ("k", 3), ("k", 3), ("j", 2), ("j", 1), ("j", 1)):
            await page.keyboard.press(key)
            await expect(phone).to_have_text(f"0911 000 00{number}")
        focused = page.locator(":focus")
        await expect(focused).to_have_attribute("aria-current", "true")
        style = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(style) == "solid"
        await page.keyboard.press("Shift+Tab")
        await expect(focused).to_have_attribute("aria-label", "Copy the code 111111")
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("toast")).to_have_text("Copied 111111")
        await page.keyboard.press("/")
        await expect(page.get_by_test_id("search")).to_be_focused()
        await page.keyboard.type("222222")
        await page.keyboard.press("Enter")
        await expect(phone).to_have_text("0911 000 002")
        await page.keyboard.press("/")
        await page.keyboard.type("jk/")
        await expect(page.get_by_test_id("search")).to_have_value("jk/")
        await page.keyboard.press("Escape")
        await expect(page.get_by_test_id("row")).to_have_count(3)
        await page.get_by_test_id("preset").first.focus()
        await page.keyboard.press("Space")
        await expect(page.get_by_test_id("fault")).to_have_count(1)
        await page.get_by_test_id("disarm").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("fault")).to_have_count(0)


async def test_everything_that_can_be_used_has_a_name(
    emulator: Emulator, caller: Caller, browser: Browser
) -> None:
    """No button and no field is without a name for those who do not see the page."""
    await caller.send(RequestId="r-1")
    async with opened(emulator, browser) as page:
        await page.get_by_test_id("open").click()
        await expect(page.get_by_test_id("detail-phone")).to_be_visible()
        nameless = await page.evaluate(
            """() => [...document.querySelectorAll("button, input")].filter((node) =>
                !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length)
                && node.offsetParent !== null).map((node) => node.outerHTML)"""
        )
        assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_small_screen_in_both_themes(
    emulator: Emulator, caller: Caller, browser: Browser, scheme: str
) -> None:
    """At 360 pixels nothing is cut off to the side, and the message opens over the list."""
    emulator.fault("http:503@send,times=1,skip=1,retry_after=3600,p=0.999999,phone=0911000001")
    emulator.fault("dlr:failed")
    for _ in range(2):
        await caller.send(Phone="0911000001", RequestId="r" * 50, Content="12345678 " + "x" * 300)
    size = {"width": 360, "height": 740}
    async with opened(emulator, browser, color_scheme=scheme, viewport=size) as page:
        too_wide = "document.documentElement.scrollWidth > 360"
        assert not await page.evaluate(too_wide)
        await page.get_by_test_id("open").click()
        await expect(page.get_by_test_id("detail-phone")).to_be_in_viewport()
        assert not await page.evaluate("document.getElementById('detail').scrollWidth > 360")
        await page.get_by_test_id("back").click()
        await expect(page.get_by_test_id("open")).to_be_focused()
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(part) for part in background[4:-1].split(",")) < 200
        assert is_dark is (scheme == "dark")


async def test_the_page_stays_fluent_with_thousands_of_messages(browser: Browser) -> None:
    """Of 5000 messages a part is in the document, the oldest is found, and older ones show."""
    async with Emulator() as emulator, Caller.to(emulator) as caller:
        for start in range(0, 5000, 100):
            await asyncio.gather(
                *(
                    caller.send(RequestId=f"r-{number}", Content=f"{100_000 + number} la ma")
                    for number in range(start, start + 100)
                )
            )
        async with opened(emulator, browser) as page:
            row = page.get_by_test_id("row")
            await expect(row).to_have_count(100)
            await expect(page.get_by_test_id("more")).to_have_text("Show older (4900)")
            await page.get_by_test_id("more").click()
            await expect(row).to_have_count(200)
            await page.get_by_test_id("search").fill("100000 la")
            await expect(row).to_have_count(1)
            await page.get_by_test_id("search").fill("")
            await caller.send(Content="999999 la ma")
            await expect(row.first.get_by_test_id("otp")).to_have_text("999999")


async def test_the_page_finds_back_to_an_emulator_that_was_started_again(browser: Browser) -> None:
    """While nothing answers, the page says so; then it shows what the new emulator has."""
    async with Emulator() as first, Caller.to(first) as caller:
        await caller.send(Content="111111 old")
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{first.port}/")
        await expect(page.get_by_test_id("otp")).to_have_text("111111")
        port = first.port
        await first.aclose()
        await expect(page.get_by_test_id("live")).to_have_text("reconnecting…")
    async with Emulator(port=port) as second, Caller.to(second) as caller:
        await caller.send(Content="222222 new")
        await expect(page.get_by_test_id("otp")).to_have_text("222222", timeout=generous(30_000))
        await expect(page.get_by_test_id("live")).to_have_text("live", timeout=generous(30_000))
        await context.close()
