"""Every metric, once: what is read, in which unit, what is better, and what may be concluded.

Reports, comparisons, gates, the choice of a grid, the page and the suites read this table and
nothing else: the same records give one answer, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Literal, NamedTuple

from mnistbench.analysis.repeats import began_a_process, one_per_seed
from mnistbench.analysis.scoring import (
    Asked,
    end_s,
    is_never_evaluated,
    reading_to_target,
    target_of,
    told_target,
)
from mnistbench.schema.record import TRAIN_CLOCK, Phase, RunRecord
from mnistbench.stats.expected_time import expected_running_time
from mnistbench.stats.intervals import mean_interval, median_interval
from mnistbench.stats.readings import Level, Reading, with_factor
from mnistbench.stats.survival import median_reading

__all__ = ["Asked", "Level", "target_of", "told_target"]  # which others read from here


MetricName = Literal[
    "samples_per_s",
    "step_s_p50",
    "step_s_p95",
    "train_s",
    "train_eval_s",
    "wall_s",
    "cold_start_s",
    "time_to_accuracy_s",
    "steps_to_accuracy",
    "test_accuracy",
    "val_accuracy",
    "test_loss",
    "duration_s",
]
"""Names of the table; any other is of something that runs evaluated (`metric_named`)."""

_NO_LEVEL = Level(None, None, None, 0, 0)
SHARED_PHASES: tuple[Phase, ...] = ("import", "startup", "data")
"""What the seeds of one command spend together: it is in the ledger of the first of them."""

_MACHINE = ("device_type", "device_name", "cpu_name", "num_processes", "num_threads")
_SPEED = ("dataset", "from_step", *_MACHINE)
DATA = ("dataset", "data sha256", "num_train")
"""What must agree for what was learnt."""
_PROCESS = (*DATA, *_MACHINE, "process")
"""What must agree for seconds in which a process started, or ended."""
_TARGET = (*DATA, "num_val", "eval_split", "target")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of the table.

    Attributes:
        label: what tables call it.
        read: the figure of one run, given the target that is asked for; ``None`` where it was not
            measured.
        unit: what follows a number.
        scale: factor from a record's unit to `unit`.
        digits: format of a number in `unit`.
        higher_is_better: else lower is.
        ratio: changes are fractions; else differences.
        change_unit: what follows a change: `` %``, `` points`` of a hundredth, or nothing.
        worth_seeing: the change that a comparison should find, in the record's unit or a fraction.
        timed: depends on the machine's speed, and on what else it did.
        quality: is said to be higher or lower; all else faster or slower.
        to_target: may be censored.
        estimator: of one configuration: the mean, the median, or the median of censored times.
        spread: what the ends of a `Level` are. Accuracies are skewed, and few have no interval.
        independent: what counts as a sample: each run, or each seed however often it was run.
        needs: what must agree on both sides for a verdict.
    """

    label: str
    read: Callable[[RunRecord, Asked], Reading | None]
    unit: str = ""
    scale: float = 1.0
    digits: str = ".2f"
    higher_is_better: bool = False
    ratio: bool = True
    change_unit: Literal[" %", " points", ""] = " %"
    worth_seeing: float = 0.05
    timed: bool = True
    quality: bool = False
    to_target: bool = False
    estimator: Literal["mean", "median", "survival median"] = "mean"
    spread: Literal["95 % interval", "range"] = "95 % interval"
    independent: Literal["run", "seed"] = "run"
    needs: tuple[str, ...] = (*DATA, *_MACHINE)

    def word(self, sign: float) -> Literal["faster", "slower", "higher", "lower"]:
        """What B is, if its figure is higher (`sign` above 0) or lower than A's."""
        if self.quality:
            return "higher" if sign > 0 else "lower"
        return "faster" if (sign > 0) == self.higher_is_better else "slower"

    def with_sense(self, word: str) -> str:
        """A `word` on figures other than accuracies with which way is better: ``lower (better)``.

        Who reads of a loop that is not theirs need not know what it evaluated.
        """
        if word not in {"higher", "lower"} or self.unit == " %":
            return word
        return f"{word} ({'better' if (word == 'higher') == self.higher_is_better else 'worse'})"

    def change_text(self, change: float) -> str:
        """A size of a change: ``5 %``, ``0.2 points``."""
        return f"{(100 if self.change_unit else 1) * change:g}{self.change_unit}"

    def show(self, value: float) -> str:
        """`value`, which is in the record's unit, as a number in `unit`."""
        return f"{self.scale * value:{self.digits}}"

    def samples(
        self, runs: Sequence[RunRecord], target: Asked = None, *, unfinished: bool = False
    ) -> tuple[Reading, ...]:
        """What `runs` of one configuration measured: a reading of each independent repetition.

        Of runs that did not complete only their time to a target counts, which is censored: what
        else they measured belongs to a shorter run. With `unfinished` it counts all the same.
        """
        if not self.to_target and not unfinished:
            runs = [run for run in runs if run.status == "completed"]
        apart = one_per_seed(runs) if self.independent == "seed" else runs
        found = (self.read(run, target) for run in apart)
        return tuple(reading for reading in found if reading is not None)

    def of(
        self, runs: Sequence[RunRecord], target: Asked = None, *, unfinished: bool = False
    ) -> Level:
        """The estimate of what `runs` measured: the `level` of their `samples`."""
        return self.level(self.samples(runs, target, unfinished=unfinished))

    def level(self, readings: Sequence[Reading]) -> Level:
        """The estimate of `readings`, by this metric's estimator, with its spread."""
        if not readings:
            return _NO_LEVEL
        if self.to_target:
            return median_reading(readings)
        values, n = [reading.value for reading in readings], len(readings)
        if self.spread == "range":
            low, high = (min(values), max(values)) if n > 1 else (None, None)
            return Level(median(values), low, high, n, n)
        interval = median_interval if self.estimator == "median" else mean_interval
        return Level(*interval(values), n, n)


