"""Hooks: objects that are told of a run's moments, of which Python code can add its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.run_log import RunLog
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import EvalPoint

HookPoint = Literal["run", "epoch", "step", "eval", "checkpoint"]
"""What has a beginning and an end that hooks are told of."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What a hook may read of the run; how it is at that moment, on this process.

    Attributes:
        config: what was asked for: a `RunConfig`, or what the user of `mnistbench.record` gave.
        run_folder: where its files go; made by whoever writes first.
        num_steps: steps that it is to make; ``None`` of a loop that is not ours.
        steps_per_epoch: steps in one pass over the training split, where that is known.
        global_batch_size: samples in a step over all processes, where that is known.
    """

    config: Any
    log: RunLog
    run_id: str
    run_folder: Path
    num_steps: int | None = None
    steps_per_epoch: int | None = None
    global_batch_size: int | None = None
    num_processes: int = 1
    process_index: int = 0

    @property
    def ledger(self) -> Ledger:
        """The clocks; what hooks take is charged to ``profile``."""
        return self.log.ledger

    @property
    def step(self) -> int:
        """Steps made so far."""
        return self.log.step

    @property
    def eval_points(self) -> list[EvalPoint]:
        """Evaluations so far."""
        return self.log.eval_points

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that writes the record."""
        return self.process_index == 0


class Hook:
    """Watches a run: each method gives a context manager that surrounds one of its moments.

    Every process calls its hooks, which are not on the train clock; a run with one that surrounds
    steps is marked as profiled, and is in no comparison. An exception ends the run.
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


def checked_hooks(hooks: Any) -> list[Hook]:
    """`hooks`, one or several, if that is what they are.

    Raises:
        InputError: something is none.
    """
    given = list(hooks) if isinstance(hooks, Iterable) else [hooks]
    for one in given:
        if not isinstance(one, Hook):
            name = one.__name__ if isinstance(one, type) else ""
            what = f"the class {name}; write {name}()" if name else type(one).__name__
            raise InputError(f"hooks: takes a list of hooks, not {what}")
    return given


_Enter = Callable[[RunView], AbstractContextManager[object]]


class Hooks:
    """Some hooks as one.

    Attributes:
        watch_steps: names of those that surround steps.
        watch_epochs: whether any surrounds epochs.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        """`hooks` in the order in which they are entered; they are left the other way round."""
        points: Sequence[HookPoint] = get_args(HookPoint)
        changed = {  # what no subclass changes is not called
            point: [one for one in hooks if getattr(type(one), point) is not getattr(Hook, point)]
            for point in points
        }
        self._by_point: Mapping[HookPoint, Sequence[_Enter]] = {
            point: [getattr(one, point) for one in changed[point]] for point in points
        }
        self.watch_steps = [type(one).__name__ for one in changed["step"]]
        self.watch_epochs = bool(changed["epoch"])

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
