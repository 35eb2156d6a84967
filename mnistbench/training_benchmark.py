"""The fixture `training_benchmark`: runs as rounds of pytest-benchmark, on their own clocks.

A run times its own training and leaves out its start-up, its evaluations and its compiler. A
benchmark's rounds replay those seconds through pytest-benchmark's timer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from inspect import signature
from itertools import chain
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeAlias

import pytest

from mnistbench.analysis.grouping import group_runs, run_name, settings_apart
from mnistbench.output.suite_tables import SuiteReport, add_runs, run_info
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, RunError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_records, search
from mnistbench.schema.user_calls import name_of

Trainable: TypeAlias = RunConfig | Callable[..., Any]
_ALONE = object()
_SELF = "training_benchmark"
_SMOKE_STEPS = 8


class RunClock:
    """A timer for ``@pytest.mark.benchmark(timer=CLOCK)`` that moves only when it is told to."""

    __name__ = "run_clock"  # as pytest-benchmark's files call it

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        """Read the clock [seconds]."""
        return self._now_s

    def replay(self, benchmark: Any, durations_s: Sequence[float]) -> None:
        """Make each of `durations_s` a round of `benchmark`."""
        left = iter(durations_s)

        def one_round() -> None:
            self._now_s += next(left, 0.0)  # --benchmark-cprofile calls once more

        benchmark.pedantic(one_round, rounds=len(durations_s), iterations=1)


CLOCK = RunClock()


class TrainingBenchmark:
    """What the fixture is: call it once in a test, with what trains.

    Attributes:
        benchmark: pytest-benchmark's fixture, which gets the durations.
        report: gets rows on speed, time to target and convergence.
        folder: where runs are kept.
        dataset: what a `RunConfig` that names no data trains on.
        is_smoke: there is one seed, of 8 steps where a `RunConfig` does not say how many.
    """

    def __init__(
        self, benchmark: Any, *, report: SuiteReport, folder: Path, dataset: str, is_smoke: bool
    ) -> None:
        self.benchmark, self.report = benchmark, report
        self.folder, self.dataset, self.is_smoke = folder, dataset, is_smoke
        self._is_used = False

    def __call__(
        self,
        trained: Trainable | Mapping[Any, Trainable],
        num_seeds: int = 1,
        *,
        tables: bool = True,
        may_diverge: bool = False,
    ) -> Any:
        """Train, report the seconds on the train clock as rounds, and return the records.

        Args:
            trained: a `RunConfig`; a function that trains and leaves records by
                `mnistbench.record`, or returns them; or several of either by name, which train
                in turn, seed by seed. A function that takes ``seed`` is given it.
            num_seeds: how often each trains [runs], with seeds from 0, or a configuration's own,
                on. Where pytest-benchmark is disabled, each trains once.
            tables: add rows to the tables of this package.
            may_diverge: a run that diverged is a result and no failure.

        Returns:
            A list of records; of several, such a list by name.
        """
        __tracebackhide__ = True
        if self._is_used:
            pytest.fail(f"{_SELF}: is called once a test; give it several at once", pytrace=False)
        self._is_used = True
        several = trained if isinstance(trained, Mapping) else {_ALONE: trained}
        groups: list[list[RunRecord]] = []
        try:
            groups = self._in_turn(several, num_seeds)
            wrong = _failure([*chain(*groups)], may_diverge=may_diverge)
        except (InputError, RunError) as error:
            wrong = str(error)
        except BaseException:
            self._use_up()
            raise
        names = self._names(several)
        if tables and self.benchmark.enabled:
            for name, runs in zip(names, groups, strict=False):
                add_runs(self.report, name, runs)
        if wrong:
            self._use_up()
            pytest.fail(f"{_SELF}: {wrong}", pytrace=False)
        self._replay(names, groups)
        return dict(zip(several, groups, strict=True)) if several is trained else groups[0]

    def _in_turn(self, several: Mapping[Any, Trainable], num_seeds: int) -> list[list[RunRecord]]:
        """The records of each, made seed by seed."""
        __tracebackhide__ = True
        _check(several, num_seeds)
        own = [one.num_seeds for one in several.values() if isinstance(one, RunConfig)]
        once = self.is_smoke or not self.benchmark.enabled
        groups: list[list[RunRecord]] = [[] for _ in several]
        for index in range(1 if once else max(num_seeds, *own, 1)):
            for group, one in zip(groups, several.values(), strict=True):
                train = self._measured if isinstance(one, RunConfig) else self._recorded
                group.extend(train(one, index))
        for runs in groups:
            _check_same(runs)
        return groups

    def _measured(self, config: Any, index: int) -> list[RunRecord]:
        """What `config` leaves for one seed, with what it leaves open as pytest was told."""
        from mnistbench.engine.run_seeds import measure

        usual: dict[str, Any] = {"dataset": self.dataset, "output_dir": self._new_folder()}
        usual |= {"max_steps": _SMOKE_STEPS} if self.is_smoke else {}
        given = {name: getattr(config, name) for name in config.model_fields_set}
        usual |= {"dataset": "synthetic"} if "synthetic_train_size" in given else {}
        return measure(RunConfig(**usual | given | {"seed": config.seed + index, "num_seeds": 1}))

    def _recorded(self, train: Any, seed: int) -> list[RunRecord]:
        """The records that a function returns, else those that it left."""
        __tracebackhide__ = True
        folder = self._new_folder()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MNISTBENCH_OUTPUT_DIR", folder)
            patch.setenv("MNISTBENCH_SEED", str(seed))
            returned = train(**_arguments(train, seed))
        found = [returned] if isinstance(returned, RunRecord) else returned
        if isinstance(found, list | tuple) and found and isinstance(found[0], RunRecord):
            return [*found]
        if search(Path(folder)):
            return load_records([Path(folder)], strict=True).records
        instead = "" if returned is None else f", not {type(returned).__name__}"
        raise InputError(
            f"{name_of(train)} left no record; train inside `with mnistbench.record(…)`, or return "
            f"records{instead}"
        )

    def _new_folder(self) -> str:
        return mkdtemp(prefix="runs-", dir=self.folder)

    def _names(self, several: Iterable[Any]) -> list[str]:
        """The test's own name, or of several names what pytest calls a test with parameters."""
        test = str(self.benchmark.name)
        head = f"{test[:-1]}-" if test.endswith("]") else f"{test}["
        return [test if name is _ALONE else f"{head}{name}]" for name in several]

    def _replay(self, names: Sequence[str], groups: Sequence[Sequence[RunRecord]]) -> None:
        """Report the runs of each of `groups` to pytest-benchmark, under a name of its own."""
        first = self.benchmark
        told, path = first.extra_info, first.fullname.removesuffix(first.name)
        unused = [first, *(copy(first) for _ in groups[1:])]
        for bench, name, runs in zip(unused, names, groups, strict=True):
            bench.name, bench.fullname = name, path + name
            bench.extra_info = told | run_info(runs)
            CLOCK.replay(bench, [run.train_s for run in runs])

    def _use_up(self) -> None:
        """Leave no durations; pytest-benchmark warns of a fixture that was not used."""
        self.benchmark.disabled = True
        self.benchmark.pedantic(lambda: None)


