"""What a run is built of: model, optimizer, step and evaluator, as its plan says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn

from mnistbench.engine.distributed import agree, decide_together, share_from_main
from mnistbench.engine.evaluation import Evaluator
from mnistbench.engine.exact_parity import check_exact
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.gradient_allreduce import GradientAllReduce
from mnistbench.engine.objective import Objective
from mnistbench.engine.own_state import optimizer_state
from mnistbench.engine.plan import ExecutionPlan
from mnistbench.engine.run import BuiltParts, RunContext, Step
from mnistbench.engine.stock_step import StockStep
from mnistbench.engine.warm_up import warm_up
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.compile_cache import kernels_folder
from mnistbench.schema.component import is_reference
from mnistbench.schema.errors import InputError
from mnistbench.workload.augment import build_augment, shifted_logits
from mnistbench.workload.batches import Preprocess
from mnistbench.workload.chwn_layout import ChwnNetwork
from mnistbench.workload.component_checks import check_components, check_schedule
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer

_log = logging.getLogger(__name__)

_WITH_SYNC_BATCH_NORM = {"cuda", "xpu", "hpu"}
"""Devices for which torch has it; its kernels are not there for the CPU."""

Network = Callable[[Tensor], Tensor]
"""Normalised images ``[B, C, H, W]`` to logits ``[B, num_classes]``."""


def build_parts(context: RunContext, ledger: Ledger) -> BuiltParts:
    """Build the workload and warm it up, outside the train clock; every process must call this.

    Raises:
        InputError: the device's memory, the compiler or the model is not up to what was asked for.
        RunError: what ran is not what was planned.
    """
    with ledger.phase("build"):
        context = _tried(_with_kernels(context, ledger))
        parts = _build(context)
    with ledger.phase("compile"):
        try:
            return _as_built(context, warm_up(context, parts))
        except BaseException:
            parts.step.release()  # before the processes part
            raise


def _tried(context: RunContext) -> RunContext:
    """`context`, once the user's own components have made a step on made-up data, if there are any.

    A network that calls ``view`` cannot have channels last; it runs without.
    """
    plan, accelerator = context.plan, context.accelerator
    contiguous = replace(plan, channels_last=False)

    def why_contiguous() -> str | None:
        try:
            _try_own(context, plan)
        except InputError as error:
            if not (plan.channels_last and "model" in plan.own):
                raise
            _try_own(context, contiguous)
            return str(error)
        return None

    reason = decide_together(accelerator, why_contiguous)
    if reason is None:
        return context
    if accelerator.is_main_process:
        _log.warning(f"the model runs as with --no-channels-last: {reason.partition(': ')[2]}")
    return replace(context, plan=contiguous)


def _with_kernels(context: RunContext, ledger: Ledger) -> RunContext:
    """`context`, with torch's kernels where own ones cannot be had and were not asked for."""
    plan, asked = context.plan, context.config.batch_last
    if plan.kernels == "torch":
        return context
    why = _why_torch_kernels(context, ledger)
    fatal = InputError(f"batch_last: {why}; use --no-batch-last") if asked and why else None
    why = agree(context.accelerator, fatal or why)
    if why is None:
        return context
    return replace(context, plan=replace(plan, kernels="torch", kernels_reason=why))


def _why_torch_kernels(context: RunContext, ledger: Ledger) -> str | None:
    """Why this network has no kernels of our own, or this process none of any, if so."""
    saved = context.saved
    if saved and saved.state.kernels == "torch" and not context.config.batch_last:
        return "the run began with them"
    try:
        with torch.device("cpu" if "model" in context.plan.own else "meta"):
            ChwnNetwork(build_model(context.config, context.data.loaded.shape))
    except InputError as error:
        return str(error)
    with ledger.phase("compile"):
        why = why_unavailable(kernels_folder())
    if why and context.accelerator.is_main_process:
        _say_once(f"torch's own kernels convolve, not ours: {why}")
    return why


@cache
def _say_once(line: str) -> None:
    _log.info(line)


def _try_own(context: RunContext, plan: ExecutionPlan) -> None:
    config, batch_plan = context.config, context.batch_plan
    if plan.own:
        shape, device = context.data.loaded.shape, context.accelerator.device
        trial = {"device": device, "dtype": plan.dtype, "layout": _layout(plan)}
        for _ in check_components(config, shape, **trial):
            pass
    if is_reference(config.lr_schedule):
        length = {"num_steps": batch_plan.num_steps, "steps_per_epoch": batch_plan.steps_per_epoch}
        check_schedule(config, **length)


def _as_built(context: RunContext, warm: BuiltParts) -> BuiltParts:
    """`warm`, with the user's own made anew, unless it was seen to keep nothing but tensors."""
    plan = warm.plan
    if not plan.own:
        return warm
    if "optimizer" in plan.own and context.config.checkpoint_every_steps:
        decide_together(context.accelerator, lambda: optimizer_state(warm.optimizer))
    if plan.mode in {"eager", "stock"} and not plan.compile:
        context.accelerator.free_memory()
        anew = _build(replace(context, plan=plan))
        return replace(anew, observed=warm.observed)
    if "optimizer" not in plan.own:
        return warm
    optimizer = build_optimizer(warm.model, context.config)
    prepare = context.accelerator.prepare_optimizer
    warm.step.optimizer = optimizer if plan.loop == "fast" else prepare(optimizer)
    return replace(warm, optimizer=optimizer)


