"""Text from a record, made harmless where it is printed: nothing in it is obeyed."""

from __future__ import annotations

import html
import re
from unicodedata import normalize

_FORMULA = tuple("=+-@")
_MARKUP = re.compile(
    r"[\\|`*\[\]~$]|(?<![^\W_])_|_(?![^\W_])"  # inside a line; _ inside a word is a letter
    r"|^[#=]|^[-+](?=[\s-]|$)|:(?=//)|(?<=\bwww)\."  # that begins a block; addresses
)


def printable(text: str) -> str:
    """`text` without what a terminal would obey or cannot print: control characters, surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def brief(text: str, length: int) -> str:
    """`text` printable, and cut off after `length` letters."""
    text = printable(text)
    return text if len(text) <= length else text[: length - 1].rstrip(" ,") + "…"


def escaped(text: str) -> str:
    """`text` in one line, such as of a log, with control characters spelled as Python has them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def markdown(text: str) -> str:
    """`text` as Markdown shows it as it is, also in the cell of a table."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(printable(text), quote=False))


def csv_cell(text: str) -> str:
    """`text` as a spreadsheet shows it as it is: a formula begins with an apostrophe."""
    text = printable(text)
    begins = normalize("NFKC", text.lstrip()[:1])  # a wide sign is taken for a narrow one
    return f"'{text}" if begins.startswith(_FORMULA) else text
