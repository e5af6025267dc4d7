"""From predictions of times to metrics.parquet, and to the report: every number with n, events, subjects, interval."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from world.filled_tables import filled_table

from visionfm import artifacts
from visionfm.figures import svg as plots
from visionfm.tasks.evaluate import evaluate
from visionfm.tasks.progression.curves import calibration, followed, kaplan_meier, observed_by, risk_groups
from visionfm.tasks.progression.figures import log_rank_says, panels, sections
from visionfm.tasks.results import TaskModel
from visionfm.tasks.settings import EvaluateSettings, TargetSpec

EDGES = [300.0, 600.0, 900.0]
TARGET = TargetSpec(type="event", form="cox", intervals=EDGES, horizons=[300.0, 900.0])


def rows(count=120, events=None, same_risk=False, seed=0, followed_days=1800):
    """Two eyes of each person; a third of them validation; risks that say something of the times."""
    rng = np.random.default_rng(seed)
    risk = np.zeros(count) if same_risk else rng.normal(size=count)
    seen, lost = rng.exponential(800 * np.exp(-risk)), rng.uniform(100, followed_days, count)
    event = (seen <= lost).astype(float) if events is None else np.full(count, float(events))
    days = np.minimum(seen, lost)
    by = 1 - np.exp(-np.array(EDGES) / 800 * np.exp(risk)[:, None])
    text = {"dataset": "eyes", "modalities": "Fundus", "subset": "all", "run": "seed0", "target": "worse"}
    return pa.Table.from_pylist(
        [
            {
                **text,
                "sample_id": f"s{n:03}",
                "subject_id": f"p{n // 2}",
                "split": "validation" if n // 2 % 3 == 0 else "test",
                "class": None,
                "truth": event[n],
                "interval_days": days[n],
                "scores": by[n].tolist(),
                "value": risk[n],
                "unit": None,
            }
            for n in range(count)
        ]
    )


def scored(folder, table):
    path = Path("results/tasks/t/m/seed0/predictions.parquet")
    artifacts.write_table(path, table, artifacts.provenance("predict", {}, {}), schema="visionfm/predictions/1")
    settings = EvaluateSettings(
        task="t", model="m", head="cox", fusion="attention", kind="progression", targets={"worse": TARGET}
    )
    out = Path("results/tasks/t/m/metrics.parquet")
    evaluate([path], out, settings)
    return artifacts.read_table(out).to_pandas()


def test_every_survival_metric_has_its_n_events_subjects_and_interval(results):
    table = scored(results, rows())
    whole = table[(table.split == "test") & (table.dataset == "eyes")]
    assert sorted(zip(whole["class"].fillna(""), whole.metric, strict=True)) == [
        ("", "concordance"),
        ("", "concordance_ipcw"),
        ("", "integrated_brier"),
        *((f"{days} days", f"time_dependent_{name}") for days in (300, 900) for name in ("auroc", "brier")),
    ]
    assert (whole.n == 80).all() and (whole.n_subjects == 40).all() and whole.reason.isna().all()
    assert ((whole.ci_low <= whole.value) & (whole.value <= whole.ci_high)).all()
    assert whole[whole.metric == "concordance"].value.item() > 0.6
    events = whole.set_index(whole["class"].fillna("") + whole.metric).n_positive
    assert events["300 daystime_dependent_auroc"] < events["900 daystime_dependent_auroc"] <= events["concordance"]


def test_without_events_there_are_reasons_instead_of_numbers(results):
    table = scored(results, rows(events=0))
    whole = table[(table.split == "test") & (table.dataset == "eyes")].set_index("metric")
    assert np.isnan(whole.value["concordance"]) and whole.reason["concordance"] == "no event among 80 known"
    assert "no event by 300 days" in whole.reason["time_dependent_auroc"].iloc[0]
    assert whole.value["integrated_brier"] > 0


def test_events_in_all_and_one_risk_for_all_are_measured(results):
    table = scored(results, rows(events=1))
    assert table[(table.split == "test") & (table.metric == "concordance")].value.iloc[0] > 0.6
    table = scored(results, rows(same_risk=True))
    assert np.allclose(table[table.metric.isin(["concordance", "time_dependent_auroc"])].value, 0.5)


# --- the report -----------------------------------------------------------------------------------------------------


def result_of(table, samples=None):
    frame = table.to_pandas()
    targets = {"worse": TARGET.model_dump(mode="json")}
    samples = pd.DataFrame({"sample_id": frame.sample_id}) if samples is None else samples
    nothing = {"samples": samples, "metrics": None, "training": {}, "folders": {}, "samples_file": Path("none")}
    own = {"targets": targets, "predictions": {"seed0": frame}, "runs": ["seed0"], "baselines": []}
    return TaskModel(task="t", model="m", block=None, **own, **nothing)


def parts(table):
    frame = table.to_pandas()
    return [followed(frame[frame.split == split]) for split in ("validation", "test")]


def test_risk_groups_are_cut_on_validation_risks_alone():
    validation, test = parts(rows())
    group_N = risk_groups(validation, test)
    cuts = np.quantile(validation.risk_N, [1 / 3, 2 / 3])
    assert (np.sort(test.risk_N[group_N == 0])[-1] <= cuts[0]) and set(group_N) == {0, 1, 2}
    flipped = test._replace(event_N=~test.event_N, time_N=test.time_N[::-1])
    assert (risk_groups(validation, flipped) == group_N).all()


def test_page_has_groups_a_log_rank_test_and_two_figures():
    result = result_of(rows())
    (section,) = sections(result)
    view = section.view
    filled_table(view.groups)
    assert [row[0].text for row in view.groups.rows] == ["low", "middle", "high"]
    assert sum(int(row[1].text) for row in view.groups.rows) == 80
    assert "n = 80" in view.says[1] and "40 subjects" in view.says[1] and "variance over subjects" in view.says[1]
    drawn = panels(result)
    assert [panel.kind for panel in drawn] == ["kaplan_meier", "survival_calibration"]
    for panel in drawn:
        svg = plots.single(panel)
        assert svg == plots.single(panel) and "n = 80" in svg and "n = 80" in panel.alt + svg
    assert "80 samples" in drawn[1].alt


def test_page_says_how_many_eyes_have_outcomes_at_several_visits():
    samples = pd.DataFrame({"sample_id": ["a", "b", "c"], "visits_with_outcome": [1, 4, 2]})
    (section,) = sections(result_of(rows(), samples))
    assert "2 of 3 eyes (of all splits) have an outcome at several visits" in section.view.says[0]
    assert "baseline" not in " ".join(sections(result_of(rows()))[0].view.says)


@pytest.mark.parametrize(
    ("events", "shown", "limits"), [(0, "0.000", "0.000 to 0.265"), (1, "1.000", "0.735 to 1.000")]
)
def test_a_risk_group_of_twelve_without_or_with_all_events_has_exact_limits(events, shown, limits):
    frame = rows(count=36, events=events, same_risk=True).to_pandas()[::2]  # one eye of each person
    frame["interval_days"] = 250.0 if events else 1000.0
    (section,) = sections(result_of(pa.Table.from_pandas(frame)))
    group = section.view.groups.rows[0]
    assert group[1].text == "12"
    assert [(cell.text, cell.small) for cell in group[3:]] == [(shown, limits)] * 2
    assert "exact ones" in section.view.groups.notes[0]


def test_one_risk_group_and_no_event_are_said_not_tested():
    validation, test = parts(rows(same_risk=True))
    group_N = risk_groups(validation, test)
    assert len(set(group_N)) == 1
    assert log_rank_says(test, group_N) == "No log-rank test: all samples are in one risk group."
    (section,) = sections(result_of(rows(same_risk=True)))
    assert [row[1].text for row in section.view.groups.rows][1:] == ["0", "0"]
    validation, test = parts(rows(events=0))
    assert "no event among 80" in log_rank_says(test, risk_groups(validation, test))
    assert kaplan_meier("worse", test, risk_groups(validation, test), EDGES, "").legend_rows


def test_calibration_leaves_out_groups_that_are_not_followed_so_long():
    _, test = parts(rows(followed_days=400))
    assert observed_by(test, 2, 900.0)[1] > 0
    short = test.take(test.time_N < 250)
    short = short._replace(event_N=np.zeros(len(short.time_N), bool))
    assert calibration("worse", short, TARGET.model_dump()) is None


def test_observed_shares_follow_predicted_ones():
    _, test = parts(rows(count=1500, seed=3))
    groups, without = observed_by(test, 1, 600.0)
    assert without == 0 and len(groups) == 5
    assert [g.observed for g in groups] == pytest.approx([g.predicted for g in groups], abs=0.09)
    assert all(group.low < group.observed < group.high for group in groups)
