"""The ``mnistbench`` command runs the one that is named; names and registries agree."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import pytest

import mnistbench
from mnistbench import __version__
from mnistbench.cli import exit_on_input_error
from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import DatasetChoice, DatasetName, RecipeName
from mnistbench.workload.datasets import DATASETS
from mnistbench.workload.recipes import RECIPES, describe
from tests import warm_commands


def run(*argv):
    command = [sys.executable, "-m", "mnistbench", *argv]
    with warm_commands.cold():
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.processes
def test_it_lists_and_runs_its_commands():
    listed = run()
    assert listed.returncode == 0
    assert "usage: mnistbench COMMAND [OPTIONS]\n" in listed.stdout
    assert all(f"\n  {name} " in listed.stdout for name in ("train", "report", "doctor"))
    page = run("train", "--help").stdout
    assert page.startswith("usage: mnistbench train [OPTIONS]\n")
    assert "--recipe" in page
    assert run("help", "train").stdout == page
    unknown = run("compete")
    assert unknown.returncode == 2
    assert unknown.stderr == "mnistbench: error: unknown command 'compete'; did you mean compare?\n"


@pytest.mark.processes
@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_its_version_is_told_before_anything_is_imported(flag):
    code = "import sys; sys.modules['torch'] = None; from mnistbench.__main__ import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", code, flag], capture_output=True, text=True, check=True
    ).stdout
    assert told.splitlines()[0] == f"mnistbench {__version__}"
    assert ("--version" in told) == (flag == "--help")


@pytest.mark.processes
def test_a_file_named_as_a_library_hides_none(tmp_path):
    for name in ("random", "yaml"):  # ``python -m`` looks there first
        (tmp_path / f"{name}.py").write_text("class Net: pass")
    root = str(Path(mnistbench.__file__).parents[1])
    told = subprocess.run(
        [sys.executable, "-m", "mnistbench.train", "--model", "random:Net", "--print-config"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert "\nmodel: random:Net\n" in told.stdout


def test_names_are_the_keys_of_their_registries():
    assert set(get_args(RecipeName)) == set(RECIPES)
    assert set(get_args(DatasetName)) == set(DATASETS)
    assert set(get_args(DatasetChoice)) == {"auto", *DATASETS}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_names_its_source(name):

    recipe = RECIPES[name]
    config = RunConfig(**recipe.settings | {"recipe": name, "dataset": "mnist"})
    assert recipe.source
    assert describe(config).changed == []
    changed = config.model_copy(update={"lr": 0.5, "seed": 9, "num_threads": 1})
    assert describe(changed).changed == ["lr"]


def test_one_thread_too_many_is_a_line(monkeypatch, capsys):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(SystemExit) as ended, exit_on_input_error():
        threading.Thread(target=print).start()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "mnistbench: error: no thread can be started; raise the limit (`ulimit -u`, a container's "
        "pids)\n"
    )
    with pytest.raises(RuntimeError, match="another"), exit_on_input_error():
        raise RuntimeError("another")
