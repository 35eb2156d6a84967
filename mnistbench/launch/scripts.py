"""A command of the user's that trains and leaves one record: its words, one run of it, its record.

No shell reads it. What differs from run to run is told in two ways: by ``{name}`` in the command,
and by variables that `mnistbench.record` reads.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Formatter

from mnistbench.launch import group_leader
from mnistbench.launch.children import Child, wait_for
from mnistbench.launch.runs import RunFailedError, last_words, why_ended
from mnistbench.recorder.loop_settings import OUTPUT_DIR, SEED
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_record, search
from mnistbench.schema.suggestions import did_you_mean

_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_OF_A_SHELL = re.compile(r"&&|\|\||[0-9]*[<>]{1,2}(?:&[0-9])?|[|;&*]|`|\$[\w{(]\w*|(?<!\S)~\S*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PYTHON = re.compile(r"python[0-9.]*")
_NO_PACKAGE = "No module named 'mnistbench'"


@dataclass(frozen=True)
class Script:
    """The words of a command, in which ``{name}`` stands for a value and ``{{`` for a brace."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, *, names: Collection[str] | None = ("seed",), flag: str) -> Script:
        """The command that `text` says as one would type it, for values of `names`, or of any.

        Raises:
            InputError: it is empty, quotes or braces in it do not close, it needs a shell, or has a
                placeholder that is none of `names`. The message begins with `flag`.
        """
        text = text.replace("\\\n", " ")
        bare = _QUOTED.sub(lambda quoted: "$_" * bool(re.match(r'".*[$`]', quoted[0])), text)
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InputError(f"{flag}: {text!r}: {str(error).lower()}; close its quotes") from None
        if not words:
            raise InputError(f'{flag}: is empty; write what trains, such as "python train.py"')
        if _ASSIGNMENT.match(words[0]):
            raise InputError(f"{flag}: variables are set by env: write env {text.strip()}")
        if found := _OF_A_SHELL.search(bare):
            what = "a variable" if found[0] == "$_" else found[0]
            raise InputError(
                f"{flag}: {what} is for a shell, and none reads this; put the command into "
                "sh -c '…', or what is meant as it stands into single quotes"
            )
        script = cls(tuple(words))
        places = script.placeholders(flag)
        if names is not None and (unknown := sorted(places - set(names))):
            known = ", ".join(f"{{{name}}}" for name in names)
            near = did_you_mean(unknown[0], names)
            raise InputError(
                f"{flag}: {{{unknown[0]}}}: nothing has this name; known: {known}{near}"
            )
        return script

    def placeholders(self, flag: str = "command") -> set[str]:
        """The names in braces.

        Raises:
            InputError: braces do not close, or hold something else.
        """
        found = set()
        for word in self.words:
            try:
                parts = [part[1:] for part in Formatter().parse(word) if part[1] is not None]
            except ValueError:
                parts = [("", None, None)]
            for name, form, conversion in parts:
                if form or conversion or not str(name).isidentifier():
                    raise InputError(
                        f"{flag}: {word}: braces are for names, such as {{seed}}; write {{{{ and "
                        "}} for braces of the command's own"
                    )
                found.add(str(name))
        return found

    def filled(self, values: Mapping[str, object]) -> list[str]:
        """The command with `values` in place of their names; each word stays one."""
        return [word.format_map(values) for word in self.words]

    def check_program(self, work_dir: Path | None = None, *, flag: str = "command") -> None:
        """Check, without a run, that its program is there, and a file that Python is to run.

        Raises:
            InputError: it is not, or cannot be executed.
        """
        here, (name, *others) = work_dir or Path(), self.words
        if not shutil.which(str((here / name).absolute()) if "/" in name else name):
            why = "no such program; give its path, or activate its environment"
            if (here / name).is_file():
                mend = f'"python {name}", in quotes' if name.endswith(".py") else f"chmod +x {name}"
                why = f"is no program; write {mend}"
            raise InputError(f"{flag}: {name}: {why}")
        file = next((word for word in others if not word.startswith("-")), "")
        is_run = file.endswith(".py") and _PYTHON.fullmatch(Path(name).name)
        if is_run and "{" not in file and not (here / file).is_file():
            raise InputError(f"{flag}: {file}: does not exist" + f" in {work_dir}" * bool(work_dir))


def start_script(
    script: Script,
    values: Mapping[str, object],
    *,
    folder: Path,
    work_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start `script` with `values`, whose record is to come into the new `folder`.

    Who starts it ends it by `end_all` and asks `record_left`. ``seed`` is told as a variable, too.
    It runs in `work_dir` with the variables of `environment`, by default this process's.

    Raises:
        InputError: the program cannot be started.
    """
    told = {OUTPUT_DIR: str(folder.absolute())}
    told |= {SEED: str(values["seed"])} if "seed" in values else {}
    folder.mkdir(parents=True, exist_ok=True)
    variables = {**(os.environ if environment is None else environment), **told}
    leader = [sys.executable, "-I", "-S", group_leader.__file__, str(os.getpid())]
    command = [*leader, *script.filled(values)]
    return Child(command, environment=variables, work_dir=work_dir)


def record_left(script: Script, child: Child, *, folder: Path) -> RunRecord:
    """The record that `child`, a run of `script` that has ended, left in `folder`.

    Raises:
        InputError: it left two, or none although it ended well: the script has to be mended.
        RunFailedError: it failed, also where its record says that the run completed.
    """
    found = search(folder)
    if len(found) > 1:
        raise InputError(
            f"left {len(found)} records, and one run at a time is measured: record one run, by one "
            "process"
        )
    if found:
        record = load_record(found[0])
        if record.status == "completed" and child.status:
            said = last_words(child.said)
            raise RunFailedError(
                f"failed after its record, with exit status {child.status}"
                + f" ({said})" * bool(said)
                + f": {found[0]}"
            )
        return record
    if child.status == 0:
        raise InputError(
            "left no record: no mnistbench.record in it, or it ended before that; see "
            "docs/your-loop.md"
        )
    if _NO_PACKAGE in child.said:
        where = shutil.which(script.words[0]) or script.words[0]
        raise RunFailedError(
            f"{where} runs a Python without mnistbench; install it there, or write the path of one "
            "that has it"
        )
    raise RunFailedError(f"left no record: {why_ended(child, what='script')}")


@dataclass(frozen=True, kw_only=True)
class ScriptSide:
    """A side in turn (`mnistbench.launch.interleave`) that is a run of `script`.

    Attributes:
        name: what messages call it.
        script: what is run; ``seed`` is its only placeholder.
        work_dir: where it runs; none is this process's.
        environment: variables in place of this process's own.
    """

    name: str
    script: Script
    work_dir: Path | None = None
    environment: Mapping[str, str] | None = None

    def check(self, _seed: int) -> None:
        """Check that its program is there."""
        self.script.check_program(self.work_dir)

    def run(self, seed: int, folder: Path) -> RunRecord:
        """Run it, in a folder of its own, and read the record that it leaves."""
        own, values = folder / f"seed-{seed}", {"seed": seed}
        start = partial(start_script, self.script, values, folder=own, work_dir=self.work_dir)
        child = wait_for(partial(start, environment=self.environment))
        return record_left(self.script, child, folder=own)


def one_sample(runs: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """`runs` of one script, under one seed where they evaluated the same, whatever each was told.

    A script that does not use its seed repeats one sample of its accuracy, though not of its time.
    """
    curves = [
        [(p.step, p.split, p.loss, p.accuracy, p.metrics) for p in run.eval_points] for run in runs
    ]
    if (
        not runs[0].is_foreign
        or len(runs) < 2
        or not any(curves)
        or curves.count(curves[0]) < len(curves)
    ):
        return runs
    return [run.model_copy(update={"seed": runs[0].seed or 0}) for run in runs]
