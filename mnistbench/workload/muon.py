"""Muon for a whole network: torch's Muon takes only matrices, AdamW takes what is left."""

from __future__ import annotations

from collections import defaultdict
from inspect import unwrap

import torch
from torch import Tensor, nn

from mnistbench.schema.config import RunConfig


class MuonAdamW(torch.optim.Optimizer):
    """Muon on weight matrices and convolution kernels, AdamW on all else, as one optimizer.

    Muon (Keller Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes the update of
    a matrix orthogonal, so that all of its directions move alike. A kernel counts as the matrix
    ``[out, in * height * width]``. Biases and norms are no matrices; and the last matrix of the
    model, the classifier, has one row per class, whose sizes carry meaning: its author leaves these
    to AdamW. He leaves the first layer to it as well; here that stays with Muon, since in networks
    of two to five layers it may hold most of the weights.

    One learning rate serves both: Muon's update is scaled to the size of AdamW's
    (``match_rms_adamw``, Liu et al. 2025, "Muon is Scalable for LLM Training").

    ``param_groups`` are the model's own parameters, first Muon's, then AdamW's, and ``state`` is
    kept by them, so that saving, loading, gradient scaling and learning rates work as in any other
    optimizer; the two inner optimizers only borrow both for the length of a step.
    """

    def __init__(self, model: nn.Module, config: RunConfig) -> None:
        """Takes lr, momentum, nesterov, betas and (decoupled) weight decay from `config`.

        The classifier is the matrix that `model` registers last.
        """
        self._muon: torch.optim.Optimizer = torch.optim.Muon(
            [{"params": []}],
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            nesterov=config.nesterov,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(
            [{"params": []}],
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        hidden = [weight for weight in model.parameters() if weight.ndim >= 2][:-1]
        rest = [weight for weight in model.parameters() if weight not in set(hidden)]
        groups = [
            {**self._muon.defaults, "params": hidden},
            {**self._adamw.defaults, "params": rest},
        ]
        super().__init__(groups, {"lr": config.lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient.

        Raises:
            TypeError: there is a closure, which torch's own would call.
        """
        if closure is not None:
            raise TypeError("MuonAdamW.step takes no closure")
        self._step_muon()
        self._adamw.param_groups, self._adamw.state = self.param_groups[1:], self.state
        unwrap(type(self._adamw).step)(self._adamw)  # as `step_and_clear` does

    def _step_muon(self) -> None:
        """Muon's half, on matrices made anew: weights or their storage may have been exchanged."""
        weights = [weight for weight in self.param_groups[0]["params"] if weight.grad is not None]
        matrices = [_matrix(weight) for weight in weights]
        self._muon.param_groups = [{**self.param_groups[0], "params": matrices}]
        self._muon.state = defaultdict(
            dict, {m: self.state[w] for m, w in zip(matrices, weights, strict=True)}
        )
        unwrap(type(self._muon).step)(self._muon)
        for weight, matrix in zip(weights, matrices, strict=True):
            if not weight.is_contiguous():  # channels last: the matrix had to be a copy
                weight.copy_(matrix.view_as(weight))
            matrix.grad = None  # zero_grad must free the gradients


def _matrix(weight: Tensor) -> Tensor:
    """`weight` ``[out, ...]`` and its gradient as ``[out, rest]``, sharing storage where it can."""
    matrix = weight.detach().flatten(1)
    matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
    return matrix
