"""Which hooks watch a run."""

from __future__ import annotations

from accelerate import Accelerator

from mnistbench.engine.run import RunContext
from mnistbench.engine.trackers import Trackers, check_trackers
from mnistbench.recorder.environment import device_name
from mnistbench.recorder.hooks import Hook, Hooks
from mnistbench.recorder.mllog import MlLog, Setup
from mnistbench.recorder.profiling import Profilers, check_profile, profilers
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError


def check_hooks(config: RunConfig, accelerator: Accelerator) -> None:
    """Raise `InputError` where a library or a device that is to watch the run is missing."""
    check_profile(config, on_cuda=accelerator.device.type == "cuda")
    if config.diagnose and accelerator.mixed_precision == "fp8":
        raise InputError("diagnose: has no ceilings for fp8; use another --mixed-precision")
    check_trackers(config)


def build_hooks(context: RunContext, *, precision: str, steps: range) -> tuple[Hooks, Profilers]:
    """The hooks of a run, `steps` of which are to be profiled, and those of them that profile.

    Those added in Python come last. `precision` is the coarsest number, in MLPerf's words.
    """
    config, accelerator = context.config, context.accelerator
    on_cuda = accelerator.device.type == "cuda"
    profiling = profilers(config, steps, on_cuda=on_cuda, added=context.hooks)
    hooks: list[Hook] = [*profiling.hooks]
    if config.log_with:
        hooks.append(Trackers(config, accelerator))
    if config.mllog:
        setup = Setup(
            device_name=device_name(accelerator.device),
            num_processes=accelerator.num_processes,
            precision=precision,
            lr_peak=config.lr * context.lr_factor,
            steps_per_epoch=context.batch_plan.steps_per_epoch,
            global_batch_size=context.batch_plan.global_batch_size,
        )
        hooks.append(MlLog(context.data.info, setup))
    return Hooks([*hooks, *context.hooks]), profiling
