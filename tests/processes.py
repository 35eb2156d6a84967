"""Processes of one run as a cluster's own tools would start them, without a launcher."""

import os
import random
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SMALL_FLAGS = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--num-epochs", "1", "--num-threads", "1"),
)


def free_port():
    """A TCP port that nothing uses, and that no other test on this machine is given meanwhile.

    It lies below those that the system hands out to whoever calls somebody.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 29_000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0mnistbench-tests-port-{port}")  # a name, which goes with this process
            with socket.create_server(("", port)):
                claim.detach()
                return port
        except OSError:
            claim.close()


def rendezvous(rank, *, port, num_processes=2, address="127.0.0.1"):
    """Variables for process `rank`, each on a machine of its own as far as it knows."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


@dataclass
class Ended:
    """How a process ended, and what it said: everything, and its own lines."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def said(self):
        return [line for line in self.stderr.splitlines() if line.startswith("mnistbench: ")]

    @property
    def errors(self):
        return [line for line in self.said if line.startswith("mnistbench: error: ")]


class Process:
    """One command under way, ended with the test whatever happens."""

    def __init__(self, *command, environment, folder):
        self.stderr_file = Path(folder) / f"stderr-{id(self)}"
        with self.stderr_file.open("w") as stderr:
            self.child = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()

    def end(self, timeout_s=60):
        """Wait for its end; `subprocess.TimeoutExpired` if it does not come."""
        stdout, _ = self.child.communicate(timeout=timeout_s)
        return Ended(self.child.returncode, stdout, self.stderr_file.read_text())


def training(*flags, variables, folder):
    """``python -m mnistbench.train`` on the CPU with `flags`; its runs go to ``folder/runs``."""
    return Process(
        *(sys.executable, "-m", "mnistbench.train", *SMALL_FLAGS, *flags),
        *("--output-dir", str(Path(folder) / "runs")),
        environment=os.environ | {"ACCELERATE_USE_CPU": "true"} | variables,
        folder=folder,
    )
