"""How threads wait is settled before torch is imported, and never against the user."""

import sys
from types import SimpleNamespace

import pytest

from mnistbench.recorder.environment import describe_machine, set_waiting


@pytest.mark.parametrize(
    ("set_by_user", "imported", "told"),
    [
        ({}, False, "GOMP_SPINCOUNT=10000"),
        ({"OMP_WAIT_POLICY": ""}, False, "GOMP_SPINCOUNT=10000"),
        ({}, True, None),
        ({"OMP_WAIT_POLICY": "passive"}, False, "OMP_WAIT_POLICY=passive"),
        ({"GOMP_SPINCOUNT": "7"}, True, "GOMP_SPINCOUNT=7"),
    ],
)
def test_threads_wait_as_the_user_says_else_for_a_short_while(
    monkeypatch, set_by_user, imported, told
):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, set_by_user.get(name, ""))
    if imported:
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 1))
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    set_waiting()
    assert describe_machine(None)["threads_wait"] == told
