"""Which hooks watch a run, and what they leave in its record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from accelerate import Accelerator

from mnistbench.engine.profiling import OperatorTrace, check_profile, profile_hooks
from mnistbench.engine.run import RunContext
from mnistbench.engine.trackers import Trackers, check_trackers
from mnistbench.recorder.environment import device_name
from mnistbench.recorder.hooks import Hook, Hooks
from mnistbench.recorder.mllog import MlLog, Setup
from mnistbench.recorder.profilers import TRACES, StepsHook
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import Profile

__all__ = ["RunHooks", "build_hooks", "check_hooks"]


def check_hooks(config: RunConfig, accelerator: Accelerator) -> None:
    """Check that what is to watch the run is there.

    Raises:
        InputError: a library or a device is missing.
    """
    check_profile(config, accelerator.device)
    if config.diagnose and accelerator.mixed_precision == "fp8":
        raise InputError("diagnose: has no ceilings for fp8; use another --mixed-precision")
    check_trackers(config)


class RunHooks(NamedTuple):
    """The hooks of one run.

    Attributes:
        hooks: those that its configuration asks for, then those added in Python.
        profilers: the first of them, which watch some steps.
        steps: these steps.
        added: names of those from Python that surround steps.
    """

    hooks: Hooks = Hooks([])
    profilers: Sequence[StepsHook] = ()
    steps: range = range(0)
    added: Sequence[str] = ()

    def profile(
        self, config: RunConfig, durations_s: Sequence[float], folder: Path
    ) -> Profile | None:
        """What was watched of a run that took `durations_s` for its steps; None if no step was.

        `folder` is the run's: all that lies in its ``traces/`` is named.
        """
        if not (self.profilers or self.added):
            return None
        traces = [hook for hook in self.profilers if isinstance(hook, OperatorTrace)]
        return Profile(
            kinds=list(dict.fromkeys(config.profile)),
            hooks=list(self.added),
            first_step=self.steps.start if self.profilers else None,
            end_step=self.steps.stop if self.profilers else None,
            slowdown=_slowdown(durations_s, self.steps) if self.profilers else None,
            files=sorted(str(p.relative_to(folder)) for p in folder.glob(f"{TRACES}/[!.]*")),
            operators=traces[0].operators if traces else [],
        )

    def profile_error(self, *, went_on_from: int = 0) -> str | None:
        """What is wrong with the profile of a run that has ended, if anything is.

        Steps before `went_on_from` were those of an earlier life of the run.
        """
        done = all(hook.num_watched >= len(self.steps) for hook in self.profilers)
        if done or self.steps.start < went_on_from:
            return None
        asked = f"{self.steps.start}:{self.steps.stop}"
        return f"profile_steps: not all of {asked} were profiled"


def build_hooks(context: RunContext, *, precision: str, steps: range) -> RunHooks:
    """The hooks of a run, `steps` of which are to be profiled.

    `precision` is the coarsest in which it multiplies, in MLPerf's words.
    """
    config, accelerator = context.config, context.accelerator
    profilers = profile_hooks(config, accelerator, steps=steps)
    hooks: list[Hook] = [*profilers]
    if config.log_with:
        hooks.append(Trackers(config, accelerator))
    if config.mllog:
        setup = Setup(
            device_name=device_name(accelerator.device),
            num_processes=accelerator.num_processes,
            precision=precision,
            lr_peak=config.lr * context.lr_factor,
        )
        hooks.append(MlLog(context.data.info, setup))
    added = Hooks(context.hooks).watch_steps
    return RunHooks(Hooks([*hooks, *context.hooks]), profilers, steps, added)


def _slowdown(durations_s: Sequence[float], steps: range) -> float | None:
    """How many times as long the profiled `steps` took, by medians.

    Neither the first step of all nor the one before the profiled ones, at which a profiler warms
    up, is held against them.
    """
    others = [*durations_s[1 : max(steps.start - 1, 1)], *durations_s[steps.stop :]]
    watched = durations_s[steps.start : steps.stop]
    return median(watched) / median(others) if watched and others else None
