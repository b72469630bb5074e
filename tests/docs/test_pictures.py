"""The pictures of the docs are there, light, and not older than what they show."""

import json
import re
from html import unescape

import pytest

from esms_async.cli.words import CATALOGUES, Language
from tests.docs.blocks import PAGES
from tools.pictures import FOLDER, NOTED, SOURCES, digest

# Sentences that stand in a recording word for word.
_SHOWN = (
    "route_fixed",
    "label_to_send",
    "label_repaired",
    "label_rows",
    "stopping",
    "label_accepted",
    "interrupted",
    "label_already_done",
    "label_total",
)


@pytest.mark.parametrize("picture", SOURCES)
def test_a_picture_is_not_older_than_what_it_shows(picture: str) -> None:
    """The hash of its sources is the one that was noted when it was made."""
    noted = json.loads(NOTED.read_text(encoding="utf-8"))
    assert noted[picture] == digest(picture), "make new pictures: nox -s pictures"
    assert 0 < (FOLDER / picture).stat().st_size < 100_000


def test_another_source_has_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is of the sources, not of their number."""
    before = digest("bulk.svg")
    monkeypatch.setitem(SOURCES, "bulk.svg", SOURCES["bulk.svg"][:-1])
    assert digest("bulk.svg") != before


@pytest.mark.parametrize(
    ("picture", "language"),
    [("bulk.svg", Language.ENGLISH), ("bulk.vi.svg", Language.VIETNAMESE)],
)
def test_a_recording_says_what_the_command_says(picture: str, language: Language) -> None:
    """A sentence that was changed is changed in the recording; it loads nothing from elsewhere."""
    svg = (FOLDER / picture).read_text(encoding="utf-8")
    shown = unescape(" ".join(re.findall(r">([^<]+)</text>", svg)))
    sentences = [CATALOGUES[language][key] for key in _SHOWN]
    assert [sentence for sentence in sentences if sentence not in shown] == []
    assert "<script" not in svg
    assert re.findall(r"https?://(?!www\.w3\.org|127\.0\.0\.1)", svg) == []


def test_every_picture_is_shown_and_can_be_made() -> None:
    """No picture lies about that no page shows, or that nothing makes."""
    there = {path.name for path in FOLDER.iterdir()} - {NOTED.name}
    assert there == set(SOURCES)
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in there if f"pictures/{name}" not in text] == []
