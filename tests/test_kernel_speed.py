"""The table of our convolutions beside PyTorch's: two rows for each layer, and an end."""

import shutil
import sys

import pytest

from bench import kernel_speed


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_convolution_has_a_row_forward_and_one_backward(dtype, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(kernel_speed, "_best_ms", lambda work, _tries=1: ran.append(work()) or 1.0)
    words = ["--models", "simple-cnn", "speedrun-cnn", "--batch", "3", "--dtype", dtype]
    monkeypatch.setattr(sys, "argv", ["kernel_speed", *words, "--threads", "1"])
    kernel_speed.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert [row[3] for row in rows] == ["forward", "backward"] * 4
    assert {row[0] for row in rows} == {"simple-cnn", "speedrun-cnn"}
    assert len(ran) == 1 + 4 * 2 * 3
