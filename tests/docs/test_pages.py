"""The pages hold what they must: both languages of the README, and every public name once."""

import importlib
import re
import runpy
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import get_type_hints
from unicodedata import normalize

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import esms_async
from esms_async._send.outcome import SETTLING_CODES
from esms_async.emulator import faults
from esms_async.emulator.http import ENDPOINTS, FOLDER
from tests.api import environment_variables, public_names
from tests.docs.blocks import PAGES, ROOT, VIETNAMESE, english_twin, read_blocks

READMES = ("README.md", "README.vi.md")
GLOSSARY = "## Thuật ngữ\n"  # the one section that only the Vietnamese README has
REFERENCE = ROOT / "docs" / "reference" / "api"

# `.. autoclass:: X` documents X of the current module, `.. automodule::` all that is public in it.
_DIRECTIVE = re.compile(r"^\.\. (\w+):: +([\w.]+)$", re.MULTILINE)


def tokens(page: str) -> list[Token]:
    """The Markdown of a README, without the glossary."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(GLOSSARY)[0]
    return MarkdownIt().enable("table").parse(text)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def outline(page: Path) -> list[tuple[str, str]]:
    """The parts of a page in order: what each is, and where it stands with its first words."""
    parts = tokens(_name(page))
    found = [
        (
            f"{token.type.removesuffix('_open')} {token.tag}",
            f"{page.name}:{token.map[0] + 1} "
            + next((repr(each.content[:40]) for each in parts[index:] if each.content), ""),
        )
        for index, token in enumerate(parts)
        if token.map is not None and token.type != "inline"
    ]
    return [*found, ("end", f"{page.name}, its end")]


twins = pytest.mark.parametrize("page", VIETNAMESE, ids=_name)


@twins
def test_twins_have_the_same_code(page: Path) -> None:
    """A page has the same code in both languages; only what somebody sees may differ in words."""
    english, vietnamese = (
        [
            (block.language, block.marks, "" if block.language == "text" else block.text)
            for block in read_blocks(each.read_text(encoding="utf-8"), _name(each))
        ]
        for each in (english_twin(page), page)
    )
    assert vietnamese == english


@twins
def test_twins_have_the_same_outline(page: Path) -> None:
    """Headings, paragraphs, blocks, rows and items follow each other in the same order."""
    english, vietnamese = outline(english_twin(page)), outline(page)
    pairs = zip(english, vietnamese, strict=False)
    differ = next((pair for pair in pairs if pair[0][0] != pair[1][0]), None)
    assert differ is None, "the twins differ first at: " + " | ".join(
        f"{what} at {where}" for what, where in differ
    )


@twins
def test_twins_include_the_same_files(page: Path) -> None:
    """Included files follow each other in the same order."""
    english, vietnamese = (
        re.findall(r"\{literalinclude\} (.+)", each.read_text(encoding="utf-8"))
        for each in (english_twin(page), page)
    )
    assert vietnamese == english


@twins
def test_twins_link_each_other(page: Path) -> None:
    """Each begins with a link to the other."""
    for one, other in ((english_twin(page), page), (page, english_twin(page))):
        assert f"]({other.name})" in one.read_text(encoding="utf-8").split("\n\n")[1]


@twins
def test_vietnamese_is_composed(page: Path) -> None:
    """It is in Unicode NFC, so that words of it can be searched for."""
    text = page.read_text(encoding="utf-8")
    assert normalize("NFC", text) == text


def test_the_login_of_the_readme_is_that_of_its_page() -> None:
    """The README's login and that of the how-to are the same program."""
    one, other = (
        [
            block.text
            for block in read_blocks((ROOT / page).read_text(encoding="utf-8"), page)
            if block.marks.get("file") == "login.py"
        ]
        for page in ("README.md", "docs/howto/otp.md")
    )
    assert one == other
    assert len(one) == 1


def test_the_first_limit_is_that_no_day_was_recorded() -> None:
    """Both READMEs say so first, until a probe of the real gateway has left its file."""
    recorded = [*(ROOT / "tools" / "probe" / "recorded").glob("*.json")]
    for page, limits, words in (
        ("README.md", "## What the promise rests on", "- **No day against the real gateway"),
        ("README.vi.md", "## Cam kết dựa vào đâu", "- **Chưa có ngày nào chạy với cổng thật"),
    ):
        text = (ROOT / page).read_text(encoding="utf-8").partition(limits)[2]
        assert text.lstrip().startswith(words) == (not recorded)


