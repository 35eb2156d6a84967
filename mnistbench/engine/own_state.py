"""What components of the user's own keep, as tensors that a checkpoint can hold.

An optimizer is saved by its ``state_dict``. Numbers, texts, tensors, and lists and mappings of
these that an optimizer, or a module of a network or loss, has as attributes are saved as well;
other objects there are not.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnistbench.engine.run import BuiltParts
from mnistbench.schema.errors import InputError

__all__ = ["check_saved", "kept", "optimizer_state", "pack", "put_back", "unpack"]

_TREE = "tree"
_PLAIN = (int, float, str, type(None))
_MANY = {kind.__name__: kind for kind in (list, tuple, set, frozenset)}
_NOT_SAVED = {*vars(nn.Module()), *vars(torch.optim.Optimizer([torch.zeros(1)], {}))}


def pack(value: object) -> dict[str, Tensor]:
    """`value`, of nested lists, mappings, tensors and plain values, as tensors on the CPU.

    Raises:
        TypeError: it has something else in it.
    """
    tensors: dict[str, Tensor] = {}

    def tree(value: object) -> object:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            name = str(len(tensors))
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor": name, "on": value.device.type}
        if isinstance(value, Mapping):
            return {"mapping": [[tree(key), tree(one)] for key, one in value.items()]}
        if isinstance(value, deque):
            return {"deque": [tree(one) for one in value], "maxlen": value.maxlen}
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, _PLAIN):
            return value
        name = type(value).__name__
        if name not in _MANY:
            raise TypeError(f"a {name} cannot be saved")
        return {name: [tree(one) for one in value]}  # type: ignore[attr-defined]

    text = json.dumps(tree(value)).encode()
    return {**tensors, _TREE: torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def unpack(tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """What `pack` was given; tensors that were not on the CPU come to `device`.

    Raises:
        KeyError, TypeError, ValueError: it is nothing that `pack` gave.
    """

    def value_of(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        kind, held = next(iter(tree.items()))
        if kind == "tensor":
            return tensors[held].to("cpu" if tree["on"] == "cpu" else device)
        if kind == "mapping":
            return {value_of(key): value_of(one) for key, one in held}
        many = [value_of(one) for one in held]
        return deque(many, tree["maxlen"]) if kind == "deque" else _MANY[kind](many)

    return value_of(json.loads(tensors[_TREE].numpy().tobytes()))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The ``state_dict`` of `optimizer`.

    Raises:
        TypeError: it cannot be saved, or knows nothing of another optimizer inside.
    """
    inner = (
        name for name, one in vars(optimizer).items() if isinstance(one, torch.optim.Optimizer)
    )
    if type(optimizer).state_dict is torch.optim.Optimizer.state_dict and (name := next(inner, "")):
        raise TypeError(f"its state_dict leaves out the optimizer in {name}")
    return pack(optimizer.state_dict())


def check_saved(optimizer: torch.optim.Optimizer) -> None:
    """Check, of an optimizer that has made steps, that a checkpoint can hold its state.

    Raises:
        InputError: none can.
    """
    try:
        optimizer_state(optimizer)
    except TypeError as error:
        name = type(optimizer).__name__
        mend = "give it a state_dict of tensors and numbers, or leave checkpoints out"
        raise InputError(f"optimizer: {name} cannot be saved: {error}; {mend}") from None


def kept(parts: BuiltParts) -> dict[str, Tensor]:
    """What this process's components, and Python's random numbers, have now."""
    buffers = [dict(one.named_buffers()) for one in _losses(parts)]
    attributes = [dict(_attributes(one)) for one in _objects(parts)]
    return pack([attributes, buffers, random.getstate()])


def put_back(parts: BuiltParts, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Have all as it was when `kept` gave `tensors`.

    Raises:
        KeyError, TypeError, ValueError: it was something else.
    """
    attributes, buffers, python = unpack(tensors, device)
    for one, saved in zip(_objects(parts), attributes, strict=True):
        vars(one).update(saved)
    for loss_fn, saved in zip(_losses(parts), buffers, strict=True):
        for name, value in saved.items():
            loss_fn.get_buffer(name).copy_(value)
    random.setstate(python)


def _losses(parts: BuiltParts) -> list[nn.Module]:
    loss_fn = parts.step.objective.loss_fn
    return [loss_fn] if isinstance(loss_fn, nn.Module) else []


def _objects(parts: BuiltParts) -> list[object]:
    modules = (module for loss_fn in _losses(parts) for module in loss_fn.modules())
    return [parts.optimizer, *parts.model.modules(), *modules]


def _attributes(one: object) -> Iterator[tuple[str, object]]:
    """Those of `one` that can be saved, but for what torch gives all."""
    for name, value in vars(one).items():
        if name not in _NOT_SAVED:
            with suppress(TypeError):
                pack(value)
                yield name, value
