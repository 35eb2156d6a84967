"""Files of every kind that a user can hand over, as tests spoil them.

Each function gives one that makes the files in a folder, and says which door reads them and how.
"""

import json
import os
from pathlib import Path

import numpy as np

from mnistbench import compare, doctor, report, sweep, train
from mnistbench.workload.idx_files import RAW_FILES
from tests.workload.written_idx_files import contents, idx_bytes, small, write_files

SMALL = ("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100")
EXAMPLES = sorted((Path(__file__).parent / "schema" / "examples").glob("*.json"))
RECORD = json.loads(EXAMPLES[0].read_text())
STATS = {"median": 0.5, "rounds": 2, "data": [0.4, 0.6]}
BENCHMARKS = {"machine_info": {}, "benchmarks": [{"fullname": "a", "stats": STATS}]}
LAUNCH = "distributed_type: MULTI_GPU\nuse_cpu: true\nnum_processes: 2\n"
TRAIN_IMAGES = RAW_FILES["mnist"].files[0].path
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


def put(path, content):
    """A file of `content`: bytes, text, or what JSON makes a text of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        text = content if isinstance(content, str) else json.dumps(content)
        content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(content)


def configuration(content):
    def make(folder):
        put(folder / "run.yaml", content)
        return train, ["--config", "run.yaml", *SMALL, "--quiet"]

    return make


def grid_from(content):
    def make(folder):
        put(folder / "run.yaml", content)
        return sweep, ["--config", "run.yaml", "--seed", "0..1"]

    return make


def record(content):
    def make(folder):
        put(folder / "runs" / "one" / "record.json", content)
        return report, ["runs"]

    return make


def changed(**values):
    return record(RECORD | values)


def inside(part, **values):
    return changed(**{part: RECORD[part] | values})


def spelled(key, text):
    """A record in which `key` of its environment has a value that is spelled `text`."""
    marked = json.dumps(RECORD | {"environment": RECORD["environment"] | {key: "here"}})
    return record(marked.replace('"here"', text))


def at_record(place, path="one"):
    """What is no file, put by `place` where a record should be, and found from `path`."""

    def make(folder):
        (folder / "one").mkdir()
        place(folder / "one" / "record.json")
        return report, [path]

    return make


def compared(a, b):
    def make(folder):
        put(folder / "a.json", a)
        put(folder / "b.json", b)
        return compare, ["a.json", "b.json"]

    return make


def benchmarks(content):
    return compared(content, BENCHMARKS)


def timed(**stats):
    return benchmarks(BENCHMARKS | {"benchmarks": [{"fullname": "a", "stats": STATS | stats}]})


def reference(content):
    def make(folder):
        put(folder / "record.json", RECORD)
        put(folder / "references" / "curve.json", content)
        return report, ["record.json", "--references", "references"]

    return make


def plan(content):
    def make(folder):
        put(folder / "sweep" / "sweep.json", content)
        put(folder / "sweep" / ".lock", "")  # is made before anything is read
        return sweep, [*SMALL, "--seed", "0", "--output-dir", "sweep"]

    return make


def launch(content, name="launch.yaml"):
    def make(folder):
        put(folder / name, content)
        return doctor, ["--launch-config", name]

    return make


def data(spoil, dataset="mnist"):
    """A set of the right names with 60 and 20 images, each file as `spoil` leaves it."""

    def make(folder):
        raw = RAW_FILES[dataset]
        write_files(contents(small(raw)), folder / "data")
        spoil(folder / "data")
        return train, ["--dataset", dataset, "--data-dir", "data", "--num-epochs", "1", "--quiet"]

    return make


def in_full(folder, label):
    """QMNIST's files, of which no checksum is known, of full size: black images, one label."""
    for file in RAW_FILES["qmnist"].files:
        path = folder / file.path
        if "labels" in path.name:
            labels = np.zeros(file.shape, np.int32)
            labels[7] = label
            path.write_bytes(idx_bytes(labels))
        else:
            path.write_bytes(file.header)
            os.truncate(path, file.num_bytes)  # zeros that take no room


def cut(path, num_bytes):
    return lambda folder: os.truncate(folder / path, num_bytes)


def instead(path, content):
    return lambda folder: put(folder / path, content)


def images(count, side=28):
    return idx_bytes(np.zeros((count, side, side), np.uint8))


def folder_for(path):
    def place(folder):
        (folder / path).unlink()
        (folder / path).mkdir()

    return place


def pipe_for(path):
    def place(folder):
        (folder / path).unlink()
        os.mkfifo(folder / path)

    return place


def made_up(folder):
    """Files whose headers and sizes are right, and nothing else."""
    for file in RAW_FILES["mnist"].files:
        (folder / file.path).write_bytes(file.header)
        os.truncate(folder / file.path, file.num_bytes)
