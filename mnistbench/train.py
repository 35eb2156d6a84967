"""The command that trains: ``accelerate launch -m mnistbench.train``, or ``python -m`` for one."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import ClassVar, Literal

from mnistbench.cli import (
    config_yaml,
    exit_on_input_error,
    importing,
    read_config,
    say,
    show,
)
from mnistbench.flags import CommandFlags, parse
from mnistbench.recorder.clock import Ledger, process_age_s
from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.compile_cache import keep_compiled
from mnistbench.recorder.launcher import this_launch
from mnistbench.recorder.limits import check_torch_fits
from mnistbench.recorder.loop_settings import as_told
from mnistbench.recorder.parent_death_signal import PARENT, die_with_parent
from mnistbench.schema.component import own_fields
from mnistbench.schema.config import RunConfig
from mnistbench.schema.disk_space import disk_use, size_text
from mnistbench.schema.errors import InputError, RunError, Terminated
from mnistbench.schema.escaping import markdown, printable
from mnistbench.schema.record import RunRecord
from mnistbench.schema.signals import ENDS, raise_stop
from mnistbench.schema.streams import LineHandler, progress
from mnistbench.schema.user_calls import raised_by_user
from mnistbench.schema.user_code import require_code
from mnistbench.workload.recipes import RECIPES


class _Flags(CommandFlags):
    """Train a network through Accelerate and measure it."""

    groups: ClassVar = {"Configuration": "config", "Output": "format"}
    common: ClassVar = frozenset(
        {
            *("recipe", "config", "dataset", "model", "loss", "optimizer", "lr", "num_epochs"),
            *("global_batch_size", "seed", "num_seeds", "mixed_precision", "target_accuracy"),
            *("output_dir", "quiet"),
        }
    )

    config: Path | None = None
    """YAML file of values; flags win."""
    print_config: bool = False
    """Print the values of the run as YAML for --config, and exit."""
    list_recipes: bool = False
    """Print a table of the recipes and exit."""
    format: Literal["table", "json", "markdown"] = "table"
    """Format of the result on stdout."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""
    quiet: bool = False
    """Write no progress to stderr."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` and return its exit status (0, 1 or 3; others are raised)."""
    ledger = Ledger(age_s=process_age_s())
    argv = sys.argv[1:] if argv is None else argv
    with exit_on_input_error(argv, quiet=_another_process_says_it):
        flags, given = parse(_Flags, argv, RunConfig.model_fields)
        if flags.list_recipes:
            show(_recipe_table(wide=flags.wide))
            return 0
        config = as_told(read_config(given, flags.config))
        require_code(config)
        if flags.print_config:
            show(config_yaml(config))
            return 0
        records = _train(config, ledger, quiet=flags.quiet)
    if _is_main():
        show(_render(records, flags.format, config, wide=flags.wide))
        if not flags.quiet:
            _say_written(records, config)
    return _status(records, config)


def keep_data(argv: Sequence[str]) -> None:
    """Load the data of a run with `argv` for all forks of this process.

    What is wrong with them is said by the run itself.
    """
    from mnistbench.workload.datasets import keep_dataset

    with suppress(Exception, SystemExit):
        flags, given = parse(_Flags, argv, RunConfig.model_fields)
        keep_dataset(as_told(read_config(given, flags.config)))


