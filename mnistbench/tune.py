"""The command that tunes: an equally long search for each thing that is to be compared."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic.fields import FieldInfo

from mnistbench.analysis.number_text import NOT_MEASURED, goal, setting_text
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
from mnistbench.launch.grid import texts_of, values_of
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.launch.tuning import Contender, compared, contenders, settings, wider
from mnistbench.output.screen import Screen
from mnistbench.schema.component import flat_arguments
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import is_read
from mnistbench.schema.disk_space import say_written
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from mnistbench.analysis.best_config import Selection
    from mnistbench.output.selection_table import Tuned

_DEFAULTS = {
    "lr": "seven rates around that of the recipe or file",
    "seed": "0..2, or 0..4 with a target",
}


class _Options(GridFlags):
    """Find the best learning rate of each loss, optimizer, model or schedule, to compare them.

    --loss cross-entropy,my_nets:gce tries both in as many configurations, with the same seeds and
    steps, chooses on val, and writes cross-entropy.yaml and gce.yaml. Flags of `mnistbench train`
    take lists, as in `mnistbench sweep`, and are searched as well. The same command continues a
    search that was stopped.
    """

    prog: ClassVar = "mnistbench tune"
    groups: ClassVar = {"Search": "output_dir", "Result": "select"}
    common: ClassVar = frozenset(
        {
            *("output_dir", "config", "jobs", "dry_run", "select", "by", "target_accuracy"),
            *("model", "loss", "optimizer", "lr", "seed"),
        }
    )

    output_dir: Path = Path("tuned")
    """Folder of the search and its results. Runs that it already holds are not repeated."""
    select: str | None = None
    """Metric that chooses the best configuration. Default: steps_to_accuracy with a
    --target-accuracy, else val_accuracy."""
    by: Literal["model", "loss", "optimizer", "lr_schedule"] | None = None
    """Field whose values are to be compared. Default: the one with several values."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if a run failed."""
    argv = sys.argv[1:] if argv is None else argv
    with exit_on_input_error(argv):
        if any(word.partition("=")[0] == "--command" for word in argv):
            raise InputError(
                "command: tune searches for this package's own loop; a script's settings are found "
                "by mnistbench sweep --command … --select METRIC"
            )
        options, typed = parse(_Options, argv, _fields())
        check_flags(options, select=options.select)
        grid = texts_of(typed)
        axes = {name: values_of(name, text) for name, text in grid.items()}
        by = compared(axes, options.by)
        found = contenders(axes, by=by, grid=partial(grid_of, options=options))
        cells = sorted((c for one in found for c in one.cells), key=lambda cell: cell.config.seed)
        folder = SweepFolder(at_home("output_dir", options.output_dir))
        if options.dry_run:
            show(plan_text(cells, folder, options))
            return 0
        first = [one.cells[0] for one in found if not results(one.cells[:1], folder)]
        for part in filter(None, (first, cells)):  # what cannot run is soon known
            last = options.model_copy(update={"step_times": options.step_times and part is cells})
            if failures := run_cells(part, folder, grid, last):
                say(
                    f"{len(failures)} of {len(part)} runs failed, and nothing is chosen from a "
                    "part; the same command tries them again"
                )
                return 1
        show(_conclude(found, by, options, argv))
        if not options.quiet:
            say_written("search", options.output_dir.expanduser())
    return 0


def _fields() -> dict[str, FieldInfo]:
    """The fields that take lists; a comparison in turn is of one process, and so is this."""
    fields = {name: field for name, field in list_fields().items() if name != "processes"}
    for name, default in _DEFAULTS.items():
        fields[name].description = f"{fields[name].description} Default: {default}."
    return fields


def _conclude(found: Sequence[Contender], by: str, options: _Options, argv: Sequence[str]) -> str:
    """Write the best configuration of each, and say which it is and how to go on."""
    from mnistbench.output.selection_table import render_tuned

    searched = _searched(found, by)
    tuned = [_tuned(one, by, options, searched) for one in found]
    asked = next(one for one in found if not one.denser).rates
    rates = asked
    for its in tuned:
        rates = wider(rates, float(its.values[0]["lr"])) if its.at_end else rates
    command = _compare(found, tuned) if rates == asked else _search_on(argv, rates)
    return render_tuned(
        tuned,
        by=by,
        command=shlex.join(["mnistbench", *command]),
        table_format=options.format,
        screen=Screen.of(sys.stdout, wide=options.wide),
    )


