"""The smallest limit that holds, whichever of the kernel's ways it is set by."""

import os
import resource

import psutil
import pytest

from mnistbench.recorder import limits
from mnistbench.recorder.limits import check_torch_fits, memory_bytes, usable_cores
from mnistbench.schema.errors import InputError

GROUPS, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"
SELF, MOUNTS = "proc/self/cgroup", "proc/self/mountinfo"
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"
MOUNT = "31 23 0:28 {} /{} rw,relatime - {} none rw,{}\n"
UNLIMITED = "9223372036854771712\n"


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    machine = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine._replace(total=2**40))


def made(root, files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


CORES = [
    ("nothing", {}, 64),
    ("v2 here", {f"{GROUPS}/cpu.max": "150000 100000\n"}, 2),
    ("v2 none", {f"{GROUPS}/cpu.max": "max 100000\n"}, 64),
    ("v2 below", {SELF: "0::/a/b\n", f"{GROUPS}/a/b/cpu.max": "300000 100000"}, 3),
    (
        "v2 between",
        {
            SELF: "0::/a/b/c\n",
            f"{GROUPS}/a/cpu.max": "200000 100000",
            f"{GROUPS}/a/b/cpu.max": "max 100000",
            f"{GROUPS}/a/b/c/cpu.max": "500000 100000",
        },
        2,
    ),
    ("v2 of others", {SELF: "0::/a\n", f"{GROUPS}/b/cpu.max": "100000 100000"}, 64),
    ("v1 here", {f"{V1}/{QUOTA}": "50000\n", f"{V1}/{PERIOD}": "100000\n"}, 1),
    ("v1 none", {f"{V1}/{QUOTA}": "-1\n", f"{V1}/{PERIOD}": "100000\n"}, 64),
    (
        "v1 below",
        {SELF: "3:cpuset:/\n2:cpu,cpuacct:/d/e\n0::/\n"}
        | {f"{V1}/d/e/{QUOTA}": "400000", f"{V1}/d/e/{PERIOD}": "100000"}
        | {f"{V1}/d/{QUOTA}": "70000", f"{V1}/d/{PERIOD}": "10000"},
        4,
    ),
    (
        "v1 as root, named as outside",
        {
            SELF: "2:cpu:/docker/abc/own\n",
            MOUNTS: MOUNT.format("/docker/abc", "groups/cpu,acct", "cgroup", "cpu,cpuacct"),
            f"groups/cpu,acct/own/{QUOTA}": "600000",
            f"groups/cpu,acct/own/{PERIOD}": "100000",
        },
        6,
    ),
    (
        "v2 elsewhere",
        {
            SELF: "0::/x\n",
            MOUNTS: MOUNT.format("/", "odd/place", "cgroup2", "nsdelegate"),
            "odd/place/x/cpu.max": "1000000 500000",
        },
        2,
    ),
    ("a hundredth of a core", {f"{GROUPS}/cpu.max": "1000 100000"}, 1),
    ("more than there is", {f"{GROUPS}/cpu.max": "9000000 100000"}, 64),
]
MALFORMED = [
    "",
    "\n",
    "fast",
    "² 1",
    "1 000",
    "100000 0",
    "1 2 3",
    "-5 -5",
    b"\xff\xfe 1",
    "9" * 50,
]


@pytest.mark.parametrize(("files", "cores"), [c[1:] for c in CORES], ids=[c[0] for c in CORES])
def test_cores_are_the_least_that_any_group_allows(files, cores, tmp_path):
    assert usable_cores(made(tmp_path, files)) == cores


def test_affinity_may_be_less_still(tmp_path, monkeypatch):
    root = made(tmp_path, {f"{GROUPS}/cpu.max": "800000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    assert usable_cores(root) == 2


@pytest.mark.parametrize("text", MALFORMED)
@pytest.mark.parametrize("name", [f"{GROUPS}/cpu.max", f"{V1}/{QUOTA}", SELF, MOUNTS])
def test_what_makes_no_sense_is_no_limit(name, text, tmp_path):
    root = made(tmp_path, {f"{V1}/{PERIOD}": "100000", name: text})
    assert usable_cores(root) == 64
    assert memory_bytes(made(root, {f"{GROUPS}/memory.max": text})) == 2**40


def test_a_folder_for_a_file_is_no_limit(tmp_path):
    (tmp_path / GROUPS / "cpu.max").mkdir(parents=True)
    (tmp_path / SELF).mkdir(parents=True)
    assert usable_cores(tmp_path) == 64


MEMORY = [
    ({}, 2**40),
    ({f"{GROUPS}/memory.max": "max\n"}, 2**40),
    ({SELF: "0::/a/b\n", f"{GROUPS}/a/memory.max": f"{2**31}\n"}, 2**31),
    ({f"{GROUPS}/memory/memory.limit_in_bytes": UNLIMITED}, 2**40),
    ({SELF: "4:memory:/p/q\n", f"{GROUPS}/memory/p/q/memory.limit_in_bytes": "4096\n"}, 4096),
]


@pytest.mark.parametrize(("files", "size"), MEMORY)
def test_memory_is_the_least_that_any_group_allows(files, size, tmp_path):
    assert memory_bytes(made(tmp_path, files)) == size


@pytest.mark.parametrize(
    ("limit", "status", "said", "fits"),
    [
        (resource.RLIM_INFINITY, 1, "MemoryError", True),
        (2**31, 1, "ImportError: libtorch.so: failed to map segment from shared object", False),
        (2**31, -6, "terminate called after throwing an instance of 'std::bad_alloc'", False),
        (2**31, 1, "ModuleNotFoundError: No module named 'torch'", True),
        (2**31, 0, "a remark on memory: Cannot allocate memory", True),
        (2**31, None, "", False),
    ],
)
def test_too_little_memory_for_torch_is_found_before_it_is_imported(
    limit, status, said, fits, monkeypatch
):
    def run(*_, **__):
        if status is None:
            raise OSError(12, "Cannot allocate memory")
        return limits.subprocess.CompletedProcess([], status, "", said)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(limits.subprocess, "run", run)
    if fits:
        check_torch_fits()
        return
    with pytest.raises(InputError, match=r"not enough memory to import torch: .* 2\.0 GiB"):
        check_torch_fits()
