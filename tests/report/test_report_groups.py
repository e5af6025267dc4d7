"""The page's subgroups, external validation and characteristics: in words, in numbers, never a group without its n."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from world.filled_tables import filled_table

from visionfm.report.sections import external, recalibration, subgroups
from visionfm.report.sections.demographics import characteristics
from visionfm.tasks.contrast import COLUMNS

ROW: dict[str, Any] = dict.fromkeys(COLUMNS) | {
    "task": "dme", "model": "ours", "head": "sound", "run": "seed0", "dataset": "idrid", "grouping": "sex",
    "group": "female", "reference": "the rest", "target": "dme", "metric": "auroc", "value": 0.61, "ci_low": 0.52,
    "ci_high": 0.69, "n": 200, "n_positive": 60, "n_subjects": 100, "reference_value": 0.85, "reference_n": 220,
    "reference_n_subjects": 110, "difference": -0.24, "difference_low": -0.35, "difference_high": -0.13, "p": 1e-5,
    "p_holm": 4e-5, "method": "MOVER", "in_family": True,
}  # fmt: skip
SMALL = {"group": "other", "n": 4, "n_positive": np.nan, "n_subjects": 2, "value": np.nan, "reference_value": np.nan,
         "difference": np.nan, "p": np.nan, "p_holm": np.nan,
         "reason": "fewer than 10 people in the group: 2; nothing is said of so few"}  # fmt: skip
INTERACTION = {"group": None, "p": 0.002, "p_holm": 0.004, "method": "Welch over subjects, 3 groups"}
AT = {"metric": "sensitivity", "operating_point": "0.5", "threshold": 0.5, "value": 0.7, "in_family": False}
BRIER = {"metric": "brier", "value": 0.2, "in_family": False, "reason": "3 left out; no comparison: few; so it is"}


def frame(*changes: dict[str, Any]) -> Any:
    return pd.DataFrame([ROW | change for change in changes])


def test_a_group_that_is_told_apart_is_named_in_words_with_both_values() -> None:
    view = subgroups._view("dme", frame({}, SMALL, INTERACTION, AT, BRIER), 10)
    assert view.sentences == [
        "ours, dme, idrid: AUROC 0.610 where sex is female, 0.850 in the rest; difference \u22120.240 "
        "(\u22120.350 to \u22120.130; p after Holm <0.001)."
    ]
    for table in (view.table, view.tests, *view.others):
        filled_table(table)
    small = next(row for row in view.table.rows if row[1].text == "other")
    assert [cell.text for cell in small[2:]] == ["4", "\u2013", "\u2013", "\u2013", "\u2013", "\u2013"]
    assert any("fewer than 10 people in the group: 2" in note for note in view.table.notes)
    assert [table.caption for table in view.others] == [
        "dme: groups, where the answer is a yes or no", "dme: groups, other metrics",
    ]  # fmt: skip
    assert view.others[1].notes == ["[1] 3 left out"]
    assert "female: -0.24" in view.figures[0].svg


def test_where_nothing_is_told_apart_the_page_says_that_this_is_no_proof() -> None:
    view = subgroups._view("dme", frame({"p": 0.4, "p_holm": 0.8}, INTERACTION), 10)
    assert view.sentences[0].startswith("No group is told apart") and "no proof" in view.sentences[0]
    assert view.others == []


def metrics(dataset: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    same = {"dataset": dataset, "modality": "all", "modalities": "all", "split": "test", "target": "dme", "class": None}
    same |= {"run": "seed0", "operating_point": None, "ci_low": value - 0.05, "ci_high": value + 0.05, "unit": None}
    return (
        same | {"metric": metric, "value": value, "n": 200, "n_positive": 50, "n_subjects": 100, "reason": None} | more
    )


def test_outside_stands_below_inside_with_the_threshold_it_brings_along() -> None:
    rows = [metrics(name, "auroc", value) for name, value in (("idrid", 0.9), ("messidor", 0.8))]
    rows += [metrics(name, metric, 0.7, operating_point="validation") for name in ("idrid", "messidor")
             for metric in ("sensitivity", "specificity")]  # fmt: skip
    rows += [metrics(name, metric, value) for name in ("idrid", "messidor")
             for metric, value in (("calibration_slope", 0.8), ("ece", 0.1))]  # fmt: skip
    block = SimpleNamespace(kind="classification", datasets=["idrid"], external=["messidor"])
    result: Any = SimpleNamespace(
        task="dme", model="ours", block=block, targets={"dme": {"type": "binary"}}, runs=["seed0"],
        metrics=pd.DataFrame(rows), tested_on=lambda: ["idrid", "messidor"], external=["messidor"],
    )  # fmt: skip
    outside = ROW | {"grouping": "dataset", "dataset": "messidor", "group": "messidor", "reference": "idrid"}
    table = external.table("dme", [result], [outside])
    filled_table(table)
    inside, out = table.rows
    assert [cell.text for cell in inside[:2]] == ["idrid", "idrid"]
    assert [cell.text for cell in out[:2]] == ["idrid", "messidor, external"]
    found = dict(zip(table.columns, out, strict=True))
    assert found["prevalence"].text == "25%" and found["AUROC"].text == "0.800"
    assert (found["difference"].text, found["difference"].small) == (
        "\u22120.240", "\u22120.350 to \u22120.130\np <0.001",
    )  # fmt: skip
    assert found["Sensitivity at the transported threshold"].text == "0.700"


def test_datasets_that_serve_as_each_others_outside_are_a_matrix() -> None:
    def task(own: str, other: str) -> Any:
        asked = {"kind": "classification", "datasets": [own], "external": [other], "models": ["ours"]}
        told = {name: asked[name] for name in ("kind", "models")}
        return SimpleNamespace(**asked, smallest_group=10, model_dump=lambda **_: told)

    tasks = {"dr_on_a": task("a", "b"), "dr_on_b": task("b", "a")}
    results = []
    for name, block in tasks.items():
        rows = [metrics(on, "auroc", 0.9 if on == block.datasets[0] else 0.6) for on in "ab"]
        results.append(SimpleNamespace(task=name, model="ours", block=block, targets={"dme": {"type": "binary"}},
                                       runs=["seed0"], metrics=pd.DataFrame(rows)))  # fmt: skip
    found: Any = SimpleNamespace(config=SimpleNamespace(tasks=tasks), results=results, contrasts={}, recalibrations={})
    (section,) = external.sections(found)
    (view,) = section.view
    filled_table(view.table)
    assert view.table.caption == "dr, ours, dme: AUROC by where it was trained and tested"
    assert [[cell.text for cell in row] for row in view.table.rows] == [
        ["a", "0.900", "0.600"],
        ["b", "0.600", "0.900"],
    ]
    assert view.table.rows[0][1].small == "0.850 to 0.950\nn\u00a0200"


def test_a_difference_to_several_own_datasets_names_each() -> None:
    rows = [ROW | {"reference": name} for name in ("idrid", "clinic")]
    cell = external._differences(rows, {})
    assert cell.text == "\u22120.240 to idrid; \u22120.240 to clinic"


def test_characteristics_count_people_and_beside_them_images() -> None:
    labels = pd.DataFrame(
        {"split": ["train"] * 4 + ["test"] * 2, "group_id": ["a", "a", "b", "c", "d", "e"],
         "eye": ["R", "L", "R", None, "R", "L"], "group:sex": ["female", "female", "male", None, "male", "male"],
         "group:age": [40.0, 40.0, 60.0, 50.0, None, 70.0]}
    )  # fmt: skip
    parts = {split: labels[labels["split"] == split] for split in ("train", "test")} | {"all": labels}
    table = characteristics("idrid", parts, ["Training", "Test", "All"], {"sex": [], "age": [50]})
    assert table is not None
    filled_table(table)
    found = {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in table.rows}
    assert found["sex", "female"] == ["1 (33%)", "0 (0%)", "1 (20%)"]
    assert found["sex", "unknown"] == ["1 (33%)", "0 (0%)", "1 (20%)"]
    assert found["age", "under 50"] == ["1 (33%)", "0 (0%)", "1 (20%)"]
    assert found["age", "median"] == ["50.0", "70.0", "55.0"]
    assert found["eye", "right"] == ["2 (67%)", "1 (50%)", "3 (60%)"]
    assert table.rows[0][2].small == "2 images"
    assert characteristics("idrid", parts, ["Training", "Test", "All"], {}) is None


def test_recalibration_has_a_curve_and_a_table_with_reasons() -> None:
    same = {"task": "t", "model": "ours", "run": "seed0", "dataset": "north", "target": "dr", "class": None}
    rows = []
    for size in (0, 20, 50):
        about = same | {"local_subjects": size, "local_n": 2 * size, "local_positive": size, "n": 80, "n_subjects": 40}
        for metric in recalibration.SHOWN:
            known = {"value": 0.5 + size / 40, "ci_low": 0.2, "ci_high": 1.4, "reason": None}
            none = {"value": np.nan, "ci_low": np.nan, "ci_high": np.nan, "reason": "no recalibration: 60 subjects"}
            rows.append(about | {"metric": metric} | (none if size == 50 else known))
    view = recalibration.recalibration_view("t", pd.DataFrame(rows))
    filled_table(view.table)
    assert [figure.title for figure in view.figures] == ["Calibration slope: dr", "ECE: dr"]
    assert view.table.rows[1][0][:2] == ("20", "40 images, 20 positive")
    assert view.table.rows[2][-1].text == "\u2013" and view.table.notes == ["[1] no recalibration: 60 subjects"]


def test_who_is_worse_by_more_than_chance_is_a_caution_and_who_is_better_is_none() -> None:
    outside = {"grouping": "dataset", "dataset": "messidor", "group": "messidor", "reference": "idrid"}
    better, chance = {"difference": 0.2}, {"p_holm": 0.2}
    outside |= {"in_family": False}  # as the second of two is
    results: Any = SimpleNamespace(contrasts={"dme": frame({}, outside, better, chance, INTERACTION)})
    assert subgroups.worse(results) == [
        "dme / ours / dme: sex female of idrid (AUROC 0.610, 0.850 in the rest)",
        "dme / ours / dme: messidor (AUROC 0.610, 0.850 in idrid)",
    ]
    of_error: Any = SimpleNamespace(contrasts={"dme": frame({"metric": "mae"})})
    assert subgroups.worse(of_error) == []
