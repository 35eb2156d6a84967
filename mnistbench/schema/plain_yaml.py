"""Files of YAML as configurations need it: plain values, bounded, each name once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import MAX_DEPTH, read_text

__all__ = ["read_yaml"]

_MAX_BYTES = 2**16
_ODD = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError)
"""What PyYAML lets through of its own on impossible dates, numbers and tags."""


def read_yaml(path: Path, *, what: str) -> Any:
    """What the file at `path` holds; `what` names it with its article, such as "a configuration".

    Raises:
        InputError: as `read_text`, above 64 KiB, or malformed: nested more than `MAX_DEPTH` deep,
            with an alias, with a key twice, or with a value that no flag could be given.
    """
    text = read_text(path, max_bytes=_MAX_BYTES, what=what)
    try:
        value = _parsed(text)
        _check(value)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid"
        raise InputError(f"{path}{line}: malformed YAML: {problem}") from None
    except _ODD as error:
        raise InputError(f"{path}: malformed YAML: {error}") from None
    return value


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
