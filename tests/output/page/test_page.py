"""What a page says of records, section by section."""

import re

import pytest

from mnistbench.analysis.comparison import compare
from mnistbench.output.page import page as pages
from mnistbench.output.page.diagnostics_sections import (
    profile_section,
    step_section,
    telemetry_section,
)
from mnistbench.output.page.headline import answers, facts, title
from mnistbench.output.page.measurement_sections import (
    curve_section,
    ledger_section,
    scaling_section,
    summary_section,
    throughput_section,
    time_section,
)
from mnistbench.output.page.page import render_page, save_pictures
from mnistbench.output.page.provenance_sections import (
    care_section,
    environment_section,
    rerun_section,
)
from mnistbench.output.page.report_data import ReportOptions, Subject
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Result, Throughput
from tests.made_records import slower
from tests.page_records import every_kind, page_record

SECTIONS = ["summary", "time", "curves", "ledger", "throughput", "scaling", "steps"]
SECTIONS += ["operators", "care", "rerun", "environment", "telemetry"]


def of(records, **options):
    return Subject(records=records, options=ReportOptions(**options))


def seeds(n, accuracies=(0.9, 0.95, 0.98), **changes):
    return [page_record(seed, accuracies, **changes) for seed in range(n)]


@pytest.fixture(scope="module")
def page():
    return render_page(every_kind(), ReportOptions(), made_at="Made now.")


def test_a_page_of_everything_has_every_section_and_its_pictures(page):
    assert re.findall(r'<section id="([a-z]+)"', page) == SECTIONS
    assert re.findall(r'<a href="#([a-z]+)">', page) == SECTIONS
    assert page.count("<svg ") == page.count("<figcaption>") == page.count("<figure ") >= 8
    assert page.count("Made now.") == 1
    assert '<p class="remark">Tied: ' not in page  # where nothing is
    tied = render_page([*seeds(6), *seeds(6, config={"lr": 0.5})])
    assert tied.count('<p class="remark">Tied: ') == 1
    assert ">None<" not in re.sub("<code>.*?</code>", "", page, flags=re.DOTALL)


@pytest.mark.slow
def test_the_same_records_make_the_same_page(page):
    again = render_page(every_kind(), ReportOptions(), made_at="Made now.")
    assert again == page


def test_one_run_without_anything_makes_a_page_of_what_there_is():
    bare = page_record(
        eval_points=[], train_points=[], status="failed", error="no", result=Result(),
        throughput=Throughput(), dataset=None, target=None,
    ).model_copy(update={"environment": {}, "phases_s": {}})  # fmt: skip
    page = render_page([bare])
    assert re.findall(r'<section id="([a-z]+)"', page) == [
        "summary",
        "care",
        "rerun",
        "environment",
    ]
    assert "<svg" not in page


def test_the_title_and_the_facts_count_what_is_there():
    subject = of(every_kind())
    assert title(subject) == "9 configurations on mnist, 17 runs"
    told = facts(subject)
    assert (told["runs"], told["completed"], told["configurations"]) == ("17", "16", "9")
    assert title(of([page_record()])) == "simple-cnn on mnist, 1 run"
    unnamed = of([page_record(environment={"device_name": None})])
    assert facts(unnamed)["machine"] == "–"


def test_the_headline_says_what_is_tied_and_what_a_comparison_finds_worse():
    fast, slow = seeds(6), slower(seeds(6, config={"lr": 0.5}), 3)
    (said, accurate) = answers(of([*fast, *slow]))
    best = "Fastest to 97 %: simple-cnn, lr 0.01 at 5.25 s (4.04–6.46)"
    assert said == f"{best}. The other row is slower (not run in balanced turn)."
    (row,) = compare(fast, slow, metrics=["time_to_accuracy_s"]).rows
    assert row.verdict == "slower"
    assert accurate.startswith(
        "Highest test accuracy: simple-cnn, lr 0.01 at 98.00 % (98.00–98.00)"
    )
    assert accurate.endswith(", tied with simple-cnn, lr 0.5 at 98.00 % (98.00–98.00).")
    near = slower(seeds(6, config={"lr": 0.5}), 1.01)
    assert answers(of([*fast, *near]))[0].startswith(
        f"{best}, tied with simple-cnn, lr 0.5 at 5.30"
    )
    several = [*near, *slower(seeds(6, config={"lr": 0.7}), 1.01)]
    tied = "tied with 2 others: simple-cnn, lr 0.5; simple-cnn, lr 0.7. The other row is slower"
    told = [*fast, *several, *slower(seeds(6, config={"lr": 0.9}), 3)]
    assert answers(of(told))[0].startswith(f"{best}, {tied}")
    for n in (1, 3):  # nothing is tied that no test could tell apart
        (said, _) = answers(of([*fast[:n], *slow[:n]]))
        assert said.endswith(f". There is no verdict on the other row: n = {n} is too few.")
    missed = seeds(6, (0.9, 0.95, 0.96), config={"lr": 0.5})
    assert "The other row is slower" in answers(of([*fast, *missed]))[0]
    some = [*slower(seeds(6, config={"lr": 0.5}), 0.5)[:2], *missed[2:]]
    assert "tied with simple-cnn, lr 0.5 (not reached)" in answers(of([*fast, *some]))[0]
    alone = [*fast, *seeds(6, target=None, result=Result(), config={"lr": 0.5})]
    assert not any("slower" in line for line in answers(of(alone)))


