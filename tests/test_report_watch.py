"""``report --watch`` beside a real sweep, in a real terminal, and where nothing runs."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from mnistbench import report as door
from mnistbench.schema.store import save_record
from tests.made_records import make_record

SWEEP = [
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--model", "linear", "--max-steps", "2", "--num-threads", "1", "--seed", "0,1"),
]


@pytest.mark.processes
def test_a_sweep_is_followed_to_its_end(tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    command = [sys.executable, "-m", "mnistbench.sweep", *SWEEP, "--output-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sweep:
        while not (folder / ".running").exists():
            assert sweep.poll() is None, sweep.stderr.read()
        watched = subprocess.run(
            [sys.executable, "-m", "mnistbench.report", "--watch", str(folder), "--every-s", "0.1"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (watched.returncode, watched.stderr) == (0, "")
    lines = watched.stdout.splitlines()
    assert lines[0] == "0 of 2 cells done, 1 running, 1 left"
    assert any(line.startswith("1 of 2 cells done") for line in lines)
    assert "2 of 2 cells done" in lines
    assert "linear" in watched.stdout


@pytest.mark.processes
def test_ctrl_c_ends_the_view_and_gives_the_terminal_back(tmp_path):
    save_record(make_record(), tmp_path / "a")
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "mnistbench.report", "--watch", str(tmp_path)]
    watched = subprocess.Popen(
        command, stdout=terminal, stderr=terminal, stdin=terminal, start_new_session=True,
        env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while b"simple-cnn" not in seen:
        seen += os.read(main, 10_000)
    watched.send_signal(signal.SIGINT)
    assert watched.wait(20) == 130
    while True:
        try:
            seen += os.read(main, 10_000)
        except OSError:  # the other end is closed
            break
    os.close(main)
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"Traceback" not in seen


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--watch", "missing"], "missing: is no folder"),
        (["--watch", ".", "--rules"], "watch: is a view of its own; leave out all but --every-s"),
        (["runs", "--watch", "."], "watch: is a view of its own"),
        (["--every-s", "2"], "every_s: has no effect without --watch"),
        (["--watch", ".", "--every-s", "0"], "every_s: 0 should be from 0.1 to 3600 seconds"),
    ],
)
def test_what_cannot_be_watched_is_one_line(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_folder_of_runs_is_shown_once_without_a_terminal(tmp_path, capsys):
    save_record(make_record(), tmp_path / "a")
    assert door.main(["--watch", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("1 run\nsettings: dataset mnist")


@pytest.mark.processes
def test_a_reader_who_has_seen_enough_is_no_error(tmp_path):
    save_record(make_record(), tmp_path / "a")
    code = "import sys; from mnistbench.report import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--watch", str(tmp_path)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
