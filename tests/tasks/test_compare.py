"""Stage `compare`: from the predictions of a task's models to differences, their intervals and p values."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from visionfm import artifacts, cli
from visionfm.tasks.compare import COLUMNS, Contestant, pairs
from visionfm.tasks.settings import CompareSettings

TEXT, NUMBER = pa.string(), pa.float64()
PREDICTIONS = pa.schema(
    [(name, TEXT) for name in ("sample_id", "subject_id", "dataset", "modalities", "subset", "split", "run")]
    + [("target", TEXT), ("class", TEXT), ("truth", NUMBER), ("scores", pa.list_(NUMBER)), ("value", NUMBER)]
    + [("interval_days", NUMBER), ("unit", TEXT)]
)  # fmt: skip
BINARY = {"dme": {"type": "binary", "classes": ["negative", "positive"]}}
Row = dict[str, Any]


def settings(models: Sequence[str], targets: dict[str, Any], **changes: Any) -> str:
    scored = {"task": "t", "model": models[0], "head": "sound", "fusion": "pooled", "kind": "classification"}
    scored |= {"targets": targets} | {name: changes.pop(name) for name in ("kind", "head") if name in changes}
    return json.dumps({"models": list(models), "runs": ["seed0"], "evaluate": scored} | changes)


def people(count: int, eyes: int = 2, dataset: str = "idrid", split: str = "test") -> list[Row]:
    """Samples of the eyes of so many people."""
    return [
        {"sample_id": f"{dataset}/{split}{n:04d}", "subject_id": f"{dataset}/{split}p{n // eyes:04d}",
         "dataset": dataset, "modalities": "Fundus", "subset": "all", "split": split}
        for n in range(count * eyes)
    ]  # fmt: skip


def drawn(count: int, aparts: Sequence[float], eyes: int = 2, alike: float = 0.7, seed: int = 0) -> tuple[Any, Any]:
    """Return truth_N and scores_MN of models; errors correlate between the eyes of a person and between models."""
    rng = np.random.default_rng(seed)

    def normal() -> Any:
        own = rng.normal(size=(count, eyes))
        return (np.sqrt(alike) * rng.normal(size=(count, 1)) + np.sqrt(1 - alike) * own).ravel()

    truth_N = (normal() > 0.4).astype(float)
    shared_N = normal()
    logits_MN = np.array([apart * truth_N + (shared_N + normal()) / np.sqrt(2) for apart in aparts])
    return truth_N, 1 / (1 + np.exp(-logits_MN))


def yes_or_no(of: Sequence[Row], truth_N: Any, score_N: Any, target: str = "dme") -> list[Row]:
    return [
        sample | {"target": target, "truth": float(truth), "scores": [float(score)]}
        for sample, truth, score in zip(of, truth_N, score_N, strict=True)
    ]


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., list[Row]]:
    """Return a function that runs the stage on rows by model and run, and returns the rows of comparison.parquet."""

    def write(model: str, run: str, rows: list[Row]) -> str:
        path = tmp_path / model / run / "predictions.parquet"
        table = pa.Table.from_pylist(
            [dict.fromkeys(PREDICTIONS.names) | row | {"run": run} for row in rows], PREDICTIONS
        )
        made_by = artifacts.provenance("predict", {"run": run, "model": model}, {})
        extra = {"task": "t", "model": model}
        artifacts.write_table(path, table, made_by, schema="visionfm/predictions/1", extra=extra)
        return f"{model}={path}"

    def run(answers: dict[str, dict[str, list[Row]]], targets: dict[str, Any], code: int = 0, **changes: Any) -> Any:
        files = [write(model, name, rows) for model, runs in answers.items() for name, rows in runs.items()]
        out = tmp_path / "comparison.parquet"
        told = settings(changes.pop("models", list(answers)), targets, **changes)
        assert cli.main(["compare", "--compared", *files, "--out", str(out), "--settings", told]) == code
        return artifacts.read_table(out).to_pylist() if code == 0 else []

    return run


def row_of(rows: list[Row], second: str, metric: str = "auroc", **wanted: Any) -> Row:
    of_metric = {"second_model": second, "metric": metric, "operating_point": None} | wanted
    found = [row for row in rows if all(row[name.rstrip("_")] == value for name, value in of_metric.items())]
    assert len(found) == 1, f"{len(found)} rows for {of_metric}"
    return found[0]


def test_the_better_model_is_told_from_the_worse_and_not_from_its_equal(compared: Any) -> None:
    truth_N, scores_MN = drawn(150, [1.6, 0.6, 1.6, 2.9])
    models = dict(zip(("ours", "worse", "equal", "better"), scores_MN, strict=True))
    answers = {name: {"seed0": yes_or_no(people(150), truth_N, score_N)} for name, score_N in models.items()}
    rows = compared(answers, BINARY)
    assert list(rows[0]) == list(COLUMNS) and {row["first_model"] for row in rows} == {"ours"}
    worse, equal, better = (row_of(rows, name) for name in ("worse", "equal", "better"))
    assert worse["ci_low"] > 0 and worse["p_holm"] < 0.01
    assert better["ci_high"] < 0 and better["p_holm"] < 0.01
    assert equal["ci_low"] < 0 < equal["ci_high"] and equal["p_holm"] > 0.05
    assert worse["difference"] == pytest.approx(worse["first_value"] - worse["second_value"])
    assert (worse["n"], worse["n_subjects"], worse["n_left_out"]) == (300, 150, 0)
    for row in rows:
        assert (row["p"] is None) == (row["reason"] is not None), row
        assert row["p"] is None or (row["p"] < 0.05) == (not row["ci_low"] < 0 < row["ci_high"])


def kernel(truth_N: Any, score_N: Any) -> Any:
    positive, negative = score_N[truth_N == 1], score_N[truth_N == 0]
    return (positive[:, None] > negative).astype(float) + (positive[:, None] == negative) / 2


def test_with_one_eye_each_it_is_the_test_of_delong(compared: Any) -> None:
    truth_N, scores_MN = drawn(80, [1.5, 1.0], eyes=1, alike=0)
    first, second = (kernel(truth_N, score_N) for score_N in scores_MN)
    covariances = [np.cov(first.mean(axis), second.mean(axis)) / first.shape[1 - axis] for axis in (1, 0)]
    variance = sum(found[0, 0] + found[1, 1] - 2 * found[0, 1] for found in covariances)
    positives, negatives = first.shape
    freedom = (1 / positives + 1 / negatives) ** 2
    freedom /= 1 / positives**2 / (positives - 1) + 1 / negatives**2 / (negatives - 1)
    z = (first.mean() - second.mean()) / np.sqrt(variance)
    answers = {f"m{at}": {"seed0": yes_or_no(people(80, 1), truth_N, scores_MN[at])} for at in (0, 1)}
    row = row_of(compared(answers, BINARY), "m1")
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(z), freedom)) == row["p_holm"]
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    assert row["method"] == "DeLong, clustered, t"


def test_holm_counts_the_headline_of_each_pair_target_and_dataset_and_nothing_else(compared: Any) -> None:
    answers: dict[str, dict[str, list[Row]]] = {"a": {}, "b": {}}
    for at, (model, run) in enumerate((m, r) for m in "ab" for r in ("seed0", "knn")):
        for dataset, seed in (("idrid", 1), ("messidor", 2)):
            truth_N, scores_MN = drawn(60, [1.4, 1.0, 0.8, 0.6], seed=seed)
            rows = yes_or_no(people(60, dataset=dataset), truth_N, scores_MN[at])
            answers[model].setdefault(run, []).extend(rows)
    rows = compared(answers, BINARY, baselines=["knn"])
    family = [row for row in rows if row["in_family"]]
    assert len(family) == 6 and {row["metric"] for row in family} == {"auroc"}
    assert {row["dataset"] for row in rows} == {"idrid", "messidor"}
    expected = multipletests([row["p"] for row in family], method="holm")[1]
    assert [row["p_holm"] for row in family] == pytest.approx(expected)
    others = [row for row in rows if not row["in_family"]]
    assert others and all(row["p_holm"] is None for row in others)


def test_only_samples_that_both_answered_are_compared_and_the_others_are_counted(compared: Any) -> None:
    truth_N, scores_MN = drawn(50, [1.6, 1.0])
    first, second = (yes_or_no(people(50), truth_N, score_N) for score_N in scores_MN)
    both = compared({"a": {"seed0": first[:-4]}, "b": {"seed0": second[:-4]}}, BINARY)
    rows = compared({"a": {"seed0": first}, "b": {"seed0": second[-5::-1]}}, BINARY)
    assert [row["n_left_out"] for row in rows] == [4] * len(rows)
    assert [row | {"n_left_out": 0} for row in rows] == both


def test_models_without_a_sample_in_common_have_a_reason(compared: Any) -> None:
    truth_N, scores_MN = drawn(40, [1.6, 1.0])
    first, second = (yes_or_no(people(40), truth_N, score_N) for score_N in scores_MN)
    (row,) = compared({"a": {"seed0": first[:40]}, "b": {"seed0": second[40:]}}, BINARY)
    assert (row["p"], row["n"], row["n_left_out"]) == (None, 0, 80)
    assert row["reason"] == "no comparison: no test sample was answered by both"


def test_other_truths_of_the_same_samples_are_an_error(compared: Any, capsys: pytest.CaptureFixture[str]) -> None:
    truth_N, scores_MN = drawn(40, [1.6, 1.0])
    answers = {"a": {"seed0": yes_or_no(people(40), truth_N, scores_MN[0])}}
    answers["b"] = {"seed0": yes_or_no(people(40), 1 - truth_N, scores_MN[1])}
    compared(answers, BINARY, code=4)
    assert "scored against different truths" in capsys.readouterr().err


def test_models_that_answer_alike_have_no_p_value(compared: Any) -> None:
    truth_N, scores_MN = drawn(40, [1.6])
    rows = yes_or_no(people(40), truth_N, scores_MN[0])
    row = row_of(compared({"a": {"seed0": rows}, "b": {"seed0": rows}}, BINARY), "b")
    assert (row["difference"], row["p"]) == (0.0, None) and "no subject tells the two apart" in row["reason"]


def test_fewer_than_five_people_with_the_condition_are_not_compared(compared: Any) -> None:
    truth_N, scores_MN = drawn(40, [1.6, 1.0], eyes=1)
    truth_N[:] = 0
    truth_N[:4] = 1
    answers = {f"m{at}": {"seed0": yes_or_no(people(40, 1), truth_N, scores_MN[at])} for at in (0, 1)}
    rows = compared(answers, BINARY)
    for metric in ("auroc", "average_precision"):
        row = row_of(rows, "m1", metric)
        assert row["p"] is None and "fewer than five subjects with the condition: 4" in row["reason"]
        assert row["difference"] == pytest.approx(row["first_value"] - row["second_value"])
    assert row_of(rows, "m1", "brier")["p"] is not None


def test_seeds_are_compared_by_their_mean_and_how_far_they_differ_stands_apart(compared: Any) -> None:
    truth_N, scores_MN = drawn(80, [1.6, 1.2, 0.9, 1.1])
    seeds = [yes_or_no(people(80), truth_N, score_N) for score_N in scores_MN]
    answers = {"a": {"seed0": seeds[0], "seed1": seeds[1]}, "b": {"seed0": seeds[2], "seed1": seeds[3]}}
    row = row_of(compared(answers, BINARY, runs=["seed0", "seed1"]), "b")
    areas = [kernel(truth_N, score_N).mean() for score_N in scores_MN]
    assert row["first_value"] == pytest.approx(np.mean(areas[:2]))
    assert row["difference"] == pytest.approx(np.mean(areas[:2]) - np.mean(areas[2:]))
    assert (row["first_seeds"], row["first_run"]) == (2, "mean")
    assert row["second_seed_sd"] == pytest.approx(np.std(areas[2:], ddof=1))
    one = row_of(compared({"a": {"seed0": seeds[0]}, "b": {"seed0": seeds[2]}}, BINARY), "b")
    assert one["first_seed_sd"] is None and one["first_run"] == "seed0"


def test_validation_and_fewer_modalities_play_no_part(compared: Any) -> None:
    truth_N, scores_MN = drawn(40, [1.6, 1.0])
    plain = {name: {"seed0": yes_or_no(people(40), truth_N, s)} for name, s in zip("ab", scores_MN, strict=True)}
    expected = [row for row in compared(plain, BINARY) if row["operating_point"] != "validation"]
    more = {}
    for name, score_N in zip("ab", scores_MN[::-1], strict=True):
        other = yes_or_no(people(40, split="validation"), truth_N, score_N)
        fewer = [row | {"subset": "Fundus"} for row in yes_or_no(people(40), truth_N, score_N)]
        more[name] = {"seed0": plain[name]["seed0"] + other + fewer}
    found = [row for row in compared(more, BINARY) if row["operating_point"] != "validation"]
    assert found == expected


# --- other kinds ----------------------------------------------------------------------------------------------------


def test_errors_of_values_of_one_eye_each_are_compared_as_by_the_paired_t_test(compared: Any) -> None:
    rng = np.random.default_rng(3)
    truth_N = rng.normal(16, 4, 60)
    said_MN = truth_N + np.array([[1.0], [1.6]]) * rng.normal(size=(2, 60))
    answers = {
        f"m{at}": {"seed0": [s | {"target": "iop", "truth": t, "value": v, "unit": "mmHg"}
                             for s, t, v in zip(people(60, 1), truth_N, said_MN[at], strict=True)]}
        for at in (0, 1)
    }  # fmt: skip
    rows = compared(answers, {"iop": {"type": "value", "unit": "mmHg"}}, kind="regression")
    row, test = row_of(rows, "m1", "mae"), stats.ttest_rel(*abs(said_MN - truth_N))
    assert row["p"] == pytest.approx(test.pvalue, rel=0.2) and row["unit"] == "mmHg"
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(test.confidence_interval()), abs=0.005)
    (family,) = [row for row in rows if row["in_family"]]
    assert family["metric"] == "r2" and family["p"] is not None


@pytest.mark.parametrize("kind", ["classification", "ordinal"])
def test_grades_are_compared_as_a_whole(compared: Any, kind: str) -> None:
    rng = np.random.default_rng(4)
    truth_N = rng.integers(3, size=120)
    answers = {}
    for name, skill in (("a", 4), ("b", 1)):
        scores_NK = np.array([rng.dirichlet(np.ones(3) + skill * (np.arange(3) == truth)) for truth in truth_N])
        rows = [s | {"target": "grade", "truth": float(t), "scores": list(map(float, p))}
                for s, t, p in zip(people(60), truth_N, scores_NK, strict=True)]  # fmt: skip
        answers[name] = {"seed0": rows}
    target = {"type": "multiclass", "classes": ["none", "mild", "severe"], "ordered": True}
    target |= {"form": "grades"} if kind == "ordinal" else {}
    rows = compared(answers, {"grade": target}, kind=kind)
    (family,) = [row for row in rows if row["in_family"]]
    expected = ("quadratic_kappa", None) if kind == "ordinal" else ("auroc", "macro")
    assert (family["metric"], family["class"]) == expected
    assert family["difference"] > 0 and family["p_holm"] == family["p"] < 0.01 and family["n_subjects"] == 60


def test_times_to_an_event_are_compared(compared: Any) -> None:
    rng = np.random.default_rng(5)
    risk_N = rng.normal(size=160)
    event_N, days_N = (rng.random(160) < 0.6).astype(float), np.ceil(500 * rng.exponential(np.exp(-risk_N)))
    answers = {}
    for name, noise in (("a", 0.3), ("b", 3.0)):
        said_N = risk_N + noise * rng.normal(size=160)
        by_N = 1 / (1 + np.exp(-said_N))
        rows = [s | {"target": "worse", "truth": e, "interval_days": d, "value": r, "scores": [p / 2, p]}
                for s, e, d, r, p in zip(people(80), event_N, days_N, said_N, by_N, strict=True)]  # fmt: skip
        answers[name] = {"seed0": rows}
    target = {"type": "event", "intervals": [365, 730], "horizons": [365], "form": "hazard"}
    rows = compared(answers, {"worse": target}, kind="progression", head="hazard")
    (family,) = [row for row in rows if row["in_family"]]
    assert family["metric"] == "concordance" and family["ci_low"] > 0
    assert row_of(rows, "b", "time_dependent_auroc", class_="365 days")["p"] < 0.05


def test_masks_are_compared_image_by_image_also_with_the_second_observer(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    samples, files = people(40, 1), []
    ids = ("sample_id", "subject_id", "dataset", "modalities", "split")
    human_N, hard_N = rng.uniform(0.7, 0.9, 40), rng.uniform(-0.1, 0.1, 40)
    for model, level in (("a", 0.8), ("b", 0.7)):
        values = {"seed0": level + hard_N + rng.uniform(-0.05, 0.05, 40), "observer2": human_N}
        rows = [
            {name: sample[name] for name in ids}
            | {"run": run, "target": "disc", "class": label, "metric": "dice", "value": float(value), "present": True}
            for run, value_N in values.items()
            for sample, value in zip(samples, value_N, strict=True)
            for label in ("disc", "macro")
        ]
        path = tmp_path / model / "image_metrics.parquet"
        made_by = artifacts.provenance("evaluate", {"model": model}, {})
        artifacts.write_table(path, pa.Table.from_pylist(rows), made_by, schema="visionfm/image-metrics/1")
        files.append(f"{model}={path}")
    target = {"disc": {"type": "mask", "classes": ["background", "disc"]}}
    told = settings("ab", target, kind="segmentation")
    out = tmp_path / "comparison.parquet"
    assert cli.main(["compare", "--compared", *files, "--out", str(out), "--settings", told]) == 0
    family = [row for row in artifacts.read_table(out).to_pylist() if row["in_family"]]
    assert [(row["first_model"], row["second_model"], row["second_head"]) for row in family] == [
        ("a", "b", "sound"), ("a", "a", "observer2"), ("b", "b", "observer2")
    ]  # fmt: skip
    assert family[0]["ci_low"] > 0.05 and family[0]["metric"] == "dice" and family[0]["class"] == "macro"


# --- pairs and settings ---------------------------------------------------------------------------------------------


def of(**changes: Any) -> CompareSettings:
    return CompareSettings.model_validate_json(settings("abc", BINARY, baselines=["knn"], **changes))


def test_the_family_has_the_pairs_that_a_reader_needs() -> None:
    a, b, c = map(Contestant, "abc")
    beside = [(one, Contestant(one.model, "knn")) for one in (a, b, c)]
    assert pairs(of(), observed=False) == [(a, b), (a, c), *beside]
    observed = pairs(of(), observed=True)
    assert (a, Contestant("a", "observer2")) in observed and len(observed) == 8
    every = pairs(of(pairs="all"), observed=False)
    assert len(every) == 6 * 5 / 2 and set(pairs(of(), observed=False)) <= set(every)


def test_files_of_a_model_that_the_task_has_not_are_refused(compared: Any, capsys: pytest.CaptureFixture[str]) -> None:
    truth_N, scores_MN = drawn(20, [1.6])
    compared({"a": {"seed0": yes_or_no(people(20), truth_N, scores_MN[0])}}, BINARY, code=2, models=["a", "b"])
    assert "--compared has not the task's models" in capsys.readouterr().err


def test_equal_inputs_are_recalled(compared: Any, capsys: pytest.CaptureFixture[str]) -> None:
    truth_N, scores_MN = drawn(30, [1.6, 1.0])
    answers = {name: {"seed0": yes_or_no(people(30), truth_N, s)} for name, s in zip("ab", scores_MN, strict=True)}
    first = compared(answers, BINARY)
    capsys.readouterr()
    assert compared(answers, BINARY) == first
    assert "unchanged" in capsys.readouterr().err


def test_every_column_is_filled_by_some_run(compared: Any) -> None:
    """A column that nothing fills is a promise that nobody keeps."""
    truth_N, scores_MN = drawn(40, [1.6, 0.6, 1.0])
    signs = {"signs": {"type": "multilabel", "classes": ["drusen", "edema"]}}
    pressure = {"pressure": {"type": "value", "unit": "mmHg"}}

    def answers(score_N: Any) -> list[Row]:
        asked = [yes_or_no(people(40), truth_N, score_N, "signs") for _ in "ab"]
        of_signs = [
            row | {"class": name} for rows, name in zip(asked, ("drusen", "edema"), strict=True) for row in rows
        ]
        values = yes_or_no(people(40), truth_N, score_N, "pressure")
        return of_signs + [row | {"scores": None, "value": row["scores"][0]} for row in values]

    seeds = {"seed0": answers(scores_MN[0]), "seed1": answers(scores_MN[1])}
    given = {"ours": seeds, "other": {"seed0": answers(scores_MN[2]), "seed1": answers(scores_MN[1])}}
    rows = compared(given, signs, runs=["seed0", "seed1"])
    rows += compared(given, pressure, runs=["seed0", "seed1"], kind="regression")
    assert {name for row in rows for name, value in row.items() if value is not None} == set(COLUMNS)
