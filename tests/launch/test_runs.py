"""One run in a child process: its record and its refusals."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mnistbench.launch.revisions import train_sides
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import record_json

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
TINY = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--max-steps", "5", "--model", "linear", "--num-threads", "1"),
)

# A package that leaves records as told by its flags: real processes, without torch.
DOOR = """
import sys
from pathlib import Path
status, *names = sys.argv[1].split(",")
folder = Path(sys.argv[sys.argv.index("--output-dir") + 1])
for name in names:
    (folder / name).mkdir(parents=True)
    (folder / name / "record.json").write_text(sys.argv[2].replace("RUN", name))
print("some warning", file=sys.stderr)
if int(status):
    print("mnistbench: error: lr: should be greater than 0", file=sys.stderr)
print("bye", file=sys.stderr)
sys.exit(int(status))
"""

RECORD = record_json(
    RunRecord(
        run_id="RUN",
        status="completed",
        created_at="2026-01-01T00:00:00+00:00",
        seed=0,
        recipe=None,
        config={},
        environment={},
        dataset=None,
        phases_s={},
        wall_s=1.0,
    )
)


@pytest.fixture
def package(tmp_path):
    root = tmp_path / "checkout"
    (root / "mnistbench").mkdir(parents=True)
    (root / "mnistbench" / "__init__.py").write_text("")
    (root / "mnistbench" / "train.py").write_text(DOOR)
    return root


@pytest.fixture
def run(package, tmp_path):
    def use(does, **place):
        side = TrainSide(name="A", arguments=(does, RECORD), **{"package_root": package} | place)
        return side.run(0, tmp_path / "out").run_id

    return use


def test_a_real_run_leaves_its_record_also_where_its_target_was_missed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (*TINY, "--target-accuracy", "1", "--require-target")
    record = TrainSide(name="A", arguments=arguments).run(3, Path("out"))
    assert (record.status, record.seed, record.num_steps) == ("completed", 3, 5)
    assert record.result.time_to_accuracy_s is None
    assert (tmp_path / "out" / record.run_id / "record.json").is_file()


def test_a_revision_of_this_repository_really_runs_its_own_code(tmp_path, monkeypatch):
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    if not (ROOT / ".git").exists() or not shutil.which("git") or subprocess.call(head):
        pytest.skip("needs a git checkout of this repository")
    clone = tmp_path / "clone"  # the checkout under test gets no worktree
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(clone)
    (side,) = train_sides([("HEAD", "A")], arguments=TINY, checkouts=tmp_path)
    record = side.run(0, tmp_path / "out")
    assert record.status == "completed"
    assert side.package_root == tmp_path / "A"
    assert record.environment["git_commit"] == subprocess.check_output(head, text=True).strip()
    assert record.environment["git_dirty"] is False


def test_the_new_record_is_read_whatever_the_status_of_a_run(run):
    assert run("0,first") == "first"
    assert run("1,diverged") == "diverged"
    assert run("3,missed") == "missed"


def test_a_refusal_is_the_childs_own_line(run):
    with pytest.raises(InputError, match=r"^lr: should be greater than 0$"):
        run("2")


def test_a_run_without_a_record_has_failed(run):
    with pytest.raises(RunFailedError, match=r"^bye$"):
        run("0")
    with pytest.raises(RunFailedError, match=r"^lr: should be greater than 0$"):
        run("1")


def test_several_records_are_not_one_run(run):
    with pytest.raises(InputError, match="num_seeds: one run at a time"):
        run("0,first,second")


def test_the_real_door_checks_flags_without_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TrainSide(name="A", arguments=TINY).check(0)
    with pytest.raises(InputError, match=r"^--lr: should be greater than 0 \(got -1"):
        TrainSide(name="A", arguments=(*TINY, "--lr=-1")).check(0)
    assert not list(tmp_path.iterdir())


def test_the_package_asked_for_runs_though_another_lies_in_the_current_folder(
    run, package, tmp_path, monkeypatch
):
    other = tmp_path / "elsewhere"
    (other / "mnistbench").mkdir(parents=True)
    (other / "mnistbench" / "__init__.py").write_text("raise SystemExit('wrong one')")
    monkeypatch.chdir(other)
    monkeypatch.setenv("PYTHONPATH", str(other))
    assert run("0,right") == "right"


def test_a_folder_without_the_package_is_refused_where_another_would_run(run, tmp_path):
    with pytest.raises(InputError, match=r"would run .* instead|cannot be imported"):
        run("0", package_root=tmp_path)


def test_a_package_that_does_not_import_is_refused_in_one_line(package, run):
    (package / "mnistbench" / "__init__.py").write_text("import nothing_of_this_name")
    with pytest.raises(InputError, match="No module named 'nothing_of_this_name'"):
        run("0,first")


@pytest.mark.parametrize("with_package", [True, False])
def test_a_python_that_is_not_there_is_refused(run, package, tmp_path, with_package):
    root = package if with_package else None
    with pytest.raises(InputError, match="missing: cannot be started"):
        run("0", python=str(tmp_path / "missing"), package_root=root)
