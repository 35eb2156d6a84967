"""Hooks: objects that are told of a run's moments, of which Python code can add its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from mnistbench.recorder.clock import Ledger
from mnistbench.schema.record import EvalPoint

__all__ = ["Hook", "HookPoint", "Hooks", "RunView"]

HookPoint = Literal["run", "epoch", "step", "eval", "checkpoint"]
"""What has a beginning and an end that hooks are told of."""


class RunView(Protocol):
    """What a hook may read of the run; how it is at that moment, on this process."""

    @property
    def config(self) -> Any:
        """What was asked for: a `RunConfig`, or what the user of `mnistbench.record` gave."""

    @property
    def ledger(self) -> Ledger:
        """The clocks; what hooks take is charged to ``profile``."""

    @property
    def step(self) -> int:
        """Steps made so far."""

    @property
    def eval_points(self) -> list[EvalPoint]:
        """Evaluations so far."""

    @property
    def run_id(self) -> str:
        """The run's name, which its folder has too."""

    @property
    def run_folder(self) -> Path:
        """Where its files go; made by whoever writes first."""

    @property
    def num_steps(self) -> int | None:
        """Steps that it is to make; ``None`` where a loop that is not ours may make any number."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps in one pass over the training split, where that is known."""

    @property
    def global_batch_size(self) -> int | None:
        """Samples in a step over all processes, where that is known."""

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that writes the record."""

    @property
    def process_index(self) -> int:
        """This process's number among all, from 0."""


class Hook:
    """Watches a run: each method gives a context manager that surrounds one of its moments.

    Every process calls its hooks. What they do is not on the train clock, but what they do to the
    process is: a run with a hook that surrounds steps is marked as profiled, and is in no
    comparison. An exception ends the run. Methods that no subclass changes are not called.
    """

    def run(self, watched: RunView) -> AbstractContextManager[object]:
        """From before the first step to after the last evaluation; one seed is one run."""
        return nullcontext(watched)

    def epoch(self, watched: RunView) -> AbstractContextManager[object]:
        """One pass over the training split, with all that happens in it."""
        return nullcontext(watched)

    def step(self, watched: RunView) -> AbstractContextManager[object]:
        """One optimizer update, or those that one call makes; ``watched.step`` is of before it."""
        return nullcontext(watched)

    def eval(self, watched: RunView) -> AbstractContextManager[object]:
        """One evaluation; after it, ``watched.eval_points[-1]`` is its result."""
        return nullcontext(watched)

    def checkpoint(self, watched: RunView) -> AbstractContextManager[object]:
        """One save of a checkpoint."""
        return nullcontext(watched)


_Enter = Callable[[RunView], AbstractContextManager[object]]


class Hooks:
    """Some hooks as one.

    Attributes:
        watch_steps: names of those that surround steps.
        watch_epochs: whether any surrounds epochs.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        """`hooks` in the order in which they are entered; they are left the other way round."""
        self._by_point: Mapping[HookPoint, Sequence[_Enter]] = {
            point: [getattr(hook, point) for hook in hooks if _watches(hook, point)]
            for point in get_args(HookPoint)
        }
        self.watch_steps = [type(hook).__name__ for hook in hooks if _watches(hook, "step")]
        self.watch_epochs = bool(self._by_point["epoch"])

    def around(self, point: HookPoint, watched: RunView) -> AbstractContextManager[Any]:
        """What surrounds `point`; without a hook for it, nothing does."""
        enter = self._by_point[point]
        return self._around(enter, watched) if enter else nullcontext()

    @contextmanager
    def _around(self, enter: Sequence[_Enter], watched: RunView) -> Iterator[None]:
        """Charge what hooks take, before and after, to the phase ``profile``."""
        phase, leaving = watched.ledger.phase, ExitStack()
        with ExitStack() as entered:
            entered.callback(leaving.close)
            with phase("profile"):
                for one in enter:
                    entered.enter_context(one(watched))
            entered.callback(lambda: leaving.enter_context(phase("profile")))  # called first
            yield


def _watches(hook: Hook, point: HookPoint) -> bool:
    """Whether its class changes the method for `point`."""
    return getattr(type(hook), point) is not getattr(Hook, point)
