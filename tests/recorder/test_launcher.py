"""Who started a process and whom it has to meet, by what is in its variables."""

import logging
import os
import reprlib

import psutil
import pytest

from mnistbench.recorder import launcher
from mnistbench.recorder.launcher import asked_threads, forget_empty, stand_alone, this_launch

AGENT = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "ROLE_RANK": "1",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
    "OMP_NUM_THREADS": "1",
}
ACCELERATE = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
    "ACCELERATE_USE_CPU": "False",
}
BY_HAND = {name: AGENT[name] for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}


def test_all_of_a_launchers_variables_are_read():
    launch = this_launch(AGENT)
    assert (launch.started_by, launch.wrong, launch.restarts) == ("torchrun", None, 2)
    assert (launch.world_size, launch.rank) == (4, 3)
    assert (launch.local_world_size, launch.local_rank) == (2, 1)
    assert (launch.num_machines, launch.machine_rank) == (2, 1)
    assert launch.master == ("node0", 29500)


@pytest.mark.parametrize(
    ("told", "started_by"),
    [
        ({}, "python"),
        (AGENT, "torchrun"),
        (ACCELERATE, "accelerate"),
        (AGENT | ACCELERATE, "accelerate"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "python"),
        ({"ACCELERATE_USE_CPU": "true", "ACCELERATE_DYNAMO_BACKEND": "NO"}, "python"),
        ({"TORCHELASTIC_RUN_ID": "none"}, "python"),
        (BY_HAND | {"WORLD_SIZE": "4"}, "python"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "OMPI_COMM_WORLD_SIZE": "2"}, "python"),
    ],
)
def test_a_launcher_is_told_by_what_only_it_sets(told, started_by):
    assert this_launch(told).started_by == started_by


@pytest.mark.parametrize("size", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}])
@pytest.mark.parametrize("rank", ["3", "²", "", "-1"])
def test_a_process_alone_is_the_first_of_one_whatever_is_left_over(size, rank):
    left = {**BY_HAND, **dict.fromkeys(("RANK", "LOCAL_RANK", "GROUP_RANK", "MASTER_PORT"), rank)}
    launch = this_launch({**left, "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "9", **size})
    assert (launch.wrong, launch.world_size, launch.rank, launch.local_rank) == (None, 1, 0, 0)
    assert (launch.local_world_size, launch.num_machines, launch.machine_rank) == (1, 1, 0)


def test_the_count_of_restarts_is_a_launchers():
    assert this_launch({"TORCHELASTIC_RESTART_COUNT": "1"}).restarts == 0


@pytest.mark.parametrize(
    ("size", "machines"),
    [
        ({"LOCAL_WORLD_SIZE": "4"}, 1),
        ({"SLURM_STEP_NUM_NODES": "4"}, 4),
        ({"LOCAL_WORLD_SIZE": "2"}, None),
    ],
)
def test_machines_are_known_where_somebody_says(size, machines):
    assert this_launch(BY_HAND | {"WORLD_SIZE": "4"} | size).num_machines == machines


@pytest.mark.parametrize("bad", ["²", "\uff11", "+1", " 1", "1_0", "1" + "0" * 30, "one"])
@pytest.mark.parametrize(
    "name",
    [
        *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_PORT"),
        *("GROUP_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "OMP_NUM_THREADS"),
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    ],
)
def test_what_is_no_number_is_named_and_counts_as_not_set(name, bad):
    launch = this_launch(AGENT | {name: bad})
    assert launch.wrong.startswith(f"{name}: should be a whole number, ")
    assert launch.wrong.endswith(f"(got {reprlib.repr(bad)})")


def test_what_is_neither_true_nor_false_is_named():
    told = {"ACCELERATE_USE_CPU": "Truth"}
    said = "ACCELERATE_USE_CPU: should be true or false (got 'Truth')"
    assert (this_launch(told).wrong, this_launch(told).use_cpu) == (said, False)
    assert this_launch({"ACCELERATE_USE_CPU": ""}).wrong is None


def test_what_is_set_to_nothing_is_forgotten(monkeypatch):
    empty = ("OMP_NUM_THREADS", "ACCELERATE_USE_CPU", "PMI_SIZE", "LOCAL_RANK")
    for name in (*empty, "MY_OWN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    forget_empty()
    assert not os.environ.keys() & set(empty)
    assert os.environ.keys() >= {"MY_OWN", "ACCELERATE_MIXED_PRECISION"}


@pytest.mark.parametrize(
    ("own", "launchers", "threads"),
    [
        ({"OMP_NUM_THREADS": "3"}, "", 3),
        (AGENT, "", None),
        (AGENT, "OMP_NUM_THREADS=1", 1),
        (AGENT, "MY_OMP_NUM_THREADS=1", None),
        (AGENT | {"OMP_NUM_THREADS": "7"}, "", 7),
        (ACCELERATE | {"OMP_NUM_THREADS": "8"}, "", None),
        (ACCELERATE | {"OMP_NUM_THREADS": "8"}, "OMP_NUM_THREADS=8", 8),
        (ACCELERATE | {"OMP_NUM_THREADS": "5"}, None, 5),
        (AGENT, None, None),
        ({}, None, None),
    ],
)
def test_threads_are_those_that_the_user_asked_for(own, launchers, threads, monkeypatch, tmp_path):
    """`launchers` is what the launcher was started with; None if the system does not tell."""
    monkeypatch.setattr(os, "environ", own)
    monkeypatch.setattr(launcher, "this_launch", lambda: this_launch(own))
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    told = tmp_path / "environ"
    if launchers is not None:
        told.write_bytes(b"\0".join([b"A=b", launchers.encode(), b"C=d", b""]))
    monkeypatch.setattr(launcher, "Path", lambda _: told)
    assert asked_threads() == threads


@pytest.mark.parametrize("size", ["1", "2"])
def test_who_stands_alone_forgets_the_others_and_says_so_of_mpi(size, monkeypatch, caplog):
    left = {"PMI_SIZE": size, "OMPI_COMM_WORLD_LOCAL_RANK": "1", "MV2_COMM_WORLD_RANK": "1"}
    others = {*left, *BY_HAND, "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
    for name, value in (BY_HAND | left | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}).items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        stand_alone(in_group=False)
    assert not others & os.environ.keys()
    assert bool(caplog.messages) == (size != "1")
    stand_alone(in_group=True)
    assert this_launch().world_size == 1
    assert os.environ["LOCAL_RANK"] == "0"
