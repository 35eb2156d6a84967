"""The loop that a good user would write by hand, with the ingredients of our fast loop.

The set lies on the device as uint8 and each batch is gathered from it in our order of samples; the
network, its memory layout, the precision, the learning rates and the settings of the process are
those that the configuration names. The update is torch's own optimizer, called step by step, or,
with ``compile``, its functional form in one graph with forward, loss and backward, whose guards are
not looked at again once it is warm. There are no CUDA graphs and no augmentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy

import torch
from torch import Tensor, nn

from mnistbench.engine.plan import ExecutionPlan, Hardware, resolve_plan
from mnistbench.engine.process_settings import applied
from mnistbench.recorder.compile_cache import kernels_folder
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import num_val
from mnistbench.schema.errors import InputError
from mnistbench.workload.batches import epoch_order
from mnistbench.workload.chwn_layout import ChwnNetwork
from mnistbench.workload.datasets import LoadedDataset, load_dataset
from mnistbench.workload.functional_update import functional_update
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from mnistbench.workload.schedules import lr_at

_Loss = Callable[[Tensor, Tensor], Tensor]
"""The loss ``[]`` of images uint8 ``[b, 1, 28, 28]`` and labels int64 ``[b]``."""

_Step = Callable[[Tensor, Tensor, float], Tensor]
"""Trains on images and labels at a learning rate; gives the loss ``[]``, detached."""


def train_by_hand(
    config: RunConfig, *, num_steps: int, device: torch.device
) -> tuple[float, list[float]]:
    """Seconds that `num_steps` whole batches of one epoch took, and the loss of each step."""
    loaded = load_dataset(config.dataset, config)
    num_train = len(loaded.train) - num_val(config, len(loaded.train))
    images = loaded.train.data[:num_train].to(device)
    labels = loaded.train.targets[:num_train].to(device)
    batch = config.global_batch_size or 64
    length = {"num_steps": num_steps, "steps_per_epoch": -(-num_train // batch)}
    losses = []
    with applied(config, _plan(config, device)):
        step = _warm_step(config, loaded, batch=batch, device=device)
        with torch.compiler.set_stance(skip_guard_eval_unsafe=True):  # safe: only whole batches
            started = time.perf_counter()
            order = epoch_order(num_train, seed=config.seed, epoch=0).to(device)
            for index, chosen in enumerate(order.split(batch)[:num_steps]):
                lr = lr_at(index, config=config, **length)
                loss = step(images.index_select(0, chosen), labels.index_select(0, chosen), lr)
                losses.append(loss)
            values = torch.stack(losses).tolist()  # waits for the device
            return time.perf_counter() - started, values


def _plan(config: RunConfig, device: torch.device) -> ExecutionPlan:
    return resolve_plan(config, Hardware(device=device))


def _warm_step(
    config: RunConfig, loaded: LoadedDataset, *, batch: int, device: torch.device
) -> _Step:
    """A step on new weights that has met its shapes, and was compiled, on blank data."""
    torch.manual_seed(config.seed)
    last = _plan(config, device).memory_format == "channels_last"
    layout = torch.channels_last if last else torch.contiguous_format
    model = build_model(config, loaded.shape).to(device).to(memory_format=layout)
    optimizer = build_optimizer(model, config)
    loss_of = _loss(config, model, loaded, device=device)
    step = _eager(optimizer, loss_of)
    images = torch.zeros(batch, *loaded.shape[:3], dtype=torch.uint8, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    with _put_back(model, optimizer), torch._dynamo.config.patch(trace_autograd_ops=True):  # noqa: SLF001
        step(images, labels, config.lr)
        if config.compile:
            step = _compiled(model, optimizer, loss_of, lr=torch.tensor(config.lr, device=device))
            for _ in range(2):
                step(images, labels, config.lr)
    return step


def _loss(
    config: RunConfig, model: nn.Module, loaded: LoadedDataset, *, device: torch.device
) -> _Loss:
    bf16, network, loss_fn = config.mixed_precision == "bf16", model, build_loss(config)
    if _plan(config, device).kernels == "own" and why_unavailable(kernels_folder()) is None:
        dtype = torch.bfloat16 if bf16 else torch.float32
        with suppress(InputError):  # of a network without a convolution
            network, bf16 = ChwnNetwork(model, dtype=dtype), False  # it casts by itself
    (mean,), (std,) = loaded.pixel_mean, loaded.pixel_std
    scale, shift = 1 / (255 * std), mean / std

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        pixels = images.float().mul_(scale).sub_(shift)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(pixels)
        return loss_fn(logits.float(), labels)

    return loss_of


def _eager(optimizer: torch.optim.Optimizer, loss_of: _Loss) -> _Step:
    def step(images: Tensor, labels: Tensor, lr: float) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _compiled(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: _Loss, *, lr: Tensor
) -> _Step:
    """The step as one graph; `optimizer` has made a step, and torch can trace its update."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    update = functional_update(optimizer, lr)

    def whole(images: Tensor, labels: Tensor) -> Tensor:
        loss = loss_of(images, labels)
        grads = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            update(grads)
        return loss.detach()

    torch.compiler.reset()
    compiled = torch.compile(whole, fullgraph=True, dynamic=False)

    def step(images: Tensor, labels: Tensor, rate: float) -> Tensor:
        lr.fill_(rate)
        return compiled(images, labels)

    return step


@contextmanager
def _put_back(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Give the model its weights back at the end, and leave the optimizer's state at zero."""
    before = deepcopy(model.state_dict())
    yield
    model.load_state_dict(before)
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()
