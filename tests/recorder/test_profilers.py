"""Which steps a profiler is told of, without a run."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mnistbench.recorder.profilers import StepsHook


class Noting(StepsHook):
    def __init__(self, steps, *, lead_steps=0, fails=False):
        super().__init__(steps)
        self.lead_steps, self.fails, self.seen = lead_steps, fails, []

    @contextmanager
    def watch(self, watched):
        self.seen.append(("in", watched.step))
        yield
        self.seen.append(("out", watched.step))
        if self.fails:
            raise OSError(28, "No space left on device", "traces/file")


def drive(hook, steps):
    watched = SimpleNamespace(step=0)
    with hook.run(watched):
        for watched.step in steps:
            with hook.step(watched):
                pass
    return hook


@pytest.mark.parametrize(
    ("steps", "lead", "made", "seen", "num_watched"),
    [
        (range(3, 5), 0, range(10), [("in", 3), ("out", 4)], 2),
        (range(3, 5), 1, range(10), [("in", 2), ("out", 4)], 2),
        (range(3, 9), 0, range(5), [("in", 3), ("out", 4)], 2),  # the run ends among them
        (range(3, 9), 0, range(6, 12), [("in", 6), ("out", 8)], 3),  # it goes on among them
        (range(3, 5), 0, range(6, 12), [], 0),  # it goes on after them
    ],
)
def test_only_the_steps_asked_for_are_watched(steps, lead, made, seen, num_watched):
    hook = drive(Noting(steps, lead_steps=lead), made)
    assert hook.seen == seen
    assert hook.num_watched == num_watched


def test_a_full_disk_ends_the_profile_and_not_the_run(caplog):
    hook = drive(Noting(range(3, 5), fails=True), range(10))
    assert hook.num_watched == 0
    assert "profile: traces/file: cannot be written (No space left on device)" in caplog.text
