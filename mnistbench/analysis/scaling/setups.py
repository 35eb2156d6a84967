"""Setups that scaling is read from: runs on the same processes with the same batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mnistbench.analysis.scaling.model import Setting, StepTime
from mnistbench.analysis.stability import is_unstable, ran_beside_others
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link, RunRecord, StepSplit

__all__ = ["Family", "Setup", "target_of"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Runs, a seed each, on the same processes with the same global batch over the same link.

    Attributes:
        num_processes: in all, over `num_machines`.
        num_threads: of each process that compute; 1 where an accelerator does.
        num_cores: usable on each machine; ``None`` where an accelerator computes.
        global_batch_size: samples in a step over all processes.
        link: what joins so many processes, as all their runs found it; ``None`` if that was not
            measured, or only while processes shared a core and waited for that.
        link_rank: 0 for the fastest of several links.
        runs: ordered by seed.
    """

    num_processes: int
    num_machines: int
    num_threads: int
    num_cores: int | None
    global_batch_size: int
    link: Link | None
    link_rank: int
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
    def contention(self) -> float:
        """Threads for each core where there are more threads than cores, else 1."""
        cores = self.num_machines * (self.num_cores or self.num_workers)
        return max(1.0, self.num_workers / cores)

    @property
    def setting(self) -> Setting:
        """What the cost model needs to know of it."""
        return Setting(
            num_processes=self.num_processes,
            global_batch_size=self.global_batch_size,
            contention=self.contention,
            link=self.link,
        )

    @cached_property
    def alone(self) -> list[RunRecord]:
        """Runs that had the cores to themselves, whatever became of them."""
        return [run for run in self.runs if not ran_beside_others(run)]

    @cached_property
    def timed(self) -> list[RunRecord]:
        """Those of them that completed, and have a speed."""
        return [r for r in self.alone if r.status == "completed" and r.throughput.samples_per_s]

    @property
    def mostly_unstable(self) -> bool:
        """Whether the machine's own speed moved during most of its `timed` runs."""
        return 2 * sum(map(is_unstable, self.timed)) > len(self.timed)

    @cached_property
    def splits(self) -> list[StepSplit | None]:
        """Where each of its `timed` runs spent its mean step; ``None`` where that is not known.

        A record has the medians of the parts, which come to less than the mean where some steps
        took long: they are scaled to it.
        """
        return [self._to_mean(run) for run in self.timed]

    @cached_property
    def step_times(self) -> list[StepTime]:
        """Mean seconds of a step of each of its `timed` runs, and their parts where known."""
        return [
            StepTime(
                self.setting,
                self._step_s(run),
                split.communication_s if split else None,
                split.wait_s if split else None,
            )
            for run, split in zip(self.timed, self.splits, strict=True)
        ]

    def _step_s(self, run: RunRecord) -> float:
        return self.global_batch_size / (run.throughput.samples_per_s or 1.0)

    def _to_mean(self, run: RunRecord) -> StepSplit | None:
        split = run.throughput.step_split
        whole_s = split.compute_s + split.communication_s + split.wait_s if split else 0.0
        if split is None or whole_s == 0:
            return None
        factor = self._step_s(run) / whole_s
        parts = ("compute_s", "communication_s", "wait_s", "skew_s")
        return split.model_copy(update={part: factor * getattr(split, part) for part in parts})


@dataclass(frozen=True, kw_only=True)
class Family:
    """All setups of one configuration.

    Attributes:
        name: what was trained, and what sets it apart from other families.
        setups: ordered by processes, threads, batch and link.
        num_parameters: of the model.
        num_train: images in an epoch, which no batch exceeds.
    """

    name: str
    setups: tuple[Setup, ...]
    num_parameters: int
    num_train: int

    @property
    def runs(self) -> list[RunRecord]:
        """Those of all setups."""
        return [run for setup in self.setups for run in setup.runs]


def target_of(family: Family, asked: float | None) -> float:
    """The accuracy that times of `family` are read at: as `asked`, else as its runs were told.

    Raises:
        InputError: neither says one, or runs were told several.
    """
    if asked is not None:
        return asked
    targets = {run.result.target_accuracy for run in family.runs}
    told = sorted(target for target in targets if target is not None)
    if len(told) != 1:
        which = f"targets {', '.join(map(str, told))}" if told else "no target"
        raise InputError(f"scaling: runs have {which}; give one, such as --target-accuracy 0.97")
    return told[0]
