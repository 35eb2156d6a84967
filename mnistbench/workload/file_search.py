"""Where the files of a set may lie below a folder, and what lies there in their stead."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from itertools import chain, islice, product
from pathlib import Path

_DEPTH, _MOST_FOLDERS, _MOST_NAMED = 3, 1000, 3
_OTHER_FORM = re.compile(r"\.(7z|arrow|bz2|csv|gz|np[yz]|parquet|pkl|pt|tar|tgz|xz|zip|zst)$", re.I)


def file_places(
    paths: Sequence[str], data_dir: Path, *, found: list[str], skip: Container[str]
) -> Iterator[Sequence[Path]]:
    """Places that files may have which belong at `paths` below `data_dir`, the likeliest first.

    They are in one folder, at most three down, may be packed, and have a dot for a dash in a name.
    `found` gets a line on each thing that is not nothing; folders of a name in `skip` are left out.
    """
    home, names = Path(paths[0]).parent, [Path(path).name for path in paths]

    def refused(error: OSError) -> None:
        path, mend = (
            Path(error.filename),
            "check it and its permissions, or use --dataset synthetic",
        )
        is_there = isinstance(error, PermissionError) or os.path.lexists(path)
        if is_there and (path == data_dir or path.name in home.parts):
            found.append(f"{path}: cannot be read ({error.strerror}); {mend}")

    tops = [(data_dir / home, 1), (data_dir, _MOST_FOLDERS)]
    walks = (islice(os.walk(top, onerror=refused, followlinks=True), n) for top, n in tops)
    for folder, below, files in chain.from_iterable(walks):
        here = [Path(folder, name) for name in sorted([*files, *below])]
        # some programs unpack each file into a folder of its name
        here += [inner for path in here if _plain(path) in names for inner in path.glob("*")]
        places = [[path for path in here if _plain(path) == name] for name in names]
        yield from product(*(sorted(some, key=lambda p: p.name not in names) for some in places))
        like = {
            p.name for p in here if _plain(p).startswith(tuple(names)) or _OTHER_FORM.search(p.name)
        }
        if like and not all(places):
            some, missing = ", ".join(sorted(like)[:_MOST_NAMED]), names[places.index([])]
            mend = (
                "put all four files into one folder, unpacked or as .gz, run again with a network"
            )
            found.append(
                f"{folder}: has {some}, but no {missing}; {mend}, or use --dataset synthetic"
            )
        depth = len(Path(folder).parts) - len(data_dir.parts)
        below[:] = (
            name for name in below if depth < _DEPTH and name not in skip and name[0] != "."
        )


def _plain(path: Path) -> str:
    """The published name that the name of `path` is most likely a spelling of."""
    return re.sub(r"[._]", "-", path.name.lower().removesuffix(".gz"))
