"""What the commands `sweep` and `tune` share: flags that take lists, and a grid that is run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_origin

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from mnistbench.analysis.metrics import METRICS
from mnistbench.cli import read_config, say
from mnistbench.flags import CommandFlags
from mnistbench.help_page import kinds_of
from mnistbench.launch.cells import Cell, Executor
from mnistbench.launch.children import raised_stops
from mnistbench.launch.grid import cells_of
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.step_windows import Here, best_jobs, measure_alone
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.launch.sweep_progress import Progress, names
from mnistbench.launch.sweeping import Failure, run_sweep
from mnistbench.output.screen import Screen
from mnistbench.output.tables import TableFormat, data_text
from mnistbench.schema import streams
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord

AUTO = 0
"""What ``--jobs auto`` is: as many as a trial finds the fastest."""

_NOT_LISTED = {"output_dir", "require_target", "resume"}


def _jobs(given: Any, read: ValidatorFunctionWrapHandler) -> int | None:
    try:
        return AUTO if given == "auto" else read(given)
    except ValidationError:
        raise PydanticCustomError("jobs", "should be a number from 1 on, or auto") from None


class GridFlags(CommandFlags):
    """Run a grid."""

    common: ClassVar = frozenset(
        {
            *("output_dir", "config", "executor", "ray_address", "jobs", "retries", "dry_run"),
            *("quiet", "select", "format", "wide", "processes", "recipe", "lr", "seed"),
        }
    )

    output_dir: Path = Path("runs/sweep")
    """Folder of the sweep. Runs that it already holds are not repeated."""
    config: Path | None = None
    """YAML file of values; flags win."""
    executor: Literal["local", "ray"] = "local"
    """What starts the runs: this machine, or Ray on one or more machines."""
    ray_address: str | None = None
    """Ray cluster to use, for example auto. Default: a new local one."""
    jobs: Annotated[int | None, WrapValidator(_jobs)] = Field(None, ge=1)
    """Runs at the same time [runs]; auto is the fastest number, if 1.25 times as fast as 1. They
    share cores: times are marked. Default: 1; with --executor ray as many as the cluster runs."""
    step_times: bool = True
    """After runs at the same time, measure seconds per step alone, if a target is set: the time to
    it is steps times those."""
    retries: int = Field(1, ge=0)
    """Further attempts at a run that failed [attempts]."""
    fresh: bool = False
    """Have each run import PyTorch itself. Default: one process does so for all."""
    dry_run: bool = False
    """Print the runs and which are done, and exit."""
    quiet: bool = False
    """Write no progress to stderr, only failures."""
    select: str | None = None
    """Metric that chooses the best configuration, such as val_accuracy; the result says how
    certain the choice is."""
    format: TableFormat = "table"
    """Format of the result on stdout."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""


def list_fields() -> dict[str, FieldInfo]:
    """The fields of `RunConfig`, and ``processes``, of which each takes a list of values here."""
    processes = FieldInfo(
        annotation=int, default=1, description="Processes of a run, on this machine [processes]."
    )
    fields = {"processes": processes} | RunConfig.model_fields
    return {name: _list_of(field) for name, field in fields.items() if name not in _NOT_LISTED}


def _list_of(field: FieldInfo) -> FieldInfo:
    kind, listed = kinds_of(field)[0], copy(field)
    listed.annotation = kind if get_origin(kind) is tuple else tuple[kind, ...]  # type: ignore[valid-type]
    listed.description = (field.description or "").replace(" (--list-recipes)", "")  # train's
    return listed


def check_flags(options: GridFlags, *, select: str | None, free: bool = False) -> None:
    """Check what does not depend on the grid; `select` is the metric that chooses, if any.

    Where it is `free`, scripts may evaluate anything.

    Raises:
        InputError: as `check_metric`, or two flags contradict each other.
    """
    if options.ray_address is not None and options.executor != "ray":
        raise InputError("ray_address: has no effect without --executor ray")
    if options.jobs == AUTO and (free or options.executor == "ray"):
        where = "with a script" if free else "for a cluster"
        raise InputError(f"jobs: auto tries our own runs on this machine; give a number {where}")
    if select is None:
        return
    from mnistbench.analysis.best_config import check_metric  # which costs numpy

    metric = METRICS.get(check_metric(select, free=free))
    product = metric and metric.to_target and options.step_times and not free
    alone = options.executor != "local" or options.jobs in {None, 1}
    if metric and metric.timed and not product and not alone:
        raise InputError(
            f"select: {select} depends on speed, and cells side by side spoil each "
            "other's; leave --jobs out"
        )


def grid_of(axes: Mapping[str, Sequence[Any]], options: GridFlags) -> list[RunCell]:
    """The cells that `axes` span over the recipe and the file.

    Raises:
        InputError: as `cells_of`.
    """
    return cells_of(axes, read=partial(read_config, config_file=options.config))


def run_cells(
    cells: Sequence[Cell], folder: SweepFolder, grid: Mapping[str, str], options: GridFlags
) -> list[Failure]:
    """Run those of `cells` that `folder` does not hold yet, and say how it goes.

    Raises:
        InputError: as `run_sweep` and `SweepFolder.opened`.
        SystemExit: a signal came; a line has told how to go on.
    """
    tell, passing = ((lambda _: None),) * 2 if options.quiet else (say, streams.progress)
    progress = Progress(cells, jobs=1, tell=tell)
    here = Here(folder, partial(_executor, options), tell, passing)
    told = {**grid, **({"config": str(options.config)} if options.config else {})}
    try:
        with raised_stops(), folder.opened(cells, grid=told):
            jobs = best_jobs(cells, here) if options.jobs == AUTO else options.jobs
            progress.jobs = jobs or 1
            failures = run_sweep(
                cells,
                folder=folder,
                executor=here.executor(jobs),
                retries=options.retries,
                progress=progress,
            )
            if options.step_times and options.executor == "local":
                measure_alone(cells, here)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        say(
            f"{'terminated' if terminated else 'interrupted'}: {progress.num_done} of "
            f"{len(cells)} cells are done; the same command goes on"
        )
        raise SystemExit(143 if terminated else 130) from None
    named = names(cells)
    for cell, error in failures if options.quiet else ():
        say(f"{named[cell.id]} FAILED: {error}")
    return failures


def _executor(options: GridFlags, jobs: int | None) -> Executor:
    if options.executor == "local":
        return LocalExecutor(jobs=jobs or 1, fresh=options.fresh)
    from mnistbench.launch.ray_executor import RayExecutor

    return RayExecutor(address=options.ray_address, jobs=jobs, fresh=options.fresh)


def results(cells: Sequence[Cell], folder: SweepFolder) -> list[RunRecord]:
    """The results there are; one that cannot be read has been told of as a failure."""
    records = []
    for cell in cells:
        with suppress(InputError):
            if record := folder.load(cell):
                records.append(record)
    return records


def plan_text(cells: Sequence[Cell], folder: SweepFolder, options: GridFlags) -> str:
    """What would be run, and what is done."""
    of_own = any(cell.code for cell in cells)
    rows = [
        {"cell": cell.id}
        | ({"code": cell.code or "–"} if of_own else {})
        | {"state": _state(cell, folder)}
        for cell in cells
    ]
    if options.format in {"json", "csv"}:
        return data_text(rows, options.format)
    screen = Screen.of(sys.stdout, wide=options.wide).in_format(options.format)
    return screen.table(rows, names=["cell"])


def _state(cell: Cell, folder: SweepFolder) -> str:
    try:
        return "done" if folder.load(cell) else "to run"
    except InputError:
        return "unreadable"
