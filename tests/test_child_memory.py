"""Memory of a run, seen from outside: what the loaders hold, and what a failure says."""

import pytest

from bench.child_memory import peak_memory

pytestmark = pytest.mark.processes


def test_the_mapped_loader_does_not_hold_the_images(small_config, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "runs").mkdir()
    size = 100_000
    resident, mapped = (
        peak_memory(
            small_config(
                synthetic_train_size=size,
                loader=loader,
                model="linear",
                max_steps=2,
                compile=False,
                reuse_memory=False,
            )
        )
        for loader in ("resident", "mapped")
    )
    # half of what the images take: the rest of a process differs by some MB from run to run
    assert resident.own_bytes - mapped.own_bytes > size * 784 / 2
    assert mapped.resident_bytes > mapped.own_bytes > 50e6


def test_a_run_that_fails_says_why(small_config, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match=r"^mnistbench: error: \S+: cannot be written .*$"):
        peak_memory(small_config(loader="mapped", model="linear", compile=False))