def test_a_page_of_too_many_rows_shows_the_best_and_says_so(monkeypatch):
    monkeypatch.setattr(pages, "MOST_SHOWN", 2)
    slow, fast, missed = (
        slower(seeds(1, config={"lr": lr}), by) for lr, by in ((1, 3), (2, 1), (3, 1))
    )
    missed = [run.model_copy(update={"eval_points": run.eval_points[:1]}) for run in missed]
    page = render_page([*missed, *slow, *fast])
    assert "show 2 of 3 rows: the fastest to the first target" in page
    assert re.findall(r'<tr>\s*<th scope="row" class="brief">(.*?)</th>', page)[:2] == [
        "simple-cnn, lr 1",
        "simple-cnn, lr 2",
    ]
    assert "<dd>3</dd>" in page  # of all
    assert "Tables and pictures show" not in render_page([*slow, *fast])


def test_what_is_not_comparable_is_compared_where_it_is():
    threads = {"environment": {"num_threads": 2}}
    records = [*seeds(6), *slower(seeds(6, config={"lr": 0.5}), 3), *seeds(1, **threads)]
    said = answers(of(records))
    assert said[0].startswith("Fastest to 97 % of the 2 rows with num_threads 1: simple-cnn")
    assert said[1] == "Fastest to 97 %: 1 of 3 rows not compared, by num_threads."
    assert "tied with 2 others" in said[2]  # of all three
    assert len(said) == 3
    beside = seeds(6, config={"lr": 0.7}, environment={"measured_alone": False})
    assert not any("Fastest" in line for line in answers(of([*seeds(6), *beside])))


def test_the_summary_has_the_cells_of_the_table_and_says_once_what_all_rows_share():
    records = [*seeds(2), *seeds(2, config={"lr": 0.5})]
    section = summary_section(of(records))
    (table,) = section.tables
    assert [row["run"] for row in table.rows] == ["simple-cnn, lr 0.01", "simple-cnn, lr 0.5"]
    assert table.rows[0]["samples/s"].startswith("1,005 ± ")
    assert table.rows[0]["time to 97 % s"] == "5.05 (–), 2 of 2"
    assert "reference" not in table.columns
    (said,) = section.said
    assert said.startswith("All rows: dataset mnist (local), device cpu × 1 × 1 threads, batch 64")
    figures = {name for name, look in table.looks.items() if look == "figure"}
    assert {"samples/s", "test acc %"} <= figures


def test_times_are_ordered_and_scored_at_the_targets_asked_for():
    records = [*slower(seeds(2), 2), *seeds(2, config={"lr": 0.5})]
    (own,) = time_section(of(records)).tables
    assert [row["run"] for row in own.rows] == ["simple-cnn, lr 0.5", "simple-cnn, lr 0.01"]
    section = time_section(of(records, targets=(0.9, 0.999)))
    assert [table.title for table in section.tables] == ["To 90 %", "To 99.9 %"]
    assert [picture.name for picture in section.pictures] == ["time-to-90"]
    assert section.tables[1].rows[0]["median s"] == "not reached"
    assert time_section(of([page_record(target=None)])) is None


def test_profiled_runs_are_in_no_picture_of_times():
    records = [*seeds(1), page_record(name="cnn4-mse", profile=every_kind()[-4].profile)]
    subject = of(records)
    assert [row.name for row in subject.timed] == ["simple-cnn"]
    assert len(ledger_section(subject).tables[0].rows) == 1
    section = profile_section(subject)
    (said,) = section.said
    assert said.startswith("cnn4-mse, seed 0: steps 5:10 were profiled (torch) and took 1.40 times")
    assert section.tables[0].rows[0]["operator"] == "aten::mm"
    assert "trace.json.gz" in section.notes[0]
    assert profile_section(of(seeds(1))) is None


