"""Masks whatever could be a secret in words that came from elsewhere."""

import re

_LONGEST_KEPT = 200
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
    words = _one_line(words)
    for secret in sorted(_tokens(secrets), key=len, reverse=True):
        words = re.sub(re.escape(secret), _MASK, words, flags=re.IGNORECASE)
    words = _DIGIT_RUN.sub(_MASK, words)
    return words if len(words) <= _LONGEST_KEPT else words[: _LONGEST_KEPT - 1] + "…"


def _one_line(words: str) -> str:
    """Return words with single spaces and nothing invisible, which could hide a secret."""
    visible = "".join(
        character for character in words if character.isprintable() or character.isspace()
    )
    return " ".join(visible.split())


def _tokens(secrets: tuple[str, ...]) -> set[str]:
    tokens = {line for secret in secrets if (line := _one_line(secret))}
    for secret in secrets:
        tokens.update(
            word
            for word in _WORD.findall(secret)
            if len(word) >= 3 and any(character.isdigit() for character in word)
        )
    return tokens
