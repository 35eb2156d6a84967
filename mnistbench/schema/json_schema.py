"""The record as a JSON Schema, for what is written or checked in other languages."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from mnistbench.schema.open_mappings import KnownConfig, KnownEnvironment
from mnistbench.schema.record import SCHEMA_VERSION, RunRecord

__all__ = ["record_schema"]

_OURS = {"properties": {"workload": {"properties": {"framework": {"const": "mnistbench"}}}}}
"""What holds of records of this package's own loop, also of those without a workload."""


def record_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what readers accept, up to what it has no words for.

    Keys that it does not name are accepted, as of a later release. It has no words for whole
    numbers without ``.0``, numbers that are too large, and a few rules of names.
    """
