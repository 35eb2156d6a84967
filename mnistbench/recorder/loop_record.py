"""The record of a loop that is not ours: what it holds, where it goes, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from mnistbench.recorder.code_identity import versions_of
from mnistbench.recorder.environment import describe_machine
from mnistbench.recorder.loop_settings import LoopSettings
from mnistbench.recorder.processes import Tally
from mnistbench.recorder.run_log import Outcome, assemble_record, save_somewhere, throughput_of
from mnistbench.recorder.script_identity import FRAMEWORKS, Script
from mnistbench.recorder.step_counting import StepCounter
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.record import DATA_WAIT, EvalPoint, RunRecord, Throughput, WorkloadInfo
from mnistbench.schema.streams import say
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.schema.target import Target

if TYPE_CHECKING:
    import torch


def tally_of(steps: StepCounter, outcome: Outcome) -> Tally:
    """What this process counted; not to be called before the device was waited for."""
    log, first_step_s = steps.log, steps.first_step_s
    durations_s = [first_step_s or 0.0]
    with suppress(RuntimeError):  # the device is not done with them, and was not waited for
        durations_s = log.timer.durations_s() or durations_s
    of_steps = throughput_of(durations_s, num_samples=0, train_s=1.0)
    return Tally(
        num_steps=log.step,
        num_samples=steps.num_samples,
        first_samples=steps.first_samples,
        step_size=steps.step_size,
        train_s=log.ledger.train_s(),
        first_step_s=first_step_s,
        step_s_p50=of_steps.step_s_p50,
        step_s_p95=of_steps.step_s_p95,
        stood_still_s=log.ledger.stood_still_s,
        num_pauses=steps.num_pauses,
        status=outcome.status,
        error=outcome.error,
    )


def together(tallies: Sequence[Tally | None]) -> Tally:
    """All processes as one, whose status is ``failed`` where one is missing or does not fit.

    The slowest clock counts. Those that paused less often than others were waiting for these, and
    their clocks are left out.
    """
    known = [tally for tally in tallies if tally is not None]
    main = known[0]
    if len(tallies) == 1:
        return main
    most_pauses = max(tally.num_pauses for tally in known)
    slowest = max((t for t in known if t.num_pauses == most_pauses), key=lambda t: t.train_s)
    error = main.error or _disagreement(tallies, main)
    return replace(
        slowest,
        num_processes=len(tallies),
        num_steps=main.num_steps,
        num_samples=_sum([tally.num_samples if tally else None for tally in tallies]),
        first_samples=sum(tally.first_samples for tally in known),
        step_size=_sum([tally.step_size if tally else None for tally in tallies]),
        stood_still_s=max(tally.stood_still_s for tally in known),
        status="failed" if error and main.status == "completed" else main.status,
        error=error,
    )


def _disagreement(tallies: Sequence[Tally | None], main: Tally) -> str | None:
    for index, tally in enumerate(tallies):
        if tally is None:
            return (
                f"process {index} did not tell what it counted; call mnistbench.record in every "
                "process, and end each"
            )
        if tally.status != "completed":
            return f"process {index}: {tally.error or tally.status}"
        if tally.num_steps != main.num_steps:
            return (
                f"process {index} made {tally.num_steps} steps, and the main one {main.num_steps}"
            )
    return None


def _sum(numbers: Sequence[int | None]) -> int | None:
    return None if None in numbers else sum(filter(None, numbers))


def loop_record(
    settings: LoopSettings, script: Script, steps: StepCounter, outcome: Outcome, counted: Tally
) -> RunRecord:
    """The record; `counted` is of all processes. The clock stops here."""
    steps.log.eval_points = points = _of_all(steps, counted)
    if counted.status == "completed" and (lost := [p.step for p in points if p.diverged]):
        error = f"the loss was not finite at step {lost[0]}"
        counted = replace(counted, status="diverged", error=error)
    target = _where_evaluated(settings.target, points)
    return assemble_record(
        steps.log,
        outcome,
        target=target,
        split=target.split if target else next(_splits(points), None),
        run_id=settings.run_id,
        status=counted.status,
        error=counted.error or outcome.error,
        created_at=settings.created_at.isoformat(timespec="milliseconds"),
        seed=settings.seed,
        workload=WorkloadInfo(name=settings.name, framework=script.framework()),
        config=settings.config,
        ignored=settings.ignored,
        tags=settings.tags,
        extra=settings.extra,
        environment=_environment(script, steps.device, counted),
        code=script.code,
        num_epochs=steps.num_epochs or 0.0,
        stood_still_s=counted.stood_still_s,
        throughput=_throughput(counted),
    )


def _of_all(steps: StepCounter, counted: Tally) -> list[EvalPoint]:
    """Evaluations, with the samples of all processes; each has as many where that is not known."""
    mine, every = steps.num_samples, counted.num_samples
    share = every / mine if mine and every else counted.num_processes
    points = steps.log.eval_points
    return [replace(point, samples_seen=round(point.samples_seen * share)) for point in points]


def _where_evaluated(target: Target | None, points: Sequence[EvalPoint]) -> Target | None:
    """`target` on the split where its metric was evaluated; ``val``, if it was there."""
    if target is None:
        return None
    told = [point for point in points if point.value_of(target.metric) is not None]
    if not told or any(point.split == target.split for point in told):
        return target
    return target.model_copy(update={"split": next(_splits(told), told[0].split)})


def _splits(points: Sequence[EvalPoint]) -> Iterator[str]:
    """Splits that were evaluated, in their order, but ``train``."""
    return (point.split for point in points if point.split != "train")


def _throughput(counted: Tally) -> Throughput:
    """From the second step on, where there is one."""
    first_s = counted.first_step_s
    if first_s is None:
        return Throughput()
    is_alone = counted.num_samples == counted.first_samples or counted.train_s <= first_s
    train_s = first_s if is_alone else counted.train_s - first_s
    samples = counted.num_samples
    if samples is not None and not is_alone:
        samples -= counted.first_samples
    return Throughput(
        from_step=1 if is_alone else 2,
        first_step_s=first_s,
        samples_per_s=samples / train_s if samples and train_s else None,
        step_s_p50=counted.step_s_p50,
        step_s_p95=counted.step_s_p95,
    )


def _environment(script: Script, device: torch.device | None, counted: Tally) -> dict[str, Any]:
    return {
        "versions": versions_of(FRAMEWORKS),
        **describe_machine(device),
        **script.revision,
        "num_processes": counted.num_processes,
        "mixed_precision": None,
        "global_batch_size": counted.step_size or None,
    }


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
