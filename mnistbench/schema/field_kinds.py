"""What the values of a declared field may be."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

__all__ = ["choices_of", "kinds_of"]


def kinds_of(field: FieldInfo) -> tuple[Any, ...]:
    """The types that `field` takes: those of ``X | None`` are X and ``NoneType``."""
    is_union = get_origin(field.annotation) in (Union, types.UnionType)
    return get_args(field.annotation) if is_union else (field.annotation,)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The names that `field`, or each value of its list, is one of; none where any text goes."""
    kind = kinds_of(field)[0]
    item = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return get_args(item) if get_origin(item) is Literal else ()
