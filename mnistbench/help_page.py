"""The help of a command, made from the declarations of its flags: groups, units, one default each.

A field's text ends in its default. Where that is None or an empty list, the text may say itself
what happens then: "Default: the launcher's setting."
"""

from __future__ import annotations

import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mnistbench.schema.component import OneOf

POSITIONAL = "positional"
"""Mark of a field, in `Annotated`, whose words stand without a flag."""

REPEATED = "repeated"
"""Mark of a list of which each value has a flag of its own."""

_NARROWEST, _WIDEST = 40, 100  # columns
_COLUMN = 26  # columns of a flag, before its text
_METAVARS: Mapping[Any, str] = {int: "N", float: "X", Path: "PATH", bool: "true|false"}


def kinds_of(field: FieldInfo) -> tuple[Any, ...]:
    """The types that `field` takes: those of ``X | None`` are X and ``NoneType``."""
    is_union = get_origin(field.annotation) in (Union, types.UnionType)
    return get_args(field.annotation) if is_union else (field.annotation,)


def is_mapping(kind: Any) -> bool:
    """Whether `kind` is a mapping, or a list of such, whose flag takes ``NAME=VALUE`` words."""
    return dict in (get_origin(kind), *map(get_origin, get_args(kind)))


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The names that `field`, or each value of its list, is one of; none where any text goes."""
    for mark in field.metadata:
        if isinstance(mark, OneOf):
            return mark.choices
    kind = kinds_of(field)[0]
    item = get_args(kind)[0] if get_origin(kind) is tuple else kind
    if get_origin(item) in (Union, types.UnionType):  # these names, and any other text
        item = get_args(item)[0]
    return get_args(item) if get_origin(item) is Literal else ()


def help_page(
    prog: str, about: str, sections: Mapping[str, Mapping[str, FieldInfo]], *, below: str = ""
) -> str:
    """Usage, a text `about` the command, its flags below their headings, and the text `below`."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    flags = [flag for fields in sections.values() for flag in fields.items()]
    words = [f"[{_spelled(*flag)}]" for flag in flags if POSITIONAL in flag[1].metadata]
    lines = [" ".join(["usage:", prog, *words, "[OPTIONS]"]), "", *_wrapped(about, width), ""]
    for heading, fields in sections.items():
        lines += [heading, *(line for flag in fields.items() for line in _row(*flag, width))]
    return "\n".join([*lines, *(["", *_wrapped(below, width)] if below else [])])


def _flag_text(field: FieldInfo) -> str:
    """What `field` does, the names that it takes, and its default, once."""
    text = " ".join((field.description or "").split())
    if (choices := choices_of(field)) and "--list-" not in text:
        text, at, default = text.partition(" Default: ")
        text += f" One of {', '.join(choices)}.{at}{default}"
    if "Default: " in text or (POSITIONAL in field.metadata and not _default_text(field)):
        return text
    return f"{text} Default: {_default_text(field) or 'none'}."


def _default_text(field: FieldInfo) -> str:
    """The declared default as it would be typed; nothing for None and for an empty list."""
    default = field.default
    if default is None or default in ((), {}) or field.is_required():
        return ""
    if isinstance(default, bool):
        return ("on" if default else "off") if kinds_of(field)[0] is bool else str(default).lower()
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _row(name: str, field: FieldInfo, width: int) -> Iterator[str]:
    flag, text = _spelled(name, field), _flag_text(field)
    indent = _COLUMN if width > 2 * _COLUMN else 6
    wrapped = textwrap.wrap(text, width - indent, break_on_hyphens=False)
    if len(flag) + 4 > indent:
        yield f"  {flag}"
    else:
        yield f"  {flag:{indent - 2}}{wrapped.pop(0)}"
    yield from (" " * indent + line for line in wrapped)


def _spelled(name: str, field: FieldInfo) -> str:
    """``--lr X``; ``--x, --no-x`` of a switch; ``PATH …`` of words without a flag."""
    kind, flag = kinds_of(field)[0], f"--{name.replace('_', '-')}"
    if kind is bool:
        return f"{flag}, --no-{flag[2:]}"
    several = get_origin(kind) is tuple
    if is_mapping(kind):
        return f"{flag} NAME=VALUE …"
    item = get_args(kind)[0] if several else kind
    item = get_args(item)[0] if get_origin(item) is Annotated else item
    is_path = item is Path or name.endswith("_dir")
    word = "NAME" if choices_of(field) else "PATH" if is_path else _METAVARS.get(item, "TEXT")
    if several and REPEATED not in field.metadata:
        word = f"{word} …" if Ellipsis in get_args(kind) else " ".join([word] * len(get_args(kind)))
    return word if POSITIONAL in field.metadata else f"{flag} {word}"


def _wrapped(text: str, width: int) -> Iterator[str]:
    """The lines of the paragraphs of `text`, of which one that is indented stays as it is."""
    for number, paragraph in enumerate(text.split("\n\n")):
        yield from [""] if number else []
        yield from (
            paragraph.splitlines() if paragraph.startswith(" ") else textwrap.wrap(paragraph, width)
        )
