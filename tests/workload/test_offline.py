"""Without a network a run is told so within seconds, or goes on with the generated digits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torchvision

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload import download
from mnistbench.workload.datasets import resolve_dataset


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def closed_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


@pytest.fixture
def silent_url() -> Iterator[str]:
    with socket.socket() as listening:  # connections are taken up, but never answered
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


def set_mirrors(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for cls in (torchvision.datasets.MNIST, torchvision.datasets.FashionMNIST):
        monkeypatch.setattr(cls, "mirrors", [url, url])


def fallback_line(config: RunConfig) -> str:
    lines: list[str] = []
    start = time.monotonic()
    assert resolve_dataset(config, warn=lines.append) == ("synthetic", "generated")
    assert time.monotonic() - start < 10
    (line,) = lines
    assert "\n" not in line
    return line


def test_auto_offline_is_the_generated_set_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_url: str
) -> None:
    set_mirrors(monkeypatch, closed_url)
    line = fallback_line(RunConfig(data_dir=str(tmp_path / "data"), dataset="auto"))
    assert f"mnist is not in {tmp_path / 'data'}" in line
    assert "Connection refused" in line
    assert "generated digits" in line
    assert list(tmp_path.iterdir()) == []


def test_a_silent_mirror_counts_as_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silent_url: str
) -> None:
    assert download.PROBE_S <= 5
    monkeypatch.setattr(download, "PROBE_S", 0.5)
    set_mirrors(monkeypatch, silent_url)
    assert "no mirror can be reached" in fallback_line(
        RunConfig(data_dir=str(tmp_path), dataset="auto")
    )
    assert list(tmp_path.iterdir()) == []


def test_a_silent_name_server_counts_as_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    test_is_over = threading.Event()

    def hang(*args: object, **kwargs: object) -> None:
        test_is_over.wait(30)
        raise socket.gaierror("no name server")

    monkeypatch.setattr(download, "PROBE_S", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert "no answer within 0.5 s" in fallback_line(
        RunConfig(data_dir=str(tmp_path), dataset="auto")
    )
    test_is_over.set()


def test_a_named_set_offline_is_an_error_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_url: str
) -> None:
    set_mirrors(monkeypatch, closed_url)
    config = RunConfig(data_dir=str(tmp_path / "data"), dataset="fashion-mnist")
    with pytest.raises(InputError) as caught:
        resolve_dataset(config, warn=pytest.fail)
    message = str(caught.value)
    assert "\n" not in message
    assert f"fashion-mnist is not in {tmp_path / 'data'}" in message
    assert "use --data-dir or --dataset synthetic" in message
    assert list(tmp_path.iterdir()) == []
