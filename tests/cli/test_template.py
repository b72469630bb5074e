"""The template of a message."""

import pytest

from esms_async.cli.errors import InputError
from esms_async.cli.template import Template


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("{code} la ma", "686868 la ma"),
        ("{name}: {code}, {name}", "Châu: 686868, Châu"),
        ("{ Code }", "686868"),
        ("{{{code}}} {{code}}", "{686868} {code}"),
        ("no field", "no field"),
        ("{first name}", "Minh Châu"),
    ],
)
def test_fields_are_filled_in(written: str, rendered: str) -> None:
    """A name is looked up without outer spaces and case; doubled braces are braces."""
    values = {"code": "686868", "name": "Châu", "first name": "Minh Châu"}
    assert Template.parse(written).render(values) == rendered


@pytest.mark.parametrize("name", ["name.__class__", "name[0]", "name!r", "name:>9"])
def test_a_name_is_never_executed(name: str) -> None:
    """What would be an attribute, an index or a format elsewhere is here a column of that name."""
    template = Template.parse(f"{{{name}}}")
    assert template.fields == (name,)
    assert template.render({name: "{code}"}) == "{code}"


@pytest.mark.parametrize(
    ("written", "position"), [("ma {code", 4), ("ma }", 4), ("{}", 1), ("{ }", 1), ("{{}", 3)]
)
def test_a_brace_that_names_no_column_is_refused(written: str, position: int) -> None:
    """A brace that is neither part of a field nor doubled is an error that says where it is."""
    with pytest.raises(InputError, match=f"at position {position} "):
        Template.parse(written)


@pytest.mark.parametrize("written", ["", " \n"])
def test_a_blank_template_is_refused(written: str) -> None:
    """A template without a text is an error."""
    with pytest.raises(InputError, match="empty"):
        Template.parse(written)


def test_the_repr_shows_no_text() -> None:
    """The text of a template is that of messages, and shows nowhere."""
    assert repr(Template.parse("secret {code}")) == "Template(fields=('code',))"