def _train(config: RunConfig, ledger: Ledger, *, quiet: bool) -> list[RunRecord]:
    if PARENT in os.environ or this_launch().started_by != "python":
        die_with_parent()  # a launcher that is killed, and often one that is told to end, just goes
    for number in ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, raise_stop)
    logging.basicConfig(handlers=[LineHandler()], level=logging.WARNING, force=True)
    logging.getLogger("mnistbench").setLevel(logging.ERROR if quiet else logging.INFO)
    # torch's compiler warns on a CPU that it found no CUDA
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    if not quiet and _is_main():
        progress("importing PyTorch")
    running_code()  # before it is imported
    remark = keep_compiled()  # before torch is imported, which settles it
    if remark and (config.compile or config.batch_last is not False) and _is_main():
        logging.getLogger("mnistbench").warning(remark)
    # where processes wait in vain, torch warns with a stack trace at each try: one line is enough
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        check_torch_fits()
        with ledger.phase("import"), _uncollected(), importing():
            from mnistbench.engine.run_seeds import train
        with redirect_stdout(sys.stderr):  # what components of the user's own print is no result
            return train(config, ledger=ledger, show_progress=not quiet)
    except RunError as error:
        _ignore(*ENDS)  # a launcher's: the end is near anyhow
        if str(error):  # else the main process says it
            say(f"error: {error}")
        raise SystemExit(1) from None
    except (Exception, SystemExit) as error:
        said = raised_by_user(error) if own_fields(config) else None
        if isinstance(error, InputError) or not said:
            raise
        say(f"error: the run failed: {said}")
        raise SystemExit(1) from None
    except KeyboardInterrupt as stop:
        _ignore(signal.SIGINT, *ENDS)  # as above
        terminated = isinstance(stop, Terminated)
        how = "terminated" if terminated else "interrupted"
        goes_on = "; --resume latest goes on" if ", saved in" in str(stop) else ""
        if _is_main() or not str(stop):  # who stopped together need not say it each
            say(" ".join(filter(None, [how, str(stop)])) + goes_on)
        raise SystemExit(143 if terminated else 130) from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave what is imported inside out of all garbage collections, in a process's first run.

    They would go through half a million objects of torch again and again: while these are made, at
    the end of each seed and of the process, and in any step that a full collection falls into.
    """
    is_first = "mnistbench.engine.run_seeds" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    if is_first:  # later, garbage of runs before would be kept as well
        gc.freeze()
        atexit.register(gc.freeze)  # at its end a process has no use for its compiler's either


def _is_main() -> bool:
    return this_launch().rank == 0


def _ignore(*numbers: signal.Signals) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _another_process_says_it() -> bool:
    """Before they have met, a launcher's processes find the same wrong: one a machine says so."""
    distributed = sys.modules.get("torch.distributed")
    met = distributed is not None and distributed.is_initialized()
    launch = this_launch()  # without a launcher, others may have been told other things
    return launch.started_by != "python" and not met and launch.local_rank != 0


def _render(
    records: Sequence[RunRecord], output_format: str, config: RunConfig, *, wide: bool
) -> str:
    if output_format == "json":
        from mnistbench.schema.store import record_json

        texts = [record_json(record).rstrip("\n") for record in records]
        return texts[0] if len(texts) == 1 else "[" + ",\n".join(texts) + "]"
    from mnistbench.output.profile_table import render_profile
    from mnistbench.output.screen import Screen
    from mnistbench.output.tables import TableFormat, render_runs

    screen = Screen.of(sys.stdout, wide=wide)
    kind: TableFormat = "markdown" if output_format == "markdown" else "table"
    table = render_runs(records, table_format=kind, screen=screen)
    folder = _folder_of_runs(config)
    safe = markdown if kind == "markdown" else printable
    saved = [folder / r.run_id / "record.json" for r in records if not _unsaved(r)]
    paths = [safe(f"record: {path}") for path in saved]
    below = [*filter(None, (render_profile(r, kind, screen=screen) for r in records)), *paths]
    return "\n".join([table, *(["", *below] if output_format == "markdown" else below)])


def _say_written(records: Sequence[RunRecord], config: RunConfig) -> None:
    """Tell what each run's folder holds beside its record: traces, checkpoints, trackers' logs."""
    for folder in (_folder_of_runs(config) / record.run_id for record in records):
        others = sorted(path for path in folder.glob("[!.]*") if path.name != "record.json")
        if others:
            sizes = ", ".join(f"{one.name} ({size_text(disk_use(one))})" for one in others)
            say(f"{sizes} written to {folder}")


def _folder_of_runs(config: RunConfig) -> Path:
    """Where the runs of `config` have their folders: a run that goes on stays where it is."""
    if config.resume in {None, "latest"}:
        return Path(config.output_dir).expanduser()
    path = Path(str(config.resume)).expanduser()
    return (path.parent.parent if path.parent.name == "checkpoints" else path).parent


def _unsaved(record: RunRecord) -> bool:
    return record.status == "completed" and str(record.error).startswith("not saved")


def _recipe_table(*, wide: bool) -> str:
    from mnistbench.output.screen import Screen

    rows = [
        {
            "recipe": name,
            "model": recipe.settings["model"],
            "loss": recipe.settings.get("loss", "cross-entropy"),
            "optimizer": f"{recipe.settings['optimizer']} {recipe.settings['lr']:g}",
            "batch": str(recipe.settings["global_batch_size"]),
            "epochs": str(recipe.settings["num_epochs"]),
            "claims": recipe.claim or "–",
            "source": recipe.source,
        }
        for name, recipe in RECIPES.items()
    ]
    return Screen.of(sys.stdout, wide=wide).table(rows)


def _status(records: Sequence[RunRecord], config: RunConfig) -> int:
    if any(record.status != "completed" or record.error for record in records):
        return 1
    missed = any(record.result.time_to_accuracy_s is None for record in records)
    return 3 if config.require_target and missed else 0


if __name__ == "__main__":
    sys.exit(main())
