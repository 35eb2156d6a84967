"""Hooks on real runs: when they are told, what they leave alone, what they leave on record."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from mnistbench.engine.run_seeds import train
from mnistbench.recorder.hooks import Hook
from mnistbench.schema.store import find_records, load_record


class Log(Hook):
    """Notes every moment with the step at which it begins and ends."""

    def __init__(self):
        self.seen = []

    def _note(self, moment, watched):
        @contextmanager
        def around():
            self.seen.append((moment, watched.step))
            yield
            self.seen.append((f"{moment} ended", watched.step))

        return around()

    def run(self, watched):
        return self._note("run", watched)

    def epoch(self, watched):
        return self._note("epoch", watched)

    def eval(self, watched):
        return self._note("eval", watched)

    def checkpoint(self, watched):
        return self._note("checkpoint", watched)


class Steps(Log):
    def step(self, watched):
        return self._note("step", watched)


def test_hooks_are_told_of_every_moment_in_its_place(small_config):
    log = Steps()
    config = small_config(num_epochs=2, eval_every_steps=3, checkpoint_every_steps=4)
    [record] = train(config, hooks=[log])  # 5 steps an epoch
    begun = [moment for moment in log.seen if "ended" not in moment[0]]
    assert begun == [
        ("run", 0),
        ("epoch", 0),
        *[("step", step) for step in (0, 1, 2)],
        ("eval", 3),
        ("step", 3),
        ("checkpoint", 4),
        ("step", 4),
        ("epoch", 5),
        ("step", 5),
        ("eval", 6),
        *[("step", step) for step in (6, 7)],
        ("checkpoint", 8),
        ("step", 8),
        ("eval", 9),
        ("step", 9),
        ("eval", 10),  # of val
        ("eval", 10),  # of test
        ("checkpoint", 10),
    ]
    assert log.seen[-1] == ("run ended", 10)
    assert len(log.seen) == 2 * len(begun)
    assert record.profile.hooks == ["Steps"]
    assert record.profile.kinds == []
    assert record.phases_s["profile"] > 0


def test_hooks_change_nothing_that_is_learnt(small_config):
    plain, watched = (train(small_config(), hooks=hooks)[0] for hooks in ([], [Steps(), Log()]))
    assert [p.loss for p in plain.train_points] == [p.loss for p in watched.train_points]
    assert plain.result == watched.result


def test_a_run_whose_steps_nobody_watches_is_not_marked(small_config):
    [record] = train(small_config(), hooks=[Log()])
    assert record.profile is None


def test_what_a_hook_raises_ends_the_run_and_is_on_record(small_config):
    class Failing(Hook):
        @contextmanager
        def eval(self, watched):
            yield
            raise ValueError(f"after step {watched.eval_points[-1].step}")

    with pytest.raises(ValueError, match="after step 5"):
        train(small_config(), hooks=[Failing()])


def test_a_run_that_failed_is_still_marked_by_the_hooks_that_watched_its_steps(small_config):
    class Failing(Steps):
        def eval(self, watched):
            raise ValueError("no")

    config = small_config()
    with pytest.raises(ValueError, match="no"):
        train(config, hooks=[Failing()])
    [path] = find_records([Path(config.output_dir)])
    assert load_record(path).profile.hooks == ["Failing"]
