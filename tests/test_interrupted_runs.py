"""Real processes, ended by real signals, full disks and too little memory."""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from bench import chaos
from mnistbench.launch.commands import cpu_environment, torchrun_command
from mnistbench.schema.checkpoint import checkpoints_of, load_newest
from mnistbench.schema.store import find_records, load_record
from tests.processes import SMALL_FLAGS, Process, free_port, rendezvous, training

pytestmark = pytest.mark.processes

LONG = ("--num-epochs", "4000", "--model", "linear")


def the_record(folder):
    (path,) = find_records([folder])
    return load_record(path)


def wait_until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def trains(process):
    return lambda: "mnistbench: training" in process.stderr_file.read_text()


@pytest.mark.parametrize(
    ("setup", "signals"),
    [("stock-1p", [signal.SIGTERM]), ("fast-2p", [signal.SIGKILL, signal.SIGTERM])],
)
def test_chaos_in_short(setup, signals, tmp_path, monkeypatch):
    """The long version is ``make chaos``."""
    monkeypatch.setattr(chaos, "FLAGS", (*chaos.FLAGS, "--channels", "8"))
    left = iter(signals)

    class Draw:
        """Moments and targets that are not left to chance here."""

        def random(self):
            return 0.31  # neither while it starts nor to the whole group

        def choice(self, options):
            return next(left) if options is chaos.SIGNALS else options[-1]

    reference = chaos.uninterrupted(setup, tmp_path / "whole")
    outcome = chaos.interrupted(setup, tmp_path / "run", len(signals), Draw(), reference[2])
    assert chaos.differences(reference, tmp_path / "run") == []
    assert outcome.differing == []
    assert [i.survivors for i in outcome.interruptions] == [0] * len(signals)
    assert max(i.gone_s for i in outcome.interruptions) < chaos.GONE_IN_S
    causes = [i.cause for i in the_record(tmp_path / "run").interruptions]
    assert causes[-1] == "SIGTERM"


def test_launchers_that_start_a_run_again_have_it_go_on(tmp_path):
    flags = [*SMALL_FLAGS, *LONG, "--max-steps", "1200", "--eval-every-steps", "400"]
    flags += ["--checkpoint-every-steps", "50", "--output-dir", str(tmp_path / "runs")]
    command = torchrun_command("mnistbench.train", flags, num_processes=2)
    command.insert(command.index("-m", 2), "--max-restarts=1")
    with Process(*command, environment=cpu_environment(), folder=tmp_path) as launcher:
        wait_until(lambda: len(list((tmp_path / "runs").glob("*/checkpoints/*-step-*"))) >= 2)
        victim = psutil.Process(launcher.child.pid).children()[-1]
        victim.kill()
        ended = launcher.end()
    assert ended.returncode == 0, ended.stderr
    record = the_record(tmp_path / "runs")
    assert record.status == "completed"
    assert record.num_steps == 1200
    assert record.environment["restarts"] == 1
    assert [(i.cause, i.num_processes) for i in record.interruptions] == [(None, 2)]
    assert record.interruptions[0].step >= 50


def test_a_signal_to_the_whole_group_is_the_runs_own_and_not_its_workers(tmp_path):
    flags = (*LONG, "--loader", "streaming", "--num-workers", "2")
    command = [sys.executable, "-m", "mnistbench.train", *SMALL_FLAGS, *flags]
    said = tmp_path / "said"
    with said.open("w") as stderr:
        child = subprocess.Popen(
            [*command, "--output-dir", str(tmp_path / "runs")],
            env=cpu_environment(),
            stderr=stderr,
            start_new_session=True,
        )
    try:
        wait_until(lambda: "mnistbench: training" in said.read_text())
        time.sleep(1)
        os.killpg(child.pid, signal.SIGTERM)
        assert child.wait(7) == 143
    finally:
        child.kill()
    last = said.read_text().splitlines()[-1]
    assert last.startswith("mnistbench: terminated after step ")
    assert last.endswith("; --resume latest goes on")
    assert the_record(tmp_path / "runs").checkpoints.saved == 1


def test_a_second_signal_ends_it_at_once(tmp_path):
    slow = ("--model", "cnn4", "--global-batch-size", "5000", "--num-epochs", "900")
    flags = ("--synthetic-train-size", "5100", *slow)
    with training(*flags, variables={}, folder=tmp_path) as process:
        wait_until(trains(process))
        process.child.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.child.send_signal(signal.SIGINT)
        ended = process.end(10)
    assert ended.returncode == 130
    assert ended.said[-1] == "mnistbench: interrupted"
    record = the_record(tmp_path / "runs")
    assert record.status == "interrupted"
    assert record.checkpoints.saved == 0


