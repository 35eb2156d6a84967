"""The door to comparisons: stored runs and benchmark files; gates and exit status."""

import json
import subprocess
import sys

import pytest

from mnistbench import compare as door
from mnistbench.schema.store import record_json, save_record
from tests import warm_commands
from tests.compare_runs import pairs, record, refused, store_pairs

STATS = {"median": 1.0, "rounds": 8, "data": [1.0 + n / 100 for n in range(8)]}
BENCHMARKS = {"machine_info": {}, "benchmarks": [{"fullname": "one", "stats": STATS}]}


@pytest.fixture(autouse=True)
def _in_a_wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Folders a and b in the current folder, B a tenth slower."""
    monkeypatch.chdir(tmp_path)
    return store_pairs(tmp_path)


def test_two_folders_are_a_table_a_headline_and_what_differs(stored, capsys):
    assert door.main(["a", "b"]) == 0
    out = capsys.readouterr().out
    assert (
        "B (b) is slower than A (a): samples/s -10.0 % (95 % interval -10.0 to -10.0), n = 8 pairs"
        in out
    )
    assert "B differs in: lr 0.1 instead of 0.01" in out
    assert out.startswith("A is a, B is b\n\n")
    assert door.main(["a/run-0-0/record.json", "b", "--format", "markdown"]) == 0
    assert "\n\n| metric" in capsys.readouterr().out


@pytest.fixture
def three(stored):
    """As well a folder c, as fast as a, with another loss."""
    for run in pairs(8, 1.0)[1]:
        config = run.config | {"loss": "mse", "lr": 0.01}
        other = run.model_copy(update={"config": config, "run_id": f"c-{run.seed}"})
        save_record(other, stored / "c" / other.run_id)
    return stored


def test_one_set_of_records_is_split_by_a_key(stored, capsys):
    assert door.main([".", "--by", "lr"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A is lr 0.01, B is lr 0.1\n")
    assert "\nB (lr 0.1) is slower than A (lr 0.01): samples/s -10.0 %" in out
    assert "differs in" not in out
    for baseline in ("0.1", "lr 0.1"):
        assert door.main(["a", "b", "--by", "lr", "--baseline", baseline]) == 0
        assert "B (lr 0.01) is faster than A (lr 0.1): samples" in capsys.readouterr().out


def test_each_of_several_sides_is_compared_with_the_baseline(three, capsys):
    assert door.main(["a", "b", "c"]) == 0
    out = capsys.readouterr().out
    assert "\nb is slower than a: samples/s -10.0 %" in out
    assert "\nno difference seen between a and c: samples/s +0.0 %" in out
    assert "p is adjusted for 4 rows" in out
    assert "c differs in: loss mse instead of cross-entropy" in out
    for baseline in ("c", "./c"):
        assert door.main(["a", "b", "c", "--baseline", baseline, "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        told = [(row["a_name"], row["b_name"], row["metric"]) for row in rows]
        assert told[:2] == [("c", "a", "samples_per_s"), ("c", "b", "samples_per_s")]
        assert [row["verdict"] for row in rows[:2]] == ["no difference seen", "slower"]


def test_a_gate_says_which_side(three, capsys):
    assert door.main(["a", "b", "c", "--fail-if", "samples_per_s < -5%"]) == 1
    out = capsys.readouterr().out
    assert "gate fired: simple-cnn: b against a: samples_per_s < -5%: -10.0 %" in out
    assert "gate passed: simple-cnn: c against a: samples_per_s < -5%" in out
    assert out.count("slower [1]") == 1
    assert "\n[1] gate fired (samples_per_s < -5%)\n[2] gate passed (samples_per_s < -5%)\n" in out


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
    found = json.loads(out)
    assert [gate["state"] for gate in found["gates"]] == ["fired", "passed"]
    for told in (*found["rows"], *found["gates"]):
        assert (told["a_name"], told["b_name"]) == ("a", "b")
    assert err.startswith("mnistbench: gate fired: ")


def test_a_fired_gate_wins_over_one_that_cannot_be_judged(stored, capsys):
    unknown, fired = (["--fail-if", gate] for gate in ("test_loss > 5%", "samples_per_s < -5%"))
    assert door.main(["a", "b", *unknown, *fired]) == 1
    out = capsys.readouterr().out
    assert "gate fired" in out
    assert "gate cannot be judged" in out
    assert "test_loss > 5%" in refused(["a", "b", *unknown], capsys)[1]
    error = refused(["a", "b", *unknown, "--fail-if", "val_accuracy < 0.1"], capsys)[1]
    assert error.count("gate cannot be judged") == 1
    assert error.endswith("; and 1 more, which the result names\n")


def test_an_unsettled_gate_passes_or_fails_as_asked(stored, capsys):
    gate = ["a", "b", "--fail-if", "samples_per_s < -10%"]
    assert door.main(gate) == 0
    assert "gate not settled" in capsys.readouterr().out
    assert door.main([*gate, "--unsettled", "fail"]) == 1
    assert door.main(["a", "b", "--fail-if", "samples_per_s < -20%", "--unsettled", "fail"]) == 0


def test_one_run_a_side_settles_no_gate(stored, capsys):
    one = ["a/run-0-0", "b/run-0-1", "--fail-if", "samples_per_s < -5%"]
    assert "n = 1: too few for a test" in refused(one, capsys)[1]
    assert "cannot be judged" in refused([*one, "--unsettled", "pass"], capsys)[1]


def test_a_gate_brings_its_metric_to_the_table(stored, capsys):
    assert door.main(["a", "b", "--metrics", "test_accuracy", "--fail-if", "wall_s > 9%"]) == 0
    out = capsys.readouterr().out
    assert "wall time" in out
    assert "samples/s" not in out


def test_a_gate_that_cannot_be_judged_shows_the_table_and_is_status_2(stored, capsys):
    out, err = refused(["a", "b", "--fail-if", "val_accuracy < -1%"], capsys)
    assert "no verdict [1,2]" in out
    assert "\n[1] not measured in A and B\n[2] gate cannot be judged (val_accuracy < -1%)" in out
    assert "gate cannot be judged" in err


def test_benchmark_files_are_told_by_what_they_hold(stored, capsys):
    slower = json.loads(json.dumps(BENCHMARKS))
    slower["benchmarks"][0]["stats"]["data"] = [2 * x for x in STATS["data"]]
    (stored / "old").write_text(json.dumps(BENCHMARKS))
    (stored / "new").write_text(json.dumps(slower))
    assert door.main(["old", "new", "--fail-if", "duration_s > 5%"]) == 1
    out = capsys.readouterr().out
    assert "B (new) is slower than A (old): duration" in out
    assert "n = 8 rounds each (not run in turn, and no probe tells how" in out
    assert "two benchmark files, or records" in refused(["old", "a"], capsys)[1]
    (stored / "newer").write_text(json.dumps(slower))
    assert "takes two benchmark files" in refused(["old", "new", "newer"], capsys)[1]
    assert "not samples_per_s" in refused(["old", "new", "--metrics", "samples_per_s"], capsys)[1]
    assert "--target-accuracy" in refused(["old", "new", "--target-accuracy", "0.9"], capsys)[1]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "takes two or more paths (or --by KEY and one), not 0"),
        (["a"], "takes two or more paths (or --by KEY and one), not 1"),
        (["a", "b", "a"], "a is named twice"),
        (["a", "missing"], "missing: does not exist"),
        (["a", "empty"], "empty: no record.json"),
        (["a", "a"], "a is named twice"),
        (["a", "link"], "link is named twice"),
        (["a", "b", "a/run-0-0"], "a and a/run-0-0 are not apart: both hold a/run-0-0/record.json"),
        (["a", "loop"], "Too many levels of symbolic links"),
        (["a", "cut.json"], "cut.json: not a record or a benchmark file"),
        (["a", "nan.json"], "NaN is not strict JSON"),
        (["a", "deep.json"], "deep.json: nested too deeply"),
        (["a", "newer.json"], "newer.json: schema 99 is newer"),
        (["a", "config.yaml"], "run it with --interleave"),
        (["a", "--by", "loss"], "by: loss is cross-entropy in all 8 runs; what varies: nothing"),
        (["a", "b", "--by", "seed"], "by: runs of one configuration may differ in seed"),
        (
            ["a", "b", "--by", "los"],
            "by: no record holds los (did you mean loss?); what varies: lr",
        ),
        (["--by", "lr"], "takes two or more paths (or --by KEY and one), not 0"),
        (["a", "b", "--by", "lr", "--interleave"], "by: is for stored records"),
        (
            ["a", "b", "--by", "lr", "--baseline", "0.5"],
            "0.5 is none of the sides: lr 0.01, lr 0.1",
        ),
        (["a", "b", "--baseline", "c"], "baseline: c is none of the sides: a, b"),
        (["a", "b", "--fail-if", "speed < 1"], "unknown metric 'speed'"),
        (["missing", "b", "--fail-if", "speed"], "is no gate"),
        (["a", "b", "--fail-if", "samples_per_s < -5"], 'did you mean "samples_per_s < -5%"?'),
        (["a", "b", "--metrics", "speed"], "speed"),
        (["a", "b", "--target-accuracy", "97"], "(got 97); use a fraction: 0.97"),
        (["a", "b", "--max-minutes", "3"], "--max-minutes: has no effect"),
        (["a", "b", "--min-effect", "0.1"], "--min-effect: has no effect"),
        (["a", "b", "--output-dir", "x"], "--output-dir: has no effect"),
        (["a", "b", "--interleave", "--min-effect", "2"], "(got 2); use a fraction: 0.02"),
        (["a", "b", "--interleave", "--metrics", "duration_s"], "duration_s is what benchmark"),
        (["a", "b", "--revisions", "x", "y"], "--revisions: are all that is run; leave out paths"),
        (["--revisions", "x", "y", "--baseline", "y"], "leave out baseline"),
        (["--revisions", "x", "y", "--commands", "a", "b"], "leave out commands"),
        (["a", "--interleave", "--commands", "t", "u"], "leave out paths and interleave"),
        (["--commands", "t"], "takes two or more commands, not 1"),
        (["--commands"], "takes two or more commands, not 0"),
        (["--commands", "t", "u", "--by", "lr"], "--by: is for stored records"),
        (["--commands", "t", "u", "--baseline", "v"], "v is none of the sides: t, u"),
        (["--commands", "t", "u", "--", "--lr", "1"], "flags after -- are for --revisions"),
        (["--commands", "t {lr}", "u"], "--commands: {lr}: nothing has this name; known: {seed}"),
        (["--commands", "t a.py", "u"], "side A: command: t: no such program"),
        (["a", "b", "--fresh"], "--fresh: is for runs of mnistbench train"),
        (["--commands", "t", "u", "--fresh"], "--fresh: is for runs of mnistbench train"),
        (["--command", "t"], "--command: is what --revisions runs"),
        (["a", "b", "--command", "t"], "--command: is what --revisions runs"),
        (["--revisions", "x", "y", "--command", "t", "--", "--lr", "1"], "without --command"),
        (["--revisions", "x", "y", "--command", "t |"], "--command: | is for a shell"),
        (["a", "b", "--", "--lr", "0.1"], "flags after -- are for --revisions"),
        (["--revisions", "x", "y", "--", "--lr", "1", "--seed", "5"], "--seed after --"),
        (["--revisions", "x", "y", "--", "--num_seeds=5"], "--num-seeds after --"),
        (["--revisions", "x", "y", "--", "--output-dir", "x"], "--output-dir after --"),
        (["a", "b", "--format", "pdf"], "pdf"),
    ],
)
def test_bad_input_is_one_line(argv, says, stored, capsys):
    text = record_json(record(0, 1.0, minute=0))
    (stored / "empty").mkdir()
    (stored / "loop").mkdir()
    (stored / "link").symlink_to("a")
    (stored / "loop" / "record.json").symlink_to("record.json")
    (stored / "cut.json").write_text(text[:-20])
    (stored / "nan.json").write_text(text.replace('"wall_s": 1.0', '"wall_s": NaN'))
    (stored / "deep.json").write_text("[" * 1_000_000)
    (stored / "newer.json").write_text(text.replace('"schema_version": 2', '"schema_version": 99'))
    (stored / "config.yaml").write_text("lr: 0.1\n")
    out, err = refused(argv, capsys)
    assert out == ""
    assert says in err


def test_one_bad_record_of_a_side_is_left_out_and_said(stored, capsys):
    path = stored / "b" / "broken" / "record.json"
    path.parent.mkdir()
    path.write_text("{")
    note = (
        f"B: 1 of {len(list((stored / 'b').iterdir()))} records could not be read and is left out"
    )
    assert door.main(["a", "b"]) == 0
    out = capsys.readouterr().out
    assert "B (b) is slower than A (a)" in out
    assert f"{note}: b/broken/record.json: not a record: " in out
    assert door.main(["a", "b", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"]
    assert err.startswith(f"mnistbench: {note}")
    for argv in (["a", "b", "--strict"], ["a", "b/broken"], ["a", str(path)]):
        _, err = refused(argv, capsys)
        assert "record.json: not a record" in err
    _, err = refused(["a", "b", "--strict", "--interleave"], capsys)
    assert "strict: is for stored records" in err


def test_a_gate_on_runs_that_diverged_is_status_2(stored, capsys):
    for run in pairs(8, 1.0)[1][1:]:
        text = record_json(run.model_copy(update={"status": "diverged"}))
        (stored / "b" / run.run_id / "record.json").write_text(text)
    assert door.main(["a", "b"]) == 0
    capsys.readouterr()
    _, err = refused(["a", "b", "--fail-if", "test_accuracy < 0.95"], capsys)
    assert "cannot be judged" in err
    assert "7 of 8 runs of B diverged or failed" in err


@pytest.mark.processes
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
    with warm_commands.cold():
        for argv, status in ((command, 0), ([*command, *gate], 1), (command[:-1], 2)):
            assert subprocess.run(argv, check=False, capture_output=True).returncode == status
        listed = subprocess.run(
            [sys.executable, "-m", "mnistbench"], check=True, capture_output=True, text=True
        )
    assert "compare" in listed.stdout
