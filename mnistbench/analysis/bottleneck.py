"""What limits a run: the largest part of a step's time, with its evidence and what to try next.

A step's time is what it waits for its batch, what it exchanges with other processes, what calls
cost whatever the batch, and the work itself. The work is arithmetic or memory traffic, by which of
them alone would take longer at this machine's ceilings (the roofline model of Williams, Waterman
and Patterson, 2009, operator by operator).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from mnistbench.analysis.grouping import group_labels
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.stability import cores_taken
from mnistbench.schema.insight import StepCosts
from mnistbench.schema.record import DATA_WAIT, RunRecord

Limit = Literal[
    "loader-bound",
    "launch-bound",
    "compute-bound",
    "memory-bound",
    "communication-bound",
    "host-noise",
]
LIMITS: tuple[Limit, ...] = Limit.__args__  # type: ignore[attr-defined]
"""All that a run can be found to be limited by."""

_UNKNOWN = (
    "not told: most of a step is neither waiting nor the least that its work takes; --diagnose "
    "tells calls from work where steps are not compiled or captured: try --no-compile "
    "--no-cuda-graph"
)

CONTENTION_BOUND = 0.2
"""Share of its cores that others may take before nothing else can be said of a run."""


class Bottleneck(NamedTuple):
    """What limits a run, the figures that say so, and the one flag to try next, if there is one."""

    name: Limit
    evidence: str
    advice: str | None


def limits(record: RunRecord) -> Bottleneck | None:
    """The verdict on a run that was diagnosed.

    ``None`` on others, and where the largest part of a step is not known to be anything: in steps
    that are compiled or captured, calls cannot be told from work.
    """
    costs = record.step_costs
    if costs is None:
        return None
    taken = cores_taken(record) or 0.0
    if taken >= CONTENTION_BOUND:
        said = f"others took {taken:.0%} of the cores that this run was to use"
        return Bottleneck("host-noise", said, _advice("host-noise", record))
    shares = step_shares(costs)
    name = max(shares, key=lambda limit: shares[limit])
    if shares[name] < 1 - sum(shares.values()):
        return None
    return Bottleneck(name, _evidence(name, costs), _advice(name, record))


def limits_line(record: RunRecord) -> str | None:
    """The verdict in one line; ``None`` for a run that was not diagnosed."""
    found = limits(record)
    if found is None:
        return _unknown(record.step_costs) if record.step_costs else None
    advice = f"; try {found.advice}" if found.advice else ""
    return f"{found.name}: {found.evidence}{advice}"


def data_wait_text(runs: Sequence[RunRecord]) -> str:
    """The mean share of the train clock that `runs` waited for their loader [%], if measured."""
    told = [run for run in runs if DATA_WAIT in run.phases_s and run.num_steps and run.train_s]
    shares = [run.phases_s[DATA_WAIT] / run.train_s for run in told]
    return f"{100 * fmean(shares):.0f}" if shares else NOT_MEASURED


def limits_notes(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """For each group with diagnosed runs, what limits most of them, and one of these in figures.

    Of others whose waiting for data was measured, its mean share.
    """
    lines = []
    for group, label in zip(groups, group_labels(groups), strict=True):
        found = [(line.partition(":")[0], line) for line in map(limits_line, group) if line]
        which = f"{label}: " if len(groups) > 1 else ""
        if not found:
            waits = data_wait_text(group)
            lines += [f"{which}waits for data: {waits} % of training"] * (waits != NOT_MEASURED)
            continue
        (name, number), *_ = Counter(name for name, _ in found).most_common(1)
        said = next(line for limit, line in found if limit == name)
        count = f" ({number} of {len(found)} runs)" if len(found) > 1 else ""
        lines.append(f"{which}{said}{count}")
    return lines


def step_shares(costs: StepCosts) -> dict[Limit, float]:
    """Each limit's part of a step's time, as fractions that add up to 1 less what is unknown.

    Parts that are longer than the step together, as medians of noisy times may be, are scaled down.
    What is left beside them is work, if calls were told apart; else no more than the work could
    take at the ceilings is known to be that.
    """
    fixed: dict[Limit, float] = {
        "loader-bound": costs.loader_s,
        "launch-bound": costs.overhead_s or 0.0,
        "communication-bound": costs.communication_s or 0.0,
    }
    total = max(costs.step_s, sum(fixed.values()))
    work = 1 - sum(fixed.values()) / total
    arithmetic_s, traffic_s = costs.arithmetic_s or 0.0, costs.traffic_s or 0.0
    ideal = arithmetic_s + traffic_s
    arithmetic = arithmetic_s / ideal if ideal else 0.0
    if costs.overhead_s is None:
        work = min(work, ideal / total)
    return {
        **{limit: part / total for limit, part in fixed.items()},
        "compute-bound": work * arithmetic,
        "memory-bound": work * (1 - arithmetic),
    }


def _unknown(costs: StepCosts) -> str:
    if costs.work:
        return _UNKNOWN
    rest = 1 - sum(step_shares(costs).values())
    return (
        f"not told: {rest:.0%} of a step's {1e3 * costs.step_s:.3g} ms are neither waiting for "
        'data nor an exchange that was seen; profile="torch" shows its operators'
    )


def _evidence(name: Limit, costs: StepCosts) -> str:
    step = f"a step's {1e3 * costs.step_s:.3g} ms"
    share = f"{step_shares(costs)[name]:.0%} of {step}"
    if name == "loader-bound":
        return f"{share} are waiting for the batch"
    if name == "communication-bound":
        return f"{share} are exchanging gradients and waiting for the other processes"
    work = costs.work
    if name == "launch-bound" or work is None:
        return f"{share} are calls, which take as long for a batch of two samples"
    if name == "compute-bound":
        speed, peak = work.flops / work.step_s, work.ceilings.matmul_flops_per_s
        what = f"arithmetic, at {speed / 1e9:.3g} of {peak / 1e9:.3g} GFLOP/s"
    else:
        speed, peak = work.traffic_bytes / work.step_s, work.ceilings.copy_bytes_per_s
        what = f"moving data, at {speed / 1e9:.3g} GB/s where a large copy makes {peak / 1e9:.3g}"
    return f"{share} are {what} ({speed / peak:.0%})"


def _advice(name: Limit, record: RunRecord) -> str | None:
    """The flag of ours that takes on the limit first, among those that are not set yet.

    No bf16 on CPUs: without kernels for it, which most lack, a step takes many times as long.
    """
    if record.is_foreign:
        return None
    config, floor = record.config, record.environment.get("loop_floor")
    on_cpu = record.environment.get("device_type") == "cpu"
    precision = record.environment.get("mixed_precision")
    stock, size = floor == "stock", record.environment.get("global_batch_size")
    fast = (stock and config.get("loop") == "stock", "--loop fast")
    more = f"--global-batch-size {2 * size}" if isinstance(size, int) else "a larger batch"
    larger = (True, more)
    bf16 = (not on_cpu and precision == "no", "--mixed-precision bf16")
    candidates: Mapping[Limit, list[tuple[bool, str]]] = {
        "loader-bound": [(config.get("loader") != "resident", "--loader resident"), larger],
        "launch-bound": [
            fast,
            (floor == "eager" and not on_cpu and config.get("cuda_graph") is False, "--cuda-graph"),
            (floor == "eager" and on_cpu, "--compile"),
            larger,
        ],
        "compute-bound": [
            (on_cpu and _idle_cores(record) > 0, f"--num-threads {_usable_cores(record)}"),
            (
                on_cpu and not stock and config.get("matmul_precision") == "highest",
                "--matmul-precision medium",
            ),
            bf16,
            (not on_cpu, "more processes"),
        ],
        "memory-bound": [
            fast,
            (floor == "eager" and (on_cpu or config.get("cuda_graph") is False), "--compile"),
            bf16,
        ],
        "communication-bound": [fast, larger],
        "host-noise": [(True, "again on a machine that is quiet")],
    }
    return next((flag for fits, flag in candidates[name] if fits), None)


def _usable_cores(record: RunRecord) -> int:
    cores = record.environment.get("num_usable_cores")
    return cores if isinstance(cores, int) else 0


def _idle_cores(record: RunRecord) -> int:
    """Cores that a run of one process leaves to nobody."""
    threads = record.environment.get("num_threads")
    alone = record.environment.get("num_processes") == 1
    return _usable_cores(record) - threads if alone and isinstance(threads, int) else 0
