"""From lists of values on a command line to the cells they span."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

from mnistbench.analysis.number_text import setting_text
from mnistbench.launch.own_cells import RunCell
from mnistbench.schema.component import (
    ARGUMENTS_OF,
    OWN_FIELDS,
    flat_arguments,
    is_data_path,
    is_reference,
)
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_batch, check_known_split
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import content_digest
from mnistbench.schema.plain_yaml import yaml_value, yaml_word
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.user_code import code_of, require_code
from mnistbench.schema.whole_number import whole_number

_MOST_CELLS = 100_000
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")


def texts_of(typed: Mapping[str, Any]) -> dict[str, str]:
    """What `mnistbench.flags.parse` found of a command's lists, as a text for each axis.

    An argument is an axis of its own, such as ``loss_args.q``.
    """
    return {
        name: words if isinstance(words, str) else ",".join(words)
        for name, words in flat_arguments(typed).items()
    }


def values_of(name: str, text: str) -> tuple[Any, ...]:
    """The values that `text` lists for the field `name` of `RunConfig`, or for ``processes``.

    Values are joined by commas; ``0..9`` is every whole number from 0 to 9, ``true`` and ``false``
    are switches, ``none`` leaves a field to itself, ``shift+rotate`` joins the values of a list.
    What a value may be is left to the configuration. Those of an argument, such as ``loss_args.q``,
    are YAML, in which commas inside brackets, braces and quotes are part of a value.

    Raises:
        InputError: a value is empty, or not of the field's kind where only text could tell.
    """
    if "." in name:
        return _argument_values(name, text)
    annotation = int if name == "processes" else RunConfig.model_fields[name].annotation
    kinds = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    values: list[Any] = []
    if name == "data_dir":
        return (text,)  # a path may have commas
    for word in text.split(","):
        if not word:
            raise InputError(f"{name}: an empty value in {text!r}; separate values by one comma")
        if int in kinds and ".." in word:
            values.extend(range_of(name, word))
        else:
            values.append(_value(name, word, kinds))
    return tuple(dict.fromkeys(values))


def _argument_values(name: str, text: str) -> tuple[Any, ...]:
    shown, values = name.replace(".", ": "), list[Any]()
    for word in yaml_value(f"[{text}]", of=shown):
        is_range = isinstance(word, str) and _RANGE.fullmatch(word)
        values += range_of(shown, word) if is_range else [word]
    if not values:
        raise InputError(f"{shown}: has no value; separate values by one comma")
    return tuple({yaml_word(value): value for value in values}.values())


def cells_of(
    axes: Mapping[str, Sequence[Any]], *, read: Callable[[Mapping[str, Any]], RunConfig]
) -> list[RunCell]:
    """Every combination of the values of `axes` as a cell, each once, seed after seed.

    Seeds are the outermost loop, so that on a machine that drifts what is compared runs in turn.
    Where some values of an axis are the user's own and others built in, these get no arguments.

    Args:
        axes: field of `RunConfig`, argument of one, or ``processes``, to its values.
        read: makes a configuration of one value for each field, such as `mnistbench.cli` does.

    Raises:
        InputError: a combination contradicts itself, which names it, or there are too many.
    """
    num_cells = math.prod(map(len, axes.values()))
    check_size(num_cells)
    varied = [name for name, values in axes.items() if len(values) > 1]
    cells: dict[str, RunCell] = {}
    read_once: dict[tuple[str, ...], dict[str, str | None]] = {}
    for combination in itertools.product(*axes.values()):
        where = {"processes": 1, **dict(zip(axes, combination, strict=True))}
        given, num_processes = _given(where, axes), where["processes"]
        try:
            config = read(given)
            _check_cell(config, num_processes)
            named = tuple(getattr(config, component) for component in OWN_FIELDS)
            if named not in read_once:
                read_once[named] = _contents(config)
        except InputError as error:
            raise InputError(_named({name: where[name] for name in varied}, error)) from None
        check_size(num_cells * config.num_seeds)
        base = RunCell(config=config, num_processes=num_processes, **read_once[named])
        cells.update((cell.id, cell) for cell in _one_per_seed(base))
    return sorted(cells.values(), key=lambda cell: cell.config.seed)


def _contents(config: RunConfig) -> dict[str, str | None]:
    """What files of the user's own hold now: code and data."""
    require_code(config)
    is_path = is_data_path(config.dataset)
    data = content_digest(Path(config.dataset).expanduser()) if is_path else None
    return {"code": sources_text(code_of(config)), "data": data}


def _given(values: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """`values` of axes as fields: arguments in a mapping, for components that take them."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        field, _, argument = name.partition(".")
        if argument:
            given.setdefault(field, {})[argument] = value
        elif name != "processes":
            given[name] = value
    for field, arguments in ARGUMENTS_OF.items():
        if any(map(is_reference, axes.get(field, ()))) and not is_reference(given[field]):
            given.pop(arguments, None)
    return given


def check_size(num_cells: int) -> None:
    """Refuse more cells than a folder should have."""
    if num_cells > _MOST_CELLS:
        raise InputError(f"the grid has {num_cells:,} cells; at most {_MOST_CELLS:,}")


def _one_per_seed(base: RunCell) -> Iterator[RunCell]:
    config = base.config
    for seed in range(config.seed, config.seed + config.num_seeds):
        one = RunConfig(**config.model_dump() | {"seed": seed, "num_seeds": 1})
        yield replace(base, config=one)


def _check_cell(config: RunConfig, num_processes: int) -> None:
    if config.resume:
        raise InputError("resume: a sweep goes on by itself; leave it out")
    if num_processes < 1:
        raise InputError(f"processes: should be at least 1 (got {num_processes})")
    check_batch(config, num_processes)
    check_known_split(config, num_processes=num_processes)


def range_of(name: str, word: str) -> range:
    """The whole numbers of ``0..9``; `name` begins what is said of another word."""
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
    flags = []
    for name, value in where.items():
        field, _, argument = name.partition(".")
        text = f"{argument}={yaml_word(value)}" if argument else setting_text(value, none="none")
        flags.append(f"--{field.replace('_', '-')} {text}")
    return f"cell {' '.join(flags)}: {error}" if flags else str(error)
