"""What README, CONTRIBUTING and docs/ tell a reader to type is typed here, with sizes cut down.

A command of a form that `tests.documented_runners` does not know fails, so that none is added
without being run.
"""

import re
import shutil
import subprocess
from argparse import Namespace
from importlib.util import find_spec
from itertools import starmap
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from mnistbench.engine import run_seeds
from mnistbench.output.tables import render_runs
from mnistbench.schema.config import RunConfig
from mnistbench.schema.store import load_records, record_json, save_record
from tests import documented_runners
from tests.compare_runs import pairs
from tests.documented import PAGES, ROOT, SECURITY, fences, flags, headings, links
from tests.documented_runners import (
    COMMANDS,
    HELPS,
    SCRIPTS,
    help_of_command,
    help_of_module,
    runner,
)
from tests.made_records import make_record
from tests.made_sweep import make_sweep
from tests.workload.own_files import working_directory

DATA = {"dataset": "synthetic", "synthetic_train_size": 1300, "val_size": 200, "num_threads": 1}
TEST_IMAGES = "mnistbench.workload.datasets.TEST_IMAGES"
KEPT = "bench/results/convergence/runs"
PYTHON = {page: [f for f in fences(page) if f.language == "python"] for page in PAGES}
PYTHON = {page: found for page, found in PYTHON.items() if found}


def by_name(page):
    return page.name


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with what the commands of the pages take to be there."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("launch_configs", "bench", "constraints.txt", "docs"):
        (folder / name).symlink_to(ROOT / name)
    small = DATA | {"num_epochs": 2, "num_seeds": 2, "target_accuracy": 0.3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TEST_IMAGES, 500)
        for model in ("linear", "mlp"):
            run_seeds.train(RunConfig(**small, model=model, output_dir=str(folder / "runs")))
    for name, side in zip(("before", "after"), pairs(8, 0.9), strict=True):
        for run in side:
            save_record(run, folder / "runs" / name / run.run_id)
    for run in pairs(8, 1.0)[1]:
        config = run.config | {"loss": "mse", "lr": 0.01}
        other = run.model_copy(update={"run_id": f"mse-{run.seed}", "config": config})
        save_record(other, folder / "runs" / "mse" / other.run_id)
    for run in make_sweep(batches=(256,)):
        for name in ("processes", "scaling"):
            save_record(run, folder / name / "cells" / run.run_id)
    (folder / "rows.csv").write_text(
        render_runs(load_records([folder / "runs"]).records, table_format="csv")
    )
    tiny = DATA | {"model": "linear", "num_epochs": 1, "max_steps": 3}
    (folder / "tuned").mkdir()
    names = ("a", "b", "run", "tuned/cross-entropy", "tuned/gce")
    for number, name in enumerate(names, start=1):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tiny | {"lr": number / 100}))
    (folder / "train.py").write_text(SCRIPTS["train.py"])
    own = next(fence for fence in fences(ROOT / "docs/your-own.md") if fence.language == "python")
    (folder / "my_nets.py").write_text("\n".join(own.lines))
    written = next(f for f in fences(ROOT / "docs/records.md") if "  schema_version: 2," in f.lines)
    (folder / "record.jq").write_text("\n".join(written.lines))
    for text in (command.text for command in COMMANDS if command.text.startswith("jq -n")):
        if shutil.which("jq"):
            subprocess.run(["bash", "-c", text], cwd=folder, check=True)
        else:  # what reads it is run all the same
            (folder / text.rpartition(" > ")[2]).write_text(record_json(make_record()))
    return folder


@pytest.fixture
def workplace(prepared, tmp_path, monkeypatch):
    """A copy of it as the current folder; nothing is looked for, or left, outside."""
    folder = tmp_path / "work"
    shutil.copytree(prepared, folder, symlinks=True)
    monkeypatch.delenv("MNISTBENCH_DATA_DIR", raising=False)
    monkeypatch.setattr(TEST_IMAGES, 500)
    threads = torch.get_num_threads()
    with working_directory(folder):
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def collected():
    return documented_runners.collect_suites()


@pytest.mark.processes
@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_does_what_its_page_says(command, monkeypatch, request, capsys):
    words, sink = command.words, None
    if KEPT in words and not Path(KEPT).exists():
        pytest.skip("the source distribution leaves the records of long runs out")
    if ">" in words:
        words, sink = words[: words.index(">")], Path(words[words.index(">") + 1])
    run = runner(words)
    assert run, f"{command}: nothing in tests/documented_runners.py knows how to run this"
    run(words, text=command.text, request=request, monkeypatch=monkeypatch)
    if sink:
        sink.write_text(capsys.readouterr().out)
        assert sink.stat().st_size


