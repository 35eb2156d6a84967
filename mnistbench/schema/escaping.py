"""Text from a record, made harmless where it is printed: nothing in it is obeyed."""

from __future__ import annotations

import html

__all__ = ["markdown", "printable"]


def printable(text: str) -> str:
    """`text` without what a terminal would obey or cannot print: control characters, surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def markdown(text: str) -> str:
    """`text` as Markdown shows it as it is, also in the cell of a table."""
    escaped = html.escape(printable(text), quote=False)
    return escaped.replace("\\", "\\\\").replace("|", "\\|")
