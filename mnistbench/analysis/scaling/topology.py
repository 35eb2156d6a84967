"""What scaling is read from: runs by configuration, processes, threads and batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from statistics import fmean
from typing import Any

from mnistbench.analysis.differences import CODE, identity
from mnistbench.analysis.grouping import run_name
from mnistbench.analysis.number_text import goal
from mnistbench.analysis.repeats import by_seed, seed_of
from mnistbench.analysis.scoring import Asked, target_of
from mnistbench.analysis.stability import spoiled
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import brief
from mnistbench.schema.record import RunRecord, StepSplit

_SCALED = {"num_processes", "num_threads", "global_batch_size", "per_device_batch_size"}
_FREE = _SCALED | {*CODE, "launcher"}
"""What runs of one configuration may differ in."""
_LONGEST = 300
"""Letters of the configurations that an error names."""
_PARTS = ("compute_s", "communication_s", "wait_s", "skew_s")


@dataclass(frozen=True, eq=False)
class Topology:
    """Runs, by seed, of `global_batch_size` samples a step in all, on the same processes.

    They are spread over `num_machines` of `num_cores` each (0 where an accelerator computes), and
    each has `num_threads` that compute (1 there).
    """

    num_processes: int
    num_threads: int
    global_batch_size: int
    num_machines: int
    num_cores: int
    runs: tuple[RunRecord, ...]

    @property
    def shape(self) -> str:
        """Processes by threads: ``2 × 1``."""
        return f"{self.num_processes} × {self.num_threads}"

    @property
    def num_workers(self) -> int:
        """Threads, or accelerators, of all processes together."""
        return self.num_processes * self.num_threads

    @property
    def threads_per_core(self) -> float:
        """Above 1 where there are more threads than cores, else 1."""
        return max(1.0, self.num_workers / (self.num_machines * self.num_cores or self.num_workers))

    @cached_property
    def per_seed(self) -> list[RunRecord]:
        """A run of each seed: the newest that came to an end, best one whose times count."""
        return [max(same, key=_rank) for _, same in groupby(self.runs, key=seed_of)]

    @cached_property
    def alone(self) -> list[RunRecord]:
        """Those of `per_seed` whose times count, whatever became of them."""
        return [run for run in self.per_seed if not spoiled([run])]

    @cached_property
    def timed(self) -> list[RunRecord]:
        """All completed runs whose times count: each is a sample of the speed."""
        done = [run for run in self.runs if run.status == "completed"]
        return [run for run in done if run.throughput.samples_per_s and not spoiled([run])]

    @cached_property
    def step_s(self) -> float | None:
        """Mean seconds of a step over `timed`; ``None`` without any."""
        steps = [self.global_batch_size / (r.throughput.samples_per_s or 1.0) for r in self.timed]
        return fmean(steps) if steps else None

    @cached_property
    def split(self) -> StepSplit | None:
        """Where `step_s` goes, with the process most runs found slowest; ``None`` if not known.

        Records have medians of the parts, which come to less than the mean step: they are scaled.
        """
        splits = [run.throughput.step_split for run in self.timed]
        known = [split for split in splits if split is not None]
        means = {part: fmean(getattr(s, part) for s in known) for part in _PARTS if known}
        whole_s = sum(means.get(part, 0.0) for part in _PARTS[:3])
        if len(known) < len(splits) or not whole_s or self.step_s is None:
            return None
        slowest = [split.slowest_process for split in known]
        scaled = {part: mean * self.step_s / whole_s for part, mean in means.items()}
        return StepSplit(**scaled, slowest_process=max(sorted(set(slowest)), key=slowest.count))


def _rank(run: RunRecord) -> tuple[bool, bool, str]:
    ended = run.status in {"completed", "diverged"}
    return ended, not spoiled([run]), run.created_at


def group_by_configuration(records: Sequence[RunRecord]) -> dict[str, tuple[Topology, ...]]:
    """What was trained -> its runs by processes, threads and batch, where these can be compared.

    Raises:
        InputError: no configuration has runs of one process and of several.
    """
    found: dict[str, list[RunRecord]] = {}
    for run in filter(_is_placed, records):
        found.setdefault(json.dumps(_identity(run), default=str), []).append(run)
    names = _names([runs[0] for runs in found.values()])
    made = dict(zip(names, map(_topologies, found.values()), strict=True))
    usable = {name: some for name, some in made.items() if {1} < {t.num_processes for t in some}}
    if not usable:
        counts = sorted({t.num_processes for some in made.values() for t in some})
        told = f"all runs are of {', '.join(map(str, counts))} process{'es' * (counts != [1])}"
        if len(counts) > 1:
            told += f", and no configuration has 1 and more: {brief('; '.join(made), _LONGEST)}"
        told = told if made else "no run got as far as training"
        foreign = any(run.is_foreign for run in records)
        mend = "run each of them on 1 process" if foreign else "sweep each of them with --processes"
        raise InputError(f"scaling: {told}; {mend}{' and on more' if foreign else ' 1,2,4'}")
    return usable


def common_target(topologies: Sequence[Topology], asked: float | None) -> Asked:
    """What times are read at: as `asked`, else as the runs were told, accuracies as fractions.

    Runs of another loop than ours may have none.

    Raises:
        InputError: neither says one, or runs were told several.
    """
    if asked is not None:
        return asked
    runs = [run for topology in topologies for run in topology.runs]
    told = {goal(target): target for target in map(target_of, runs) if target}
    if len(told) > 1 or not (told or runs[0].is_foreign):
        which = f"targets {', '.join(sorted(told))}" if told else "no target"
        raise InputError(f"scaling: runs have {which}; give one, such as --target-accuracy 0.97")
    target = next(iter(told.values()), None)
    return target and (target.accuracy or target)


def _is_placed(run: RunRecord) -> bool:
    known = run.environment.get("num_processes") and run.environment.get("global_batch_size")
    return bool(known and (run.is_foreign or (run.dataset and run.num_parameters)))


def _identity(run: RunRecord) -> dict[str, Any]:
    """All that makes a run's configuration, apart from what is scaled."""
    values = identity(run)
    free = set(_FREE)
    if run.is_foreign:  # what a batch came to, its environment tells
        free |= {"config.num_processes", "config.num_threads"}
        free |= {name for name in values if name.endswith("batch_size")}
        return {name: value for name, value in sorted(values.items()) if name not in free}
    if values.get("lr_scaling", "none") != "none":  # then it goes by the batch per device
        free -= {"per_device_batch_size"}
    if not values.get("stop_at_target"):
        free |= {"target_accuracy"}
    return {name: value for name, value in sorted(values.items()) if name not in free}


