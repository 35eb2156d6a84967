"""How threads wait for each other is on record where the user says it."""

import pytest

from mnistbench.recorder.environment import describe_machine


@pytest.mark.parametrize(
    ("set_by_user", "told"),
    [
        ({}, None),
        ({"OMP_WAIT_POLICY": ""}, None),
        ({"OMP_WAIT_POLICY": "passive"}, "OMP_WAIT_POLICY=passive"),
        ({"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT=7"),
    ],
)
def test_a_record_says_how_the_user_has_threads_wait(monkeypatch, set_by_user, told):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, set_by_user.get(name, ""))
    assert describe_machine(None)["threads_wait"] == told
