"""What watches a loop that is not ours: hooks, profilers of some steps, and parts of a step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, get_args

from mnistbench.recorder.hooks import HookPoint, Hooks, RunView, checked_hooks
from mnistbench.recorder.profiling import Profilers, check_profile, profiled_steps, profilers
from mnistbench.recorder.run_log import Outcome, RunLog
from mnistbench.recorder.step_counting import StepCounter
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import StepCosts
from mnistbench.schema.names import ProfileKind
from mnistbench.schema.record import DATA_WAIT


class LoopWatch:
    """Hooks and profilers of one loop; nothing surrounds its steps where none was asked for."""

    def __init__(self, hooks: Any, *, profile: Any, profile_steps: Any, diagnose: Any) -> None:
        """As `mnistbench.record` is told; `InputError` where one has to be mended."""
        self._added = checked_hooks(hooks)
        self._asked = RunConfig(profile=_kinds(profile), profile_steps=profile_steps)
        if not isinstance(diagnose, bool):
            raise InputError(f"diagnose: should be True or False (got {diagnose!r:.90})")
        self._diagnoses = diagnose
        if profile_steps is not None and not self._asked.profile:
            raise InputError("profile_steps: nothing is profiled; add profile=, such as 'torch'")
        torch = sys.modules.get("torch")
        check_profile(self._asked, on_cuda=torch is not None and torch.cuda.is_available())
        profiled_steps(self._asked, None)
        self._hooks, self._profilers = Hooks([]), Profilers(self._asked)
        self._view: RunView | None = None
        self._eval, self._in_eval = ExitStack(), False

    @contextmanager
    def watching(self, view: RunView) -> Iterator[None]:
        """Surround the run, from right before its first step; the main process profiles."""
        asked, torch = self._asked, sys.modules.get("torch")
        if self._diagnoses and view.num_processes > 1 and "nvtx" not in asked.profile:
            kinds = dict.fromkeys((*asked.profile, "torch"))  # which sees exchanges
            asked = asked.model_copy(update={"profile": tuple(kinds)})
        if not view.is_main_process:
            asked = RunConfig()
        on_cuda, steps = torch and torch.cuda.is_initialized(), profiled_steps(asked, None)
        self._profilers = profilers(asked, steps, on_cuda=bool(on_cuda), added=self._added)
        self._view, self._hooks = view, Hooks([*self._profilers.hooks, *self._added])
        with self._hooks.around("run", view), self._eval:
            yield

    @property
    def watches_steps(self) -> bool:
        """Whether steps are surrounded by anything."""
        return bool(self._hooks.watch_steps)

    def around(self, point: HookPoint) -> AbstractContextManager[Any]:
        """What surrounds `point`; before the first step nothing does."""
        return self._hooks.around(point, self._view) if self._view else nullcontext()

    @contextmanager
    def around_step(self, log: RunLog) -> Iterator[None]:
        """What surrounds a step, whose time it is not in."""
        log.timer.pause()
        with self.around("step"):
            log.timer.resume()
            yield
            log.timer.pause()
        log.timer.resume()

    def begin_eval(self) -> None:
        """An evaluation begins; the one before has ended."""
        self.end_eval()
        self._in_eval = True
        self._eval.enter_context(self.around("eval"))

    def end_eval(self) -> None:
        """Its result is noted, or is not to come."""
        self._in_eval = False
        self._eval.close()

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """A result is noted inside, of the evaluation under way or of one that nobody announced."""
        if not self._in_eval:
            self.begin_eval()
        yield
        self.end_eval()

    def note(self, outcome: Outcome, steps: StepCounter) -> None:
        """Put what was watched, and what a step is made of, into `outcome`."""
        if self._view is None or steps.first_step_s is None:
            return
        durations_s = [steps.first_step_s, *steps.log.timer.durations_s()]
        outcome.profile = self._profilers.profile(durations_s, self._view.run_folder)
        if outcome.status == "completed" and self._asked.profile:  # else nobody named steps
            outcome.error = self._profilers.error()
        if self._diagnoses:
            outcome.step_costs = self._step_costs(steps)

    def _step_costs(self, steps: StepCounter) -> StepCosts:
        """Means over the steps after the first, where there are some."""
        train_s, waited_s = steps.log.ledger.train_s(), steps.log.ledger.spent_s(DATA_WAIT)
        if steps.num_counted > 1:
            train_s -= steps.first_step_s or 0.0
            waited_s -= steps.first_wait_s
        number, trace = max(steps.num_counted - 1, 1), self._profilers.trace
        return StepCosts(
            step_s=max(train_s, 1e-9) / number,  # another clock than the first step's
            loader_s=max(waited_s, 0.0) / number,
            communication_s=trace.exchange_s if trace else None,
            num_steps=number,
        )


def _kinds(profile: Any) -> tuple[str, ...]:
    given = [profile] if isinstance(profile, str) or not isinstance(profile, Iterable) else profile
    kinds = [kind for kind in given if kind is not None]
    for kind in kinds:
        if kind not in get_args(ProfileKind):
            known = ", ".join(get_args(ProfileKind))
            raise InputError(f"profile: should be one or more of {known} (got {kind!r:.90})")
    return tuple(kinds)
