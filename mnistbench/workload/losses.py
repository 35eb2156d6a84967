"""Losses: what a run minimises, each a mean over samples of a per-sample loss.

Because of that mean, the parts of a global batch add up whatever the number of processes. The
losses that compare logits with one-hot targets number by number (``mse``, ``mae``, ``smooth-l1``,
``bce``, ``squared-hinge``) average over the classes too, as torch does by default, so their values
are ten times smaller than those of papers that sum over classes. No loss looks at its data from
Python, so all of them can be compiled and captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from mnistbench.schema.component import is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.workload.own_components import own_loss

LossFn = Callable[[Tensor, Tensor], Tensor]
"""``loss_fn(logits, labels)``: float ``[B, C]``, int64 ``[B]`` -> mean over the batch ``[]``."""

_FOCAL_GAMMA = 2.0
_POLY1_EPSILON = 1.0


def build_loss(config: RunConfig, device: torch.device | None = None) -> LossFn:
    """The loss function that ``config.loss`` names; a module of the user's own is on `device`.

    It takes logits float ``[B, C]`` and labels int64 ``[B]`` in ``[0, C)`` and gives a scalar, the
    mean over the batch, in the logits' type.
    """
    return own_loss(config, device) if is_reference(config.loss) else LOSSES[config.loss](config)


def _one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """Targets 0 or 1, of the logits' shape and type."""
    return functional.one_hot(labels, logits.size(1)).to(logits.dtype)


def _against_one_hot(loss: LossFn) -> LossFn:
    """`loss` of the raw logits and targets 0 or 1, number by number."""

    def loss_fn(logits: Tensor, labels: Tensor) -> Tensor:
        return loss(logits, _one_hot(labels, logits))

    return loss_fn


def _brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error of the softmax, summed over the classes (Brier 1950): 0 to 2.

    Its gradient fades out where the softmax is sure, also of a wrong class.
    """
    error = logits.softmax(dim=1) - _one_hot(labels, logits)
    return error.square().sum(dim=1).mean()


def _focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy times ``(1 - p) ** 2``, p of the right class (Lin et al. 2017), by softmax."""
    nll = functional.cross_entropy(logits, labels, reduction="none")
    doubt = -torch.expm1(-nll)  # 1 - p, without the cancellation where p is near 1
    return (doubt.pow(_FOCAL_GAMMA) * nll).mean()


def _poly1(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus ``1 - p``, p of the right class (Leng et al. 2022, "PolyLoss")."""
    nll = functional.cross_entropy(logits, labels, reduction="none")
    return (nll - _POLY1_EPSILON * torch.expm1(-nll)).mean()


def _squared_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """Each class against the rest with targets +-1, margin 1 (Tang 2013, "Deep Learning SVM")."""
    signs = 2 * _one_hot(labels, logits) - 1
    return functional.relu(1 - signs * logits).square().mean()


def _kl(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Kullback-Leibler divergence from softened targets to the softmax [nats].

    Its gradient is that of ``label-smoothing``; the value is smaller by the targets' entropy, so
    that it is 0 at the best logits.
    """
    targets = _one_hot(labels, logits) * (1 - smoothing) + smoothing / logits.size(1)
    return functional.kl_div(logits.log_softmax(dim=1), targets, reduction="batchmean")


LOSSES: dict[str, Callable[[RunConfig], LossFn]] = {
    # negative log-likelihood of the softmax [nats]
    "cross-entropy": lambda _config: functional.cross_entropy,
    # against softened targets (Szegedy et al. 2016, "Rethinking the Inception")
    "label-smoothing": lambda config: partial(
        functional.cross_entropy, label_smoothing=config.label_smoothing
    ),
    # Hui and Belkin 2021 found squared error a match for cross-entropy
    "mse": lambda _config: _against_one_hot(functional.mse_loss),
    "brier": lambda _config: _brier,
    "mae": lambda _config: _against_one_hot(functional.l1_loss),
    # squared up to an error of 1, absolute beyond (Girshick 2015, "Fast R-CNN")
    "smooth-l1": lambda _config: _against_one_hot(functional.smooth_l1_loss),
    # each class against the rest by a sigmoid of its own [nats per class]
    "bce": lambda _config: _against_one_hot(functional.binary_cross_entropy_with_logits),
    "focal": lambda _config: _focal,
    "poly1": lambda _config: _poly1,
    # sum of the other classes' hinges at margin 1, over C (Weston and Watkins 1999)
    "multi-margin": lambda _config: functional.multi_margin_loss,
    "squared-hinge": lambda _config: _squared_hinge,
    "kl": lambda config: partial(_kl, smoothing=config.label_smoothing),
}
"""Every loss by the name that a user types; each takes the config and gives a `LossFn`."""
