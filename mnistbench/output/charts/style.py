"""What all pictures share: their width, fonts and colours, and how they become SVG and PNG."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mnistbench.schema.errors import InputError, first_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "INK",
    "MUTED",
    "PALE",
    "WIDTH_IN",
    "Picture",
    "darkened",
    "drawn",
    "new_figure",
    "plain_log",
    "plain_matplotlib",
    "saved",
]

WIDTH_IN = 3.4
"""A column of a paper in two columns [inches]; no letter is below 7 points at this width."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#111111")
"""Okabe and Ito's colours (2008), told apart by colour-blind readers; the last is nearly black."""

INK, MUTED, PALE, GRID = "#1b1f24", "#57606a", "#bcc4cd", "#d8dee4"
_ON_DARK = {
    INK: "#e6edf3",
    MUTED: "#9da7b1",
    PALE: "#535c66",
    GRID: "#343b43",
    "#111111": "#f0f3f6",
    "#0072b2": "#2b8fd0",
}

_PNG_DPI = 300
_PLAIN: Any = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "mnistbench",  # the same names inside each time
}
_STYLE: Any = {
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that can be drawn.

    Attributes:
        name: of its files, without suffix.
        title: what it shows, in a few words.
        caption: what a reader sees in it, and how marks are to be read.
        alt: the same for those who do not see it.
        draw: makes the figure; called by `drawn` only.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]


def drawn(picture: Picture, kind: Literal["svg", "png"], *, background: bool = True) -> bytes:
    """`picture` as a file of `kind`, the same bytes each time; PNG has 300 dots per inch.

    Without `background` it is transparent, as a page needs it.
    """
    with plain_matplotlib(_STYLE):
        content = saved(picture.draw(), kind, dpi=_PNG_DPI, background=background)
    return _rounded(content) if kind == "svg" else content


@contextlib.contextmanager
def plain_matplotlib(style: dict[str, Any]) -> Iterator[None]:
    """Inside, matplotlib is as it comes, with `style`; the user's own settings are not looked at.

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
            mpl.rcParams.update(_PLAIN | style)
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


def saved(figure: Figure, kind: str, *, dpi: int, background: bool = True) -> bytes:
    """`figure` as a file of `kind`, in which nothing says when it was made."""
    out = io.BytesIO()
    figure.savefig(
        out,
        format=kind,
        dpi=dpi,
        facecolor="white" if background else "none",
        metadata={"Date": None, "Creator": None} if kind == "svg" else {"Software": None},
    )
    return out.getvalue()


def darkened(svg: bytes) -> bytes:
    """`svg`, as `drawn` without background, in colours for a dark page."""
    text = svg.decode()
    for light, dark in _ON_DARK.items():
        text = text.replace(light, dark)
    return text.encode()


def new_figure(height_in: float, *, fixed: bool = False) -> Figure:
    """An empty figure of a column's width, which lays itself out unless its layout is `fixed`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, height_in), layout=None if fixed else "constrained")


def plain_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers as they are spoken: 0.1, 20, 5000."""
    from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:,.10g}" if super().__call__(x, pos) else ""

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    if low > 0 and high / low < 300:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(Plain(labelOnlyBase=False, minor_thresholds=(10, 10)))


def _rounded(svg: bytes) -> bytes:
    """`svg` with its paths to a hundredth of a point, which is a third smaller."""
    return re.sub(rb'(?<= d=")[^"]+', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), svg)