def test_who_waits_for_a_stopped_process_still_obeys_in_time(tmp_path):
    port = free_port()
    with ExitStack() as stack:
        main, other = (
            stack.enter_context(
                training(*LONG, variables=rendezvous(r, port=port), folder=tmp_path)
            )
            for r in range(2)
        )
        wait_until(trains(main))
        time.sleep(0.5)
        other.child.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        main.child.send_signal(signal.SIGTERM)
        ended = main.end(10)
    assert ended.returncode == 143
    record = the_record(tmp_path / "runs")
    assert record.status == "interrupted"
    assert record.error == "ended at once by signal 15: its step did not end in time"


def limited(limit, size):
    """What gives a child `size` bytes and no more, as a quota or a small machine does."""
    return lambda: resource.setrlimit(limit, (size, size))


def train_limited(*flags, limit, size, folder):
    return subprocess.run(
        [sys.executable, "-m", "mnistbench.train", *SMALL_FLAGS, *flags],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        cwd=folder,
        preexec_fn=limited(limit, size),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# a file of losses and durations grows by 12 bytes a step, past 40 kB after some 2,900
GROWING = ("--max-steps", "5000", "--eval-every-steps", "2500", "--checkpoint-every-steps", "1000")


@pytest.mark.parametrize("choice", ["stop", "continue"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, choice):
    done = train_limited(
        *(*LONG, *GROWING, "--on-checkpoint-error", choice),
        limit=resource.RLIMIT_FSIZE,
        size=40_000,
        folder=tmp_path,
    )
    said = [line for line in done.stderr.splitlines() if "not saved" in line]
    (folder,) = (tmp_path / "runs").iterdir()
    saved, skipped = load_newest(folder)
    assert saved.state.step == 2000
    assert list(skipped) == []
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert "Traceback" not in done.stderr
    assert f"the last good one is runs/{folder.name}/checkpoints/0002-step-00002000" in said[0]
    record = the_record(tmp_path)
    if choice == "stop":
        assert done.returncode == 1
        assert len(said) == 1
        assert said[0].startswith("mnistbench: error: checkpoint of step 3000 not saved: ")
        assert "File too large" in said[0]
        assert (record.status, record.num_steps) == ("failed", 3000)
    else:
        assert done.returncode == 0
        assert (record.status, record.num_steps) == ("completed", 5000)
        assert record.checkpoints.failed == len(said) == 4  # 3,000, 4,000, 5,000 and the end


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    flags = (*LONG, "--checkpoint-every-steps", "50")
    with training(*flags, variables={}, folder=tmp_path) as process:
        wait_until(lambda: list((tmp_path / "runs").glob("*/checkpoints/0*")))
        (folder,) = (tmp_path / "runs").iterdir()
        folder.rename(tmp_path / "gone")
        wait_until(lambda: checkpoints_of(folder))
        process.child.send_signal(signal.SIGTERM)
        assert process.end().returncode == 143
    assert load_newest(folder)[0] is not None
    assert the_record(tmp_path / "runs").status == "interrupted"


def test_a_folder_that_becomes_a_file_ends_the_run_in_one_line(tmp_path):
    flags = (*LONG, "--checkpoint-every-steps", "50", "--loader", "streaming", "--num-workers", "1")
    with training(*flags, variables={}, folder=tmp_path) as process:
        wait_until(lambda: list((tmp_path / "runs").glob("*/checkpoints/0*")))
        (folder,) = (tmp_path / "runs").iterdir()
        (folder / "checkpoints").rename(tmp_path / "kept")
        (folder / "checkpoints").write_text("")
        ended = process.end()
    assert ended.returncode == 1
    assert len(ended.errors) == 1
    assert "Not a directory" in ended.errors[0]
    assert the_record(tmp_path / "runs").status == "failed"
    assert all(Path(path).is_dir() for path in (tmp_path / "kept").iterdir())


@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_too_little_memory_names_a_batch_to_try(tmp_path, loop):
    flags = ("--synthetic-train-size", "40100", "--global-batch-size", "40000", "--loop", loop)
    done = train_limited(
        *flags, *("--model", "cnn4"), limit=resource.RLIMIT_AS, size=4 * 10**9, folder=tmp_path
    )
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if "mnistbench: error" in line]
    assert "--global-batch-size: a step of 40000 samples does not fit in memory; try --grad" in said
    assert said.endswith(" or --global-batch-size 20000")
    assert not (tmp_path / "runs").exists()
