"""Contenders of a comparison, each to be tuned by as many configurations as the others."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mnistbench.analysis.number_text import numbered
from mnistbench.launch.cells import as_text
from mnistbench.launch.own_cells import RunCell
from mnistbench.schema.component import ARGUMENTS_OF, is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import APPLIES_TO, is_read
from mnistbench.schema.errors import InputError
from mnistbench.schema.plain_yaml import yaml_text
from mnistbench.schema.training_fields import BOOKKEEPING
from mnistbench.workload.recipes import RECIPES

COMPARED = ("model", "loss", "optimizer", "lr_schedule")
"""Fields whose values may be contenders; an earlier one is the field of a single contender."""

FEWEST_SEEDS = 3
_SEEDS_TO_TARGET = 5  # medians of censored times need as many for an interval
_ALIKE = ("recipe", "dataset", "dataset_args", "val_size", "eval_split", "target_accuracy")
_RATES = tuple(float(f"{10 ** (half / 2):.1g}") for half in range(-16, 9))
"""Learning rates a factor of about three apart."""
_BESIDE = 3  # rates on each side of that of the recipe or file
_WIDER = 2

Axes: TypeAlias = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One value of the field that is compared.

    Attributes:
        name: what tables and its file call it.
        cells: its configurations, each with every seed.
        denser: its learning rates lie closer than asked for, so that it has as many as others.
    """

    name: str
    cells: tuple[RunCell, ...]
    denser: bool = False

    @property
    def seeds(self) -> list[int]:
        """The seeds of each configuration."""
        return sorted({cell.config.seed for cell in self.cells})

    @property
    def num_tries(self) -> int:
        """How many configurations it is tried in."""
        return len(self.cells) // len(self.seeds)

    @property
    def rates(self) -> list[float]:
        """The learning rates it is tried with, the smallest first."""
        return sorted({cell.config.lr for cell in self.cells})


def compared(axes: Axes, asked: str | None) -> str:
    """The field whose values are contenders: the one that is `asked` for or has several values.

    Raises:
        InputError: several have, or one that has to be alike for all.
    """
    for name in _ALIKE:
        if len(axes.get(name, ())) > 1:
            raise InputError(f"{name}: takes one value here; tune for each in a folder of its own")
    several = [name for name in COMPARED if len(axes.get(name, ())) > 1]
    if asked is None and len(several) > 1:
        flags = " or ".join(f"--by {name}" for name in several)
        raise InputError(f"by: {' and '.join(several)} have several values; say {flags}")
    typed = [name for name in COMPARED if name in axes]
    return asked or (several or typed or COMPARED)[0]


def contenders(axes: Axes, *, by: str, grid: Callable[[Axes], list[RunCell]]) -> list[Contender]:
    """A contender for each value of the field `by`, tried in as many configurations as the others.

    An argument that only some read is left out for others, which get more learning rates within
    the same ends. By default there are seven, around that of the recipe or file, and three seeds,
    or five where there is a target.

    Args:
        axes: field of `RunConfig` to its values.
        by: one of `COMPARED`.
        grid: makes the cells that axes span.

    Raises:
        InputError: as `grid`; too few seeds; nothing to choose on; or as many configurations for
            each cannot be had.
    """
    each = [_read_by(axes, by, value) for value in axes.get(by, ())] or [dict(axes)]
    first = grid(each[0])
    _check_val(first[0].config)
    more = _defaults(axes, first)
    tried = [grid(its | more) for its in each]
    most = max(map(len, tried))
    equal = [
        cells if len(cells) == most else grid(its | more | {"lr": _denser(cells, by, most)})
        for its, cells in zip(each, tried, strict=True)
    ]
    names = _names([getattr(cells[0].config, by) for cells in equal])
    return [
        Contender(name=name, cells=tuple(cells), denser=len(before) < most)
        for name, cells, before in zip(names, equal, tried, strict=True)
    ]


def wider(rates: Sequence[float], best: float) -> list[float]:
    """`rates` with two more beyond that end at which `best` lies; as they are if at none."""
    first, last = rates[0], rates[-1]
    if best == first < last:
        return [*[rate for rate in _RATES if rate < 0.6 * first][-_WIDER:], *rates]
    if first < last == best:
        return [*rates, *[rate for rate in _RATES if rate > 1.7 * last][:_WIDER]]
    return [*rates]


