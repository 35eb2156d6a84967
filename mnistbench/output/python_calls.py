"""What Python does with records: read them, tabulate, draw, compare, write the page."""

from __future__ import annotations

import html
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tabulate import tabulate

from mnistbench import __version__
from mnistbench.analysis.comparison import compare
from mnistbench.analysis.grouping import group_runs
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.output.charts.figure import curves_figure, plot_curves
from mnistbench.output.comparison_table import comparison_values, render_comparison
from mnistbench.output.export import export_rows
from mnistbench.output.fitted_table import split_shared
from mnistbench.output.page.page import render_page
from mnistbench.output.page.report_data import ReportOptions
from mnistbench.output.screen import Screen
from mnistbench.output.tables import render_runs, summary_cells
from mnistbench.schema import store
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import brief
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnistbench.analysis.rows import Comparison


_Path: TypeAlias = str | PathLike[str]
PAGES = (".html", ".htm")
_LONGEST = 100  # letters of a cell


class _Rows(tuple[Mapping[str, Any], ...]):
    """Rows of plain values: name -> value, ``None`` where it was not measured."""

    def to_pandas(self) -> Any:
        """The rows as a pandas ``DataFrame``; what a value holds has columns such as ``a_value``.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise InputError(
                "to_pandas: pandas is not installed; `pip install pandas`, or read the rows as such"
            ) from None
        return pandas.json_normalize(list(self), sep="_")


class Summary(_Rows):
    """The rows of ``report --format json`` (docs/exports.md), which print as its table."""

    records: Sequence[RunRecord]
    per_run: bool

    def __repr__(self) -> str:
        return render_runs(
            self.records,
            table_format="table",
            per_run=self.per_run,
            references=packaged_references(),
            screen=_screen(),
        )

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        _, rows = summary_cells(self.records, packaged_references(), per_run=self.per_run)
        shared, rows = split_shared([{k: brief(v, _LONGEST) for k, v in r.items()} for r in rows])
        told = html.escape(", ".join(f"{name} {text}" for name, text in shared.items()))
        above = f"<p>{'all rows' if len(rows) > 1 else 'settings'}: {told}</p>\n" if told else ""
        return above + tabulate(rows, headers="keys", tablefmt="html", disable_numparse=True)


class Verdicts(_Rows):
    """The rows of ``compare --format json``, which print as its table and sentences.

    `headlines` has a sentence for each thing compared, `notes` what has to be known with them.
    """

    comparison: Comparison
    headlines: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return render_comparison(self.comparison, (), table_format="table", screen=_screen())


def load_records(*paths: _Path, strict: bool = False) -> list[RunRecord]:
    """Every record among `paths`: files as named, folders searched all the way down.

    No path is the folder ``runs``. A record that cannot be read is left out with a warning that
    names it, or with `strict` is an error.

    Raises:
        InputError: one that was named itself, or with `strict` any, cannot be read, or none can.
    """
    loaded = store.load_records(map(_path, paths or ("runs",)), strict=strict)
    if loaded.note:
        warnings.warn(loaded.note, stacklevel=2)
    return loaded.records


def summary(records: Iterable[RunRecord], *, per_run: bool = False) -> Summary:
    """What `records`, at least one, reached: a row for each configuration, its seeds together.

    With `per_run` there is a row for each run instead.
    """
    found = _some(records, "summary")
    groups = [[record] for record in found] if per_run else group_runs(found)
    rows = Summary(export_rows(groups, per_run=per_run, references=packaged_references()))
    rows.records, rows.per_run = found, per_run
    return rows


def plot(records: Iterable[RunRecord], path: _Path | None = None) -> Figure:
    """What `records` evaluated, and their loss, by epoch, as ``report --plot`` draws them.

    A notebook shows the figure; it is written to `path`, a .png or .svg file, as well.

    Raises:
        InputError: there is nothing to draw, or `path` cannot be written.
    """
    found = _some(records, "plot")
    if path is not None:
        plot_curves(found, _path(path))
    return curves_figure(found)


def compare_records(
    a: Iterable[RunRecord],
    b: Iterable[RunRecord],
    *,
    metrics: str | Sequence[str] | None = None,
    target_accuracy: float | None = None,
) -> Verdicts:
    """Whether `b` is faster or better than `a`, as ``mnistbench compare`` tells it.

    Args:
        a: what is compared against.
        b: what is judged.
        metrics: one or more, a row each, also of what runs evaluated; by default speed, time to a
            target that both have, and what was learnt.
        target_accuracy: runs are timed to it [fraction]; by default each to its own.

    Raises:
        InputError: `a` and `b` have nothing in common, a side is empty, or a value is wrong.
    """
    found = [_some(side, "compare_records") for side in (a, b)]
    names = (metrics,) if isinstance(metrics, str) else metrics
    if target_accuracy is not None and not 0 < target_accuracy <= 1:
        raise InputError(f"target_accuracy: should be a fraction in (0, 1], not {target_accuracy}")
    comparison = compare(*found, metrics=names, target_accuracy=target_accuracy)
    values = comparison_values(comparison, ())
    rows = Verdicts(values["rows"])
    rows.headlines, rows.notes = tuple(values["headlines"]), tuple(values["notes"])
    rows.comparison = comparison
    return rows


def write_page(
    records: Iterable[RunRecord], path: _Path, *, options: ReportOptions | None = None
) -> Path:
    """Write the page of ``report --html`` on `records` to `path`, and return where it lies.

    Records are read as `options` say; by default as ``report`` does without other flags.

    Raises:
        InputError: there is no record; `path` is no .html file or cannot be written.
    """
    found, path = _some(records, "write_page"), _path(path)
    if path.suffix.lower() not in PAGES:
        raise InputError(f"{path}: a page is .html; name the file so")
    options = options or ReportOptions(references=packaged_references())
    made_at = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by mnistbench {__version__}."
    write_whole(path, render_page(found, options, made_at=made_at), named=True)
    return path


def _some(records: Iterable[RunRecord], call: str) -> list[RunRecord]:
    found = [records] if isinstance(records, RunRecord) else list(records)
    if not found:
        raise InputError(f"{call}: there is no record; load_records reads those of a folder")
    if wrong := next((one for one in found if not isinstance(one, RunRecord)), None):
        kind = type(records if isinstance(records, str) else wrong).__name__
        raise InputError(f"{call}: takes records, not {kind}; load_records reads those of a folder")
    return found


def _path(path: _Path) -> Path:
    return Path(path).expanduser()


def _screen() -> Screen:
    """As wide as the terminal, in plain letters, since text may go anywhere."""
    return Screen(Screen.of(sys.stdout).width)
