"""What a text costs on the air, against another implementation of GSM 03.38."""

import unicodedata

import gsm0338  # type: ignore[import-untyped]  # it has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async._model.text import foreign_characters, needs_unicode, normalize_text
from esms_async.text import Alphabet, TextSize, measure

_CODEC = gsm0338.Codec()
GSM7_ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà\f^{}\\[~]|€"
)
WITH_DIACRITICS = "Mã xác minh của bạn là 686868, hết hạn sau 5 phút"


def septets(text: str) -> bytes | None:
    """Encode by the other implementation, or tell that the alphabet can't."""
    # There ESC stands for itself; on the air it only ever opens a pair.
    if "\x1b" in text:
        return None
    try:
        return bytes(_CODEC.encode(text)[0])
    except UnicodeEncodeError:
        return None


def count_parts(units: list[int], capacity: int, first_of_pair: range) -> int:
    """Cut encoded units into parts, leaving out the last unit where it opens a pair."""
    parts = 0
    while units:
        cut = min(capacity, len(units))
        if units[cut - 1] in first_of_pair:
            cut -= 1
        units, parts = units[cut:], parts + 1
    return parts


def expected_size(text: str) -> TextSize:
    """Measure a text in NFC by its encoded form."""
    if (encoded := septets(text)) is not None:
        parts = 1 if len(encoded) <= 160 else count_parts(list(encoded), 153, range(0x1B, 0x1C))
        return TextSize(Alphabet.GSM7, len(encoded), parts)
    wide = text.encode("utf-16-be")
    units = [int.from_bytes(wide[at : at + 2], "big") for at in range(0, len(wide), 2)]
    parts = 1 if len(units) <= 70 else count_parts(units, 67, range(0xD800, 0xDC00))
    return TextSize(Alphabet.UCS2, len(units), parts)


def test_every_character_of_the_basic_plane() -> None:
    """Each character of the basic plane needs UCS-2 exactly where GSM 03.38 lacks it."""
    characters = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    lacking = [character for character in characters if septets(character) is None]
    assert [character for character in characters if needs_unicode(character)] == lacking
    assert [character for character in characters if needs_unicode("é" + character)] == lacking
    assert foreign_characters("".join(characters)) == "".join(lacking)
    assert set(characters) - set(lacking) == set(GSM7_ALPHABET)


@pytest.mark.parametrize(
    "character", GSM7_ALPHABET, ids=lambda character: f"U+{ord(character):04X}"
)
def test_septets_of_each_character(character: str) -> None:
    """Each character of GSM-7 takes as many septets as it is encoded in."""
    assert measure(character) == TextSize(Alphabet.GSM7, len(septets(character) or b""), 1)


@pytest.mark.parametrize(
    ("text", "alphabet", "units", "parts"),
    [
        pytest.param("", Alphabet.GSM7, 0, 1, id="empty"),
        pytest.param("a" * 160, Alphabet.GSM7, 160, 1, id="160"),
        pytest.param("a" * 161, Alphabet.GSM7, 161, 2, id="161"),
        pytest.param("a" * 306, Alphabet.GSM7, 306, 2, id="2 times 153"),
        pytest.param("a" * 307, Alphabet.GSM7, 307, 3, id="2 times 153 + 1"),
        pytest.param("a" * 1530, Alphabet.GSM7, 1530, 10, id="10 times 153"),
        pytest.param("a" * 1531, Alphabet.GSM7, 1531, 11, id="10 times 153 + 1"),
        pytest.param("€" * 80, Alphabet.GSM7, 160, 1, id="80 pairs"),
        pytest.param("€" * 81, Alphabet.GSM7, 162, 2, id="81 pairs"),
        pytest.param("a" * 158 + "€", Alphabet.GSM7, 160, 1, id="a pair at the very end"),
        pytest.param("a" * 152 + "€" + "a" * 151, Alphabet.GSM7, 305, 2, id="a pair moves whole"),
        pytest.param("a" * 152 + "€" + "a" * 152, Alphabet.GSM7, 306, 3, id="and costs a part"),
        pytest.param("a" * 151 + "€" + "a" * 153, Alphabet.GSM7, 306, 2, id="a pair that fits"),
        pytest.param("€" * 152, Alphabet.GSM7, 304, 2, id="76 pairs a part"),
        pytest.param("€" * 153, Alphabet.GSM7, 306, 3, id="76 pairs a part, and one"),
        pytest.param("ế" * 70, Alphabet.UCS2, 70, 1, id="70"),
        pytest.param("ế" * 71, Alphabet.UCS2, 71, 2, id="71"),
        pytest.param("ế" * 134, Alphabet.UCS2, 134, 2, id="2 times 67"),
        pytest.param("ế" * 135, Alphabet.UCS2, 135, 3, id="2 times 67 + 1"),
        pytest.param("ế" * 670, Alphabet.UCS2, 670, 10, id="10 times 67"),
        pytest.param("ế" * 671, Alphabet.UCS2, 671, 11, id="10 times 67 + 1"),
        pytest.param("a" * 70 + "ế", Alphabet.UCS2, 71, 2, id="one letter makes it UCS-2"),
        pytest.param("😀" * 35, Alphabet.UCS2, 70, 1, id="35 surrogate pairs"),
        pytest.param("😀" * 36, Alphabet.UCS2, 72, 2, id="36 surrogate pairs"),
        pytest.param("ế" * 66 + "😀" + "ế" * 65, Alphabet.UCS2, 133, 2, id="surrogates move whole"),
        pytest.param("ế" * 66 + "😀" + "ế" * 66, Alphabet.UCS2, 134, 3, id="and cost a part"),
        pytest.param("ế" * 65 + "😀" + "ế" * 67, Alphabet.UCS2, 134, 2, id="surrogates that fit"),
        pytest.param("€" * 70 + "ế", Alphabet.UCS2, 71, 2, id="no pairs of GSM-7 in UCS-2"),
        pytest.param("Ma xac minh cua ban la 686868", Alphabet.GSM7, 29, 1, id="no diacritics"),
        pytest.param("Cà phê có ở cửa hàng", Alphabet.UCS2, 20, 1, id="Vietnamese"),
        pytest.param("à là ì ò ù é è", Alphabet.GSM7, 14, 1, id="Vietnamese letters of GSM-7"),
        pytest.param("đ", Alphabet.UCS2, 1, 1, id="d with stroke"),
        pytest.param("ç", Alphabet.UCS2, 1, 1, id="GSM-7 has the capital alone"),
        pytest.param("`", Alphabet.UCS2, 1, 1, id="the ASCII that GSM-7 lacks"),
        pytest.param("\t", Alphabet.UCS2, 1, 1, id="tab"),
    ],
)
def test_sizes(text: str, alphabet: Alphabet, units: int, parts: int) -> None:
    """The alphabet, the length and the parts change exactly at the documented boundaries."""
    assert measure(text) == TextSize(alphabet, units, parts)


