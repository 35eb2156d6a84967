"""The record as a JSON Schema, for what is written or checked in other languages."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic.json_schema import models_json_schema

from mnistbench.schema import insight, measurements, open_mappings, provenance, record, target

_MODULES = (insight, measurements, open_mappings, provenance, record, target)
_OURS = {"properties": {"workload": {"properties": {"framework": {"const": "mnistbench"}}}}}
"""What holds of this package's own loop, also where there is no workload."""
_THEN = {
    "properties": {"config": {"$ref": "#/$defs/KnownConfig"}},
    "if": {"properties": {"eval_points": {"minItems": 1}}, "required": ["eval_points"]},
    "then": {"properties": {"config": {"required": ["eval_split"]}}},
}


def record_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the records that are read.

    Keys that it does not name are accepted, as those of a later release are. It has no words for
    some rules that readers hold to: no number beyond 1e100, no path with ``..``.
    """
    _, found = models_json_schema(
        [
            (record.RunRecord, "validation"),
            (open_mappings.KnownConfig, "validation"),
            (open_mappings.KnownEnvironment, "validation"),
        ]
    )
    parts, texts = found["$defs"], _texts()
    for name, part in parts.items():
        del part["additionalProperties"], part["title"]
        part["description"] = _in_json(part["description"])
        for key, its in part["properties"].items():
            its.pop("title", None)
            its["description"] = texts[name][key]
    root = parts.pop(record.RunRecord.__name__)
    environment = root["properties"]["environment"]
    environment["$ref"] = "#/$defs/KnownEnvironment"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:mnistbench:record:{record.SCHEMA_VERSION}",
        "title": "A record of mnistbench",
        **root,
        "required": ["schema_version", *root["required"]],
        "if": _OURS,
        "then": _THEN,
        "$defs": parts,
    }


def _texts() -> dict[str, dict[str, str]]:
    """The sentence below each field, of each class: what pydantic would read at each start."""
    classes = [
        node
        for module in _MODULES
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef)
    ]
    return {one.name: dict(_fields(one)) for one in classes}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, _in_json(text)


def _in_json(text: str) -> str:
    """`text` in one line, with JSON's word for ``None``."""
    return " ".join(text.split()).replace("``", "`").replace("`None`", "`null`")
