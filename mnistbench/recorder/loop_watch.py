"""What watches a loop that is not ours: hooks, profilers of some steps, and parts of a step."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.hooks import Hook, HookPoint, Hooks
from mnistbench.recorder.profiling import Profilers, check_profile, profiled_steps, profilers
from mnistbench.recorder.run_log import Outcome, RunLog
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import StepCosts
from mnistbench.schema.record import DATA_WAIT, EvalPoint

__all__ = ["LoopView", "LoopWatch"]


@dataclass(frozen=True, kw_only=True)
class LoopView:
    """What hooks may read of a loop that is not ours (`RunView`).

    Attributes:
        config: what its user gave.
        log: clocks, steps and evaluations.
        run_id: the run's name.
        run_folder: where its files go.
        num_processes: how many train.
        process_index: this one's number among them.
        num_steps: not known.
        steps_per_epoch: not known.
        global_batch_size: not known.
    """

    config: Mapping[str, Any]
    log: RunLog
    run_id: str
    run_folder: Path
    num_processes: int = 1
    process_index: int = 0
    num_steps: None = None
    steps_per_epoch: None = None
    global_batch_size: None = None

    @property
    def ledger(self) -> Ledger:
        """The clocks."""
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
        """Whether this process writes the record."""
        return self.process_index == 0


class LoopWatch:
    """Hooks and profilers of one loop; nothing surrounds its steps where none was asked for."""

    def __init__(
        self, hooks: Collection[Hook], *, profile: Any, profile_steps: Any, diagnose: bool
    ) -> None:
        """As `mnistbench.record` is told.

        Raises:
            InputError: one has to be mended.
        """
        kinds = (profile,) if isinstance(profile, str) else tuple(profile or ())
        self._asked = RunConfig(profile=kinds, profile_steps=profile_steps)
        if profile_steps is not None and not kinds:
            raise InputError("profile_steps: nothing is profiled; add profile=, such as 'torch'")
        if wrong := next((one for one in hooks if not isinstance(one, Hook)), None):
            raise InputError(f"hooks: takes a list of hooks, not {type(wrong).__name__}")
        profiled_steps(self._asked, None)
        torch = sys.modules.get("torch")
        check_profile(self._asked, on_cuda=torch is not None and torch.cuda.is_available())
        self._added, self._diagnoses = list(hooks), diagnose
        self._hooks, self._profilers = Hooks([]), Profilers(self._asked)
        self._entered = ExitStack()
        self._view: LoopView | None = None

    def begin(self, view: LoopView) -> None:
        """Enter what surrounds the run, right before its first step; the main process profiles."""
        asked = self._asked
        if self._diagnoses and view.num_processes > 1 and "nvtx" not in asked.profile:
            kinds = dict.fromkeys((*asked.profile, "torch"))  # which sees exchanges
            asked = asked.model_copy(update={"profile": tuple(kinds)})
        if asked.profile and view.is_main_process:
            torch, steps = sys.modules.get("torch"), profiled_steps(asked, None)
            on_cuda = torch is not None and torch.cuda.is_initialized()
            self._profilers = profilers(asked, steps, on_cuda=on_cuda)
        self._view, self._hooks = view, Hooks([*self._profilers.hooks, *self._added])
        self._entered.enter_context(self._hooks.around("run", view))

    @property
    def watches_steps(self) -> bool:
        """Whether steps are surrounded by anything."""
        return bool(self._hooks.watch_steps)

    def around(self, point: HookPoint) -> AbstractContextManager[Any]:
        """What surrounds `point`; before the first step nothing does."""
        return self._hooks.around(point, self._view) if self._view else nullcontext()

    @contextmanager
    def around_step(self) -> Iterator[None]:
        """What surrounds a step, whose time it is not in."""
        if self._view is None:
            yield
            return
        log = self._view.log
        log.timer.pause()
        try:
            with self.around("step"):
                log.timer.resume()
                yield
                log.timer.pause()
        finally:
            log.timer.resume()

    def end(self, *raised: Any) -> None:
        """Leave what surrounds the run, at its end or at what was `raised` (as ``__exit__``)."""
        self._entered.__exit__(*raised)

    def note(self, outcome: Outcome, durations_s: Sequence[float]) -> None:
        """Put what was watched, and what a step is made of, into `outcome`.

        `durations_s` are of all steps; they hold the wait for the batch.
        """
        if self._view is None:
            return
        added = Hooks(self._added).watch_steps
        outcome.profile = self._profilers.profile(durations_s, self._view.run_folder, added=added)
        if outcome.status == "completed" and outcome.error is None:
            outcome.error = self._profilers.error()
        if self._diagnoses and durations_s:
            trace, num_steps = self._profilers.trace, len(durations_s)
            outcome.step_costs = StepCosts(
                step_s=self._view.ledger.train_s() / num_steps,
                loader_s=self._view.ledger.spent_s(DATA_WAIT) / num_steps,
                communication_s=trace.exchange_s if trace else None,
                num_steps=num_steps,
            )
