"""Reads the code blocks of a page, and what its marks ask for.

| block | what becomes of it |
|---|---|
| `python` | runs as a program of its own, or under pytest where it defines tests |
| `python continued` | the same, behind the text of the page's Python blocks before it |
| `python fragment` | is compiled, no more |
| `console` | its commands run, one after the other; what stands below a `$` line must be printed |
| `text` | nothing: it is what somebody sees |
| `csv`, `ini`, `json`, `toml`, `yaml` | must be readable |

Further marks: `file=NAME` keeps the block as a file for those that follow; `exit=N` says with which
exit code it ends; `background=WORDS` leaves it running to the end of the page, and goes on once it
has printed these words. Marks stand behind the language, or in a comment right above the block:
`<!-- next block: exit=1 -->`. What is not in this table fails.

A port that a page names is one that a person may use; its test puts a free one in its place.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import attrs
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "README.vi.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "tools").rglob("*.md")),
]

VIETNAMESE = [page for page in PAGES if page.name.endswith(".vi.md")]
"""The pages in Vietnamese, each of which has an English twin beside it."""


def english_twin(page: Path) -> Path:
    """Return the English page of a Vietnamese one."""
    return page.with_name(page.name.replace(".vi.md", ".md"))


_MARKS = {"background", "continued", "exit", "file", "fragment"}
# MyST's own directives are markup, save the one that would hide a block from these tests.
_COMMENT = re.compile(r"<!-- next block: (.+) -->\n")
_DIRECTIVE = re.compile(r"\{(?!code)[a-z-]+\}")


@attrs.frozen
class Block:
    """A code block of a page.

    Attributes:
        place: Where it stands, as `docs/tutorial.md:12`.
        language: The first word behind the fence.
        marks: The others, with their values.
        text: What it holds.
    """

    place: str
    language: str
    marks: dict[str, str]
    text: str

    @property
    def exit_code(self) -> int:
        """The exit code that it must end with."""
        return int(self.marks.get("exit", "0"))


def read_blocks(text: str, page: str) -> list[Block]:
    """Return the code blocks of a page, in order.

    Args:
        text: The page.
        page: What to call it.

    Returns:
        The blocks.
    """
    return list(_blocks(text, page))


def _blocks(text: str, page: str) -> Iterator[Block]:
    above = ""
    for token in MarkdownIt().parse(text):
        comment, above = _COMMENT.fullmatch(above), token.content
        if token.type not in {"fence", "code_block"} or _DIRECTIVE.match(token.info):
            continue
        place = f"{page}:{(token.map or [0])[0] + 1}"
        language, *words = shlex.split(token.info) or [""]
        words += shlex.split(comment[1]) if comment else []
        marks = dict(word.partition("=")[::2] for word in words)
        assert marks.keys() <= _MARKS, f"{place}: no such mark: {marks.keys() - _MARKS}"
        yield Block(place, language, marks, token.content)
