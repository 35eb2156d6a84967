"""The source of what users bring: found, read and hashed; none of it is imported here."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, cast

from mnistbench.schema.component import own_fields, parse_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import opened, why
from mnistbench.schema.provenance import CodeInfo, Component
from mnistbench.schema.source_text import imports_of, names_of
from mnistbench.schema.suggestions import did_you_mean

CODE_FOLDER = "code"
"""What the folder of copies is called in a run's."""

EXPECTED_CODE = "MNISTBENCH_EXPECTED_CODE"
"""The variable in which a sweep tells its runs, what `sources_text` should say of them."""

_MOST_BYTES = 4 * 2**20
"""Of one file, and of all copies that a run keeps."""

_PACKAGE = Path(__file__).parents[1]
_STANDARD = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class UserCode:
    """The source of one component as it was read.

    Attributes:
        info: what a record says of it, but for the names of copies.
        files: path from the folder that imports begin at -> content; none of what is installed.
    """

    info: CodeInfo
    files: Mapping[str, bytes] = field(default_factory=dict)


def code_of(config: RunConfig) -> list[CodeInfo]:
    """What a record says of each component of the user's own, as its files are now."""
    return copies_of(read_code(config))[0]


def read_code(config: RunConfig) -> list[UserCode]:
    """The source of each component of the user's own, as it is now.

    Where there is no source its hash is ``None``: who imports it says why.

    Raises:
        InputError: a file cannot be read, or has more than 4 MiB.
    """
    return [read_source(component, reference) for component, reference in _own(config)]


def copies_of(codes: Iterable[UserCode]) -> tuple[list[CodeInfo], dict[str, bytes]]:
    """`codes` as a record has them, and the files to keep by names without folders.

    Files are left out from where all would have more than 4 MiB.
    """
    infos: list[CodeInfo] = []
    copies: dict[str, bytes] = {}
    for code in codes:
        names = []
        for path, content in code.files.items():
            name = _plain_name(path)
            if copies.get(name, content) != content:  # another folder's, of the same name
                name = f"{name.removesuffix('.py')}-{hashlib.sha256(content).hexdigest()[:12]}.py"
            if name in copies or sum(map(len, copies.values())) + len(content) <= _MOST_BYTES:
                copies[name] = content
                names.append(name)
        infos.append(code.info.model_copy(update={"files": names}))
    return infos, copies


def require_code(config: RunConfig) -> None:
    """Check that what `config` names is there, as far as that can be told without an import.

    Raises:
        InputError: a file, a module, or what it is to define is not; the nearest is named.
    """
    for component, reference in _own(config):
        place, attribute, is_file = parse_reference(reference)
        name = Path(place).name if is_file else place.partition(".")[0]
        if find_source(reference) if is_file else _files_of(name, search_path()):
            main, first = find_source(reference), attribute.partition(".")[0]
            defined = names_of(_content(main, component)) if main and is_own_source(main) else None
            if defined is None or first in defined:
                continue
            raise InputError(f"{component}: {place} has no {first}{did_you_mean(first, defined)}")
        files = _at(place).parent.glob("*.py")
        modules = pkgutil.iter_modules(search_path())
        near = did_you_mean(name, [one.name for one in (files if is_file else modules)])
        what = "file" if is_file else "module"
        raise InputError(f"{component}: there is no {what} {place}{near}")


def _own(config: RunConfig) -> list[tuple[Component, str]]:
    importlib.invalidate_caches()  # a file that was written a moment ago is found
    return [(cast("Component", field), getattr(config, field)) for field in own_fields(config)]


def search_path(*beside: str) -> list[str]:
    """Where modules are looked for: the working directory, folders `beside` it, Python's own.

    Raises:
        InputError: the working directory has been removed.
    """
    try:
        return list(dict.fromkeys(map(os.path.abspath, ["", *beside, *sys.path])))
    except FileNotFoundError:
        raise InputError("the working directory is gone; change to another") from None


def find_source(reference: str) -> Path | None:
    """The file that `reference` names or its module is; ``None`` where there is no source."""
    place, _, is_file = parse_reference(reference)
    if is_file:
        path = _at(place)
        return path if path.is_file() else None
    files = _files_of(place, search_path())
    return files[-1] if len(files) == len(place.split(".")) else None


def _at(place: str) -> Path:
    with suppress(RuntimeError):  # no such user's home
        place = str(Path(place).expanduser())
    path = Path(search_path()[0]) / place
    return path.parent.resolve() / path.name  # the working directory is told without links as well


def _plain_name(path: str) -> str:
    """``../nets/loss.py`` as ``nets.loss.py``, which leads nowhere."""
    below = path.replace(os.sep, "/").replace("../", "").replace("/", ".")
    name = re.sub(r"[^A-Za-z0-9._+-]", "-", below)[-150:]
    return name if name[:1].isalnum() else f"x{name}"


