"""The template of a message: text with `{column}` fields, and nothing that could be executed."""

import re
from collections.abc import Mapping
from typing import Self

import attrs

from esms_async.cli.errors import InputError

# A doubled brace, a field, or a brace that is neither.
_TOKEN = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])")


def column_name(written: str) -> str:
    """Return the name of a column as it is compared: without outer spaces and case.

    Args:
        written: The name as it stands in a header, a template or an option.
    """
    return written.strip().casefold()


@attrs.frozen(repr=False)
class Template:
    """A text with named fields. A name is looked up as it stands: no attributes, no formats.

    Attributes:
        fields: The columns that it takes, each once, in order.
    """

    fields: tuple[str, ...]
    _texts: tuple[str, ...]
    _slots: tuple[str, ...]

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read a template.

        Args:
            written: The text; `{{` and `}}` stand for braces.

        Raises:
            InputError: It is blank, or a brace in it is neither part of a field nor doubled.
        """
        if not written.strip():
            raise InputError("the template is empty; give the text to send")
        texts, slots, text, end = list[str](), list[str](), "", 0
        for token in _TOKEN.finditer(written):
            text += written[end : token.start()]
            end = token.end()
            if token["brace"]:
                text += token["brace"][0]
            elif token["stray"] or not token["field"].strip():
                raise InputError(
                    f"the template has a brace at position {token.start() + 1} that names no "
                    "column; write {column}, or {{ and }} for braces"
                )
            else:
                texts.append(text)
                slots.append(column_name(token["field"]))
                text = ""
        texts.append(text + written[end:])
        return cls(tuple(dict.fromkeys(slots)), tuple(texts), tuple(slots))

    def render(self, values: Mapping[str, str]) -> str:
        """Fill the fields in."""
        pieces = [self._texts[0]]
        for slot, text in zip(self._slots, self._texts[1:], strict=True):
            pieces += values[slot], text
        return "".join(pieces)

    def __repr__(self) -> str:
        return f"Template(fields={self.fields!r})"
