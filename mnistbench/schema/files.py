"""The one place where files and folders are opened, locked, made and written.

What a user names may be a link, and is followed. What we make ourselves (a lock, a folder to work
in, a file of a run) never is one: it would have us empty, move or remove what lies elsewhere. And
nothing waits for the other end of a pipe.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile

from mnistbench.schema.errors import InputError

MAX_DEPTH = 32
"""Levels of lists and mappings in a file: several times what any file of this package has."""

CACHES = frozenset(
    {"ceilings", "compiled", "environments", "locks", "mapped", "pictures", "revisions"}
)
"""Folders inside `cache_folder`, where data sets have theirs by default as well.

``revisions`` is of releases up to 0.2.
"""

_AT_ONCE = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_ROOM = bytes(2**15)  # about a record
_MOST_FILES = 2**20  # bytes that most files have fewer of
_LONGEST_BELOW = "x" * 110  # as long as the path of a checkpoint's file in it, while it is written


def why(error: Exception) -> str:
    """What the system says of a path that it refuses, also of a name that it never looks at."""
    return getattr(error, "strerror", None) or str(error)


def opened(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file at `path`.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device.
    """
    descriptor = os.open(path, flags | _AT_ONCE, 0o666)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "no regular file", str(path))


def content_digest(path: Path) -> str | None:
    """SHA-256 of a file, or of names and contents below a folder's ``train`` and ``test``.

    ``None`` where they cannot be read: who uses them says why.
    """
    digest, files = hashlib.sha256(), [path]
    if path.is_dir():
        walks = (os.walk(path / split, followlinks=True) for split in ("train", "test"))
        files = sorted(Path(top, one) for walk in walks for top, _, names in walk for one in names)
    try:
        for one in files:
            digest.update(os.fsencode(one.relative_to(path)) + b"\0")
            with os.fdopen(opened(one), "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None
    return digest.hexdigest()


def no_link(path: Path) -> Path:
    """`path`, which is ours.

    Raises:
        OSError: a link lies there.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link, and none of ours; remove it", str(path))
    return path


def lock_file(path: Path) -> int:
    """A descriptor, to be locked, of our file at `path`: made if need be, and never written to.

    Raises:
        OSError: it cannot be opened, or is no file, such as a link.
    """
    if no_link(path).exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no regular file, and none of ours; remove it", str(path))
    return opened(path, os.O_RDWR | os.O_CREAT | _NO_LINK)


def read_text(path: Path, *, max_bytes: int, what: str) -> str:
    """What the file at `path` holds; `what` names it with its article, such as "a record".

    Raises:
        InputError: it cannot be read, is a pipe or a device, is above `max_bytes`, or not UTF-8.
    """
    try:
        with os.fdopen(opened(path), "rb") as file:
            content = file.read(min(max_bytes + 1, _MOST_FILES))
            if len(content) == _MOST_FILES:  # room for the largest would cost each file its time
                content += file.read(max_bytes + 1 - _MOST_FILES)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({why(error)})") from None
    if len(content) > max_bytes:
        raise InputError(f"{path}: too large for {what}, which has {max_bytes:,} bytes at most")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        at = f"byte {error.start} is no UTF-8"
        raise InputError(f"{path}: not {what}: not a text file ({at})") from None


def write_new(path: Path, content: bytes) -> None:
    """Write `content` to a new file at `path`, down to the disk.

    Raises:
        OSError: it cannot be written, or there is one already.
    """
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: str | bytes, *, named: bool = False) -> None:
    """Write `content` to `path`, all of it or nothing; its folder is made.

    A link there is replaced. Where the user has `named` the file, what it leads to is, and no pipe
    or device.

    Raises:
        InputError: the folder or the file cannot be written.
    """
    try:
        target = Path(os.path.realpath(path)) if named else path
        aside = target.with_name(f".{target.stem[:40]}-{token_hex(4)}")
        if named and target.exists():
            os.close(opened(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_new(aside, content.encode() if isinstance(content, str) else content)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({why(error)})") from None


@contextmanager
def written_aside(path: Path, num_bytes: int, *, otherwise: str = "") -> Iterator[Path]:
    """A place for a file of the cache, which comes to `path` when it is whole.

    Any number of processes may write the same at once. `num_bytes` is its size, about.

    Raises:
        InputError: it cannot be written; it ends with what to do `otherwise`.
    """
    aside = path.with_name(f".{path.name}-{token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            # not flushed to the disk: a checksum finds out what a crash may leave
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({why(error)}); make room for {num_bytes / 1e6:,.0f} MB "
            f"there, or point XDG_CACHE_HOME to another folder{otherwise}"
        ) from None


def check_writable(folder: Path, *, name: str = "output_dir") -> None:
    """Check that a run could be written below `folder`, by trying; nothing is left behind.

    Raises:
        InputError: something on the way is no folder, may not be written or is full, or the system
            refuses the name; `name` is the option's.
    """
    existing = folder
    try:
        str(folder).encode()  # a record holds it
        # os.access, for Path.exists raises where a folder on the way may not be entered
        while not os.access(existing, os.F_OK) and existing != existing.parent:
            existing = existing.parent
        below = folder.relative_to(existing).parts
        if below and (existing / below[0]).is_symlink():
            existing /= below[0]  # which leads nowhere, and is found out below
        # a system asks how long a name is before it asks whether anything is called so
        for path in (*(existing / part for part in below), folder / _LONGEST_BELOW):
            with suppress(FileNotFoundError):
                path.lstat()
        with TemporaryFile(dir=existing) as file:
            file.write(_ROOM)
            file.flush()
            os.fsync(file.fileno())
    except NotADirectoryError:
        wrong = f"{existing} is not a folder"
    except PermissionError:
        wrong = f"no right to write in {existing}"
    except (OSError, ValueError) as error:
        wrong = f"nothing can be written in {folder} ({why(error)})"
    else:
        return
    raise InputError(f"{name}: {wrong}; choose another")


def cache_folder(*, otherwise: str) -> Path:
    """``mnistbench`` in the user's cache folder: ``$XDG_CACHE_HOME``, else ``~/.cache``.

    Raises:
        InputError: there is no home folder; it ends with what to do `otherwise`.
    """
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache).absolute() / "mnistbench"
    try:
        return Path.home() / ".cache" / "mnistbench"
    except RuntimeError:
        raise InputError(f"no home folder to keep anything in; {otherwise}") from None


def own_alone(folder: Path, *, within: Path) -> Path:
    """`folder`, made if need be, once it is known that nobody else can put code there.

    It and what leads to it, from the cache folder `within` on, are this user's, and only he may
    write to them; nor can others put another folder into the place of `within`.

    Raises:
        OSError: it cannot be made, or that is not so.
    """
    levels = [folder, *folder.parents]
    for level in reversed(levels):
        with suppress(FileExistsError):
            level.mkdir(mode=0o700)
    ours = levels[: levels.index(within) + 1]
    if within.parent.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        ours.append(within.parent)
    for level in ours:
        found, own_id = level.lstat(), getattr(os, "geteuid", int)()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != own_id or found.st_mode & 0o022:
            said = "is not yours alone to write; remove it, or set XDG_CACHE_HOME"
            raise PermissionError(errno.EPERM, said, str(level))
    return folder
