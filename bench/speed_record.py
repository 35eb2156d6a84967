"""Speed records: whether the seeds of one configuration show its accuracy, and in what time.

The rule is that of this project's design, section 3.4, as in modded-nanogpt (KellerJordan, README):
the steps are fixed beforehand, the target binds on the mean over seeds at one-sided p < 0.01, and
nothing looks at the test set while it trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from mnistbench.analysis.grouping import differences, group_labels, group_runs
from mnistbench.analysis.metrics import METRICS, Level
from mnistbench.analysis.number_text import goal
from mnistbench.analysis.stability import is_profiled, ran_beside_others, stood_still
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.stats.rank_tests import beats_target
from mnistbench.stats.readings import Reading

SIGNIFICANCE = 0.01
"""The one-sided p that a claim has to stay below."""


class SpeedRun(BaseModel):
    """One seed: its test accuracy, a fraction, or ``None`` where it ended before; and two clocks.

    `train_s` and `eval_s` are seconds of training and of all evaluation, without what is compiled
    and warmed up on blank data before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    seed: int = Field(ge=0)
    test_accuracy: float | None = Field(ge=0, le=1)
    train_s: float = Field(ge=0)
    eval_s: float = Field(ge=0)

    @property
    def time_s(self) -> float:
        """Seconds of training plus evaluation, which is what a record is the median of."""
        return self.train_s + self.eval_s


class SpeedClaim(NamedTuple):
    """What `n` seeds show: `claimed` or not, and why in one line (`reason`).

    Accuracies are fractions; `mean_accuracy` and `p_value` are ``None`` where a seed has none, and
    `sd_accuracy` is so too for a single seed. `time_s` is in seconds.
    """

    target: float
    n: int
    mean_accuracy: float | None
    sd_accuracy: float | None
    p_value: float | None
    time_s: Level
    claimed: bool
    reason: str


def speed_runs(records: Sequence[RunRecord]) -> list[SpeedRun]:
    """What a claim needs of `records`, runs of one configuration that differ in their seed.

    A run that diverged counts with the accuracy it had. They may be of several commits, as runs
    of one process are when one lands meanwhile.

    Raises:
        InputError: no run, a seed twice, several configurations, or a run that stopped at its
            target, was profiled, shared its cores or read the test set more than once: no claim
            can be made of these.
    """
    if not records:
        raise InputError("speed record: no run to claim it with")
    if profiled := [record.seed for record in records if is_profiled(record)]:
        raise InputError(f"speed record: seed {profiled[0]} was profiled; run it without --profile")
    seeds = [record.seed for record in records]
    if twice := [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]:
        raise InputError(f"speed record: seed {twice[0]} was run twice; a repeat is no new sample")
    groups = group_runs(records, across_commits=True)
    if len(groups) > 1:
        which = "; ".join(filter(None, differences(groups))) or ", ".join(group_labels(groups))
        raise InputError(f"speed record: runs of {len(groups)} configurations ({which}); name one")
    return [_speed_run(record) for record in records]


def judge_claim(runs: Sequence[SpeedRun], target: float) -> SpeedClaim:
    """Whether `runs` show that the mean test accuracy is at least `target`, and how fast.

    Student's one-sided t test (`beats_target`) of mean accuracy <= `target` must give p below
    `SIGNIFICANCE`; the time is the median over all runs with its 95 % interval.

    Args:
        runs: one for each seed.
        target: accuracy on the test set, a fraction.

    Raises:
        ValueError: no runs.
    """
    time_s = METRICS["train_eval_s"].level([Reading.of(run.time_s) for run in runs])
    values = [run.test_accuracy for run in runs if run.test_accuracy is not None]
    if len(values) < len(runs):
        seed = next(run.seed for run in runs if run.test_accuracy is None)
        reason = f"seed {seed} ended before its test accuracy was read"
        return SpeedClaim(target, len(runs), None, None, None, time_s, False, reason)
    mean, p_value, n = beats_target(values, target)
    return SpeedClaim(
        target,
        n,
        mean,
        stdev(values) if n > 1 else None,
        p_value,
        time_s,
        p_value < SIGNIFICANCE,
        _reason(values, target, p_value),
    )


def _speed_run(record: RunRecord) -> SpeedRun:
    if record.config.get("stop_at_target"):
        raise InputError("speed record: stop_at_target ends each run elsewhere; fix the steps")
    if ran_beside_others(record):
        raise InputError(
            f"speed record: seed {record.seed} was measured beside other runs; run it alone"
        )
    if stood_still(record):
        raise InputError(f"speed record: seed {record.seed} stood still; run it again")
    num_read = sum(point.split == "test" for point in record.eval_points)
    if num_read > 1:
        raise InputError(
            f"speed record: seed {record.seed} read the test set {num_read} times; read it once at "
            "the end, with --eval-split val or with --eval-every-steps as large as the run"
        )
    if lacking := {"train", "eval"} - record.phases_s.keys():
        raise InputError(f"speed record: seed {record.seed} has no clock of {lacking.pop()}")
    return SpeedRun(
        seed=record.seed,
        test_accuracy=record.result.test_accuracy,
        train_s=record.phases_s["train"],
        eval_s=record.phases_s["eval"],
    )


def _reason(values: Sequence[float], target: float, p_value: float) -> str:
    mean, n = f"mean {100 * fmean(values):.3f} %", len(values)
    if n == 1:
        return f"{mean} of one seed shows no spread"
    text = f"{mean} of {n} seeds"
    if fmean(values) < target:
        return f"{text} is below {goal(target)}"
    bound = "" if p_value < SIGNIFICANCE else f", not below {SIGNIFICANCE:g}"
    return f"{text}, p = {p_value:.2g}{bound}"
