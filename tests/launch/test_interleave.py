"""Two sides run in turn: order, seeds, when it ends, and what stays on disk."""

import pytest

from mnistbench.launch import interleave
from mnistbench.launch.interleave import run_interleaved
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord, Throughput
from mnistbench.schema.store import find_records, load_record, save_record
from tests.made_records import own_code

TINY = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--max-steps", "5", "--model", "linear", "--num-threads", "1"),
)


@pytest.fixture(autouse=True)
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(interleave, "say", lines.append)
    return lines


@pytest.fixture
def machine(monkeypatch):
    """Make-believe runs on a make-believe clock: what was run when, and how each run ends."""

    class Machine:
        def __init__(self):
            self.calls, self.endings, self.code = [], {}, {}
            self.now_s, self.run_s = 0.0, 30.0
            self.speeds = {"a": 20_100.4, "b": 19_300.0}

        def run(self, its, seed, folder):
            (side,) = its.arguments
            self.calls.append((side, seed))
            self.now_s += self.run_s
            ending = self.endings.get((side, seed), "completed")
            if not isinstance(ending, str):
                raise ending
            record = RunRecord(
                run_id=f"{side}-{seed}",
                status=ending,
                error=None if ending == "completed" else "a loss was not finite",
                created_at=f"2026-01-01T00:00:{len(self.calls):02}+00:00",
                seed=seed,
                recipe=None,
                config={},
                environment={},
                dataset=None,
                phases_s={},
                wall_s=self.run_s,
                throughput=Throughput(samples_per_s=self.speeds[side]),
                code=self.code.get((side, seed), []),
            )
            save_record(record, folder / record.run_id)
            return record

    made = Machine()
    monkeypatch.setattr(TrainSide, "run", lambda *told: made.run(*told))  # noqa: PLW0108 - is bound
    monkeypatch.setattr(TrainSide, "check", lambda *told: None)
    monkeypatch.setattr(interleave, "monotonic", lambda: made.now_s)
    return made


@pytest.fixture
def compare(tmp_path, told):
    """Runs sides a and b; gives their records and what was told."""

    def run(*, settled=lambda sides: None, max_minutes=1000.0, output_dir=tmp_path / "out"):
        a, b = (TrainSide(name=name.upper(), arguments=(name,)) for name in "ab")
        of_a, of_b = run_interleaved(
            [a, b],
            output_dir=output_dir,
            max_minutes=max_minutes,
            settled=settled,
        )
        return of_a, of_b, told

    return run


def after(num_pairs):
    def reason(sides):
        lengths = [len(side) for side in sides]
        return f"settled: {' = '.join(map(str, lengths))}" if lengths[0] == num_pairs else None

    return reason


def test_pairs_share_a_seed_and_take_turns_to_be_first(machine, compare):
    of_a, of_b, _ = compare(settled=after(3))
    assert machine.calls == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert [r.seed for r in of_a] == [r.seed for r in of_b] == [0, 1, 2]
    assert {r.run_id[0] for r in of_a} == {"a"}
    assert {r.run_id[0] for r in of_b} == {"b"}


