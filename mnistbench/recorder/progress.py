"""A progress bar that never waits for the device and is silent where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tqdm import tqdm

__all__ = ["Progress"]

_STRIDE = 50


class Progress:
    """A bar over the steps of one run, on stderr and only where that is a terminal."""

    def __init__(self, *, num_steps: int, label: str, enabled: bool) -> None:
        """`enabled` is false for a quiet run and on all but the local main process."""
        shown = enabled and sys.stderr.isatty()
        self._bar = tqdm(total=num_steps, desc=label, unit="step", leave=False) if shown else None

    def step(self, step: int) -> None:
        """Tell that `step` steps are done; every fiftieth call touches the screen."""
        if self._bar is not None and step % _STRIDE == 0:
            self._bar.update(step - self._bar.n)

    def show(self, step: int, values: Mapping[str, str]) -> None:
        """Show `values`, such as loss and accuracy, at an evaluation."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix(values)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
