"""The two loops put together: what makes a training step, and what evaluates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mnistbench.engine.distributed import decide_together, shards_weights
from mnistbench.engine.evaluation import Evaluator
from mnistbench.engine.fast_step import FastStep, Objective
from mnistbench.engine.stock_step import StockStep
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.augment import build_augment, shifted_views
from mnistbench.workload.batches import Preprocess
from mnistbench.workload.chwn_layout import ChwnNetwork
from mnistbench.workload.datasets import LoadedDataset
from mnistbench.workload.losses import build_loss

__all__ = ["Step", "build_loop", "goes_by_process"]

Step = StockStep | FastStep

Network = Callable[[Tensor], Tensor]
"""Normalised images ``[B, 1, 28, 28]`` to logits ``[B, 10]``."""


def build_loop(
    config: RunConfig,
    accelerator: Accelerator,
    *,
    loaded: LoadedDataset,
    model: nn.Module,
    optimizer: Any,
) -> tuple[Step, Evaluator]:
    """The step and the evaluator of ``config.loop``; `model` and `optimizer` as prepared.

    Raises:
        InputError: the model cannot be run as ``config.batch_last`` or ``exact_parity`` asks.
    """
    preprocess, plain = (
        Preprocess(mean=loaded.pixel_mean, std=loaded.pixel_std, augment=augment, seed=config.seed)
        for augment in (build_augment(config), None)
    )
    num_microbatches = _num_pieces(config, accelerator.num_processes)
    step: Step
    why_stock = _why_stock(accelerator)
    if config.loop == "stock" or why_stock:
        network: Network = accelerator.unwrap_model(model)
        step = StockStep(
            accelerator=accelerator,
            model=cast("nn.Module", torch.compile(model)) if config.compile else model,
            optimizer=optimizer,
            loss_fn=build_loss(config),
            preprocess=preprocess,
            num_microbatches=num_microbatches,
            fallback_reason=None if config.loop == "stock" else why_stock,
        )
    else:
        inner = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        if config.exact_parity:
            counts = accelerator.num_processes, num_microbatches
            decide_together(accelerator, lambda: _check_exact(inner, counts))
        network = _network(config, accelerator, inner)
        step = FastStep(
            config,
            accelerator,
            model=inner,
            optimizer=optimizer.optimizer,
            objective=Objective(network, build_loss(config), preprocess, num_microbatches),
        )

    def logits(images: Tensor) -> Tensor:
        views = shifted_views(images, config.eval_shift_px)
        return torch.stack([network(plain(view)) for view in views]).mean(dim=0)

    evaluator = Evaluator(
        accelerator=accelerator,
        model=accelerator.unwrap_model(model),  # DDP would wait for equal shards
        logits=logits,
        loss_fn=build_loss(config),
        eval_batch_size=config.eval_batch_size,
        in_step=shards_weights(accelerator),
    )
    return step, evaluator


def _num_pieces(config: RunConfig, num_processes: int) -> int:
    """Batches that each process cuts a step into: not more than it has samples."""
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
    layer = goes_by_process(model)
    if layer:
        raise InputError(f"exact_parity: {layer}; leave it out of the model, or exact_parity off")


def goes_by_process(model: nn.Module) -> str | None:
    """Why another number of processes would train `model` otherwise, if so, in words."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) or (  # noqa: SLF001
            isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0  # noqa: SLF001
        ):
            return f"{type(layer).__name__} goes by the process and its batch"
    return None


def _why_stock(accelerator: Accelerator) -> str | None:
    """Why the fast loop cannot be had, if so."""
    if accelerator.mixed_precision in {"fp16", "fp8"}:
        return f"{accelerator.mixed_precision} needs Accelerate's own backward and optimizer"
    if shards_weights(accelerator):
        return "FSDP holds a share of the weights on each process"
    return None


def _network(config: RunConfig, accelerator: Accelerator, model: nn.Module) -> Network:
    """The fast loop's way from normalised images to logits float32, in the precision asked for."""
    bf16 = accelerator.mixed_precision == "bf16"
    if config.batch_last and accelerator.device.type == "cpu":
        return ChwnNetwork(model, dtype=torch.bfloat16 if bf16 else torch.float32)

    def network(images: Tensor) -> Tensor:
        # a cache of cast weights would outlive the step in a captured graph
        with torch.autocast(
            accelerator.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False
        ):
            logits: Tensor = model(images)
        return logits.float()

    return network
