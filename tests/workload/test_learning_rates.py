"""Tuned learning rates: they come with the package, and the search that makes them goes on."""

import json
import sys
from typing import get_args

import pytest

from bench import search_learning_rates
from bench.loss_runs import SETTINGS, learning_rate, load_rates, search_settings, tuned_rates
from bench.search_learning_rates import FOLDER, kept_losses, save
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import LossName

LOSSES = get_args(LossName)


@pytest.mark.parametrize("model", SETTINGS)
def test_each_loss_has_its_best_rate_on_each_network(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = tuned_rates(model)
    assert found.losses.keys() == set(LOSSES)
    for loss, search in found.losses.items():
        best = min(search.mean_val_error, key=lambda lr: search.mean_val_error[lr])
        assert learning_rate(model, loss) == search.lr == float(best)


def test_rates_of_other_settings_are_not_used(monkeypatch):
    monkeypatch.setitem(SETTINGS, "cnn4", SETTINGS["cnn4"] | {"momentum": 0.5})
    with pytest.raises(ValueError, match="its rates are for other settings"):
        learning_rate("cnn4", "mse")


def test_a_network_that_was_not_searched_is_one_line():
    with pytest.raises(InputError, match="lenet: no learning rates were searched on it"):
        tuned_rates("lenet")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not tuned learning rates: "),
        ("[]", "not tuned learning rates: "),
        ('{"command": "x", "settings": {}, "losses": {"mse": {"lr": NaN}}}', "not strict JSON"),
        ('{"command": "x", "settings": {}, "losses": {"odd": {}}}', "losses.odd"),
    ],
)
def test_a_file_of_something_else_is_one_line(text, says, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=says) as error:
        load_rates(tmp_path / "x.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", SETTINGS)
def test_a_search_keeps_files_as_they_are(model, tmp_path):
    path = FOLDER / f"{model}.json"
    save(load_rates(path), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert kept_losses(path, search_settings(model)).keys() == set(LOSSES)
    assert kept_losses(path, {}) == kept_losses(tmp_path / "none.json", {}) == {}


def test_a_search_that_was_stopped_goes_on(tmp_path, monkeypatch, capsys):
    measured = []

    def mean_error(settings):
        measured.append((settings["loss"], settings["lr"]))
        if len(measured) == 20:
            raise KeyboardInterrupt
        return abs(settings["lr"] - 0.1)

    monkeypatch.setattr(search_learning_rates, "FOLDER", tmp_path)
    monkeypatch.setattr(search_learning_rates, "mean_error", mean_error)
    monkeypatch.setattr(sys, "argv", ["search", "cnn4"])
    with pytest.raises(KeyboardInterrupt):
        search_learning_rates.main()
    kept = json.loads((tmp_path / "cnn4.json").read_text())["losses"]
    search_learning_rates.main()
    assert load_rates(tmp_path / "cnn4.json").losses.keys() == set(LOSSES)
    again = [loss for loss, _ in measured[20:]]
    assert 0 < len(kept) < len(LOSSES)
    assert not kept.keys() & {*again}
    assert {search.lr for search in load_rates(tmp_path / "cnn4.json").losses.values()} == {0.1}
    assert capsys.readouterr().out.count("cross-entropy: 0.1 of") == 2
