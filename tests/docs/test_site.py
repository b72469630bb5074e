"""The built documentation: no raw directive, no dead link, no broken anchor, no missing picture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.site import Page, problems_of

GOOD = (
    '<p id="here">words</p><a href="#here">a</a> <a href="other.html">b</a> <a href="#">top</a>'
    '<a href="https://esms.vn/x">away</a> <img src="a%20picture.png"> <code>x::y</code>'
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two good pages."""
    (tmp_path / "index.html").write_text(GOOD.replace('<a href="#">top</a>', ""), "utf-8")
    (tmp_path / "other.html").write_text('<a href="index.html#here">a</a>', "utf-8")
    (tmp_path / "a picture.png").write_bytes(b"")
    return tmp_path


def test_good_pages_have_no_problem(site: Path) -> None:
    """Links, anchors and pictures that are there, and links to elsewhere, are no problem."""
    assert problems_of(site) == []


BAD = {
    "a directive": ("<p>.. option:: --json</p>", "raw markup: .. option::"),
    "a directive of a domain": ("<pre>.. py:class:: X</pre>", "raw markup: .. py:class::"),
    "a fence": ("<p>```{click} x</p>", "raw markup: ```{"),
    "colons": ("<p>:::{note}</p>", "raw markup: :::{"),
    "a role of MyST": ("<p>{py:class}`X`</p>", "raw markup: {py:class}`"),
    "a role": ("<p>see :py:obj:`X`</p>", "raw markup: :py:obj:`"),
    "a default of attrs": ("<p>x = attr_dict['x'].default</p>", "raw markup: attr_dict"),
    "a dead link": ('<a href="gone.html">a</a>', "leads to gone.html, which is not there"),
    "a broken anchor": ('<a href="other.html#x">a</a>', "#x, an anchor that is not there"),
    "one of its own": ('<a href="#nowhere">a</a>', "#nowhere, an anchor that is not there"),
    "a missing picture": ('<img src="gone.png">', "gone.png, which is not there"),
    "a missing dark one": ('<source srcset="gone.png 2x">', "gone.png, which is not there"),
    "a missing script": ('<script src="gone.js"></script>', "gone.js, which is not there"),
}


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD)
def test_a_bad_page_is_found(text: str, problem: str, site: Path) -> None:
    """Each kind of problem is found, once."""
    (site / "bad.html").write_text(text, "utf-8")
    (found,) = problems_of(site)
    assert found.startswith("bad.html ")
    assert problem in found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation: that of the session `docs`, or else one built here."""
    if "ESMS_DOCS" in os.environ:
        return ROOT / os.environ["ESMS_DOCS"]
    folder = tmp_path_factory.mktemp("docs")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", str(ROOT / "docs"), str(folder)], check=True
    )
    return folder


@pytest.mark.site
def test_the_pages_are_whole(built: Path) -> None:
    """No page shows raw markup, and whatever it leads to or loads is there."""
    assert problems_of(built) == []


@pytest.mark.site
def test_the_command_line_is_rendered(built: Path) -> None:
    """Each command has a heading, and each option an anchor of its own, with its real dashes."""
    page = Page(built / "reference" / "command-line.html")
    assert "--emulator needs none" in page.text
    assert {"esms-async-bulk", "esms-async-emulator"} <= page.ids
    assert sum("cmdoption" in anchor for anchor in page.ids) > 50


@pytest.mark.site
def test_code_can_be_copied(built: Path) -> None:
    """Every page loads the script that puts a copy button on its code."""
    pages = [path for path in built.rglob("*.html") if "genindex" not in path.name]
    without = [
        path.name for path in pages if not any("copybutton.js" in part for part in Page(path).parts)
    ]
    assert without == []
