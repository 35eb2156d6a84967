"""What `mnistbench.record` is told of a run, and what it evaluated, checked."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mnistbench.recorder.batch_size import whole
from mnistbench.recorder.config_values import plain_values
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.open_mappings import FreeName, MetricName
from mnistbench.schema.suggestions import did_you_mean, use_a_fraction
from mnistbench.schema.target import Target, is_lower_better
from mnistbench.schema.whole_number import whole_number

OUTPUT_DIR = "MNISTBENCH_OUTPUT_DIR"
"""The variable by which who starts a script says where its records go; an argument is less."""
SEED = "MNISTBENCH_SEED"
"""The same of its seed, of which an argument is more."""
VALUES = "MNISTBENCH_VALUES"
"""The same of what a sweep varies, as a JSON object: `config` gets the names that it lacks."""

_LONGEST_IN_ID = 60
_ROUNDING = 1e-5
"""How far a mean of fractions in fp32 gets above 1."""


def as_told(config: RunConfig) -> RunConfig:
    """`config` where `OUTPUT_DIR` says, and with the seed of `SEED` unless it was given one.

    Raises:
        InputError: that is no seed.
    """
    folder, seed = os.environ.get(OUTPUT_DIR), _told_seed()
    given = {name: getattr(config, name) for name in config.model_fields_set}
    told = {"seed": seed} if seed is not None else {}
    return RunConfig(**told | given | ({"output_dir": folder} if folder else {}))


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What was told: as the arguments of `mnistbench.record`, each in the form of a record.

    `by_repr` are the keys of `config` and `extra` that JSON cannot hold.
    """

    name: str
    config: dict[str, Any]
    ignored: list[str]
    seed: int | None
    target: Target | None
    output_dir: Path
    tags: list[str]
    extra: dict[str, Any]
    by_repr: list[str]
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    token: str = field(default_factory=lambda: token_hex(4))

    @property
    def run_id(self) -> str:
        """A name for the run that is fit for a file."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:_LONGEST_IN_ID]
        seed = "" if self.seed is None else f"-seed{self.seed}"
        return f"{self.created_at:%Y%m%d-%H%M%S}-{slug}{seed}-{self.token}"

    @property
    def run_folder(self) -> Path:
        """Where its record goes."""
        return self.output_dir / self.run_id

    @classmethod
    def of(cls, name: str, **told: Any) -> LoopSettings:
        """Check all that `mnistbench.record` is `told`.

        Raises:
            InputError: the first that has to be mended.
        """
        config, by_repr = plain_values(_config(told["config"] or {}), field="config")
        extra, more = plain_values(told["extra"] or {}, field="extra")
        return cls(
            name=checked_name(name, "name", FreeName),
            config=config,
            ignored=_ignored(told["ignore"], config),
            seed=_seed(told["seed"]),
            target=_target(told["target"], told["higher_is_better"]),
            output_dir=_output_dir(told["output_dir"]),
            tags=[checked_name(tag, "tags", FreeName) for tag in _several(told["tags"], "tags")],
            extra=extra,
            by_repr=[*by_repr, *(f"extra.{name}" for name in more)],
        )


def checked_name(value: Any, field: str, kind: Any) -> str:
    """`value`, if it is a name of that `kind`.

    Raises:
        InputError: it is not; begins with `field`.
    """
    try:
        return str(TypeAdapter(kind).validate_python(value, strict=True))
    except ValidationError as error:
        said = one_line(error).removeprefix(": ")
        if "pattern" in said:
            said = "should begin with a letter or digit, and go on with these, blanks and ._+:/@-"
            said += f" (got {value!r:.90})"
        raise InputError(f"{field}: {said}") from None


def _several(values: Any, field: str) -> list[Any]:
    if isinstance(values, str):
        return [values]
    if not isinstance(values, Collection) or isinstance(values, Mapping):
        raise InputError(f"{field}: should be a list of names (got {values!r:.90})")
    return list(values)


def _ignored(names: Any, config: Mapping[str, Any]) -> list[str]:
    ignored = _several(names, "ignore")
    for name in ignored:
        if name not in config:
            near = did_you_mean(name, config)
            raise InputError(f"ignore: config has no key {name!r:.90}{near}")
    return ignored


def _config(config: Any) -> Any:
    """`config`, and what a sweep varies, so that records of one tell their cells apart."""
    try:
        varied = json.loads(os.environ.get(VALUES) or "{}")
    except ValueError:
        varied = None
    if not isinstance(varied, dict):
        raise InputError(f"{VALUES}: should be a JSON object; unset it")
    return {**varied, **config} if isinstance(config, Mapping) else config


def _seed(seed: Any) -> int | None:
    return _told_seed() if seed is None else whole(seed, field="seed")


def _told_seed() -> int | None:
    if (told := os.environ.get(SEED)) and (number := whole_number(told, highest=2**63)) is None:
        raise InputError(f"{SEED}: should be a whole number (got {told!r:.90})")
    return number if told else None


def _target(target: Any, higher_is_better: Any) -> Target | None:
    if target is None:
        if higher_is_better is not None:
            raise InputError("higher_is_better: there is no target; give it as {metric: value}")
        return None
    if not isinstance(target, Mapping) or len(target) != 1:
        raise InputError(
            f'target: should be one metric and its value, such as {{"accuracy": 0.97}} '
            f"(got {target!r:.90})"
        )
    ((metric, value),) = target.items()
    checked_name(metric, "target", MetricName)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise InputError(f"target: {metric} should be a finite number (got {value!r:.90})")
    if metric == "accuracy" and not 0 < value <= 1:
        near = use_a_fraction(value, 1)
        raise InputError(f"target: accuracy should be above 0 and at most 1 (got {value}){near}")
    if not isinstance(higher_is_better, bool | None):
        raise InputError(
            f"higher_is_better: should be True or False (got {higher_is_better!r:.90})"
        )
    higher = not is_lower_better(metric) if higher_is_better is None else higher_is_better
    return Target(metric=metric, value=float(value), higher_is_better=higher)


def _output_dir(output_dir: Any) -> Path:
    try:
        path = Path(os.environ.get(OUTPUT_DIR) or output_dir or "runs").expanduser().absolute()
    except (TypeError, RuntimeError):
        raise InputError(f"output_dir: should be a path (got {output_dir!r:.90})") from None
    if "\0" in str(path):
        raise InputError(f"output_dir: should be a path (got {output_dir!r:.90})")
    for one in (path, *path.parents):
        if os.access(one, os.F_OK):
            if one.is_dir():
                break
            raise InputError(f"output_dir: {one} is not a folder; choose another")
    return path


def metric_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """`metrics` as floats, which may be NaN or infinite.

    Raises:
        InputError: there is none, one is no number, or an accuracy is no fraction.
    """
    if not metrics:
        raise InputError("evaluated: should be given metrics, such as accuracy=0.97")
    values = {
        checked_name(name, "evaluated", MetricName): _number(name, value)
        for name, value in metrics.items()
    }
    accuracy = values.get("accuracy", 0.0)
    if 1 < accuracy < 1 + _ROUNDING:
        values["accuracy"] = accuracy = 1.0
    if not 0 <= accuracy <= 1 and accuracy == accuracy:  # noqa: PLR0124 - NaN is said otherwise
        raise InputError(
            f"accuracy: should be from 0 to 1 (got {accuracy:g}){use_a_fraction(accuracy, 1)}"
        )
    return values


def _number(name: str, value: Any) -> float:
    """A number, or what a tensor or an array of one holds."""
    number = value
    if not isinstance(value, numbers.Real) and hasattr(value, "item"):
        try:
            number = value.item()
        except (TypeError, ValueError, RuntimeError):  # it holds several
            number = None
    if not isinstance(number, numbers.Real) or isinstance(number, bool):
        shape = getattr(value, "shape", None)
        got = f"{type(value).__name__} of shape {tuple(shape)}" if shape else repr(value)[:90]
        raise InputError(f"{name}: should be a number (got {got})")
    try:
        return float(number)
    except OverflowError:
        raise InputError(f"{name}: is larger than any float") from None
