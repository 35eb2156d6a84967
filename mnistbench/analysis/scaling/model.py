"""A cost model of a data-parallel step: fitted on a few process counts, it predicts others.

A step of P processes, each with b samples, takes seconds:

- compute: ``contention · (fixed_s + per_sample_s · b)``, linear in the samples as in Paleo (Qi,
  Sparks and Talwalkar 2017), where ``contention`` is threads per core once there are more threads
  than cores; with several processes ``contention · several_s`` more, for gradients that are joined
  and cores that are woken and shared;
- communication: ``contention · call_s + link_share · ring``, an all-reduce round a ring (Patarasuk
  and Yuan 2009) over the link's latency and bandwidth (Thakur, Rabenseifner and Gropp 2005), plus
  what each process spends on the call itself;
- wait: ``wait_share · compute · e(P)``, where e(P) is the expected maximum of P standard normals
  (Blom 1958): the more processes, the later the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from mnistbench.schema.record import Link

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

__all__ = [
    "CostModel",
    "Setting",
    "StepParts",
    "StepTime",
    "alike",
    "expected_maximum",
    "predict_step",
    "ring_s",
]

_SAME = 1.01
"""Local batches within this factor are one."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the time of a step depends on: see the module. `link` is ``None`` if not known."""

    num_processes: int
    global_batch_size: int
    contention: float = 1.0
    link: Link | None = None

    @property
    def local_batch(self) -> float:
        """Samples in a step of each process."""
        return self.global_batch_size / self.num_processes


class StepTime(NamedTuple):
    """Measured seconds of a step in a setting; its parts are ``None`` where not told apart."""

    setting: Setting
    step_s: float
    communication_s: float | None
    wait_s: float | None

    @property
    def is_split(self) -> bool:
        """Whether its exchange is known: of several processes, and told apart."""
        return self.setting.num_processes > 1 and self.communication_s is not None


class StepParts(NamedTuple):
    """Predicted seconds of a step."""

    compute_s: float
    communication_s: float
    wait_s: float

    @property
    def step_s(self) -> float:
        """Their sum."""
        return sum(self)


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Parameters of the model, none negative; times in seconds.

    Attributes:
        fixed_s: compute of a step without samples.
        per_sample_s: and of each sample.
        several_s: and of a process that is not the only one.
        call_s: an exchange's cost beyond its link.
        link_share: how much of the link's time is seen; below 1 where computing hides it.
        wait_share: deviation of a process's compute, as a share of it.
        num_bytes: exchanged in a step.
        only_local_batch: samples of each process that compute is known at, where one such number
            was measured and the fixed part could not be told; ``None`` if any can be predicted.
    """

    fixed_s: float
    per_sample_s: float
    several_s: float
    call_s: float
    link_share: float
    wait_share: float
    num_bytes: int
    only_local_batch: float | None = None


def ring_s(link: Link, num_processes: int, *, num_bytes: int) -> float:
    """Seconds of an all-reduce of `num_bytes` round a ring; 0 for one process."""
    others = 2 * (num_processes - 1)
    carried = others / num_processes * num_bytes
    return others * link.latency_s + carried / link.bandwidth_bytes_per_s


def expected_maximum(num_processes: int) -> float:
    """The expected maximum of so many standard normals, by Blom's approximation (1958)."""
    return -NormalDist().inv_cdf(0.625 / (num_processes + 0.25))


def predict_step(model: CostModel, setting: Setting) -> StepParts | None:
    """Seconds of a step in `setting`; ``None`` where `model` knows nothing of it.

    That is another local batch than the only one that was measured, or several processes over a
    link that is not known.
    """
    batch = setting.local_batch
    if model.only_local_batch is not None and not alike(batch, model.only_local_batch):
        return None
    several = setting.num_processes > 1
    compute_s = setting.contention * (
        model.fixed_s + model.per_sample_s * batch + model.several_s * several
    )
    if not several:
        return StepParts(compute_s, 0.0, 0.0)
    if setting.link is None:
        return None
    ring = ring_s(setting.link, setting.num_processes, num_bytes=model.num_bytes)
    wait_s = model.wait_share * expected_maximum(setting.num_processes) * compute_s
    return StepParts(compute_s, setting.contention * model.call_s + model.link_share * ring, wait_s)


def alike(a: float, b: float) -> bool:
    """Whether two local batches are one but for rounding, of an uneven batch too."""
    return max(a, b) <= _SAME * min(a, b)
