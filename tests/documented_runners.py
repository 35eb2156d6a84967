"""How each kind of command in the pages is run, with sizes cut down so that all take a minute.

What can only be checked in part, such as a job for SLURM, is in `PARTLY`, with the reason.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import pytest
from accelerate.commands.launch import launch_command_parser
from accelerate.tracking import get_available_trackers
from torch.distributed.run import get_args_parser

from mnistbench import compare, doctor, record_schema, report, sweep, train, tune
from mnistbench.cli import read_config
from mnistbench.flags import parse
from mnistbench.launch.commands import cpu_environment
from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import TrackerName
from mnistbench.schema.store import save_record
from tests.compare_runs import pairs
from tests.documented import ROOT, all_commands, fences
from tests.launch.script_stand_in import write_script
from tests.made_records import make_record

__all__ = ["COMMANDS", "HELPS", "SCRIPTS", "help_of_command", "help_of_module", "runner"]

HELPS = [
    *((command, []) for command in (train, report, compare, sweep, tune, doctor, record_schema)),
    *((report, [name]) for name in ("targets", "epochs", "rules", "scaling", "watch")),
]
"""Commands, and the words before ``--help-all``."""

COMMANDS = all_commands()

_DATA = ("--dataset", "synthetic", "--synthetic-train-size", "1300", "--val-size", "200")


def first_with(asked: Callable[[Any], object]) -> dict[object, str]:
    """What is `asked` of commands -> the text of the first for which it is the answer."""
    found: dict[object, str] = {}
    for command in COMMANDS:
        if answer := asked(command):
            found.setdefault(answer, command.text)
    return found


_FIRST_SWEEP = first_with(lambda command: command.words[:2] == ["mnistbench", "sweep"])
"""Sweeps start processes, which take seconds: the first is run, of others cells are listed."""

_LAUNCHED = {
    (command.words[0], "--config_file" in command.words): command.text
    for command in sorted(COMMANDS, key=lambda command: len(command.launcher or ()))
    if command.launcher and not re.search("launch_configs/(gpu|nodes)", command.text)
}
"""Of each launcher, with a configuration file and without, the command that tells it most."""


def runner(words: Sequence[str]) -> Callable[..., None] | None:
    """What runs a command of this form; None where the form is not known.

    It is called with the words, the command's `text`, and pytest's `request` and `monkeypatch`.
    """
    for form, run in PARTLY.items():
        if all(word in words for word in form.split()):
            return run
    if words[0] == "python" and words[1] in SCRIPTS:
        return check_script
    if words[0] == "python" and words[1] == "-m":
        package, _, name = words[2].partition(".")
        known = {"mnistbench": RUN_COMMAND.get(name), "bench": run_module}
        return known.get(package)
    return RUN_COMMAND.get(words[1]) if words[0] == "mnistbench" else RUN.get(words[0])


def arguments(words):
    """What a command is given: the words behind its name, or behind that of its module."""
    return list(words[3:] if words[0] == "python" else words[2:])


def run_train(words, **_):
    argv = arguments(words)
    assert train.main(argv if {"--print-config", "--list-recipes"} & {*argv} else cut(argv)) == 0


def cut(argv):
    """The flags of a training run with smaller sizes behind them; later ones win."""
    steps = 12 if "--profile" in argv else 4
    if "--profile-steps" in argv:
        steps = int(argv[argv.index("--profile-steps") + 1].split(":")[1]) + 1
    more = [*_DATA, "--num-epochs", "5", "--max-steps", str(steps), "--num-threads", "1"]
    smaller = {"--num-seeds": "2", "--global-batch-size": "128", "--checkpoint-every-steps": "2"}
    for flag in smaller.keys() & {*argv}:
        more += [flag, smaller[flag]]
    if "--batch-last" in argv or "speedrun" in " ".join(argv):
        more.append("--no-compile")
    if "--require-target" in argv:
        more += ["--target-accuracy", "0.01"]
    return [*filter(_is_no_missing_tracker, argv), *more, "--quiet"]


def _is_no_missing_tracker(word):
    return word not in get_args(TrackerName) or word in set(map(str, get_available_trackers()))


def run_report(words, **_):
    argv = arguments(words)
    if argv[0] == "watch":
        save_record(make_record(), Path(argv[1]) / "one")
    assert report.main(argv) == 0
    for flag in {"--html", "--plot", "--figures"} & {*argv}:
        assert Path(argv[argv.index(flag) + 1]).exists()


def run_compare(words, *, monkeypatch, **_):
    """Runs in turn are stood in for: tests/launch/test_interleave.py makes real ones."""
    argv = arguments(words)
    monkeypatch.setattr("mnistbench.launch.interleave.run_interleaved", _stored_pairs)
    assert compare.main(argv) in ({0, 1} if "--fail-if" in argv else {0})


def _stored_pairs(sides, *, settled, **_):
    """What runs in turn might have left."""
    of_a, of_b = pairs(16, 0.9)
    found = [of_a, *[of_b] * (len(sides) - 1)]
    settled(found)
    return found


def run_sweep(words, *, text, request, **_):
    argv, where = arguments(words), contextlib.nullcontext()
    if "--command" in argv:  # of a script that a reader has; tests/test_sweep_commands.py runs one
        folder = request.getfixturevalue("tmp_path")
        write_script(folder)
        where = contextlib.chdir(folder)
    with where:
        assert sweep.main([*argv, "--dry-run"]) == 0
    if text in _FIRST_SWEEP.values():
        one_cell = [re.sub(r"(?<=\w)(,|\.\.).*", "", word) for word in argv]
        assert sweep.main([*one_cell, *_DATA, "--max-steps", "2", "--num-threads", "1"]) == 0


def run_tune(words, **_):
    """Its runs would take minutes: tests/test_your_own.py makes the first example's."""
    assert tune.main([*arguments(words), "--dry-run"]) == 0


