"""The two loops put together: what makes a training step, and what evaluates."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mnistbench.engine.evaluation import Evaluator
from mnistbench.engine.fast_step import FastStep, Objective
from mnistbench.engine.step import StockStep
from mnistbench.schema.config import RunConfig
from mnistbench.workload.augment import build_augment, shifted_views
from mnistbench.workload.batch_last import BatchLast
from mnistbench.workload.batches import Preprocess
from mnistbench.workload.datasets import LoadedDataset
from mnistbench.workload.losses import build_loss

__all__ = ["Step", "build_loop"]

_log = logging.getLogger(__name__)

Step = StockStep | FastStep


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
        InputError: the model cannot be run as ``config.batch_last`` asks.
    """
    mean, std = loaded.pixel_mean, loaded.pixel_std
    preprocess = Preprocess(mean=mean, std=std, augment=build_augment(config), seed=config.seed)
    plain = Preprocess(mean=mean, std=std)
    stock = config.loop == "stock" or _why_stock(config, accelerator)
    make = _stock if stock else _fast
    step, network = make(config, accelerator, model, optimizer, preprocess)

    def logits(images: Tensor) -> Tensor:
        views = shifted_views(images, config.eval_shift_px)
        return torch.stack([network(plain(view)) for view in views]).mean(dim=0)

    evaluator = Evaluator(
        accelerator=accelerator,
        model=accelerator.unwrap_model(model),  # DDP would wait for equal shards
        logits=logits,
        loss_fn=build_loss(config),
        eval_batch_size=config.eval_batch_size,
    )
    return step, evaluator


def _why_stock(config: RunConfig, accelerator: Accelerator) -> str | None:
    """Why a run that asks for the fast loop does not get it, if so."""
    if config.loop == "fast" and accelerator.mixed_precision in {"fp16", "fp8"}:
        return f"{accelerator.mixed_precision} needs Accelerate's own backward and optimizer"
    return None


_Made = tuple[Step, Callable[[Tensor], Tensor]]


def _stock(
    config: RunConfig,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    preprocess: Preprocess,
) -> _Made:
    step = StockStep(
        accelerator=accelerator,
        model=cast("nn.Module", torch.compile(model)) if config.compile else model,
        optimizer=optimizer,
        loss_fn=build_loss(config),
        preprocess=preprocess,
        floor_reason=_why_stock(config, accelerator),
    )
    return step, accelerator.unwrap_model(model)


def _fast(
    config: RunConfig,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    preprocess: Preprocess,
) -> _Made:
    inner = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    bf16 = accelerator.mixed_precision == "bf16"
    forward: Callable[[Tensor], Tensor] = inner
    if config.batch_last and accelerator.device.type == "cpu":
        forward = BatchLast(inner, dtype=torch.bfloat16 if bf16 else torch.float32)
        bf16 = False  # it casts by itself

    def network(images: Tensor) -> Tensor:
        # a cache of cast weights would outlive the step in a captured graph
        with torch.autocast(
            accelerator.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False
        ):
            logits = forward(images)
        return logits.float()

    step = FastStep(
        config,
        accelerator,
        model=inner,
        optimizer=optimizer.optimizer,
        objective=Objective(network, build_loss(config), preprocess),
    )
    return step, network
