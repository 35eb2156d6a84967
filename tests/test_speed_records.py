"""The history of the speed records: what is kept of an attempt, its page, and the command."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from bench import claim_record
from bench.record_entry import FIRST_FRESH_SEED, FOLDER, entry_of, find_entries, save_entry
from bench.record_table import render_history
from mnistbench import compare as comparison_door
from mnistbench.launch.runs import RunFailedError
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import PHASES, Canary, CanaryReading
from mnistbench.schema.store import load_record
from tests.made_records import make_record

ENVIRONMENT = {
    "device_type": "cpu",
    "device_name": "A Chip (R) 9",
    "num_threads": 2,
    "versions": {"torch": "2.14.1"},
    "git_commit": "0123456789",
    "git_dirty": False,
}
TINY = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--model", "linear"),
    *("--max-steps", "3", "--loop", "stock", "--num-threads", "1"),
)


def run_of(seed, accuracy=0.99, day=1, **changes):
    phases_s = dict.fromkeys(PHASES, 0.0) | {"train": 0.5 + seed % 10 / 100, "eval": 0.25}
    began = datetime(2026, 1, day, tzinfo=UTC) + timedelta(seconds=seed)
    values = {"phases_s": phases_s, "environment": ENVIRONMENT, "created_at": began.isoformat()}
    return make_record(seed, (accuracy,), **values | changes)


def attempt(accuracies=(0.991, 0.9912, 0.9908), day=1, first_seed=1000, **changes):
    """An entry and the first of its runs."""
    runs = [run_of(first_seed + i, a, day, **changes) for i, a in enumerate(accuracies)]
    return entry_of(runs, runs[:2], target=0.99, what_changed="a | b"), runs[0]


def test_an_attempt_is_read_back_as_it_was_kept(tmp_path):
    entry, first = attempt()
    folder = save_entry(entry, first, root=tmp_path)
    assert folder == tmp_path / "a-chip-r-9-2-threads" / "2026-01-01-simple-cnn"
    assert find_entries(tmp_path) == {"a-chip-r-9-2-threads/2026-01-01-simple-cnn": entry}
    assert [run.seed for run in entry.runs] == [1000, 1001, 1002]
    assert [run.wall_s for run in entry.cold_runs] == [1010.0, 1011.0]
    assert entry.claim().claimed


def test_no_attempt_is_ever_overwritten(tmp_path):
    entry, first = attempt()
    before = save_entry(entry, first, root=tmp_path)
    kept = {path: path.read_bytes() for path in before.iterdir()}
    again = save_entry(entry.model_copy(update={"what_changed": "else"}), first, root=tmp_path)
    assert again.name == "2026-01-01-simple-cnn-2"
    assert {path: path.read_bytes() for path in before.iterdir()} == kept
    assert len(find_entries(tmp_path)) == 2


def test_what_is_kept_names_no_folder_of_the_machine(tmp_path):
    first = run_of(1000)
    config = first.config | {"data_dir": "/home/me/data", "output_dir": "/home/me/runs"}
    entry, first = attempt(config=config)
    folder = save_entry(entry, first, root=tmp_path)
    texts = [path.read_text() for path in folder.iterdir()]
    assert len(texts) == 2
    assert not any("/home/me" in text for text in texts)


def test_the_canary_spans_the_whole_attempt():
    def canary(before, after):
        speeds = [
            CanaryReading(matmul_flops_per_s=s, copy_bytes_per_s=1.0) for s in (before, after)
        ]
        return Canary(before=speeds[0], after=speeds[1])

    runs = [run_of(1000 + i, canary=canary(10.0 + i, 11.0 + 5 * i)) for i in range(3)]
    entry = entry_of(runs, runs[:1], target=0.9, what_changed="x")
    assert entry.canary == canary(10.0, 21.0)
    assert entry.unstable_runs == 2
    assert "†" in render_history({"x": entry})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"more": 1}, "unknown key 'more'"),
        ({"target": 2.0}, "target: should be less than or equal to 1"),
        ({"runs": []}, "runs: List should have at least 1 item"),
        ({"runs": [{"seed": 1, "test_accuracy": 0.9, "train_s": 1.0, "eval_s": 0.0}] * 2}, "twice"),
        ({"schema_version": 9}, "newer than this version reads"),
    ],
)
def test_an_entry_of_wrong_shape_is_refused(change, says, tmp_path):
    folder = save_entry(*attempt(), root=tmp_path)
    values = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps(values | change))
    with pytest.raises(InputError) as refusal:
        find_entries(tmp_path)
    assert says in str(refusal.value)


def test_the_page_lists_every_attempt_by_date_claimed_or_not(tmp_path):
    for made in (attempt(day=9), attempt((0.98, 0.99), day=3), attempt((0.995, 0.991), day=5)):
        save_entry(*made, root=tmp_path)
    lines = render_history(find_entries(tmp_path)).splitlines()
    rows = [line for line in lines if line.startswith("| 2026")]
    assert [row[:12] for row in rows] == ["| 2026-01-03", "| 2026-01-05", "| 2026-01-09"]
    assert "not claimed: mean 98.500 % of 2 seeds is below 99 %" in rows[0]
    assert "not below 0.01" in rows[1]
    assert "| claimed " in rows[2]
    for text in (
        "A Chip (R) 9, 2 threads",
        "a \\| b",
        "99 % on mnist",
        "0.76",
        "99.100",
        "0123456",
    ):
        assert text in rows[2]


def test_the_page_in_the_repository_is_up_to_date():
    page = (FOLDER / "README.md").read_text()
    assert page == render_history(find_entries()), "run python -m bench.claim_record --render"


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """The command with make-believe runs; gives its exit status, and what was run."""
    made = {"cold": [], "warm": None, "accuracies": (0.991, 0.9912, 0.9908), "changes": {}}

    def run(_, seed, folder):
        made["cold"].append(seed)
        return run_of(made["cold"][-1], **made["changes"])

    def warm(config, num_seeds, output_dir):
        made["warm"] = config
        return [run_of(config.seed + i, a) for i, a in enumerate(made["accuracies"][:num_seeds])]

    monkeypatch.setattr(claim_record.TrainSide, "run", run)
    monkeypatch.setattr(claim_record, "_warm", warm)

    def call(*flags, recipe="simple-cnn", fixed=()):
        own = ["--recipe", recipe, "--target", "0.99", "--what-changed", "new", "--num-seeds", "3"]
        return claim_record.main([*own, "--folder", str(tmp_path), *flags, "--", *fixed])

    call.made = made
    return call


def test_a_claim_is_kept_and_the_page_written(claim, tmp_path, capsys):
    assert claim(fixed=["--max-steps", "7"]) == 0
    assert claim.made["cold"] == [1000, 1001, 1002]
    assert (claim.made["warm"].seed, claim.made["warm"].max_steps) == (1000, 7)
    out, err = capsys.readouterr()
    assert "simple-cnn to 99 %: claimed; mean 99.100 % of 3 seeds" in out
    assert "acc" not in err  # nothing to stop an attempt on
    assert (tmp_path / "README.md").read_text() == render_history(find_entries(tmp_path))


def test_an_attempt_that_fails_is_kept_and_says_so(claim, tmp_path, capsys):
    claim.made["accuracies"] = (0.98, 0.99, 0.985)
    assert claim("--cold-runs", "1") == 3
    assert claim.made["cold"] == [1000]
    assert "not claimed; mean 98.500 % of 3 seeds is below 99 %" in capsys.readouterr().out
    (entry,) = find_entries(tmp_path).values()
    assert not entry.claim().claimed


def test_each_attempt_of_a_recipe_has_fresh_seeds(claim, capsys):
    assert claim() == 0
    assert claim() == 0
    assert claim.made["warm"].seed == FIRST_FRESH_SEED + 3
    assert claim(recipe="fast-cnn") == 0
    assert claim.made["warm"].seed == FIRST_FRESH_SEED
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        claim("--first-seed", "1005")
    assert stop.value.code == 2
    assert "seed 1005 is not fresh" in capsys.readouterr().err


def test_runs_that_read_the_test_set_early_are_found_before_the_warm_ones(claim, tmp_path, capsys):
    claim.made["changes"] = {"eval_points": make_record(0, (0.9, 0.98)).eval_points}
    with pytest.raises(SystemExit) as stop:
        claim()
    assert stop.value.code == 2
    assert "read the test set 2 times" in capsys.readouterr().err
    assert claim.made["warm"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_cold_run_that_fails_leaves_nothing(claim, tmp_path, capsys, monkeypatch):
    def fail(_, seed, folder):
        raise RunFailedError("out of memory")

    monkeypatch.setattr(claim_record.TrainSide, "run", fail)
    assert claim() == 1
    assert capsys.readouterr().err == "mnistbench: error: out of memory\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--recipe", "simple-cnn", "--target", "0.9"], "what_changed: an attempt needs it"),
        (["--target", "90"], "target: a fraction above 0, not 90"),
        (["--num-seeds", "1"], "num_seeds: at least 2, not 1"),
        (["--cold-runs", "0"], "cold_runs: at least 1, not 0"),
        (["--first-seed", "7"], "first_seed: at least 1000, not 7"),
        (["--what-changed", "two\nlines"], "what_changed: one line"),
        (["--recipe", "no-such"], "recipe: should be"),
        (["--", "--seed", "3"], "seed: is set by this command"),
        (["--", "--lr", "fast"], "lr: should be a valid number (got 'fast')"),
    ],
)
def test_bad_usage_is_one_line(argv, says, claim, tmp_path, capsys):
    defaults = {"--recipe": "simple-cnn", "--target": "0.9", "--what-changed": "x"}
    if argv[:3:2] != ["--recipe", "--target"]:
        argv = [text for pair in defaults.items() if pair[0] not in argv for text in pair] + argv
    with pytest.raises(SystemExit) as stop:
        claim_record.main(["--folder", str(tmp_path), *argv])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_two_real_rows_are_claimed_and_run_again_in_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = ["--recipe", "simple-cnn", "--target", "1", "--num-seeds", "2", "--cold-runs", "1"]
    for lr in ("0.01", "0.1"):
        argv = [*own, "--what-changed", lr, "--folder", "kept", "--", *TINY, "--lr", lr]
        assert claim_record.main(argv) == 3
    rows = find_entries(tmp_path / "kept")
    for entry in rows.values():  # a seed of many is trained as it is alone
        assert entry.cold_runs[0].test_accuracy == entry.runs[0].test_accuracy
    a, b = (f"kept/{name}" for name in rows)
    capsys.readouterr()
    flags = ["--metrics", "train_eval_s", "test_accuracy", "--max-minutes", "0.01"]
    assert comparison_door.main([a, b, "--interleave", *flags, "--output-dir", "turns"]) == 0
    assert "B differs in: lr 0.1 instead of 0.01" in capsys.readouterr().out
    rates = {
        side: load_record(next((tmp_path / "turns" / side).rglob("record.json"))).config["lr"]
        for side in "AB"
    }
    assert rates == {"A": 0.01, "B": 0.1}
