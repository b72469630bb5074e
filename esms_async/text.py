"""Measures texts as operators count them: alphabets, septets, and parts of a message."""

from esms_async._model.text import Alphabet, TextSize, measure

__all__ = ["Alphabet", "TextSize", "measure"]
