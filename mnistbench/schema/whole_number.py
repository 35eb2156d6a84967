"""Whole numbers in variables, flags and the system's files: one reading of them all."""

from __future__ import annotations

import re


def whole_number(text: str, *, lowest: int = 0, highest: int = 2**31 - 1) -> int | None:
    """The number that `text` is in plain decimal digits; ``None`` if it is none within the bounds.

    `str.isdigit` takes "²", on which `int` fails, and `int` takes " 1", "+1" and "1_0".
    """
    if not re.fullmatch("[0-9]{1,20}", text):
        return None
    return value if lowest <= (value := int(text)) <= highest else None
