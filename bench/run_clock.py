"""pytest-benchmark's rounds, counted on the clock of the runs themselves.

A run times its own training and leaves out its start-up, its evaluations and its compiler; a child
process does so too. A benchmark's rounds replay those seconds through pytest-benchmark's timer.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["CLOCK", "RunClock"]


class RunClock:
    """A timer for ``@pytest.mark.benchmark(timer=CLOCK)`` that moves only when it is told to."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        return self._now_s

    def replay(self, benchmark, durations_s: Sequence[float]) -> None:
        """Make each of `durations_s` a round of `benchmark`."""
        left = iter(durations_s)

        def one_round() -> None:
            self._now_s += next(left, 0.0)  # --benchmark-cprofile calls once more

        benchmark.pedantic(one_round, rounds=len(durations_s), iterations=1)


CLOCK = RunClock()
