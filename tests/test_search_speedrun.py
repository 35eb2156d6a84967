"""The search for speed records: every combination, on val alone, kept as it goes."""

import json
from itertools import product
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import search_speedrun
from bench.search_speedrun import trials_of
from mnistbench.schema.errors import InputError

TINY = (
    *("--dataset", "synthetic", "--synthetic-train-size", "10200", "--model", "linear"),
    *("--max-steps", "3", "--loop", "stock", "--num-threads", "1"),
)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    rates=st.lists(
        st.integers(1, 99).map(lambda n: f"0.{n:02}"), min_size=1, max_size=4, unique=True
    ),
    steps=st.lists(st.integers(1, 999).map(str), min_size=1, max_size=3, unique=True),
)
def test_every_combination_is_tried_on_val(rates, steps):
    trials = trials_of("fast-cnn", [f"lr={','.join(rates)}", f"max-steps={','.join(steps)}"])
    asked = [(float(lr), int(n)) for lr, n in product(rates, steps)]
    assert [(t.config.lr, t.config.max_steps) for t in trials] == asked
    assert {(t.config.eval_split, t.config.val_size) for t in trials} == {("val", 10_000)}
    assert {t.config.recipe for t in trials} == {"fast-cnn"}


def test_values_are_read_as_the_flags_of_train():
    (plain, shifted) = trials_of("fast-cnn", ["augment=,shift rotate"], fixed=["--lr", "0.5"])
    assert (plain.config.augment, shifted.config.augment) == ((), ("shift", "rotate"))
    assert shifted.config.lr == 0.5
    switched = trials_of("fast-cnn", ["channels_last=true,false"])
    assert [trial.config.channels_last for trial in switched] == [True, False]
    assert len(trials_of("fast-cnn", [])) == 1


@pytest.mark.parametrize(
    ("tries", "fixed", "says"),
    [
        (["learning=1"], (), "names no setting"),
        (["lr"], (), "names no setting"),
        (["val_size=0,10000"], (), "val_size: is not for a search to set"),
        (["seed=1,2"], (), "seed: is not for a search to set"),
        (["lr=0.1"], ("--eval-split", "test"), "eval_split: is not for a search to set"),
        (["lr=0.1", "lr=0.2"], (), "lr is given twice"),
        (["lr=0.1"], ("--lr", "0.2"), "lr is given twice"),
        (["lr=0.1,-1"], (), "try lr=-1:"),
        (["channels_last=1"], (), "true or false, not '1'"),
        (["momentum=0.9"], (), "momentum: has no effect with --optimizer adam"),
    ],
)
def test_what_cannot_be_tried_is_refused(tries, fixed, says):
    with pytest.raises(InputError) as refusal:
        trials_of("fast-cnn", tries, fixed=fixed)
    assert says in str(refusal.value)


def test_seeds_of_claims_are_not_searched_with(capsys):
    with pytest.raises(SystemExit) as stop:
        search_speedrun.main(["--recipe", "fast-cnn", "--first-seed", "998", "--num-seeds", "3"])
    assert stop.value.code == 2
    assert "seeds of a search are 0 to 999" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_prints_the_best_on_val_first_and_keeps_what_it_found(tmp_path, capsys):
    kept = tmp_path / "tuning" / "kept.json"
    own = ["--recipe", "simple-cnn", "--num-seeds", "2", "--kept", str(kept)]
    for tries in (["--try", "lr=0.001,0.1"], []):
        assert search_speedrun.main([*own, *tries, "--", *TINY]) == 0
    first, second = json.loads(kept.read_text())
    slow, quick = first["trials"]
    assert (slow["settings"], quick["settings"]) == ({"lr": "0.001"}, {"lr": "0.1"})
    assert fmean(slow["val_accuracy"]) < fmean(quick["val_accuracy"])
    assert (first["split"], first["seeds"]) == ("val", [0, 1])
    assert second["trials"][0]["settings"] == {}
    assert {key for t in first["trials"] for key in t} == {"settings", "val_accuracy", "train_s"}
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()[2:4]]
    assert [row[0] for row in rows] == ["0.1", "0.001"]
    assert rows[0][1] == f"{100 * fmean(quick['val_accuracy']):.3f}"
    assert "test" not in out