def test_a_round_in_which_a_file_changed_is_the_last_and_left_out(machine, compare, tmp_path):
    machine.code = {("b", seed): own_code(1 + seed // 2) for seed in range(4)}
    of_a, of_b, told = compare(settled=after(4))
    assert [len(of_a), len(of_b)] == [2, 2]
    assert told[-1] == "the code of B changed; pair 3 is left out, and runs end"
    assert len(find_records([tmp_path / "out"])) == 6


def test_three_sides_are_run_to_and_fro(machine, tmp_path, told):
    machine.speeds["c"] = 5.0
    sides = [TrainSide(name=f"{name}.yaml", arguments=(name,)) for name in "abc"]
    found = run_interleaved(sides, output_dir=tmp_path, max_minutes=3.1, settled=lambda found: None)
    assert "".join(name for name, _ in machine.calls) == "abccba"
    assert [[record.run_id for record in side] for side in found][2] == ["c-0", "c-1"]
    assert told[0] == "round 1: a.yaml 20,100 samples/s, b.yaml 19,300, c.yaml 5"
    assert told[-1].startswith("not settled after 2 rounds in 3.0 min")
    assert len(find_records([tmp_path / "C"])) == 2
    with pytest.raises(InputError, match="interleave: at most 26 sides, not 27"):
        run_interleaved(sides * 9, output_dir=tmp_path / "x", max_minutes=1, settled=after(1))


def test_each_sides_records_lie_in_its_folder(machine, compare, tmp_path):
    of_a, of_b, _ = compare(settled=after(2))
    for folder, records in (("A", of_a), ("B", of_b)):
        on_disk = [load_record(path) for path in find_records([tmp_path / "out" / folder])]
        assert on_disk == records
        for record in records:
            assert (tmp_path / "out" / folder / record.run_id / "record.json").is_file()


def test_each_pair_and_the_reason_for_the_end_are_told(machine, compare):
    machine.speeds["b"] = None
    assert compare(settled=after(2))[2] == [
        "pair 1: A 20,100 samples/s, B –",
        "pair 2: A 20,100 samples/s, B –",
        "settled: 2 = 2",
    ]


def test_it_asks_after_whole_pairs_only(machine, compare):
    asked = []
    compare(
        settled=lambda sides: (
            asked.append([*map(len, sides)]) or ("enough" if sides[0][2:] else None)
        )
    )
    assert asked == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize(("max_minutes", "pairs"), [(0.01, 1), (1.9, 1), (2.0, 2), (3.5, 3)])
def test_no_pair_begins_that_would_not_end_in_time(machine, compare, max_minutes, pairs):
    of_a, of_b, told = compare(max_minutes=max_minutes)  # a pair takes a minute
    assert len(of_a) == len(of_b) == pairs
    assert told[-1].startswith(f"not settled after {pairs} pair")
    assert told[-1].endswith(f"another would not end within {max_minutes:g} min")


def test_what_settles_in_the_last_pair_is_settled(machine, compare):
    assert compare(settled=after(2), max_minutes=2.0)[2][-1] == "settled: 2 = 2"


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_time_that_is_none_is_refused(machine, compare, bad):
    with pytest.raises(InputError, match="max_minutes: should be above 0"):
        compare(max_minutes=bad)
    assert machine.calls == []


def test_a_folder_with_records_is_refused_and_an_empty_one_is_not(machine, compare, tmp_path):
    (tmp_path / "out" / "A").mkdir(parents=True)
    compare(settled=after(1))
    with pytest.raises(InputError, match="already holds records; use a new folder"):
        compare()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        compare(output_dir=tmp_path / "file")
    assert len(machine.calls) == 2


def test_a_run_that_did_not_complete_ends_it_and_says_whose_it_was(machine, compare, tmp_path):
    machine.endings["b", 1] = "diverged"
    with pytest.raises(RunFailedError) as failure:
        compare()
    path = tmp_path / "out" / "B" / "b-1" / "record.json"
    assert str(failure.value) == (
        f"side B: the run with seed 1 diverged (a loss was not finite): {path}"
    )
    assert path.is_file()


@pytest.mark.parametrize("error", [InputError("lr: no"), RunFailedError("out of memory")])
def test_an_error_names_its_side(machine, compare, error):
    machine.endings["a", 0] = error
    with pytest.raises(type(error), match=f"^side A: {error}$"):
        compare()


def test_a_wrong_flag_of_either_side_is_found_before_any_run(machine, compare, monkeypatch):
    def check(side, seed):
        assert seed == 0
        if side.arguments == ("b",):
            raise InputError("--lr: no number")

    monkeypatch.setattr(TrainSide, "check", check)
    with pytest.raises(InputError, match="side B: --lr: no number"):
        compare()
    assert machine.calls == []


def test_what_was_run_before_an_interrupt_stays(machine, compare, tmp_path):
    machine.endings["a", 1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        compare()
    kept = [path.parent.name for path in find_records([tmp_path / "out"])]
    assert kept == ["a-0", "b-0", "b-1"]


@pytest.mark.processes
def test_real_sides_run_with_their_own_flags_and_the_pairs_seed(tmp_path, monkeypatch, told):
    monkeypatch.chdir(tmp_path)
    a = TrainSide(name="A", arguments=(*TINY, "--seed", "7", "--num-seeds", "3"))
    b = TrainSide(name="B", arguments=(*TINY, "--lr", "0.5"))
    (of_a,), (of_b,) = run_interleaved(
        [a, b], output_dir=tmp_path / "out", max_minutes=10, settled=after(1)
    )
    assert (of_a.seed, of_b.seed) == (0, 0)
    assert (of_a.config["lr"], of_b.config["lr"]) == (0.01, 0.5)
    assert of_a.throughput.samples_per_s > 0
    assert load_record(tmp_path / "out" / "B" / of_b.run_id / "record.json") == of_b
    assert len(told) == 2
