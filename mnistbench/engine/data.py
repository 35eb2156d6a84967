"""The data of a run where it is needed: splits on the device, or a set to stream from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Subset

from mnistbench.engine.distributed import decide_together
from mnistbench.engine.streaming import streaming_batches
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_split
from mnistbench.schema.record import DatasetInfo
from mnistbench.workload.batches import (
    Batch,
    BatchPlan,
    mapped_batches,
    resident_batches,
)
from mnistbench.workload.datasets import LoadedDataset, load_dataset, resolve_dataset

__all__ = ["RunData", "place_data"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Images uint8 ``[N, 28, 28]`` and labels int64 ``[N]`` of each split.

    `val` and `test` lie on the device; `train` does so with the resident loader only.
    """

    info: DatasetInfo
    loaded: LoadedDataset
    train: tuple[Tensor, Tensor] | None
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    device: torch.device

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
    name, source = decide_together(accelerator, lambda: resolve_dataset(config, warn=_log.warning))
    if accelerator.is_local_main_process and not accelerator.is_main_process:
        # another machine, another disk: the files have to come there as well
        resolve_dataset(config.model_copy(update={"dataset": name}), warn=_log.warning)
    accelerator.wait_for_everyone()
    loaded = load_dataset(name, config)
    count, processes = len(loaded.train), accelerator.num_processes
    decide_together(accelerator, lambda: check_split(config, count, num_processes=processes))
    images, labels = loaded.train.data, loaded.train.targets
    num_train = len(images) - config.val_size
    device = accelerator.device

    def on_device(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        first, second = (tensor.to(device).contiguous() for tensor in tensors)
        return first, second

    resident = config.loader == "resident"
    return RunData(
        info=DatasetInfo(
            name=name,
            source=source,
            sha256=loaded.sha256,
            num_train=num_train,
            num_val=config.val_size,
            num_test=len(loaded.test),
        ),
        loaded=loaded,
        train=on_device(images[:num_train], labels[:num_train]) if resident else None,
        val=on_device(images[num_train:], labels[num_train:]),
        test=on_device(loaded.test.data, loaded.test.targets),
        device=device,
    )
