"""What hooks cost: nothing while there are none, and how much each profiler slows its steps down.

A training loop that knows no hooks takes turns with the real one, window by window of one run, in
the order A B B A. Profilers are compared with the unwatched steps of their own runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import contextmanager
from statistics import median
from unittest.mock import patch

import pytest

from bench.suite_format import interval_text, mark, ratio
from mnistbench.engine.run_seeds import train
from mnistbench.engine.training_loop import TrainingLoop
from mnistbench.output.suite_tables import run_info
from mnistbench.recorder.hooks import Hook
from mnistbench.training_benchmark import CLOCK

WINDOW_STEPS = {"smoke": 5, "quick": 40, "full": 60}
PAIRS = {"smoke": 2, "quick": 30, "full": 120}
ROUNDS = {"smoke": 1, "quick": 3, "full": 10}
PROFILERS = {
    "torch": {"profile": ("torch",)},
    "torch, with stacks": {"profile": ("torch",), "profile_details": ("shapes", "stacks")},
    "memory": {"profile": ("memory",)},
    "sampling": {"profile": ("sampling",)},
}
HOOKS = ("none", "one that does nothing at each step")


class Idle(Hook):
    """Surrounds each step with nothing."""

    @contextmanager
    def step(self, watched):  # noqa: ARG002 - as Hook has it
        yield


def without_hooks(loop: TrainingLoop, batches, end: int):
    """`TrainingLoop._train_window` as it would be if there were no hooks."""
    state, train_step, first = loop._state, loop._step, loop._state.step  # noqa: SLF001
    losses, began_s = state.losses[first:end], state.ledger.spent_s("train")
    with state.ledger.phase("train"):
        state.timer.start()
        at_once = train_step.steps_per_call
        while state.step < end:
            group = list(itertools.islice(batches, min(at_once, end - state.step)))
            lrs = [loop._lr(state.step + index) for index in range(len(group))]  # noqa: SLF001
            for loss in train_step.train_steps(group, lrs=lrs):
                losses[state.step - first] = loss
                state.step += 1
            state.timer.mark(len(group))
            loop._show_step(state.step)  # noqa: SLF001
    loop._window_s = state.ledger.spent_s("train") - began_s  # noqa: SLF001
    return losses


@pytest.fixture(scope="module", params=HOOKS)
def measured(request, budget, make_config, report):
    """Seconds per step of windows with and without hooks in the loop, in pairs."""
    steps, pairs = WINDOW_STEPS[budget], PAIRS[budget]
    config = make_config(
        model="simple-cnn",
        max_steps=2 * (pairs + 1) * steps,
        num_epochs=1000,
        eval_every_steps=steps,  # a window lasts from one to the next
        val_size=1,
    )
    with_hooks, taken = TrainingLoop._train_window, []  # noqa: SLF001 - as above

    def in_turn(training, batches, end):
        loops = [without_hooks, with_hooks]
        number = len(taken)
        loop = loops[(number + number // 2) % 2]  # A B B A
        began = training._state.step  # noqa: SLF001
        losses = loop(training, batches, end)
        seconds = training._window_s / (training._state.step - began)  # noqa: SLF001
        taken.append((loop is with_hooks, seconds))
        return losses

    hooks = [] if request.param == "none" else [Idle()]
    with patch.object(TrainingLoop, "_train_window", in_turn):
        [record] = train(config, hooks=hooks)
    found = pair_up(taken[2:])
    tabulate(report.section("hooks"), request.param, found, record)
    return found, record


def pair_up(taken) -> list[tuple[float, float]]:
    """Seconds per step without and with hooks of two windows beside each other."""
    beside = [dict(two) for two in zip(taken[::2], taken[1::2], strict=False)]
    return [(times[False], times[True]) for times in beside if len(times) == 2]


def tabulate(section, which: str, pairs: Sequence[tuple[float, float]], record) -> None:
    ratios = [with_hooks / without for without, with_hooks in pairs]
    section.add(
        {
            "hooks": which,
            "µs per step, no hooks in the loop": f"{1e6 * median(p[0] for p in pairs):,.1f}",
            "with": f"{1e6 * median(p[1] for p in pairs):,.1f}",
            "times as long": interval_text(ratios, lambda x: f"{x:.4f}") + mark(section, [record]),
            "n": str(len(pairs)),
        },
        hooks=which,
        ratios=ratios,
    )
    section.note("medians over pairs of windows beside each other (95 % interval)")


@pytest.mark.benchmark(group="hooks", timer=CLOCK)
def bench_step(benchmark, measured):
    pairs, record = measured
    CLOCK.replay(benchmark, [with_hooks for _, with_hooks in pairs])
    benchmark.extra_info |= run_info([record])


@pytest.mark.parametrize("profiler", PROFILERS)
@pytest.mark.benchmark(group="profilers")
def bench_profiler(training_benchmark, budget, make_config, report, profiler):
    steps = max(4 * WINDOW_STEPS[budget], 20)
    records = [
        train(make_config(model="simple-cnn", max_steps=steps, seed=seed, **PROFILERS[profiler]))[0]
        for seed in range(ROUNDS[budget])
    ]
    slowdowns = [record.profile.slowdown for record in records]
    section = report.section("profilers")
    section.add(
        {
            "profiler": profiler,
            "steps": f"{records[0].profile.first_step}:{records[0].profile.end_step} of {steps}",
            "times as long": interval_text(slowdowns, ratio) + mark(section, records),
            "s to start, stop and write": interval_text(
                [record.phases_s["profile"] for record in records], lambda x: f"{x:.2f}"
            ),
            "n": str(len(records)),
        },
        profiler=profiler,
        slowdowns=slowdowns,
    )
    section.note("the median profiled step by the median of the run's others, medians over runs")
    training_benchmark(lambda: records, tables=False)
