"""Two commands that go on with one invocation: the second is told so, and trains nothing."""

import pytest

from mnistbench.engine.locks import invocation_lock
from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError

AGAIN = {"resume": "latest", "process_timeout_s": 0.2}
ANEW = {"checkpoint_every_steps": 2}


def is_refused(config):
    try:
        with invocation_lock(config):
            return False
    except InputError:
        return True


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        (AGAIN, AGAIN, True),
        (ANEW, AGAIN, True),
        (ANEW | {"resume": "latest"}, AGAIN | {"resume": "runs/run"}, True),
        (AGAIN, ANEW, False),
        (ANEW, ANEW, False),
        ({}, AGAIN, False),
        (AGAIN, AGAIN | {"num_seeds": 2}, False),
        (AGAIN, AGAIN | {"output_dir": "elsewhere"}, False),
    ],
)
def test_who_goes_on_is_alone_and_who_begins_anew_is_not(
    small_config, tmp_path, monkeypatch, first, second, refused
):
    monkeypatch.chdir(tmp_path)
    with invocation_lock(small_config(**first)):
        assert is_refused(small_config(**second)) is refused
    assert not is_refused(small_config(**second))


def test_a_link_in_the_place_of_the_lock_makes_no_file_elsewhere(
    small_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = small_config(**AGAIN)
    with invocation_lock(config):
        (lock,) = (tmp_path / "cache" / "mnistbench" / "locks").iterdir()
    lock.unlink()
    lock.symlink_to(tmp_path / "made")
    with invocation_lock(config):
        assert not (tmp_path / "made").exists()


def test_the_second_command_trains_nothing(small_config, tmp_path):
    config = small_config(model="linear", **AGAIN | {"num_seeds": 2})
    with invocation_lock(config), pytest.raises(InputError, match="wait for its end"):
        train(config)
    assert not (tmp_path / "runs").exists()
    assert [record.status for record in train(config)] == ["completed"] * 2