def run_doctor(words, **_):
    argv = arguments(words)
    assert doctor.main([*argv, *([] if "--launch-config" in argv else ["--no-launch"])]) == 0


def run_schema(words, **_):
    assert record_schema.main(arguments(words)) == 0


def run_launcher(words, *, text, **_):
    """One command of a launcher is launched; of others, each part is read by whom it is for."""
    begin = 2 if words[0] == "accelerate" else 1
    parser = launch_command_parser() if words[0] == "accelerate" else get_args_parser()
    if "-m" not in words:  # the launcher's part alone
        parser.parse_args([*words[begin:], "script.py"])
        return
    cut_at = words.index("-m")
    start, module, argv = words[1:cut_at], words[cut_at + 1], words[cut_at + 2 :]
    told = parser.parse_args(words[begin:])
    assert (told.module, module) == (True, "mnistbench.train")
    assert train.main([*argv, "--print-config"]) == 0
    assert Path(getattr(told, "config_file", None) or ".").exists()
    if text not in _LAUNCHED.values():
        return
    program = str(Path(sys.executable).parent / words[0])
    done = _run([program, *start, "-m", module, *cut(argv)], env=cpu_environment())
    assert "record: runs/" in done.stdout


def run_module(words, **_):
    """Modules of bench/ take minutes: theirs is to know the flags."""
    text = help_of_module(words[2].removeprefix("bench."))
    assert [word for word in words if word.startswith("--") and word not in text] == []


def run_pytest(words, *, text, request, **_):
    """Suites take minutes: theirs is to be found, and to know the flags."""
    assert request.getfixturevalue("collected")[text] > 0


def run_make(words, **_):
    _run(["make", "-n", *words[1:]], cwd=ROOT)


