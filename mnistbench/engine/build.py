"""What a run is built of: model, optimizer, step and evaluator, as its plan says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn

from mnistbench.engine.distributed import agree, decide_together, share_from_main
from mnistbench.engine.evaluation import Evaluator
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.gradient_allreduce import GradientAllReduce
from mnistbench.engine.memory import is_out_of_memory, smaller_batch
from mnistbench.engine.objective import Objective
from mnistbench.engine.observed import unearned_label
from mnistbench.engine.plan import ExecutionPlan
from mnistbench.engine.process_loss import is_process_loss
from mnistbench.engine.run import BuiltParts, RunContext, Step
from mnistbench.engine.stock_step import StockStep
from mnistbench.recorder.clock import Ledger
from mnistbench.schema.errors import InputError, RunError, first_line
from mnistbench.workload.augment import build_augment, shifted_views
from mnistbench.workload.batches import Preprocess
from mnistbench.workload.chwn_layout import ChwnNetwork
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer

__all__ = ["build_parts", "differs_by_process"]

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
        parts = _build(context)
    with ledger.phase("compile"):
        try:
            return _warm_up(context, parts)
        except BaseException:
            parts.step.release()  # before the processes part
            raise


def _build(context: RunContext) -> BuiltParts:
    config, accelerator, plan = context.config, context.accelerator, context.plan
    set_seed(config.seed)  # the same weights on every process
    layout = torch.channels_last if plan.channels_last else torch.contiguous_format
    model = (
        build_model(config, context.data.loaded.shape)
        .to(accelerator.device)
        .to(memory_format=layout)
    )
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if accelerator.device.type in _WITH_SYNC_BATCH_NORM and accelerator.num_processes > 1:
        # over the global batch, as on one process
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    optimizer = build_optimizer(model, config, fused=plan.fused_optimizer)
    make = _stock_step if plan.loop == "stock" else _fast_step
    step, network = make(context, model, optimizer)
    inner = model if isinstance(step, FastStep) else accelerator.unwrap_model(step.model)
    set_seed(config.seed, device_specific=True)  # dropout of its own on every process
    return BuiltParts(
        model=inner,
        optimizer=optimizer,
        step=step,
        evaluator=_evaluator(context, inner, network),
        num_parameters=num_parameters,
    )


def _stock_step(
    context: RunContext, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Step, Network]:
    """Accelerate's way: its autocast, scaler, and DDP or FSDP round the model."""
    accelerator = context.accelerator
    prepared, wrapped = accelerator.prepare(model, optimizer)
    # with its hooks, which FSDP lives by, and never the compiled form
    network: Network = accelerator.unwrap_model(prepared)._call_impl  # noqa: SLF001
    step = StockStep(
        context.plan,
        accelerator=accelerator,
        model=prepared,
        optimizer=wrapped,
        objective=_objective(context, network),
    )
    return step, network


def _objective(context: RunContext, network: Network) -> Objective:
    return Objective(
        network=network,
        loss_fn=build_loss(context.config),
        preprocess=_preprocess(context, augmented=True),
        blank=context.data.blank,
        num_microbatches=_num_microbatches(context),
    )


def _fast_step(
    context: RunContext, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Step, Network]:
    """The step by itself: DDP would keep nodes of the graph of gradients on another stream."""
    config, accelerator, plan = context.config, context.accelerator, context.plan
    if config.exact_parity:
        counts = accelerator.num_processes, _num_microbatches(context)
        decide_together(accelerator, lambda: _check_exact(model, counts))
    share_from_main(accelerator, [*model.parameters(), *model.buffers()])
    network = _network(plan, accelerator.device, model)
    step = FastStep(
        plan,
        model=model,
        optimizer=optimizer,
        objective=_objective(context, network),
        allreduce=GradientAllReduce(
            accelerator.num_processes, exact=plan.gradient_exchange == "pairwise"
        ),
    )
    return step, network


def _network(plan: ExecutionPlan, device: torch.device, model: nn.Module) -> Network:
    """The fast loop's way from normalised images to logits float32, in the planned precision."""
    dtype = getattr(torch, plan.autocast_dtype)
    if plan.memory_format == "chwn":
        return ChwnNetwork(model, dtype=dtype)

    def network(images: Tensor) -> Tensor:
        # a cache of cast weights would outlive the step in a captured graph
        enabled = dtype != torch.float32
        with torch.autocast(device.type, dtype, enabled=enabled, cache_enabled=False):
            logits: Tensor = model(images)
        return logits.float()

    return network


def _preprocess(context: RunContext, *, augmented: bool) -> Preprocess:
    config, loaded = context.config, context.data.loaded
    return Preprocess(
        mean=loaded.pixel_mean,
        std=loaded.pixel_std,
        augment=build_augment(config) if augmented else None,
        seed=config.seed,
        device=context.accelerator.device,
    )


def _evaluator(context: RunContext, model: nn.Module, network: Network) -> Evaluator:
    config, plain = context.config, _preprocess(context, augmented=False)

    def logits(images: Tensor) -> Tensor:
        views = shifted_views(images, config.eval_shift_px)
        return torch.stack([network(plain(view)) for view in views]).mean(dim=0)

    return Evaluator(
        accelerator=context.accelerator,
        model=model,  # DDP would wait for equal shards
        logits=logits,
        loss_fn=build_loss(config),
        eval_batch_size=config.eval_batch_size,
        in_step=context.plan.gradient_exchange == "fsdp",
    )


def _num_microbatches(context: RunContext) -> int:
    """Batches that each process cuts a step into: not more than it has samples."""
    config, num_processes = context.config, context.accelerator.num_processes
    samples = config.per_device_batch_size or (config.global_batch_size or 1) // num_processes
    return min(config.gradient_accumulation_steps, samples)


def _check_exact(model: nn.Module, counts: Sequence[int]) -> None:
    """Refuse what `exact_parity` cannot promise.

    Raises:
        InputError: sums in pairs, or layers whose work differs with the pieces, are in the way.
    """
    if any(count & (count - 1) for count in counts):
        raise InputError(
            "exact_parity: needs powers of two, not "
            f"{counts[0]} processes with {counts[1]} pieces each; choose other numbers"
        )
    layer = differs_by_process(model)
    if layer:
        raise InputError(f"exact_parity: {layer}; leave it out of the model, or exact_parity off")


def differs_by_process(model: nn.Module) -> str | None:
    """Name a layer whose result depends on the number of processes, or ``None``."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) or (  # noqa: SLF001
            isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0  # noqa: SLF001
        ):
            return f"{type(layer).__name__} goes by the process and its batch"
    return None


def _warm_up(context: RunContext, parts: BuiltParts) -> BuiltParts:
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
    except RuntimeError as error:
        if is_process_loss(error):
            raise
        if is_out_of_memory(error):
            size = context.batch_plan.global_batch_size
            return parts.evaluator, InputError(smaller_batch(context.config, size))
        if not context.plan.compile and context.plan.mode != "graph":
            raise
        cause = getattr(error, "inner_exception", error)  # what the backend of torch.compile said
        return parts.evaluator, first_line(cause)
    return parts.evaluator, None


def _fall_back(context: RunContext, step: Step, reason: str) -> None:
    """Run as all processes can.

    Raises:
        InputError: the mode was asked for.
    """
    if not context.plan.is_explicit:
        step.fall_back(reason)
        return
    name = "compile" if context.plan.compile else "cuda_graph"

    def refuse() -> None:
        raise InputError(f"{name}: {reason}; use --no-{name.replace('_', '-')}")

    decide_together(context.accelerator, refuse)
