"""Stage `contrast`: groups of the test samples against the rest, external data against the task's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import anova_oneway

from visionfm import artifacts, cli
from visionfm.metrics import comparison
from visionfm.metrics.evidence import Mean, Members, Ranking
from visionfm.metrics.intervals import interval
from visionfm.metrics.measure import Measure
from visionfm.metrics.scales import SHARE, Scale
from visionfm.metrics.subjects import Subjects
from visionfm.tasks.contrast import COLUMNS, REST, Found, _contrast
from visionfm.tasks.groups import SEVERAL, UNKNOWN, cut_names, group_name, ordered

TEXT, NUMBER = pa.string(), pa.float64()
PREDICTIONS = pa.schema(
    [(name, TEXT) for name in ("sample_id", "subject_id", "dataset", "modalities", "subset", "split", "run")]
    + [("target", TEXT), ("class", TEXT), ("truth", NUMBER), ("scores", pa.list_(NUMBER)), ("value", NUMBER)]
    + [("interval_days", NUMBER), ("unit", TEXT)]
)  # fmt: skip
IMAGES = pa.list_(pa.struct([(name, TEXT) for name in ("modality", "dataset", "path", "image_id")]))
SAMPLES = pa.schema([(name, TEXT) for name in ("sample_id", "subject_id", "eye")] + [("images", IMAGES)])
GROUPS = {"idrid": {"sex": [], "age": [50.0, 65.0]}}
Row = dict[str, Any]


def drawn(
    count: int, apart: Callable[[int], float], dataset: str = "idrid", seed: int = 0, prevalence: float = 0.35
) -> list[Row]:
    """Rows of the two eyes of so many people, of whom a third is of each sex and one unknown; `apart` by person."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(count):
        shared = rng.normal(size=2)
        for eye in "RL":
            own = 0.8 * shared + 0.6 * rng.normal(size=2)
            truth = float(own[0] > stats.norm.ppf(1 - prevalence))
            score = 1 / (1 + np.exp(-(own[1] + apart(person) * truth)))
            at = f"{dataset}/p{person:04d}{eye}.png"
            rows.append(
                {"sample_id": at, "subject_id": f"{dataset}/p{person:04d}", "dataset": dataset, "eye": eye,
                 "split": "test", "truth": truth, "scores": [score], "sex": sex(person), "age": 30.0 + person % 50}
            )  # fmt: skip
    return rows


def sex(person: int) -> str | None:
    return ("female", "male", None)[person % 3]


@pytest.fixture
def contrasted(tmp_path: Path) -> Callable[..., list[Row]]:
    """Return a function that runs the stage on rows, and returns those of contrasts.parquet."""

    def run(rows: list[Row], code: int = 0, groups: Any = None, seeds: int = 1, **scored: Any) -> list[Row]:
        groups = GROUPS if groups is None else groups
        compared = []
        for seed in range(seeds):
            path = tmp_path / f"m/seed{seed}/predictions.parquet"
            empty = dict.fromkeys(PREDICTIONS.names)
            same = {"run": f"seed{seed}", "target": "dme", "modalities": "Fundus", "subset": "all"}
            told = [empty | {name: row[name] for name in row if name in empty} | same for row in rows]
            artifacts.write_table(path, pa.Table.from_pylist(told, PREDICTIONS),
                                  artifacts.provenance("predict", {"seed": seed}, {}),
                                  schema="visionfm/predictions/1", extra={"task": "t", "model": "m"})  # fmt: skip
            compared.append(f"m={path}")
        images = [{"modality": "Fundus", "dataset": row["dataset"], "path": row["sample_id"].split("/", 1)[1],
                   "image_id": "x"} for row in rows]  # fmt: skip
        samples = [{name: row[name] for name in ("sample_id", "subject_id", "eye")} | {"images": [image]}
                   for row, image in zip(rows, images, strict=True)]  # fmt: skip
        made_by = artifacts.provenance("fuse", {}, {})
        artifacts.write_table(
            tmp_path / "samples.parquet", pa.Table.from_pylist(samples, SAMPLES), made_by, schema="visionfm/samples/1"
        )
        labels = []
        for name in groups:
            own = [(image["path"], row) for image, row in zip(images, rows, strict=True) if row["dataset"] == name]
            table = pa.table({"path": [path for path, _ in own], "group:sex": [row["sex"] for _, row in own],
                              "group:age": [row["age"] for _, row in own]})  # fmt: skip
            artifacts.write_table(
                tmp_path / f"{name}.parquet", table, artifacts.provenance("label", {}, {}), schema="visionfm/labels/1"
            )
            labels.append(f"{name}={tmp_path / f'{name}.parquet'}")
        evaluate = {"task": "t", "model": "m", "head": "sound", "fusion": "pooled", "kind": "classification"}
        evaluate |= {"targets": {"dme": {"type": "binary", "classes": ["negative", "positive"]}}} | scored
        settings = {"models": ["m"], "runs": [f"seed{seed}" for seed in range(seeds)], "groups": groups}
        out = tmp_path / "contrasts.parquet"
        given = ["--compared", *compared, "--samples", str(tmp_path / "samples.parquet"), "--out", str(out)]
        given += ["--labels", *labels] if labels else []
        assert cli.main(["contrast", *given, "--settings", json.dumps(settings | {"evaluate": evaluate})]) == code
        return artifacts.read_table(out).to_pylist() if code == 0 else []

    return run


