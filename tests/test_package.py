"""The package as its users get it: built, installed beside this environment, run from elsewhere.

Built without a network, by what ``make test`` installs. The wheel is made from the source
distribution, that from a copy, so that nothing is left in this checkout.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import yaml

from mnistbench import __version__
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.schema.store import save_record
from tests.made_records import of_reference

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", ".github", "bench", "docs", "launch_configs", "mnistbench", "tests")
LEFT_OUT = "bench/results/convergence/runs/"
CACHES = shutil.ignore_patterns("__pycache__", "*.py[co]", ".*_cache", ".hypothesis", "*.egg-info")
TINY = (
    *("--dataset", "synthetic", "--synthetic-train-size", "300", "--val-size", "100"),
    *("--max-steps", "2", "--num-threads", "1"),
)


def run(*command, **options):
    """Run `command`; what it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of this checkout, of what belongs to it."""
    copy = tmp_path_factory.mktemp("source")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=CACHES)
    tracked = {".gitignore", ".pre-commit-config.yaml", "LICENSE", "Makefile"}
    for path in ROOT.iterdir():
        if path.name in tracked or path.suffix in {".md", ".toml", ".txt", ".in", ".cff"}:
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """Folder of the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    where = str(shutil.copytree(source, folder.with_name("building")))  # leaves files of its own
    build = (sys.executable, "-m", "build", "--no-isolation")
    run(*build, "--outdir", str(folder), where, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    """The folder that the source distribution unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    run("tar", "-xzf", *map(str, built.glob("*.tar.gz")), "-C", str(folder))
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name), policy=policy.compat32)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder that the wheel is installed to, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet")
    run(*pip, "--disable-pip-version-check", "--target", str(folder), str(wheel))
    return folder


@pytest.fixture
def elsewhere(installed, tmp_path, monkeypatch):
    """An empty current folder, in which the wheel's package is the one that is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.delenv("MNISTBENCH_DATA_DIR", raising=False)
    code = "import mnistbench; print(mnistbench.__file__)"
    assert Path(run(sys.executable, "-c", code).strip()).is_relative_to(installed)
    return tmp_path


def test_what_make_compiles_comes_with_the_package():
    (line,) = re.findall(r"-c 'import ([\w., ]+)'", (ROOT / "Makefile").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = {re.split(r"[^\w-]", need)[0] for need in project["dependencies"]}
    assert {name.strip().partition(".")[0] for name in line.split(",")} <= needs


def test_both_have_every_file(source, wheel, unpacked):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in files(source) if name.startswith("mnistbench/")}
    assert shipped == package
    assert "mnistbench/py.typed" in shipped
    for folder, ending in (
        ("output/page/templates", ".jinja"),
        ("output/page/templates", ".css"),
        ("output/page/templates", ".js"),
        ("analysis/references", ".json"),
        ("workload/tuned_rates", ".json"),
    ):
        assert [n for n in shipped if n.startswith(f"mnistbench/{folder}/") and n.endswith(ending)]
    made = {"PKG-INFO", "setup.cfg"}
    kept = {name for name in files(source) if not name.startswith(LEFT_OUT)}
    found = {name for name in files(unpacked) if ".egg-info/" not in name}
    assert found - made == kept


@pytest.mark.usefixtures("elsewhere")
def test_nothing_is_missing_where_only_the_wheel_is(installed, elsewhere):
    command = str(installed / "bin" / "mnistbench")
    assert run(command, "--version") == f"mnistbench {__version__}\n"
    run(command, "train", "--model", "linear", "--output-dir", "linear", *TINY)
    run(command, "train", "--recipe", "simple-cnn", "--output-dir", "recipe", *TINY)
    run(command, "report", "linear", "--html", "report.html")
    assert "<style" in Path("report.html").read_text()
    compared = run(command, "compare", "linear", "recipe", "--force", "--format", "json")
    assert json.loads(compared)
    assert "not held to a reference band: simple-cnn on synthetic" in run(
        command, "report", "recipe"
    )
    (record,) = map(json.loads, (path.read_text() for path in Path("recipe").glob("*/*.json")))
    assert record["environment"]["git_commit"] is None
    assert record["environment"]["git_diff_sha256"] is None
    assert len(record["environment"]["code_sha256"]) == 12
    (band,) = (one for one in packaged_references() if one.recipe == "simple-cnn")
    save_record(of_reference(band, off=-0.1), elsewhere / "wrong")
    assert "left at epoch 1 (86.62 %, band " in run(command, "report", "wrong", "--wide")


@pytest.mark.usefixtures("elsewhere")
def test_the_suites_of_the_source_distribution_run_on_the_wheel(unpacked, tmp_path):
    suites = tmp_path / "suites"
    shutil.copytree(unpacked, suites, ignore=lambda *_: ["mnistbench"])
    told = run(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{suites}/bench", "--help"
    )
    assert "--bench-budget={smoke,quick,full}" in told
    code = "from bench.loss_runs import learning_rate; print(learning_rate('cnn4', 'mse'))"
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(suites)])
    assert run(sys.executable, "-c", code, env=os.environ | {"PYTHONPATH": path}) == "1.0\n"


def test_an_index_would_take_both(built):
    told = run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir()))
    assert told.count("PASSED") == 2


RELATIVE = re.compile(
    r"\]\((?!https?://|\#)([^)\s]+)|^\[[^]]+\]:\s+(?!https?://)(\S+)"
    r"|(?:src|href)=[\"'](?!https?://)([^\"']+)",
    re.MULTILINE,
)


def test_what_an_index_shows_leads_nowhere_that_it_has_not(metadata):
    shown = metadata.get_payload()
    assert shown.startswith("# mnistbench\n")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert RELATIVE.findall(shown) == []
    assert len(RELATIVE.findall((ROOT / "README.md").read_text())) > 5  # so it would be found


def test_the_metadata_is_what_users_search_by(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("mnistbench", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Author"] == "The mnistbench maintainers"
    classifiers = metadata.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{n}" for n in (11, 12, 13, 14)} <= {*classifiers}
    assert "Typing :: Typed" in classifiers
    assert not [key for key in metadata if "Email" in key or "Url" in key or key == "Home-Page"]


def test_a_release_has_one_version_and_date():
    newest = re.search(r"^## (\d\S+) – (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest.groups() == (__version__, str(citation["date-released"]))
    assert citation["version"] == __version__


def test_all_that_is_installed_by_name_is_pinned():
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in asked}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    assert names <= {*pinned}
    assert pinned == sorted(set(pinned))
