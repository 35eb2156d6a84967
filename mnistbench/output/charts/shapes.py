"""What a laid out picture is made of; a page and a file draw the same shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Copy", "Disc", "Group", "Path", "Point", "Shape", "Words"]

Point: TypeAlias = tuple[float, float]
"""From the left and from the top."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """Lines through points, of one `width` and `dash`; or with `fill` the area inside them.

    Attributes:
        fill: opacity of the area.
        colour: `c0` to `c6`, `ink`, `muted`, `pale` or `grid`; empty for that of its group.
        told: what it stands for, in words.
    """

    lines: Sequence[Sequence[Point]]
    kind: str = ""
    colour: str = ""
    width: float = 1.0
    dash: str = ""
    fill: float = 0.0
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class Disc:
    """A marker."""

    at: Point
    radius: float
    hollow: bool = False


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
        name: by which a `Copy` knows it.
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


Shape: TypeAlias = Path | Disc | Words | Group | Copy
