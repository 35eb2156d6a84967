"""Model, loss and optimizer of the user's own, built anew at each call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.user_calls import built_with, check_fits, name_of, takes, user_errors
from mnistbench.workload.components import load_component

_made: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Weights of the user's networks that are alive."""


def check_own(config: RunConfig, field: str) -> str:
    """Import what `field` refers to, and check how it will be called; gives its name.

    How a data set is called is left to who reads it.

    Raises:
        InputError: it cannot be imported, or its arguments do not fit.
    """
    component = load_component(field, getattr(config, field))
    if field == "model":
        check_fits(field, component, config.model_args, **_with_shape(component, None))
    elif field == "loss":
        batch = () if inspect.isclass(component) else (None, None)
        check_fits(field, component, config.loss_args, *batch)
    elif field == "optimizer":
        positional, given = _of_optimizer(component, None, config.lr)
        check_fits(field, component, config.optimizer_args, *positional, **given)
    elif field == "lr_schedule":
        if inspect.isclass(component):
            raise InputError(
                f"lr_schedule: {name_of(component)} is a class; name a function that gives a "
                "factor of the learning rate for (step, num_steps, steps_per_epoch)"
            )
        check_fits(field, component, {}, 0, 1, 1)
    return name_of(component)


def own_model(config: RunConfig, shape: DataShape) -> nn.Module:
    """The network that the class or function ``config.model`` makes for data of `shape`.

    Raises:
        InputError: it gives something else, or the same weights again.
    """
    component = load_component("model", config.model)
    given = _with_shape(component, shape)
    model = built_with("model", component, config.model_args, **given)
    name = name_of(component)
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise InputError(f"model: {name} should return a torch.nn.Module; it returns {kind}")
    for one in model.modules():
        _check_plain("model", name, one, inspect.getattr_static(type(one), "forward", None))
    trained = {weight: key for key, weight in model.named_parameters() if weight.requires_grad}
    if again := next((key for weight, key in trained.items() if weight in _made), None):
        raise InputError(f"model: {name} has its weight {again} again and again; make a new one")
    _made.update(trained)
    if any(map(is_lazy, model.parameters())):
        with user_errors("model"), torch.no_grad():
            model.eval()(torch.zeros(2, *shape[:3]))
    if not trained:
        raise InputError(f"model: {name} has no weight to train")
    if other := next((one.dtype for one in trained if one.dtype != torch.float32), None):
        raise InputError(
            f"model: {name} has weights of {other}; keep them in torch.float32, and set "
            "--mixed-precision for another type of arithmetic"
        )
    return model.train()


def own_loss(config: RunConfig, device: torch.device | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The function ``config.loss``, or one of that class; a module is on `device`.

    Raises:
        InputError: it cannot be made, or has weights of its own.
    """
    component, arguments = load_component("loss", config.loss), config.loss_args
    _check_plain("loss", name_of(component), component, getattr(component, "forward", None))
    if not inspect.isclass(component):
        return functools.partial(component, **arguments) if arguments else component
    loss_fn: Callable[[Tensor, Tensor], Tensor] = built_with("loss", component, arguments)
    if isinstance(loss_fn, nn.Module):
        if own := next((name for name, _ in loss_fn.named_parameters()), None):
            raise InputError(
                f"loss: {name_of(component)} has a weight of its own ({own}), which no optimizer "
                "would train; make it a part of the model, or a buffer"
            )
        loss_fn.to(device)
    return loss_fn


def own_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """The optimizer that the class or function ``config.optimizer`` makes over `model`'s weights.

    Its groups keep the ratio of their rates to ``config.lr``, as ``lr_scale``.

    Raises:
        InputError: it gives something else, leaves weights out, has no rate that a schedule can
            set, or needs a closure.
    """
    component = load_component("optimizer", config.optimizer)
    positional, given = _of_optimizer(component, model, config.lr)
    optimizer = built_with("optimizer", component, config.optimizer_args, *positional, **given)
    name = name_of(component)
    if not isinstance(optimizer, torch.optim.Optimizer):
        kind = type(optimizer).__name__
        raise InputError(f"optimizer: {name} should give a torch.optim.Optimizer, not {kind}")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(f"optimizer: {name}.step needs a closure, which no training loop has here")
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    for left, weight in model.named_parameters():
        if weight.requires_grad and id(weight) not in held:
            raise InputError(
                f"optimizer: {name} leaves out the weight {left}; set requires_grad=False in the "
                "model if it should stay as it is"
            )
    for group in optimizer.param_groups:
        if "lr" not in group:
            raise InputError(
                f"optimizer: {name} keeps no lr in its param_groups, where a schedule sets it; "
                "pass dict(lr=lr) to Optimizer.__init__ as defaults"
            )
        group.setdefault("lr_scale", float(group["lr"]) / config.lr)
    return optimizer


def _check_plain(field: str, name: str, *ones: object) -> None:
    """Refuse what is compiled already: a record would say that it ran eagerly."""
    marks = ("_orig_mod", "_torchdynamo_orig_callable", "_compiled_call_impl")
    is_script = any(isinstance(one, torch.jit.ScriptModule) for one in ones)
    if is_script or any(getattr(one, mark, None) is not None for one in ones for mark in marks):
        raise InputError(f"{field}: {name} is compiled already; leave that out, and use --compile")


def _with_shape(component: Callable[..., Any], shape: DataShape | None) -> dict[str, Any]:
    return {"shape": shape} if takes(component, "shape") else {}


def _of_optimizer(
    component: Callable[..., Any], model: nn.Module | None, lr: float
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What it is given: a class gets the weights, as torch's do; a function gets the model."""
    made = getattr(component, "func", component)  # inside a functools.partial
    first = model.parameters() if model is not None and inspect.isclass(made) else model
    by_name = inspect.isclass(made) or takes(component, "lr")
    return ((first,), {"lr": lr}) if by_name else ((first, lr), {})