def _tuned(one: Contender, by: str, options: _Options, searched: Sequence[str]) -> Tuned:
    """The choice for `one`, written to its file."""
    from mnistbench.output.selection_table import Tuned

    folder = options.output_dir.expanduser()
    records = results(one.cells, SweepFolder(folder))
    target = one.cells[0].config.target_accuracy
    try:
        chosen, notes = _choose(records, options.select, target)
    except InputError as error:
        raise InputError(f"{one.name}: {error}") from None
    configs = {r.run_id: c.config for c, r in zip(one.cells, records, strict=True)}
    best = configs[chosen.winner.runs[0].run_id]
    what = f"# {by} {one.name}: the best of {one.num_tries} configurations by {chosen.metric}"
    file = options.output_dir / f"{one.name}.yaml"
    text, written = f"{what}\n{settings(best)}", folder / file.name
    if written.is_file() and written.read_text(errors="replace") != text and not options.quiet:
        say(f"{file} held another choice, which is replaced; its runs stay")
    write_whole(written, text)
    if one.denser:
        notes += ["its learning rates lie closer, for as many configurations as the others have"]
    at_end = wider(one.rates, best.lr) != one.rates
    if at_end:
        notes += [f"the best learning rate, {best.lr:g}, is the last at its end: search on there"]
    return Tuned(
        name=one.name,
        chosen=chosen,
        values=[_values(configs[c.runs[0].run_id], searched) for c in chosen.candidates],
        file=str(file),
        notes=notes,
        at_end=at_end,
    )


def _choose(
    records: Sequence[RunRecord], metric: str | None, target: float | None
) -> tuple[Selection, list[str]]:
    """The choice by `metric`, or the default one, and what has to be said of it."""
    from mnistbench.analysis.best_config import select

    if metric is None and target is not None:
        with suppress(InputError):
            return _middle(select(records, "steps_to_accuracy")), []
        few = f"no configuration reached {goal(target)} in half of its runs; val_accuracy chose"
        return _middle(select(records, "val_accuracy")), [few]
    return _middle(select(records, metric or "val_accuracy")), []


def _middle(chosen: Selection) -> Selection:
    """Of equally good learning rates the middle one first: worse ones are farthest from it."""
    tied = sorted((chosen.winner, *chosen.as_good), key=lambda c: c.runs[0].config["lr"])
    first = tied[len(tied) // 2]
    others = (c for c in chosen.candidates if c is not first)
    return replace(chosen, candidates=(first, *others))


def _searched(found: Sequence[Contender], by: str) -> list[str]:
    """Fields that have several values among the cells of a contender."""
    names = ["lr"]
    for one in found:
        cells = [flat_arguments(cell.config.model_dump(mode="json")) for cell in one.cells]
        names += [name for name in cells[0] if any(c.get(name) != cells[0][name] for c in cells)]
    return [name for name in dict.fromkeys(names) if name not in {by, "seed"}]


def _values(config: RunConfig, searched: Sequence[str]) -> dict[str, str]:
    """What `config` has for the fields that are searched, as text; a dash for what is not read."""
    values = flat_arguments(config.model_dump(mode="json"))
    return {
        name: setting_text(values.get(name)) if is_read(name, values) else NOT_MEASURED
        for name in searched
    }


def _compare(found: Sequence[Contender], tuned: Sequence[Tuned]) -> list[str]:
    """The command that compares the best ones, by seeds that had no part in the choice."""
    config, seed = found[0].cells[0].config, str(found[0].seeds[-1] + 1)
    files = [its.file for its in tuned]
    if len(files) == 1:
        return ["train", "--config", *files, "--seed", seed, "--num-seeds", "5"]
    metrics = [] if config.target_accuracy is None else ["time_to_accuracy_s"]
    if not config.stop_at_target:  # else all end at one accuracy
        metrics.append("test_accuracy")
    return ["compare", "--interleave", *files, "--seed", seed, "--metrics", *metrics]


def _search_on(argv: Sequence[str], rates: Sequence[float]) -> list[str]:
    """The same command with more learning rates."""
    kept, skips = [], False
    for word in argv:
        skips = word.partition("=")[0] == "--lr" or (skips and not word.startswith("--"))
        kept += [] if skips else [word]
    return ["tune", *kept, "--lr", ",".join(f"{rate:g}" for rate in rates)]


if __name__ == "__main__":
    sys.exit(main())
