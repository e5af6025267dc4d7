"""With folds every image is tested once, and what the page says of test images counts them all."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from scipy.special import expit

from visionfm.figures.svg import Panel
from visionfm.metrics.intervals import wider_by
from visionfm.project.loading import parse_config
from visionfm.report.sections import tasks
from visionfm.report.sections.audit import doubts
from visionfm.report.sections.datasets import in_folds
from visionfm.tasks.classification.figures import Line, classification, questions, roc_of_models
from visionfm.tasks.regression.figures import regression


@pytest.mark.parametrize(
    ("splits", "tested"),
    [
        ([("folds", "folds"), ("folds", "folds")], 2),
        ([("folds", "test"), ("train", "test")], 2),
        ([("train", "validation"), ("test", "train")], 1),
    ],
)
def test_identical_images_with_different_labels_are_with_a_test_image_where_they_are_in_folds(
    splits: list[tuple[str, str]], tested: int
) -> None:
    found = pd.DataFrame(splits, columns=["split", "other_split"]).assign(check="contradiction", detail="")
    (said,) = doubts(found, named=False)
    assert said.startswith(f"identical images with different labels: 2 pairs, {tested} with a test image")


def test_what_is_doubted_ends_without_a_full_stop_for_the_sentence_that_it_stands_in() -> None:
    found = pd.DataFrame([{"check": "public", "detail": "encoder e: seen", "split": "test", "other_split": None}])
    assert doubts(found, named=False) == ["encoder e: seen"]


def test_a_dataset_says_which_tasks_have_its_people_in_folds_and_do_not_read_its_splits() -> None:
    folded = {"grade": ["clinic"], "age": []}
    plan: Any = SimpleNamespace(config=SimpleNamespace(tasks=folded), folded_datasets=folded.get)
    assert in_folds(plan, "clinic") == ["in folds in grade, where the splits of this dataset play no part"]
    assert in_folds(plan, "other") == []


def heights(panel: Panel) -> np.ndarray:
    """How high the bands of a figure are, from the left to the right."""
    figure = Figure()
    panel.draw(figure)
    bands = [one for one in figure.axes[0].collections if isinstance(one, PolyCollection)]
    corners_CX = np.concatenate([band.get_paths()[0].vertices for band in bands])
    return pd.Series(corners_CX[:, 1]).groupby(corners_CX[:, 0].round(9)).agg(np.ptp).to_numpy()


def test_bands_of_figures_know_that_answers_of_folds_depend_on_each_other() -> None:
    rng, people = np.random.default_rng(0), 60
    odds_N = rng.normal(0, 1.5, 2 * people)
    truth_N = (rng.random(2 * people) < expit(odds_N)) * 1.0
    rows = pd.DataFrame({"subject_id": np.repeat(np.arange(people), 2), "truth": truth_N, "value": odds_N})
    rows = rows.assign(scores=[[p] for p in expit(odds_N)], run=[f"seed0-fold{n % 4 // 2}" for n in range(2 * people)])
    rows["class"] = None
    asked = {"type": "binary", "classes": ["no", "yes"]}
    both = [rows.assign(run="seed0"), rows]
    for kind in ("net_benefit", "roc_of_models"):
        panels = [
            [*classification(of, "sick", asked), roc_of_models("sick", [Line(questions(of, asked)[0], "m", "k", "")])]
            for of in both
        ]
        once, folds = (heights(next(panel for panel in of if panel.kind == kind)) for of in panels)
        inside = (once > 1e-6) & (folds < 0.98 * folds.max())  # the others are cut at what is possible
        assert folds[inside].sum() / once[inside].sum() == pytest.approx(wider_by(people), abs=0.03), kind
    for kind in ("calibration", "selective"):
        once, folds = (
            heights(next(one for one in classification(of, "sick", asked) if one.kind == kind)) for of in both
        )
        assert (folds[once > 1e-6] > once[once > 1e-6]).mean() > 0.9, kind
    alone, of_folds = (regression(of, "age", {"unit": "y"})[1].alt for of in both)
    assert alone != of_folds


def test_a_baseline_is_named_once_however_often_people_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_best_sizes", lambda *_: [])  # of encoders at several sizes, which are not here
    task = {"kind": "classification", "datasets": ["clinic"], "models": ["m"], "targets": {"dr": {"type": "binary"}}}
    raw = {
        "encoders": {"e": {"modality": "Fundus", "weights": "w.pth"}},
        "models": {"m": {"Fundus": "e"}},
        "datasets": {"clinic": {"modality": "Fundus", "root": "d", "layout": "vfm", "labels": ["dr"]}},
        "tasks": {"grade": {**task, "split": {"folds": 2, "repeats": 2}, "baselines": ["knn", "logreg"]}},
    }
    config = parse_config(raw)
    image = {"modality": "Fundus"}
    samples = pd.DataFrame({"subject_id": ["a", "b"], "fold": [0, 1], "images": [[image], [image]]})
    plan = SimpleNamespace(
        folds=lambda _: [0, 1, 2, 3], task_modalities=lambda _: ["Fundus"], folded_datasets=lambda _: ["clinic"]
    )
    of_model = SimpleNamespace(task="grade", model="m", samples=samples)
    results: Any = SimpleNamespace(plan=plan, config=config, results=[of_model])
    said = tasks._task_sentences(results, "grade", config.tasks["grade"])
    (beside,) = [sentence for sentence in said if sentence.startswith("Beside it")]
    assert beside.count("nearest neighbours") == beside.count("logistic regression") == 1, beside
    assert any("in 2 folds, 2 times anew" in sentence and "once in each division" in sentence for sentence in said)
