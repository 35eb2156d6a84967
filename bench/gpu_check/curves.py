"""Short runs whose curves are compared, and how far two curves lie apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.gpu_check.findings import Setup
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord

_NEVER = 2**31 - 1
_WINDOW = 10
_SMALL = {"dataset": "synthetic", "synthetic_train_size": 13_300, "val_size": 500}
"""200 steps of 64 samples, none of them seen twice."""


def settings(setup: Setup, **values: Any) -> dict[str, Any]:
    """The fields of a short run of `setup.steps` steps on generated digits."""
    plain = {
        **_SMALL,
        "max_steps": setup.steps,
        "num_epochs": 10_000,
        "eval_every_steps": _NEVER,
        "eval_batch_size": 2000,
        "output_dir": str(setup.scratch / "runs"),
        "num_threads": setup.num_threads,
    }
    return with_default_batch({**plain, **values})


def with_default_batch(values: dict[str, Any]) -> dict[str, Any]:
    return {"global_batch_size": 64, **values}


def run(setup: Setup, **values: Any) -> RunRecord:
    """One such run in this process.

    Raises:
        InputError: it was refused.
        AssertionError: it did not end well, or was on another device.
    """
    [record] = train(RunConfig(**settings(setup, **values)))
    assert record.status == "completed", f"{record.status}: {record.error}"
    seen = record.environment["device_type"]
    assert seen == setup.device_type, f"the run was on {seen}, not on {setup.device_type}"
    return record


def losses(record: RunRecord | Mapping[str, Any]) -> list[float]:
    """The loss of each step; not finite is infinity."""
    points = record["train_points"] if isinstance(record, Mapping) else record.train_points
    found = [point["loss"] if isinstance(point, Mapping) else point.loss for point in points]
    return [float("inf") if loss is None else loss for loss in found]


def apart(a: Sequence[float], b: Sequence[float]) -> float:
    """How far two curves lie apart: the largest difference of means of ten steps.

    As a fraction of the height of `a`, the largest of its means. Infinite where a loss is, or where
    one curve is longer than the other.
    """
    if len(a) != len(b) or not a:
        return float("inf")
    pairs = list(zip(_means(a), _means(b), strict=True))
    furthest = max(abs(one - other) for one, other in pairs) / max(one for one, _ in pairs)
    return furthest if furthest == furthest else float("inf")  # noqa: PLR0124 - NaN


def _means(curve: Sequence[float]) -> list[float]:
    return [fmean(curve[i : i + _WINDOW]) for i in range(0, len(curve), _WINDOW)]


class CpuRun:
    """A run on the CPU, in a process of its own: one process of Accelerate has one device."""

    def __init__(self, setup: Setup, **values: Any) -> None:
        """Start it."""
        told = json.dumps(settings(setup, **values))
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "bench.gpu_check.curves", told],
            env=os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            text=True,
        )

    def record(self, *, timeout_s: float = 120) -> dict[str, Any]:
        """Wait for its record.

        Raises:
            RuntimeError: it did not end well.
        """
        try:
            said, _ = self._process.communicate(timeout=timeout_s)
        finally:
            self._process.kill()
        if self._process.returncode != 0:
            raise RuntimeError(f"the run on the CPU ended with status {self._process.returncode}")
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found


def main() -> None:
    """A run in this process of the fields in ``sys.argv``, as JSON; prints its record."""
    [record] = train(RunConfig(**json.loads(sys.argv[1])))
    print(json.dumps(record.model_dump(mode="json")))


if __name__ == "__main__":
    main()
