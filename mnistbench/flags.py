"""From argv to values, by declarations: each field of a model is a flag, its docstring the help.

argparse splits the words; what a word means, pydantic says, in the same sentences as for YAML.
"""

from __future__ import annotations

import argparse
import inspect
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from mnistbench.help_page import POSITIONAL, REPEATED, help_page, is_mapping, kinds_of
from mnistbench.schema.config import FLAG_GROUPS
from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.plain_yaml import yaml_value
from mnistbench.schema.streams import show
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.schema.whole_number import whole_number

__all__ = ["POSITIONAL", "REPEATED"]

Fraction = Annotated[float, Field(gt=0, le=1)]


class CommandFlags(BaseModel):
    """Train a network through Accelerate and measure it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    prog: ClassVar[str] = "mnistbench train"
    groups: ClassVar[Mapping[str, str]] = {}
    """Headings of the help -> the first field below each."""
    common: ClassVar[frozenset[str]] = frozenset()
    """Flags that ``--help`` shows, and ``--help-all`` shows all; of none, both show all."""
    notes: ClassVar[str] = ""
    """What the help says below its flags."""


_NARROWEST = 20  # columns that a terminal is taken to have at least
_OFF: dict[str, Any] = {
    "action": "store_const",
    "const": ["false"],
    "default": argparse.SUPPRESS,
}
"""How argparse reads ``--no-x`` of a switch that takes a list."""

F = TypeVar("F", bound=CommandFlags)


def parse(
    flags: type[F], argv: Sequence[str], more: Mapping[str, FieldInfo] | None = None
) -> tuple[F, dict[str, Any]]:
    """The values of `flags` that `argv` gives, and what it gives, unchecked, for fields `more`.

    `argv` is what follows the command's name; `more` are declarations such as `RunConfig`'s.

    Raises:
        InputError: one line on the first thing that is wrong.
        SystemExit: ``--help`` was asked for, and is shown.
    """
    _mend_columns()
    own = {field.alias or name: field for name, field in flags.model_fields.items()}
    fields = {name: field for name, field in (more or {}).items() if name not in own} | own
    if asked := {"-h", "--help", "--help-all"}.intersection(argv):
        show(_help(flags, fields, full="--help-all" in asked))
        raise SystemExit(0)
    typed = {
        name: _value(name, words, fields[name])
        for name, words in _split(argv, fields, prog=flags.prog).items()
    }
    if empty := next((name for name in own if typed.get(name) == ()), None):
        raise InputError(f"{empty}: needs a value; see {flags.prog} --help")
    try:
        found = flags(**{name: typed.pop(name) for name in own if name in typed})
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    return found, typed


def _mend_columns() -> None:
    """Have rich draw at the terminal's own width where COLUMNS is senseless, at "²" it fails."""
    for name in ("COLUMNS", "LINES"):
        if whole_number(os.environ.get(name, "1"), lowest=1, highest=10_000) is None:
            del os.environ[name]
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)  # of fewer, rich finds no end


def _help(flags: type[CommandFlags], fields: Mapping[str, FieldInfo], *, full: bool) -> str:
    """The page, on which a group goes from its first field to that of the next one."""
    shared = FLAG_GROUPS if flags.common else {}
    headings = {first: heading for heading, first in [*shared.items(), *flags.groups.items()]}
    order = ("Options", *(one for one in flags.groups if one not in shared), *shared)
    sections: dict[str, dict[str, FieldInfo]] = {heading: {} for heading in order}
    heading = "Options"
    for name, field in fields.items():
        heading = headings.get(name, heading)
        if full or not flags.common or name in flags.common:
            sections[heading][name] = field
    shown = {heading: found for heading, found in sections.items() if found}
    about = inspect.cleandoc(flags.__doc__ or "")
    if flags.common and not full:
        about += " --help-all shows all flags."
    return help_page(flags.prog, about, shown, below=flags.notes)


