"""Reading a printed table back."""

__all__ = ["cells"]


def cells(text):
    """The table's header and rows, split at its ruler's column starts; not what is above."""
    lines = text.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("--") and not line.strip("- "))
    header, ruler, *rows = lines[at - 1 :]
    starts = [i for i in range(len(ruler)) if ruler[i] == "-" and (i == 0 or ruler[i - 1] == " ")]
    ends = [*starts[1:], None]
    split = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in rows]
    names = [header[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in split]