def read_source(component: Component, reference: str) -> UserCode:
    """The source of one component; errors as of `read_code`."""
    info, main = CodeInfo(component=component, reference=reference), find_source(reference)
    if main is None or _PACKAGE in main.parents:
        return UserCode(info)
    if not is_own_source(main):
        return UserCode(info.model_copy(update=_of_installed(main, component)))
    contents = {main: _content(main, component)}
    root = _root(reference, main)
    roots = {root, *_folders_of_users()}
    place, _, is_file = parse_reference(reference)
    beside = [str(main.parent)] if is_file else []  # a file is imported with its folder in the path
    waiting = [main, *([] if is_file else filter(None, _files_of(place, [str(root)])))]
    while waiting:
        path = waiting.pop()
        contents.setdefault(path, _content(path, component))
        found = _imported(path, contents[path], search_path(*beside))
        own = {one for one in found if not roots.isdisjoint(one.parents) and is_own_source(one)}
        waiting += own - contents.keys()
    # an empty __init__.py says nothing: the hash of one file is what sha256sum says of it
    kept = {path: text for path, text in contents.items() if path == main or text.strip()}
    digest = _hash({_place(path, root, main.parent): text for path, text in kept.items()})
    base = main.parent if is_file else root  # above it, folders may tell whose it is
    files = {_place(path, root, base): text for path, text in sorted(kept.items())}
    return UserCode(info.model_copy(update={"sha256": digest}), files)


def _folders_of_users() -> list[Path]:
    """The working directory, and those of ``PYTHONPATH``."""
    named = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return [Path(os.path.abspath(one)) for one in ("", *named)]  # noqa: PTH100


def _place(path: Path, root: Path, base: Path) -> str:
    """`path` from `base`, or, where it is not below `root`, from the user's folder it is in."""
    if root not in path.parents:
        base = next(one for one in _folders_of_users() if one in path.parents)
    return os.path.relpath(path, base)


def _root(reference: str, main: Path) -> Path:
    """The folder that imports begin at."""
    place, _, is_file = parse_reference(reference)
    if is_file:
        return Path.cwd() if Path.cwd() in main.parents else main.parent
    return main.parents[len(place.split(".")) - (main.name != "__init__.py")]


def _files_of(module: str, path: list[str]) -> list[Path | None]:
    """The source of `module`, after those of the packages it is in, as far as they are there."""
    files: list[Path | None] = []
    for part in module.split("."):
        spec = PathFinder.find_spec(part, path)  # imports no package, unlike importlib.util's
        if not files and (spec is None or part in sys.builtin_module_names):
            with suppress(ValueError):  # a module that was made by hand has none
                spec = importlib.util.find_spec(part)  # installed so that it can be edited
        if spec is None:
            break
        is_source = spec.has_location and str(spec.origin).endswith(".py")
        files.append(Path(str(spec.origin)) if is_source else None)
        path = list(spec.submodule_search_locations or [])
    return files


def _imported(path: Path, source: bytes, search: list[str]) -> set[Path]:
    """The files that the code at `path` imports, those of the packages they are in included."""
    found: set[Path] = set()
    for level, name in imports_of(source):
        above = path.parents[min(level, len(path.parents)) - 1]
        found.update(filter(None, _files_of(name, [str(above)] if level else search)))
    return found


def is_own_source(path: Path) -> bool:
    """Whether `path` is neither installed nor Python's or ours."""
    return _INSTALLED.isdisjoint(path.parts) and not {*_STANDARD, _PACKAGE} & {*path.parents}


def _of_installed(path: Path, component: Component) -> dict[str, Any]:
    """Version and hash of the distribution that `path` came with; else the hash of `path` alone.

    The hash is of the hashes of all its modules, which the list of its files has.
    """
    site = next((above for above in path.parents if above.name in _INSTALLED), path.parent)
    name = path.relative_to(site).as_posix()
    for one in importlib.metadata.distributions(path=[str(site)]):
        if f"{name}," in (listed := one.read_text("RECORD") or ""):
            rows = [row for row in listed.splitlines() if row.partition(",")[0].endswith(".py")]
            digest = hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()
            return {"sha256": digest, "version": one.version}
    return {"sha256": _hash({name: _content(path, component)})}


def _content(path: Path, component: Component) -> bytes:
    try:
        with os.fdopen(opened(path), "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{component}: {path}: cannot be read ({why(error)})") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{component}: {path}: has more than 4 MiB, too much for source")
    return content


def _hash(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of the one file, or of names and contents of several."""
    if len(contents) == 1:
        return hashlib.sha256(next(iter(contents.values()))).hexdigest()
    told = hashlib.sha256()
    for name, content in sorted(contents.items()):
        told.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return told.hexdigest()
