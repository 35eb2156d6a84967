"""Pictures drawn by matplotlib, for files and notebooks: the same shapes as on a page."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree.ElementTree import Element

from mnistbench.output.charts.curve_pictures import curves_together
from mnistbench.output.charts.layout import SMALL
from mnistbench.output.charts.picture import Picture
from mnistbench.output.charts.shapes import COLOURS
from mnistbench.output.charts.svg import svg_element
from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform


_COLUMN_WIDTH = 340.0
"""A column of a paper in two columns, in hundredths of an inch."""

_PLOT_WIDTH = 700.0
FORMATS = (".png", ".svg")

_PAPER_DPI = 300
_SCREEN_DPI = 120
_POINTS = 0.72
"""Points of a hundredth of an inch."""

_PLAIN: Any = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "mnistbench",  # the same names inside each time
}

_PAINT: Mapping[str, str] = {f"c{index}": colour for index, colour in enumerate(COLOURS)} | {
    "ink": "#1b1f24",
    "muted": "#57606a",
    "pale": "#bcc4cd",
    "grid": "#d8dee4",
}
_ANCHORS: Mapping[str, Literal["left", "center", "right"]] = {
    "start": "left",
    "middle": "center",
    "end": "right",
}


def plot_curves(records: Sequence[RunRecord], path: Path, *, accuracy_only: bool = False) -> None:
    """Write accuracy by epoch and, unless `accuracy_only`, training loss to `path`.

    Raises:
        InputError: `path` is neither PNG nor SVG, cannot be written, or no run was evaluated.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(f"{path}: a plot is .png or .svg; name the file so")
    picture = curves_together(records, accuracy_only=accuracy_only)
    write_whole(path, drawn(picture, kind[1:], width=_PLOT_WIDTH, dpi=_SCREEN_DPI), named=True)


def curves_figure(records: Sequence[RunRecord]) -> Figure:
    """The same picture, seven inches wide.

    Raises:
        InputError: no run was evaluated, or matplotlib cannot be imported.
    """
    picture = curves_together(records)
    with plain_matplotlib():
        return figure_of(picture, _PLOT_WIDTH)


def drawn(
    picture: Picture, kind: str, *, width: float = _COLUMN_WIDTH, dpi: int = _PAPER_DPI
) -> bytes:
    """`picture` as a file of `kind`, png or svg, the same bytes each time."""
    with plain_matplotlib():
        content = _saved(figure_of(picture, width), kind, dpi=dpi)
    return _rounded(content) if kind == "svg" else content


def figure_of(picture: Picture, width: float) -> Figure:
    """`picture` as a figure of `width` hundredths of an inch, which a notebook shows."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        """Has what a notebook asks for, whatever backend pyplot was told."""

        def _repr_png_(self) -> bytes:
            with plain_matplotlib():
                return _saved(self, "png", dpi=_SCREEN_DPI)

    svg = svg_element(picture, width)
    named = {f"#{group.get('id')}": group for group in svg.iter("g")}
    for use in svg.findall(".//use"):
        use.append(named[use.get("href", "")])
    height = float(svg.get("viewBox", "").split()[-1])
    figure = Shown(figsize=(width / 100, height / 100))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False, xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _draw(axes, svg, _PAINT["ink"], axes.transData)
    return figure


def _draw(axes: Axes, element: Element, colour: str, at: Transform) -> None:
    """`element` in `colour`, if it has no other, and moved by `at`."""
    from matplotlib.transforms import Affine2D

    named = [_PAINT[name] for name in element.get("class", "").split() if name in _PAINT]
    colour = named[0] if named else colour
    if element.tag == "use":
        at = Affine2D().translate(*_numbers(element, "x", "y")) + at
    elif element.tag == "text":
        anchor = _ANCHORS[element.get("text-anchor", "start")]
        x, y = _numbers(element, "x", "y")
        size = SMALL * _POINTS
        axes.text(x, y, element.text or "", color=colour, fontsize=size, ha=anchor, transform=at)
    elif element.tag in ("path", "circle"):
        _shape(axes, element, colour, at)
    for child in element:
        _draw(axes, child, colour, at)


def _shape(axes: Axes, element: Element, colour: str, at: Transform) -> None:
    """A line, an area or a marker."""
    from matplotlib import patches
    from matplotlib.path import Path as Outline

    width = float(element.get("stroke-width", "1"))
    dashes = [float(x) / width for x in element.get("stroke-dasharray", "").split()]
    look: dict[str, Any] = {
        "facecolor": "none" if element.get("fill") == "none" else colour,
        "edgecolor": colour if element.get("stroke") else "none",
        "linewidth": _POINTS * width,
        "linestyle": (0, dashes) if dashes else "-",
        "alpha": float(element.get("fill-opacity", "1")),
        "joinstyle": "round",
        "transform": at,
        "clip_on": False,
        "zorder": 2 if element.get("class") in ("line", "mark") else 1,  # above all bands
    }
    if element.tag == "circle":
        x, y, radius = _numbers(element, "cx", "cy", "r")
        axes.add_artist(patches.Circle((x, y), radius, **look))
        return
    points = re.findall(r"([ML])(\S+) ([^MLz]+)", element.get("d", ""))
    if points:
        codes = [Outline.MOVETO if command == "M" else Outline.LINETO for command, *_ in points]
        path = Outline([(float(x), float(y)) for _, x, y in points], codes)
        axes.add_artist(patches.PathPatch(path, **look))


def _numbers(element: Element, *names: str) -> list[float]:
    return [float(element.get(name, "0")) for name in names]


def _rounded(svg: bytes) -> bytes:
    """`svg` with its paths to a hundredth of a point, which is a third smaller."""
    return re.sub(rb'(?<= d=")[^"]+', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), svg)


@contextlib.contextmanager
def plain_matplotlib() -> Iterator[None]:
    """Inside, matplotlib has its defaults; the user's own settings are not read.

    Raises:
        InputError: it cannot be imported.
    """
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)  # of files that it reads, and that nothing here goes by
    try:
        mpl = _imported()
        with mpl.rc_context(), warnings.catch_warnings():
            # a letter that the font has not, a curve of zeros on a logarithmic scale: drawn without
            warnings.simplefilter("ignore")
            mpl.rcdefaults()
            mpl.rcParams.update(_PLAIN)
            yield
    finally:
        log.setLevel(level)


def _imported() -> Any:
    """matplotlib, though MPLBACKEND may name a backend that is not there: none is needed."""
    is_first = "matplotlib" not in sys.modules
    told = os.environ.pop("MPLBACKEND", None) if is_first else None
    try:
        import matplotlib as mpl
    except Exception as error:  # whatever it met in the user's matplotlibrc
        why = first_line(error)
        raise InputError(
            f"matplotlib: cannot be imported, matplotlibrc may be why: {why}"
        ) from None
    finally:
        if told is not None:
            os.environ["MPLBACKEND"] = told
    if told:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = told  # for whoever else draws in this process
    return mpl


def _saved(figure: Figure, kind: str, *, dpi: int) -> bytes:
    """`figure` as a file of `kind`, in which nothing says when it was made."""
    out = io.BytesIO()
    figure.savefig(
        out,
        format=kind,
        dpi=dpi,
        facecolor="white",
        metadata={"Date": None, "Creator": None} if kind == "svg" else {"Software": None},
    )
    return out.getvalue()
