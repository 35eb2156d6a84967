"""The door to training, in this process where it can be: flags, files, refusals, statuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import yaml

from mnistbench import train as door
from mnistbench.cli import importing, read_config
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import RecipeName
from mnistbench.workload.recipes import RECIPES
from tests.engine.failing_compile import SAYS, break_compiler

SMALL = [
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--num-epochs", "1", "--model", "linear", "--quiet"),
]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(argv, capsys):
    """Runs the door, which must refuse in one line, with status 2, leaving nothing."""
    before = sorted(Path().iterdir())
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("mnistbench: error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert sorted(Path().iterdir()) == before
    return err


BAD = [
    (["--recipe", "best"], "'simple-cnn'"),
    (["--model", "vgg"], "vgg"),
    (["--loss", "hinge"], "hinge"),
    (["--optimizer", "lion"], "lion"),
    (["--dataset", "cifar"], "cifar"),
    (["--lr-schedule", "poly"], "poly"),
    (["--learning-rate", "1"], "--learning-rate: unknown flag; did you mean --lr?"),
    (["--epochs", "1"], "did you mean --num-epochs?"),
    (["--model", "nets.py"], "--model: write nets.py:NAME"),
    (["--loss", "nets.gce"], "--loss: write nets:gce, with a colon"),
    (["--dataset", "digits.csv"], "should be a built-in name, FILE.npz, FOLDER/ or MODULE:F"),
    (["--model", "~no-such-user/nets.py:A"], "--model: ~no-such-user/nets.py:A: no such user"),
    (
        ["--optimizer", "nets:Lion", "--momentum", "0.9"],
        "if your own takes it, write --optimizer-args momentum=0.9",
    ),
    (["--model", "nets:", "--quiet"], "--model: should be module:attribute or path"),
    (["--model-args"], "--model-args: needs NAME=VALUE, such as width=32"),
    (["--model-args", "width"], "--model-args: should be NAME=VALUE (got 'width')"),
    (["--model-args", "a-b=1"], "--model-args: should be NAME=VALUE (got 'a-b=1')"),
    (["--model-args", "a="], "--model-args: a: has no value (got ''); write null"),
    (["--model-args", "a=#1"], "--model-args: a: has no value (got '#1'); write null"),
    (["--model-args", "a={b:1}"], "--model-args: a: {b:1} needs a space after each colon"),
    (["--model-args", "a=[1"], "--model-args: a, line 1: malformed YAML"),
    (["--model-args", "a=1", "--model-args", "a=2"], "--model-args: a is there twice"),
    (["--model", "nets:A", "--model-args", "a=.inf"], "--model-args: a: should be a text"),
    (["--model-args", "a=1"], "--model-args: model simple-cnn takes none"),
    (["--batch-size=8"], "mean --global-batch-size or --per-device-batch-size?"),
    (["--optim", "adam"], "did you mean --optimizer?"),
    (["--data", "mnist"], "did you mean --dataset or --data-dir?"),
    (["--workers", "2"], "did you mean --num-workers?"),
    (["--device", "cpu"], "Accelerate chooses the device; for the CPU, set ACCELERATE_USE_CPU"),
    (["--quite"], "did you mean --quiet?"),
    (["--no-lr"], "--no-lr: unknown flag; see mnistbench train --help"),
    (["--model", "lenet"], "--model: unknown name 'lenet'; did you mean lenet5?"),
    (["--loss", "ce"], "did you mean cross-entropy?"),
    (["--format", "jsn"], "--format: unknown name 'jsn'; did you mean json?"),
    (["--recipe", "speedrun"], "did you mean speedrun-99?"),
    (["--augment", "shift,rotat"], "--augment: unknown name 'rotat'; did you mean rotate?"),
    (["--model", "cnn", "--dropout", "25"], "(got 25); use a fraction: 0.25"),
    (["simple-cnn"], "simple-cnn"),
    (["--lr"], "--lr"),
    (["--lr", "fast"], "--lr"),
    (["--lr", "nan"], "--lr: should be a finite number"),
    (["--lr", "inf"], "--lr: should be a finite number"),
    (["--lr=-0.1"], "--lr: should be greater than 0"),
    (["--num-epochs=-1"], "--num-epochs"),
    (["--num-epochs", "1.5"], "--num-epochs"),
    (["--max-steps", "0"], "--max-steps"),
    (["--global-batch-size", "0"], "--global-batch-size"),
    ([*SMALL, "--global-batch-size", "301"], "larger than the training split (300)"),
    ([*SMALL, "--per-device-batch-size", "301"], "larger than the training split (300)"),
    (
        ["--global-batch-size", "8", "--per-device-batch-size", "8"],
        "--global-batch-size: set either this or",
    ),
    ([*SMALL, "--val-size", "400"], "leaves nothing to train on"),
    (["--val-size", "0"], "or --eval-split test"),
    (["--target-accuracy", "0"], "--target-accuracy"),
    (["--target-accuracy", "98"], "equal to 1 (got 98); use a fraction: 0.98"),
    (["--target-accuracy", "97 %"], "(got '97 %'); use a fraction: 0.97"),
    (["--num-epochs", "5%"], "should be a valid integer (got '5%')\n"),
    (["--profile-steps", "5"], "--profile-steps: should be A:B with 1 <= A < B, such as 5:10"),
    (["--quiet=maybe"], "takes no value, but was given 'maybe'"),
    (["--require-target"], "needs --target-accuracy"),
    (["--seed=-1"], "--seed"),
    (["--num-seeds", "0"], "--num-seeds"),
    (["--num-threads", "0"], "--num-threads"),
    (["--eval-every-steps", "0"], "--eval-every-steps"),
    (["--dropout", "0.5"], "--dropout: has no effect with --model simple-cnn"),
    (["--optimizer", "adam", "--momentum", "0.9"], "--momentum: has no effect"),
    (["--loss", "mse", "--label-smoothing", "0.2"], "--label-smoothing: has no effect"),
    (["--mixed-precision", "fp8"], "fp8 does not run on the CPU"),
    (["--mixed-precision", "fp16"], "fp16 does not run on the CPU"),
    ([*SMALL, "--loop", "stock", "--mixed-precision", "fp16"], "fp16 does not run on the CPU"),
    ([*SMALL, "--cuda-graph"], "--cuda-graph: "),
    ([*SMALL, "--cuda-graph", "--compile"], "--cuda-graph: "),
    (["--model", "cnn", "--kernel-size", "60", "--padding", "valid"], "convolution 1"),
    (["--augment", "shift", "shift"], "names one change twice"),
    (["--augment", "flip"], "flip"),
    (["--augment-shift-px", "3"], "--augment-shift-px: has no effect without --augment"),
    (["--eval-shift-share", "0.1"], "--eval-shift-share: has no effect without --eval-shift-px"),
    (["--dataset", "mnist", "--synthetic-train-size", "9"], "has no effect with --dataset mnist"),
    (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
    (["--format", "xml"], "xml"),
    (["--checkpoint-every-steps", "0"], "--checkpoint-every-steps: should be greater"),
    (["--on-checkpoint-error", "retry"], "retry"),
    (["--resume", ""], "--resume: "),
    ([*SMALL, "--resume", "nowhere"], "--resume: nowhere is not there; use latest, RUN or"),
    (["--recipe", "simple-cnn", "--recipe", "zz"], "zz"),
]


@pytest.mark.parametrize(
    ("argv", "says"), BAD, ids=lambda x: " ".join(x) if type(x) is list else ""
)
def test_bad_flags_are_refused_in_one_line(argv, says, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert says in refusal(argv, capsys)


@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_a_compiler_that_fails_though_asked_for_is_refused(loop, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    break_compiler("call", monkeypatch.setattr)
    said = refusal([*SMALL, "--compile", "--loop", loop], capsys)
    assert said.startswith("mnistbench: error: --compile: ")
    assert SAYS in said
    assert "--no-compile" in said


@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_a_compiler_that_is_switched_off_is_refused_where_asked_for(loop, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    assert "compile: " in refusal([*SMALL, "--compile", "--loop", loop], capsys)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"lr: [1", "line 1: malformed YAML"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"- a\n- b\n", "should hold `name: value` lines"),
        (b"learning_rate: 1", "run.yaml: learning_rate: unknown key; did you mean lr?"),
        (b"target_accuracy: 97", "run.yaml: target_accuracy: should be less than or equal to 1"),
        (b"target_accuracy: 97", "use a fraction: 0.97"),
        (b"loss: cross_entropy", "loss: unknown name 'cross_entropy'; did you mean cross-entropy?"),
        (b"lr: fast", "lr: should be a valid number"),
        (b"lr: .nan", "lr: should be a finite number"),
        (b"seed: true", "seed: should not be true or false; put a text in quotes"),
        (b"model: vgg", "model"),
        (b"augment: [flip]", "augment.0"),
        (b"lr: 2024-99-99", "lr: should be a valid number"),
        (b"seed: " + b"1" * 5000, "malformed YAML"),
        (b"seed: !!timestamp x", "malformed YAML"),
        (b"1: 2", "should hold `name: value` lines"),
        (b"lr: !!python/object/apply:os.system ['touch pwned']", "malformed YAML"),
        (b"[" * 10_000, "nested too deeply"),
        (b"#" * (2**20 + 1), "too large"),
        (
            b"global_batch_size: 8\nper_device_batch_size: 8",
            "global_batch_size: set either this or",
        ),
    ],
)
def test_bad_yaml_is_refused_in_one_line_that_names_the_file(tmp_path, content, says, capsys):
    (tmp_path / "run.yaml").write_bytes(content)
    message = refusal(["--config", "run.yaml"], capsys)
    assert "run.yaml" in message
    assert says in message


def test_a_folder_as_config_and_a_file_as_output_are_refused(tmp_path, capsys):
    assert "cannot be read" in refusal(["--config", str(tmp_path)], capsys)
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refusal([*SMALL, "--output-dir", "file"], capsys)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["--model", "nets"],
            "--model: write nets:NAME, with the name of what to take from nets.p",
        ),
        (["--lr-schedule", "nets"], "--lr-schedule: write nets:NAME"),
        (["--dataset", "digits"], "no built-in one is called digits; write digits.npz, which"),
        (["--dataset", "photos"], "no built-in one is called photos; write photos/, which"),
        (["--dataset", "x" * 300], "--dataset: should be 'auto', "),
    ],
)
def test_what_lies_here_is_named_where_a_colon_or_slash_is_missing(argv, says, capsys):
    for name in ("nets.py", "digits.npz"):
        Path(name).touch()
    Path("photos").mkdir()
    assert says in refusal(argv, capsys)


def test_later_layers_win(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("recipe: cnn4-mse\nlr: 0.5\nnum_epochs: 3\nper_device_batch_size: 7\n")
    config = read_config({"num_epochs": 2}, path)
    assert (config.model, config.loss, config.momentum) == ("cnn4", "mse", 0.8)
    assert (config.lr, config.num_epochs) == (0.5, 2)
    assert (config.global_batch_size, config.per_device_batch_size) == (None, 7)
    config = read_config({"recipe": "simple-cnn", "global_batch_size": 9}, path)
    assert (config.model, config.lr, config.global_batch_size) == ("simple-cnn", 0.5, 9)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], {"q": 0.7, "t": 1}),
        (["--loss-args", "q=0.5"], {"q": 0.5, "t": 1}),
        (["--loss", "nets:gce", "--loss-args", "u=2"], {"q": 0.7, "t": 1, "u": 2}),
        (["--loss", "nets:other"], {}),
        (["--loss", "nets:other", "--loss-args", "q=0.5"], {"q": 0.5}),
        (["--loss", "mse"], {}),
        (["--recipe", "cnn4-ce"], {"q": 0.7, "t": 1}),
    ],
)
def test_arguments_go_over_others_and_go_with_their_component(flags, found, capsys):
    Path("nets.py").write_text("gce = other = None")
    Path("run.yaml").write_text("loss: nets:gce\nloss_args: {q: 0.7, t: 1}\n")
    assert door.main(["--config", "run.yaml", *flags, "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["loss_args"] == found


def test_arguments_are_words_of_yaml_and_are_printed_as_such(capsys):
    told = ["width=32", "act=relu", "betas=[0.9,0.99]", "x=null", "on=no", "deep={a: [1e-3]}"]
    argv = ["--optimizer", "torch.optim:NAdam", "--optimizer-args", *told]
    found = {
        "width": 32, "act": "relu", "betas": [0.9, 0.99], "x": None, "on": "no",
        "deep": {"a": [0.001]}, "y": -1,
    }  # fmt: skip
    assert door.main([*argv, "--optimizer-args=y=-1", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["optimizer_args"] == found
    Path("run.yaml").write_text(printed)
    assert door.main(["--config", "run.yaml", "--print-config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("name", get_args(RecipeName))
def test_printed_config_reproduces_the_run(name, tmp_path, capsys):
    argv = ["--recipe", name, "--lr", "0.125", "--augment", "shift", "--seed", "3"]
    assert door.main([*argv, "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "run.yaml").write_text(printed)
    assert door.main(["--config", "run.yaml", "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    expected = RunConfig(
        **RECIPES[name].settings | {"recipe": name, "lr": 0.125, "augment": ("shift",), "seed": 3}
    )
    assert RunConfig(**yaml.safe_load(printed)) == expected


def test_recipes_are_listed_with_source(capsys):
    assert door.main(["--list-recipes", "--wide"]) == 0
    out = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert name in out
        assert recipe.source in out


@pytest.mark.processes
@pytest.mark.parametrize(
    "argv",
    [
        ["mnistbench.train", "--help"],
        ["mnistbench.train", "--recipe", "cnn4-ce", "--print-config", "--loss", "torch.nn:MSELoss"],
        ["mnistbench.train", "--list-recipes"],
        ["mnistbench.report", "--help"],
    ],
)
def test_asking_does_not_pay_for_torch(argv):
    code = (
        "import runpy, sys\n"
        f"sys.argv = {argv!r}\n"
        "try:\n    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'accelerate', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_run_prints_a_table_and_leaves_a_record(capsys, tmp_path):
    assert door.main([*SMALL, "--output-dir", "out"]) == 0
    out, err = capsys.readouterr()
    assert "linear" in out
    assert "synthetic (generated)" in out
    assert err == ""
    (path,) = tmp_path.glob("out/*/record.json")
    assert str(path.relative_to(tmp_path)) in out


@pytest.mark.slow
def test_json_is_the_record_or_a_list_of_them(capsys):
    door.main([*SMALL, "--format", "json"])
    record = json.loads(capsys.readouterr().out)
    assert record["dataset"]["num_train"] == 300
    door.main([*SMALL, "--format", "json", "--num-seeds", "2", "--seed", "5"])
    records = json.loads(capsys.readouterr().out)
    assert [r["seed"] for r in records] == [5, 6]
    assert [r["config"]["num_seeds"] for r in records] == [1, 1]


def test_markdown_is_a_markdown_table(capsys):
    door.main([*SMALL, "--format", "markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| model")
    assert set(lines[1]) <= set("|:- ")


@pytest.mark.slow
def test_a_missed_target_is_status_3_only_where_required(capsys):
    target = ["--target-accuracy", "1"]
    assert door.main([*SMALL, *target]) == 0
    assert "time to 100 % s" in capsys.readouterr().out
    assert door.main([*SMALL, *target, "--require-target"]) == 3
    assert door.main([*SMALL, "--target-accuracy", "0.01", "--require-target"]) == 0


@pytest.mark.slow
def test_a_diverged_run_is_status_1_and_on_record(capsys):
    argv = [*SMALL, "--loss", "mse", "--lr", "10000", "--model", "dnn4", "--format", "json"]
    assert door.main(argv) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == "diverged"
    assert record["error"].startswith("the loss or a weight was not finite at step ")
    assert record["result"]["time_to_accuracy_s"] is None


@pytest.mark.parametrize("raised", ["ValueError('late')", "SystemExit(0)"])
def test_own_code_that_fails_late_is_one_line_and_on_record(raised, capsys):
    kind = raised.partition("(")[0]
    Path(f"{kind}.py").write_text(
        "from torch.nn.functional import cross_entropy\ncalls = []\ndef loss(logits, labels):\n"
        f"    calls.append(1)\n    if len(calls) > 9:\n        raise {raised}\n"
        "    return cross_entropy(logits, labels)\n"
    )
    with pytest.raises(SystemExit) as stop:
        door.main([*SMALL, "--loss", f"{kind}.py:loss"])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (1, ""), err
    assert re.fullmatch(rf"mnistbench: error: the run failed: {kind}.py:6: {kind}: .*\n", err), err
    (record,) = Path().glob("runs/*/record.json")
    assert json.loads(record.read_text())["status"] == "failed"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_leaves_a_record_and_its_status(tmp_path, sent, status):
    argv = [arg for arg in SMALL if arg != "--quiet"] + ["--num-epochs", "2000000"]
    child = subprocess.Popen(
        [sys.executable, "-m", "mnistbench.train", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = next(line for line in child.stderr if "training" in line)  # others: a slow machine
    assert line.startswith("mnistbench: training linear, seed 0, on synthetic (generated)")
    time.sleep(0.5)
    child.send_signal(sent)
    _, err = child.communicate(timeout=60)
    assert child.returncode == status, err
    assert "Traceback" not in err
    (path,) = tmp_path.glob("runs/*/record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "interrupted"
    assert record["num_steps"] > 0
    assert sum(record["phases_s"].values()) == pytest.approx(record["wall_s"], rel=0.01)


def test_a_library_that_its_own_variable_keeps_from_being_imported_is_one_line():
    says = "variable of its own, such as TORCH_LOGS, may be why: ValueError: no such log$"
    with pytest.raises(InputError, match=says), importing():
        raise ValueError("\nno such log\nthere are others")


@pytest.mark.parametrize("ignored", [True, False])
def test_a_closed_terminal_is_heard_unless_it_is_ignored_as_by_nohup(ignored):
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    assert door.main([*SMALL, "--max-steps", "1"]) == 0
    assert callable(signal.getsignal(signal.SIGHUP)) == (not ignored)


@pytest.mark.parametrize(
    ("columns", "kept"), [("²", None), ("9" * 30, None), ("0", None), ("90",) * 2, ("3", "20")]
)
def test_a_terminal_of_a_senseless_width_has_its_own(columns, kept, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)  # with the first, rich fails
    assert door.main(["--list-recipes", "--wide"]) == 0
    assert os.environ.get("COLUMNS") == kept
    assert "cnn4-ce" in capsys.readouterr().out


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_what_is_done_and_written_is_told_unless_quiet(quiet, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(Telemeter, "load", lambda self: ["other processes use 1.5 of 2 cores"])
    monkeypatch.setenv("TERM", "xterm")
    argv = [arg for arg in SMALL if arg != "--quiet"]
    assert door.main([*argv, "--mllog", "--num-seeds", "2", *quiet]) == 0
    told = re.findall(r"mnistbench: ([^t\n\r][^\n\r]*)", capsys.readouterr().err)
    names = sorted(path.name for path in Path("runs").iterdir())
    folders = [f"mllog.txt (?) written to runs/{name}" for name in names]
    assert [re.sub(r"\(.* kB\)", "(?)", line) for line in told] == (
        []
        if quiet
        else [
            "importing PyTorch",
            "reading synthetic",
            "building linear",
            "other processes use 1.5 of 2 cores",
            *folders,
        ]
    )