def _split(argv: Sequence[str], fields: Mapping[str, FieldInfo], *, prog: str) -> dict[str, Any]:
    """The words behind each flag: a text, a list of texts, or of a switch whether it is on."""
    parser = _Parser(prog=prog, add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    for name, field in fields.items():
        dashed, options = name.replace("_", "-"), _takes(field)
        if POSITIONAL in field.metadata:
            parser.add_argument(name, **options)
            continue
        parser.add_argument(f"--{dashed}", dest=name, **options)
        if bool in get_args(field.annotation) and "nargs" in options:  # a list of a sweep
            parser.add_argument(f"--no-{dashed}", dest=name, **_OFF)
    spelled = [_dashed(word) for word in argv]
    for flag in (word.partition("=")[0] for word in spelled if word.startswith("--")):
        if len(flag) > 2 and flag not in parser.flags:
            near = did_you_mean(flag[2:], (known[2:] for known in parser.flags), flag=True)
            raise InputError(f"{flag}: unknown flag{near or f'; see {prog} --help'}")
    return vars(parser.parse_intermixed_args(spelled))


class _Parser(argparse.ArgumentParser):
    @property
    def flags(self) -> Mapping[str, object]:
        """Every flag that is known, ``--no-x`` of switches among them."""
        return self._option_string_actions

    def error(self, message: str) -> NoReturn:
        """What is wrong with the words, in argparse's own."""
        message = message.removeprefix("argument ")
        message = message.replace("unrecognized arguments:", "unexpected argument:")
        message = message.replace("ignored explicit argument", "takes no value, but was given")
        raise InputError(f"{message}; see {self.prog} --help")


def _dashed(word: str) -> str:
    """``--num_epochs=3`` as ``--num-epochs=3``."""
    flag, equals, value = word.partition("=")
    return f"{flag.replace('_', '-')}{equals}{value}" if word.startswith("--") else word


def _takes(field: FieldInfo) -> dict[str, Any]:
    """How argparse reads a flag of `field`."""
    kind, left_out = kinds_of(field)[0], {"default": argparse.SUPPRESS}
    if is_mapping(kind):
        return left_out | {"action": "extend", "nargs": "*"}
    if kind is bool:
        return left_out | {"action": argparse.BooleanOptionalAction}
    if REPEATED in field.metadata:
        return left_out | {"action": "append"}
    if get_origin(kind) is not tuple:
        return left_out | ({"nargs": "?"} if POSITIONAL in field.metadata else {})
    return left_out | {"nargs": "*" if Ellipsis in get_args(kind) else len(get_args(kind))}


def _value(name: str, words: Any, field: FieldInfo) -> Any:
    """A list's words are separated by commas as well, unless they are free texts; none is None."""
    kinds = kinds_of(field)
    if is_mapping(kinds[0]):
        told = dict(_named(name, words))  # of a sweep, texts that list values
        is_one = get_origin(kinds[0]) is dict
        return {k: yaml_value(v, of=f"{name}: {k}") for k, v in told.items()} if is_one else told
    items = get_args(kinds[0]) if get_origin(kinds[0]) is tuple else ()
    if NoneType in kinds and str(words).lower() == "none":
        return None
    if bool in items and not words:  # a switch of a sweep, without a list
        return ("true",)
    if not items or items[0] in (str, Path):
        return words
    return tuple(one for word in words for one in word.split(",") if one)


def _named(name: str, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names and values of the `words` of the flag `name`, each name once."""
    told = set()
    if not words:
        raise InputError(f"{name}: needs NAME=VALUE, such as width=32")
    for key, equals, text in (word.partition("=") for word in words):
        if not (equals and key.isidentifier()):
            raise InputError(
                f"{name}: should be NAME=VALUE (got {key + equals + text!r}); put quotes around a "
                "value with spaces"
            )
        if key in told:
            raise InputError(f"{name}: {key} is there twice; put quotes around braces")
        told.add(key)
        yield key, text
