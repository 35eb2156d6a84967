"""Standard streams that are closed, full, narrow or unread: no result is lost, no run ends."""

import io
import logging
import os
import subprocess
import sys
import textwrap

import pytest

from mnistbench import train
from mnistbench.schema import streams
from mnistbench.schema.streams import (
    PASSING,
    LineFormatter,
    LineHandler,
    mend_streams,
    progress,
    say,
    show,
)
from tests import warm_commands

FULL = "mnistbench: error: stdout cannot be written (No space left on device)\n"
PRINTS = "from mnistbench.schema.streams import *; mend_streams(); show('±' * 2**17)"
COMMANDS = {
    "version": ["-m", "mnistbench", "--version"],
    "help": ["-m", "mnistbench", "report", "--help"],
    "usage": ["-m", "mnistbench", "nope"],
    "prints": ["-c", PRINTS],
}
OURS = os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.pathsep.join(sys.path)}
CLOSING = """
    import os, subprocess, sys
    from mnistbench.schema.streams import mend_streams
    mend_streams()
    with open("data", "w") as file:
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr)
        assert sys.stdin.read() == ""
        subprocess.run(["sh", "-c", "echo a child; echo says >&2; cat"], check=True)
        file.write("data" if file.fileno() > 2 else "in the place of a stream")
"""
LOSING = """
    import logging, os, sys, time
    from tqdm import tqdm
    from mnistbench.schema.streams import mend_streams, say
    mend_streams()
    bar = tqdm(total=2, mininterval=0)
    for _ in range(2):
        bar.update(1)
        say("a line")
        logging.warning("a warning")
    bar.close()
    print("done")
"""


def shell(redirected, words, folder, **streams):
    """What a command leaves with streams as a shell has `redirected` them."""
    with warm_commands.cold():
        return subprocess.run(
            ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, *words],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
            cwd=folder, env=OURS, text=True, check=False, timeout=60,
        )  # fmt: skip


@pytest.mark.processes
@pytest.mark.parametrize(
    ("redirected", "name", "status", "err"),
    [
        (">/dev/full", "version", 1, FULL),
        (">/dev/full", "help", 1, FULL),
        (">/dev/full", "prints", 1, FULL),
        (">/dev/full 2>&1", "prints", 1, ""),
        (">&-", "prints", 0, ""),
        (">&- 2>&- <&-", "help", 0, ""),
        ("2>&-", "usage", 2, ""),
        ("2>/dev/full", "usage", 2, ""),
    ],
)
def test_a_command_says_what_it_can_and_ends_as_it_should(redirected, name, status, err, tmp_path):
    done = shell(redirected, COMMANDS[name], tmp_path)
    assert (done.returncode, done.stderr) == (status, err)


@pytest.mark.processes
def test_a_file_is_never_opened_in_the_place_of_a_closed_stream(tmp_path):
    done = shell(">&- 2>&- <&-", ["-c", textwrap.dedent(CLOSING)], tmp_path)
    assert (done.returncode, (tmp_path / "data").read_text()) == (0, "data")


@pytest.mark.processes
@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", ""])
def test_nothing_ends_where_nobody_reads_what_is_said(redirected, tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = shell(redirected, ["-u", "-c", textwrap.dedent(LOSING)], tmp_path, stderr=write)
    os.close(write)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.processes
def test_a_stream_that_another_program_made_non_blocking_gets_all_of_a_result(tmp_path):
    read, write = os.pipe()
    os.set_blocking(write, False)
    words = [sys.executable, *COMMANDS["prints"]]
    with warm_commands.cold():
        writing = subprocess.Popen(words, stdout=write, stderr=subprocess.PIPE, env=OURS)
    os.close(write)
    with writing, os.fdopen(read, "rb") as reading:
        assert len(reading.read()) == len("±".encode()) * 2**17 + 1
        assert (writing.wait(), writing.stderr.read()) == (0, b"")


@pytest.fixture
def narrow(monkeypatch):
    """Gives the streams of a process whose encoding has few letters, and what is on them."""

    def make(encoding):
        streams = {
            name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")
        }
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)

        def seen(name):
            streams[name].flush()
            return streams[name].buffer.getvalue().decode(encoding)

        return seen

    return make


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("ascii", "1 +- 2 (3-4) <= inf, caf\\xe9 \\u732b\\ud800\n"),
        ("latin-1", "1 ± 2 (3-4) <= inf, café \\u732b\\ud800\n"),
        ("utf-8", "1 ± 2 (3–4) ≤ ∞, café 猫\\ud800\n"),
    ],
)
def test_letters_that_a_stream_lacks_are_spelled(encoding, told, narrow):
    seen = narrow(encoding)
    mend_streams()
    show("1 ± 2 (3–4) ≤ ∞, café 猫\ud800")
    say("a name: \x1b[31m\n猫")
    assert seen("stdout") == told
    cat = "猫" if encoding == "utf-8" else "\\u732b"
    assert seen("stderr") == f"mnistbench: a name: \\x1b[31m\\n{cat}\n"


