"""Where memory does not suffice: one line with the batch to try."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children

import torch

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import RunError, first_line

_SAYS = (
    *("not enough memory", "can't allocate memory", "cannot allocate memory"),  # the host
    "out of memory",  # CUDA, also in NCCL's last error
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed"),
    *("cusolver_status_alloc_failed", "cusparse_status_alloc_failed"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory, or the host's, did not suffice.

    A library's ``INTERNAL_ERROR`` or ``NOT_INITIALIZED`` can have other causes and does not count.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _SAYS)


def smaller_batch(config: RunConfig, global_batch_size: int) -> str:
    """What did not fit, and what to try: the same step in pieces, or half of it."""
    pieces = 2 * config.gradient_accumulation_steps
    field = "global_batch_size" if config.global_batch_size else "per_device_batch_size"
    half = (config.global_batch_size or config.per_device_batch_size or 1) // 2
    if not half:
        return f"{field}: one sample does not fit in memory; try a smaller --model"
    return (
        f"{field}: a step of {global_batch_size} samples does not fit in memory; try "
        f"--gradient-accumulation-steps {pieces}, which trains the same curve in pieces, or "
        f"--{field.replace('_', '-')} {half}"
    )


def worker_loss(error: Exception, *, waited_s: float = 0.0) -> str:
    """Why data workers are lost, in one line; `waited_s` is how long one was silent, if it was."""
    if waited_s:
        mend = "see what holds it, and if it is only slow raise --process-timeout-s"
        return f"a data worker gave nothing for {waited_s:.0f} s; {mend}"
    said = str(error).strip().splitlines() or [first_line(error)]
    mend = "see that memory, processes and /dev/shm suffice, or use --num-workers 0"
    return f"a data worker failed ({said[-1].rstrip('. ')}); {mend}"


@contextmanager
def memory_errors(config: RunConfig, global_batch_size: int) -> Iterator[None]:
    """Turn running out of memory inside, or a lost data worker, into a `RunError` of one line."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if str(error).startswith("DataLoader worker"):  # wherever the main thread is
            active_children()  # takes notice of its end, which torch would raise again and again
            raise RunError(worker_loss(error)) from None
        if isinstance(error, RunError) or not is_out_of_memory(error):
            raise
        raise RunError(smaller_batch(config, global_batch_size)) from None