@pytest.mark.parametrize(
    ("text", "unicode", "size"),
    [
        pytest.param("a" * 70, True, TextSize(Alphabet.UCS2, 70, 1), id="plain as UCS-2"),
        pytest.param("a" * 71, True, TextSize(Alphabet.UCS2, 71, 2), id="plain as UCS-2, 71"),
        pytest.param("a" * 71, False, TextSize(Alphabet.GSM7, 71, 1), id="plain as GSM-7"),
        pytest.param("€" * 3, True, TextSize(Alphabet.UCS2, 3, 1), id="pairs as UCS-2"),
        pytest.param("ế" * 160, False, TextSize(Alphabet.GSM7, 160, 1), id="letters replaced"),
    ],
)
def test_the_alphabet_can_be_chosen(text: str, unicode: bool, size: TextSize) -> None:
    """A caller who names the alphabet gets the text measured in that one."""
    assert measure(text, unicode=unicode) == size


@pytest.mark.parametrize(
    ("text", "composed"),
    [
        pytest.param(unicodedata.normalize("NFD", WITH_DIACRITICS), WITH_DIACRITICS, id="NFD"),
        pytest.param(WITH_DIACRITICS, WITH_DIACRITICS, id="NFC"),
        pytest.param("e\u0323\u0302", "ệ", id="marks in either order"),
        pytest.param("\u212b\u2126\u212a", "ÅΩK", id="signs that are letters"),
        pytest.param("ascii", "ascii", id="ASCII"),
    ],
)
def test_texts_are_composed_first(text: str, composed: str) -> None:
    """A decomposed text is measured, and kept, in its composed form."""
    assert normalize_text(text) == composed
    assert measure(text) == measure(composed) == expected_size(composed)


def test_foreign_characters_are_named_once_in_order() -> None:
    """The characters that GSM-7 lacks come once each, in the order of the text."""
    assert foreign_characters("Tiếng Việt, tiếng Việt 😀") == "ếệ😀"
    assert not foreign_characters("Tieng Viet €")


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=400).map(normalize_text)
# An escape pair or a surrogate pair at every place around the ends of the first parts.
tight_text = st.tuples(
    st.sampled_from("aế"), st.integers(60, 160), st.sampled_from("€^😀"), st.integers(0, 320)
).map(lambda drawn: drawn[0] * drawn[1] + drawn[2] * 3 + drawn[0] * drawn[3])


@given(st.one_of(any_text, tight_text, st.text(GSM7_ALPHABET, min_size=100, max_size=700)))
def test_sizes_agree_with_the_encoded_text(text: str) -> None:
    """Any text measures as its encoded form does when cut into parts that split no pair."""
    text = normalize_text(text)
    assert measure(text) == expected_size(text)
    assert needs_unicode(text) == bool(foreign_characters(text))


@given(any_text)
def test_the_form_of_a_text_does_not_matter(text: str) -> None:
    """Composed and decomposed, a text has one size, and composing twice changes nothing."""
    assert measure(unicodedata.normalize("NFD", text)) == measure(text)
    assert normalize_text(normalize_text(text)) == normalize_text(text)


def test_sizes_are_values() -> None:
    """Sizes compare by value and can't be changed; each alphabet knows its own."""
    assert hash(measure("a")) == hash(TextSize(Alphabet.GSM7, 1, 1))
    assert [(alphabet.label, alphabet.single, alphabet.part) for alphabet in Alphabet] == [
        ("GSM-7", 160, 153),
        ("UCS-2", 70, 67),
    ]
    with pytest.raises(AttributeError):
        measure("a").units = 2  # type: ignore[misc]  # that it is refused is the point
