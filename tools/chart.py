"""Draws one chart of the storm and of the speed, from the figures of the benchmarks."""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
FIGURES: Final = ROOT / "benchmarks" / "results" / "latest.json"

_AT_ONCE: Final = 32
_OURS: Final = "EsmsClient"
_WIDTH, _ROW, _BAR, _TOP, _LABEL, _PANEL = 920, 40, 12, 66, 285, 170

_COLOURS: Final = {
    "light": {"ink": "#1f2328", "faint": "#59636e", "theirs": "#afb8c1", "ours": "#0b7285"},
    "dark": {"ink": "#e6edf3", "faint": "#9198a1", "theirs": "#57606a", "ours": "#3bc9db"},
}
_TWICE, _WRONG = "#e5534b", "#d29922"

# The ways of the storm, with the one that the speed was measured of, where there is one.
_WAYS: Final = {
    "aiohttp, no retry": "naive",
    "aiohttp + tenacity, no RequestId": "tenacity",
    "aiohttp + tenacity, RequestId minted inside the retried function": None,
    "aiohttp + tenacity, RequestId kept, 124 read as a failure": None,
    "aiohttp-retry": "aiohttp-retry",
    _OURS: "esms",
}
_WORDS: Final[dict[str, list[str]]] = {
    "en": [
        "aiohttp, no retry",
        "aiohttp + tenacity, no RequestId",
        "… RequestId minted inside the retry",
        "… RequestId kept, 124 read as failure",
        "aiohttp-retry",
        "EsmsClient",
        "600 sends in a storm of faults",
        "phones reached twice",
        "outcomes told wrongly",
        "messages/s, 32 at once, aiohttp = 1",
    ],
    "vi": [
        "aiohttp, không thử lại",
        "aiohttp + tenacity, không có mã yêu cầu",
        "… mã yêu cầu tạo trong hàm thử lại",
        "… giữ mã yêu cầu, coi 124 là thất bại",
        "aiohttp-retry",
        "EsmsClient",
        "600 tin giữa cơn bão lỗi",
        "số máy nhận hai tin",
        "kết quả báo sai",
        "tin/giây, 32 tin cùng lúc, aiohttp = 1",
    ],
}


def draw(language: str, scheme: str) -> str:
    """Draw the chart as an SVG, in `en` or `vi`, for `light` or `dark`."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    height = _TOP + _ROW * len(_WAYS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}">'
        "<style>text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}"
        ".h{font-weight:600}.e{text-anchor:end}</style>"
        f"{''.join(_marks(figures, _WORDS[language], _COLOURS[scheme]))}</svg>\n"
    )


def _marks(figures: Any, words: list[str], colours: dict[str, str]) -> Iterator[str]:  # noqa: ANN401  # what JSON holds
    storm = {one["way"]: one for one in figures["storm"]}
    speed = {
        one["case"]["contestant"]: one["times"]["rate"]
        for one in figures["figures"]["calm"]
        if (one["case"]["loop"], one["case"]["concurrency"]) == ("asyncio", _AT_ONCE)
    }
    most = max(max(one["twice"], one["wrong"]) for one in storm.values())
    left, right = _LABEL + 12, _LABEL + 12 + _PANEL * 2
    yield _text(left, 16, words[6], colours["ink"], "h")
    yield _bar(left, 28, 12, _TWICE) + _text(left + 18, 38, words[7], colours["faint"])
    yield _bar(left + 170, 28, 12, _WRONG) + _text(left + 188, 38, words[8], colours["faint"])
    yield _text(right, 16, words[9], colours["ink"], "h")
    for row, (way, contestant) in enumerate(_WAYS.items()):
        y = _TOP + row * _ROW
        style = "e h" if way == _OURS else "e"
        yield _text(_LABEL, y + 17, words[row], colours["ink"], style)
        for number, (kind, colour) in enumerate((("twice", _TWICE), ("wrong", _WRONG))):
            count, top = storm[way][kind], y + number * (_BAR + 1)
            length = count / most * (_PANEL - 30) * 1.6
            yield _bar(left, top, max(length, 1), colour)
            yield _text(left + length + 6, top + 11, str(count), colours["faint"])
        if contestant is not None:
            ratio = speed[contestant]
            length = ratio * _PANEL * 0.8
            yield _bar(right, y, length, colours["ours" if way == _OURS else "theirs"], 25)
            yield _text(right + length + 6, y + 17, f"{ratio:.2f}", colours["faint"])


def _bar(x: float, y: float, length: float, colour: str, thick: int = _BAR) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{length:.1f}" height="{thick}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, colour: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:g}" fill="{colour}" class="{style}">{escape(words)}</text>'
