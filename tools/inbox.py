"""Takes the pictures of the emulator's inbox that the READMEs show.

An app sends a handful of codes through an emulator that loses answers. What its page shows then is
taken with Debian's Chromium, in light and in dark.
"""

import base64
import shutil
import sys

from playwright.async_api import Browser, ViewportSize, async_playwright

from esms_async import EsmsError, Message, RetryPolicy
from esms_async.emulator import Emulator, Settings
from esms_async.testing import emulated_client

SIZE = ViewportSize(width=1200, height=726)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]

SHOWN = "686868"
MESSAGES = [
    ("0901 888 401", "Cho Que: ma dang nhap 057880, het han sau 5 phut."),
    ("0900 000 103", "415909 la ma xac minh cua ban"),
    ("0968 302 417", "Chợ Quê: mã 847423 có hiệu lực trong 5 phút. Đừng đưa mã này cho bất kỳ ai."),
    ("0351 545 429", "245558 la ma xac nhan don hang cua ban tai Cho Que"),
    ("0773 591 204", "690132 là mã đăng nhập Chợ Quê của bạn."),
    ("0901 888 484", f"{SHOWN} la ma xac minh cua ban"),
]
FAULTS = [
    "http:503,times=1,phone=0351545429",
    "reset,phase=after,times=1,phone=0901888484",
]


async def take_pictures() -> dict[str, bytes]:
    """Send, and take both pictures; return them by scheme."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is needed to take the pictures: apt-get install chromium")
    emulator = Emulator(faults=FAULTS, seed=1, settings=Settings(report_delay=0))
    retry = RetryPolicy(backoff_initial=0.01)
    async with (
        emulated_client(emulator, retry=retry) as esms,
        async_playwright() as playwright,
    ):
        for phone, text in MESSAGES:
            try:
                await esms.send(Message(phone, text))
            except EsmsError as error:
                print(f"shown as refused: {error}")
        browser = await playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        taken = {scheme: await _take(browser, emulator, scheme) for scheme in ("light", "dark")}
        await browser.close()
    return taken


async def _take(browser: Browser, emulator: Emulator, scheme: str) -> bytes:
    """Take one picture, with the newest message selected."""
    context = await browser.new_context(
        viewport=SIZE,
        device_scale_factor=1.5,
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="Asia/Ho_Chi_Minh",
    )
    page = await context.new_page()
    await page.goto(f"http://127.0.0.1:{emulator.port}/")
    # Words alone, so that the page may be built again without this script.
    await page.get_by_text(MESSAGES[0][1][:20]).first.wait_for()
    await page.get_by_text(SHOWN).first.locator("xpath=ancestor::li[1]").click()
    # The page has settled when it looks the same twice.
    before, picture = b"", await page.screenshot(animations="disabled")
    while picture != before:
        before, picture = picture, await page.screenshot(animations="disabled")
    chromium = await context.new_cdp_session(page)  # which knows WebP: a fifth of a PNG
    taken = await chromium.send("Page.captureScreenshot", {"format": "webp", "quality": 90})
    await context.close()
    return base64.b64decode(taken["data"])
