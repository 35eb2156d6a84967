"""Whether loops that are timed against each other did the same work: their losses, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

__all__ = ["LOOSE", "loss_differences"]

LOOSE = 0.05
"""Largest relative difference of losses where rounding alone moves the weights visibly."""


def loss_differences(
    losses: Mapping[str, Sequence[float]], *, base: str, loose: Collection[str] = ()
) -> dict[str, float]:
    """How far the losses of each loop are from those of `base`, relatively and at most.

    To be read over the first steps, while rounding has not yet been multiplied by many updates.

    Args:
        losses: the loss of each step, by the name of the loop.
        base: what all are held against.
        loose: loops that may differ by `LOOSE` instead of rounding alone.

    Raises:
        AssertionError: a loop does other work; one that errs is not to be timed.
    """
    expected = torch.tensor(losses[base])
    for name, curve in losses.items():
        torch.testing.assert_close(
            torch.tensor(curve),
            expected,
            rtol=LOOSE if name in loose else 1e-3,
            atol=1e-4,
            msg=lambda message, name=name: f"{name}: {message}",
        )
    return {
        name: float(((torch.tensor(curve) - expected) / expected).abs().max())
        for name, curve in losses.items()
    }
