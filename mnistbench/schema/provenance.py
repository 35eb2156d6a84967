"""What a run was made of: its recipe, its data and code of the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mnistbench.schema.component import parse_reference
from mnistbench.schema.open_mappings import FreeName, Name
from mnistbench.schema.strict_model import StrictModel

__all__ = [
    "OWN_CODE",
    "CodeInfo",
    "Component",
    "DatasetInfo",
    "RecipeInfo",
    "Source",
    "WorkloadInfo",
    "sources",
    "sources_text",
]

Source = Literal["local", "downloaded", "generated", "function"]
Component = Literal["model", "loss", "optimizer", "lr_schedule", "dataset", "script"]

OWN_CODE = "code of your own"
"""What `sources_text` is called beside versions and commits."""

_DIGITS = 10


def _check_reference(text: str) -> str:
    parse_reference(text)
    return text


class WorkloadInfo(StrictModel):
    """What was trained, and by what loop.

    `framework` is ``mnistbench`` for this package's own; of others what their process had imported:
    ``transformers``, ``lightning``, ``accelerate``, ``torch``, … or ``python``.
    """

    name: FreeName
    framework: Name


class RecipeInfo(StrictModel):
    """The recipe a run started from, and which of its values were changed."""

    name: Name
    source: str
    claim: str | None = None
    claimed_accuracy: float | None = Field(None, ge=0, le=1)
    changed: list[str] = Field(default_factory=list)


class DatasetInfo(StrictModel):
    """The data a run really used; counts are images, `sha256` is of all pixels and labels.

    Of records since version 2 of this package: `image_shape` is channels, height and width, the
    last two in pixels; `class_counts` are images of each class in the training file; `pixel_mean`
    and `pixel_std` were used, for each channel; `num_duplicates` images of test are also in train,
    and ``None`` where nobody looked.
    """

    name: Name
    source: Source
    sha256: str
    num_train: int = Field(ge=0)
    num_val: int = Field(ge=0)
    num_test: int = Field(ge=0)
    image_shape: Annotated[list[int], Field(min_length=3, max_length=3)] | None = None
    num_classes: int | None = Field(None, ge=1)
    class_counts: list[int] | None = None
    pixel_mean: list[float] | None = None
    pixel_std: list[float] | None = None
    num_duplicates: int | None = Field(None, ge=0)


class CodeInfo(StrictModel):
    """Code of the user's own that a run used for one of its components.

    `sha256` is of its source, with the files beside it that it imports; ``None`` where there is no
    source to be read. `version` is of the installed package that it came from. `files` are copies
    in the folder ``code`` of the run's.
    """

    component: Component
    reference: Annotated[str, AfterValidator(_check_reference)]
    sha256: str | None = None
    version: str | None = None
    files: list[Name] = Field(default_factory=list)


def sources(codes: Iterable[CodeInfo]) -> dict[str, str]:
    """Files and modules that `codes` come from -> version and 10 digits of the hash of each."""
    told: dict[str, str] = {}
    for code in codes:
        place, _, is_file = parse_reference(code.reference)
        name = place.replace("\\", "/").rpartition("/")[2] if is_file else place
        its = " ".join(filter(None, (code.version, (code.sha256 or "")[:_DIGITS]))) or "no source"
        if its not in told.setdefault(name, its):  # another folder's, of the same name
            told[name] += f" and {its}"
    return told


def sources_text(codes: Iterable[CodeInfo]) -> str | None:
    """`sources` in one line, ``my_nets 3f2a91bc04``: the same text is the same code."""
    return ", ".join(f"{name} {its}" for name, its in sources(codes).items()) or None
