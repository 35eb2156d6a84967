"""Chrome traces as torch's profiler writes them: reading them back, and taking names out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnistbench.recorder.redaction import redacted

__all__ = ["anonymize_trace", "read_trace"]


def read_trace(path: Path) -> dict[str, Any]:
    """The trace in `path`, which this process has just had written."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def anonymize_trace(path: Path) -> None:
    """Take the names of host and user, and folders, out of the trace in `path`."""
    path.write_text(json.dumps(_without_names(read_trace(path))), encoding="utf-8")


def _without_names(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list):
        return [_without_names(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_names(one) for key, one in value.items()}
    return value
