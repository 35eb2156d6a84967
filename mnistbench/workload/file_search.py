"""Where the files of a set may lie below a folder, and what lies there in their stead.

People have them as torchvision leaves them, packed as they are published, with a dot in a name
where the publisher has a dash, and a folder or two from where they are said to be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

__all__ = ["Places", "file_places"]

Places = Sequence[Sequence[Path]]
"""For each file of a set, where it may be in one folder, the likeliest first."""

_DEPTH, _MOST_FOLDERS, _MOST_NAMED = 3, 1000, 3
_OTHER_FORM = re.compile(
    r"\.(7z|arrow|bz2|csv|gz|h5|mat|npy|npz|parquet|pkl|pt|rar|tar|tgz|xz|zip|zst)$", re.IGNORECASE
)
_MEND = (
    "put all four files into one folder, unpacked or as .gz, run again with a network, or use "
    "--dataset synthetic"
)


def file_places(
    paths: Sequence[str], data_dir: Path, *, found: list[str], skip: Container[str]
) -> Iterator[Places]:
    """Go through the folders that seem to have all files of a set, their own one first.

    Args:
        paths: where the files belong below `data_dir`, in one folder.
        data_dir: is searched three folders deep.
        found: gets a line with its mend on each thing that is not all files, and not nothing.
        skip: names of folders below that are not searched.
    """
    home, names = Path(paths[0]).parent, [Path(path).name for path in paths]

    def refused(error: OSError) -> None:
        path = Path(error.filename)
        if path != data_dir and path.name not in home.parts:
            return
        if isinstance(error, PermissionError) or os.path.lexists(path):
            mend = "check it and its permissions, or use --dataset synthetic"
            found.append(f"{path}: cannot be read ({error.strerror}); {mend}")

    tops = [(data_dir / home, 1), (data_dir, _MOST_FOLDERS)]
    walks = (islice(os.walk(top, onerror=refused, followlinks=True), n) for top, n in tops)
    for folder, below, files in chain.from_iterable(walks):
        here = [Path(folder, name) for name in sorted([*files, *below])]
        # some programs unpack each file into a folder of its name
        here += [inner for path in here if _plain(path) in names for inner in path.glob("*")]
        places = [[path for path in here if _plain(path) == name] for name in names]
        missing = [name for name, some in zip(names, places, strict=True) if not some]
        like = [path.name for path in here if _plain(path).startswith(tuple(names))]
        like += [path.name for path in here if _OTHER_FORM.search(path.name)]
        if not missing:
            yield [sorted(some, key=lambda path: path.name not in names) for some in places]
        elif like:
            some = ", ".join(sorted(set(like))[:_MOST_NAMED])
            found.append(f"{folder}: has {some}, but no {missing[0]}; {_MEND}")
        depth = len(Path(folder).parts) - len(data_dir.parts)
        inside = sorted(name for name in below if name not in skip and name[0] != ".")
        below[:] = inside if depth < _DEPTH else []


def _plain(path: Path) -> str:
    """The published name that the name of `path` is most likely a spelling of."""
    return re.sub(r"[._]", "-", path.name.lower().removesuffix(".gz"))
