"""The door to sweeps: every combination of the values given, each once, in any number of goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, make_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import tyro

from mnistbench.analysis.metrics import METRICS
from mnistbench.cli import at_home, exit_on_input_error, parse, read_config, say, show
from mnistbench.launch.cells import Cell, Executor
from mnistbench.launch.children import raised_stops
from mnistbench.launch.grid import cells_of, values_of
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.launch.sweep_progress import Progress, names
from mnistbench.launch.sweeping import Failure, run_sweep
from mnistbench.output.screen import Screen
from mnistbench.output.tables import TableFormat, data_text, render_runs
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord

__all__ = ["main"]

_DESCRIPTION = (
    "Train every combination of the values given, each once. Values are joined by commas; 0..9 is "
    "a range of whole numbers; shift+rotate is one value of --augment. The same command goes on "
    "where a sweep was stopped; other values add cells to it."
)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """The door's own flags."""

    config: Path | None = None
    """YAML file of values, over the recipe's; flags go over it."""
    output_dir: Path = Path("runs/sweep")
    """Folder of the sweep; cells that it holds already are not run again."""
    executor: Literal["local", "ray"] = "local"
    """What runs the cells: this machine, or Ray, on one or on many."""
    ray_address: str | None = None
    """Ray cluster to run on, such as auto; none starts a local one."""
    jobs: int | None = None
    """Cells side by side, which share the cores: their times are marked. None is 1, or Ray's."""
    retries: int = 1
    """How many more times a failed cell is tried."""
    select: str | None = None
    """Choose the best configuration by this, such as val_accuracy, and say how surely it is."""
    format: TableFormat = "table"
    """How to print the rows."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""
    dry_run: bool = False
    """Print the cells and which are done, and end."""
    quiet: bool = False
    """No progress on stderr, only failures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door with `argv`; exit status 1 if a cell failed."""
    with exit_on_input_error():
        options, grid = _parse(sys.argv[1:] if argv is None else argv)
        cells = cells_of(
            {name: values_of(name, text) for name, text in grid.items()},
            read=partial(read_config, config_file=options.config),
        )
        folder = SweepFolder(at_home("output_dir", options.output_dir))
        if options.dry_run:
            show(_plan(cells, folder, options))
            return 0
        failures = _sweep(cells, folder, grid, options)
        records = _done(cells, folder)
        if records:
            show(_conclusion(records, options))
    if failures:
        say(f"{len(failures)} of {len(cells)} cells failed; the same command tries them again")
    return 1 if failures else 0


def _done(cells: Sequence[Cell], folder: SweepFolder) -> list[RunRecord]:
    """The results; one that cannot be read has been told of as a failure."""
    records = []
    for cell in cells:
        with suppress(InputError):
            if record := folder.load(cell):
                records.append(record)
    return records


def _sweep(
    cells: Sequence[Cell], folder: SweepFolder, grid: Mapping[str, str], options: _Options
) -> list[Failure]:
    progress = Progress(cells, jobs=options.jobs or 1, tell=_silent if options.quiet else say)
    told = {**grid, **({"config": str(options.config)} if options.config else {})}
    try:
        with raised_stops(), folder.opened(cells, grid=told):
            failures = run_sweep(
                cells,
                folder=folder,
                executor=_executor(options),
                retries=options.retries,
                progress=progress,
            )
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        say(
            f"{'terminated' if terminated else 'interrupted'}: {progress.num_done} of "
            f"{len(cells)} cells are done; the same command goes on"
        )
        raise SystemExit(143 if terminated else 130) from None
    named = names(cells)
    for failure in failures if options.quiet else ():
        say(f"{named[failure.cell.id]} FAILED: {failure.error}")
    return failures


def _executor(options: _Options) -> Executor:
    if options.executor == "local":
        return LocalExecutor(jobs=options.jobs or 1)
    from mnistbench.launch.ray_executor import RayExecutor

    return RayExecutor(address=options.ray_address, jobs=options.jobs)


def _plan(cells: Sequence[Cell], folder: SweepFolder, options: _Options) -> str:
    rows = [{"cell": cell.id, "state": _state(cell, folder)} for cell in cells]
    if options.format in {"json", "csv"}:
        return data_text(rows, options.format)
    screen = Screen.of(sys.stdout, wide=options.wide).in_format(options.format)
    return screen.table(rows, names=["cell"])


def _state(cell: Cell, folder: SweepFolder) -> str:
    try:
        return "done" if folder.load(cell) else "to run"
    except InputError:
        return "unreadable"


def _conclusion(records: Sequence[RunRecord], options: _Options) -> str:
    screen = Screen.of(sys.stdout, wide=options.wide)
    if options.select is None:
        return render_runs(records, table_format=options.format, screen=screen)
    from mnistbench.output.selection_table import render_selection

    return render_selection(
        records, metric=options.select, table_format=options.format, screen=screen
    )


def _parse(argv: Sequence[str]) -> tuple[_Options, dict[str, str]]:
    """The door's own flags, and the text of each other one that was typed."""
    flags = parse(_flags(), _spelled_out(argv), prog="mnistbench.sweep", description=_DESCRIPTION)
    _check(flags.options)
    return flags.options, dict(flags.grid)


def _check(options: _Options) -> None:
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"jobs: should be at least 1 (got {options.jobs})")
    if options.retries < 0:
        raise InputError(f"retries: should be at least 0 (got {options.retries})")
    if options.ray_address is not None and options.executor != "ray":
        raise InputError("ray_address: has no effect without --executor ray")
    if options.select is None:
        return
    from mnistbench.output.selection_table import check_metric

    metric = METRICS[check_metric(options.select)]
    if metric.timed and options.executor == "local" and (options.jobs or 1) > 1:
        raise InputError(
            f"select: {options.select} depends on speed, and cells side by side spoil each "
            "other's; leave --jobs out"
        )


def _flags() -> Any:
    """The door's own flags beside a list of values for each field of `RunConfig`."""
    lists = {"processes": _values("Processes that run a cell, on this machine.", default="1")}
    for name, field in RunConfig.model_fields.items():
        if name not in {"output_dir", "require_target", "resume"}:
            default = field.get_default()
            shown = "none" if default in (None, ()) else str(default).lower()
            lists[name] = _values(field.description or "", default=shown)
    grid = TypedDict("Grid", lists, total=False)  # type: ignore[misc]
    here = tyro.conf.arg(name="")
    return make_dataclass(
        "SweepFlags", [("options", Annotated[_Options, here]), ("grid", Annotated[grid, here])]
    )


def _values(text: str, *, default: str) -> Any:
    hint = f"(default: {default})"
    return Annotated[str, tyro.conf.arg(help=text, help_behavior_hint=hint, metavar="VALUE,…")]


def _spelled_out(argv: Sequence[str]) -> list[str]:
    """`argv` with ``--x`` and ``--no-x`` of switches, as train has them, as ``--x true|false``."""
    switches = {
        name
        for name, field in RunConfig.model_fields.items()
        if field.annotation in (bool, bool | None)
    }
    spelled: list[str] = []
    for word, following in zip(argv, [*argv[1:], "--"], strict=True):
        name = word.removeprefix("--").replace("-", "_")
        bare = word.startswith("--") and following.startswith("--")
        if bare and name in switches:
            spelled += [word, "true"]
        elif bare and name.removeprefix("no_") in switches:
            spelled += [f"--{word.removeprefix('--no-')}", "false"]
        else:
            spelled.append(word)
    return spelled


def _silent(_line: str) -> None:
    """Tell nobody."""


if __name__ == "__main__":
    sys.exit(main())
