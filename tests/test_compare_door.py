"""The door to comparisons: stored runs, benchmark files and runs in turn; gates and exit status."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from mnistbench import compare as door
from mnistbench.launch import interleave, revisions
from mnistbench.launch.runs import RunFailedError
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import Terminated
from mnistbench.schema.record import PHASES, DatasetInfo, Result, RunRecord, Throughput
from mnistbench.schema.store import record_json, save_record

START = datetime(2026, 1, 1, tzinfo=UTC)
STATS = {"median": 1.0, "rounds": 8, "data": [1.0 + n / 100 for n in range(8)]}
BENCHMARKS = {"machine_info": {}, "benchmarks": [{"fullname": "one", "stats": STATS}]}


def record(seed, speed, *, minute, **config):
    return RunRecord(
        run_id=f"run-{seed}-{minute}",
        status="completed",
        created_at=(START + timedelta(minutes=minute)).isoformat(),
        seed=seed,
        recipe=None,
        config=RunConfig(seed=seed, **config).model_dump(mode="json"),
        environment={"num_threads": 1, "global_batch_size": 64},
        dataset=DatasetInfo(
            name="mnist", source="local", sha256="0", num_train=50_000, num_val=10_000, num_test=1
        ),
        phases_s=dict.fromkeys(PHASES, 0.0),
        wall_s=1.0,
        throughput=Throughput(samples_per_s=speed),
        result=Result(test_accuracy=0.98),
    )


def pairs(n, factor):
    """Runs of A and of B in turn, B `factor` times as fast."""
    a = [record(seed, 1000.0 + seed, minute=2 * seed) for seed in range(n)]
    b = [record(seed, factor * (1000.0 + seed), minute=2 * seed + 1, lr=0.1) for seed in range(n)]
    return a, b


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Folders a and b in the current folder, B a tenth slower."""
    monkeypatch.chdir(tmp_path)
    for name, side in zip("ab", pairs(8, 0.9), strict=True):
        for run in side:
            save_record(run, tmp_path / name / run.run_id)
    return tmp_path


