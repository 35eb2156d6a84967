"""What ``--profile`` asks for: which hooks watch which steps, and what they leave in the record."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from mnistbench.recorder.hooks import Hook, Hooks
from mnistbench.recorder.profilers import TRACES, CudaMemory, NvtxRanges, PythonSampling, StepsHook
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import Profile

if TYPE_CHECKING:
    from mnistbench.recorder.operator_trace import OperatorTrace


def profiled_steps(config: RunConfig, num_steps: int | None) -> range:
    """The steps that ``config.profile`` watches of a run of `num_steps`; empty without it.

    Raises:
        InputError: the run ends before they do, or nobody knows where its second half begins.
    """
    if not config.profile:
        return range(0)
    by_operator = not {"torch", "memory"}.isdisjoint(config.profile)
    asked = config.profile_steps or ("5:10" if by_operator else None)
    if asked is None and num_steps is None:
        raise InputError("profile_steps: name some, such as 100:200: how many come is not known")
    asked = asked or f"{max((num_steps or 0) // 2, 1)}:{max(num_steps or 0, 2)}"
    first, end = map(int, asked.split(":"))
    if num_steps is not None and end > num_steps:
        raise InputError(
            f"profile_steps: {first}:{end} needs a run of {end} steps, this one has {num_steps}; "
            "make it longer or profile earlier ones"
        )
    return range(first, end)


def check_profile(config: RunConfig, *, on_cuda: bool) -> None:
    """Check that what ``config.profile`` needs is there.

    Raises:
        InputError: a library is missing, the device has no NVTX, or two exclude each other.
    """
    kinds = set(config.profile)
    if "sampling" in kinds and importlib.util.find_spec("pyinstrument") is None:
        raise InputError(
            "profile: sampling needs pyinstrument; pip install 'mnistbench[profile]', or leave it"
        )
    if "nvtx" in kinds and not on_cuda:
        raise InputError("profile: nvtx needs an NVIDIA GPU; here torch, memory, sampling work")
    if "nvtx" in kinds and kinds & {"torch", "memory"}:
        raise InputError("profile: nvtx watches operators as torch and memory do; choose one")
    if kinds and on_cuda and config.steps_per_graph > 1:
        raise InputError("profile: steps in one graph are one; use --steps-per-graph 1")
    if config.anonymize and ("sampling" in kinds or ("memory" in kinds and on_cuda)):
        kind = "sampling" if "sampling" in kinds else "memory"
        raise InputError(
            f"profile: {kind} names files of this machine; leave it or --anonymize out"
        )


class Profilers(NamedTuple):
    """Hooks that watch the same steps of a run, and what they leave in its record.

    `trace` is the one of `hooks` that is torch's profiler, if any is; `added` are names of hooks
    from Python that surround steps.
    """

    config: RunConfig
    steps: range = range(0)
    hooks: Sequence[StepsHook] = ()
    trace: OperatorTrace | None = None
    added: Sequence[str] = ()

    def profile(self, durations_s: Sequence[float], folder: Path) -> Profile | None:
        """What was watched of a run that took `durations_s` for its steps; None if no step was.

        `folder` is the run's: all that lies in its ``traces/`` is named.
        """
        if not (self.hooks or self.added):
            return None
        return Profile(
            kinds=list(dict.fromkeys(self.config.profile)),
            hooks=list(self.added),
            first_step=self.steps.start if self.hooks else None,
            end_step=self.steps.stop if self.hooks else None,
            slowdown=_slowdown(durations_s, self.steps) if self.hooks else None,
            files=sorted(str(p.relative_to(folder)) for p in folder.glob(f"{TRACES}/[!.]*")),
            operators=self.trace.operators if self.trace else [],
        )

    def error(self, *, went_on_from: int = 0) -> str | None:
        """What is wrong with the profile of a run that has ended, if anything is.

        Steps before `went_on_from` were those of an earlier life of the run.
        """
        done = all(hook.num_watched >= len(self.steps) for hook in self.hooks)
        if done or self.steps.start < went_on_from:
            return None
        asked = f"{self.steps.start}:{self.steps.stop}"
        return f"profile_steps: not all of {asked} were profiled"


def profilers(
    config: RunConfig, steps: range, *, on_cuda: bool, added: Sequence[Hook]
) -> Profilers:
    """The hooks that ``config.profile`` names, to watch `steps`, beside those `added` in Python."""
    hooks: list[StepsHook] = []
    trace = None
    if not {"torch", "memory"}.isdisjoint(config.profile):
        from mnistbench.recorder.operator_trace import OperatorTrace  # which imports torch

        hooks.append(trace := OperatorTrace(steps, config, on_cuda=on_cuda))
    if "memory" in config.profile and on_cuda:
        hooks.append(CudaMemory(steps))
    if "sampling" in config.profile:
        hooks.append(PythonSampling(steps))
    if "nvtx" in config.profile:
        hooks.append(NvtxRanges(steps))
    return Profilers(config, steps, hooks, trace, Hooks(added).watch_steps)


def _slowdown(durations_s: Sequence[float], steps: range) -> float | None:
    """How many times as long the profiled `steps` took, by medians.

    Neither the first step of all nor the one before the profiled ones, at which a profiler warms
    up, is held against them.
    """
    others = [*durations_s[1 : max(steps.start - 1, 1)], *durations_s[steps.stop :]]
    watched = durations_s[steps.start : steps.stop]
    return median(watched) / median(others) if watched and others else None
