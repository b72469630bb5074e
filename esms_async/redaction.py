"""Masks whatever could be a secret in words that came from elsewhere."""

import re

_LONGEST_KEPT = 200
_LONGEST_READ = 800
# Four digits in a row may be a one-time code, or a piece of a phone number.
_DIGIT_RUN = re.compile(r"\d(?:[\s.\-]?\d){3,}")
_WORD = re.compile(r"\w+")
_MASK = "***"


def redact(words: str, *secrets: str) -> str:
    """Return words that are safe to show, whoever wrote them.

    Args:
        words: A text from outside, such as the gateway's ErrorMessage.
        *secrets: Texts that must not show, whole or in their words that hold a digit.

    Returns:
        One printable line of at most 200 characters in which the secrets and every run of four
        digits or more are masked.
    """
    words = _mask(_one_line(words), {line for secret in secrets if (line := _one_line(secret))})
    if len(words) > _LONGEST_READ:
        # The word at the cut may be the beginning of a secret.
        words = words[:_LONGEST_READ].rpartition(" ")[0]
    words = _DIGIT_RUN.sub(_MASK, _mask(words, _telling_words(secrets)))
    return words if len(words) <= _LONGEST_KEPT else words[: _LONGEST_KEPT - 1] + "…"


def _mask(words: str, secrets: set[str]) -> str:
    if not secrets:
        return words
    longest_first = sorted(secrets, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), _MASK, words, flags=re.IGNORECASE)


def _one_line(words: str) -> str:
    """Return words with single spaces and nothing invisible, which could hide a secret."""
    visible = "".join(
        character for character in words if character.isprintable() or character.isspace()
    )
    return " ".join(visible.split())


def _telling_words(secrets: tuple[str, ...]) -> set[str]:
    """Return the words of secrets that hold a digit, as a one-time code does."""
    return {
        word
        for secret in secrets
        for word in _WORD.findall(secret)
        if len(word) >= 3 and any(character.isdigit() for character in word)
    }
