import json

import pytest
import torch

from mnistbench.recorder import peak_rates as room
from mnistbench.recorder.peak_rates import peak_rates

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_and_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(room, "_SIDES", {"cpu": 64})
    monkeypatch.setattr(room, "_COPY_BYTES", {"cpu": 2**16})
    monkeypatch.setattr(room, "_UNDISTURBED", 0.0)
    return tmp_path / "mnistbench" / "ceilings"


def find(dtype=torch.float32):
    return peak_rates(CPU, dtype, synchronize=None)


def test_what_was_measured_is_kept_for_the_next_run(small_and_apart):
    first = find()
    [kept] = small_and_apart.iterdir()
    assert json.loads(kept.read_text()) == first.model_dump()
    kept.write_text(json.dumps(first.model_dump() | {"matmul_flops_per_s": 12345.0}))
    assert find().matmul_flops_per_s == 12345.0


def test_each_type_and_number_of_threads_has_its_own(small_and_apart, one_thread):
    find()
    find(torch.bfloat16)
    torch.set_num_threads(2)
    find()
    assert len(list(small_and_apart.iterdir())) == 3


def test_each_precision_of_products_has_its_own(small_and_apart):
    before = torch.get_float32_matmul_precision()
    try:
        for precision in ("highest", "medium"):
            torch.set_float32_matmul_precision(precision)
            find()
    finally:
        torch.set_float32_matmul_precision(before)
    assert len(list(small_and_apart.iterdir())) == 2


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"matmul_flops_per_s": -1}'])
def test_a_damaged_file_is_measured_over(small_and_apart, text):
    find()
    [kept] = small_and_apart.iterdir()
    kept.write_text(text)
    found = find()
    assert json.loads(kept.read_text()) == found.model_dump()


def test_what_was_measured_beside_others_is_not_kept(small_and_apart, monkeypatch):
    monkeypatch.setattr(room, "_UNDISTURBED", 1e9)
    assert find().copy_bytes_per_s > 0
    assert not small_and_apart.exists()


def test_a_cache_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert find().matmul_flops_per_s > 0
