"""What is found out of the user's own components before training, on made-up data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnistbench.schema.component import DataShape, is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.user_calls import user_errors
from mnistbench.workload.losses import LossFn, build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from mnistbench.workload.schedules import lr_at

_NUM_SAMPLES = 8
_PART = 1  # sample, which is what the last batch of an epoch may have
_TOLERANCE = 1e-3  # of the loss; a sum would be 8 times its mean
_MOST_STEPS = 10_000  # at which a schedule is asked
_NUM_STEPS = 16  # of an optimizer, which may add up gradients over some


def check_components(
    config: RunConfig,
    shape: DataShape,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[str, str]]:
    """Build the components of `config` and make a step on made-up data of `shape`.

    Nothing of it is kept; only generators of random numbers move on. Each check gives its name and
    what it found, as soon as it is done; built-in components take part in the checks of others.
    `dtype` is of autocast, `layout` of the weights.

    Raises:
        InputError: a component cannot be trained with; one line that names it.
    """
    model, loss_fn = build_model(config, shape).to(device), build_loss(config, device)
    model = model.to(memory_format=layout)
    yield "model", f"{sum(weight.numel() for weight in model.parameters()):,} parameters"
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_NUM_SAMPLES, *shape[:3], generator=generator).to(device)  # normalised
    labels = torch.arange(_NUM_SAMPLES, device=device) % shape.num_classes

    def network(images: Tensor) -> Tensor:
        with user_errors("model"), torch.autocast(device.type, dtype, enabled=dtype.itemsize < 4):
            logits = model(images)
        return _checked_logits(logits, [len(images), shape.num_classes])

    logits = network(images)
    with torch.no_grad():
        model.eval()
        network(images[:_PART])
        model.train()
    yield "logits", f"{list(logits.shape)} of images {list(images.shape)}"
    with torch.no_grad():
        _check_sum(loss_fn, logits, labels)
    loss = _loss(loss_fn, logits, labels)
    yield "loss", f"{loss.item():.4g}, a mean over samples"
    its_own = is_reference(config.loss) and logits.requires_grad
    _check_gradients(model, loss, of="loss" if its_own else "model")
    yield "gradients", "every weight gets one"
    optimizer = build_optimizer(model, config)
    _check_steps(optimizer, model, config)
    yield "optimizer", f"{type(optimizer).__name__} makes a step"


def check_schedule(config: RunConfig, *, num_steps: int, steps_per_epoch: int) -> str:
    """Ask a schedule of the user's own for steps from the first to the last; gives its range.

    Raises:
        InputError: it gives no finite number of 0 or more for one.
    """
    steps = {*range(0, num_steps, -(-num_steps // _MOST_STEPS)), num_steps - 1}
    length = {"num_steps": num_steps, "steps_per_epoch": steps_per_epoch}
    rates = [lr_at(step, config=config, **length) for step in sorted(steps)]
    return f"lr {min(rates):.3g} to {max(rates):.3g} over {num_steps:,} steps"


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _kind(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _checked_logits(logits: Any, expected: list[int]) -> Tensor:
    if _kind(logits) != str(expected):
        number = expected[1]
        raise InputError(
            f"model: its forward gives {_kind(logits)}, not logits {expected}; the data have "
            f"{number} classes (shape.num_classes, or --model-args num_classes={number})"
        )
    if not logits.is_floating_point() or not _is_finite(logits):
        raise InputError("model: its logits are not finite numbers on made-up images")
    return cast("Tensor", logits.float())


def _loss(loss_fn: LossFn, logits: Tensor, labels: Tensor) -> Tensor:
    with user_errors("loss"):
        loss: Any = loss_fn(logits, labels)
    if _kind(loss) != "[]":
        raise InputError(f"loss: gives {_kind(loss)}; return its mean(), a tensor of one number")
    if not loss.is_floating_point() or not _is_finite(loss):
        raise InputError(f"loss: is {loss.item()} on made-up data; it should be a finite number")
    return cast("Tensor", loss)


def _check_sum(loss_fn: LossFn, logits: Tensor, labels: Tensor) -> None:
    """Check that the loss is the mean of its parts', whatever they are: batches are shared out."""
    whole, again = (float(_loss(loss_fn, logits, labels)) for _ in range(2))
    sizes = [_PART, _NUM_SAMPLES - _PART]
    parts = zip(torch.split(logits, sizes), torch.split(labels, sizes), strict=True)
    mean = sum(len(part[1]) * float(_loss(loss_fn, *part)) for part in parts) / _NUM_SAMPLES
    if whole == again and abs(mean - whole) > _TOLERANCE * max(abs(whole), 1e-3):
        raise InputError(
            f"loss: {_NUM_SAMPLES} samples give {whole:.4g}, their parts {mean:.4g} on average, "
            "but processes share a batch; return the mean over samples of each one's own loss"
        )


def _check_gradients(model: nn.Module, loss: Tensor, *, of: str) -> None:
    """Check that every weight gets a finite one; where none does, component `of` is named."""
    if not loss.requires_grad:
        raise InputError(f"{of}: gives no gradient; use differentiable operations, outside no_grad")
    with user_errors(of):
        torch.autograd.backward(loss)
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.grad is None:
            raise InputError(
                f"model: the weight {name} gets no gradient; use it in forward, or set "
                "requires_grad=False"
            )
        if weight.grad is not None and not _is_finite(weight.grad):
            raise InputError(f"{of}: the gradient of {name} is not finite on made-up data")


def _check_steps(optimizer: torch.optim.Optimizer, model: nn.Module, config: RunConfig) -> None:
    """Check that steps change weights, as those of hooks in the backward pass do not."""
    before = [weight.detach().clone() for weight in model.parameters()]
    with user_errors("optimizer"):
        for _ in range(_NUM_STEPS):
            optimizer.step()
            if not all(map(torch.equal, before, model.parameters())):
                break
        else:
            if is_reference(config.optimizer):
                name = type(optimizer).__name__
                raise InputError(
                    f"optimizer: {name}.step changes no weight; it has to update them by their "
                    "grad, not in hooks of the backward pass"
                )
    if bad := next((name for name, one in model.named_parameters() if not _is_finite(one)), None):
        raise InputError(
            f"optimizer: a step at lr {config.lr:g} leaves the weight {bad} not finite"
        )
