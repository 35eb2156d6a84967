"""What a record says of a run's arithmetic is what its layers, optimizer and processes did."""

import json
import shutil
from itertools import product

import pytest
import torch

from mnistbench.engine import warm_up
from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError, RunError
from mnistbench.schema.store import find_records, load_record
from tests.engine import fp16_on_cpu, hooked_train

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)
DTYPES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}
FLAGS = [
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--model", "simple-cnn", "--global-batch-size", "64", "--max-steps", "3"),
    *("--num-threads", "1"),
]


def label(loop, precision, **others):
    """What the record of a run by `loop`, alone, has to say of it."""
    stock = loop == "stock" or precision == "fp16"  # which needs the scaler's own step
    return {
        "loop_floor": "stock" if stock else "eager",
        "mixed_precision": precision,
        "autocast_dtype": DTYPES[precision],
        "layer_dtypes": [DTYPES[precision]],
        "grad_scaler": precision == "fp16",
        "optimizer_implementation": "for-loop" if stock else "fused",  # torch's choice on a CPU
        "memory_format": "channels_last" if stock else "chwn",
        "kernels": "torch" if stock else "own",
        "compiled": False,
        "cuda_graph": False,
        "gradient_exchange": "none",
        "fp32_matmul": "ieee",
        "fp32_conv": "ieee",
    } | others


def check(record, expected, seen, *, loop):
    """The record says what is `expected`, and every process of the run has `seen` that."""
    environment = record.environment
    assert seen == [
        {
            "layer_dtypes": expected["layer_dtypes"],
            "optimizer_implementation": [expected["optimizer_implementation"]],
        }
    ] * len(seen)
    assert {name: environment.get(name, "not said") for name in expected} == expected
    assert isinstance(environment["deterministic"], bool)
    if loop == "fast" and expected["loop_floor"] == "stock":
        assert record.config["mixed_precision"] in environment["loop_floor_reason"]
    else:
        assert environment["loop_floor_reason"] is None


@pytest.fixture
def train_watched(small_config, monkeypatch):
    """Trains in this process; gives the record and what was seen, as lists."""

    def run(**values):
        fp16_on_cpu.allow(monkeypatch.setattr)
        with hooked_train.watched() as seen:
            (record,) = train(small_config(max_steps=3, **values))
        assert record.status == "completed"
        return record, {name: sorted(found) for name, found in seen.items()}

    return run


@pytest.fixture
def launch_watched(launch, tmp_path, monkeypatch):
    """Trains on two processes of torchrun, once for each list of flags, one after the other.

    Gives for each the record and what each process saw.
    """

    def run(*runs):
        monkeypatch.setenv(hooked_train.FOLDER, str(tmp_path))
        first, *others = ([*FLAGS, *flags] for flags in runs)
        flags = first + [flag for other in others for flag in (hooked_train.THEN, *other)]
        done, records = launch(*flags, module="tests.engine.hooked_train")
        assert done.returncode == 0, done.stderr
        seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
        records.sort(key=lambda record: record.created_at)
        return list(zip(records, zip(*seen, strict=True), strict=True))

    return run


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_one_process_computes_in_what_its_record_says(train_watched, loop, precision, optimizer):
    record, seen = train_watched(
        model="simple-cnn", loop=loop, mixed_precision=precision, optimizer=optimizer
    )
    check(record, label(loop, precision), [seen], loop=loop)


@pytest.mark.processes
def test_two_processes_compute_in_what_their_records_say(launch_watched):
    """All in one launch: each by itself would be seconds of starting."""
    cases = list(product(["fast", "stock"], DTYPES))
    flags = [("--loop", loop, "--mixed-precision", precision) for loop, precision in cases]
    exact = ("--exact-parity", "--optimizer", "adam", "--no-channels-last")
    *found, (record, seen) = launch_watched(*flags, exact)
    expected = label(
        "fast", "no", gradient_exchange="pairwise", memory_format="contiguous", kernels="torch"
    )
    check(record, expected, list(seen), loop="fast")
    for (loop, precision), (record, seen) in zip(cases, found, strict=True):
        exchange = "all-reduce" if loop == "fast" and precision != "fp16" else "ddp"
        check(record, label(loop, precision, gradient_exchange=exchange), list(seen), loop=loop)


