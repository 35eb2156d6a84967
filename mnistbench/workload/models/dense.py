"""The linear half that the networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.func import functional_call

from mnistbench.schema.component import DataShape

_FEW_WEIGHTS = 2**22


def flattened_size(layers: Iterable[nn.Module], shape: DataShape) -> int:
    """Features per image [values] that `layers` leave for linear layers, by a forward of zeros.

    Shapes on the meta device are worked out by modules of torch's compiler, which take a second to
    import: where layers there are small, others like them on the CPU are asked.
    """
    features = nn.Sequential(*layers).eval()  # so that no statistics move and nothing is drawn
    state = {**dict(features.named_parameters()), **dict(features.named_buffers())}
    device = torch.empty(0).device
    if device.type == "meta" and sum(one.numel() for one in state.values()) < _FEW_WEIGHTS:
        device = torch.device("cpu")
        state = {name: torch.empty(one.shape, device=device) for name, one in state.items()}
    with torch.no_grad():
        flat: torch.Tensor = functional_call(
            features, state, torch.zeros(1, *shape[:3], device=device)
        )
    features.train()
    return flat.numel()


def with_classifier(
    shape: DataShape,
    features: Sequence[nn.Module],
    *hidden: int,
    activation: type[nn.Module] = nn.ReLU,
    dropout: float = 0.0,
) -> nn.Sequential:
    """`features`, flattened, then linear layers of `hidden` widths and one to the logits.

    The whole takes images ``[B, C, H, W]`` of `shape` and returns ``[B, num_classes]``. An
    `activation` follows each hidden layer; a `dropout` other than 0, where an idle one would cost
    time, stands before it.
    """
    widths = [flattened_size(features, shape), *hidden]
    layers = [*features, nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Dropout(dropout)] if dropout > 0 else []
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], shape.num_classes))