def refused(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert err.startswith("mnistbench: error: ")
    assert err.count("\n") == 1
    return out, err


def test_two_folders_are_a_table_a_headline_and_what_differs(stored, capsys):
    assert door.main(["a", "b"]) == 0
    out = capsys.readouterr().out
    assert "B is slower: samples/s -10.0 % (95 % interval -10.0 to -10.0), n = 8 pairs" in out
    assert "B differs in: lr 0.1 instead of 0.01" in out
    assert "A is a, B is b" in out
    assert door.main(["a/run-0-0/record.json", "b", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| metric")


def test_gates_decide_the_exit_status(stored, capsys):
    assert door.main(["a", "b", "--fail-if", "samples_per_s < -20%"]) == 0
    assert "gate passed: simple-cnn, cross-entropy: samples_per_s < -20%" in capsys.readouterr().out
    gates = ["--fail-if", "samples_per_s < -5%", "--fail-if", "test_accuracy < 0.9"]
    assert door.main(["a", "b", *gates]) == 1
    assert "gate fired: simple-cnn, cross-entropy: samples_per_s < -5%: -10.0 %" in (
        capsys.readouterr().out
    )
    assert door.main(["a", "b", *gates, "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert [gate["state"] for gate in json.loads(out)["gates"]] == ["fired", "passed"]
    assert err.startswith("mnistbench: gate fired: ")


def test_a_gate_brings_its_metric_to_the_table(stored, capsys):
    assert door.main(["a", "b", "--metrics", "test_accuracy", "--fail-if", "wall_s > 9%"]) == 0
    out = capsys.readouterr().out
    assert "wall time" in out
    assert "samples/s" not in out


def test_a_gate_that_cannot_be_judged_shows_the_table_and_is_status_2(stored, capsys):
    out, err = refused(["a", "b", "--fail-if", "val_accuracy < -1%"], capsys)
    assert "no verdict: not measured in A and B" in out
    assert "gate cannot be judged" in err


def test_benchmark_files_are_told_by_what_they_hold(stored, capsys):
    slower = json.loads(json.dumps(BENCHMARKS))
    slower["benchmarks"][0]["stats"]["data"] = [2 * x for x in STATS["data"]]
    (stored / "old").write_text(json.dumps(BENCHMARKS))
    (stored / "new").write_text(json.dumps(slower))
    assert door.main(["old", "new", "--fail-if", "duration_s > 5%"]) == 1
    assert "B is slower: duration +" in capsys.readouterr().out
    assert "not with records" in refused(["old", "a"], capsys)[1]
    assert "not samples_per_s" in refused(["old", "new", "--metrics", "samples_per_s"], capsys)[1]
    assert "target_accuracy" in refused(["old", "new", "--target-accuracy", "0.9"], capsys)[1]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "takes two paths, A and B, not 0"),
        (["a"], "takes two paths, A and B, not 1"),
        (["a", "b", "a"], "not 3"),
        (["a", "missing"], "missing: does not exist"),
        (["a", "empty"], "empty: no record.json"),
        (["a", "a"], "A and B are the same"),
        (["a", "./a"], "A and B are the same"),
        (["a", "a/run-0-0"], "A and B are not apart"),
        (["a", "cut.json"], "cut.json: not a record or a benchmark file"),
        (["a", "nan.json"], "NaN is not strict JSON"),
        (["a", "deep.json"], "deep.json: nested too deeply"),
        (["a", "newer.json"], "newer.json: schema 99 is newer"),
        (["a", "config.yaml"], "run it with --interleave"),
        (["a", "b", "--fail-if", "speed < 1"], "unknown metric 'speed'"),
        (["missing", "b", "--fail-if", "speed"], "is no gate"),
        (["a", "b", "--metrics", "speed"], "speed"),
        (["a", "b", "--target-accuracy", "97"], "target_accuracy: a fraction"),
        (["a", "b", "--max-minutes", "3"], "max_minutes: has no effect"),
        (["a", "b", "--min-effect", "0.1"], "min_effect: has no effect"),
        (["a", "b", "--output-dir", "x"], "output_dir: has no effect"),
        (["a", "b", "--interleave", "--min-effect", "2"], "min_effect: a fraction"),
        (["a", "b", "--interleave", "--metrics", "duration_s"], "duration_s is what benchmark"),
        (["a", "b", "--revisions", "x", "y"], "leave paths and --interleave out"),
        (["a", "b", "--", "--lr", "0.1"], "flags after -- are for --revisions"),
        (["a", "b", "--format", "pdf"], "pdf"),
    ],
)
def test_bad_input_is_one_line(argv, says, stored, capsys):
    text = record_json(record(0, 1.0, minute=0))
    (stored / "empty").mkdir()
    (stored / "cut.json").write_text(text[:-20])
    (stored / "nan.json").write_text(text.replace('"wall_s": 1.0', '"wall_s": NaN'))
    (stored / "deep.json").write_text("[" * 1_000_000)
    (stored / "newer.json").write_text(text.replace('"schema_version": 1', '"schema_version": 99'))
    (stored / "config.yaml").write_text("lr: 0.1\n")
    out, err = refused(argv, capsys)
    assert out == ""
    assert says in err


@pytest.fixture
def run_in_turn(monkeypatch):
    """Stands in for the runs of both sides; gives what was asked of it."""
    asked = {}

    def use(factor, pairs_in_all=64, error=None):
        def run(a, b, *, output_dir, max_minutes, settled, tell):
            asked.update(a=a, b=b, output_dir=output_dir, max_minutes=max_minutes)
            if error:
                raise error
            of_a, of_b = pairs(pairs_in_all, factor)
            for n in range(1, pairs_in_all + 1):
                if reason := settled(of_a[:n], of_b[:n]):
                    tell(reason)
                    break
            return of_a[:n], of_b[:n]

        monkeypatch.setattr(interleave, "run_interleaved", run)
        return asked

    return use


def test_runs_in_turn_end_when_settled_and_the_table_says_the_same(stored, run_in_turn, capsys):
    (stored / "b.yaml").write_text("lr: 0.1\n")
    asked = run_in_turn(0.9)
    argv = ["--interleave", "a", "b.yaml", "--fail-if", "samples_per_s < -5%"]
    assert door.main([*argv, "--max-minutes", "3", "--output-dir", "new"]) == 1
    out, err = capsys.readouterr()
    assert "settled after 8 pairs: B is slower (samples/s)" in out
    assert "settled after 8 pairs" in err
    assert "B is slower: samples/s -10.0 %" in out
    assert "every p is 2 times that of one" in out
    assert asked["b"].arguments == ("--config", str(stored / "b.yaml"))
    assert (asked["max_minutes"], str(asked["output_dir"])) == (3.0, "new")


def test_a_thing_may_be_run_in_turn_with_itself(stored, run_in_turn, capsys):
    asked = run_in_turn(1.0)
    assert door.main(["--interleave", "a", "a"]) == 0
    assert "no difference in samples/s larger than 2 %" in capsys.readouterr().out
    assert asked["output_dir"].parts[:2] == ("runs", "compare")


def test_runs_that_time_ended_are_not_called_settled(stored, run_in_turn, capsys):
    run_in_turn(0.9, pairs_in_all=3)
    assert door.main(["--interleave", "a", "b", "--max-minutes", "2"]) == 0
    assert "not settled within 2 min" in capsys.readouterr().out


def test_runs_that_turn_out_not_comparable_end_at_once(stored, run_in_turn, monkeypatch, capsys):
    run_in_turn(0.9)
    sides = pairs(8, 0.9)
    other = {"num_threads": 2, "global_batch_size": 64}
    b = [run.model_copy(update={"environment": other}) for run in sides[1]]
    monkeypatch.setitem(globals(), "pairs", lambda n, factor: (sides[0], b))
    assert door.main(["--interleave", "a", "b"]) == 0
    assert "not comparable: different num_threads" in capsys.readouterr().out


def test_revisions_are_run_with_the_flags_after_the_dashes(
    stored, run_in_turn, monkeypatch, capsys
):
    asked = run_in_turn(0.9)

    def side_at(revision, *, name, arguments, repository, tell):
        return interleave.Side(name=f"{name} {revision} {repository.name}", arguments=arguments)

    monkeypatch.setattr(revisions, "side_at", side_at)
    argv = ["--revisions", "main", "HEAD~1", "--", "--recipe", "simple-cnn", "--quiet"]
    assert door.main(argv) == 0
    assert asked["a"].name == f"A main {stored.name}"
    assert asked["b"].name == f"B HEAD~1 {stored.name}"
    assert asked["b"].arguments == ("--recipe", "simple-cnn", "--quiet")
    assert "A is main, B is HEAD~1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (RunFailedError("side A: the run diverged"), 1, "error: side A: the run diverged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
    ],
)
def test_runs_that_fail_or_are_stopped_say_so(error, status, says, stored, run_in_turn, capsys):
    run_in_turn(1.0, error=error)
    with pytest.raises(SystemExit) as stop:
        door.main(["--interleave", "a", "b"])
    assert stop.value.code == status
    assert capsys.readouterr().err == f"mnistbench: {says}\n"


def test_the_command_starts_without_torch_and_ends_with_its_status(stored):
    probe = (
        "import sys, mnistbench.compare as door\n"
        "try:\n    door.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'accelerate', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True)
    command = [sys.executable, "-m", "mnistbench.compare", "a", "b"]
    gate = ["--fail-if", "samples_per_s < -5%"]
    for argv, status in ((command, 0), ([*command, *gate], 1), (command[:-1], 2)):
        assert subprocess.run(argv, check=False, capture_output=True).returncode == status
    listed = subprocess.run(
        [sys.executable, "-m", "mnistbench"], check=True, capture_output=True, text=True
    )
    assert "compare" in listed.stdout
