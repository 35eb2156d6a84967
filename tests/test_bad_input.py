"""Bad files of every kind that a user can hand over: one line, status 2, nothing written.

Flags are in ``BAD`` of ``tests/test_train_door.py``.
"""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mnistbench import compare, report
from tests.bad_files import (
    BENCHMARKS,
    LAUGHS,
    LAUNCH,
    RECORD,
    TRAIN_IMAGES,
    at_record,
    benchmarks,
    changed,
    compared,
    configuration,
    cut,
    data,
    folder_for,
    grid_from,
    images,
    in_full,
    inside,
    instead,
    launch,
    made_up,
    pipe_for,
    plan,
    record,
    reference,
    spelled,
    timed,
)
from tests.workload.written_idx_files import idx_bytes

KINDS = [
    # YAML of configurations
    ("yaml: cut off", configuration("augment: [shift"), "run.yaml, line 1: malformed YAML"),
    ("yaml: binary", configuration(b"\x80\x04\x95"), "run.yaml: not a configuration: not a text"),
    ("yaml: utf-16", configuration("lr: 1".encode("utf-16")), "not a text file (byte 0"),
    ("yaml: control characters", configuration("lr: \x1b[31m"), "malformed YAML"),
    ("yaml: a list", configuration("- lr\n"), "should hold `name: value` lines"),
    ("yaml: one word", configuration("fast"), "should hold `name: value` lines"),
    ("yaml: two documents", configuration("lr: 1\n---\nlr: 2\n"), "line 2: malformed YAML"),
    ("yaml: a key twice", configuration("lr: 1\nlr: 2\n"), "key 'lr' is there twice"),
    ("yaml: a key twice in two ways", configuration('lr: 1\n"lr": 2\n'), "key 'lr' is there twice"),
    ("yaml: unknown key", configuration("learning-rate: 1"), "run.yaml: learning-rate: unknown"),
    ("yaml: key with markup", configuration('"\\e[31m": 1'), "run.yaml: '\\x1b[31m': unknown key"),
    ("yaml: object", configuration("lr: !!python/object:os.system x"), "malformed YAML"),
    ("yaml: laughs", configuration(LAUGHS), "line 2: malformed YAML: aliases (*) are not read"),
    ("yaml: merged laughs", configuration("a: &a {b: 1}\n<<: [*a, *a]"), "aliases (*)"),
    ("yaml: an anchor in itself", configuration("lr: &a [*a]"), "aliases (*) are not read"),
    ("yaml: deep", configuration("lr: " + "[" * 40 + "]" * 40), "nested too deeply: 32 levels"),
    ("yaml: deeper", configuration("- " * 30_000), "nested too deeply: 32 levels at most"),
    ("yaml: deep keys", configuration("? " * 30_000), "nested too deeply: 32 levels at most"),
    ("yaml: large", configuration("#" * 2**16 + "\n"), "too large for a configuration, which has"),
    ("yaml: endless number", configuration("seed: 0x" + "f" * 9000), "more than 64 bits"),
    (
        "yaml: endless base 60",
        configuration("lr: " + "1:" * 999 + "1.5"),
        "should be a valid number",
    ),
    ("yaml: base 60", configuration("num_epochs: 1:30"), "num_epochs: should be a valid integer"),
    (
        "yaml: base 60 by its tag",
        configuration("seed: !!int 1:30"),
        "malformed YAML: invalid literal",
    ),
    ("yaml: a word for a list", configuration("augment: shift"), "augment: should be a list"),
    ("yaml: a number for a text", configuration("data_dir: 7"), "string; put it in quotes (got 7)"),
    ("yaml: no number", configuration("lr: !!int ''"), "malformed YAML"),
    ("yaml: no switch", configuration("nesterov: !!bool maybe"), "malformed YAML"),
    ("yaml: null character", configuration('data_dir: "a\\0b"'), "a null character"),
    ("yaml: half a character", configuration('data_dir: "\\uD800"'), "malformed YAML"),
    ("yaml: infinity", configuration("lr: .inf"), "run.yaml: lr: should be a finite number"),
    ("yaml: overflow", configuration("lr: 1.0e+999"), "run.yaml: lr: should be a finite number"),
    ("yaml: of a sweep", grid_from("lr: [1"), "run.yaml, line 1: malformed YAML"),
    # records
    ("record: empty", record(b""), "record.json: not a record: the file is empty"),
    ("record: cut off", record(json.dumps(RECORD)[:-9]), "record.json: not a record: "),
    ("record: binary", record(b"\x89PNG\r\n\x1a\n"), "not a text file (byte 0 is no UTF-8)"),
    ("record: zipped", record(gzip.compress(b"{}")), "not a text file"),
    ("record: a pickle", record(b"\x80\x04K\x01."), "not a text file (byte 0 is no UTF-8)"),
    ("record: text", record("accuracy: 0.99\n"), "not a record: Expecting value: line 1 column 1"),
    ("record: two", record(json.dumps(RECORD) * 2), "not a record: Extra data"),
    ("record: a list", record([RECORD]), "not a record: no schema_version"),
    ("record: a number", record("1"), "not a record: no schema_version"),
    ("record: NaN", spelled("loss", "NaN"), "NaN is not strict JSON"),
    ("record: minus infinity", spelled("loss", "-Infinity"), "-Infinity is not strict JSON"),
    ("record: 1e999", spelled("loss", "1e999"), "'1e999' is too large a number"),
    ("record: 1e101", spelled("loss", "-1e101"), "'-1e101' is too large a number"),
    ("record: long number", spelled("n", "1" * 400), "is too large a number"),
    ("record: endless number", spelled("n", "1" * 9000), "is too large a number"),
    ("record: a key twice", record('{"schema_version": 1, "schema_version": 1}'), "is there twice"),
    ("record: a key twice inside", spelled("a", '{"b": 1, "b": 2}'), "key 'b' is there twice"),
    ("record: deep", spelled("a", "[" * 40 + "]" * 40), "nested too deeply for a record: 32"),
    ("record: deeper", spelled("a", '{"a":' * 900 + "1" + "}" * 900), "nested too deeply"),
    ("record: 10^6 brackets", record("[" * 10**6), "nested too deeply for a record: 32 levels"),
    ("record: newer", changed(schema_version=3), "schema 3 is newer than this version reads (2); "),
    ("record: version of text", changed(schema_version="1"), "not a record: no schema_version"),
    ("record: version true", changed(schema_version=True), "schema_version: should be a valid int"),
    ("record: version 0", changed(schema_version=0), "schema_version: should be greater than or"),
    ("record: missing keys", record({"schema_version": 1}), "run_id: Field required"),
    ("record: text for a number", changed(wall_s="10"), "wall_s: should be a valid number"),
    ("record: number for a list", changed(eval_points=3), "eval_points: should be a valid list"),
    ("record: accuracy of 98", inside("result", test_accuracy=98), "result.test_accuracy: should"),
    ("record: phase of no name", inside("phases_s", **{"<b>": 1.0}), "phases_s.<b>.[key]: sh"),
    (
        "record: phase of no time",
        inside("phases_s", coffee="1"),
        "phases_s.coffee: should be a val",
    ),
    (
        "record: key with markup",
        inside("phases_s", **{"\x1b[31m": "1"}),
        r"phases_s.'\x1b[31m'.[key]",
    ),
    ("record: a path for a name", changed(run_id="../../etc"), "run_id: should match"),
    ("record: markup for a name", inside("config", model="<b>"), "config: model: should"),
    ("record: a folder", at_record(Path.mkdir), "record.json: cannot be read (Is a directory)"),
    ("record: a pipe", at_record(os.mkfifo), "cannot be read (no regular file)"),
    (
        "record: a device",
        at_record(lambda path: path.symlink_to("/dev/zero")),
        "cannot be read (no regular file)",
    ),
    (
        "record: a link to itself",
        at_record(lambda path: path.symlink_to(path), "one/record.json"),
        "one/record.json: does not exist",
    ),
    ("record: a name too long", lambda folder: (report, ["a" * 300]), "File name too long"),
    ("record: none", lambda folder: (report, ["."]), "no record.json in this folder"),
    # comparisons, and files of pytest-benchmark
    ("compare: cut off", compared(RECORD, '{"schema_version"'), "b.json: not a record or a"),
    (
        "compare: two kinds",
        compared(RECORD, BENCHMARKS),
        "takes two benchmark files, or records alone",
    ),
    ("compare: newer", compared(RECORD | {"schema_version": 3}, RECORD), "upgrade mnistbench"),
    (
        "compare: a link to itself",
        lambda folder: ((folder / "a").symlink_to("a"), (compare, ["a", "a"]))[1],
        "a: does not exist",
    ),
    ("benchmarks: none", benchmarks(BENCHMARKS | {"benchmarks": []}), "holds no benchmark"),
    ("benchmarks: NaN", timed(median=float("nan")), "NaN is not strict JSON"),
    ("benchmarks: no rounds", timed(rounds=0), "benchmarks.0.stats.rounds: should be greater"),
    ("benchmarks: text for times", timed(data=["fast"]), "benchmarks.0.stats.data.0: should be"),
    ("benchmarks: a name twice", benchmarks(BENCHMARKS | {"benchmarks": [1, 2]}), "benchmarks.0"),
    ("benchmarks: no list", benchmarks(BENCHMARKS | {"benchmarks": {}}), "should be a valid list"),
    ("benchmarks: deep", benchmarks('{"benchmarks":' * 50 + "1" + "}" * 50), "nested too deeply"),
    # reference curves
    ("reference: empty", reference(""), "curve.json: not a reference curve: the file is empty"),
    ("reference: newer", reference({"schema_version": 9}), "schema 9 is newer than this version"),
    ("reference: a record", reference(RECORD), "curve.json: "),
    # the plan of a sweep
    ("sweep: cut off", plan('{"schema_version": 1, "cells": ['), "sweep.json: not a sweep: "),
    ("sweep: newer", plan({"schema_version": 2}), "schema 2 is newer than this version reads"),
    ("sweep: a record", plan(RECORD), "sweep.json: "),
    ("sweep: cells of text", plan({"schema_version": 1, "cells": "all"}), "cells: should be"),
    ("sweep: a grid of numbers", plan({"schema_version": 1, "grids": [{"lr": 1}]}), "grids.0.lr"),
    ("sweep: brackets", plan("[" * 10**6), "nested too deeply for a sweep: 32 levels at most"),
    # launch configurations, which Accelerate would read with less care
    ("launch: cut off", launch("distributed_type: [NO"), "launch.yaml, line 1: malformed YAML"),
    ("launch: binary", launch(b"\xff\x00"), "launch.yaml: not a launch configuration"),
    ("launch: laughs", launch(LAUNCH + LAUGHS), "malformed YAML: aliases (*) are not read"),
    ("launch: object", launch(LAUNCH + "a: !!python/name:os.system"), "malformed YAML"),
    ("launch: a key twice", launch(LAUNCH + "use_cpu: false\n"), "key 'use_cpu' is there twice"),
    ("launch: unknown key", launch(LAUNCH + "num_procs: 2\n"), "unknown keys (['num_procs'])"),
    ("launch: text for a number", launch(LAUNCH.replace("2", "two")), "num_processes: should be"),
    ("launch: text for a switch", launch(LAUNCH.replace("true", "cpu")), "use_cpu: should be"),
    ("launch: number for text", launch(LAUNCH + "main_process_ip: 1\n"), "main_process_ip: should"),
    ("launch: unquoted NO", launch("distributed_type: NO\nnum_processes: 1\n"), "quote it"),
    (
        "launch: no precision",
        launch(LAUNCH + "mixed_precision: fp1\n"),
        "mixed_precision: unknown name",
    ),
    ("launch: json", launch('{"use_cpu": NaN}', "launch.json"), "NaN is not strict JSON"),
    # data
    ("data: an empty file", data(cut(TRAIN_IMAGES, 0)), "truncated: 0 of 47040016 bytes"),
    ("data: half a header", data(cut(TRAIN_IMAGES, 9)), "truncated: 9 of 47040016 bytes"),
    ("data: too few", data(lambda folder: None), "bad header: sizes (60, 28, 28), not (60000, 28"),
    (
        "data: other images",
        data(instead(TRAIN_IMAGES, images(60, side=32))),
        "bad header: sizes (60, 32, 32)",
    ),
    ("data: a page", data(instead(TRAIN_IMAGES, b"<html>404")), "bad header: starts with 3c68746d"),
    (
        "data: zipped",
        data(instead(TRAIN_IMAGES, gzip.compress(b"garbage"))),
        "bad header: starts with 67617262, not 00000803; delete it",
    ),
    (
        "data: labels for images",
        data(instead(TRAIN_IMAGES, idx_bytes(np.zeros(60, np.uint8)))),
        "bad header: starts with 00000801, not 00000803",
    ),
    ("data: a folder", data(folder_for(TRAIN_IMAGES)), "cannot be read (no regular file)"),
    ("data: a pipe", data(pipe_for(TRAIN_IMAGES)), "cannot be read (no regular file); delete it"),
    ("data: label 200", data(lambda folder: in_full(folder, 200), "qmnist"), "label 200 out of"),
    ("data: label -1", data(lambda folder: in_full(folder, -1), "qmnist"), "label -1 out of range"),
    ("data: made up", data(made_up), "train-images-idx3-ubyte: checksum mismatch: sha256 "),
]


def contents_of(folder):
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


@pytest.mark.parametrize(("make", "says"), [kind[1:] for kind in KINDS], ids=[k[0] for k in KINDS])
def test_a_bad_file_is_refused_in_one_line(make, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    door, argv = make(tmp_path)
    before = contents_of(tmp_path)
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("mnistbench: error: ")
    assert err.count("\n") == 1
    assert len(err) < 600
    assert all(c.isprintable() or c == "\n" for c in err)
    assert says in err
    assert contents_of(tmp_path) == before


def test_each_kind_is_there_once():
    assert len({kind for kind, _, _ in KINDS}) == len(KINDS) > 100
