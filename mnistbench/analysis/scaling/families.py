"""Records of a sweep by configuration, processes, batch and link: the setups to be compared."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from mnistbench.analysis.grouping import run_name
from mnistbench.analysis.scaling.model import ring_s
from mnistbench.analysis.scaling.setups import Family, Setup
from mnistbench.analysis.stability import ran_beside_others
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link, RunRecord
from mnistbench.schema.training_fields import SAME_RUN, as_left_to_the_run

__all__ = ["families_of", "median_link"]

_SCALED = frozenset({"global_batch_size", "per_device_batch_size", "num_threads"})
"""What the setups of one family may differ in beside their processes."""

_OTHER_LINK = 4.0
"""Neighbouring readings this factor apart are of other links: all of one vary by two to four."""

_KNOWN_OTHER_LINK = 2.0
"""The same where there are several links for sure."""


def families_of(records: Sequence[RunRecord], *, several_links: bool = False) -> list[Family]:
    """`records` by configuration, apart from processes, threads and batch; those to be compared.

    A seed that was run twice counts once: its newest run, before one that did not come to an end.
    Which commit it was does not matter. Runs are over one link unless a gap between readings tells
    them apart, a wide one if it is not known that there are `several_links`.

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
        _family(name, runs, gap=_KNOWN_OTHER_LINK if several_links else _OTHER_LINK)
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


def _is_placed(record: RunRecord) -> bool:
    environment = record.environment
    known = environment.get("num_processes") and environment.get("global_batch_size")
    return bool(known and record.dataset and record.num_parameters)


def _identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run's configuration, apart from what is scaled."""
    values = RunConfig().model_dump(mode="json") | as_left_to_the_run(record.config)
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


def _family(name: str, runs: Sequence[RunRecord], *, gap: float) -> Family:
    placed: dict[tuple[int, ...], list[RunRecord]] = {}
    for run in runs:
        placed.setdefault(_place(run), []).append(run)
    crowded = {place for place in placed if _setup(place, [], link_rank=0).contention > 1}
    telling = [run for place in placed if place not in crowded for run in placed[place]]
    seconds = sorted(_exchange_s(run) for run in telling if _tells_its_link(run))
    begins = [later for earlier, later in pairwise(seconds) if later > gap * earlier]
    setups = [
        _setup(place, _one_per_seed(part), link_rank=rank)
        for place in sorted(placed)
        for rank, part in (
            [(0, placed[place])] if place in crowded else _by_link(placed[place], begins)
        )
    ]
    return Family(
        name=name,
        setups=tuple(replace(setup, link=_link(setup, setups)) for setup in setups),
        num_parameters=runs[0].num_parameters or 0,
        num_train=runs[0].dataset.num_train if runs[0].dataset else 0,
    )


def _place(run: RunRecord) -> tuple[int, ...]:
    """Processes, threads, batch, machines, cores (0 where they do not count), as numbers."""
    on_cpu = run.environment.get("device_type", "cpu") == "cpu"
    return (
        _whole(run, "num_processes"),
        _whole(run, "num_threads") if on_cpu else 1,
        _whole(run, "global_batch_size"),
        _whole(run, "num_machines"),
        _whole(run, "num_usable_cores", otherwise=0) if on_cpu else 0,
    )


def _whole(run: RunRecord, name: str, *, otherwise: int = 1) -> int:
    value = run.environment.get(name)
    return value if isinstance(value, int) and value > 0 else otherwise


def _setup(place: tuple[int, ...], runs: Sequence[RunRecord], *, link_rank: int) -> Setup:
    processes, threads, batch, machines, cores = place
    return Setup(
        num_processes=processes,
        num_machines=machines,
        num_threads=threads,
        num_cores=cores or None,
        global_batch_size=batch,
        link=None,
        link_rank=link_rank,
        runs=tuple(runs),
    )


def _tells_its_link(run: RunRecord) -> bool:
    return bool(run.link and run.status == "completed" and not ran_beside_others(run))


def _exchange_s(run: RunRecord) -> float:
    """Seconds that the gradients would take between two processes over the run's link."""
    return ring_s(run.link, 2, num_bytes=4 * (run.num_parameters or 0)) if run.link else 0.0


def _by_link(
    runs: Iterable[RunRecord], begins: Sequence[float]
) -> list[tuple[int, list[RunRecord]]]:
    """Runs of one place by the rank of their link, the fastest first.

    One that did not come to know its link is replaced by one of its seed that did.
    """
    told: dict[int, list[RunRecord]] = {}
    untold = []
    for run in runs:
        if run.link:
            told.setdefault(bisect_right(begins, _exchange_s(run)), []).append(run)
        else:
            untold.append(run)
    known = {run.seed for part in told.values() for run in part}
    fastest = told.setdefault(min(told, default=0), [])
    fastest += [run for run in untold if len(told) == 1 or run.seed not in known]
    return sorted(told.items())


def _one_per_seed(runs: Iterable[RunRecord]) -> list[RunRecord]:
    ordered = sorted(runs, key=lambda run: (run.seed, _rank(run)))
    return [list(same)[-1] for _, same in groupby(ordered, key=lambda run: run.seed)]


def _rank(run: RunRecord) -> tuple[bool, bool, str]:
    ended = run.status in {"completed", "diverged"}
    return ended, not ran_beside_others(run), run.created_at


def _link(setup: Setup, setups: Sequence[Setup]) -> Link | None:
    """The median of what all runs of as many processes over that link found it to be."""

    def place(setup: Setup) -> tuple[int, int, int]:
        return setup.num_processes, setup.num_machines, setup.link_rank

    alike = [s for s in setups if place(s) == place(setup) and s.contention == 1]
    runs = [run for s in alike if setup.contention == 1 for run in s.runs]
    return median_link([run.link for run in runs if run.link and _tells_its_link(run)])
