"""Measures texts as SMS: alphabet (GSM-7 or UCS-2), length and number of parts."""

import enum
import re
import unicodedata

import attrs

# 3GPP TS 23.038, section 6.2.1: the default alphabet and its extension table.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM7 = _BASIC | _EXTENDED
_FOREIGN = re.compile(f"[^{re.escape(''.join(sorted(_GSM7)))}]")


class Alphabet(enum.Enum):
    """The alphabet a text is sent in, with the size of a whole message and of a part of one.

    Sizes are septets for GSM-7 and 16-bit units for UCS-2 (3GPP TS 23.040, section 9.2.3.24: the
    header that joins the parts takes seven septets or three units).
    """

    GSM7 = ("GSM-7", 160, 153)
    UCS2 = ("UCS-2", 70, 67)

    def __init__(self, label: str, single: int, part: int) -> None:
        self.label = label
        self.single = single
        self.part = part


@attrs.frozen
class TextSize:
    """The size of a text as SMS.

    Attributes:
        alphabet: The alphabet it needs.
        units: Its length in septets (GSM-7) or 16-bit units (UCS-2).
        parts: The number of message parts that the operator counts and charges.
    """

    alphabet: Alphabet
    units: int
    parts: int


def normalize_text(text: str) -> str:
    """Return a text in Unicode NFC, the form in which Vietnamese takes the fewest units."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def needs_unicode(text: str) -> bool:
    """Return True if a text in NFC needs UCS-2, as most Vietnamese letters with diacritics do."""
    return _FOREIGN.search(text) is not None


def foreign_characters(text: str) -> str:
    """Return the characters of a text in NFC that GSM-7 cannot carry, each once, in order."""
    return "".join(dict.fromkeys(_FOREIGN.findall(text)))


def measure(text: str, *, unicode: bool | None = None) -> TextSize:
    """Measure a text: alphabet, length and number of parts.

    An escape pair of GSM-7 and a surrogate pair of UCS-2 are never split over two parts.

    Args:
        text: Any text; it is measured in NFC.
        unicode: True for UCS-2, False for GSM-7, None to choose by the text.

    Returns:
        The size. An empty text has one part.
    """
    text = normalize_text(text)
    if unicode is None:
        unicode = needs_unicode(text)
    alphabet = Alphabet.UCS2 if unicode else Alphabet.GSM7
    if unicode:
        units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    else:
        units = len(text) + sum(map(text.count, _EXTENDED))
    parts = 1
    if units > alphabet.single:
        parts = _parts([_width(character, alphabet) for character in text], alphabet.part)
    return TextSize(alphabet, units, parts)


def _width(character: str, alphabet: Alphabet) -> int:
    if alphabet is Alphabet.UCS2:
        return 2 if ord(character) > 0xFFFF else 1
    return 2 if character in _EXTENDED else 1


def _parts(widths: list[int], capacity: int) -> int:
    parts, used = 1, 0
    for width in widths:
        if used + width > capacity:
            parts, used = parts + 1, 0
        used += width
    return parts
