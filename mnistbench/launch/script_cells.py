"""Cells of a sweep over a command of the user's own: one for every combination of values."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mnistbench.launch.cells import Attempt, Cell, as_text, head_of
from mnistbench.launch.children import Child
from mnistbench.launch.grid import check_size, range_of
from mnistbench.launch.runs import RunFailedError
from mnistbench.launch.scripts import Script, record_left, start_script
from mnistbench.recorder.config_values import plain_values, without_secrets
from mnistbench.recorder.limits import SHARED_CORES
from mnistbench.recorder.loop_settings import VALUES
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import content_digest
from mnistbench.schema.plain_yaml import yaml_value
from mnistbench.schema.provenance import sources, sources_text
from mnistbench.schema.record import RunRecord
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.schema.user_code import find_source, is_own_source, read_source
from mnistbench.schema.whole_number import whole_number

_SETTINGS = (".sh", ".yaml", ".yml", ".toml")
"""Files that a script reads rather than writes: a change of one makes other runs."""
_SHELL = re.compile(r"[\s;&|()]+")  # between the words of sh -c '…'
_QUOTED = re.compile(r"""\s*("[^"]*"|'[^']*')\s*(?=,|\Z)""")
_IN_BRACKETS = re.compile(r""""[^"]*"|'[^']*'|.""", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ScriptCell(Cell):
    """One run of a script.

    Attributes:
        script: its command.
        values: name of each placeholder -> what stands for it, and ``seed`` where it is set.
    """

    script: Script
    values: Mapping[str, str]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its values, those of secrets left out."""
        return plain_values(self._typed(), field="values")[0]

    @property
    def planned(self) -> dict[str, Any]:
        """What ``sweep.json`` says of it."""
        command = without_secrets(shlex.join(self.script.words))
        return {"values": {"command": command, **self.settings}}

    @cached_property
    def slug(self) -> str:
        """What a person knows it by: script, values, seed."""
        named = [f"{name}-{as_text(its)}" for name, its in self.settings.items() if name != "seed"]
        program = self.code or Path(self.script.words[0]).name
        head = head_of([program.partition(" ")[0].removesuffix(".py"), *named])
        return head if self.seed is None else f"{head}-seed-{self.seed}"

    def _decides(self) -> dict[str, Any]:
        return {"command": self.script.words, "values": dict(self.values), "code": self.code}

    def _typed(self) -> dict[str, Any]:
        return {name: _number(text) for name, text in self.values.items()}

    def start(
        self,
        folder: Path,
        *,
        num_threads: int | None = None,
        shared_cores: bool = False,
        work_dir: Path | None = None,
        start_child: Callable[..., Child] = Child,  # noqa: ARG002 - for runs of our own loop
    ) -> Child:
        """Start it in a child process."""
        now = _code_of(self.script.filled(self.values), _source) if work_dir is None else self.code
        if now != self.code:
            raise InputError(
                f"command: {self.code} was planned to run, and {now or 'none'} is here now; the "
                "same command goes on with that"
            )
        told = {name: value for name, value in self._typed().items() if name != "seed"}
        environment = {**os.environ, VALUES: json.dumps(told)}
        environment |= {SHARED_CORES: "1"} if shared_cores else {}
        if num_threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(num_threads))
        return start_script(
            self.script, self.values, folder=folder, work_dir=work_dir, environment=environment
        )

    def ended(self, child: Child, *, folder: Path) -> Attempt:
        """What `child`, which has ended, left in `folder`."""
        try:
            record = record_left(self.script, child, folder=folder)
            self._check(record)
        except (InputError, RunFailedError) as error:
            shutil.rmtree(folder, ignore_errors=True)  # a record that is refused is no result
            refused = isinstance(error, InputError) or child.status == 2
            return Attempt(self, None, str(error), refused)
        return Attempt(self, record)

    def _check(self, record: RunRecord) -> None:
        """Refuse a record that is not of this cell."""
        if self.seed is not None and record.seed not in {None, self.seed}:
            raise InputError(
                f"its record is of seed {record.seed}, not {self.seed}: the script sets a seed "
                "itself; have it take {seed}, or leave seed= out of mnistbench.record"
            )
        planned = (self.code or "").split(", ")
        ran = sources(code for code in record.code if code.component == "script")
        for name, its in ran.items():
            of_name = [one for one in planned if one.startswith(f"{name} ")]
            if of_name and f"{name} {its}" not in of_name:
                raise InputError(f"{name} was changed since; start the sweep again")


def script_cells(command: str, lists: Mapping[str, str]) -> list[ScriptCell]:
    """Every combination of the values that `lists` names, each once, seed after seed.

    Args:
        command: with ``{name}`` where a value stands.
        lists: name -> its values, separated by commas; ``0..4`` is a range of whole numbers, and a
            comma in quotes or brackets is part of a value.

    Raises:
        InputError: the command cannot be run, or its names and `lists` do not fit.
    """
    axes = {name: _values_of(name, text) for name, text in lists.items()}
    script = Script.parse(command, names=None, flag="command")
    places = script.placeholders()
    for name in axes:
        if name not in {*places, "seed"}:
            near = did_you_mean(name, places)
            raise InputError(f"values: {name}: the command has no {{{name}}}{near}")
    if missing := sorted(places - axes.keys()):
        example = "seed=0..4" if missing[0] == "seed" else f"{missing[0]}=0.1,0.2"
        raise InputError(f"values: {{{missing[0]}}} has none; give it some, such as {example}")
    check_size(math.prod(map(len, axes.values())))
    cells: dict[str, ScriptCell] = {}
    source = cache(_source)  # of many cells the same
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        words = script.filled(values)
        Script(tuple(words)).check_program()
        cell = ScriptCell(script=script, values=values, code=_code_of(words, source))
        cells[cell.id] = cell
    return sorted(cells.values(), key=lambda cell: cell.seed or 0)


def _values_of(name: str, text: str) -> list[str]:
    """The values of a list, as they are typed, each once."""
    found: list[str] = []
    for word, is_quoted in _words_of(name, text):
        if not word and not is_quoted:
            raise InputError(f"values: {name}: an empty value in {text!r}; write '' for none")
        is_range = ".." in word and not is_quoted and (name == "seed" or word[0].isdigit())
        found += map(str, range_of(f"values: {name}", word)) if is_range else [word]
    return list(dict.fromkeys(map(_seed, found) if name == "seed" else found))


def _seed(text: str) -> str:
    if (number := whole_number(text)) is None:
        raise InputError(f"values: seed: should be a whole number (got {text!r})")
    return str(number)  # without a 0 before it


def _words_of(name: str, text: str) -> Iterator[tuple[str, bool]]:
    """The words between commas, without their quotes, and whether they had any."""
    at = 0
    while at <= len(text):
        if quoted := _QUOTED.match(text, at):
            yield quoted[1][1:-1], True
            at = quoted.end() + 1
            continue
        begin, depth = at, 0
        while at < len(text) and (depth or text[at] != ","):
            depth = max(0, depth + (text[at] in "[{(") - (text[at] in "]})"))
            part = _IN_BRACKETS.match(text, at) if depth else None
            at = part.end() if part else at + 1
        if depth:
            raise InputError(f"values: {name}: a bracket is not closed in {text[begin:]!r}")
        yield text[begin:at].strip(), False
        at += 1


def _number(text: str) -> Any:
    """`text` as the number or switch that it is, else as it is."""
    with suppress(InputError):
        value = yaml_value(text, of="values")
        return value if isinstance(value, int | float) else text
    return text


def _code_of(words: Iterable[str], source: Callable[[str, str], str | None]) -> str | None:
    """Name and hash of each file of the user's own that a command names, as `source` has them.

    Raises:
        InputError: one cannot be read, or is too large for source.
    """
    parts = [part for word in words for part in dict.fromkeys((word, *_SHELL.split(word)))]
    found = itertools.starmap(source, itertools.pairwise(["", *parts]))
    return ", ".join(dict.fromkeys(filter(None, found))) or None


def _source(before: str, word: str) -> str | None:
    """Name and hash of the file of the user's own that `word`, which follows `before`, names."""
    with suppress(OSError, ValueError):  # as what is no name, or longer than a reference may be
        for module in (f"{word}.__main__", word) if before == "-m" else ():
            path = find_source(f"{module}:__main__")
            if path is not None and is_own_source(path):
                return sources_text([read_source("script", f"{module}:__main__").info])
        path = Path(os.path.abspath(word.rpartition("=")[2]))  # noqa: PTH100 - without any ..
        if path.suffix == ".py" and os.path.isfile(path) and is_own_source(path):  # noqa: PTH113
            return sources_text([read_source("script", f"{path}:__main__").info])
        if path.suffix in _SETTINGS and os.path.isfile(path):  # noqa: PTH113 - of any text
            return f"{path.name} {(content_digest(path) or 'unreadable')[:10]}"
    return None