def test_the_ledger_adds_up():
    (table,) = ledger_section(of(seeds(2))).tables
    (row,) = table.rows
    assert row == {
        "run": "simple-cnn", "import s": "2.50", "train s": "6.00", "eval s": "2.00",
        "in all": "10.50",
    }  # fmt: skip
    assert not table.folded


def test_throughput_needs_two_values_on_an_axis():
    assert throughput_section(of(seeds(2))) is None
    section = throughput_section(of(every_kind()))
    names = [picture.name for picture in section.pictures]
    assert names == ["throughput-by-batch", "throughput-by-processes"]


def test_scaling_says_what_the_report_on_scaling_says():
    section = scaling_section(of(every_kind()))
    assert "at best 1.46" in section.said[0]
    assert [picture.name for picture in section.pictures] == ["speed-up"]
    assert [row["scaling"] for row in section.tables[0].rows] == ["strong", "strong"]
    assert scaling_section(of(seeds(2))) is None
    told = [*seeds(1, target=None), *seeds(1, target=None, environment={"num_processes": 2})]
    assert "runs have no target" in scaling_section(of(told)).said[0]


def test_diagnosed_runs_have_a_verdict_and_telemetry_a_table():
    subject = of(every_kind())
    section = step_section(subject)
    assert section.said[0].startswith("cnn4-ce: ")
    assert [picture.name for picture in section.pictures] == ["step-costs", "roofline"]
    assert section.tables[0].rows[0]["step ms"] == "4"
    (row,) = telemetry_section(subject).tables[0].rows
    assert row["memory peak MiB"] == "1,024"
    assert "GPU W" not in row
    assert step_section(of(seeds(1))) is telemetry_section(of(seeds(1))) is None


def test_what_to_be_careful_with_is_named_with_its_reason():
    tables = {table.title: table.rows for table in care_section(of(every_kind())).tables}
    (ended,) = tables["Did not complete"]
    assert (ended["status"], ended["why"]) == ("failed", "out of memory")
    marks = {row["mark"] for row in tables["Times that mean less"]}
    assert marks == {"† unstable", "‡ beside others", "§ profiled", "resumed"}
    (apart, *_) = tables["Times not to be compared with those of the other rows"]
    assert "num_processes: 2 against 1" in apart["differ in"]
    assert care_section(of(seeds(2))) is None


def test_the_environment_names_the_rows_that_differ():
    same = environment_section(of(seeds(2)))
    assert {row["what"]: row["value"] for row in same.tables[0].rows}["memory"] == "16.0 GiB"
    other = seeds(1, environment={"num_processes": 2, "versions": {"torch": "2.12.0"}})
    section = environment_section(of([*seeds(1), *other]))
    assert section.said == ["Rows differ in processes, torch."]
    torch = [row for row in section.tables[0].rows if row["what"] == "torch"]
    assert [row["value"] for row in torch] == ["2.11.0", "2.12.0"]
    assert torch[0]["rows"] != torch[1]["rows"]


def test_a_row_that_this_version_cannot_run_says_why():
    records = [*seeds(1), page_record(name="cnn4-ce", config={"model": "of the future"})]
    first, second = rerun_section(of(records)).commands
    assert first.lines[0].startswith("mnistbench train --recipe simple-cnn ")
    assert second.lines == ()
    assert second.why_none.startswith("not by this version: model: ")


@pytest.mark.slow
def test_pictures_are_files_of_a_columns_width(tmp_path):
    written = save_pictures(seeds(3), tmp_path / "new" / "figures")
    names = {path.name for path in written}
    assert {"accuracy.png", "accuracy.svg", "loss.svg", "clock-ledger.png"} <= names
    from PIL import Image

    with Image.open(tmp_path / "new" / "figures" / "accuracy.png") as picture:
        assert picture.width == 1020  # 3.4 inches of 300 dots
    assert 'width="244.8pt"' in (tmp_path / "new" / "figures" / "loss.svg").read_text()


def test_pictures_that_cannot_be_made_are_one_line(tmp_path):
    bare = page_record(eval_points=[], train_points=[], target=None)
    bare = bare.model_copy(update={"phases_s": {}})
    with pytest.raises(InputError, match="anything to draw"):
        save_pictures([bare], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_pictures(seeds(1), tmp_path / "file")


def test_curves_of_many_rows_have_a_picture_for_each_recipe():
    records = [
        page_record(name=name, config={"lr": 0.1 + k / 10})
        for name in ("simple-cnn", "cnn4-ce")
        for k in range(8)
    ]
    names = [picture.name for picture in curve_section(of(records)).pictures]
    assert names == ["accuracy-1", "loss-1", "accuracy-2", "loss-2"]
