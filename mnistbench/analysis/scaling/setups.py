"""Runs of a sweep over processes and batches, in the setups that scaling is read from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import Any

from mnistbench.analysis.groups import run_name
from mnistbench.analysis.scaling.model import Setting, StepTime, ring_s
from mnistbench.analysis.stability import ran_beside_others
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link, RunRecord
from mnistbench.schema.training_fields import SAME_RUN

__all__ = ["OTHER_LINK", "Family", "Setup", "families_of", "median_link", "target_of"]

_SCALED = frozenset({"global_batch_size", "per_device_batch_size", "num_threads"})
"""What the setups of one family may differ in beside their processes."""

OTHER_LINK = 2.0
"""Measured links whose exchange of the gradients takes longer by this factor are not the same."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Runs, a seed each, on the same processes with the same global batch over the same link.

    Attributes:
        num_processes: in all, over `num_machines`.
        num_threads: of each process.
        num_cores: usable on each machine; ``None`` where an accelerator computes.
        global_batch_size: samples in a step over all processes.
        link: what joins the processes, the median over runs; ``None`` if that was not measured.
        runs: ordered by seed.
    """

    num_processes: int
    num_machines: int
    num_threads: int
    num_cores: int | None
    global_batch_size: int
    link: Link | None
    runs: tuple[RunRecord, ...]

    @property
    def shape(self) -> str:
        """Processes by threads: ``2 × 1``."""
        return f"{self.num_processes} × {self.num_threads}"

    @property
    def cores_used(self) -> float:
        """Cores that its threads can be on at once."""
        wanted = self.num_processes * self.num_threads
        return wanted if self.num_cores is None else min(wanted, self.num_cores * self.num_machines)

    @property
    def setting(self) -> Setting:
        """What the cost model needs to know of it."""
        return Setting(
            num_processes=self.num_processes,
            global_batch_size=self.global_batch_size,
            num_threads=self.num_threads,
            contention=max(1.0, self.num_processes * self.num_threads / self.cores_used),
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

    @cached_property
    def step_times(self) -> list[StepTime]:
        """Mean seconds of a step, of each of its `timed` runs, and their parts where known."""
        return [self._step_time(run) for run in self.timed]

    def exchanges_s(self, num_bytes: int) -> list[float]:
        """What each of its `timed` runs found of the link: seconds to all-reduce `num_bytes`."""
        links = [run.link for run in self.timed if run.link]
        return [ring_s(link, self.num_processes, num_bytes) for link in links]

    def _step_time(self, run: RunRecord) -> StepTime:
        split = run.throughput.step_split
        step_s = self.global_batch_size / (run.throughput.samples_per_s or 1.0)
        if split is None:
            return StepTime(self.setting, step_s, None, None)
        return StepTime(self.setting, step_s, split.communication_s, split.wait_s)


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


def families_of(records: Sequence[RunRecord]) -> list[Family]:
    """`records` by configuration, apart from processes, threads and batch; those to be compared.

    A seed that was run twice counts once: its newest run, before one that did not come to an end.
    Which commit it was does not matter.

    Raises:
        InputError: no configuration has runs of one process and of several.
    """
    started = [record for record in records if _is_placed(record)]
    found: dict[str, list[RunRecord]] = {}
    for record in started:
        key = json.dumps(_identity(record), sort_keys=True, default=str)
        found.setdefault(key, []).append(record)
    names = _names([runs[0] for runs in found.values()])
    usable = [
        _family(name, runs)
        for name, runs in zip(names, found.values(), strict=True)
        if {1} < {record.environment["num_processes"] for record in runs}
    ]
    if not usable:
        raise InputError(f"scaling: {_why_none(started, names)}")
    return usable


def median_link(links: Sequence[Link]) -> Link | None:
    """The median of both figures; ``None`` without any."""
    if not links:
        return None
    return Link(
        latency_s=median(link.latency_s for link in links),
        bandwidth_bytes_per_s=median(link.bandwidth_bytes_per_s for link in links),
    )


def target_of(family: Family, asked: float | None) -> float:
    """The accuracy that times of `family` are read at: as `asked`, else as its runs were told.

    Raises:
        InputError: neither says one, or runs were told several.
    """
    if asked is not None:
        return asked
    runs = [run for setup in family.setups for run in setup.runs]
    targets = {run.result.target_accuracy for run in runs}
    told = sorted(target for target in targets if target is not None)
    if len(told) != 1:
        which = f"targets {', '.join(map(str, told))}" if told else "no target"
        raise InputError(f"scaling: runs have {which}; give one, such as --target-accuracy 0.97")
    return told[0]


def _is_placed(record: RunRecord) -> bool:
    environment = record.environment
    known = environment.get("num_processes") and environment.get("global_batch_size")
    return bool(known and record.dataset and record.num_parameters)


def _identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run's configuration, apart from what is scaled."""
    values = RunConfig().model_dump(mode="json") | record.config
    free = SAME_RUN | _SCALED
    if values["lr_scaling"] != "none":  # then the learning rate goes by the batch per device
        free -= {"per_device_batch_size"}
    if not values["stop_at_target"]:
        free |= {"target_accuracy"}
    environment = {k: record.environment.get(k) for k in ("device_name", "mixed_precision")}
    versions = record.environment.get("versions") or {}
    data = {"data sha256": record.dataset.sha256[:12]} if record.dataset else {}
    kept = {name: value for name, value in values.items() if name not in free}
    return kept | environment | versions | data


