"""What tests of several rooms share: small runs, real processes, and where MNIST lies."""

import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from mnistbench.launch.commands import cpu_environment, torchrun_command
from mnistbench.recorder import core_use
from mnistbench.schema import streams
from mnistbench.schema.config import RunConfig
from mnistbench.schema.store import find_records, load_record
from tests import warm_commands
from tests.record_fixtures import made_pairs, made_record, made_side  # noqa: F401
from tests.started_processes import Watch

# a slow machine is no failure
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

CONFIGS = Path(__file__).parents[1] / "launch_configs"
SMALL = {
    "dataset": "synthetic",
    "synthetic_train_size": 400,
    "val_size": 100,
    "num_epochs": 1,
    "global_batch_size": 64,
    "num_threads": 1,
}


def pytest_configure(config):
    """Leave nothing to how the tests were started, and share nothing with other runs of them."""
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        config.stash[_FOLDER] = use_own_folder()
    if is_worker:
        import torch  # whoever only hands out tests does without

        torch.set_num_threads(1)  # each core has a worker already
        del os.environ["PYTEST_XDIST_WORKER"]  # what tests start is none
    if is_worker or not config.getoption("numprocesses", None):  # where tests run
        warm_commands.install()
        config.stash[_WATCH] = Watch()


_FOLDER = pytest.StashKey[str]()
_WATCH = pytest.StashKey[Watch]()
_NUM_FROZEN = pytest.StashKey[int]()


def use_own_folder():
    """Make a folder and have caches in it: ours, of compiled steps, and Hugging Face's."""
    folder = tempfile.mkdtemp(prefix="mnistbench-tests-")
    fonts = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    os.environ.setdefault("MPLCONFIGDIR", str(fonts))  # which take seconds to find again
    os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
    os.environ["HF_HOME"] = f"{folder}/huggingface"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"
    return folder


def pytest_collection_finish(session):
    if watch := session.config.stash.get(_WATCH, None):
        watch.started.clear()  # by imports


def pytest_unconfigure(config):
    if folder := config.stash.get(_FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def imports_are_no_garbage(pytestconfig):
    """Leave what was imported up to now out of garbage collections: each run makes one."""
    if len(sys.modules) > pytestconfig.stash.get(_NUM_FROZEN, 0) + 100:
        gc.collect()
        gc.freeze()
        pytestconfig.stash[_NUM_FROZEN] = len(sys.modules)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(pytestconfig):
    """No process outlives the tests."""
    yield
    assert pytestconfig.stash[_WATCH].left_behind() == []


@pytest.fixture(autouse=True)
def marked_if_it_starts_processes(request, pytestconfig):
    """What ``make test-fast`` leaves out is told by a mark, and the mark is right."""
    yield
    watch = pytestconfig.stash[_WATCH]
    started, watch.started = watch.started, []
    if request.node.get_closest_marker("processes"):
        watch.note(request.node.nodeid)
    else:
        assert started == [], "mark it with pytest.mark.processes"


@pytest.fixture(autouse=True)
def modules_of_tests_are_forgotten(tmp_path_factory):
    """What a test imports from its own folder hides nothing of the same name from the next."""
    before, path = set(sys.modules), sys.path[:]
    yield
    sys.path[:] = path
    own = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(own):
            del sys.modules[name]
    if code := sys.modules.get("mnistbench.recorder.own_code"):
        code._imported.clear()  # what it read before it imported them


@pytest.fixture(autouse=True)
def as_a_process_starts():
    """Each test finds signals, variables, folder, logging and threads as usual, and leaves them so.

    Commands that a test calls in this process change them, and so does who starts the tests: in the
    background of a script SIGINT is ignored.
    """
    torch = sys.modules.get("torch")
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    usual[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)  # which nohup ignores
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    variables, num_threads = dict(os.environ), torch and torch.get_num_threads()
    folder = os.getcwd()  # noqa: PTH109 - as it is given back
    handlers = logging.root.handlers[:]
    logging.getLogger("mnistbench").setLevel(logging.NOTSET)
    yield
    os.chdir(folder)  # children find the tests there
    streams._end_progress()
    for number, handler in before.items():
        signal.signal(number, handler)
    if os.environ != variables:
        os.environ.clear()
        os.environ.update(variables)
    if torch:
        torch.set_num_threads(num_threads)
    for handler in logging.root.handlers[:]:
        if (
            type(handler) in {logging.StreamHandler, streams.LineHandler}
            and handler not in handlers
        ):
            logging.root.removeHandler(handler)


@pytest.fixture(autouse=True)
def idle_fast_machine(monkeypatch):
    """A command called in this process tells no load, and nothing that takes a second."""
    monkeypatch.setattr(core_use, "read_core_times", lambda: None)
    monkeypatch.setattr(streams, "_PATIENCE_S", 3600.0)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Tests mean the CPU, also on a machine with a GPU."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.fixture
def small_config(tmp_path, monkeypatch, request):
    """Makes a configuration whose run takes a moment and writes to a temporary folder.

    Its test set is small, too, unless the test asks for the `whole_test_set`.
    """
    if "whole_test_set" not in request.fixturenames:
        monkeypatch.setattr("mnistbench.workload.datasets.TEST_IMAGES", 500)
    monkeypatch.setattr("mnistbench.recorder.machine_probe._SIDE", 128)
    monkeypatch.setattr("mnistbench.recorder.machine_probe._COPY_BYTES", 2**18)

    def make(**values):
        return RunConfig(**SMALL | {"output_dir": str(tmp_path / "runs")} | values)

    return make


@pytest.fixture
def whole_test_set():
    """For runs that are compared with those of other processes, which have all of it."""


@pytest.fixture(scope="session")
def mnist_dir():
    """Folder with the real MNIST; tests that need it skip where there is none."""
    folder = os.environ.get("MNISTBENCH_DATA_DIR")
    if not folder or not (Path(folder) / "MNIST").is_dir():
        pytest.skip("needs real MNIST: point MNISTBENCH_DATA_DIR to its folder")
    return folder


@pytest.fixture
def heard_hangup():
    """The usual reaction to SIGHUP, which ``nohup`` ignores for as long as the tests run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def launch(tmp_path):
    """Runs ``mnistbench.train`` by a real launcher; gives its process and its records."""

    def run(*flags, launcher="torchrun", num_processes=2, folder=None, module="mnistbench.train"):
        folder = folder or tmp_path / f"launched-{launcher}-{num_processes}"
        arguments = [*flags, "--output-dir", str(folder)]
        if launcher == "torchrun":
            command = torchrun_command(module, arguments, num_processes=num_processes)
        else:
            command = [
                *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
                *("--config_file", str(CONFIGS / f"cpu_{num_processes}.yaml")),
                *("-m", "mnistbench.train", *arguments),
            ]
        done = subprocess.run(
            command,
            env=cpu_environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        found = find_records([folder]) if folder.exists() else []
        return done, [load_record(path) for path in found]

    return run


@pytest.fixture
def one_thread():
    """One torch thread for a test that compares numbers bitwise."""
    import torch

    torch.set_num_threads(1)  # put back as for all tests
