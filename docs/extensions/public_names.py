"""Resolves a name of the package to the one public place where the reference documents it."""

import importlib
import pkgutil
import sys

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

import esms_async


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Resolve a reference by the last part of its name.

    A docstring names `LedgerError` from any module, and a signature names the module in which a
    class is written; the reference has each class under the module it is imported from.

    Args:
        app: The build.
        env: Its environment.
        node: The reference that did not resolve.
        content: What it shows.

    Returns:
        The link; no more than the words where the name is one of the package's own that is not
        public; or None where there is no such name.
    """
    target = str(node.get("reftarget", ""))
    module, _, name = target.rpartition(".")
    if node.get("refdomain") != "py" or (module and not module.startswith("esms_async")):
        return None
    places = {
        (entry.docname, entry.node_id)
        for documented, entry in env.domains.python_domain.objects.items()
        if documented.rpartition(".")[2] == name and not entry.aliased
    }
    if len(places) == 1:
        ((page, anchor),) = places
        address = app.builder.get_relative_uri(str(node["refdoc"]), page)
        return nodes.reference("", "", content, internal=True, refuri=f"{address}#{anchor}")
    return content if node["reftype"] != "obj" and _exists(module, name) else None


def _exists(module: str, name: str) -> bool:
    """Tell whether a module has a name, or any module of the package where none is given."""
    package = {key: value for key, value in sys.modules.items() if key.startswith("esms_async")}
    modules = [package[module]] if module in package else [] if module else package.values()
    return any(hasattr(each, name) for each in modules)


def keep_whole(  # noqa: PLR0917  # Sphinx calls it so
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from taking what stands before a colon for a type.

    Types stand in the annotations alone; an empty one, written out, lets the sentence be.

    Args:
        app: The build.
        what: What the docstring describes.
        name: Its name.
        obj: The object itself.
        options: The options of the directive.
        lines: The docstring, to be changed in place.
    """
    del app, name, obj, options
    for position, line in enumerate(lines):
        after_heading = position and lines[position - 1].strip() in {"Returns:", "Yields:"}
        if after_heading or (position == 0 and what in {"attribute", "data", "property"}):
            words = line.lstrip()
            lines[position] = f"{line.removesuffix(words)}: {words}"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register both, the second before napoleon; import what is imported late elsewhere."""
    for module in pkgutil.walk_packages(esms_async.__path__, "esms_async."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", keep_whole, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
