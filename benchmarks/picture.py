"""Draws how many messages a second each contestant sends over those of the naive loop."""

# matplotlib's own hints leave its **kwargs unknown.
# pyright: reportUnknownMemberType=false

from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from benchmarks.compare import Figure
from benchmarks.contestants import CONTESTANTS, ESMS, FLOOR

_OURS, _THEIRS = "#0b7285", ("#adb5bd", "#868e96", "#ced4da", "#495057", "#dee2e6")
_WIDTH: Final = 0.8


def draw(figures: list[Figure], path: Path) -> Path:
    """Draw one panel an event loop, one group of columns a concurrency.

    The floor is left out: it does no more than move bytes, and would press all else flat.

    Args:
        figures: The figures.
        path: The SVG file.

    Returns:
        The SVG file.
    """
    drawn = [figure for figure in figures if figure.case.contestant != FLOOR]
    loops = list(dict.fromkeys(figure.case.loop for figure in drawn))
    # The same figures give the same file, whatever the day.
    with mpl.rc_context({"svg.hashsalt": "esms_async", "font.size": 9}):
        sheet = Sheet(figsize=(4.8 * len(loops), 3.4), layout="constrained")
        panels = sheet.subplots(1, len(loops), squeeze=False, sharey=True)[0]
        for panel, loop in zip(panels, loops, strict=True):
            _draw_loop(panel, [figure for figure in drawn if figure.case.loop == loop])
            panel.set_title(loop)
        panels[0].set_ylabel("messages/s, aiohttp = 1")
        handles, labels = panels[0].get_legend_handles_labels()
        sheet.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.savefig(path, format="svg", metadata={"Date": None})
    return path


def _draw_loop(panel: Axes, figures: list[Figure]) -> None:
    contestants = list(dict.fromkeys(figure.case.contestant for figure in figures))
    concurrency = list(dict.fromkeys(figure.case.concurrency for figure in figures))
    ratio = {
        (f.case.contestant, f.case.concurrency): f.times.rate if f.times else 0.0 for f in figures
    }
    width = _WIDTH / len(contestants)
    others = iter(_THEIRS)
    for position, contestant in enumerate(contestants):
        panel.bar(
            [group + position * width for group in range(len(concurrency))],
            [ratio[contestant, at_once] for at_once in concurrency],
            width,
            label=CONTESTANTS[contestant].label,
            color=_OURS if contestant == ESMS else next(others),
        )
    panel.axhline(1, color="black", linewidth=0.6)
    panel.set_xticks(
        [group + _WIDTH / 2 - width / 2 for group in range(len(concurrency))],
        [f"{at_once} at once" for at_once in concurrency],
    )
    panel.spines[["top", "right"]].set_visible(False)
