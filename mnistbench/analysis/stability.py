"""What makes a run's times mean less: a machine that moved, others on it, or being watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mnistbench.analysis.machine_drift import DRIFT_BOUND, drift
from mnistbench.schema.errors import InputError
from mnistbench.schema.provenance import OWN_CODE
from mnistbench.schema.record import Fact, RunRecord

_CROWDED = 0.1
"""Share of a run's cores from which on it is said that others took it."""

_STILL, _LEAST_STILL_S = 0.01, 0.2
"""Standing still that counts, as a share and in all [s]: as far as a ledger may be wrong."""

_TICK_S = 0.02
"""The kernel tells when a process started only to its scheduler's tick (10 ms)."""

_UNEVEN = 2.0
"""How many times what its median step comes to a train clock may say: 1.2 on an idle machine."""


def is_unstable(record: RunRecord) -> bool:
    """Whether the machine's speed moved by more than `DRIFT_BOUND` during the run.

    A run without a canary is not called unstable: nothing is known.
    """
    return record.canary is not None and drift(record.canary) > DRIFT_BOUND


def ran_beside_others(record: RunRecord) -> bool:
    """Whether other runs shared the cores on purpose, as cells of a parallel sweep do.

    A run that does not say so is not called that.
    """
    return record.environment.get("measured_alone") is False


def stood_still(record: RunRecord) -> bool:
    """Whether nothing of a run's process ran for a part of its training that tells: 1 % of it.

    A run that does not say how long is not called that.
    """
    busy_s = record.train_s + record.phases_s.get("eval", 0.0)
    return (record.stood_still_s or 0.0) > max(_LEAST_STILL_S, _STILL * busy_s)


def own_clock(runs: Sequence[RunRecord], *, to_target: bool) -> list[RunRecord]:
    """Those of `runs` whose own clock tells a time, or a time to a target if `to_target`.

    Of the others that is steps times `RunRecord.window_step_s`, whatever happened to their clock.
    """
    return [run for run in runs if not (to_target and run.window_step_s)]


def spoiled(runs: Sequence[RunRecord], *, of: str = "", to_target: bool = False) -> str | None:
    """Why the times of `runs`, which are those `of` something, are in no comparison, if so."""
    timed = own_clock(runs, to_target=to_target)
    beside, still = (sum(map(which, timed)) for which in (ran_beside_others, stood_still))
    what = "were measured beside other runs" if beside else "stood still"
    return f"{beside or still} of {len(runs)} runs{of} {what}" if beside or still else None


def code_change(record: RunRecord) -> str | None:
    """Where a run went on under other code or versions, and which, in words; it is of neither."""
    told = {i.step: code_text(i.code_changes) for i in record.interruptions if i.code_changes}
    return "; ".join(f"at step {step:,}: {text}" for step, text in told.items()) or None


def code_text(changes: Mapping[str, list[Fact]]) -> str:
    """`Interruption.code_changes` in a few words."""
    cut = {name: None if name == OWN_CODE else 10 for name in changes}
    return ", ".join(
        f"{k} {str(a)[: cut[k]]} → {str(b)[: cut[k]]}" for k, (a, b) in changes.items()
    )


def is_profiled(record: RunRecord) -> bool:
    """Whether the steps of a run were watched, by a profiler or by hooks that Python added.

    Its times hold what that cost, and it is in no comparison.
    """
    return record.profile is not None or bool(record.own_config.get("profile"))


def without_profiled(
    records: Sequence[RunRecord], *, command: str, of: str = ""
) -> tuple[list[RunRecord], list[str]]:
    """The runs among `records` that may be compared, and a line on those that were profiled.

    An error begins with `command`; `of` says whose runs they are, such as `` of A``.

    Raises:
        InputError: all of them were profiled.
    """
    kept = [record for record in records if not is_profiled(record)]
    if records and not kept:
        which = "the run" if len(records) == 1 else f"all {len(records)} runs"
        verb = "was" if len(records) == 1 else "were"
        without = "profile=" if any(run.is_foreign for run in records) else "--profile"
        raise InputError(
            f"{command}: {which}{of} {verb} profiled, which costs time, and such runs are in no "
            f"comparison; run without {without}"
        )
    number = len(records) - len(kept)
    line = f"{number} of {len(records)} runs{of} were profiled and are left out: that costs time"
    return kept, [line] * (number > 0)


def cores_taken(record: RunRecord) -> float | None:
    """The share of a run's cores that others kept busy, on the machine of its main process.

    ``None`` where its record does not tell, and for runs beside others, which say so themselves.
    """
    telemetry = record.telemetry
    if telemetry is None or telemetry.others_cores_during is None or ran_beside_others(record):
        return None
    names = ("num_usable_cores", "num_processes", "num_machines", "num_threads")
    found = [record.environment.get(name) for name in names]
    counts = [value for value in found if isinstance(value, int) and value > 0]
    if len(counts) < len(names):
        return None
    usable, processes, machines, threads = counts
    if record.environment.get("device_type") != "cpu":
        threads = 1  # a process keeps the device busy with one
    wanted = threads * processes / machines
    lacking = telemetry.others_cores_during + wanted - usable
    return min(max(lacking, 0.0) / wanted, 1.0)