@pytest.mark.slow
@pytest.mark.processes  # jq, where this is the first to want the folder
@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("page", PYTHON, ids=by_name)
def test_python_in_a_page_runs(page, monkeypatch, capsys):
    """What stands above in the page has run before; a library that is not installed is left out."""
    whole, records, missing = run_seeds.train, [], set()

    def small(config, **kwargs):
        sizes = {"num_epochs": 1, "max_steps": 4, "num_seeds": min(config.num_seeds, 2)}
        made = whole(config.model_copy(update=DATA | sizes), **kwargs)
        records.extend(made)
        return made

    monkeypatch.setattr(run_seeds, "train", small)
    names = {"__name__": "documented"}
    for fence in PYTHON[page]:
        known, told = {*names}, "\n".join(fence.lines)
        asked = {name for name in ("pandas", "polars") if f"import {name}" in told}
        if lacking := {name for name in asked if find_spec(name) is None}:
            missing |= lacking
            continue
        exec(compile("\n" * fence.line + told, str(fence), "exec"), names)  # noqa: S102 - our pages
        assert capsys.readouterr().out or names.keys() - known - {"__builtins__"}, fence
    assert all(record.status == "completed" for record in records)
    if missing:
        pytest.skip(f"all but what needs {', '.join(sorted(missing))}")


def test_the_pages_have_commands_and_no_block_that_is_not_read():
    assert len(COMMANDS) > 60
    assert sum(map(len, PYTHON.values())) > 15
    blocks = {str(f): f.language for page in PAGES for f in fences(page)}
    read = {"sh", "", "python", "diff"}
    odd = {at: what for at, what in blocks.items() if what not in read}
    assert {what for at, what in odd.items() if not at.startswith("ci.md:")} == set()
    assert set(odd.values()) == {"yaml"}  # workflows, which tests/test_ci_page.py reads and runs


def test_the_lines_that_the_readme_adds_to_a_loop_record_it(tmp_path, monkeypatch):
    (shown,) = [f for page in PAGES for f in fences(page) if f.language == "diff"]
    added = [line[1:] for line in shown.lines if line[:1] != "-"]
    loop = {
        "args": Namespace(epochs=2, seed=3),
        "loader": [(torch.zeros(4, 1), torch.zeros(4))] * 4,
    }
    loop |= {"model": None, "evaluate": lambda model: 0.9}
    monkeypatch.chdir(tmp_path)
    exec("\n".join(added), loop)  # noqa: S102 - our own page
    (record,) = load_records([tmp_path]).records
    assert (record.status, record.num_steps, record.seed) == ("completed", 8, 3)
    assert [point.accuracy for point in record.eval_points] == [0.9, 0.9]


def test_a_command_that_nobody_knows_is_not_passed_over():
    unknown = ["curl -O x", "mnistbench fly", "python -m http.server", "python x.py", "ray up x"]
    assert [runner(text.split()) for text in unknown] == [None] * 5


@pytest.mark.parametrize("page", [*PAGES, SECURITY], ids=by_name)
def test_links_and_pictures_lead_somewhere(page):
    broken = []
    for line, link in links(page):
        path, _, place = link.partition("#")
        to = (page.parent / path).resolve() if path else page
        exists = to.is_relative_to(ROOT) and to.exists()
        if not exists or (place and place not in headings(to)):
            broken.append(f"{page.name}:{line}: {link}")
    assert broken == []


@pytest.mark.parametrize("page", [*PAGES, SECURITY], ids=by_name)
def test_every_flag_that_is_named_exists(page, known_flags):
    named = flags(page)
    assert {f"{page.name}:{named[flag]}: {flag}" for flag in named.keys() - known_flags} == set()


@pytest.fixture(scope="session")
def known_flags(pytestconfig):
    """All flags of what the pages name: commands, what is in bench/, launchers, pytest."""
    sources = {path.stem: path.read_text() for path in (ROOT / "bench").glob("*.py")}
    modules = [name for name, text in sources.items() if '__name__ == "__main__"' in text]
    modules += [path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")]
    helps = [*starmap(help_of_command, HELPS), *map(help_of_module, modules)]
    found = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "".join(helps)))
    for parser in (launch_command_parser(), get_args_parser()):
        found |= set(parser._option_string_actions)
    groups = [*pytestconfig._parser._groups, pytestconfig._parser._anonymous]
    found |= {name for group in groups for option in group.options for name in option.names()}
    found |= set(re.findall(r'addoption\(\s*"(--[\w-]+)"', sources["conftest"]))
    plugin = (ROOT / "mnistbench" / "pytest_plugin.py").read_text()  # which pytest may not know yet
    found |= set(re.findall(r'^    "(--bench-[\w-]+)": ', plugin, re.MULTILINE))
    found |= set(re.findall(r'add_argument\("(--[\w-]+)"', "".join(SCRIPTS.values())))
    of_gh = {"--repo", "--body-file", "--edit-last", "--create-if-none"}  # `gh pr comment`
    return found | of_gh | {"--logdir", "--argjson"}