def _names(firsts: Sequence[RunRecord]) -> list[str]:
    """What was trained, and what sets it apart from the others."""
    found = [_identity(run) for run in firsts]
    unnamed = all(run.recipe is None and not run.is_foreign for run in firsts)
    titled = {"model", "loss"} if unnamed else set()
    varying = [
        k
        for k in dict.fromkeys(k for v in found for k in v)
        if k not in titled and len({str(v.get(k)) for v in found}) > 1
    ]
    titles = [run_name(run) + (f" on {run.dataset.name}" if run.dataset else "") for run in firsts]
    return [
        ", ".join([title, *(f"{k} {values[k]}" for k in varying if values.get(k) is not None)])
        for title, values in zip(titles, found, strict=True)
    ]


def _topologies(runs: Sequence[RunRecord]) -> tuple[Topology, ...]:
    placed: dict[tuple[int, int, int, int, int], dict[str, RunRecord]] = {}
    for run in sorted(runs, key=by_seed):
        placed.setdefault(_place(run), {})[run.run_id] = run  # a copy of a record is no other run
    return tuple(Topology(*at, runs=tuple(placed[at].values())) for at in sorted(placed))


def _place(run: RunRecord) -> tuple[int, int, int, int, int]:
    """Processes, threads, batch, machines and cores, 0 where they do not count."""
    on_cpu = run.environment.get("device_type", "cpu") == "cpu"

    def whole(name: str, otherwise: int = 1) -> int:
        value = run.environment.get(name)
        return value if isinstance(value, int) and value > 0 else otherwise

    threads, cores = whole("num_threads"), whole("num_usable_cores", 0)
    place = whole("num_processes"), threads if on_cpu else 1, whole("global_batch_size")
    return *place, whole("num_machines"), cores if on_cpu else 0
