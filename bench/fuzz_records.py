"""Damaged record files, thousands of them: each is shown, or refused in one line.

``python -m bench.fuzz_records --count 10000 --seed 0`` takes the kept examples, damages each in
ways that its number decides, and reads it as `report` does: by its name, or in its folder.
It prints how many were refused, left out and shown, and exits 1 at the first that did anything
else, which it keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from mnistbench import report
from mnistbench.output.tables import render_table
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import load_record

EXAMPLES = Path(__file__).parents[1] / "tests" / "schema" / "examples"

ODD_TEXTS = (
    *("", "\x1b[31mred\x1b[0m", "a\nb\r\tc", "\0", "\ud800", "\udce9", "\u202egnp.exe", "x" * 5000),
    *("<script>alert(1)</script>", "| a | b |", "`rm`", "../../etc/passwd", "{{ 7 * 7 }}", "%s%n"),
)
ODD_NUMBERS = (
    *(0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**64, 10**30, -(10**400)),
    *(-0.0, 0.5, 1e-320, 1e15, 1e38, 1e308, -1e308),
)
SPELLED = ("NaN", "-Infinity", "1e999", "-1e999", "1" * 5000, "01", "0x10", "'a'", "[1,]")
REPORTS = (
    ("--format", "table"),
    ("--format", "markdown"),
    ("--format", "json"),
    ("--format", "csv", "--per-run"),
    ("epochs",),
    ("epochs", "--format", "json"),
    ("targets", "--targets=0.5,0.97"),
    ("rules", "--format", "markdown"),
)
_HERE = "\ue000here\ue000"
"""Stands in a document for what Python would not spell so."""


class FoundError(Exception):
    """A file that was neither shown nor refused in one line."""


def damaged(content: bytes, rng: Random) -> bytes:
    """`content`, a record, with one to three kinds of damage."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_DAMAGES)(content, rng)
    return content


def outcome(path: Path, others: Sequence[Path], rng: Random) -> str:
    """What became of the file at `path`: ``shown``, ``refused`` or, in a folder, ``left out``.

    Args:
        path: a damaged record, alone in its folder.
        others: sound ones that it may be reported together with.
        rng: decides how it is reported.

    Raises:
        FoundError: it was neither, or something in what was printed could be obeyed.
    """
    try:
        load_record(path)
    except InputError:
        loaded = False
    else:
        loaded = True
    together = rng.sample(list(others), rng.choice((0, 1, 2)))
    in_folder = rng.random() < 0.3
    argv = [*rng.choice(REPORTS), *map(str, (path.parent if in_folder else path, *together))]
    status, out, err = _run(argv)
    if not loaded and in_folder and together and status == 0:
        return _left_out(out, err)
    if not loaded and status != 2:
        raise FoundError(f"refused by load_record, but report gave {status}")
    _require_one_line(status, out, err)
    return "shown" if status == 0 else "refused when shown" if loaded else "refused when read"


def _left_out(out: str, err: str) -> str:
    """What became of a bad record in a folder: it is said once, below a table or on stderr."""
    if (out + err).count(" could not be read and is left out: ") != 1 or err.count("\n") > 1:
        raise FoundError(f"left out without a word: {err!r}, {out[-200:]!r}")
    _require_harmless(out + err)
    return "left out"


def fuzz(count: int, *, seed: int, examples: Path = EXAMPLES) -> Counter[str]:
    """How many of `count` damaged records came to what.

    Raises:
        FoundError: one was neither shown nor refused in one line; names its seed, number and file.
    """
    sound = sorted(examples.glob("*.json"))
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        for number in range(count):
            rng = Random(f"{seed} {number}")  # noqa: S311 - the same each time
            example = rng.choice(sound)
            path.write_bytes(damaged(example.read_bytes(), rng))
            try:
                outcomes[outcome(path, sound, rng)] += 1
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"fuzzed-record-{seed}-{number}.json"
                path.replace(kept)
                raise FoundError(
                    f"seed {seed}, number {number}, from {example.name}, kept as {kept}: "
                    f"{type(error).__name__}: {error}"
                ) from error
    return outcomes