def row_of(rows: list[Row], **wanted: Any) -> Row:
    wanted = {"metric": "auroc", "operating_point": None} | wanted
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows for {wanted}"
    return found[0]


# --- groups ---------------------------------------------------------------------------------------------------------


def test_a_group_that_is_worse_by_design_is_found_and_equal_ones_are_not(contrasted: Any) -> None:
    rows = contrasted(drawn(450, lambda person: 0.4 if sex(person) == "male" else 2.0, seed=3))
    assert list(rows[0]) == list(COLUMNS)
    male = row_of(rows, grouping="sex", group="male", reference=REST)
    assert male["value"] < 0.75 < 0.85 < male["reference_value"]
    assert male["difference_high"] < 0 and male["p_holm"] < 0.001
    assert (male["n"], male["n_subjects"], male["reference_n"]) == (300, 150, 300)
    assert row_of(rows, grouping="sex", group=None)["p_holm"] < 0.001
    for group in (*cut_names([50, 65]), "right", "left"):
        row = row_of(rows, grouping="age" if group not in ("right", "left") else "eye", group=group)
        assert row["difference_low"] < 0 < row["difference_high"] and row["p_holm"] > 0.05, row
    for row in rows:
        assert (row["p"] is None) == (row["reason"] is not None) or row["group"] is None, row
        assert (
            row["p"] is None
            or row["group"] is None
            or (row["p"] < 0.05) == (not row["difference_low"] < 0 < row["difference_high"])
        )


def test_each_side_is_measured_as_if_it_stood_alone(contrasted: Any) -> None:
    given = drawn(120, lambda _: 1.2)
    row = row_of(contrasted(given), grouping="sex", group="female")
    for side, prefix in (("female", ""), ("male", "reference_")):
        own = [one for one in given if one["sex"] == side]
        truth_N, score_N = np.array([one["truth"] for one in own]), np.array([one["scores"][0] for one in own])
        pairs = score_N[truth_N == 1][:, None] - score_N[truth_N == 0]
        assert row[f"{prefix}value"] == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
        limits = interval("auroc", Ranking(truth_N, score_N), np.array([one["subject_id"] for one in own]))
        assert (row[f"{prefix}ci_low"], row[f"{prefix}ci_high"]) == pytest.approx((limits.low, limits.high))
        assert row[f"{prefix}n_positive"] == truth_N.sum()


def test_who_has_no_value_is_a_group_of_its_own_that_no_family_counts(contrasted: Any) -> None:
    rows = contrasted(drawn(120, lambda _: 1.2))
    unknown = row_of(rows, grouping="sex", group=UNKNOWN)
    assert (unknown["n"], unknown["n_subjects"]) == (80, 40) and unknown["reference_n"] == 160
    assert unknown["difference"] is not None and not unknown["in_family"]