def settings(config: RunConfig) -> str:
    """`config` as the YAML that train and compare take: what differs from its recipe or defaults.

    Seeds, the output folder and the like are left to who runs it.
    """
    recipe = config.recipe
    plain = RunConfig(recipe=recipe, **(RECIPES[recipe].settings if recipe else {}))
    left_out = BOOKKEEPING - {"data_dir"} | {"seed", "num_seeds", "recipe"}
    own, base = (one.model_dump(mode="json", exclude=set(left_out)) for one in (config, plain))
    changed = {name: value for name, value in own.items() if value != base[name]}
    return yaml_text(({"recipe": recipe} if recipe else {}) | {"lr": config.lr} | changed)


def _read_by(axes: Axes, by: str, value: Any) -> dict[str, Sequence[Any]]:
    """The `axes` of one contender: those that it reads, or that nobody does, which is an error."""

    def reads(name: str, one: Any) -> bool:
        if name.partition(".")[0] == ARGUMENTS_OF.get(by):
            return is_reference(one)
        return APPLIES_TO.get(name, (None,))[0] != by or is_read(name, {by: one})

    known = axes[by]
    read = {
        name: values
        for name, values in axes.items()
        if reads(name, value) or not any(reads(name, one) for one in known)
    }
    return read | {by: (value,)}


def _check_val(config: RunConfig) -> None:
    if config.eval_split != "val":
        raise InputError(
            "eval_split: what is best is chosen on val, and test judges it afterwards; give "
            "--eval-split val and a --val-size above 0"
        )


def _defaults(axes: Axes, cells: Sequence[RunCell]) -> dict[str, Sequence[Any]]:
    """Learning rates and seeds, where none are given."""
    config, seeds = cells[0].config, sorted({cell.config.seed for cell in cells})
    more: dict[str, Sequence[Any]] = {}
    if "lr" not in axes:
        near = min(range(len(_RATES)), key=lambda at: abs(math.log(_RATES[at] / config.lr)))
        more["lr"] = _RATES[max(near - _BESIDE, 0) : near + _BESIDE + 1]
    if "seed" not in axes and len(seeds) == 1 and "num_seeds" not in axes:
        num_seeds = FEWEST_SEEDS if config.target_accuracy is None else _SEEDS_TO_TARGET
        more["seed"] = range(config.seed, config.seed + num_seeds)
    elif len(seeds) < FEWEST_SEEDS:
        raise InputError(
            f"seed: {FEWEST_SEEDS} seeds or more of each configuration tell it from a lucky one, "
            f"not {len(seeds)}; give --seed 0..{FEWEST_SEEDS - 1}"
        )
    return more


def _denser(cells: Sequence[RunCell], by: str, most: int) -> list[float]:
    """As many learning rates, between the ends of those of `cells`, as make `most` cells."""
    rates = sorted({cell.config.lr for cell in cells})
    num, rest = divmod(most * len(rates), len(cells))
    low, high = rates[0], rates[-1]
    between = (low * (high / low) ** (at / (num - 1)) for at in range(1, num - 1))
    found = [low, *(float(f"{rate:.2g}") for rate in between), high]
    if rest or len(set(found)) < num:
        name, num_seeds = as_text(getattr(cells[0].config, by)), len({c.config.seed for c in cells})
        raise InputError(
            f"{by}: {name} would be tried in {len(cells) // num_seeds} configurations, another in "
            f"{most // num_seeds}; a fair comparison tries each as often, so tune it by a command "
            "of its own, with as many values"
        )
    return found


def _names(values: Sequence[str]) -> list[str]:
    """A short name of each value, by which its file is called; no two the same."""
    short = [as_text(value) for value in values]
    whole = (re.sub(r"[^A-Za-z0-9.]+", "-", value).strip("-.") for value in values)
    apart = [one if short.count(one) == 1 else long for one, long in zip(short, whole, strict=True)]
    return numbered(apart)
