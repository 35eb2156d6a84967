"""What Python does with records: read them, tabulate, draw, compare, write the page."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tabulate import tabulate

from mnistbench import __version__
from mnistbench.analysis.comparison import compare
from mnistbench.analysis.grouping import differences, group_runs
from mnistbench.analysis.metrics import METRICS, MetricName
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.output.comparison_table import comparison_values, render_comparison
from mnistbench.output.export import export_rows
from mnistbench.output.number_format import run_cells
from mnistbench.output.page.page import render_page
from mnistbench.output.page.report_data import ReportOptions
from mnistbench.output.plots import curves_figure, plot_curves
from mnistbench.output.tables import render_runs
from mnistbench.schema import store
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import brief
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord
from mnistbench.workload.recipes import RECIPES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnistbench.analysis.rows import Comparison

__all__ = [
    "Summary",
    "Verdicts",
    "compare_records",
    "load_records",
    "plot",
    "summary",
    "write_page",
]

_Path: TypeAlias = str | PathLike[str]
_PAGES = {".html", ".htm"}
_LONGEST = 100
"""Letters of a cell."""


class Summary(tuple[Mapping[str, Any], ...]):
    """The rows of ``report --format json``, which print as the table of ``report``.

    A row is a mapping of plain values: name of a column (docs/exports.md) -> value, ``None`` where
    it was not measured.
    """

    _records: Sequence[RunRecord]
    _per_run: bool

    @classmethod
    def of(cls, records: Sequence[RunRecord], *, per_run: bool) -> Self:
        """The summary of `records`, a row for each group or, with `per_run`, each run."""
        groups = [[record] for record in records] if per_run else group_runs(records)
        rows = cls(export_rows(groups, per_run=per_run, references=packaged_references()))
        rows._records, rows._per_run = records, per_run
        return rows

    def to_pandas(self) -> Any:
        """The rows as a pandas ``DataFrame``.

        Raises:
            InputError: pandas is not installed.
        """
        return _data_frame(self)

    def __repr__(self) -> str:
        return render_runs(
            self._records,
            table_format="table",
            per_run=self._per_run,
            references=packaged_references(),
        )

    def _repr_html_(self) -> str:
        """The table that a notebook shows: what all rows share stands once, above it."""
        groups = [[r] for r in self._records] if self._per_run else group_runs(self._records)
        pairs = zip(groups, differences(groups), strict=True)
        rows = [run_cells(group, text, packaged_references()) for group, text in pairs]
        if self._per_run:
            rows = [{"run": g[0].run_id} | row for g, row in zip(groups, rows, strict=True)]
        rows = [{name: brief(text, _LONGEST) for name, text in row.items()} for row in rows]
        shared = [k for k, v in rows[0].items() if len(rows) > 1 and all(r[k] == v for r in rows)]
        known = [f"{k} {rows[0][k]}" for k in shared if rows[0][k] not in {"", NOT_MEASURED}]
        above = f"<p>all rows: {html.escape(', '.join(known))}</p>\n" if known else ""
        cells = [{k: v for k, v in row.items() if k not in shared} for row in rows]
        return above + tabulate(cells, headers="keys", tablefmt="html", disable_numparse=True)


class Verdicts(tuple[Mapping[str, Any], ...]):
    """The rows of ``compare --format json``, which print as the table and sentences of ``compare``.

    Attributes:
        headlines: a sentence for each thing compared.
        notes: what has to be known with them.
    """

    headlines: tuple[str, ...]
    notes: tuple[str, ...]
    _comparison: Comparison

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """The rows of `comparison`."""
        values = comparison_values(comparison, ())
        rows = cls(values["rows"])
        rows.headlines, rows.notes = tuple(values["headlines"]), tuple(values["notes"])
        rows._comparison = comparison
        return rows

    def to_pandas(self) -> Any:
        """The rows as a pandas ``DataFrame``, figures of a side in columns such as ``a_value``.

        Raises:
            InputError: pandas is not installed.
        """
        return _data_frame([_flat(row) for row in self])

    def __repr__(self) -> str:
        return render_comparison(self._comparison, (), table_format="table")


def load_records(*paths: _Path, strict: bool = False) -> list[RunRecord]:
    """Every record among `paths`: files as named, folders searched all the way down.

    One that cannot be read is left out with a warning that names it.

    Args:
        paths: any number; none is the folder ``runs``.
        strict: one that cannot be read is an error.

    Raises:
        InputError: one that was named itself, or with `strict` any, cannot be read, or none can.
    """
    loaded = store.load_records(map(_path, paths or ("runs",)), strict=strict)
    if loaded.note:
        warnings.warn(loaded.note, stacklevel=2)
    return loaded.records


def summary(records: Iterable[RunRecord], *, per_run: bool = False) -> Summary:
    """What `records` reached, a row for each configuration, its seeds together with their interval.

    Args:
        records: at least one.
        per_run: a row for each run instead.
    """
    return Summary.of(_some(records, "summary"), per_run=per_run)


def plot(records: Iterable[RunRecord], path: _Path | None = None) -> Figure:
    """Accuracy and loss of `records` by epoch, as ``report --plot`` draws them.

    Args:
        records: at least one, with an evaluation.
        path: .png or .svg file that the picture is written to as well.

    Returns:
        A figure of matplotlib, which a notebook shows.

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
    metrics: Sequence[MetricName] | None = None,
    target_accuracy: float | None = None,
) -> Verdicts:
    """Whether `b` is faster or better than `a`, as ``mnistbench compare`` tells it.

    Args:
        a: what is compared against.
        b: what is judged.
        metrics: a row each; by default speed, time to a target that both have, test accuracy.
        target_accuracy: runs are timed to it [fraction]; by default each to its own.

    Raises:
        InputError: `a` and `b` have nothing in common, a side is empty, or a value is wrong.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise InputError(f"metrics: {name!r} is not among {', '.join(METRICS)}")
    if target_accuracy is not None and not 0 < target_accuracy <= 1:
        raise InputError(f"target_accuracy: should be a fraction in (0, 1], not {target_accuracy}")
    sides = (_some(side, "compare_records") for side in (a, b))
    return Verdicts.of(compare(*sides, metrics=metrics, target_accuracy=target_accuracy))


def write_page(
    records: Iterable[RunRecord], path: _Path, *, options: ReportOptions | None = None
) -> Path:
    """Write the page of ``report --html`` on `records` to `path`, and return where it lies.

    Args:
        records: at least one.
        path: the .html file.
        options: how records are read; by default as ``report`` does without other flags.

    Raises:
        InputError: `path` is no .html file or cannot be written.
    """
    found, path = _some(records, "write_page"), _path(path)
    if path.suffix.lower() not in _PAGES:
        raise InputError(f"{path}: a page is .html; name the file so")
    options = options or ReportOptions(
        references=packaged_references(),
        recipes={name: recipe.settings for name, recipe in RECIPES.items()},
    )
    made_at = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by mnistbench {__version__}."
    write_whole(path, render_page(found, options, made_at=made_at), named=True)
    return path


def _some(records: Iterable[RunRecord], call: str) -> list[RunRecord]:
    found = [records] if isinstance(records, RunRecord) else list(records)
    if not found:
        raise InputError(f"{call}: there is no record; load_records reads those of a folder")
    return found


def _path(path: _Path) -> Path:
    return Path(path).expanduser()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    sides = {side: row[side] for side in ("a", "b")}
    inner = {f"{side}_{name}": v for side, level in sides.items() for name, v in level.items()}
    return {k: v for k, v in row.items() if k not in sides} | inner


def _data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    try:
        pandas = import_module("pandas")
    except ImportError:
        raise InputError(
            "to_pandas: pandas is not installed; `pip install pandas`, or read the rows themselves"
        ) from None
    return pandas.DataFrame(list(rows))