def _of(value: Callable[[RunRecord], float | None]) -> Callable[..., Reading | None]:
    def read(record: RunRecord, _asked: Asked) -> Reading | None:
        found = value(record)
        return None if found is None else Reading.of(found)

    return read


def _to_target(record: RunRecord, asked: Asked, *, steps: bool = False) -> Reading | None:
    target = target_of(record, asked)
    if target is None or (asked is not None and is_never_evaluated(record, target)):
        return None
    return reading_to_target(record, target, steps=steps)


def _train_s(record: RunRecord) -> float | None:
    return record.train_s if record.phases_s.keys() & {*TRAIN_CLOCK} else None


def _train_eval_s(record: RunRecord) -> float | None:
    """The time that a speed record is told in."""
    train_s, eval_s = _train_s(record), record.phases_s.get("eval")
    return None if train_s is None or eval_s is None else train_s + eval_s


def _shared_s(record: RunRecord) -> float:
    return sum(record.phases_s.get(phase, 0.0) for phase in SHARED_PHASES)


learnt = partial(
    Metric, timed=False, quality=True, estimator="median", spread="range", independent="seed"
)
"""A metric of what a run learnt, not of how long it took."""
accuracy_metric = partial(
    learnt,
    unit=" %",
    scale=100,
    higher_is_better=True,
    ratio=False,
    change_unit=" points",
    worth_seeing=0.002,
)
_step = partial(Metric, unit=" ms", scale=1000, digits=".3f", needs=("global_batch_size", *_SPEED))
_goal = partial(Metric, to_target=True, estimator="survival median", independent="seed")

METRICS: Mapping[str, Metric] = {
    "samples_per_s": Metric(
        label="samples/s",
        read=_of(lambda r: r.throughput.samples_per_s),
        digits=",.0f",
        higher_is_better=True,
        needs=_SPEED,
    ),
    "step_s_p50": _step(label="step p50", read=_of(lambda r: r.throughput.step_s_p50)),
    "step_s_p95": _step(label="step p95", read=_of(lambda r: r.throughput.step_s_p95)),
    "train_s": Metric(label="train time", read=_of(_train_s), unit=" s"),
    "train_eval_s": Metric(
        label="train and eval time",
        read=_of(_train_eval_s),
        unit=" s",
        digits=".3f",
        estimator="median",
    ),
    "wall_s": Metric(
        label="wall time without start",
        read=_of(lambda r: r.wall_s - _shared_s(r)),
        unit=" s",
        needs=_PROCESS,
    ),
    "cold_start_s": Metric(
        label="start of a process",
        read=_of(lambda r: _shared_s(r) if began_a_process(r) else None),
        unit=" s",
        needs=_PROCESS,
    ),
    "time_to_accuracy_s": _goal(
        label="time", read=_to_target, unit=" s", needs=(*_TARGET, *_MACHINE, "timing")
    ),
    "steps_to_accuracy": _goal(
        label="steps",
        read=partial(_to_target, steps=True),
        digits=",.0f",
        timed=False,
        needs=(*_TARGET, "global_batch_size"),
    ),
    "test_accuracy": accuracy_metric(
        label="test accuracy", read=_of(lambda r: r.result.test_accuracy), needs=DATA
    ),
    "val_accuracy": accuracy_metric(
        label="val accuracy", read=_of(lambda r: r.result.val_accuracy), needs=(*DATA, "num_val")
    ),
    "test_loss": learnt(
        label="test loss",
        read=_of(lambda r: r.result.test_loss),
        digits=".4g",
        needs=(*DATA, "loss", "code of the loss"),
    ),
    "duration_s": Metric(
        label="duration",
        read=lambda _record, _target: None,
        unit=" s",
        digits=".4g",
        estimator="median",
    ),
}
"""Every metric; ``duration_s`` is of pytest-benchmark's files alone."""


class TargetScore(NamedTuple):
    """How fast a group of runs got to one target: medians over seeds, and the expected time."""

    time_s: Level
    steps: Level
    expected_s: Level


def score_target(group: Sequence[RunRecord], asked: Asked) -> TargetScore:
    """Median time and steps of `group` to what is `asked`, and the expected time.

    A diverged run counts in the medians as never there (see `at_risk`); the expected time charges
    it the seconds that it really took.
    """
    found = [(_to_target(record, asked), end_s(record)) for record in one_per_seed(group)]
    spent = [(t.value if t.reached else ended_s, t.reached) for t, ended_s in found if t]
    expected = expected_running_time(*zip(*spent, strict=True)) if spent else _NO_LEVEL
    return TargetScore(
        time_s=METRICS["time_to_accuracy_s"].of(group, asked),
        steps=METRICS["steps_to_accuracy"].of(group, asked),
        expected_s=with_factor(expected, [t for t, _ in found if t]),
    )
