"""The data of a run where it is needed: splits on the device, or a set to stream from."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import active_children
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from mnistbench.engine.distributed import agree, decide_together
from mnistbench.engine.memory import worker_loss
from mnistbench.engine.watchdog import Watchdog
from mnistbench.recorder.parent_death_signal import PARENT, die_with_parent
from mnistbench.schema.component import is_own
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_split, num_val
from mnistbench.schema.errors import InputError, RunError
from mnistbench.schema.record import DatasetInfo, Source
from mnistbench.schema.signals import STOPS
from mnistbench.schema.streams import PASSING
from mnistbench.workload.batches import Batch, BatchPlan, mapped_batches, moved, resident_batches
from mnistbench.workload.datasets import LoadedDataset, load_dataset, resolve_dataset

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Images uint8 or float32 ``[N, C, H, W]`` and labels int64 ``[N]`` of each split.

    `val` and `test` lie on the device; `train` does so with the resident loader only.
    """

    info: DatasetInfo
    loaded: LoadedDataset
    train: tuple[Tensor, Tensor] | None
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    device: torch.device

    @property
    def blank(self) -> Tensor:
        """One image of zeros ``[C, H, W]``, as the others lie, on the device."""
        images, _ = self.val
        return images.new_zeros(images.shape[1:])

    def batches(self, plan: BatchPlan, config: RunConfig) -> Iterator[Batch]:
        """The training batches of `plan` by the loader that `config` names."""
        if self.train is not None:
            images, labels = self.train
            return resident_batches(plan, images=images, labels=labels)
        if config.loader == "mapped":
            return mapped_batches(
                plan,
                images=self.loaded.train.data,
                labels=self.loaded.train.targets,
                device=self.device,
                read_ahead=self.loaded.read_ahead,
            )
        dataset: Subset[Any] = Subset(self.loaded.train, range(self.info.num_train))
        return streaming_batches(
            plan,
            dataset=dataset,
            device=self.device,
            num_workers=config.num_workers,
            timeout_s=config.process_timeout_s,
        )