def test_of_too_few_people_nothing_is_said_but_their_number(contrasted: Any) -> None:
    given = drawn(120, lambda _: 1.2)
    for row in given[:10]:
        row["sex"] = "other"
    few = row_of(contrasted(given), grouping="sex", group="other")
    assert (few["n"], few["n_subjects"]) == (10, 5)
    assert [few[name] for name in ("value", "ci_low", "difference", "p", "n_positive")] == [None] * 5
    assert few["reason"].startswith("fewer than 10 people in the group: 5")


def test_holm_counts_two_groups_once_and_interactions_by_themselves(contrasted: Any) -> None:
    rows = contrasted(drawn(240, lambda _: 1.2))
    family = [row for row in rows if row["in_family"] and row["group"] is not None]
    assert {row["group"] for row in family} == {"female", "left", *cut_names([50, 65])}
    expected = multipletests([row["p"] for row in family], method="holm")[1]
    assert [row["p_holm"] for row in family] == pytest.approx(expected)
    female, male = (row_of(rows, grouping="sex", group=group) for group in ("female", "male"))
    assert (male["difference"], male["p_holm"]) == (pytest.approx(-female["difference"]), female["p_holm"])
    tests = [row for row in rows if row["in_family"] and row["group"] is None]
    assert {row["grouping"] for row in tests} == {"sex", "age", "eye"}
    assert [row["p_holm"] for row in tests] == pytest.approx(multipletests([r["p"] for r in tests], method="holm")[1])
    assert row_of(rows, grouping="sex", group=None)["p"] == pytest.approx(female["p"])
    assert "3 groups" in row_of(rows, grouping="age", group=None)["method"]


def test_macro_values_over_different_classes_are_not_compared() -> None:
    subjects = Subjects.of(np.arange(8).astype(str))
    of_class = interval("auroc", Ranking(np.arange(8.0) % 2, np.arange(8.0)), subjects)

    def found(*classes: str) -> Found:
        members = Members(dict.fromkeys(classes, of_class))
        return Found(Measure("macro", "auroc", None, 0.6, members, subjects, np.ones(8, bool)), None)

    assert _contrast(found("a", "b"), found("a"), None).reason == (
        "no comparison: the two means are over different classes"
    )
    assert "different classes" not in str(_contrast(found("a", "b"), found("b", "a"), None).reason)


def test_seeds_count_by_their_mean(contrasted: Any) -> None:
    given = drawn(90, lambda _: 1.2)
    one = row_of(contrasted(given), grouping="sex", group="male")
    two = row_of(contrasted(given, seeds=2), grouping="sex", group="male")
    assert two["run"] == "mean" and two["value"] == one["value"]  # both seeds answered alike


def test_a_sample_whose_images_differ_is_of_several_and_cuts_begin_at_their_number() -> None:
    assert [group_name(value, [50, 65]) for value in (49.9, 50, 64.9, 65, None)] == [
        "under 50", "50 to under 65", "50 to under 65", "65 and over", UNKNOWN,
    ]  # fmt: skip
    assert ordered(["65 and over", UNKNOWN, SEVERAL, "under 50"], [50, 65]) == [
        "under 50", "65 and over", SEVERAL, UNKNOWN,
    ]  # fmt: skip


