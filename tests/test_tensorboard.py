"""Profiles of one and of two processes in a real TensorBoard, by its profiler plugin's pages."""

import json
import os
import signal
import subprocess
import sys
import time
from gzip import decompress
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from mnistbench.engine.run_seeds import train

pytestmark = pytest.mark.processes

PATIENCE_S = 90
STEPS = ("--profile", "torch", "--profile-steps", "3:6")
DATA = ("--dataset", "synthetic", "--synthetic-train-size", "600", "--val-size", "100")


@pytest.fixture(scope="module")
def served(tmp_path_factory, request):
    """Fetches pages of a TensorBoard over a run of one process and one of two."""
    pytest.importorskip("torch_tb_profiler", reason="needs the extra `profile`")
    folder = tmp_path_factory.mktemp("profiles")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0"]
    one_process(folder)
    two_processes(folder)
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the plugin reads traces in processes of its own
    ) as server:
        try:
            yield fetcher(address_of(server))
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def one_process(folder):
    from mnistbench.schema.config import RunConfig

    train(
        RunConfig(
            dataset="synthetic",
            synthetic_train_size=600,
            val_size=100,
            max_steps=8,
            num_threads=1,
            profile=("torch",),
            batch_last=False,
            profile_steps="3:6",
            output_dir=str(folder / "one"),
        )
    )


def two_processes(folder):
    from mnistbench.launch.commands import cpu_environment, torchrun_command

    flags = [
        *DATA,
        *STEPS,
        "--no-batch-last",
        "--max-steps",
        "8",
        "--output-dir",
        str(folder / "two"),
    ]
    command = torchrun_command("mnistbench.train", flags, num_processes=2)
    done = subprocess.run(
        command, env=cpu_environment(), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr


def address_of(server):
    for line in server.stderr:
        if "http://" in line:
            return "http://" + line.partition("http://")[2].split()[0].rstrip("/")
    raise AssertionError("TensorBoard ended without an address")


def fetcher(address):
    def fetch(page, **query):
        url = f"{address}/data/plugin/pytorch_profiler/{page}?{urlencode(query)}"
        deadline, last = time.monotonic() + PATIENCE_S, "not loaded yet"
        while True:
            try:
                with urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
                    text = answer.read()
                    if answer.headers.get("Content-Encoding") == "gzip":
                        text = decompress(text)
                    found = json.loads(text)
                    if page != "runs" or (len(found["runs"]) >= 2 and not found["loading"]):
                        return found
            except (URLError, ConnectionError) as error:  # it starts, or reads the traces still
                last = error
            assert time.monotonic() < deadline, f"no answer from {url}: {last}"
            time.sleep(0.5)

    return fetch


def profile_of(fetch, which):
    """What names the profile of one worker in the run of that kind."""
    [run] = [name for name in fetch("runs")["runs"] if Path(name).parts[0] == which]
    workers = fetch("workers", run=run, view="Overview")
    worker = sorted(workers)[0]
    spans = fetch("spans", run=run, worker=worker)
    return {"run": run, "worker": worker, "span": spans[0] if spans else ""}


@pytest.mark.parametrize("which", ["one", "two"])
def test_overview_operators_trace_and_memory_are_served(served, which):
    asked = profile_of(served, which)
    overview = served("overview", **asked, view="Overview")
    assert len(overview["steps"]["rows"]) == 3
    operators = served("operation/table", **asked, view="Operator", group_by="Operation")
    names = {row["name"] for row in operators["data"]}
    assert "aten::convolution_backward" in names
    events = served("trace", **asked, view="Trace")["traceEvents"]
    assert any(event.get("name") == "aten::max_pool2d_with_indices" for event in events)
    memory = served("memory", **asked, view="Memory")
    assert memory["rows"]["CPU"]
    assert served("memory_curve", **asked, view="Memory")["rows"]


def test_both_processes_are_workers_of_one_run(served):
    asked = profile_of(served, "two")
    assert {"node0_0", "node0_1"} <= set(served("workers", run=asked["run"], view="Overview"))
    assert "Distributed" in served("views", run=asked["run"])
    waited = served("distributed/waittime", **asked | {"worker": "All"}, view="Distributed")
    assert waited
