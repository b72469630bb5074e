"""The public names are what `tests/api.txt` says, and each of them says which thing is meant."""

import ast
import difflib
import importlib
import inspect
import re
from collections import defaultdict

import pytest

from tests.api import (
    SNAPSHOT,
    constructor,
    definition_of,
    public_classes,
    public_names,
    render,
)


def test_the_public_api_is_the_recorded_one() -> None:
    """No public name, argument, default, base, command or variable changes by accident."""
    recorded = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    found = render().splitlines()
    difference = "\n".join(difflib.unified_diff(recorded, found, "recorded", "found", lineterm=""))
    if difference:
        pytest.fail(
            f"The public API changed:\n{difference}\n\nIf you mean it, run "
            "`.venv/bin/python -m tests.api`, look at the difference in tests/api.txt, and "
            "say it in CHANGELOG.md.",
            pytrace=False,
        )


def test_the_record_has_the_arguments_that_python_knows() -> None:
    """What is read from the source is what a call takes."""
    seen = 0
    for module, names in public_names().items():
        for name in names:
            definition = definition_of(module, name)
            if not isinstance(definition.node, ast.ClassDef):
                continue
            written = [re.match(r"\W*(\w*)", each) for each in constructor(definition)]
            arguments = [match[1] for match in written if match is not None and match[1]]
            if arguments:
                real = inspect.signature(getattr(importlib.import_module(module), name))
                assert (name, list(real.parameters)) == (name, arguments)
                seen += 1
    assert seen > 50


def test_no_two_public_classes_share_a_name() -> None:
    """A class name stands once in the package, whatever the module."""
    places = defaultdict(list)
    for name, path in public_classes():
        places[name].append(path)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