def _check(several: Mapping[Any, Any], num_seeds: Any) -> None:
    """Check what is to train, before any of it does.

    Raises:
        InputError: it is neither a configuration nor a function that can be called.
    """
    if not several:
        raise InputError("there is nothing to train; give a RunConfig or a function")
    if not isinstance(num_seeds, int) or isinstance(num_seeds, bool) or num_seeds < 1:
        raise InputError(f"num_seeds: should be 1 or more runs, not {num_seeds!r}")
    for one in several.values():
        if isinstance(one, RunConfig):
            continue
        if isinstance(one, type) or not callable(one):
            what = f"the class {one.__name__}" if isinstance(one, type) else type(one).__name__
            raise InputError(
                f"takes a RunConfig(…) or a function that trains, or a mapping of some, not {what}"
            )
        _arguments(one, 0)


def _arguments(train: Callable[..., Any], seed: int) -> dict[str, int]:
    """What a function is called with: `seed`, if it takes that.

    Raises:
        InputError: it needs something else.
    """
    try:
        known = signature(train)
    except (TypeError, ValueError):
        return {}  # one written in C may have none
    given = {"seed": seed} if "seed" in known.parameters else {}
    try:
        known.bind(**given)
    except TypeError as error:
        raise InputError(
            f"{name_of(train)}: {error}; it is given seed and no more, the rest goes in by "
            "functools.partial"
        ) from None
    return given


def _check_same(runs: Sequence[RunRecord]) -> None:
    """Check that `runs` are of one configuration, as a row and a benchmark are.

    Raises:
        InputError: they are of several.
    """
    apart = settings_apart(group_runs(runs, across_commits=True))[0]
    names = dict.fromkeys(map(run_name, runs))
    # what a process has imported by then, which the environment tells, differs from run to run
    told = [k for k in apart if any(k.partition(".")[0] in run.config for run in runs)]
    if told or len(names) > 1:
        differ = "differ in " + ", ".join(told) if told else "are of " + ", ".join(names)
        raise InputError(
            f"records of one function {differ}; give each configuration a function of its own, or "
            "name what does not matter by record(ignore=…)"
        )


def _failure(runs: Sequence[RunRecord], *, may_diverge: bool) -> str | None:
    """What is wrong with `runs`, in a line; ``None`` where nothing is."""
    fine = {"completed", "diverged"} if may_diverge else {"completed"}
    bad = [run for run in runs if run.status not in fine]
    if not bad:
        return None
    counts = Counter(run.status for run in bad)
    told = ", ".join(f"{number} {status}" for status, number in counts.items())
    return f"of {len(runs)} runs {told}: {bad[0].run_id}: {bad[0].error or 'no reason is told'}"
