"""Ordinal grading: likelihoods against hand calculation and oracles, and planted grades that are learned in order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score
from statsmodels.miscmodels.ordinal_model import OrderedModel
from world.decoder_data import image, planted, predict_settings, splits_of, train_settings, write_cache, write_samples

from visionfm import artifacts
from visionfm.metrics.binary import youden_threshold
from visionfm.tasks.evaluate import evaluate
from visionfm.tasks.ordinal import heads
from visionfm.tasks.ordinal.figures import grades
from visionfm.tasks.ordinal.fit import Logistic, Ordinal
from visionfm.tasks.ordinal.score import called
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from visionfm.tasks.slots import slots
from visionfm.tasks.train import train
from visionfm.tasks.vectors.baselines import C_GRID, Part
from visionfm.tasks.vectors.recipe import sound

COUNT = 400
NAMES = ["none", "mild", "moderate", "severe"]
TARGETS = {"dr": TargetSpec(type="multiclass", classes=NAMES, ordered=True, form="grades", unit="grades")}


# --- probabilities and losses ---------------------------------------------------------------------------------------


def test_cumulative_probabilities_are_differences_of_sigmoids_at_rising_thresholds():
    score_B = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)
    first, gap_logs = torch.tensor([-0.7], dtype=torch.float64), torch.tensor([0.1, -1.0], dtype=torch.float64)
    found = heads.cumulative_log_probabilities(score_B, first, gap_logs).exp().numpy()
    thresholds_C = -0.7 + np.array([0, np.exp(0.1), np.exp(0.1) + np.exp(-1.0)])
    at_most = np.column_stack([expit(thresholds_C - score_B.numpy()[:, None]), np.ones(3)])
    assert found == pytest.approx(np.diff(at_most, prepend=0, axis=1), rel=1e-9)


def test_probabilities_of_a_sample_far_off_are_finite_with_gradients():
    for score in (-300.0, 300.0):
        score_B = torch.tensor([score], requires_grad=True)
        logs = heads.cumulative_log_probabilities(score_B, torch.tensor([0.0]), torch.tensor([-3.0, 2.0]))
        logs.sum().backward()
        assert torch.isfinite(logs).all() and torch.isfinite(score_B.grad).all()
    logits = torch.tensor([[300.0, -300.0, 300.0]], requires_grad=True)
    logs = heads.conditional_log_probabilities(logits)
    logs.sum().backward()
    assert torch.isfinite(logs).all() and torch.isfinite(logits.grad).all()


def test_conditional_probabilities_are_products_along_the_grades_reached():
    logits = np.array([[0.2, -1.0, 0.5]])
    passed = expit(logits)[0]
    expected = [1 - passed[0], passed[0] * (1 - passed[1]), passed[0] * passed[1] * (1 - passed[2]), np.prod(passed)]
    found = heads.conditional_log_probabilities(torch.tensor(logits)).exp().numpy()[0]
    assert found == pytest.approx(expected) and found.sum() == pytest.approx(1)


def test_the_loss_of_corn_is_the_sum_over_the_questions_that_a_sample_reached():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(50, 3)), np.arange(50) % 4
    published = 0.0  # Shi et al. 2023, before it is divided by the number of questions
    for k in range(3):
        reached = truth >= k
        chance = expit(logits[reached, k])
        published -= np.sum(np.where(truth[reached] > k, np.log(chance), np.log(1 - chance)))
    kind = Ordinal(TARGETS, sound(), truth[:, None].astype(float), single=False)
    outputs = heads.conditional_log_probabilities(torch.tensor(logits))
    assert float(kind.loss(outputs, torch.tensor(truth[:, None]).double())) * 50 == pytest.approx(published, rel=1e-6)


def test_unknown_grades_add_nothing_and_balanced_weights_are_by_grade():
    truth = np.array([[0.0], [0.0], [0.0], [1.0], [2.0], [3.0], [np.nan]])
    recipe = sound().model_copy(update={"class_weighting": "balanced"})
    kind = Ordinal(TARGETS, recipe, truth, single=False)
    assert kind.weights["dr"].tolist() == pytest.approx([0.5, 1.5, 1.5, 1.5])
    outputs = torch.full((7, 4), 0.25).log()
    weights = np.array([0.5, 0.5, 0.5, 1.5, 1.5, 1.5])
    assert float(kind.loss(outputs, torch.tensor(truth))) == pytest.approx(weights.mean() * np.log(4), rel=1e-5)


@pytest.mark.parametrize("head", [heads.CumulativeHead, heads.CornHead])
def test_a_new_head_is_the_same_whatever_the_seed_and_gives_probabilities_of_each_target(head):
    two = {**TARGETS, "cataract": TargetSpec(type="multiclass", classes=["a", "b", "c"], ordered=True)}
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append(head(5, two)(torch.ones(2, 5)))
    assert torch.equal(*found) and found[0].shape == (2, 7)
    for part in (found[0][:, :4], found[0][:, 4:]):
        assert part.exp().sum(1).tolist() == pytest.approx([1, 1])


def test_the_grade_called_is_the_one_of_the_smallest_expected_squared_miss():
    scores = np.array([[0.5, 0.0, 0.0, 0.5], [0.6, 0.3, 0.1, 0.0], [0.0, 0.1, 0.1, 0.8]])  # expected 1.5, 0.5, 2.7
    assert called(scores).tolist() == [2, 1, 3]
    costs = ((np.arange(4)[:, None] - np.arange(4)) ** 2) @ scores.T
    assert costs[called(scores), np.arange(3)] == pytest.approx(costs.min(axis=0))


# --- the regression of proportional odds ----------------------------------------------------------------------------


def drawn_grades(count=300, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 3))
    return features, np.digitize(features @ [1.5, -0.8, 0.0] + rng.logistic(size=count), [-1, 0.5, 2.0])


def fitted(features, truth, value, balanced=False):
    part = Part(slots(TARGETS)[0], None, slice(0, 4), truth.astype(float), truth.astype(float), 4)
    return Logistic(part, features, features, balanced)(value)


def test_proportional_odds_without_penalty_are_those_of_statsmodels():
    features, truth = drawn_grades()
    oracle = OrderedModel(truth, features, distr="logit").fit(method="bfgs", disp=False, gtol=1e-7)
    scores, values = fitted(features, truth, 1e6)
    assert values == pytest.approx(oracle.params, abs=2e-3)  # both: weights, lowest threshold, logarithms of the steps
    assert scores == pytest.approx(oracle.predict(), abs=1e-3)


def test_a_penalty_draws_weights_to_zero_and_leaves_the_share_of_each_grade():
    features, truth = drawn_grades()
    scores, values = fitted(features, truth, 1e-6)
    assert np.abs(values[:3]).max() < 1e-3
    assert scores.mean(axis=0) == pytest.approx(np.bincount(truth) / len(truth), abs=1e-3)


def test_balanced_weights_are_those_of_repeated_samples():
    features, truth = drawn_grades()
    keep = np.concatenate([np.flatnonzero(truth == k)[:count] for k, count in enumerate((16, 8, 8, 4))])
    features, truth = features[keep], truth[keep]
    scores = fitted(features, truth, 1.0, balanced=True)[0]
    times = np.array([1, 2, 2, 4])[truth]
    again, grade = np.repeat(features, times, axis=0), np.repeat(truth, times)
    expected = fitted(again, grade, len(truth) / len(grade))[0]  # the same weight in all
    assert scores == pytest.approx(expected[np.cumsum(times) - 1], abs=1e-3)


# --- from files to files --------------------------------------------------------------------------------------------


class Eyes:
    """Planted features of 400 images, whose hidden value makes the grade."""

    def __init__(self, folder: Path, seed: int | None = None) -> None:
        self.folder = folder
        cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
        self.files = {"eyes": [write_cache(folder / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}
        noise_N = np.random.default_rng(1).normal(size=COUNT) * 0.3
        grades_N = np.digitize(hidden_N + noise_N, [-0.4, 0.5, 1.2]).astype(float)
        if seed is not None:
            grades_N = np.random.default_rng(seed).permutation(grades_N)
        labels = {"dr": np.where(np.arange(COUNT) % 29 == 0, np.nan, grades_N)}
        images = [[image(n)] for n in range(COUNT)]
        write_samples(folder / "samples.parquet", images, splits_of(COUNT), labels, TARGETS)

    def run(self, head="cumulative", run="seed0", targets=TARGETS, kind="ordinal", **changes):
        out = self.folder / f"{head}-{run}.safetensors"
        settings = train_settings(targets, kind=kind, head=head, **{"epochs": 30, **changes})
        train(self.folder / "train.parquet", self.files, out, out.with_suffix(".parquet"), settings)
        predictions = self.folder / f"{head}-{run}-predictions.parquet"
        asked = predict_settings(targets, kind=kind, run=run)
        predict(out, self.folder / "samples.parquet", self.files, predictions, asked)
        return predictions

    def metrics(self, predictions, targets=TARGETS, kind="ordinal"):
        out = predictions.with_name(f"metrics-{predictions.name}")
        same = {"task": "t", "model": "m", "head": "h", "fusion": "pooled"}
        evaluate([predictions], out, EvaluateSettings(**same, kind=kind, targets=targets))
        rows = artifacts.read_table(out).to_pandas()
        rows = rows[(rows["modality"] == "all")]
        return rows[rows["split"] == "test"]


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return Eyes(tmp_path_factory.mktemp("grades"))


def on_test(predictions):
    rows = artifacts.read_table(predictions).to_pandas()
    rows = rows[(rows["split"] == "test") & rows["truth"].notna()]
    return rows, rows["truth"].to_numpy(int), np.stack(rows["scores"])


@pytest.mark.parametrize(
    ("head", "baseline"), [("cumulative", None), ("corn", None), ("corn", "knn"), ("corn", "logreg")]
)
def test_planted_grades_are_learned_in_order(eyes, head, baseline):
    rows, truth_N, score_NG = on_test(eyes.run(head, baseline or "seed0", baseline=baseline))
    assert score_NG.sum(axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-6)
    assert rows["value"].to_numpy() == pytest.approx(score_NG @ np.arange(4)) and set(rows["unit"]) == {"grades"}
    assert spearmanr(truth_N, rows["value"])[0] > (0.6 if baseline == "knn" else 0.75)
    metadata = artifacts.read_metadata(eyes.folder / f"{head}-{baseline or 'seed0'}.safetensors")
    assert metadata["head"] == (head if baseline is None else {"knn": "knn", "logreg": "cumulative"}[baseline])
    if baseline == "logreg":
        tried = artifacts.read_table(eyes.folder / "corn-logreg.parquet").to_pandas()
        assert tried["value"].tolist() == list(C_GRID) and tried["best"].sum() == 1


def test_metrics_are_those_of_scikit_learn_and_thresholds_those_of_validation(eyes):
    predictions = eyes.run()
    rows = eyes.metrics(predictions)
    _, truth_N, score_NG = on_test(predictions)
    call_N = called(score_NG)

    def value(metric, label=None, point=None):
        at = rows[rows["metric"] == metric]
        at = at[at["class"].isna() if label is None else at["class"] == label]
        (row,) = at[at["operating_point"].isna() if point is None else at["operating_point"] == point].to_dict(
            "records"
        )
        return row["value"]

    assert value("quadratic_kappa") == pytest.approx(cohen_kappa_score(truth_N, call_N, weights="quadratic"))
    assert value("mae") == pytest.approx(np.abs(truth_N - call_N).mean())
    assert rows[rows["metric"] == "mae"]["unit"].tolist() == ["grades"]
    whole = rows[rows["class"].isna()]
    assert ((whole["ci_low"] <= whole["value"]) & (whole["value"] <= whole["ci_high"])).all()
    confusion = confusion_matrix(truth_N, call_N, labels=range(4))
    for k, name in enumerate(NAMES):
        assert value("sensitivity", name) == pytest.approx(confusion[k, k] / confusion[k].sum())
    everything = artifacts.read_table(predictions).to_pandas()
    chosen = everything[(everything["split"] == "validation") & everything["truth"].notna()]
    for k, name in enumerate(NAMES[1:], start=1):
        label, by_N = f">= {name}", score_NG[:, k:].sum(axis=1)
        assert value("auroc", label) == pytest.approx(roc_auc_score(truth_N >= k, by_N))
        at = youden_threshold(1.0 * (chosen["truth"].to_numpy() >= k), np.stack(chosen["scores"])[:, k:].sum(axis=1))
        assert value("sensitivity", label, "validation") == pytest.approx(np.mean(by_N[truth_N >= k] >= at))
        assert value("specificity", label, "validation") == pytest.approx(np.mean(by_N[truth_N < k] < at))
    assert "macro" not in set(rows["class"].dropna())  # cuts and grades have no common mean


def test_kappa_is_at_least_that_of_the_same_classes_without_order_within_the_interval(eyes):
    plain = {"dr": TargetSpec(type="multiclass", classes=NAMES, ordered=True)}
    found = {}
    for head in ("cumulative", "corn", "linear"):
        targets, kind = (plain, "classification") if head == "linear" else (TARGETS, "ordinal")
        rows = eyes.metrics(eyes.run(head, targets=targets, kind=kind), targets, kind)
        (found[head],) = rows[rows["metric"] == "quadratic_kappa"].to_dict("records")
    for head in ("cumulative", "corn"):
        assert found[head]["ci_high"] >= found["linear"]["value"], found
    assert found["cumulative"]["value"] > 0.6


def test_permuted_grades_are_not_learned(tmp_path):
    found = []
    for seed in range(3):
        rows, truth_N, _ = on_test(Eyes(tmp_path / str(seed), seed).run("corn", seed=seed, epochs=10))
        found.append(spearmanr(truth_N, rows["value"])[0])
    assert abs(np.mean(found)) < 0.2, found


def test_a_part_of_the_training_data_is_so_many_samples_per_grade_or_a_share_of_each(eyes):
    rows, truth_N, _ = on_test(eyes.run("corn", "seed0-shots5", shots=5))
    assert artifacts.read_metadata(eyes.folder / "corn-seed0-shots5.safetensors")["n_train"] == "20"
    assert spearmanr(truth_N, rows["value"])[0] > 0.3
    eyes.run("corn", "seed0-frac0p5", train_fraction=0.5)
    half = artifacts.read_metadata(eyes.folder / "corn-seed0-frac0p5.safetensors")
    assert 105 < int(half["n_train"]) < 130


def test_proportional_odds_have_one_direction_of_the_features(eyes):
    eyes.run("cumulative")
    tensors, metadata = artifacts.read_tensors(eyes.folder / "cumulative-seed0.safetensors")
    assert {"grades.0.weight", "grades.0.first", "grades.0.gap_logs"} < set(tensors)
    assert len(tensors["grades.0.weight"]) == 1 and metadata["kind"] == "ordinal"


# --- figures --------------------------------------------------------------------------------------------------------


def test_figures_count_what_was_called_and_by_how_much_it_misses(eyes):
    rows, truth_N, score_NG = on_test(eyes.run())
    target = {"classes": NAMES, "type": "multiclass"}
    confusion, errors, roc, calibration = grades(rows, "dr", target)
    assert [confusion.kind, errors.kind, roc.kind, calibration.kind] == [
        *("confusion", "grade_errors", "roc", "calibration")
    ]
    counts = confusion_matrix(truth_N, called(score_NG), labels=range(4))
    assert f"true mild: {counts[1, 0]} called none, {counts[1, 1]} called mild" in confusion.alt
    assert f"{np.trace(counts)} by +0" in errors.alt and f"n = {len(truth_N)}" in errors.alt
    assert ">= moderate" in roc.alt
    assert grades(rows.assign(truth=np.nan), "dr", target) == []
