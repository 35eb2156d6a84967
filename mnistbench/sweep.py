"""The command that sweeps: a resumable grid search over the values given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic.fields import FieldInfo

from mnistbench.cli import at_home, exit_on_input_error, say, show
from mnistbench.flags import parse
from mnistbench.grid_search import (
    GridFlags,
    check_flags,
    grid_of,
    list_fields,
    plan_text,
    results,
    run_cells,
)
from mnistbench.launch.cells import Cell
from mnistbench.launch.grid import texts_of, values_of
from mnistbench.launch.script_cells import script_cells
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.output.screen import Screen
from mnistbench.output.tables import render_runs
from mnistbench.recorder.config_values import plain_values, without_secrets
from mnistbench.schema.disk_space import say_written
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

_OF_SCRIPTS = {
    "command": FieldInfo(
        annotation=str | None,
        default=None,
        description="""Command of a script of your own, with {lr} where a value of lr stands.""",
    ),
    "values": FieldInfo(
        annotation=tuple[dict[str, Any], ...],
        default=(),
        description="""Values of each name in --command, and of seed, which MNISTBENCH_SEED tells
        the script.""",
    ),
}


class _Options(GridFlags):
    """Run a resumable grid search: train every combination of the values given, once each.

    The flags of `mnistbench train` take lists here, with spaces or commas. 0..9 is a range of
    whole numbers, none stands for the default, shift+rotate is one value of --augment, and
    --loss-args q=0.5,0.7 are two of an argument, for losses of your own. A script of your own that
    records its run (mnistbench.record) is swept by its command:

      mnistbench sweep --command "python train.py {lr}" --values lr=0.1,1 seed=0..4

    The same command continues a sweep that was stopped; other values add to it.
    """

    prog: ClassVar = "mnistbench sweep"
    groups: ClassVar = {
        "Sweep": "output_dir",
        "Result": "select",
        "Your script": "command",
        "Processes": "processes",
    }
    common: ClassVar = GridFlags.common - {"ray_address", "wide"} | _OF_SCRIPTS.keys()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if a cell failed."""
    argv = sys.argv[1:] if argv is None else argv
    with exit_on_input_error(argv):
        options, typed = parse(_Options, argv, list_fields() | _OF_SCRIPTS)
        check_flags(options, select=options.select, free="command" in typed)
        cells, grid = _planned(typed, options)
        folder = SweepFolder(at_home("output_dir", options.output_dir))
        if options.dry_run:
            show(plan_text(cells, folder, options))
            return 0
        failures = run_cells(cells, folder, grid, options)
        records = results(cells, folder)
        if records:
            show(_conclusion(records, options))
        if not options.quiet:
            say_written("sweep", options.output_dir.expanduser())
    if failures:
        say(f"{len(failures)} of {len(cells)} cells failed; the same command tries them again")
    return 1 if failures else 0


def _planned(typed: dict[str, Any], options: GridFlags) -> tuple[Sequence[Cell], dict[str, str]]:
    """The cells, and what ``sweep.json`` says of the values that span them."""
    command, lists = typed.pop("command", None), typed.pop("values", {})
    if command is None:
        if lists:
            raise InputError("values: are those of a --command; give it, such as python train.py")
        grid = texts_of(typed)
        return grid_of({name: values_of(name, text) for name, text in grid.items()}, options), grid
    if ours := [*typed, *(["config"] if options.config else [])]:
        raise InputError(
            f"{ours[0]}: has no effect with --command, which starts a script of your own; write it "
            "into the command"
        )
    shown = plain_values(lists, field="values")[0]
    return script_cells(command, lists), {"command": without_secrets(command), **shown}


def _conclusion(records: Sequence[RunRecord], options: GridFlags) -> str:
    screen = Screen.of(sys.stdout, wide=options.wide)
    if options.select is None:
        return render_runs(records, table_format=options.format, screen=screen)
    from mnistbench.output.selection_table import render_selection

    return render_selection(
        records, metric=options.select, table_format=options.format, screen=screen
    )


if __name__ == "__main__":
    sys.exit(main())