def test_nothing_is_done_again_when_nothing_changed(contrasted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = drawn(30, lambda _: 1.2)
    first = contrasted(rows)
    capsys.readouterr()
    assert contrasted(rows) == first and "unchanged" in capsys.readouterr().err


# --- external data --------------------------------------------------------------------------------------------------


def test_external_data_stand_against_the_tasks_own_and_are_never_pooled(contrasted: Any) -> None:
    given = drawn(150, lambda _: 2.0) + drawn(120, lambda _: 0.8, "messidor", seed=1, prevalence=0.2)
    rows = contrasted(given, groups={}, external=["messidor"])
    outside = row_of(rows, grouping="dataset")
    assert (outside["group"], outside["reference"], outside["n"], outside["reference_n"]) == (
        "messidor", "idrid", 240, 300,
    )  # fmt: skip
    assert outside["difference_high"] < 0 and outside["p_holm"] < 0.05
    assert outside["n_positive"] == sum(row["truth"] for row in given if row["dataset"] == "messidor")
    at = {row["operating_point"] for row in rows if row["grouping"] == "dataset" and row["metric"] == "sensitivity"}
    assert "0.5" in at
    assert {row["dataset"] for row in rows} == {"idrid", "messidor"}


# --- the tests of metrics/comparison --------------------------------------------------------------------------------


def test_interaction_of_independent_groups_is_welchs_test_of_their_means() -> None:
    rng = np.random.default_rng(0)
    plain = Scale(-np.inf, np.inf, "plain", lambda x: x, lambda x: x, lambda x: 1.0, skewed=False)
    groups = [rng.normal(size=count) * spread for count, spread in ((20, 1.0), (35, 2.0), (50, 0.5))]
    influence_GS, start, found = np.zeros((3, 105)), 0, []
    for at, values in enumerate(groups):
        here = interval("mae", Mean(np.exp(values)), np.arange(len(values)).astype(str))
        found.append(here)
        influence_GS[at, start : start + len(values)] = here.influence_S
        start += len(values)
    test = comparison.interaction(found, influence_GS, plain)
    welch = anova_oneway([np.exp(values) for values in groups], use_var="unequal", welch_correction=True)
    # Ours takes the freedom from the fourth moment: fewer where values have long tails.
    assert test.p is not None and test.p == pytest.approx(welch.pvalue, abs=0.03)


def people(count: int) -> Any:
    return np.repeat([f"p{person:04d}" for person in range(count)], 2)


def equal_groups(rng: Any, counts: tuple[int, ...]) -> tuple[list[Any], Any]:
    found, influence_GS, start = [], np.zeros((len(counts), sum(counts))), 0
    for at, count in enumerate(counts):
        alike, own = rng.normal(size=(2, count, 1)), rng.normal(size=(2, count, 2))
        truth, noise = (np.sqrt(0.7) * alike + np.sqrt(0.3) * own).reshape(2, -1)
        truth_N = (truth > 0.4).astype(float)
        found.append(interval("auroc", Ranking(truth_N, noise + 1.2 * truth_N), people(count)))
        influence_GS[at, start : start + count] = found[-1].influence_S
        start += count
    return found, influence_GS


def test_equal_groups_are_flagged_at_about_one_in_twenty() -> None:
    rng = np.random.default_rng(5)
    flagged = []
    for _ in range(500):
        found, influence_GS = equal_groups(rng, (80, 60, 90))
        test = comparison.interaction(found, influence_GS, SHARE)
        flagged.append((comparison.unpaired(found[0], found[1]).p < 0.05, test.p < 0.05))
    for share in np.mean(flagged, axis=0):
        assert stats.binomtest(round(share * 500), 500, 0.05).pvalue > 0.01


def test_eyes_of_the_same_people_are_compared_more_sharply_than_those_of_others() -> None:
    rng = np.random.default_rng(7)
    (first, second), _ = equal_groups(rng, (100, 100))
    apart, alike = comparison.unpaired(first, second), comparison.unpaired(first, second, 0.7)
    assert alike.high - alike.low < 0.7 * (apart.high - apart.low) and alike.p < apart.p


def test_every_column_is_filled_by_some_run(contrasted: Any) -> None:
    """A column that nothing fills is a promise that nobody keeps."""
    drawn_rows = drawn(60, lambda person: 1.0)
    classes = ["drusen", "edema"]
    signs = [row | {"class": name} for name in classes for row in drawn_rows]
    rows = contrasted(signs, targets={"dme": {"type": "multilabel", "classes": classes}})
    values = [row | {"scores": None, "value": row["scores"][0]} for row in drawn_rows]
    rows += contrasted(values, targets={"dme": {"type": "value", "unit": "mmHg"}}, kind="regression")
    assert {name for row in rows for name, value in row.items() if value is not None} == set(COLUMNS)
