"""What the pages of the project tell a reader to type: commands, Python, flags and links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "PAGES",
    "ROOT",
    "SECURITY",
    "Command",
    "Fence",
    "all_commands",
    "commands",
    "fences",
    "flags",
    "headings",
    "links",
]

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SECURITY = ROOT / "SECURITY.md"
"""Names flags, but tells nobody to type anything."""

PROGRAMS = {
    *("mnistbench", "python", "pytest", "accelerate", "torchrun", "make", "pip", "tensorboard"),
    *("jq", "sbatch", "srun", "ray", "bash"),
}
"""What a code span within a text has to begin with to be a command."""

_NAMES = re.compile(r"(mnistbench \w+|accelerate launch|python -m)$")
"""Spans that name a program without telling it what to do."""

_COMMENT = re.compile(r"\s+# .*")

PLACEHOLDERS = {
    "DIR": "reports",
    "FILE": "launch_configs/cpu_2.yaml",
    "N": "1",
    "R": "0",
    "RUNS": "runs",
    "A:B": "2:3",
    "my_suites/": "bench/",
}
"""What stands in for the words that a reader fills in."""


class Fence(NamedTuple):
    """A block of code: its page, the line that it begins in, its language and its lines."""

    page: Path
    line: int
    language: str
    lines: list[str]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


class Command(NamedTuple):
    """One command; `text` is in one line."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}: {self.text}"

    @property
    def words(self) -> list[str]:
        """As a shell would pass them on, those that a reader fills in filled in."""
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(self.text)]
        odd = [word for word in words if re.fullmatch(r"[A-Z][A-Z_-]*", word)]
        unknown = [word for word in odd if word != "HEAD"]  # which git knows
        assert unknown == [], f"{self}: what should {unknown} be? tell PLACEHOLDERS"
        return words

    @property
    def launcher(self) -> tuple[str, ...] | None:
        """What stands before the module, where a launcher starts one."""
        words = self.words
        is_launch = words[0] in {"accelerate", "torchrun"} and "-m" in words
        return tuple(words[: words.index("-m")]) if is_launch else None


def all_commands() -> list[Command]:
    """Those of all pages, each once, where it stands first."""
    found: dict[str, Command] = {}
    for page in PAGES:
        for command in commands(page):
            found.setdefault(command.text, command)
    return list(found.values())


def commands(page: Path) -> Iterator[Command]:
    """All commands of a page: lines of ``sh`` blocks, those after ``$``, and whole code spans."""
    for fence in fences(page):
        yield from _in_fence(fence)
    for match in re.finditer(r"`([^`]+)`", _prose(page)):
        text = " ".join(match[1].split())
        line = _prose(page)[: match.start()].count("\n") + 1
        if " " in text and text.split()[0] in PROGRAMS and _is_whole(text):
            yield Command(page, line, text)


def _is_whole(text: str) -> bool:
    return "…" not in text and not _NAMES.match(text)


def _in_fence(fence: Fence) -> Iterator[Command]:
    if fence.language == "sh":
        number = fence.line + 1
        text = "\n".join(fence.lines)
        for joined in re.sub(r"\\\n\s*", "\0", text).split("\n"):
            told = _COMMENT.sub("", f" {joined}".replace("\0", "")).strip()
            if told:
                yield Command(fence.page, number, told)
            number += 1 + joined.count("\0")
    elif not fence.language:
        for number, line in enumerate(fence.lines, start=fence.line + 1):
            if line.startswith("$ "):
                yield Command(fence.page, number, line.removeprefix("$ "))


def fences(page: Path) -> Iterator[Fence]:
    """The blocks of code of a page."""
    begun: Fence | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```") and begun is None:
            begun = Fence(page, number, line.removeprefix("```").strip(), [])
        elif line.startswith("```") and begun:
            yield begun
            begun = None
        elif begun:
            begun.lines.append(line)
    assert begun is None, f"{page.name}:{begun.line}: this block of code does not end"


def _prose(page: Path) -> str:
    """The page with an empty line for each line of code."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for fence in fences(page):
        for number in range(fence.line - 1, fence.line + len(fence.lines) + 1):
            lines[number] = ""
    return "\n".join(lines)


def flags(page: Path) -> dict[str, int]:
    """Each ``--flag`` that a page names, and the line that it is first named in."""
    found: dict[str, int] = {}
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        for match in re.finditer(r"(?<![\w/-])--[a-z][\w-]*", line):
            found.setdefault(match[0], number)
    return found


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Links and pictures of a page that lead to a place in the repository, with their lines."""
    prose = _prose(page)
    for match in re.finditer(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"\w+:", match[1]):
            yield prose[: match.start()].count("\n") + 1, match[1]


def headings(page: Path) -> set[str]:
    """What a link to a place in a page may name, by GitHub's rule."""
    titles = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in kept}