def run_pip(words, **_):
    """Nothing is installed, but it is this package, with extras that it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert words[1] == "install"
    for word in words[2:]:
        for extras in re.findall(r"\[(.*)\]", word):
            assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    asked = {re.sub(r"\[.*", "", word) for word in words[2:] if not word.startswith("-")}
    assert asked <= {".", project["name"], "constraints.txt"}


def run_tensorboard(words, **_):
    """It would serve for ever; told to ``--inspect``, it reads what is there and ends."""
    pytest.importorskip("tensorboard", reason="needs the extra `profile`")
    _run([sys.executable, "-m", "tensorboard.main", *words[1:], "--inspect"])


def run_jq(words, *, text, **_):
    """Where there is no jq, at least the keys that it would look for are there."""
    if shutil.which("jq"):
        out = _run(["bash", "-c", text.partition(" > ")[0]]).stdout
        assert out
        sys.stdout.write(out)
        return
    if "-n" in words:
        pytest.skip("needs jq")
    records = "".join(path.read_text() for path in Path("runs").glob("*/record.json"))
    for key in re.findall(r"\.(\w+)", next(word for word in words[1:] if "." in word)):
        assert f'"{key}"' in records


def check_script(words, **_):
    """Of a loop not ours, which tests/test_your_loop.py runs: here, it has to know the flags."""
    text = SCRIPTS[words[1]]
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == []


def check_batch_job(words, **_):
    script, *argv = words[1:]
    _run(["bash", "-n", script])
    if "mnistbench sweep" in Path(script).read_text():
        assert sweep.main([*argv, "--dry-run"]) == 0
    else:
        assert train.main([*argv, "--print-config"]) == 0


def check_form(words, **_):
    given = parse(train._Flags, arguments(words), RunConfig.model_fields)[1]
    assert read_config(given, None).model == given["model"]


def check_revisions(words, **_):
    flags, train_flags = compare._parse(arguments(words))
    assert flags.revisions
    assert train.main([*train_flags, "--print-config"]) == 0


def _run(command, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def help_of_command(command, words):
    """What `command` prints for all flags of its report `words`."""
    return _help(lambda: command.main([*words, "--help-all"]), codes={0})


def help_of_module(name):
    """The same of ``python -m bench.<name>``; status 2 and a line of usage is help, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, "--help"])
        module = import_module(f"bench.{name}")
        if hasattr(module, "__path__"):  # a package, which is run by its own module for that
            module = import_module(f"bench.{name}.__main__")
        return _help(module.main, codes={0, 2})


def _help(ask, *, codes):
    out = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as stop:
            ask()
    assert stop.value.code in codes
    return out.getvalue()


_COLLECT = """
import json, pytest, sys
from _pytest.config import _prepareconfig

class Seen:
    def pytest_itemcollected(self, item):
        found.append(item.nodeid)

found = []
pytest.main(["bench/", "--benchmark-only", "--collect-only", "-qq"], plugins=[Seen()])
counts = {}
for text, words in json.loads(sys.argv[1]).items():
    config = _prepareconfig(words)
    named = [one for one in found if one.startswith(tuple(config.args))]
    counts[text] = len([one for one in named if config.option.keyword in one])
    config._ensure_unconfigure()
print("\\n" + json.dumps(counts))
"""


def collect_suites():
    """How many tests each pytest command of the pages would run; all by one process."""
    asked = {c.text: c.words[1:] for c in COMMANDS if c.words[0] == "pytest"}
    done = _run([sys.executable, "-c", _COLLECT, json.dumps(asked)], cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


_LOOP = next(f for f in fences(ROOT / "docs/your-loop.md") if f.language == "python")
SCRIPTS = {
    "train.py": "\n".join(_LOOP.lines),
    **{f"docs/examples/{path.name}": path.read_text() for path in ROOT.glob("docs/examples/*.py")},
}
"""What stands in a page or lies in docs/examples."""
RUN_COMMAND = {
    "train": run_train,
    "report": run_report,
    "compare": run_compare,
    "sweep": run_sweep,
    "tune": run_tune,
    "doctor": run_doctor,
    "schema": run_schema,
}
RUN = {
    "accelerate": run_launcher,
    "torchrun": run_launcher,
    "pytest": run_pytest,
    "make": run_make,
    "pip": run_pip,
    "tensorboard": run_tensorboard,
    "jq": run_jq,
}
PARTLY = {
    # SLURM is not here: the script has to be one, and its flags those of what it starts;
    # tests/test_launch_configs.py runs the scripts with stand-ins
    "sbatch": check_batch_job,
    # two commits would have to be checked out: tests/launch/test_revisions.py does that
    "mnistbench compare --revisions": check_revisions,
    # it is downloaded, and what is trained on it may not be installed
    "mnistbench train torchvision.datasets:CIFAR10": check_form,
}
"""Words that a command holds, and what is done instead of running it."""
