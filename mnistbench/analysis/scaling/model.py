"""One plain model of a data-parallel step: what a process computes, and the link.

A step of P processes, each with b samples, takes ``fixed_s + per_sample_s · b`` seconds, linear in
the samples as in Paleo (Qi, Sparks and Talwalkar 2017), and with several processes ``call_s`` and
an all-reduce round a ring (Patarasuk and Yuan 2009) over the link's latency and bandwidth (Thakur,
Rabenseifner and Gropp 2005). It holds where each thread has a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnistbench.schema.record import Link

_ALIKE = 0.01
"""What varies by less than this share, as local batches of an uneven one do, is the same."""

_PARAMETERS = ("per_sample_s", "fixed_s", "call_s")


@dataclass(frozen=True, kw_only=True)
class StepModel:
    """Parameters in seconds, those not in `fitted` 0; `num_bytes` go over `link` in a step."""

    fixed_s: float
    per_sample_s: float
    call_s: float
    num_bytes: int
    link: Link | None
    fitted: tuple[str, ...] = _PARAMETERS

    def step_s(self, num_processes: int, global_batch_size: int) -> float | None:
        """Predicted seconds of a step; ``None`` for several processes without a link."""
        compute_s = self.fixed_s + self.per_sample_s * global_batch_size / num_processes
        if num_processes == 1:
            return compute_s or None
        if self.link is None:
            return None
        return compute_s + self.call_s + ring_s(self.link, num_processes, num_bytes=self.num_bytes)


def ring_s(link: Link, num_processes: int, *, num_bytes: int) -> float:
    """Seconds of an all-reduce of `num_bytes` round a ring; 0 for one process."""
    others = 2 * (num_processes - 1)
    carried = others / num_processes * num_bytes
    return others * link.latency_s + carried / link.bandwidth_bytes_per_s


def fit_step(
    times: Sequence[tuple[int, int, float]], link: Link | None, *, num_bytes: int
) -> StepModel | None:
    """The model nearest to `times` in relative errors; ``None`` where they tell nothing.

    Non-negative least squares (Lawson and Hanson 1974). Without a `link` steps of several
    processes tell nothing, and a parameter that `times` cannot tell from others is not fitted.

    Args:
        times: processes, samples of all of them, and mean seconds of a step.
        link: between any two processes.
        num_bytes: that they exchange.
    """
    used = [time for time in times if link or time[0] == 1]
    if not used:
        return None
    import numpy as np
    from scipy.optimize import nnls

    rows = np.array([[t[1] / t[0], 1.0, float(t[0] > 1)] for t in used])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=0), 1.0)
    kept: list[int] = []
    for column in range(len(_PARAMETERS)):
        if np.linalg.matrix_rank(unit[:, [*kept, column]], tol=_ALIKE) > len(kept):
            kept.append(column)
    steps = np.array([time[2] for time in used])
    rings = [ring_s(link, t[0], num_bytes=num_bytes) if link else 0.0 for t in used]
    found, _ = nnls(rows[:, kept] / steps[:, None], np.maximum(steps - rings, 0.0) / steps)
    fitted = tuple(_PARAMETERS[column] for column in kept)
    return StepModel(
        **dict.fromkeys(_PARAMETERS, 0.0) | dict(zip(fitted, found.tolist(), strict=True)),
        num_bytes=num_bytes,
        link=link,
        fitted=fitted,
    )
