"""Holds that every name of a public class says which class is meant."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import esms_async

_PACKAGE = Path(esms_async.__file__).parent


def _public_classes() -> Iterator[tuple[str, Path]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path.relative_to(_PACKAGE)


def test_no_two_public_classes_share_a_name() -> None:
    """A class name stands once in the package, whatever the module."""
    places = defaultdict(list)
    for name, path in _public_classes():
        places[name].append(path)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