def _names(firsts: Sequence[RunRecord]) -> list[str]:
    identities = [_identity(record) for record in firsts]
    varying = [
        key
        for key in dict.fromkeys(key for identity in identities for key in identity)
        if len({str(identity.get(key)) for identity in identities}) > 1
    ]
    return [
        ", ".join([_title(record), *(f"{key} {identity.get(key)}" for key in varying)])
        for record, identity in zip(firsts, identities, strict=True)
    ]


def _title(record: RunRecord) -> str:
    return f"{run_name(record)} on {record.dataset.name if record.dataset else 'no data'}"


def _why_none(started: Sequence[RunRecord], names: Sequence[str]) -> str:
    mend = "sweep with --processes 1,2,4"
    counts = sorted({record.environment["num_processes"] for record in started})
    if not counts:
        return f"no run got as far as training; {mend}"
    if len(counts) == 1:
        return f"all runs are of {counts[0]} process{'es' * (counts[0] > 1)}; {mend}"
    if 1 not in counts:
        return f"no run of one process to compare with; {mend}"
    several = f"{len(names)} configurations ({'; '.join(names)})"
    return f"none of {several} has runs of one process and of several; {mend}"


def _family(name: str, runs: Sequence[RunRecord]) -> Family:
    placed: dict[tuple[int, ...], list[RunRecord]] = {}
    for run in runs:
        placed.setdefault(_place(run), []).append(run)
    first = runs[0]
    return Family(
        name=name,
        setups=tuple(
            _setup(place, part) for place in sorted(placed) for part in _by_link(placed[place])
        ),
        num_parameters=first.num_parameters or 0,
        num_train=first.dataset.num_train if first.dataset else 0,
    )


def _place(run: RunRecord) -> tuple[int, ...]:
    """Processes, threads, batch, machines, cores (0 where they do not count), as numbers."""
    on_cpu = run.environment.get("device_type", "cpu") == "cpu"
    return (
        _whole(run, "num_processes"),
        _whole(run, "num_threads"),
        _whole(run, "global_batch_size"),
        _whole(run, "num_machines"),
        _whole(run, "num_usable_cores", otherwise=0) if on_cpu else 0,
    )


def _whole(run: RunRecord, name: str, *, otherwise: int = 1) -> int:
    value = run.environment.get(name)
    return value if isinstance(value, int) and value > 0 else otherwise


def _setup(place: tuple[int, ...], runs: Sequence[RunRecord]) -> Setup:
    processes, threads, batch, machines, cores = place
    return Setup(
        num_processes=processes,
        num_machines=machines,
        num_threads=threads,
        num_cores=cores or None,
        global_batch_size=batch,
        link=median_link([run.link for run in runs if run.link]),
        runs=_one_per_seed(runs),
    )


def _by_link(runs: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Runs of one place, apart where a gap between their links tells these apart; fastest first."""

    def exchange_s(run: RunRecord) -> float:
        num_bytes = 4 * (run.num_parameters or 0)
        return ring_s(run.link, run.environment["num_processes"], num_bytes) if run.link else 0.0

    ordered = sorted(runs, key=exchange_s)
    parts: list[list[RunRecord]] = []
    for run in ordered:
        if parts and exchange_s(run) <= OTHER_LINK * exchange_s(parts[-1][-1]):
            parts[-1].append(run)
        else:
            parts.append([run])
    if len(parts) == 2 and parts[0][0].link is None:  # which of them that was is no question
        return [[*parts[0], *parts[1]]]
    return parts


def _one_per_seed(runs: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    ordered = sorted(runs, key=lambda run: (run.seed, _rank(run)))
    return tuple(list(same)[-1] for _, same in groupby(ordered, key=lambda run: run.seed))


def _rank(run: RunRecord) -> tuple[bool, bool, str]:
    ended = run.status in {"completed", "diverged"}
    return ended, not ran_beside_others(run), run.created_at
