"""Measures texts as operators count them, and reads phone numbers as people write them."""

from esms_async._model.phone import (
    PhoneRepair,
    RoundedPhone,
    mask_phone,
    normalize_phone,
    repair_phone,
)
from esms_async._model.text import Alphabet, TextSize, measure

__all__ = [
    "Alphabet",
    "PhoneRepair",
    "RoundedPhone",
    "TextSize",
    "mask_phone",
    "measure",
    "normalize_phone",
    "repair_phone",
]
