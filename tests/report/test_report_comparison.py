"""The page's comparisons: what is told apart, what is not, and the best baseline beside each decoder, in words."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from visionfm.figures.svg import single
from visionfm.report.sections.comparison import _view, beside_headline, better_baselines, verdict

ROW: dict[str, Any] = {
    "task": "dme", "dataset": "idrid", "target": "dme", "class": None, "metric": "auroc", "operating_point": None,
    "first_model": "ours", "first_head": "sound", "first_run": "seed0", "first_seeds": 1, "first_seed_sd": np.nan,
    "second_model": "ours", "second_head": "logreg", "second_run": "logreg", "second_seeds": 1,
    "second_seed_sd": np.nan, "first_value": 0.738, "second_value": 0.769, "difference": -0.031, "ci_low": -0.076,
    "ci_high": 0.013, "p": 0.16, "p_holm": 0.48, "method": "DeLong, clustered, t", "unit": None, "n": 104,
    "n_subjects": 103, "n_left_out": 0, "in_family": True, "reason": None,
}  # fmt: skip
WORSE = {"second_head": "knn", "second_value": 0.7, "difference": 0.038, "ci_low": 0.01, "ci_high": 0.066}
WORSE |= {"p": 0.004, "p_holm": 0.012}


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows as the report reads them."""
    found: list[dict[str, Any]] = pd.DataFrame([ROW | change for change in changes]).to_dict("records")
    return found


def sentences(*changes: dict[str, Any]) -> list[str]:
    return _view("dme", rows(*changes)).sentences


def test_a_baseline_that_is_better_is_said_openly() -> None:
    (sentence,) = sentences({}, WORSE)
    assert sentence == (
        "ours, dme, idrid: AUROC 0.738 of the decoder, 0.769 of its best baseline, logreg; "
        "difference \u22120.031 (\u22120.076 to 0.013; p 0.160, after Holm 0.480): "
        "these 103 subjects do not tell them apart; the better value is that of logreg on ours."
    )


def test_the_best_baseline_is_the_one_with_the_smallest_error() -> None:
    error = {"metric": "mae", "unit": "um", "first_value": 11.0}
    (sentence,) = sentences(error | {"second_value": 12.0}, error | WORSE | {"second_value": 10.0})
    assert "MAE 11.0 um of the decoder, 10.0 um of its best baseline, knn" in sentence


def test_a_better_baseline_is_a_caution_and_a_worse_one_is_none() -> None:
    results: Any = SimpleNamespace(comparisons={"dme": pd.DataFrame([ROW, ROW | WORSE])})
    assert better_baselines(results) == ["dme / ours / dme on idrid (AUROC 0.769 of logreg, 0.738 of the decoder)"]
    assert beside_headline(results, "dme", "ours", "dme", "idrid") == "0.769 of its best baseline, logreg"
    for task, model, dataset in (("dme", "theirs", "idrid"), ("other", "ours", "idrid"), ("dme", "ours", "clinic")):
        assert beside_headline(results, task, model, "dme", dataset) == ""
    results.comparisons["dme"] = pd.DataFrame([ROW | WORSE])
    assert better_baselines(results) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (WORSE, "ours is better"),
        (WORSE | {"metric": "brier"}, "knn on ours is better"),
        (WORSE | {"p_holm": 0.06}, "these 103 subjects do not tell them apart; the better value is that of ours"),
        ({"p": np.nan, "p_holm": np.nan, "reason": "no comparison: few"}, "no comparison: few"),
        ({"difference": np.nan, "reason": "no comparison: none"}, "no comparison: none"),
    ],
)
def test_who_is_better_is_what_the_corrected_test_says(change: dict[str, Any], says: str) -> None:
    assert verdict(rows(change)[0]) == says


def test_models_are_no_baselines_and_need_no_sentence() -> None:
    assert sentences({"second_model": "theirs", "second_head": "sound"}) == []


def test_every_difference_stands_with_its_n_its_interval_and_both_p_values() -> None:
    few = {"p": np.nan, "p_holm": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n_left_out": 3, "reason": "few"}
    view = _view("dme", rows({}, WORSE | {"first_seed_sd": 0.01, "first_seeds": 3}, few | {"second_head": "knn"}))
    assert view.table.columns == [
        "first",
        "second",
        "first's value",
        "second's value",
        "difference",
        "p",
        "p, Holm",
        "n",
    ]
    texts = [[(cell.text, cell.small) for cell in row] for row in view.table.rows]
    assert texts[0][-4:] == [
        ("\u22120.031", "\u22120.076 to 0.013"), ("0.160", ""), ("0.480", ""), ("104", "103 subjects")
    ]  # fmt: skip
    assert texts[1][2] == ("0.738", "SD 0.010\n3 runs") and texts[2][-1] == ("104", "103 subjects\n3 left out")
    assert view.table.rows[2][-4].mark == "[1]" and view.table.notes[-1] == "[1] few"
    assert view.others is None and len(view.figures) == 1


def test_other_metrics_stand_apart_and_uncorrected() -> None:
    view = _view("dme", rows({}, {"metric": "f1", "in_family": False, "p_holm": np.nan, "operating_point": "0.5"}))
    assert view.others is not None and "p, Holm" not in view.others.columns
    assert "F1 at 0.5" in view.others.caption


def test_the_forest_names_its_rows_and_says_them_in_words() -> None:
    from visionfm.figures.forest import Effect, forest

    effects = [Effect("a minus b", 0.1, 0.05, 0.15, True), Effect("a minus c", 0.0, None, None, False)]
    panel = forest(effects, "Differences: dme", "difference in AUROC")
    assert "a minus b: 0.1 (0.05 to 0.15); a minus c: 0, no interval" in panel.alt
    assert "a minus c" in single(panel) and single(panel) == single(panel)
