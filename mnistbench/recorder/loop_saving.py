"""Where the record of a loop that is not ours goes, and what is said of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from mnistbench.recorder.assembling import save_somewhere
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.record import DATA_WAIT, RunRecord
from mnistbench.schema.streams import say
from mnistbench.schema.suggestions import did_you_mean

__all__ = ["saved", "tell", "writable_folder"]


def tell(line: str) -> None:
    """`say` it, where anybody can hear it: a stderr that is closed or full ends no training."""
    with suppress(OSError, ValueError):
        say(line)


def writable_folder(run_folder: Path) -> Path:
    """`run_folder`, if it can be written, else one among temporary files, which is said."""
    try:
        check_writable(run_folder.parent)
    except InputError as error:
        with suppress(OSError):
            elsewhere = Path(mkdtemp(prefix="mnistbench-")) / run_folder.name
            tell(f"warning: {error}; the record will be in {elsewhere}")
            return elsewhere
        tell(f"warning: {error}; the run may not be on record")
    return run_folder


def saved(record: RunRecord, folder: Path, *, quiet: bool) -> RunRecord:
    """Write `record` to `folder`, or elsewhere; where neither goes, that is said, and no more."""
    record, folder = save_somewhere(record, folder, tell=lambda said: tell(f"warning: {said}"))
    if note := _note(record):
        tell(note)
    if not quiet:
        tell(_summary(record, folder))
    return record


def _note(record: RunRecord) -> str | None:
    """A line where a run ended that made no step, or never evaluated its target."""
    target = record.target
    if record.status not in {"completed", "diverged"}:
        return None
    if not record.num_steps:
        return (
            "steps: none was recorded; iterate over run.steps(loader), use run.step(), or give a "
            "trainer run.trainer_callback() or run.lightning_callback()"
        )
    if target is None:
        return None
    names = {
        name
        for point in record.eval_points
        for name in ("accuracy", "loss", *point.metrics)
        if point.value_of(name) is not None
    }
    if target.metric in names:
        return None
    near = did_you_mean(target.metric, names)
    return f"target: {target.metric} was never evaluated by run.evaluated{near}"


def _summary(record: RunRecord, folder: Path) -> str:
    """How a run went, in one line."""
    throughput, target = record.throughput, record.target
    told = [f"{record.num_steps} steps"]
    if throughput.samples_per_s is not None:
        speed = f"{throughput.samples_per_s:,.0f} samples/s"
        told.append(f"{speed} from step {throughput.from_step} on")
    if record.train_s:
        share = record.phases_s.get(DATA_WAIT, 0.0) / record.train_s
        told.append(f"waits for data: {100 * share:.0f} % of training")
    if target is not None:
        reached = "not reached" if target.time_s is None else f"after {target.time_s:.1f} s"
        told.append(f"{target.metric} {target.value:g} {reached}")
    name = record.workload.name if record.workload else record.run_id
    return f"{name}: {record.status}, {', '.join(told)}; {folder}"