def place_data(config: RunConfig, accelerator: Accelerator) -> RunData:
    """Find or make the data set, verify it, and put its splits where they are used.

    Raises:
        InputError: not found, damaged, or too small for the splits and batch asked for.
    """
    if accelerator.is_main_process:
        what = "the data" if config.dataset == "auto" else config.dataset
        _log.info(f"reading {what}", extra=PASSING)
    name, source, loaded = _load(config, accelerator)
    if loaded.num_duplicates and accelerator.is_main_process:
        number = f"{loaded.num_duplicates:,} of {len(loaded.test):,}"
        _log.warning(f"{number} test images are in the training file as well")
    count, processes = len(loaded.train), accelerator.num_processes
    decide_together(accelerator, lambda: check_split(config, count, num_processes=processes))
    images, labels = loaded.train.data, loaded.train.targets
    num_train = len(images) - num_val(config, len(images))
    device = accelerator.device

    def on_device(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        # an axis of one has its usual stride as well: what is compiled on blank images needs it
        usual = [tensor.to(device).contiguous().flatten().view(tensor.shape) for tensor in tensors]
        first, second = usual
        return first, second

    resident = config.loader == "resident"
    if config.loader == "streaming":  # before the train clock runs
        import torchvision.transforms.functional  # noqa: F401
    return RunData(
        info=DatasetInfo(
            name=name,
            source=source,
            sha256=loaded.sha256,
            num_train=num_train,
            num_val=len(images) - num_train,
            num_test=len(loaded.test),
            image_shape=list(loaded.shape[:3]),
            num_classes=loaded.shape.num_classes,
            class_counts=list(loaded.class_counts),
            pixel_mean=list(loaded.pixel_mean),
            pixel_std=list(loaded.pixel_std),
            num_duplicates=loaded.num_duplicates,
        ),
        loaded=loaded,
        train=on_device(images[:num_train], labels[:num_train]) if resident else None,
        val=on_device(images[num_train:], labels[num_train:]),
        test=on_device(loaded.test.data, loaded.test.targets),
        device=device,
    )


def _load(config: RunConfig, accelerator: Accelerator) -> tuple[str, Source, LoadedDataset]:
    """The data set, its name and where it is from.

    One process of each machine is first: it may have to download, decode or write a file. What it
    has read of the user's own it keeps: that may have taken long.
    """
    kept: list[LoadedDataset] = []

    def first(config: RunConfig) -> tuple[str, Source]:
        name, source = resolve_dataset(config, warn=_log.warning)
        if is_own(config.dataset):
            kept.append(load_dataset(name, config))
        return name, source

    name, source = decide_together(accelerator, lambda: first(config))
    if accelerator.is_local_main_process and not accelerator.is_main_process:
        # another machine, another disk: the files have to come there as well
        first(config if is_own(config.dataset) else config.model_copy(update={"dataset": name}))
    accelerator.wait_for_everyone()
    loaded = kept[0] if kept else load_dataset(name, config)
    sha256 = decide_together(accelerator, lambda: loaded.sha256)
    other = "dataset: has other images or labels than on the main process; it has to be the same"
    agree(accelerator, None if loaded.sha256 == sha256 else InputError(other))
    return name, source, loaded


def streaming_batches(
    plan: BatchPlan,
    *,
    dataset: Dataset[Any],
    device: torch.device,
    num_workers: int,
    timeout_s: float = 300.0,
) -> Iterator[Batch]:
    """The same batches read sample by sample from a torchvision data set by a DataLoader.

    ``dataset[i]`` is a PIL image, or a tensor ``[C, H, W]``, and a label. A batch of the
    `num_workers` processes is waited for `timeout_s`; without one, this process reads.

    Raises:
        RunError: a worker cannot start, fails, is lost or is silent.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=(part.indices.tolist() for part in plan.parts()),
        num_workers=num_workers,
        collate_fn=_collate,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # else each epoch would draw from the run's own stream
    )
    others, waited, failure = set(active_children()), list[float](), ""

    def end_workers(waited_s: float = 0.0) -> None:
        waited.append(waited_s)
        for worker in set(active_children()) - others:
            worker.kill()

    samples = None
    try:
        samples = iter(loader)
        with Watchdog(timeout_s if num_workers else math.inf, end_workers) as watchdog:
            for part in plan.parts():
                with watchdog.armed():
                    arrays = next(samples)
                images, labels = (moved(torch.from_numpy(array), device) for array in arrays)
                yield Batch(images, labels, part)
    except Exception as error:
        if not num_workers:
            raise
        failure = worker_loss(error, waited_s=sum(waited))
        # torch's iterator, half made or without its workers, ends in an error
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        traceback.clear_frames(error.__traceback__)
    finally:
        samples = None  # torch ends those that obey
        end_workers()
    if failure:
        sys.unraisablehook = hook
        raise RunError(failure)


def _begin_worker(_worker: int) -> None:
    """Signals to a whole group are for the run's own process, with which its workers end."""
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - what fails is told there
    signal.set_wakeup_fd(-1)
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    os.environ[PARENT] = str(os.getppid())
    die_with_parent()


def _collate(samples: Iterable[tuple[Any, int]]) -> tuple[np.ndarray[Any, Any], ...]:
    """Arrays, which go through a worker's pipe; torch would hand tensors over in shared memory.

    Where that, or the path of a socket in the temporary folder, is short, no batch would ever come.
    """
    from torchvision.transforms.functional import pil_to_tensor  # a second, for this loader only

    images, labels = zip(*samples, strict=True)
    tensors = [image if isinstance(image, Tensor) else pil_to_tensor(image) for image in images]
    return torch.stack(tensors).numpy(), np.array(labels, np.int64)
