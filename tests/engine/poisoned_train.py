"""``mnistbench.train`` in which process 1 alone has NaN for pixels in the batch of one step."""

import os
import sys

import mnistbench.train
from mnistbench.workload.batches import Preprocess

STEP = 7
"""From 0."""


def poison(step=STEP, patch=setattr):
    """Make every pixel of the batch of `step` NaN, in this process."""
    plain_draw, plain_apply, bad = Preprocess.draw, Preprocess.apply, []

    def draw(self, part):
        bad[:] = [part.step == step]
        return plain_draw(self, part)

    def apply(self, images, draws):
        values = plain_apply(self, images, draws)
        return values * float("nan") if bad and bad[0] else values

    patch(Preprocess, "draw", draw)
    patch(Preprocess, "apply", apply)


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        poison()
    sys.exit(mnistbench.train.main())
