"""matplotlib without a display and without the user's own settings, and how figures are saved."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnistbench.schema.errors import InputError, first_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plain_matplotlib", "saved"]

_PLAIN: Any = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "mnistbench",  # the same names inside each time
}


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


def saved(figure: Figure, kind: str, *, dpi: int) -> bytes:
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
