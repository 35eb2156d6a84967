"""What a laid out picture is made of; a page and a file draw the same shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Disc", "Group", "Path", "Point", "Rectangle", "Shape", "Words"]

Point: TypeAlias = tuple[float, float]
"""From the left and from the top."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """Lines through points, of one `width` and `dash`; or with `fill` the area inside them.

    Attributes:
        fill: opacity of the area.
        colour: as all `colour` here: a class of colours (`looks`), or empty for the group's.
    """

    lines: Sequence[Sequence[Point]]
    kind: str = ""
    colour: str = ""
    width: float = 1.0
    dash: str = ""
    fill: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Disc:
    """A marker."""

    at: Point
    radius: float
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A filled rectangle; `told` is what it stands for, in words."""

    at: Point
    width: float
    height: float
    kind: str
    colour: str
    fill: float = 1.0
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A line of text; `at` is where its `anchor` stands on the base line."""

    text: str
    at: Point
    colour: str = ""
    kind: str = ""
    anchor: Literal["start", "middle", "end"] = "start"
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Shapes that belong together.

    Attributes:
        data: facts about them, for scripts.
        title: in words, for those who point at it.
        name: by which `copy_of` of another group has the same shapes, moved by `moved`.
    """

    kind: str = ""
    colour: str = ""
    shapes: Sequence[Shape] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The shapes of a `group`, `moved` to another place."""

    group: Group
    moved: Point


Shape: TypeAlias = Path | Disc | Rectangle | Words | Group | Copy
