"""What scaling is read from: runs on the same processes, threads and batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from statistics import fmean

from mnistbench.analysis.repeats import seed_of
from mnistbench.analysis.stability import spoiled
from mnistbench.schema.record import RunRecord, StepSplit

__all__ = ["Topology"]

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
