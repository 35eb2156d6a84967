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
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnistbench.engine.run import BuiltParts
from mnistbench.schema.errors import InputError

_TREE = "tree"
_PLAIN = (int, float, str, type(None))
_MANY = {kind.__name__: kind for kind in (list, tuple, set, frozenset, dict, deque)}


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
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, _PLAIN):
            return value
        name = "dict" if isinstance(value, Mapping) else type(value).__name__
        if name not in _MANY:
            raise TypeError(f"a {name} cannot be saved")
        held: Any = value.items() if isinstance(value, Mapping) else value
        return {name: [tree(one) for one in held], "maxlen": getattr(value, "maxlen", None)}

    text = json.dumps(tree(value)).encode()
    return {**tensors, _TREE: torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def unpack(tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """What `pack` was given; tensors that were not on the CPU come to `device`."""

    def value_of(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        kind, held = next(iter(tree.items()))
        if kind == "tensor":
            return tensors[held].to("cpu" if tree["on"] == "cpu" else device)
        many = map(value_of, held)
        return deque(many, tree["maxlen"]) if kind == "deque" else _MANY[kind](many)

    return value_of(json.loads(tensors[_TREE].numpy().tobytes()))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The ``state_dict`` of `optimizer`.

    Raises:
        InputError: it cannot be saved, or knows nothing of another optimizer inside.
    """
    kind, optimizers = type(optimizer), torch.optim.Optimizer
    inner = [name for name, one in vars(optimizer).items() if isinstance(one, optimizers)]
    if inner and kind.state_dict is optimizers.state_dict:
        said = f"its state_dict leaves out the optimizer in {inner[0]}"
    else:
        try:
            return pack(optimizer.state_dict())
        except TypeError as error:
            said = str(error)
    mend = "give it a state_dict of tensors and numbers, or leave checkpoints out"
    raise InputError(f"optimizer: {kind.__name__} cannot be saved: {said}; {mend}")


def kept(parts: BuiltParts) -> dict[str, Tensor]:
    """What this process's components, and Python's random numbers, have now."""
    return pack([[dict(_attributes(one)) for one in _objects(parts)], random.getstate()])


def put_back(parts: BuiltParts, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Have all as it was when `kept` gave `tensors`; other ones raise as Python does."""
    attributes, python = unpack(tensors, device)
    for one, saved in zip(_objects(parts), attributes, strict=True):
        for name, value in saved.items():
            old = getattr(one, name, None)
            if isinstance(old, Tensor) and old.shape == getattr(value, "shape", None):
                old.detach().copy_(value)  # a captured graph reads it where it lies
            else:
                setattr(one, name, value)
    random.setstate(python)


def _objects(parts: BuiltParts) -> list[object]:
    loss_fn = parts.step.objective.loss_fn
    losses = loss_fn.modules() if isinstance(loss_fn, nn.Module) else [loss_fn]
    return [parts.optimizer, *parts.model.modules(), *losses]


@cache
def _torchs_own() -> set[str]:
    return {*vars(nn.Module()), *vars(torch.optim.Optimizer([torch.zeros(1)], {}))}


def _attributes(one: object) -> Iterator[tuple[str, object]]:
    """Buffers of `one`, and those of its attributes that can be saved, but for torch's own."""
    attributes = getattr(one, "__dict__", {})
    for name, value in {**attributes, **attributes.get("_buffers", {})}.items():
        if name not in _torchs_own():
            with suppress(TypeError):
                pack(value)
                yield name, value
