"""The most that this machine does: a large matrix product and copies, measured once and kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import ValidationError

from mnistbench.recorder.environment import device_name
from mnistbench.recorder.launcher import this_launch
from mnistbench.recorder.machine_probe import timed_s
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, write_whole
from mnistbench.schema.insight import Ceilings
from mnistbench.schema.strict_json import read_json

_SIDES = {"cpu": 1536}
_GPU_SIDE = 8192
_COPY_BYTES = {"cpu": 2**27}
_GPU_COPY_BYTES = 2**30
_CACHED_BYTES = 2**20
_REPEATS = 12
_LONGEST_S = 2.0
_UNDISTURBED = 0.9
_MAX_FILE_BYTES = 10_000


def peak_rates(
    device: torch.device, dtype: torch.dtype, *, synchronize: Callable[[], None] | None
) -> Ceilings:
    """The best of a dozen matrix products of `dtype` and of copies [operations, bytes per second].

    Bytes read and bytes written both count. Takes about two seconds on two cores.

    Kept in the user's cache folder, a file for each device, type, precision of fp32 products,
    number of threads and of local processes, and version of torch; but not what was measured while
    others took the processor.
    """
    path = _kept_at(device, dtype)
    if path is not None and path.exists():
        with suppress(InputError, ValidationError):  # measured anew and written over
            values = read_json(path, max_bytes=_MAX_FILE_BYTES, what="measured ceilings")
            return Ceilings.model_validate(values)
    ceilings, undisturbed = _measure(device, dtype, synchronize or (lambda: None))
    if path is not None and undisturbed:
        with suppress(InputError):  # a cache that cannot be written is none
            write_whole(path, ceilings.model_dump_json(indent=1) + "\n")
    return ceilings


def _measure(
    device: torch.device, dtype: torch.dtype, wait: Callable[[], None]
) -> tuple[Ceilings, bool]:
    """The ceilings, and whether nobody took the processor meanwhile."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    side = _SIDES.get(device.type, _GPU_SIDE)
    with torch.no_grad():
        factor = torch.linspace(-1, 1, side * side, device=device).view(side, side).to(dtype)
        product = torch.empty_like(factor)
        matmul_s = _best_s(lambda: torch.matmul(factor, factor, out=product), wait)
        busy = (time.process_time() - began_cpu_s) / (time.perf_counter() - began_s)
    large = _copied_bytes_per_s(_COPY_BYTES.get(device.type, _GPU_COPY_BYTES), device, wait)
    cached = _copied_bytes_per_s(_CACHED_BYTES, device, wait)
    ceilings = Ceilings(
        matmul_flops_per_s=2 * side**3 / matmul_s,
        copy_bytes_per_s=large,
        cached_copy_bytes_per_s=max(cached, large),
    )
    # threads that spin are on their cores all the time, unless others are
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return ceilings, busy >= _UNDISTURBED * threads


def _copied_bytes_per_s(size: int, device: torch.device, wait: Callable[[], None]) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _best_s(lambda: target.copy_(source), wait)


def _best_s(work: Callable[[], object], wait: Callable[[], None]) -> float:
    return min(timed_s(work, wait, repeats=_REPEATS, longest_s=_LONGEST_S))


def _kept_at(device: torch.device, dtype: torch.dtype) -> Path | None:
    threads = f"{torch.get_num_threads()}x{this_launch().local_world_size}"
    products = torch.get_float32_matmul_precision()
    what = f"{device_name(device)} {dtype} {products} {threads} {torch.__version__}"
    name = hashlib.sha256(what.encode(), usedforsecurity=False).hexdigest()[:12]
    with suppress(InputError):
        return cache_folder(otherwise="keep nothing") / "ceilings" / f"{device.type}-{name}.json"
    return None
