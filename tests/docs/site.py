"""Lists what is wrong with built pages: raw markup, dead links, missing pictures."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a page shows when a directive or a role was not understood.
RAW_MARKUP = re.compile(
    r"\.\. [\w:-]+::|attr_dict|= NOTHING|^:{3,}\{|`{3}\{|\{[a-z:]+\}`|(?<!\w):(?:py:)?[a-z]+:`",
    re.MULTILINE,
)
_LINKS = {"a": "href", "link": "href"}
_PARTS = {"img": "src", "script": "src", "source": "srcset", "object": "data", "iframe": "src"}


class Page(HTMLParser):
    """A built page.

    Args:
        path: Its file.

    Attributes:
        path: Its file.
        text: The words that it shows.
        ids: The anchors that a link can lead to.
        links: Where it leads.
        parts: What it loads: pictures, scripts.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.text = ""
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.parts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tag leads to, loads and names."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if value := values.get(_LINKS.get(tag, ""), ""):
            self.links.append(value)
        if value := values.get(_PARTS.get(tag, ""), ""):
            self.parts.append(value.split()[0])

    def handle_data(self, data: str) -> None:
        """Keep the words."""
        self.text += data


def problems_of(site: Path) -> list[str]:
    """List what is wrong with the pages in a folder, one sentence for each thing."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    assert pages, f"there are no pages in {site}"
    return [problem for page in pages.values() for problem in _problems(page, pages, site)]


def _problems(page: Page, pages: dict[Path, Page], site: Path) -> Iterator[str]:
    name = page.path.relative_to(site)
    for raw in RAW_MARKUP.finditer(page.text):
        yield f"{name} shows raw markup: {raw[0]}"
    for target in [*page.links, *page.parts]:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if not path.is_file():
            yield f"{name} leads to {target}, which is not there"
        elif parts.fragment and path in pages and unquote(parts.fragment) not in pages[path].ids:
            yield f"{name} leads to {target}, an anchor that is not there"
