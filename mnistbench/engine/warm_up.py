"""What was built runs on blank data, before the train clock, in the mode that it can run in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mnistbench.engine.distributed import agree, decide_together
from mnistbench.engine.evaluation import Evaluator
from mnistbench.engine.memory import is_out_of_memory, smaller_batch
from mnistbench.engine.observed import unearned_label
from mnistbench.engine.process_loss import is_process_loss
from mnistbench.engine.run import BuiltParts, RunContext, Step
from mnistbench.schema.errors import InputError, RunError, first_line


def warm_up(context: RunContext, parts: BuiltParts) -> BuiltParts:
    """Run both shapes of an epoch, the full batch and the last one, before the clock runs.

    First each process by itself, so that none waits for one that cannot; then, in the mode that
    all can run, together.
    """
    step, accelerator, shards = parts.step, context.accelerator, context.batch_plan.warmup_shards()
    with step.unchanged():
        evaluator, problem = _prepare(context, parts)
        reason = agree(accelerator, problem)
        if reason is not None:
            _fall_back(context, step, reason)
            evaluator = parts.evaluator
        observed = step.rehearse(shards)
    mislabelled = agree(accelerator, unearned_label(step.plan, observed))
    if mislabelled is not None:
        raise RunError(mislabelled if accelerator.is_main_process else "")
    return replace(parts, evaluator=evaluator, observed=observed)


def _prepare(context: RunContext, parts: BuiltParts) -> tuple[Evaluator, str | InputError | None]:
    """The evaluator to use, and why the step cannot run as planned on this process, if so."""
    try:
        parts.step.prepare(context.batch_plan.warmup_shards())
        if parts.step.plan.mode == "compiled":
            return parts.evaluator.compiled(context.data.blank), None
    except Exception as error:  # the user's code may raise what it likes where it is compiled
        if isinstance(error, InputError) or is_process_loss(error):
            raise
        if is_out_of_memory(error):
            size = context.batch_plan.global_batch_size
            return parts.evaluator, InputError(smaller_batch(context.config, size))
        if not context.plan.compile and context.plan.mode != "graph":
            raise
        return parts.evaluator, _why_not_compiled(error)
    return parts.evaluator, None


def _why_not_compiled(error: Exception) -> str:
    """What torch.compile or its backend said, and at which line of the code it compiles."""
    said = first_line(getattr(error, "inner_exception", error))
    frames = getattr(error, "real_stack", None) or []
    return f"{said} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else said


def _fall_back(context: RunContext, step: Step, reason: str) -> None:
    """Run as all processes can, unless the mode was asked for."""
    if not context.plan.is_explicit:
        step.fall_back(reason)
        return
    name = "compile" if context.plan.compile else "cuda_graph"

    def refuse() -> None:
        raise InputError(f"{name}: {reason}; use --no-{name.replace('_', '-')}")

    decide_together(context.accelerator, refuse)
