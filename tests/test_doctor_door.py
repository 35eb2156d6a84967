"""The door to diagnosis: what is fine, what is broken, and one network's layers."""

import pytest

from mnistbench import doctor as door


@pytest.mark.processes
def test_a_healthy_machine_is_status_0(tmp_path, capsys):
    assert door.main(["--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    for check in ("versions", "threads", "GPU", "launcher", "data: mnist", "disk"):
        assert check in out
    assert "two CPU processes see each other" in out
    assert "BROKEN" not in out
    assert list(tmp_path.iterdir()) == []


def test_damaged_data_is_found_and_status_1(tmp_path, capsys):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{stem}-ubyte").write_bytes(b"\0\0\x08\x03")
    assert door.main(["--data-dir", str(tmp_path), "--no-launch"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert "train-images-idx3-ubyte" in out


def test_real_data_is_verified(mnist_dir, capsys):
    assert door.main(["--data-dir", mnist_dir, "--no-launch"]) == 0
    assert f"verified in {mnist_dir}" in capsys.readouterr().out


def test_an_output_folder_that_cannot_be_is_status_1(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    argv = ["--data-dir", str(tmp_path), "--no-launch", "--output-dir", str(tmp_path / "file")]
    assert door.main(argv) == 1
    assert "is not a folder" in capsys.readouterr().out


def test_a_network_is_shown_with_its_layers_and_parameters(capsys):
    assert door.main(["--model", "simple-cnn"]) == 0
    out = capsys.readouterr().out
    assert "Total params: 8,490" in out
    assert "[1, 10, 24, 24]" in out


def test_an_unknown_network_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        door.main(["--model", "vgg"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
