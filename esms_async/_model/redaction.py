"""Masks possible secrets in texts from outside."""

import re
from collections.abc import Iterable

_LONGEST_KEPT = 200
_LONGEST_READ = 800
# No word of the gateway's holds such a long secret by chance.
_LONG = 8
# Four digits in a row may be a one-time code, or a piece of a phone number.
_DIGIT_RUN = re.compile(r"\d(?:[\s.\-]?\d){3,}")
_SHORTEST_MASKED = 4
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"\w+")
_MASK = "***"


def redact(words: str, *secrets: str) -> str:
    """Return a text from outside, such as the gateway's ErrorMessage, made safe to show.

    Returns:
        One printable line of at most 200 characters, in which the secrets, their words that hold a
        digit, and every run of four digits or more are masked; only "***" if a short secret may be
        part of an ordinary word.
    """
    words = _one_line(words)
    whole = {line for secret in secrets if (line := _one_line(secret))}
    values = whole | _telling_words(whole)
    long = {value for value in values if len(value) >= _LONG}
    words = _mask(words, long, "{}")
    if len(words) > _LONGEST_READ:
        # The word at the cut may be the beginning of a secret.
        words = words[:_LONGEST_READ].rpartition(" ")[0]
    words = _DIGIT_RUN.sub(_MASK, words)
    short = values - long
    words = _mask(words, short, r"(?<!\w){}(?!\w)")
    if _mask(words, short, "{}") != words:
        return _MASK
    return _shortened(words)


def redact_typed(sentence: str, typed: Iterable[str]) -> str:
    """Return a sentence about what somebody typed, made safe to show.

    Args:
        sentence: The sentence; it may repeat what was typed.
        typed: Everything that was typed, or set in the environment.

    Returns:
        One printable line of at most 200 characters. A run of four digits or more is masked if it
        was typed; one of the sentence itself, such as the largest port, stays.
    """
    numbers = {number for text in typed for number in _NUMBER.findall(text)}
    long = {number for number in numbers if len(number) >= _SHORTEST_MASKED}

    def masked(run: re.Match[str]) -> str:
        pieces: list[str] = _NUMBER.findall(run[0])
        is_typed = not numbers.isdisjoint(pieces) or any(
            number in piece for number in long for piece in pieces
        )
        return _MASK if is_typed else run[0]

    return _shortened(_DIGIT_RUN.sub(masked, _one_line(sentence)))


def _mask(words: str, secrets: set[str], place: str) -> str:
    if not secrets:
        return words
    longest_first = sorted(secrets, key=len, reverse=True)
    found = place.format(f"(?:{'|'.join(map(re.escape, longest_first))})")
    return re.sub(found, _MASK, words, flags=re.IGNORECASE)


def _shortened(words: str) -> str:
    return words if len(words) <= _LONGEST_KEPT else words[: _LONGEST_KEPT - 1] + "…"


def _one_line(words: str) -> str:
    """Return words with single spaces and nothing invisible, which could hide a secret."""
    visible = "".join(
        character for character in words if character.isprintable() or character.isspace()
    )
    return " ".join(visible.split())


def _telling_words(secrets: set[str]) -> set[str]:
    """Return the words of secrets that hold a digit, as a one-time code does."""
    return {
        word
        for secret in secrets
        for word in _WORD.findall(secret)
        if len(word) >= 3 and any(character.isdigit() for character in word)
    }
