"""Synthetic progression: outcomes follow the hazard that the truth names, in lines, table and images alike."""

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from lifelines import CoxPHFitter
from pandas import DataFrame

from visionfm.synthetic.dataset import write_dataset
from visionfm.synthetic.findings import EYES, draw_findings
from visionfm.synthetic.forecasting import ALSO, LOG_HAZARD, SHAPE, WORSE, draw_outcome


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_times_have_the_known_hazard() -> None:
    people = [draw_findings(np.random.default_rng([7, n])) for n in range(1500)]
    found = [
        (n, eye, draw_outcome(eyes[eye], (7, n, EYES.index(eye)))) for n, eyes in enumerate(people) for eye in EYES
    ]
    table = [
        {
            "days": outcome.interval,
            "event": outcome.event,
            "worse": float(visits[1].findings.has(WORSE)),
            "also": float(visits[1].findings.has(ALSO)),
            "new": float(visits[1].findings.has(WORSE) and not visits[0].findings.has(WORSE)),
        }
        for _, _, (outcome, visits) in found
    ]
    fitted = CoxPHFitter().fit(DataFrame(table), "days", "event", fit_options={"step_size": 0.5})
    assert fitted.params_.to_dict() == pytest.approx(LOG_HAZARD, abs=0.25)  # proportional, as Weibull times are
    assert 0.25 < np.mean([row["event"] for row in table]) < 0.5
    outcomes = [outcome for _, _, (outcome, _) in found]
    assert all(o.event == (o.progression <= o.interval) and o.label == (o.progression <= o.asked) for o in outcomes)
    healthy = np.array([o.progression for o in outcomes if o.log_hazard == 0], float)
    assert np.log(healthy).std() == pytest.approx(np.pi / np.sqrt(6) / SHAPE, rel=0.1)  # Weibull


def test_lines_table_and_truth_agree_and_two_visits_are_drawn(tmp_path: Path) -> None:
    write_dataset("forecasting", tmp_path / "out", number=6, size=64, modalities=["Fundus", "OCT"])
    truth = {row["path"]: row for row in rows(tmp_path / "out/truth.csv")}
    known: dict[tuple[str, str], tuple[str, str]] = {}
    for modality in ("Fundus", "OCT"):
        root = tmp_path / "out" / f"{modality}Forecasting"
        table = rows(root / "visits.csv")
        assert sorted(row["path"] for row in table) == sorted(
            path.relative_to(root).as_posix() for path in root.rglob("*.png")
        )
        lines = [line.split(", ") for part in ("training", "test") for line in (root / f"{part}.txt").open()]
        assert [path for path, _, _ in lines] == [row["path"] for split in ("training", "test") for row in table
                                                  if row["event"] and row["split"] == split]  # fmt: skip
        for row in table:
            true = truth[f"{modality}Forecasting/{row['path']}"]
            assert known.setdefault((row["subject"], row["eye"]), (true["log_hazard"], true["progression"])) == (
                true["log_hazard"],
                true["progression"],
            )
            if row["event"]:
                assert int(row["event"]) == (int(true["progression"]) <= int(row["interval"]))
        for path, label, asked in lines:
            assert int(label) == (int(truth[f"{modality}Forecasting/{path}"]["progression"]) <= int(asked))
        before, baseline = (date.fromisoformat(row["visit"]) for row in table[:2])
        assert (baseline - before).days == 365


def test_the_baseline_is_the_image_of_the_other_tasks_and_the_visit_before_another(tmp_path: Path) -> None:
    write_dataset("forecasting", tmp_path / "a", number=2, size=64, modalities=["OCT"])
    write_dataset("single_cls", tmp_path / "b", number=2, size=64, modalities=["OCT"])
    known = (tmp_path / "b/OCTClassification/dataset_A/training/s0001_R.png").read_bytes()
    folder = tmp_path / "a/OCTForecasting/training"
    assert (folder / "s0001_R_v2.png").read_bytes() == known != (folder / "s0001_R_v1.png").read_bytes()


def test_noise_has_outcomes_and_one_visit(tmp_path: Path) -> None:
    write_dataset("forecasting", tmp_path / "n", number=9, size=64, modalities=["Fundus"], noise=True)
    table = rows(tmp_path / "n/FundusForecasting/visits.csv")
    assert len(table) == 18 and {row["event"] for row in table} == {"0", "1"}
    assert len({row["subject"] for row in table}) == 18  # nobody in two splits
    assert len((tmp_path / "n/FundusForecasting/test.txt").read_text().splitlines()) == 9
