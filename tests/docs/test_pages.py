"""The pages hold what they must: both languages of the README, and every public name once."""

import importlib
import pkgutil
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
from esms_async import RetryPolicy
from esms_async.client import ClientOptions
from tests.docs.blocks import PAGES, ROOT, read_blocks

READMES = ("README.md", "README.vi.md")
GLOSSARY = "## Thuật ngữ\n"  # the one section that only the Vietnamese README has
REFERENCE = ROOT / "docs" / "reference" / "api"

# `.. autoclass:: X` documents X of the current module, `.. automodule::` all that is public in it.
_DIRECTIVE = re.compile(r"^\.\. (\w+):: +([\w.]+)$", re.MULTILINE)


def tokens(page: str) -> list[Token]:
    """The Markdown of a README, without the glossary."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(GLOSSARY)[0]
    return MarkdownIt().enable("table").parse(text)


def test_the_readmes_have_the_same_code() -> None:
    """The English and the Vietnamese README have the same code blocks, in the same order."""
    english, vietnamese = (
        [
            (block.language, block.marks, block.text)
            for block in read_blocks((ROOT / page).read_text(encoding="utf-8"), page)
        ]
        for page in READMES
    )
    assert vietnamese == english
    assert english


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


def test_the_changelog_says_each_subject_once() -> None:
    """No heading stands twice in one version of the changelog."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version in text.split("\n## ")[1:]:
        headings = Counter(re.findall(r"^### .+$", version, re.MULTILINE))
        assert [heading for heading, count in headings.items() if count > 1] == []


@pytest.mark.parametrize("kind", ["heading_open", "tr_open", "list_item_open"])
def test_the_readmes_have_the_same_parts(kind: str) -> None:
    """Headings, rows of tables and items of lists are as many in one language as in the other."""
    english, vietnamese = (
        Counter(token.tag for token in tokens(page) if token.type == kind) for page in READMES
    )
    assert vietnamese == english
    assert english.total() > 1


def test_the_readmes_link_each_other() -> None:
    """Each README begins with a link to the other language."""
    for page, other in (READMES, READMES[::-1]):
        head = (ROOT / page).read_text(encoding="utf-8").split("\n\n")[1]
        assert f"]({other})" in head


def test_the_readmes_have_the_same_outline() -> None:
    """Headings, paragraphs, blocks and tables follow each other in the same order."""
    english, vietnamese = (
        [token.type + token.tag for token in tokens(page) if token.level == 0] for page in READMES
    )
    assert vietnamese == english


@pytest.mark.parametrize("attribute", ["src", "srcset"])
def test_the_readmes_have_the_same_pictures(attribute: str) -> None:
    """Both show the same pictures, one for light and one for dark, and these are there."""
    english, vietnamese = (
        re.findall(rf'\b{attribute}="([^"]+)"', (ROOT / page).read_text(encoding="utf-8"))
        for page in READMES
    )
    assert vietnamese == english
    assert [name for name in english if not (ROOT / name).is_file()] == []
    assert len(english) == 1


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


def test_vietnamese_is_composed() -> None:
    """The Vietnamese README is in Unicode NFC, so that words of it can be searched for."""
    text = (ROOT / "README.vi.md").read_text(encoding="utf-8")
    assert normalize("NFC", text) == text


def public_objects() -> dict[str, object]:
    """Every public object, under each name by which it can be imported."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(esms_async.__path__, "esms_async.")
        if not re.search(r"\.(__main__|cli)\b", module.name)
    ]
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in (esms_async, *modules)
        for name in getattr(module, "__all__", ())
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
    code = "".join(
        path.read_text(encoding="utf-8") for path in Path(esms_async.__path__[0]).rglob("*.py")
    )
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    variables = set(re.findall(r'"(ESMS_[A-Z_]+)"', code))
    assert variables == set(re.findall(r"`(ESMS_[A-Z_]+)`", page))


@pytest.mark.parametrize("options", [ClientOptions, RetryPolicy])
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A link to a file of the repository leads to one that is there."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
