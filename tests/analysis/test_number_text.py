"""Names told apart by numbers, and how much work that and its like are for many rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.differences import conditions
from mnistbench.analysis.grouping import differences, run_name
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.number_text import numbered, setting_text
from mnistbench.analysis.pairing import match_groups
from mnistbench.output.page.report_data import ReportRow, by_conditions
from tests.made_records import make_record


def test_names_that_come_once_stay_as_they_are():
    assert numbered(["a", "b", "a", "c", "a"]) == ["a #1", "b", "a #2", "c", "a #3"]
    assert numbered(iter([])) == []


@given(st.lists(st.sampled_from("abc")))
def test_numbers_are_counted_up_in_order(names):
    expected = [
        name if names.count(name) == 1 else f"{name} #{names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    ]
    assert numbered(names) == expected


class Counted:
    """A value that counts how often any of its kind was compared."""

    compared = 0

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        Counted.compared += 1
        return self.value == other.value

    __hash__ = None  # type: ignore[assignment]

    def __str__(self):
        return str(self.value)


def configured(number, **config):
    record = make_record(number)
    return record.model_copy(update={"config": record.config | config})


@pytest.mark.parametrize("n", [100, 400])
def test_what_rows_differ_in_is_found_in_one_comparison_each(n):
    groups = [[configured(0, lr=Counted(k), momentum=Counted(0.9))] for k in range(n)]
    Counted.compared = 0
    assert differences(groups) == [f"lr {k}" for k in range(n)]
    assert Counted.compared <= 4 * n


ODD = st.sampled_from([None, 0, 1, 1.0, True, "1", (), [1], {"a": 1}])


@given(
    st.lists(
        st.tuples(st.sampled_from(["one", "two"]), st.dictionaries(st.sampled_from("ab"), ODD)),
        max_size=6,
    )
)
def test_differences_are_those_of_each_pair(rows):
    """Against the comparison of each row with every other of its name."""
    groups = [[configured(0, **config).model_copy(update={"recipe": None})] for _, config in rows]
    groups = [
        [group[0].model_copy(update={"config": group[0].config | {"model": name}})]
        for (name, _), group in zip(rows, groups, strict=True)
    ]
    told = differences(groups)
    for one, text in zip(groups, told, strict=True):
        same = [g[0].config for g in groups if run_name(g[0]) == run_name(one[0])]
        varying = {key for key in "ab" if any(c.get(key) != one[0].config.get(key) for c in same)}
        assert sorted(text.split(", ") if text else []) == sorted(
            f"{key} {setting_text(one[0].config.get(key))}" for key in varying
        )


def test_rows_are_of_one_set_where_nothing_that_is_needed_differs():
    needs = METRICS["time_to_accuracy_s"].needs
    plain, other = make_record(0), configured(1, target_accuracy=0.5)
    cpu = plain.model_copy(update={"environment": plain.environment | {"device_type": "cuda"}})
    for a in (plain, other, cpu):
        for b in (plain, other, cpu):
            sets = by_conditions([ReportRow("a", [a]), ReportRow("b", [b])], needs)
            assert (len(sets) == 1) == (not conditions([a], [b], needs))
    both = [ReportRow("a", [plain, cpu]), ReportRow("b", [cpu, plain]), ReportRow("c", [plain])]
    assert by_conditions(both, needs) == [both[:2], both[2:]]


def test_of_many_groups_each_finds_its_own():
    a, b = ([configured(side, lr=k / 1000) for k in range(60)] for side in (0, 1))
    matches = match_groups(a, [*b[::-1], configured(0, lr=2.0)])
    assert [match.a[0].config["lr"] for match in matches.found] == [k / 1000 for k in range(60)]
    assert all(m.a[0].config["lr"] == m.b[0].config["lr"] for m in matches.found)
    assert len(matches.only_in_b) == 1
    assert not matches.only_in_a
    assert [match.name for match in matches.found][:2] == ["simple-cnn #1", "simple-cnn #2"]