_MARKS = {"†": is_unstable, "‡": ran_beside_others, "§": is_profiled, "¶": stood_still}


_PRODUCT = "×"


def time_mark(group: Sequence[RunRecord], *, to_target: bool = False) -> str:
    """What follows each time and speed of `group`: what made them mean less, or nothing.

    A time `to_target` may be steps of runs side by side times seconds per step alone, which has a
    mark of its own.
    """
    timed = own_clock(group, to_target=to_target)
    marks = "".join(mark for mark, which in _MARKS.items() if any(map(which, timed)))
    return marks + _PRODUCT * (len(timed) < len(group))


def product_note(runs: Sequence[RunRecord]) -> str | None:
    """What times to a target are that are of no run's own clock, if some of `runs` have such."""
    products = [run for run in runs if run.window_step_s]
    if not products:
        return None
    windows = ", ".join(sorted({str(len(r.window_step_s)) for r in products}))
    threads = ", ".join(sorted({str(r.alone_threads or "?") for r in products}))
    how = f"{windows} windows, {threads} threads"
    return f"time to target: its steps × seconds per step, measured alone ({how})"


def mark_notes(groups: Sequence[Sequence[RunRecord]], *, to_target: bool = False) -> list[str]:
    """What the marks on times mean, where one was set, and what else spoils figures.

    Those of tables whose times are all `to_target`, or of any others.
    """
    runs = [record for group in groups for record in group]
    product, timed = product_note(runs), [own_clock(g, to_target=to_target) for g in groups]
    moved, beside, profiled, still = (_how_many(timed, which) for which in _MARKS.values())
    still_s = max((run.stood_still_s or 0.0 for group in timed for run in group), default=0.0)
    but = f", but for {_PRODUCT}" if product else ""
    said = {
        f"† the machine's own speed moved by more than {100 * DRIFT_BOUND:g} % during {moved}: "
        "these times are unstable": moved,
        f"‡ measured beside other runs ({beside}): no time verdict{but}": beside,
        f"§ profiled ({profiled}): these times include what watching cost, and are in no "
        "comparison": profiled,
        f"¶ stood still for {still_s:.2g} s or more ({still}), stopped, frozen or throttled: "
        "no time verdict": still,
    }
    lines = [line for line, is_so in said.items() if is_so]
    lines += [f"{_PRODUCT} {product}"] if product else []
    mixed = [f"code changed {change}" for change in map(code_change, runs) if change]
    return lines + _crowded(groups) + _disagreeing(runs) + mixed


def _crowded(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """A line on the runs during which others kept cores busy that they were to use."""
    shares = [(cores_taken(record) or 0.0, record) for group in groups for record in group]
    crowded = [record for share, record in shares if share > _CROWDED]
    if not crowded:
        return []
    which = "the run" if len(shares) == 1 else f"{len(crowded)} of {len(shares)} runs"
    busy = max(r.telemetry.others_cores_during or 0.0 for r in crowded if r.telemetry)
    least = min(int(record.environment["num_usable_cores"]) for record in crowded)
    line = f"others kept up to {busy:.1f} of {least} core{'s' * (least > 1)} busy during {which}"
    waiting = (r for r in crowded if r.environment.get("num_threads") != 1)
    if any(r.environment.get("device_type") == "cpu" for r in waiting):
        line += "; --num-threads 1 or OMP_WAIT_POLICY=passive lose less beside them"
    return [line]


def _disagreeing(runs: Sequence[RunRecord]) -> list[str]:
    """Lines on runs of which one clock says another time than another, and nothing else why."""
    told = [run for run in runs if run.phases_s]
    gaps = [(run.wall_s - sum(run.phases_s.values()), run.wall_s) for run in told]
    apart_s = [gap for gap, wall_s in gaps if abs(gap) > max(_TICK_S, _STILL * wall_s)]
    most = max(map(_times_median, runs), default=1.0)
    lines = []
    if apart_s:
        gap = f"{max(apart_s, key=abs):.3g} s of a run's wall s are in none of its phases"
        lines = [f"{gap}: the machine slept, or a clock is wrong"]
    if most > 1:
        lines.append(f"few steps took most of a train clock: {most:.2g} times their median step's")
    return lines


def _times_median(run: RunRecord) -> float:
    """How many times what its median step comes to a train clock says, if far more; else 1.

    It is 1 also where a mark, or that others took its cores, says why.
    """
    train_s = run.train_s - (run.throughput.first_step_s or 0.0)
    by_median_s = run.num_steps * (run.throughput.step_s_p50 or 0.0)
    if not by_median_s or train_s < max(_UNEVEN * by_median_s, by_median_s + _LEAST_STILL_S):
        return 1.0
    known = time_mark([run]) or (cores_taken(run) or 0.0) > _CROWDED
    return 1.0 if known else train_s / by_median_s


def _how_many(
    groups: Sequence[Sequence[RunRecord]], which: Callable[[RunRecord], bool]
) -> str | None:
    """``2 of 5 runs`` of the groups in which there is such a run."""
    marked = [record for group in groups if any(map(which, group)) for record in group]
    if not marked:
        return None
    number = sum(map(which, marked))
    return "the run" if len(marked) == 1 else f"{number} of {len(marked)} runs"
