"""The report's label efficiency: a curve and its numbers."""

import pytest

from visionfm.report import data as report_data
from visionfm.report.sections.efficiency import efficiency_view


@pytest.fixture(scope="module")
def results(fabricate_at, tmp_path_factory):
    folder = tmp_path_factory.mktemp("efficiency")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return report_data.load(fabricate_at().plan)


def view(results, task, model="visionfm"):
    return efficiency_view(next(r for r in results.results if (r.task, r.model) == (task, model)))


def test_a_task_without_parts_has_no_curve(results):
    assert view(results, "diseases") is None and view(results, "measures") is None


def test_every_part_stands_in_the_table_with_its_size_interval_and_seeds(results):
    table = view(results, "grading").table
    rows = {row[0].text: row for row in table.rows}
    assert list(rows) == ["10 %", "50 %", "all"]
    assert [rows[name][1].text for name in rows] == ["6", "30", "60"]
    metrics = next(r for r in results.results if r.task == "grading").metrics
    wanted = metrics[(metrics["run"] == "mean-frac0p1") & (metrics["split"] == "test") & (metrics["class"] == "macro")]
    wanted = wanted[(wanted["metric"] == "auroc") & (wanted["dataset"] == "fundus")].iloc[0]
    assert rows["10 %"][3].text == f"{wanted['value']:.3f}"
    assert f"{wanted['ci_low']:.3f} to {wanted['ci_high']:.3f}" in rows["10 %"][3].small
    assert "seed0 0." in rows["10 %"][3].small and "seed1 0." in rows["10 %"][3].small


def test_the_curve_says_in_words_what_it_shows(results):
    found = view(results, "grading")
    (figure,) = found.figures
    assert "10 % (6 samples)" in figure.svg and "all (60 samples)" in figure.svg
    ticks = [text for text in ("6", "30", "60") if f">{text}</text>" in figure.svg]
    assert ticks == ["6", "30", "60"] and "mathdefault" not in figure.svg
    assert "nested" in found.says and "2 seeds" in found.says


def test_baselines_stand_beside_the_head_with_intervals(results):
    from visionfm.report.tables import metric_tables

    result = next(r for r in results.results if r.task == "grading")
    tables = dict(metric_tables(result))
    runs = {row[0].text for row in tables["By part and run"].rows}
    assert {"knn", "logreg", "seed0", "seed1"} == runs