@pytest.mark.processes
@pytest.mark.parametrize("whole", [False, True], ids=["by layer", "NO_WRAP"])
def test_what_fsdp_does_without_is_not_claimed(launch, monkeypatch, whole):
    if whole:
        monkeypatch.setenv("MNISTBENCH_TESTS_SHARD_WHOLE", "1")
    done, (record,) = launch(*FLAGS, module="tests.engine.sharded_train")
    assert done.returncode == 0, done.stderr
    expected = {
        "loop_floor": "stock",
        "layer_dtypes": ["float32"],
        "memory_format": "contiguous",
        "gradient_exchange": "fsdp",
    }
    assert {name: record.environment.get(name, "not said") for name in expected} == expected
    assert record.environment["optimizer_implementation"] in {"foreach", "for-loop"}


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_batch_that_is_innermost_is_said_to_be(train_watched, precision):
    record, _ = train_watched(model="simple-cnn", mixed_precision=precision)
    said = {"memory_format": "chwn", "kernels": "own", "autocast_dtype": DTYPES[precision]}
    assert {name: record.environment.get(name, "not said") for name in said} == said


@pytest.mark.parametrize(
    ("values", "implementation"),
    [
        ({"fused_optimizer": False}, "for-loop"),
        ({"optimizer": "rmsprop"}, "for-loop"),
        ({"optimizer": "adamw"}, "fused"),
    ],
    ids=["not-fused", "rmsprop", "adamw"],
)
def test_an_update_is_called_fused_only_where_it_is(train_watched, values, implementation):
    record, _ = train_watched(model="linear", **values)
    assert record.environment["optimizer_implementation"] == implementation


def test_a_compiler_that_is_switched_off_is_not_said_to_have_compiled(small_config, monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(InputError, match=r"compile: torch\.compile compiled nothing"):
        train(small_config(model="linear", compile=True))


@pytest.mark.processes
@needs_compiler
def test_what_is_said_to_be_compiled_is(launch_watched):
    compiled = ("--model", "linear", "--compile")
    for record, seen in launch_watched(compiled, (*compiled, "--loop", "stock")):
        assert all(process["graphs"][0] > 0 for process in seen), seen
        assert record.environment["compiled"] is True


@pytest.fixture
def poisoned_memory(monkeypatch):
    """What torch hands out as empty is NaN, so that whoever reads before writing is found."""
    plain = torch.empty_like

    def poisoned(*args, **kwargs):
        tensor = plain(*args, **kwargs)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty_like", poisoned)


@pytest.mark.parametrize("loop", ["fast", "stock"])
@pytest.mark.usefixtures("poisoned_memory")
def test_weights_stay_finite_where_the_scaler_skips_the_first_step(small_config, monkeypatch, loop):
    first = 2.0**127  # of which any loss overflows
    scalers = fp16_on_cpu.allow(monkeypatch.setattr, init_scale=first, backoff_factor=2.0**-115)
    (record,) = train(
        small_config(model="simple-cnn", loop=loop, mixed_precision="fp16", momentum=0.9)
    )
    assert scalers[-1].get_scale() < first  # it did skip a step
    assert record.status == "completed", record.error
    assert record.train_points[-1].loss < record.train_points[0].loss


def test_a_run_that_is_not_what_was_planned_ends_before_it_trains(
    small_config, monkeypatch, tmp_path
):
    monkeypatch.setattr(warm_up, "unearned_label", lambda *_: "optimizer: planned fused, seen none")
    with pytest.raises(RunError, match="optimizer: planned fused"):
        train(small_config())
    (path,) = find_records([tmp_path / "runs"])
    record = load_record(path)
    assert (record.status, record.num_steps) == ("failed", 0)
    labels = ("loop_floor", "autocast_dtype", "layer_dtypes", "compiled", "memory_format")
    assert {record.environment[name] for name in labels} == {None}
