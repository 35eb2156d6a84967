"""Whose code runs: the script that a process was started with, or the file that records it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from mnistbench.recorder.code_identity import script_revision
from mnistbench.schema.errors import InputError
from mnistbench.schema.provenance import CodeInfo
from mnistbench.schema.record import Fact
from mnistbench.schema.source_text import imports_of
from mnistbench.schema.user_code import is_own_source, read_source

FRAMEWORKS = {
    "lightning": "lightning",
    "pytorch_lightning": "lightning",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "torch": "torch",
    "jax": "jax",
    "tensorflow": "tensorflow",
    "sklearn": "scikit-learn",
    "numpy": "numpy",
}
"""Modules -> distributions that a loop may be written with; the first that is there names it."""
_PLAIN = "numpy"
"""A loop with this alone is Python's."""


@dataclass(frozen=True)
class Script:
    """The user's code that records a run.

    Attributes:
        path: its file; ``None`` where there is none, as of a notebook.
        code: what a record says of it.
        imports: top-level names of what its files import.
        revision: commit and changes of the repository that tracks it, if one does.
    """

    path: Path | None = None
    code: list[CodeInfo] = field(default_factory=list)
    imports: frozenset[str] = frozenset()
    revision: Mapping[str, Fact] = field(default_factory=lambda: script_revision(None))

    def framework(self) -> str:
        """The first of `FRAMEWORKS` that its files import, and this process has loaded.

        Where there is no file, ``torch`` if it is loaded. Else ``python``.
        """
        asked: Iterable[str] = self.imports if self.path else ("torch",)
        found = [name for name in FRAMEWORKS if name in asked and name in sys.modules]
        name = next((one for one in found if one != _PLAIN), "python")
        return {"pytorch_lightning": "lightning"}.get(name, name)


def find_script() -> Script:
    """The script of this process, else the nearest caller outside of this package.

    A process of pytest, or of a tool that is installed, has no script of the user's own.
    """
    reference, path = _of_main() or _of_caller()
    if path is None:
        return Script()
    revision = script_revision(path)
    try:
        read = read_source("script", reference if ".py:" not in reference else f"{path}:__main__")
    except (InputError, ValueError):  # it has gone, or its path is longer than a reference may be
        return Script(path, revision=revision)
    info = read.info.model_copy(update={"reference": reference})
    imports = (one for content in read.files.values() for one in imports_of(content))
    names = frozenset(name.partition(".")[0] for level, name in imports if not level)
    return Script(path, [info], names, revision)


def _of_main() -> tuple[str, Path] | None:
    main = sys.modules.get("__main__")
    path = _own_file(getattr(main, "__file__", None))
    if path is None:
        return None
    spec = getattr(main, "__spec__", None)
    return (f"{spec.name}:__main__" if spec else _file_reference(path)), path


def _of_caller() -> tuple[str, Path | None]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to a caller
    while frame is not None:
        if (path := _own_file(frame.f_code.co_filename)) is not None:
            return _file_reference(path), path
        frame = frame.f_back
    return "", None


def _own_file(name: str | None) -> Path | None:
    if not name or not name.endswith(".py"):
        return None
    path = Path(name).resolve()  # it may be ../train.py
    tools = Path(sysconfig.get_path("scripts"))
    return path if path.is_file() and is_own_source(path) and tools not in path.parents else None


def _file_reference(path: Path) -> str:
    """From the working directory where it is below, else without its folder, which is private."""
    below = path.relative_to(Path.cwd()) if Path.cwd() in path.parents else Path(path.name)
    return f"{below.as_posix()}:__main__"
