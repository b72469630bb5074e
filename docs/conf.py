"""Configures Sphinx; `nox -s docs` builds the documentation."""

import builtins
import re
import sys
from pathlib import Path
from typing import cast

import attrs
from docutils import nodes
from pygments.lexers import TextLexer
from sphinx.application import Sphinx

import esms_async

sys.path.append(str(Path(__file__).parent / "extensions"))

project = "esms_async"
author = "The esms_async authors"
project_copyright = author
version = release = esms_async.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "error_codes",
    "public_names",
]
exclude_patterns = ["examples"]

html_theme = "furo"
html_title = f"esms_async {release}"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The copy button copies commands only: no prompt, no output.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_remove_prompts = True

# A word in backticks links to the object of this name, if the package has one.
default_role = "py:obj"

# The build needs no network, so names from outside the package have no link.
_OUTSIDE = "|".join(
    sorted({*sys.stdlib_module_names, "aiohttp", "attrs", "fastapi", "opentelemetry", "pydantic"})
)
nitpicky = True
# sphinx-click links every variable to its option; a hidden option has no place to link to.
nitpick_ignore = [("std:option", "--secret-key")]
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:.*", rf"({_OUTSIDE}|redis|starlette|tenacity)(\..+)?"),
    ("py:.*", "|".join(dir(builtins))),
]


def show_options_as_code(app: Sphinx, ctx: object, lines: list[str]) -> None:
    """Show options in the help of a command as code, so two dashes stay two."""
    del app, ctx
    for position, line in enumerate(lines):
        if not line.lstrip().startswith(".. "):
            lines[position] = re.sub(r"(?<![\w`-])--?[a-z][a-z-]*", r"``\g<0>``", line)


def show_defaults(  # noqa: PLR0917  # Sphinx calls it so
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Show the values of defaults where attrs put names of its own into a signature."""
    del app, what, name, options
    if signature is None or "attr_dict" not in signature:
        return None

    def value(found: re.Match[str]) -> str:
        fields = attrs.fields_dict(cast("type[attrs.AttrsInstance]", obj))
        shown = repr(fields[found[1]].default)
        return "..." if "<" in shown else shown  # only an expression fits into a signature

    shown = re.sub(r"attr_dict\['(\w+)'\]\.default", value, signature)
    return shown.replace(" = NOTHING", " = ..."), returns  # made for each object


def drop_plain_bases(app: Sphinx, doctree: nodes.document) -> None:
    """Drop the line that says that a class derives from `object`."""
    del app
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)


def setup(app: Sphinx) -> None:
    """Register a plain lexer for CSV, and what changes options, defaults and bases."""
    app.add_lexer("csv", TextLexer)
    for event in ("description", "arguments", "epilog", "options", "envvars"):
        app.connect(f"sphinx-click-process-{event}", show_options_as_code)
    app.connect("autodoc-process-signature", show_defaults)
    app.connect("doctree-read", drop_plain_bases)