def _build(context: RunContext) -> BuiltParts:
    config, accelerator, plan = context.config, context.accelerator, context.plan
    set_seed(config.seed)  # the same weights on every process
    model = build_model(config, context.data.loaded.shape)
    model = model.to(accelerator.device).to(memory_format=_layout(plan))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if accelerator.device.type in _WITH_SYNC_BATCH_NORM and accelerator.num_processes > 1:
        # over the global batch, as on one process
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    optimizer = build_optimizer(model, config, fused=plan.fused_optimizer)
    make = _stock_step if plan.loop == "stock" else _fast_step
    step: Step = make(context, model, optimizer)
    inner = model if isinstance(step, FastStep) else accelerator.unwrap_model(step.model)
    set_seed(config.seed, device_specific=True)  # dropout of its own on every process
    return BuiltParts(
        model=inner,
        optimizer=optimizer,
        step=step,
        evaluator=_evaluator(context, inner, step.objective),
        num_parameters=num_parameters,
    )


def _layout(plan: ExecutionPlan) -> torch.memory_format:
    """That of the weights, which own kernels read as torch's are by default."""
    last = plan.memory_format == "channels_last"
    return torch.channels_last if last else torch.contiguous_format


def _objective(context: RunContext, network: Network) -> Objective:
    config, loaded = context.config, context.data.loaded
    device, num_processes = context.accelerator.device, context.accelerator.num_processes
    samples = config.per_device_batch_size or (config.global_batch_size or 1) // num_processes
    preprocess = Preprocess(
        mean=loaded.pixel_mean,
        std=loaded.pixel_std,
        augment=build_augment(config),
        seed=config.seed,
        device=device,
    )
    return Objective(
        network=network,
        loss_fn=build_loss(config, device),
        preprocess=preprocess,
        blank=context.data.blank,
        num_microbatches=min(config.gradient_accumulation_steps, samples),  # each has a sample
    )


def _stock_step(
    context: RunContext, model: nn.Module, optimizer: torch.optim.Optimizer
) -> StockStep:
    """Accelerate's way: its autocast, scaler, and DDP or FSDP round the model."""
    accelerator = context.accelerator
    prepared, wrapped = accelerator.prepare(model, optimizer)
    # with its hooks, which FSDP lives by, and never the compiled form
    network: Network = accelerator.unwrap_model(prepared)._call_impl  # noqa: SLF001
    return StockStep(
        context.plan,
        accelerator=accelerator,
        model=prepared,
        optimizer=wrapped,
        objective=_objective(context, network),
    )


def _fast_step(context: RunContext, model: nn.Module, optimizer: torch.optim.Optimizer) -> FastStep:
    """The step by itself: DDP would keep nodes of the graph of gradients on another stream."""
    config, accelerator, plan = context.config, context.accelerator, context.plan
    objective = _objective(context, _network(plan, accelerator.device, model))
    if config.exact_parity:
        counts = accelerator.num_processes, objective.num_microbatches
        decide_together(accelerator, lambda: check_exact(model, objective, counts))
    share_from_main(accelerator, [*model.parameters(), *model.buffers()])
    return FastStep(
        plan,
        model=model,
        optimizer=optimizer,
        objective=objective,
        allreduce=GradientAllReduce(
            accelerator.num_processes, exact=plan.gradient_exchange == "pairwise"
        ),
    )


def _network(plan: ExecutionPlan, device: torch.device, model: nn.Module) -> Network:
    """The fast loop's way from normalised images to logits float32, in the planned precision."""
    dtype = plan.dtype
    if plan.kernels == "own":
        return ChwnNetwork(model, dtype=dtype)

    def network(images: Tensor) -> Tensor:
        # a cache of cast weights would outlive the step in a captured graph
        enabled = dtype != torch.float32
        with torch.autocast(device.type, dtype, enabled=enabled, cache_enabled=False):
            logits: Tensor = model(images)
        return logits.float()

    return network


def _evaluator(context: RunContext, model: nn.Module, objective: Objective) -> Evaluator:
    config, (network, loss_fn, preprocess, *_) = context.config, objective

    def logits(images: Tensor) -> Tensor:
        return shifted_logits(
            lambda view: network(preprocess(view)),
            images,
            distance=config.eval_shift_px,
            share=config.eval_shift_share,
        )

    return Evaluator(
        accelerator=context.accelerator,
        model=model,  # DDP would wait for equal shards
        logits=logits,
        loss_fn=loss_fn,
        eval_batch_size=config.eval_batch_size,
        in_step=context.plan.gradient_exchange == "fsdp",
    )