def test_a_run_ends_well_where_its_table_cannot_be_spelled(narrow, tmp_path, small_config):
    """`small_config` is asked for because it makes runs short."""
    seen = narrow("ascii")
    sizes = ["--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"]
    flags = [*sizes, "--model", "linear", "--max-steps", "2", "--num-threads", "1"]
    assert train.main([*flags, "--output-dir", str(tmp_path / "gr\x1b[31m\u00f6n")]) == 0
    assert "cpu x 1 x 1 threads" in " ".join(seen("stdout").split())
    assert "\x1b" not in seen("stdout") + seen("stderr")
    assert "gr [31m\\xf6n" in seen("stdout")


def test_streams_that_are_no_files_are_left_alone(monkeypatch):
    class Tee:
        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    out, err = io.StringIO(), Tee()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    mend_streams()
    show("±")
    say("±")
    assert (sys.stdout, out.getvalue(), err.text) == (out, "±\n", "mnistbench: ±\n")


def test_log_lines_obey_nothing():
    record = logging.makeLogRecord({"msg": "in %s", "args": ("a\nmnistbench: b\x1b[2J\u202e",)})
    try:
        raise ValueError("\x1b[31m")
    except ValueError:
        record.exc_info = sys.exc_info()
    first, *below = LineFormatter("mnistbench: %(message)s").format(record).split("\n")
    assert first == "mnistbench: in a\\nmnistbench: b\\x1b[2J\\u202e"
    assert below[0].startswith("Traceback")
    assert all(line.isprintable() for line in below)


@pytest.fixture(params=["terminal", "dumb terminal", "no terminal", "in no time"])
def progress_told(request, monkeypatch, capsys):
    """What stderr gets of progress, a line, and progress that a log record tells."""
    monkeypatch.setenv("TERM", "dumb" if request.param == "dumb terminal" else "xterm")
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: request.param == "terminal")
    fast = request.param == "in no time"
    monkeypatch.setattr(streams, "Timer", lambda _, write, text: Lasted(write, *text, fast=fast))
    progress("importing PyTorch")
    progress("a pair", only_terminal=True)
    say("done\x1b[31m")
    handler = LineHandler()
    for told, extra in (("reading", PASSING), ("training", {})):
        handler.handle(logging.makeLogRecord({"msg": told, **extra}))
    progress("the last")
    show("a result")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    return request.param, err


class Lasted:
    """A timer of something that lasts as long as it takes, or ends before it was told."""

    def __init__(self, write, text, *, fast):
        self.start = lambda: None if fast else write(text)

    def cancel(self):
        pass


def test_progress_is_overwritten_on_a_terminal_and_a_line_elsewhere_if_it_lasts(progress_told):
    where, err = progress_told
    if where == "terminal":
        gone = "\r\x1b[K"
        assert err == (
            f"mnistbench: importing P{gone}mnistbench: a pair{gone}mnistbench: done\\x1b[31m\n"
            f"mnistbench: reading{gone}mnistbench: training\nmnistbench: the last{gone}"
        )
    else:
        told = ["importing PyTorch", "done\\x1b[31m", "reading", "training", "the last"]
        told = told[1:4:2] if where == "in no time" else told
        assert err.splitlines() == [f"mnistbench: {line}" for line in told]


def test_progress_is_told_by_a_real_timer_too(monkeypatch, capsys):
    monkeypatch.setattr(streams, "_PATIENCE_S", 0.0)
    progress("reading")
    err = ""
    while not err:
        err = capsys.readouterr().err
    assert err == "mnistbench: reading\n"


def test_what_is_done_ends_nothing_where_no_thread_can_be_started(monkeypatch, capsys):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(streams.Timer, "start", refuse)
    progress("reading records")
    say("done")
    assert capsys.readouterr().err == "mnistbench: done\n"
