"""What stands in the way of the same bits on any number of processes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from mnistbench.engine.objective import Objective
from mnistbench.engine.unchanged import device_rng_state, held_tensors, preserved_rng, python_state
from mnistbench.schema.errors import InputError, first_line


def check_exact(model: nn.Module, objective: Objective, counts: Sequence[int]) -> None:
    """Refuse what `exact_parity` cannot promise; `counts` are processes, and pieces of each."""
    if any(count & (count - 1) for count in counts):
        raise InputError(
            "exact_parity: needs powers of two, not "
            f"{counts[0]} processes with {counts[1]} pieces each; choose other numbers"
        )
    layer = differs_by_process(model, objective)
    if layer:
        raise InputError(f"exact_parity: {layer}; leave it out of the model, or exact_parity off")


def differs_by_process(model: nn.Module, objective: Objective) -> str | None:
    """Name a layer whose result depends on the number of processes, or ``None``."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) or (  # noqa: SLF001
            isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0  # noqa: SLF001
        ):
            return f"{type(layer).__name__} goes by the process and its batch"
    # of what is no layer: random numbers, and what each call leaves for the next
    device = objective.blank.device
    images = objective.preprocess.apply(objective.blank.expand(2, -1, -1, -1), None)
    labels = torch.zeros(2, dtype=torch.int64, device=device)
    try:
        tried, loss_fn = copy.deepcopy((model, objective.loss_fn))
    except Exception as error:  # the user's objects raise what they like
        return f"model or loss cannot be copied for a trial ({first_line(error)})"

    def kept() -> list[object]:
        held = held_tensors(tried, loss_fn, torch.get_rng_state(), device_rng_state(device))
        states = (tensor for tensor in held if not tensor.requires_grad)  # buffers and the like
        return [python_state(tried, loss_fn), *(state.tolist() for state in states)]

    with preserved_rng(device), torch.no_grad():
        before = kept()
        loss_fn(tried(images), labels)
        return None if kept() == before else "model or loss draw at random, or count their calls"
