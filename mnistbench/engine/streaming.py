"""Batches read sample by sample by a DataLoader, whose workers are no risk to the run.

torch would hand tensors over in shared memory, through sockets in the temporary folder. Where
either has no room the worker's queue only prints a traceback, and the run waits for ever; so
samples go through the worker's pipe, as arrays.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import pil_to_tensor

from mnistbench.engine.watchdog import Watchdog
from mnistbench.recorder.parent_death_signal import PARENT, die_with_parent
from mnistbench.schema.errors import RunError, first_line
from mnistbench.workload.batches import Batch, BatchPlan, moved

__all__ = ["streaming_batches", "worker_errors"]

_Samples = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def streaming_batches(
    plan: BatchPlan,
    *,
    dataset: Dataset[Any],
    device: torch.device,
    num_workers: int,
    timeout_s: float = 300.0,
) -> Iterator[Batch]:
    """The same batches read sample by sample from a torchvision data set by a DataLoader.

    Args:
        plan: the order.
        dataset: ``dataset[i]`` is a PIL image and a label.
        device: where the batches go.
        num_workers: worker processes of the DataLoader; 0 reads in this one.
        timeout_s: how long a batch of theirs is waited for.

    Raises:
        RunError: a worker cannot start, fails, is lost or is silent.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=(part.indices.tolist() for part in plan.parts()),
        num_workers=num_workers,
        collate_fn=_collate,
        worker_init_fn=_begin,
        generator=torch.Generator(),  # else each epoch would draw from the run's own stream
    )
    samples = _from_workers(loader, timeout_s) if num_workers else iter(loader)
    for arrays, part in zip(samples, plan.parts(), strict=True):
        images, labels = (moved(torch.from_numpy(array), device) for array in arrays)
        yield Batch(images, labels, part)


@contextmanager
def worker_errors() -> Iterator[None]:
    """Turn the loss of a worker, which torch raises wherever the main thread is, into one line.

    Raises:
        RunError: a worker was lost.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        active_children()  # takes notice of its end, which torch would raise again and again
        raise RunError(_failure(error)) from None


def _from_workers(loader: DataLoader[Any], timeout_s: float) -> Iterator[_Samples]:
    """What the workers of `loader` read; none of them is left at the end, whatever that is."""
    others, failure = set(active_children()), ""

    def kill(waited_s: float = 0.0) -> None:
        nonlocal failure
        if waited_s:
            failure = f"a data worker gave nothing for {waited_s:.0f} s; see what holds it, and if "
            failure += "it is only slow raise --process-timeout-s"
        for worker in set(active_children()) - others:
            worker.kill()

    try:
        yield from _watched(iter(loader), Watchdog(timeout_s, kill))
    except Exception as error:
        failure = failure or _failure(error)
        _drop(error)
    finally:  # torch has ended those that obey
        kill()
    if failure:
        raise RunError(failure)


def _watched(batches: Iterator[_Samples], watchdog: Watchdog) -> Iterator[_Samples]:
    """`batches`, each waited for under the eyes of `watchdog`."""
    with watchdog:
        watchdog.arm()
        for samples in batches:
            watchdog.disarm()
            yield samples
            watchdog.arm()


def _failure(error: Exception) -> str:
    """Why workers are lost, in one line: of an error that one raised, its own last line."""
    said = str(error).strip().splitlines() or [first_line(error)]
    mend = "see that memory, processes and /dev/shm suffice, or use --num-workers 0"
    return f"a data worker failed ({said[-1].rstrip('. ')}); {mend}"


def _drop(error: Exception) -> None:
    """End torch's iterator, which `error` holds; of a half made one the end would fail aloud."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = hook


def _begin(_worker: int) -> None:
    """Signals to a whole group are for the run's own process, which needs its workers still.

    They end with it; an array that waits in a pipe nobody reads would keep them for ever.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.environ[PARENT] = str(os.getppid())
    die_with_parent()


def _collate(samples: Iterable[tuple[Any, int]]) -> _Samples:
    images, labels = zip(*samples, strict=True)
    return torch.cat([pil_to_tensor(image) for image in images]).numpy(), np.array(labels, np.int64)