def main(argv: Sequence[str] | None = None) -> int:
    """Run with `argv`; exit status 1 if a file was neither shown nor refused in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)
    try:
        outcomes = fuzz(flags.count, seed=flags.seed)
    except FoundError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [{"outcome": name, "files": f"{n:,}"} for name, n in sorted(outcomes.items())]
    print(render_table(rows, "table"))
    return 0


def _run(argv: Sequence[str]) -> tuple[int | str | None, str, str]:
    """What `report` leaves on `argv`, with streams as strict as real ones."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n", errors="backslashreplace")
    status: int | str | None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = report.main(argv)
        except SystemExit as stop:
            status = stop.code
    out.flush(), err.flush()
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return status, *texts


def _require_one_line(status: int | str | None, out: str, err: str) -> None:
    if status not in {0, 2}:
        raise FoundError(f"exit status {status}")
    if status == 0 and err:
        raise FoundError(f"on stderr: {err!r}")
    if status == 2 and (out or err.count("\n") != 1 or not err.startswith("mnistbench: error: ")):
        raise FoundError(f"refused not in one line: {err!r}, {out[:200]!r}")
    _require_harmless(out + err)


def _require_harmless(text: str) -> None:
    obeyed = sorted({c for c in text if not (c.isprintable() or c == "\n")})
    if obeyed:
        raise FoundError(f"printed characters that a terminal may obey: {obeyed}")


def _flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _slice_away(content: bytes, rng: Random) -> bytes:
    start = rng.randint(0, len(content))
    return content[:start] + content[start + rng.randint(1, 200) :]


def _slice_twice(content: bytes, rng: Random) -> bytes:
    start = rng.randint(0, len(content))
    end = start + rng.randint(1, 200)
    return content[:end] + content[start:]


def _noise(content: bytes, rng: Random) -> bytes:
    start = rng.randint(0, len(content))
    return content[:start] + rng.randbytes(rng.randint(1, 20)) + content[start:]


def _in_json(change: Callable[[Any, Any, Random], None]) -> Callable[[bytes, Random], bytes]:
    """`change`, of a random place in a document, as damage to a file.

    Of a file that is no document any more, some bits are flipped instead.
    """

    def damage(content: bytes, rng: Random) -> bytes:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            return _flip(content, rng)
        if not _holds(document) or not document:
            return _flip(content, rng)
        if isinstance(document, dict) and rng.random() < 0.5:
            document["seed"] = rng.randrange(2, 9)  # a group with the sound one it was made of
        change(*_place(document, rng), rng)
        text = json.dumps(document).replace(json.dumps(_HERE), rng.choice(SPELLED))
        return text.encode("utf-8")

    return damage


def _place(document: Any, rng: Random) -> tuple[Any, Any]:
    """A random object or array in `document`, long or short alike, and a key of it."""
    holder = document
    while inner := [v for v in _values(holder) if _holds(v) and v]:
        if rng.random() < 0.3:
            break
        holder = rng.choice(inner)
    return holder, rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))


def _values(holder: Any) -> list[Any]:
    return list(holder.values() if isinstance(holder, dict) else holder)


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _replace(holder: Any, key: Any, rng: Random) -> None:
    odd = rng.choice((ODD_TEXTS, ODD_NUMBERS, (None, True, False, _HERE, [], {}, [{}], {"": [0]})))
    holder[key] = rng.choice(odd)


def _scale(holder: Any, key: Any, rng: Random) -> None:
    if type(holder[key]) in {int, float} and abs(holder[key]) < 2**64:
        factor = rng.choice((-1, 0, 1e-300, 1e-30, 0.5, 3, 1e6, 1e30, 1e150, 1e280))
        holder[key] = type(holder[key])(holder[key] * factor)


def _deepen(holder: Any, key: Any, rng: Random) -> None:
    for _ in range(rng.choice((3, 30, 40, 300))):
        holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}


def _remove(holder: Any, key: Any, _rng: Random) -> None:
    del holder[key]


def _rename(holder: Any, key: Any, rng: Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice((*ODD_TEXTS, *map(str, holder)))] = holder.pop(key)


def _add(holder: Any, key: Any, rng: Random) -> None:
    value = rng.choice((*ODD_TEXTS, *ODD_NUMBERS, holder[key]))
    if isinstance(holder, dict):
        holder[rng.choice((*ODD_TEXTS, "extra"))] = value
    else:
        holder.insert(key, value)


def _swap(holder: Any, key: Any, rng: Random) -> None:
    other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key], holder[other] = holder[other], holder[key]


_DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_flip, _cut, _slice_away, _slice_twice, _noise),
    *map(_in_json, (_replace, _replace, _scale, _scale, _deepen, _remove, _rename, _add, _swap)),
)

if __name__ == "__main__":
    sys.exit(main())
