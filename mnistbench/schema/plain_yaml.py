"""Files of YAML as configurations need it: plain values, bounded, each name once.

A word without quotes is what the core schema of YAML 1.2 says: ``no`` and ``1:30`` are texts,
``1e-3`` is a number. What is written is read the same by readers of YAML 1.1, such as PyYAML's.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import MAX_DEPTH, read_text

_MAX_BYTES = 2**16
_ODD = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError)
"""What PyYAML lets through of its own on impossible dates, numbers and tags."""


def read_yaml(path: Path, *, what: str) -> Any:
    """What the file at `path` holds; `what` names it with its article, such as "a configuration".

    Raises:
        InputError: as `read_text`, above 64 KiB, or malformed: nested more than `MAX_DEPTH` deep,
            with an alias, with a key twice, or with a value that no flag could be given.
    """
    return _read(read_text(path, max_bytes=_MAX_BYTES, what=what), where=str(path))


def yaml_value(text: str, *, of: str) -> Any:
    """What one word of a command line stands for: ``0.5``, ``true``, ``relu``, ``[0.9, 0.99]``.

    Raises:
        InputError: as `read_yaml`, or nothing stands there; it begins with `of`.
    """
    value = _read(text, where=of)
    if value is None and text not in ("null", "~"):
        raise InputError(f"{of}: has no value (got {text!r}); write null, or a text in quotes")
    if isinstance(value, dict) and re.match(r"\{\s*\w+:[^\s,}]", text):  # {a:1}, of a key "a:1"
        raise InputError(f"{of}: {text} needs a space after each colon, and quotes around it all")
    return value


def yaml_word(value: Any) -> str:
    """`value` as one line, that `yaml_value` and any other reader of YAML read back."""
    text: str = yaml.dump(
        value, Dumper=_PlainDumper, default_flow_style=True, width=math.inf, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _read(text: str, *, where: str) -> Any:
    try:
        value = _parsed(text)
        _check(value)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid"
        raise InputError(f"{where}{line}: malformed YAML: {problem}") from None
    except _ODD as error:
        raise InputError(f"{where}: malformed YAML: {error}") from None
    return value


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_KINDS = {
    "null": ("~|null|Null|NULL|", [*"~nN", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": ("[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    "float": (rf"(?![-+]?[0-9]+\Z)({_FLOAT})", [*"-+.0123456789"]),
    "merge": ("<<", ["<"]),
}
"""How a word without quotes is spelled that is no text (YAML 1.2, 10.3.2), and how it begins.

``010`` is a text, which a field of numbers reads as 10: readers of YAML 1.1 have 8.
"""


class _PlainLoader(yaml.SafeLoader):
    """Refuses what lets a short text stand for a huge value, and what says a thing twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, refused as it begins: nothing has grown by then."""
        if self.check_event(yaml.AliasEvent):
            self._refuse("aliases (*) are not read; write the value itself")
        if self._depth > MAX_DEPTH:
            self._refuse(f"nested too deeply: {MAX_DEPTH} levels at most")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        """The mapping of `node`, whose keys each stand there once."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            problem = f"key {twice[0]!r} is there twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep=deep)

    def _refuse(self, problem: str) -> None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        raise yaml.composer.ComposerError(None, None, problem, mark)


class _PlainDumper(yaml.SafeDumper):
    """Quotes what either YAML has for more than a text."""


_PlainLoader.yaml_implicit_resolvers = {}
for _kind, (_spelling, _first) in _KINDS.items():
    for _class in (_PlainLoader, _PlainDumper):
        _word = re.compile(rf"(?:{_spelling})\Z")
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _word, _first)
_PlainLoader.add_constructor(  # PyYAML's own has 8 for `!!int 010`, and 90 for `!!int 1:30`
    "tag:yaml.org,2002:int", lambda _, node: int(node.value, 16 if "x" in node.value else 10)
)


def yaml_text(values: Mapping[str, Any]) -> str:
    """`values` as YAML that `read_yaml` reads back, and any other reader; in ASCII."""
    return yaml.dump(dict(values), Dumper=_PlainDumper, sort_keys=False)


def _parsed(text: str) -> Any:
    loader = _PlainLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check(value: Any) -> None:
    """Refuse numbers without end, which YAML has, and text that no command line can hold."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set):
        for inner in value:
            _check(inner)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number of more than 64 bits")
    elif isinstance(value, str):
        value.encode("utf-8", "surrogateescape")  # a UnicodeError is a ValueError
        if "\0" in value:
            raise ValueError("a text with a null character")
