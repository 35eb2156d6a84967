"""A run that is built as the engine builds it, for tests of its parts."""

from contextlib import ExitStack

import torch

from mnistbench.engine import build
from mnistbench.engine.run import Run, TrainingOutcome, TrainingState
from mnistbench.engine.setting import run_context, start_setting
from mnistbench.engine.warm_up import warm_up
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.used_device import step_timer


def built_run(config, *, warm=True):
    """A run of `config`, warmed up or not."""
    ledger = Ledger()
    context = run_context(start_setting(config, ledger, held=ExitStack()), seed=config.seed)
    losses = torch.zeros(context.batch_plan.num_steps, device=context.accelerator.device)
    timer = step_timer(context.accelerator.device)
    state = TrainingState(ledger=ledger, losses=losses, timer=timer)
    parts = build.build_parts(context, ledger) if warm else build._build(context)
    return Run(context, parts, state, TrainingOutcome())


def warmed_up(run):
    """The same run, warmed up."""
    return run._replace(parts=warm_up(run.context, run.parts))


def batches(run):
    """Its batches."""
    return run.context.data.batches(run.context.batch_plan, run.config)
