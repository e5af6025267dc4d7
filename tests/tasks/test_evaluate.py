"""Stage `evaluate`: from predictions of several runs to metrics.parquet."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as sk

from visionfm import artifacts, cli
from visionfm.errors import ArtifactError, UsageError
from visionfm.tasks.evaluate import COLUMNS

TEXT, NUMBER = pa.string(), pa.float64()
PREDICTIONS = pa.schema(
    [(name, TEXT) for name in ("sample_id", "subject_id", "dataset", "modalities", "subset", "split", "run")]
    + [("target", TEXT), ("class", TEXT)]
    + [("truth", NUMBER), ("scores", pa.list_(NUMBER)), ("value", NUMBER), ("unit", TEXT)]
)  # fmt: skip
METRICS = [
    "task", "model", "head", "fusion", "run", "seed", "repeat", "fold", "train_fraction", "shots", "dataset",
    "modality", "modalities", "split", "target", "class", "metric", "threshold", "operating_point", "value",
    "ci_low", "ci_high", "interval", "n", "n_positive", "n_subjects", "unit", "reason",
]  # fmt: skip
BINARY = {"type": "binary", "classes": ["negative", "positive"]}
SIGNS = {"type": "multilabel", "classes": ["drusen", "edema", "never seen"]}
GRADE = {"type": "multiclass", "classes": ["none", "mild", "severe"], "ordered": True}
PRESSURE = {"type": "value", "unit": "mmHg"}
Row = dict[str, Any]


def settings(targets: dict[str, Any], **changes: Any) -> str:
    kind = "regression" if all(target["type"] == "value" for target in targets.values()) else "classification"
    plain = {"task": "dr", "model": "visionfm", "head": "sound", "fusion": "pooled", "kind": kind, "targets": targets}
    return json.dumps(plain | changes)


def samples(
    count: int = 40, split: str = "test", dataset: str = "idrid", modality: str = "Fundus", **same: Any
) -> list[Row]:
    """Two samples per subject."""
    return [
        {"sample_id": f"{dataset}/{split}{n}", "subject_id": f"{dataset}/{split}{n // 2}",
         "dataset": dataset, "split": split,
         "modalities": modality, "subset": "all"} | same
        for n in range(count)
    ]  # fmt: skip


def binary_rows(
    of: Sequence[Row], seed: int = 0, target: str = "dme", label: str | None = None, positive: float = 0.4
) -> list[Row]:
    generator = np.random.default_rng(seed)
    truth_generator = np.random.default_rng(len(of))
    found = []
    for sample in of:
        truth = float(truth_generator.random() < positive)
        score = float(np.clip(0.25 + 0.3 * truth + 0.2 * generator.normal(), 0, 1))
        found.append(sample | {"target": target, "class": label, "truth": truth, "scores": [score]})
    return found


def grade_rows(of: Sequence[Row], grades: int = 3) -> list[Row]:
    generator = np.random.default_rng(1)
    found = []
    for sample in of:
        truth = int(generator.integers(grades))
        score = generator.dirichlet(np.ones(3) + 3 * (np.arange(3) == truth))
        found.append(sample | {"target": "grade", "truth": float(truth), "scores": score.tolist()})
    return found


def pressure_rows(of: Sequence[Row]) -> list[Row]:
    generator = np.random.default_rng(2)
    truths = generator.normal(16, 4, len(of))
    return [
        s | {"target": "iop", "truth": t, "value": t + generator.normal(), "unit": "mmHg"}
        for s, t in zip(of, truths, strict=True)
    ]


def write(path: Path, rows: list[Row], run: str = "seed0", task: str = "dr") -> Path:
    table = pa.Table.from_pylist(
        [dict.fromkeys(PREDICTIONS.names) | row | {"run": run} for row in rows], schema=PREDICTIONS
    )
    made_by = artifacts.provenance("predict", {"run": run}, {})
    extra = {"task": task, "model": "visionfm"}
    artifacts.write_table(path, table, made_by, schema="visionfm/predictions/1", extra=extra)
    return path


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[..., list[Row]]:
    """Return a function that runs the stage on rows by run, and returns the rows of metrics.parquet."""

    def run(rows: dict[str, list[Row]], targets: dict[str, Any], **changes: Any) -> list[Row]:
        files = [str(write(tmp_path / name / "predictions.parquet", of_run, name)) for name, of_run in rows.items()]
        out = tmp_path / "metrics.parquet"
        assert (
            cli.main(
                ["evaluate", "--predictions", *files, "--out", str(out), "--settings", settings(targets, **changes)]
            )
            == 0
        )
        return list(artifacts.read_table(out).to_pylist())

    return run


def pick(rows: list[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[name.rstrip("_")] == value for name, value in wanted.items())]


def one(rows: list[Row], **wanted: Any) -> Row:
    whole = {"dataset": "idrid", "modality": "all", "modalities": "all", "split": "test", "run": "seed0"}
    found = pick(rows, **(whole | wanted))
    assert len(found) == 1, f"{len(found)} rows for {wanted}"
    return found[0]


def test_columns_are_those_of_the_contract(evaluated: Callable[..., list[Row]]) -> None:
    rows = evaluated({"seed0": binary_rows(samples())}, {"dme": BINARY})
    assert list(rows[0]) == METRICS
    row = one(rows, metric="auroc")
    assert (row["task"], row["model"], row["head"], row["fusion"], row["seed"]) == (
        "dr",
        "visionfm",
        "sound",
        "pooled",
        0,
    )
    assert row["fold"] is row["shots"] is row["train_fraction"] is None


def test_every_key_stands_once_and_every_row_has_a_value_and_interval_or_a_reason(
    evaluated: Callable[..., list[Row]],
) -> None:
    of = samples() + samples(split="validation") + samples(6, dataset="tiny")
    signs = [
        row
        for label in SIGNS["classes"]
        for row in binary_rows(of, target="signs", label=label, positive=0 if "never" in label else 0.4)
    ]
    rows = evaluated(
        {"seed0": signs + grade_rows(of), "seed1": signs + grade_rows(of)}, {"signs": SIGNS, "grade": GRADE}
    )
    keys = [tuple(row[name] for name in METRICS[:17]) + (row["operating_point"],) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        assert row["n"] is not None and row["n_subjects"] is not None
        assert row["reason"] or None not in (row["value"], row["ci_low"], row["ci_high"])
        if row["ci_low"] is not None:
            assert row["ci_low"] <= row["ci_high"]


def test_values_are_those_of_scikit_learn(evaluated: Callable[..., list[Row]]) -> None:
    of = binary_rows(samples(60))
    rows = evaluated({"seed0": of + binary_rows(samples(60, "validation"))}, {"dme": BINARY})
    truth, score = np.array([r["truth"] for r in of]), np.array([r["scores"][0] for r in of])
    assert one(rows, metric="auroc")["value"] == pytest.approx(sk.roc_auc_score(truth, score), abs=1e-12)
    assert one(rows, metric="brier")["value"] == pytest.approx(sk.brier_score_loss(truth, score), abs=1e-12)
    f1 = one(rows, metric="f1", operating_point="0.5")
    assert f1["value"] == pytest.approx(sk.f1_score(truth, score >= 0.5), abs=1e-12)
    assert f1["threshold"] == 0.5
    assert (f1["n"], f1["n_positive"], f1["n_subjects"]) == (60, truth.sum(), 30)


def test_the_validation_threshold_comes_from_validation_rows_and_is_applied_to_test(
    evaluated: Callable[..., list[Row]],
) -> None:
    def run(test: list[Row]) -> Row:
        return one(
            evaluated({"seed0": test + binary_rows(samples(30, "validation"))}, {"dme": BINARY}),
            metric="sensitivity", operating_point="validation",
        )  # fmt: skip

    test = binary_rows(samples())
    row = run(test)
    truth, score = np.array([r["truth"] for r in test]), np.array([r["scores"][0] for r in test])
    assert row["value"] == pytest.approx(sk.recall_score(truth, score >= row["threshold"]))
    flipped = [r | {"truth": 1 - r["truth"]} for r in test]
    assert run(flipped)["threshold"] == row["threshold"]


def test_one_class_in_validation_means_no_threshold_and_says_so(evaluated: Callable[..., list[Row]]) -> None:
    rows = evaluated(
        {"seed0": binary_rows(samples()) + binary_rows(samples(20, "validation"), positive=0)}, {"dme": BINARY}
    )
    row = one(rows, metric="specificity", operating_point="validation")
    assert row["value"] is row["threshold"] is None
    assert row["reason"] == "no threshold: no positive case among 20 known in the validation split"
    assert one(rows, metric="specificity", operating_point="0.5")["value"] is not None


def test_a_test_split_without_positive_cases_gives_nulls_with_reasons_and_a_warning(
    evaluated: Callable[..., list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = evaluated(
        {"seed0": binary_rows(samples(), positive=0) + binary_rows(samples(20, "validation"))}, {"dme": BINARY}
    )
    for metric in ("auroc", "average_precision"):
        row = one(rows, metric=metric)
        assert row["value"] is row["ci_low"] is None
        assert row["reason"] == "no positive case among 40 known"
    assert one(rows, metric="specificity", operating_point="0.5")["value"] is not None
    said = "evaluate: seed0: dme has no auroc, average_precision, f1, sensitivity, balanced_accuracy, ppv, npv, "
    said += "likelihood_ratio_positive, likelihood_ratio_negative, calibration_slope, calibration_intercept in test of "
    said += "idrid: no positive case among 40 known"
    assert said in capsys.readouterr().err


def test_no_test_split_at_all_is_said_not_passed_over(evaluated: Callable[..., list[Row]]) -> None:
    rows = evaluated({"seed0": binary_rows(samples(split="validation"))}, {"dme": BINARY})
    row = one(rows, metric="auroc")
    assert (row["value"], row["n"], row["n_subjects"], row["reason"]) == (None, 0, 0, "no sample with a known answer")


def test_unknown_truths_are_masked_and_not_counted(evaluated: Callable[..., list[Row]]) -> None:
    known = binary_rows(samples())
    unknown = [row | {"sample_id": row["sample_id"] + "x", "subject_id": "new", "truth": None} for row in known]
    plain = evaluated({"seed0": known}, {"dme": BINARY})
    assert evaluated({"seed0": known + unknown}, {"dme": BINARY}) == plain


def test_the_macro_mean_leaves_absent_classes_out_and_counts_them(evaluated: Callable[..., list[Row]]) -> None:
    of = samples(60) + samples(30, "validation")
    share = {"drusen": 0.4, "edema": 0.4, "never seen": 0.0}
    rows = [
        row
        for label in share
        for row in binary_rows(of, len(label), target="signs", label=label, positive=share[label])
    ]
    found = evaluated({"seed0": rows}, {"signs": SIGNS})
    for metric, point in (("auroc", None), ("brier", None), ("f1", "0.5"), ("f1", "validation")):
        macro = one(found, metric=metric, operating_point=point, class_="macro")
        classes = [
            one(found, metric=metric, operating_point=point, class_=label)["value"] for label in ("drusen", "edema")
        ]
        assert macro["value"] == pytest.approx(np.mean(classes), abs=1e-12)
        assert macro["ci_low"] is not None
        assert macro["reason"].startswith("1 of 3 classes left out: never seen (no ")
        assert (macro["n"], macro["n_positive"], macro["n_subjects"]) == (60, None, 30)
    assert one(found, metric="brier", class_="never seen")["value"] is not None


def test_each_class_counts_the_samples_that_know_it_and_macro_those_that_know_any(
    evaluated: Callable[..., list[Row]],
) -> None:
    fundus, clinic = samples(40), samples(30, dataset="clinic")
    rows = []
    for label, known in (("drusen", fundus), ("edema", clinic), ("never seen", [])):
        of_label = binary_rows(fundus + clinic, target="signs", label=label)
        ids = {sample["sample_id"] for sample in known}
        rows += [row if row["sample_id"] in ids else row | {"truth": None} for row in of_label]
    found = evaluated({"seed0": rows}, {"signs": SIGNS}, pool=True)
    counts = {label: one(found, metric="auroc", class_=label, dataset="all") for label in (*SIGNS["classes"], "macro")}
    assert [(row["n"], row["n_subjects"]) for row in counts.values()] == [(40, 20), (30, 15), (0, 0), (70, 35)]
    assert counts["never seen"]["reason"] == "no sample with a known answer"
    assert counts["macro"]["value"] == pytest.approx((counts["drusen"]["value"] + counts["edema"]["value"]) / 2)


def test_a_multiclass_target_is_scored_by_class_and_as_a_whole(evaluated: Callable[..., list[Row]]) -> None:
    of = grade_rows(samples(90))
    rows = evaluated({"seed0": of}, {"grade": GRADE})
    truth, score = np.array([r["truth"] for r in of]).astype(int), np.array([r["scores"] for r in of])
    call = score.argmax(axis=1)
    expected = {
        ("auroc", "macro"): sk.roc_auc_score(truth, score, multi_class="ovr", average="macro"),
        ("auroc", "mild"): sk.roc_auc_score(truth == 1, score[:, 1]),
        ("average_precision", "severe"): sk.average_precision_score(truth == 2, score[:, 2]),
        ("f1", "macro"): sk.f1_score(truth, call, average="macro"),
        ("sensitivity", "mild"): sk.recall_score(truth == 1, call == 1),
        ("accuracy", None): sk.accuracy_score(truth, call),
        ("balanced_accuracy", None): sk.balanced_accuracy_score(truth, call),
        ("quadratic_kappa", None): sk.cohen_kappa_score(truth, call, weights="quadratic"),
    }
    for (metric, label), value in expected.items():
        assert one(rows, metric=metric, class_=label)["value"] == pytest.approx(value, abs=1e-12), (metric, label)
    assert one(rows, metric="auroc", class_="mild")["n_positive"] == (truth == 1).sum()


def test_a_grade_absent_from_test_has_no_value_and_is_counted(evaluated: Callable[..., list[Row]]) -> None:
    rows = evaluated({"seed0": grade_rows(samples(90), grades=2)}, {"grade": GRADE})
    assert one(rows, metric="auroc", class_="severe")["reason"] == "no positive case among 90 known"
    macro = one(rows, metric="auroc", class_="macro")
    assert macro["reason"] == "1 of 3 classes left out: severe (no positive case among 90 known)"
    assert macro["value"] is not None


def test_regression_is_in_units(evaluated: Callable[..., list[Row]]) -> None:
    of = pressure_rows(samples(50))
    rows = evaluated({"seed0": of}, {"iop": PRESSURE})
    truth, value = np.array([r["truth"] for r in of]), np.array([r["value"] for r in of])
    mae, r2 = one(rows, metric="mae"), one(rows, metric="r2")
    assert mae["value"] == pytest.approx(sk.mean_absolute_error(truth, value), abs=1e-12)
    assert (mae["unit"], r2["unit"], mae["n_positive"]) == ("mmHg", None, None)
    assert r2["value"] == pytest.approx(sk.r2_score(truth, value), abs=1e-12)
    assert r2["ci_low"] < r2["value"] < r2["ci_high"]


def test_each_dataset_is_scored_by_itself_and_pooled_values_come_only_where_asked_and_without_external_ones(
    evaluated: Callable[..., list[Row]],
) -> None:
    parts = [samples(30), samples(20, dataset="messidor"), samples(24, dataset="clinic", modality="OCT")]
    answers = {"seed0": [row for part in parts for row in binary_rows(part)]}
    rows = evaluated(answers, {"dme": BINARY})
    assert [one(rows, metric="auroc", dataset=name)["n"] for name in ("idrid", "messidor", "clinic")] == [30, 20, 24]
    assert {row["dataset"] for row in rows} == {"idrid", "messidor", "clinic"}
    assert {row["modalities"] for row in rows} == {row["modality"] for row in rows} == {"all"}
    pooled = evaluated(answers, {"dme": BINARY}, pool=True)
    assert one(pooled, metric="auroc", dataset="all")["n"] == 74
    assert [one(pooled, metric="auroc", dataset="all", modality=name)["n"] for name in ("Fundus", "OCT")] == [50, 24]
    apart = evaluated(answers, {"dme": BINARY}, pool=True, external=["clinic"])
    assert one(apart, metric="auroc", dataset="clinic")["n"] == 24
    assert one(apart, metric="auroc", dataset="all")["n"] == 50
    assert not pick(apart, dataset="all", modality="OCT")


def test_a_score_that_only_knows_the_hospital_gets_no_credit_for_it(evaluated: Callable[..., list[Row]]) -> None:
    """Nine in ten are sick in one, one in ten in the other: pooled, the score seems good, and it knows nothing."""
    rows = []
    for dataset, score, sick in (("idrid", 0.8, 0.9), ("village", 0.2, 0.1)):
        of = samples(200, dataset=dataset)
        rows += [row | {"scores": [score]} for row in binary_rows(of, positive=sick)]
    found = evaluated({"seed0": rows}, {"dme": BINARY}, pool=True)
    assert [one(found, metric="auroc", dataset=name)["value"] for name in ("idrid", "village")] == [0.5, 0.5]
    assert one(found, metric="auroc", dataset="all")["value"] > 0.85
    assert not pick(evaluated({"seed0": rows}, {"dme": BINARY}), dataset="all")


def test_fused_tasks_are_scored_by_subset_of_modalities_each_with_its_own_threshold(
    evaluated: Callable[..., list[Row]],
) -> None:
    rows = []
    for number, subset in enumerate(("all", "Fundus", "Fundus+OCT")):
        for split in ("test", "validation"):
            rows += binary_rows(samples(40 - 4 * number, split, subset=subset, modality="Fundus+OCT"), seed=number)
    found = evaluated({"seed0": rows}, {"dme": BINARY}, fusion="attention")
    wanted = {"metric": "sensitivity", "operating_point": "validation"}
    sensitivity = [one(found, **wanted, modalities=subset) for subset in ("all", "Fundus", "Fundus+OCT")]
    assert [row["n"] for row in sensitivity] == [40, 36, 32]
    assert len({row["threshold"] for row in sensitivity}) == 3
    assert {row["modality"] for row in found} == {"all"}


def test_several_seeds_get_a_mean_with_an_interval_of_the_mean(evaluated: Callable[..., list[Row]]) -> None:
    runs = {
        f"seed{seed}": binary_rows(samples(), seed) + binary_rows(samples(20, "validation"), seed)
        for seed in (0, 1, 10, 2)
    }
    rows = evaluated(runs, {"dme": BINARY})
    assert list(dict.fromkeys(row["run"] for row in rows)) == ["seed0", "seed1", "seed2", "seed10", "mean"]
    each = [one(rows, run=run, metric="auroc") for run in runs]
    mean = one(rows, run="mean", metric="auroc")
    assert mean["value"] == pytest.approx(np.mean([row["value"] for row in each]), abs=1e-12)
    assert (mean["seed"], mean["n"], mean["n_subjects"]) == (None, 40, 20)
    # The same people in each run: the interval of the mean is no wider than the widest, and lies within them.
    assert (
        min(row["ci_low"] for row in each)
        <= mean["ci_low"]
        < mean["value"]
        < mean["ci_high"]
        <= max(row["ci_high"] for row in each)
    )
    assert one(rows, run="mean", metric="f1", operating_point="validation")["threshold"] is None
    assert one(rows, run="mean", metric="f1", operating_point="0.5")["threshold"] == 0.5


def test_the_mean_of_equal_runs_is_the_run(evaluated: Callable[..., list[Row]]) -> None:
    rows = evaluated({run: binary_rows(samples()) for run in ("seed0", "seed1")}, {"dme": BINARY})
    for row in pick(rows, run="mean"):
        same = dict(row, run="seed0", seed=0)
        assert (row["interval"] is None) == (row["ci_low"] is None)
        place = {
            name: row[name] for name in ("dataset", "modality", "modalities", "split", "metric", "operating_point")
        }
        twin = one(rows, **place)
        for name in ("ci_low", "ci_high"):  # no score depends on the seed
            assert same.pop(name) == pytest.approx(twin.pop(name))
        assert {**same, "interval": None, "reason": None} == {**twin, "interval": None, "reason": None}


def test_runs_on_different_samples_have_a_mean_without_an_interval(evaluated: Callable[..., list[Row]]) -> None:
    rows = evaluated({"seed0": binary_rows(samples(40)), "seed1": binary_rows(samples(30))}, {"dme": BINARY})
    mean = one(rows, run="mean", metric="auroc")
    assert mean["value"] is not None and mean["ci_low"] is None
    assert mean["reason"] == "no interval: the runs were scored on different samples"


def test_a_metric_missing_in_each_run_is_missing_in_the_mean_with_the_same_reason(
    evaluated: Callable[..., list[Row]],
) -> None:
    rows = evaluated({run: binary_rows(samples(), positive=0) for run in ("seed0", "seed1")}, {"dme": BINARY})
    assert one(rows, run="mean", metric="auroc")["reason"] == "no positive case among 40 known"


def test_what_a_runs_name_says_stands_in_its_columns(evaluated: Callable[..., list[Row]]) -> None:
    names = ["seed3-fold2", "seed3-frac0p1", "seed4-shots5", "knn"]
    rows = evaluated({name: binary_rows(samples(10)) for name in names}, {"dme": BINARY})
    said = {row["run"]: (row["seed"], row["fold"], row["train_fraction"], row["shots"]) for row in rows}
    assert said == {
        "seed3-fold2": (3, 2, None, None), "seed3-frac0p1": (3, None, 0.1, None),
        "seed4-shots5": (4, None, None, 5), "knn": (None, None, None, None),
    }  # fmt: skip


def test_too_few_subjects_give_a_value_without_an_interval(evaluated: Callable[..., list[Row]]) -> None:
    row = one(evaluated({"seed0": pressure_rows(samples(8))}, {"iop": PRESSURE}), metric="mae")
    assert row["value"] is not None and row["ci_low"] is None
    assert row["reason"] == "no interval: fewer than five subjects with a known value: 4"


def test_equal_predictions_give_equal_bytes_whatever_the_order_of_files_and_rows(tmp_path: Path) -> None:
    of = {
        run: binary_rows(samples(), seed) + binary_rows(samples(20, "validation"))
        for seed, run in enumerate(("seed0", "seed1"))
    }
    files = [str(write(tmp_path / run / "predictions.parquet", rows, run)) for run, rows in of.items()]
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for out, order in ((first, files), (second, files[::-1])):
        assert (
            cli.main(["evaluate", "--predictions", *order, "--out", str(out), "--settings", settings({"dme": BINARY})])
            == 0
        )
    assert first.read_bytes() == second.read_bytes()
    shuffled = [str(write(tmp_path / "s" / run / "predictions.parquet", rows[::-1], run)) for run, rows in of.items()]
    third = tmp_path / "c.parquet"
    assert (
        cli.main(["evaluate", "--predictions", *shuffled, "--out", str(third), "--settings", settings({"dme": BINARY})])
        == 0
    )
    assert artifacts.read_table(third).to_pylist() == artifacts.read_table(first).to_pylist()


def test_a_second_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write(tmp_path / "p.parquet", binary_rows(samples())))
    out = tmp_path / "results" / "metrics.parquet"

    def run() -> Row:
        arguments = [
            "evaluate",
            "--predictions",
            source,
            "--out",
            str(out),
            "--settings",
            settings({"dme": BINARY}),
        ]
        assert cli.main(arguments) == 0
        return one(artifacts.read_table(out).to_pylist(), metric="auroc")

    first = run()
    assert "unchanged" not in capsys.readouterr().err
    assert run() == first
    assert f"unchanged: {out}" in capsys.readouterr().err


def spoiled(change: Callable[[Row], Row]) -> list[Row]:
    rows = binary_rows(samples(6))
    return [change(rows[0]), *rows[1:]]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (spoiled(lambda row: row | {"scores": [float("nan")]}), "predictions are not finite"),
        (spoiled(lambda row: row | {"scores": [2.0]}), "scores are no probabilities"),
        (spoiled(lambda row: row | {"scores": [0.5, 0.5]}), "scores do not fit the target"),
        (spoiled(lambda row: row | {"scores": None}), "scores do not fit the target"),
        (spoiled(lambda row: row | {"truth": 2.0}), "a truth is out of range"),
        (spoiled(lambda row: row | {"sample_id": "idrid/test1"}), "a sample is answered twice"),
        ([], "the predictions are empty"),
    ],
)
def test_predictions_that_cannot_be_right_are_refused(tmp_path: Path, rows: list[Row], problem: str) -> None:
    from visionfm.tasks.evaluate import evaluate
    from visionfm.tasks.settings import EvaluateSettings

    source = write(tmp_path / "p.parquet", rows)
    with pytest.raises(ArtifactError, match=problem):
        evaluate([source], tmp_path / "m.parquet", EvaluateSettings.model_validate_json(settings({"dme": BINARY})))
    assert not (tmp_path / "m.parquet").exists()


def test_predictions_of_another_task_and_a_run_given_twice_are_refused(tmp_path: Path) -> None:
    from visionfm.tasks.evaluate import evaluate
    from visionfm.tasks.settings import EvaluateSettings

    chosen = EvaluateSettings.model_validate_json(settings({"dme": BINARY}))
    other = write(tmp_path / "p.parquet", binary_rows(samples()), task="glaucoma")
    with pytest.raises(ArtifactError, match="another task"):
        evaluate([other], tmp_path / "m.parquet", chosen)
    ours = write(tmp_path / "q.parquet", binary_rows(samples()))
    with pytest.raises(UsageError, match="given twice"):
        evaluate([ours, ours], tmp_path / "m.parquet", chosen)


def test_a_wanted_sensitivity_is_reached_on_validation_and_its_threshold_applied_to_test(
    evaluated: Callable[..., list[Row]],
) -> None:
    points = {"sensitivity 0.9": ("sensitivity", 0.9), "specificity 1": ("specificity", 1.0)}
    rows = evaluated(
        {"seed0": binary_rows(samples(60)) + binary_rows(samples(60, "validation"))}, {"dme": BINARY},
        operating_points=points,
    )  # fmt: skip
    chosen = one(rows, metric="sensitivity", operating_point="sensitivity 0.9", split="validation")
    assert chosen["value"] >= 0.9
    test = {row["metric"]: row for row in pick(rows, split="test", operating_point="sensitivity 0.9")}
    assert {row["threshold"] for row in test.values()} == {chosen["threshold"]}
    assert {"ppv", "npv", "likelihood_ratio_positive", "likelihood_ratio_negative"} < set(test)
    odds = test["sensitivity"]["value"] / (1 - test["specificity"]["value"])
    assert test["likelihood_ratio_positive"]["value"] == pytest.approx(odds)
    none = one(rows, metric="npv", operating_point="specificity 1")
    assert none["value"] is not None or none["reason"]


def test_beside_the_brier_score_stands_that_of_the_prevalence(evaluated: Callable[..., list[Row]]) -> None:
    of = binary_rows(samples(60))
    rows = evaluated({"seed0": of}, {"dme": BINARY})
    share = np.mean([row["truth"] for row in of])
    reference = one(rows, metric="brier_prevalence")
    assert reference["value"] == pytest.approx(share * (1 - share))
    assert reference["ci_low"] < reference["value"] < reference["ci_high"] <= 0.25


def test_every_column_is_filled_by_some_run(evaluated: Callable[..., list[Row]]) -> None:
    """A column that nothing fills is a promise that nobody keeps."""
    of = samples(60) + samples(40, "validation")
    signs = [row for label in SIGNS["classes"] for row in binary_rows(of, target="signs", label=label)]
    rows = evaluated(
        {"seed0": signs, "seed0-frac0p1": signs, "seed0-shots5": signs, "seed0-repeat1-fold1": signs}, {"signs": SIGNS}
    )
    rows += evaluated({"seed0": pressure_rows(samples(8))}, {"iop": PRESSURE})
    filled = {name for row in rows for name, value in row.items() if value is not None}
    assert filled == set(METRICS)
    assert set(METRICS) == set(COLUMNS)
