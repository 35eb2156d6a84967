from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.hooks import Hook, Hooks


class Noting(Hook):
    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    @contextmanager
    def step(self, watched):
        self.seen.append(f"{self.name} in")
        try:
            yield
        except ValueError as error:
            self.seen.append(f"{self.name} met {error}")
            raise
        finally:
            self.seen.append(f"{self.name} out")


@pytest.fixture
def watched():
    return SimpleNamespace(ledger=Ledger(), step=0)


def test_hooks_are_entered_in_order_and_left_the_other_way_round(watched):
    seen = []
    with Hooks([Noting("a", seen), Noting("b", seen)]).around("step", watched):
        seen.append("step")
    assert seen == ["a in", "b in", "step", "b out", "a out"]


def test_only_moments_that_a_hook_changes_are_surrounded(watched):
    hooks = Hooks([Noting("a", []), Hook()])
    assert hooks.watch_steps == ["Noting"]
    with hooks.around("eval", watched) as nothing:
        assert nothing is None


def test_what_goes_wrong_inside_reaches_the_hooks_and_is_raised(watched):
    seen = []
    with pytest.raises(ValueError, match="bad"), Hooks([Noting("a", seen)]).around("step", watched):
        raise ValueError("bad")
    assert seen == ["a in", "a met bad", "a out"]
    assert watched.ledger.spent_s("profile") > 0


def test_hooks_take_their_own_phase_and_leave_the_outer_one_as_it_was(watched):
    ledger, phases = watched.ledger, []

    class Asking(Hook):
        @contextmanager
        def step(self, watched):
            phases.append(ledger._running)
            yield
            phases.append(ledger._running)

    with ledger.phase("train"):
        with Hooks([Asking()]).around("step", watched):
            phases.append(ledger._running)
        phases.append(ledger._running)
    assert phases == ["profile", "train", "profile", "train"]
