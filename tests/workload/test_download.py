"""A download is verified and put in place whole, by any number of processes, or leaves nothing."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision

from mnistbench.schema.errors import InputError
from mnistbench.schema.names import DatasetName
from mnistbench.workload.datasets import DATASETS, resolve_dataset
from mnistbench.workload.idx_files import RAW_FILES
from tests.workload.written_idx_files import (
    config_of,
    contents,
    files_below,
    idx_bytes,
    small,
    write_files,
)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def fallback_line(data_dir: Path) -> str:
    lines: list[str] = []
    found = resolve_dataset(config_of(data_dir, dataset="auto"), warn=lines.append)
    assert (found, len(lines)) == (("synthetic", "generated"), 1)
    return lines[0]


@pytest.fixture(autouse=True)
def _small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for name in RAW_FILES:
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], raw=small(RAW_FILES[name])))


class Mirror(ThreadingHTTPServer):
    """Serves `offered`, by file name; with a barrier, its first two answers wait for each other."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.offered: dict[str, bytes] = {}
        self.barrier: threading.Barrier | None = None
        self.early = iter(range(2))

    def handle_error(self, *args: object) -> None:
        """Say nothing of clients that hang up, as a probe does."""


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Keep stderr clean."""

    def do_GET(self) -> None:
        if self.server.barrier is not None and next(self.server.early, None) is not None:
            self.server.barrier.wait(timeout=20)
        data = self.server.offered.get(self.path.removeprefix("/"))
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")


@dataclass
class Publisher:
    """Puts data sets on the mirror and leads torchvision to it."""

    mirror: Mirror
    monkeypatch: pytest.MonkeyPatch

    def offer(self, name: DatasetName, values: dict[str, np.ndarray]) -> None:
        archives = {
            f"{Path(path).name}.gz": gzip.compress(idx_bytes(entries))
            for path, entries in values.items()
        }
        if name == "emnist-digits":
            archives = {"gzip.zip": zipped(archives)}
        self.mirror.offered = archives
        self.lead(name, [(file, md5(data)) for file, data in archives.items()])

    def lead(self, name: DatasetName, sums: list[tuple[str, str]]) -> None:
        url = self.mirror.url
        attributes: dict[str, object] = {"mirrors": [url], "resources": sums}
        if name == "emnist-digits":
            attributes = {"url": url + sums[0][0], "md5": sums[0][1]}
        elif name == "qmnist":
            whole = [(url + file, digest) for file, digest in sums]
            attributes = {"resources": {"train": whole[:2], "test": whole[2:]}}
        for attribute, value in attributes.items():
            published = getattr(torchvision.datasets, DATASETS[name].torchvision_class)
            self.monkeypatch.setattr(published, attribute, value)


def zipped(archives: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for file, data in archives.items():
            archive.writestr(f"gzip/{file}", data)
    return stream.getvalue()


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with Mirror() as mirror:
        thread = threading.Thread(target=mirror.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield Publisher(mirror, monkeypatch)
        mirror.shutdown()
        thread.join()


@pytest.mark.parametrize("name", RAW_FILES)
def test_a_download_is_verified_and_put_in_place(
    publisher: Publisher,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: DatasetName,
) -> None:
    values = contents(DATASETS[name].raw)
    publisher.offer(name, values)
    config = config_of(tmp_path / "deep" / "data", dataset=name)
    assert resolve_dataset(config, warn=pytest.fail) == (name, "downloaded")
    assert socket.getdefaulttimeout() is None
    expected = {path: idx_bytes(entries) for path, entries in values.items()}
    assert files_below(tmp_path / "deep" / "data") == expected
    assert capfd.readouterr() == ("", "")
    assert resolve_dataset(config, warn=pytest.fail) == (name, "local")


def test_a_set_with_a_file_missing_is_completed(publisher: Publisher, tmp_path: Path) -> None:
    values = contents(DATASETS["mnist"].raw)
    publisher.offer("mnist", values)
    write_files(values, tmp_path)
    (tmp_path / "MNIST/raw/train-labels-idx1-ubyte").unlink()
    found = resolve_dataset(config_of(tmp_path, dataset="auto"), warn=pytest.fail)
    assert found == ("mnist", "downloaded")
    assert len(files_below(tmp_path)) == 4


def with_a_wrong_checksum(publisher: Publisher) -> None:
    sums = torchvision.datasets.MNIST.resources
    publisher.lead("mnist", [*sums[:3], (sums[3][0], "0" * 32)])


def with_a_label_out_of_range(publisher: Publisher) -> None:
    values = contents(DATASETS["mnist"].raw)
    values["MNIST/raw/t10k-labels-idx1-ubyte"][7] = 200
    publisher.offer("mnist", values)


def with_a_file_not_there(publisher: Publisher) -> None:
    del publisher.mirror.offered["t10k-images-idx3-ubyte.gz"]


def with_no_archive_at_all(publisher: Publisher) -> None:
    (file, _), *sums = torchvision.datasets.MNIST.resources
    text = b"<html>please log in to this network</html>"
    publisher.mirror.offered[file] = text
    publisher.lead("mnist", [(file, md5(text)), *sums])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # torchvision leaves a refused answer open
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (with_a_wrong_checksum, "the download failed"),
        (with_a_label_out_of_range, "damaged (MNIST/raw/t10k-labels-idx1-ubyte: label 200 out of"),
        (with_a_file_not_there, "the download failed"),
        (with_no_archive_at_all, "the download failed"),
    ],
)
def test_a_spoilt_download_is_refused_and_leaves_nothing(
    publisher: Publisher,
    tmp_path: Path,
    spoil: Callable[[Publisher], None],
    what: str,
) -> None:
    publisher.offer("mnist", contents(DATASETS["mnist"].raw))
    spoil(publisher)
    with pytest.raises(InputError, match=rf"^[^\n]*{re.escape(what)}[^\n]*\Z"):
        resolve_dataset(config_of(tmp_path, dataset="mnist"), warn=pytest.fail)
    assert what in fallback_line(tmp_path)
    assert list(tmp_path.iterdir()) == []
    gc.collect()


def test_a_folder_that_cannot_be_written_is_an_error_or_the_generated_set(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.offer("mnist", contents(DATASETS["mnist"].raw))
    (tmp_path / "file").write_text("not a folder")
    data_dir = tmp_path / "file" / "data"
    with pytest.raises(InputError, match=r"Not a directory.*use --data-dir"):
        resolve_dataset(config_of(data_dir, dataset="mnist"), warn=pytest.fail)
    assert "Not a directory" in fallback_line(data_dir)


RACER = """
import json, sys, time
from pathlib import Path
import torchvision
sys.path.insert(0, sys.argv[1])
import test_download as t
from mnistbench.workload.datasets import load_dataset
mnist, spec = torchvision.datasets.MNIST, t.DATASETS["mnist"]
mnist.mirrors, mnist.resources = [sys.argv[2]], json.loads(sys.argv[3])
t.DATASETS["mnist"] = t.replace(spec, raw=t.small(spec.raw))
ready = Path(sys.argv[4]) / sys.argv[5]
ready.touch()
while len(list(ready.parent.iterdir())) < 2:
    time.sleep(0.01)
config = t.config_of(Path(sys.argv[6]))
name, source = t.resolve_dataset(config, warn=print)
print(name, source, load_dataset(name, config).sha256)
"""


@pytest.mark.processes
def test_two_processes_that_start_on_an_empty_folder_both_succeed(
    publisher: Publisher, tmp_path: Path
) -> None:
    values = contents(DATASETS["mnist"].raw)
    publisher.offer("mnist", values)
    # both have found the folder empty before either gets a byte
    publisher.mirror.barrier = threading.Barrier(2)
    (tmp_path / "ready").mkdir()
    resources = json.dumps(torchvision.datasets.MNIST.resources)
    common = [str(Path(__file__).parent), publisher.mirror.url, resources, str(tmp_path / "ready")]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, *common, str(rank), str(tmp_path / "data")],
            **dict.fromkeys(("stdout", "stderr"), subprocess.PIPE),
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], outputs
    assert [error for _, error in outputs] == ["", ""]
    assert outputs[0] == outputs[1]
    assert outputs[0][0].startswith("mnist downloaded ")
    expected = {path: idx_bytes(entries) for path, entries in values.items()}
    assert files_below(tmp_path / "data") == expected
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["MNIST"]
