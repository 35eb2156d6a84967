"""What a run was made of: its recipe, its data and code of the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mnistbench.schema.component import parse_reference
from mnistbench.schema.open_mappings import FreeName, Name
from mnistbench.schema.strict_model import StrictModel

Source = Literal["local", "downloaded", "generated", "function"]
Component = Literal["model", "loss", "optimizer", "lr_schedule", "dataset", "script"]

OWN_CODE = "code of your own"
"""What `sources_text` is called beside versions and commits."""

_DIGITS = 10


def _check_reference(text: str) -> str:
    parse_reference(text)
    return text


class WorkloadInfo(StrictModel):
    """What was trained, and by what loop."""

    name: FreeName
    """What its user calls it."""
    framework: Name
    """``mnistbench`` is this package's own loop; else ``torch``, ``lightning``, ``python``, …"""


class RecipeInfo(StrictModel):
    """The recipe that a run started from."""

    name: Name
    """Its name."""
    source: str
    """Where it was published."""
    claim: str | None = None
    """What that says it reaches."""
    claimed_accuracy: float | None = Field(None, ge=0, le=1)
    """That on test, as a fraction."""
    changed: list[str] = Field(default_factory=list)
    """Which of its values were changed."""


class DatasetInfo(StrictModel):
    """The data that a run really used."""

    name: Name
    """Their name."""
    source: Source
    """Where they came from."""
    sha256: str
    """Hash of all pixels and labels."""
    num_train: int = Field(ge=0)
    """Images in train."""
    num_val: int = Field(ge=0)
    """Images in val."""
    num_test: int = Field(ge=0)
    """Images in test."""
    image_shape: Annotated[list[int], Field(min_length=3, max_length=3)] | None = None
    """Channels, and height and width [pixels]."""
    num_classes: int | None = Field(None, ge=1)
    """Classes."""
    class_counts: list[int] | None = None
    """Images of each class in the training file."""
    pixel_mean: list[float] | None = None
    """The mean that each channel was normalized with."""
    pixel_std: list[float] | None = None
    """The standard deviation of the same."""
    num_duplicates: int | None = Field(None, ge=0)
    """Images of test that are in train as well; ``None`` where nobody looked."""


class CodeInfo(StrictModel):
    """Code of the user's own that a run used for one of its components."""

    component: Component
    """What it was used for."""
    reference: Annotated[str, Field(pattern=":"), AfterValidator(_check_reference)]
    """``module:attribute`` or ``path/to/file.py:attribute``."""
    sha256: str | None = None
    """Hash of its source, with the files that it imports; ``None`` where there is no source."""
    version: str | None = None
    """Version of the installed package that it came from."""
    files: list[Name] = Field(default_factory=list)
    """Copies in the folder ``code`` of the run's."""


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
