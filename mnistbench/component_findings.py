"""What `doctor` finds out of single components: whether a run could train with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mnistbench.cli import importing, say
from mnistbench.schema.component import DataShape, is_own, own_fields
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import num_val
from mnistbench.schema.errors import InputError
from mnistbench.schema.streams import progress
from mnistbench.schema.user_calls import user_errors

if TYPE_CHECKING:
    from mnistbench.workload.datasets import LoadedDataset

COMPONENT_FLAGS = {
    name: RunConfig.model_fields[name]
    for name in (
        *("model", "model_args", "loss", "loss_args", "optimizer", "optimizer_args"),
        *("lr", "lr_schedule", "dataset", "dataset_args", "global_batch_size"),
    )
}
"""Settings of a run that `doctor` takes as well."""

_COLUMNS = 94  # of a table of layers with their kernels
_USUAL = 60_000  # images in a training file of digits

State = Literal["ok", "note", "BROKEN"]


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: its name.
        state: whether a run would work.
        detail: what was found, in words.
    """

    check: str
    state: State
    detail: str


def component_findings(config: RunConfig) -> Iterator[Finding | str]:
    """Try the components of `config` as a run does; then the table of layers, if none is broken.

    Those that come after a broken one are not tried. Built-in ones by themselves always work.
    """
    with importing():
        import torch

    from mnistbench.workload.component_checks import check_components, check_schedule
    from mnistbench.workload.datasets import load_dataset, resolve_dataset
    from mnistbench.workload.generated import DIGIT_SHAPE
    from mnistbench.workload.own_components import check_own

    own = own_fields(config)
    try:
        for field in own:
            yield Finding(f"{field}: import", "ok", check_own(config, field))
        shape, num_train = DIGIT_SHAPE, _USUAL
        if is_own(config.dataset):
            progress("reading the data")
            loaded = load_dataset(resolve_dataset(config, warn=say)[0], config)
            shape, num_train = loaded.shape, len(loaded.train)
            yield Finding("dataset", "ok", _said_of(loaded))
        if own:
            device = torch.accelerator.current_accelerator(check_available=True)
            place: Any = {"device": device or torch.device("cpu"), "dtype": torch.float32}
            for check, found in check_components(config, shape, **place):
                yield Finding(check, "ok", found)
            num_train -= num_val(config, num_train)
            per_epoch = -(-num_train // (config.global_batch_size or 1))
            num_steps = per_epoch * config.num_epochs
            found = check_schedule(config, num_steps=num_steps, steps_per_epoch=per_epoch)
            yield Finding("lr_schedule", "ok", found)
        yield _layer_table(config, shape)
    except InputError as error:
        field, _, said = str(error).partition(": ")
        yield Finding(field, "BROKEN", said)


def _said_of(loaded: LoadedDataset) -> str:
    images, num_classes = list(loaded.shape[:3]), loaded.shape.num_classes
    sizes = f"{len(loaded.train):,} train and {len(loaded.test):,} test images {images}"
    fewest, most = min(loaded.class_counts), max(loaded.class_counts)
    return f"{sizes}, {num_classes} classes of {fewest:,} to {most:,}"


def _layer_table(config: RunConfig, shape: DataShape) -> str:
    """The layers of the network of `config`, their shapes and parameters."""
    import torchinfo

    from mnistbench.workload.models import build_model

    fits = shutil.get_terminal_size().columns >= _COLUMNS
    model = build_model(config, shape)
    with user_errors("model"):
        summary = torchinfo.summary(
            model,
            input_size=(1, *shape[:3]),
            col_names=("output_size", *(["kernel_size"] if fits else []), "num_params"),
            col_width=18,
            verbose=0,
        )
    return f"{config.model}\n{summary}"
