"""What a user brings: references to code of theirs, data of theirs, and arguments.

Here is the form alone; nothing is imported, and nothing is read from the disk.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mnistbench.schema.names import (
    DatasetChoice,
    LossName,
    ModelName,
    OptimizerName,
    ScheduleName,
)

ARGUMENTS_OF = {
    "model": "model_args",
    "loss": "loss_args",
    "optimizer": "optimizer_args",
    "dataset": "dataset_args",
}
"""Fields that take a reference and arguments of it -> the field of these."""

OWN_FIELDS = ("model", "loss", "optimizer", "lr_schedule", "dataset")
"""All fields that take a reference."""

_IDENTIFIERS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_LONGEST = 200  # letters
_MOST_DEPTH = 8  # lists and mappings inside each other


class DataShape(NamedTuple):
    """What a network is made for: the shape of one image, and how many classes there are.

    Images are ``[B, channels, height, width]`` [pixels], logits ``[B, num_classes]``.
    """

    channels: int
    height: int
    width: int
    num_classes: int


class Reference(NamedTuple):
    """``module:attribute`` or ``path/to/file.py:attribute``, taken apart.

    Attributes:
        place: name of a module, or path of a file.
        attribute: what is taken from it; dots lead into it.
        is_file: `place` is a path.
    """

    place: str
    attribute: str
    is_file: bool


def is_reference(value: object) -> bool:
    """Whether `value` is meant as a `Reference`: it has a colon, which no built-in name has."""
    return isinstance(value, str) and ":" in value


def own_fields(config: object) -> list[str]:
    """The fields of a configuration that refer to code of the user's own."""
    return [field for field in OWN_FIELDS if is_reference(getattr(config, field))]


def is_data_path(value: object) -> bool:
    """Whether `value` names data by their place: ``digits.npz``, or a folder, which has a slash."""
    if not isinstance(value, str) or is_reference(value):
        return False
    return value.endswith(".npz") or "/" in value or "\\" in value


def is_own(value: object) -> bool:
    """Whether `value` stands for something of the user's own, which no registry has."""
    return is_reference(value) or is_data_path(value)


def parse_reference(text: str) -> Reference:
    """The parts of a reference; whether there is anything is left to the engine.

    Raises:
        ValueError: it has another form; one line.
    """
    place, _, attribute = text.rpartition(":")
    is_file = place.endswith(".py")
    well_formed = len(text) <= _LONGEST and text.isprintable() and " " not in attribute
    if not (well_formed and _IDENTIFIERS.fullmatch(attribute)) or not (
        is_file or _IDENTIFIERS.fullmatch(place)
    ):
        raise ValueError("should be module:attribute or path/to/file.py:attribute")
    if is_file and ".." in re.split(r"[/\\]", place):
        raise ValueError("takes no .. in a path; run from a folder above it, or give it whole")
    return Reference(place, attribute, is_file)


def short_name(value: str) -> str:
    """The attribute of a reference, the last part of a path, or a built-in name as it is."""
    name = value.rpartition(":")[2] if is_reference(value) else value
    parts = re.split(r"[/\\]", name.rstrip("/\\")) if is_data_path(value) else [name]
    return parts[-1].removesuffix(".npz") or value


def flat_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of a configuration with ``loss_args.q`` for ``q`` of ``loss_args``, and so on."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in ARGUMENTS_OF.values() and isinstance(value, Mapping):
            flat |= {f"{name}.{argument}": one for argument, one in value.items()}
        else:
            flat[name] = value
    return flat


@dataclass(frozen=True)
class OneOf:
    """Marks a text that is one of the `names` of a literal type, or of the user's own.

    Attributes:
        names: the literal type.
        takes_paths: data may be named by their place as well.
    """

    names: Any
    takes_paths: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The built-in names."""
        return tuple(name for one in get_args(self.names) for name in (get_args(one) or (one,)))

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Built-in names are checked by pydantic, in its own words."""

        def check(value: Any, named: core_schema.ValidatorFunctionWrapHandler) -> Any:
            if is_reference(value):
                parse_reference(value)
                return value
            if self.takes_paths and is_data_path(value):
                return value
            said = _by_name(value) if callable(value) else _almost(value, self.takes_paths)
            if said:
                raise ValueError(said)
            return named(value)

        return core_schema.no_info_wrap_validator_function(
            check, handler.generate_schema(self.names)
        )


def _almost(value: Any, takes_paths: bool) -> str | None:
    """What to write for a `value` with a dot, which no built-in name has, that is no reference."""
    if not isinstance(value, str):
        return None
    if value.endswith(".py"):
        return f"write {value}:NAME, with the name of what to take from it"
    if takes_paths and "." in value:
        return f"should be a built-in name, FILE.npz, FOLDER/ or MODULE:FUNCTION (got {value!r})"
    module, dot, attribute = value.rpartition(".")
    if dot and _IDENTIFIERS.fullmatch(value):
        return f"write {module}:{attribute}, with a colon before what the module has"
    return None


def _by_name(value: Callable[..., Any]) -> str:
    """What to write for a class or function: processes and records know it by its name alone."""
    made = value if hasattr(value, "__qualname__") else type(value)
    place = "FILE.py" if made.__module__ == "__main__" else made.__module__
    kept = "keep it in a file and " if place == "FILE.py" else ""
    return f"should be a name; {kept}write '{place}:{made.__qualname__}'"


ModelRef = Annotated[str, OneOf(ModelName)]
LossRef = Annotated[str, OneOf(LossName)]
OptimizerRef = Annotated[str, OneOf(OptimizerName)]
ScheduleRef = Annotated[str, OneOf(ScheduleName)]
DatasetRef = Annotated[str, OneOf(DatasetChoice, takes_paths=True)]


def _check_arguments(values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name of an argument; write name=value")
        _check_plain(name, value, _MOST_DEPTH)
    return values


def _check_plain(name: str, value: Any, depth: int) -> None:
    """Refuse what neither YAML nor a record can hold."""
    if isinstance(value, list | dict) and depth:
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            raise ValueError(f"{name}: keys should be texts")
        for one in inner:
            _check_plain(name, one, depth - 1)
        return
    plain = value is None or isinstance(value, bool | int | float | str)
    if not plain or (isinstance(value, float) and not math.isfinite(value)):
        kinds = "a text, a finite number, true, false, null, or a list or mapping of these"
        raise ValueError(f"{name}: should be {kinds}")


Arguments = Annotated[dict[str, Any], AfterValidator(_check_arguments)]
"""Arguments by name, as YAML holds them."""
