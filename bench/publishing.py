"""What a script of this folder found: on the screen and, where it is to be kept, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnistbench.schema.files import write_whole


def publish(text: str, folder: Path | None, name: str, *, data: Any = None) -> None:
    """Print `text`, and keep it in `folder` as ``<name>.md``, with `data` as ``<name>.json``."""
    print(text)
    if folder:
        write_whole(folder / f"{name}.md", f"{text}\n")
        if data is not None:
            write_whole(folder / f"{name}.json", json.dumps(data, indent=1) + "\n")
