"""Two processes of which one cannot compile: both go on in the mode that both can, or both end."""

import os
import shutil
import sys
from contextlib import ExitStack

import pytest

from mnistbench.schema.store import find_records, load_record
from tests.engine.failing_compile import FAULT, PROCESS, SAYS
from tests.processes import SMALL_FLAGS, Process, free_port, rendezvous

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]
FLAGS = ["--model", "linear", "--process-timeout-s", "60"]
COMPILES = {
    "asked": ["--compile"],
    "asked-of-stock": ["--loop", "stock", "--compile"],
}


@pytest.fixture
def end_of_both(tmp_path):
    """Runs two processes without a launcher, which would hide how each of them ends."""

    def run(*flags, fails_in, fault):
        port = free_port()
        told = {"ACCELERATE_USE_CPU": "true", PROCESS: str(fails_in), FAULT: fault}
        command = [sys.executable, "-m", "tests.engine.failing_compile", *SMALL_FLAGS, *FLAGS]
        command += [*flags, "--output-dir", str(tmp_path / "runs")]
        with ExitStack() as stack:
            processes = [
                stack.enter_context(
                    Process(
                        *command,
                        environment=os.environ | told | rendezvous(rank, port=port),
                        folder=tmp_path,
                    )
                )
                for rank in range(2)
            ]
            return [process.end(150) for process in processes]

    return run


@pytest.mark.parametrize(
    ("asked", "fails_in", "fault"),
    [
        ("asked", 0, "call"),
        ("asked-of-stock", 1, "backend"),
    ],
)
def test_where_one_cannot_compile_though_asked_to_both_end(
    end_of_both, tmp_path, asked, fails_in, fault
):
    ends = end_of_both(*COMPILES[asked], fails_in=fails_in, fault=fault)
    assert [ended.returncode for ended in ends] == [2, 2], [ended.stderr for ended in ends]
    lines = [line for ended in ends for line in ended.errors]
    assert len(lines) == 1, lines
    (line,) = lines
    assert line.startswith("mnistbench: error: --compile: ")
    assert SAYS in line
    said = "\n".join(ended.stderr for ended in ends)
    assert "Traceback" not in said
    assert "gloo" not in said.lower()
    assert "timed out" not in said.lower()
    assert list((tmp_path / "runs").glob("*")) == []


def test_who_is_lost_while_the_others_compile_is_no_fault_of_a_compiler(end_of_both, tmp_path):
    main, lost = end_of_both(*COMPILES["asked"], fails_in=1, fault="exit")
    assert lost.returncode == 9
    assert main.returncode == 1, main.stderr
    (line,) = main.errors
    assert "process 0 of 2: another process of the run has gone" in line
    assert not [line for line in main.said if "compile" in line]
    assert "Traceback" not in main.stderr
    (path,) = find_records([tmp_path / "runs"])
    record = load_record(path)
    assert record.status == "failed"
    assert record.error.startswith("ProcessLostError: process 0 of 2")
    assert "compile" not in record.error + str(record.environment["loop_floor_reason"])