def test_the_changelog_says_each_subject_once() -> None:
    """No heading stands twice in one version of the changelog."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version in text.split("\n## ")[1:]:
        headings = Counter(re.findall(r"^### .+$", version, re.MULTILINE))
        assert [heading for heading, count in headings.items() if count > 1] == []


_PICTURE = re.compile(r"""(?:\bsrc(?:set)?="|!\[[^\]]*\]\()([^")]+)""")


@twins
def test_twins_have_the_same_pictures(page: Path) -> None:
    """Both show the same pictures, or that of their language, and these are there."""
    english, vietnamese = (
        _PICTURE.findall(each.read_text(encoding="utf-8")) for each in (english_twin(page), page)
    )
    assert [name.replace(".vi.", ".") for name in vietnamese] == english
    assert [name for name in vietnamese if not (page.parent / name).is_file()] == []
    assert [name for name in english if not (page.parent / name).is_file()] == []


def test_the_readme_is_short() -> None:
    """The README has about 500 words, without code and tables."""
    words = [
        word
        for opening, token in pairwise(tokens("README.md"))
        if token.type == "inline" and opening.type in {"heading_open", "paragraph_open"}
        for word in re.sub(r"\]\([^)]*\)", "]", token.content).split()
    ]
    assert 400 < len(words) < 600


def test_the_glossary_explains_the_words() -> None:
    """The Vietnamese README explains its words for an OTP, a RequestId, a code and a ledger."""
    glossary = (ROOT / "README.vi.md").read_text(encoding="utf-8").partition(GLOSSARY)[2]
    for word in ("mã OTP", "mã yêu cầu", "mã lỗi", "ledger", "claim", "settle"):
        assert f"| {word} |" in glossary


def public_objects() -> dict[str, object]:
    """Every public object, under each name by which it can be imported."""
    return {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module, names in public_names().items()
        for name in names
    }


def documented_names() -> list[str]:
    """The names that the reference documents."""
    names: list[str] = []
    current = ""
    text = "".join(page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md")))
    for directive, argument in _DIRECTIVE.findall(text):
        if directive == "currentmodule":
            current = f"{argument}."
        elif directive == "automodule":
            module = importlib.import_module(argument)
            names += [f"{argument}.{name}" for name in module.__all__]
        else:
            names.append(argument if argument.startswith("esms_async.") else current + argument)
    return names


def exists(name: str) -> bool:
    """Tell whether a name can be imported from the module that it stands under."""
    module, _, attribute = name.rpartition(".")
    return hasattr(importlib.import_module(module), attribute)


def test_the_reference_has_everything_once() -> None:
    """The reference documents every public object, under one of the names that it can have."""
    public = public_objects()
    names = documented_names()
    gone = [name for name in names if not exists(name)]
    assert gone == [], "docs/reference/api/ names what is not there"
    documented = Counter(id(public[name]) for name in names if name in public)
    missing = [name for name, thing in public.items() if id(thing) not in documented]
    assert missing == [], "document them in docs/reference/api/"
    twice = [name for name, thing in public.items() if documented[id(thing)] > 1]
    assert twice == [], "document each once in docs/reference/api/"


def test_every_setting_is_described() -> None:
    """The page of settings names every environment variable that the package reads."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert environment_variables() == set(re.findall(r"`(ESMS_[A-Z_]+)`", page))


def test_every_fault_is_described() -> None:
    """The page of the emulator and the top of the module list every kind of fault, in one order."""
    page = (ROOT / "docs" / "howto" / "emulator.md").read_text(encoding="utf-8")
    for text in (page, faults.__doc__ or ""):
        rows = text.partition("| kind | what the sender meets |")[2].partition("\n\n")[0]
        assert re.findall(r"^\| `([a-z_]+)", rows, re.MULTILINE) == list(faults.Kind), (
            "give each kind its row in docs/howto/emulator.md and at the top of "
            "esms_async/emulator/faults.py, in the order of Kind"
        )


@pytest.mark.parametrize(
    "place",
    [
        *READMES,
        "docs/explanation/the-four-outcomes.md",
        "esms_async/ledger/transitions.py",
    ],
)
def test_the_codes_that_settle_are_the_same_everywhere(place: str) -> None:
    """Whatever lists the codes that reject the message itself lists those of the outcome table."""
    text = (ROOT / place).read_text(encoding="utf-8")
    lists = [re.findall(r"\d+", found) for found in re.findall(r"\d{3}(?:(?:, | or )\d{3})+", text)]
    assert [set(each) for each in lists if "108" in each] == [SETTLING_CODES], (
        f"name the SETTLING_CODES of esms_async/_send/outcome.py once in {place}"
    )


def test_every_path_of_the_gateway_is_listed() -> None:
    """The page of the emulator names each path with its verb and the operation for faults."""
    page = (ROOT / "docs" / "howto" / "emulator.md").read_text(encoding="utf-8")
    rows = page.partition("| path | verb | operation |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert rows.splitlines() == [
        f"| `{each.path.removeprefix(FOLDER)}` | {each.method} | `{each.operation}` |"
        for each in ENDPOINTS
    ]


@pytest.mark.parametrize("options", [esms_async.ClientOptions, esms_async.RetryPolicy])
def test_every_argument_is_described(options: type) -> None:
    """The page of settings has a row for each argument of the client and of the retry policy."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"^\| (`.+?) \|", page, re.MULTILINE))
    names = [name for name in get_type_hints(options) if not name.startswith("_")]
    assert [name for name in names if f"`{name}`" not in rows] == []
    assert names


def test_links_of_the_readme_work_at_an_index() -> None:
    """Once the repository has an address, no link or picture of what an index shows is relative."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    absolute = runpy.run_path(str(ROOT / "tools" / "long_description.py"))["absolute"]
    assert absolute(text, None) == text
    shown = absolute(text, "https://example.org/x")
    assert "](https://example.org/x/blob/main/docs/tutorial.md)" in shown
    assert 'src="https://example.org/x/raw/main/docs/pictures/inbox-light.webp"' in shown
    relative = re.findall(r'(?:\]\(|src="|srcset=")(?!https://)[^)" ]+', shown)
    assert relative == []


def test_ci_runs_the_command_of_the_readme() -> None:
    """The script of CI ends with the README's own command for the tests."""
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    commands = [block.text for block in read_blocks((ROOT / "README.md").read_text(), "README.md")]
    assert f"{command}\n" in commands
    assert command.endswith("/nox")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a forge and Sphinx make them."""
    parsed = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    headings = [
        token.content for opening, token in pairwise(parsed) if opening.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


LINKING = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]


@pytest.mark.parametrize("page", LINKING, ids=_name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A link to a file of the repository, or to a heading, leads to one that is there."""
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    targets = [((page.parent / target) if target else page, anchor) for target, anchor in links]
    assert [target for target, _ in targets if not target.exists()] == []
    assert [(to, anchor) for to, anchor in targets if anchor and anchor not in anchors(to)] == []
