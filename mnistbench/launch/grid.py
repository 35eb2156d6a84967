"""From lists of values on a command line to the cells they span."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from mnistbench.analysis.number_text import setting_text
from mnistbench.launch.cells import Cell
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_batch, check_known_split
from mnistbench.schema.errors import InputError
from mnistbench.schema.whole_number import whole_number

__all__ = ["cells_of", "values_of"]

_MOST_CELLS = 100_000
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")


def values_of(name: str, text: str) -> tuple[Any, ...]:
    """The values that `text` lists for the field `name` of `RunConfig`, or for ``processes``.

    Values are joined by commas; ``0..9`` is every whole number from 0 to 9, ``true`` and ``false``
    are switches, ``none`` leaves a field to itself, ``shift+rotate`` joins the values of a list.
    What a value may be is left to the configuration.

    Raises:
        InputError: a value is empty, or not of the field's kind where only text could tell.
    """
    annotation = int if name == "processes" else RunConfig.model_fields[name].annotation
    kinds = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    values: list[Any] = []
    if name == "data_dir":
        return (text,)  # a path may have commas
    for word in text.split(","):
        if not word:
            raise InputError(f"{name}: an empty value in {text!r}; separate values by one comma")
        if int in kinds and ".." in word:
            values.extend(_range(name, word))
        else:
            values.append(_value(name, word, kinds))
    return tuple(dict.fromkeys(values))


def cells_of(
    axes: Mapping[str, Sequence[Any]], *, read: Callable[[Mapping[str, Any]], RunConfig]
) -> list[Cell]:
    """Every combination of the values of `axes` as a cell, each once, seed after seed.

    Seeds are the outermost loop, so that on a machine that drifts what is compared runs in turn.

    Args:
        axes: field of `RunConfig`, or ``processes``, to its values.
        read: makes a configuration of one value for each field, such as `mnistbench.cli` does.

    Raises:
        InputError: a combination contradicts itself, which names it, or there are too many.
    """
    num_cells = math.prod(map(len, axes.values()))
    _check_size(num_cells)
    varied = [name for name, values in axes.items() if len(values) > 1]
    cells: dict[str, Cell] = {}
    for combination in itertools.product(*axes.values()):
        given = dict(zip(axes, combination, strict=True))
        num_processes = given.pop("processes", 1)
        try:
            config = read(given)
            _check_cell(config, num_processes)
        except InputError as error:
            where = {**given, "processes": num_processes}
            raise InputError(_named({name: where[name] for name in varied}, error)) from None
        _check_size(num_cells * config.num_seeds)
        cells.update((cell.id, cell) for cell in _one_per_seed(config, num_processes))
    return sorted(cells.values(), key=lambda cell: cell.config.seed)


def _check_size(num_cells: int) -> None:
    if num_cells > _MOST_CELLS:
        raise InputError(f"the grid has {num_cells:,} cells; at most {_MOST_CELLS:,}")


def _one_per_seed(config: RunConfig, num_processes: int) -> Iterator[Cell]:
    for seed in range(config.seed, config.seed + config.num_seeds):
        one = RunConfig(**config.model_dump() | {"seed": seed, "num_seeds": 1})
        yield Cell(config=one, num_processes=num_processes)


def _check_cell(config: RunConfig, num_processes: int) -> None:
    if config.resume:
        raise InputError("resume: a sweep goes on by itself; leave it out")
    if num_processes < 1:
        raise InputError(f"processes: should be at least 1 (got {num_processes})")
    check_batch(config, num_processes)
    check_known_split(config, num_processes=num_processes)


def _range(name: str, word: str) -> range:
    match = _RANGE.fullmatch(word)
    if match is None:
        raise InputError(f"{name}: {word!r} is no range; write it as 0..9")
    first, last = map(int, match.groups())
    if last < first:
        raise InputError(f"{name}: {word} runs backwards; write {last}..{first}")
    if last - first >= _MOST_CELLS:
        raise InputError(f"{name}: {word} has more than {_MOST_CELLS:,} values")
    return range(first, last + 1)


def _value(name: str, word: str, kinds: tuple[Any, ...]) -> Any:
    if get_origin(kinds[0]) is tuple:
        return () if word == "none" else tuple(word.split("+"))
    if word == "none" and type(None) in kinds:
        return None
    if bool in kinds:
        if word.lower() not in {"true", "false"}:
            raise InputError(f"{name}: should be true or false (got {word!r})")
        return word.lower() == "true"
    if name == "processes":
        if (number := whole_number(word)) is None:
            raise InputError(f"processes: should be a whole number (got {word!r})")
        return number
    return word  # pydantic reads numbers from text, and refuses in its own words


def _named(where: Mapping[str, Any], error: InputError) -> str:
    """The complaint with the cell it is of, if there are several."""
    shown = {name.replace("_", "-"): setting_text(its, none="none") for name, its in where.items()}
    flags = [f"--{name} {text}" for name, text in shown.items()]
    return f"cell {' '.join(flags)}: {error}" if flags else str(error)
