"""The evidence of every metric of every kind says the value that stands in the table, and pairs between two models."""

import numpy as np
import pandas as pd
import pytest

from visionfm.metrics.calibration import WITHOUT_INTERVAL
from visionfm.metrics.subjects import Subjects
from visionfm.tasks.landmarks import score as landmarks
from visionfm.tasks.maps.score import Column, over_images
from visionfm.tasks.prediction_arrays import Answers, Samples
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from visionfm.tasks.vectors.score import scored

PEOPLE, N = 40, 80
ORDINAL = "visionfm.tasks.ordinal.score"
VECTORS = "visionfm.tasks.vectors.score"
EDGES = [300.0, 600.0]
TARGETS = {
    "dme": (VECTORS, TargetSpec(type="binary", classes=["no", "yes"])),
    "signs": (VECTORS, TargetSpec(type="multilabel", classes=["drusen", "edema"])),
    "grade": (VECTORS, TargetSpec(type="multiclass", classes=["0", "1", "2"], ordered=True)),
    "grades": (ORDINAL, TargetSpec(type="multiclass", form="grades", classes=["0", "1", "2"], ordered=True)),
    "iop": (VECTORS, TargetSpec(type="value", unit="mmHg")),
    "worse": (VECTORS, TargetSpec(type="event", form="cox", intervals=EDGES, horizons=EDGES)),
}


def samples():
    """Two eyes of each person; every second person is of validation."""
    person = np.arange(N) // 2
    split = np.where(person % 4 == 0, "validation", "test").astype(object)
    texts = np.full((2, N), "all", dtype=object)
    ids = np.array([f"e{n:03}" for n in range(N)], dtype=object)
    return Samples(ids, np.array([f"p{k:03}" for k in person], dtype=object), split, texts[0], texts[0], texts[1])


def answers(target, noise, seed=0):
    rng, own = np.random.default_rng(seed), np.random.default_rng(int(100 * noise))
    seen = rng.normal(size=N)
    felt = seen + noise * own.normal(size=N)
    if target.type == "binary":
        return (seen[:, None] > 0.3) * 1.0, 1 / (1 + np.exp(-felt[:, None]))
    if target.type == "multilabel":
        truth = np.stack([seen > 0.3, seen < -0.2], axis=1) * 1.0
        truth[:6, 1] = np.nan  # not every finding was looked for in everybody
        return truth, 1 / (1 + np.exp(-np.stack([felt, -felt], axis=1)))
    if target.type == "multiclass":
        distance = -np.abs(felt[:, None] - np.array([-1.0, 0.0, 1.0]))
        odds = np.exp(2 * distance)
        return np.digitize(seen, [-0.5, 0.5])[:, None] * 1.0, odds / odds.sum(axis=1, keepdims=True)
    if target.type == "value":
        return seen[:, None], 0.8 * felt[:, None]
    days, lost = rng.exponential(600 * np.exp(-seen)), rng.uniform(100, 1500, N)
    by = 1 - np.exp(-np.array(EDGES) / 600 * np.exp(felt)[:, None])
    return np.stack([days <= lost, np.minimum(days, lost)], axis=1) * 1.0, np.concatenate([felt[:, None], by], axis=1)


def of_vectors(name, noise=0.7):
    scoring, target = TARGETS[name]
    same = {"task": "t", "model": "m", "head": "h", "fusion": "pooled", "kind": "classification"}
    settings = EvaluateSettings(**same, targets={name: target})
    return scored(
        {"seed0": {name: Answers(*answers(target, noise), samples(), np.full(N, "seed0", dtype=object))}},
        settings,
        scoring,
    )["seed0"][name]


def of_images():
    rng = np.random.default_rng(0)
    ids = samples()
    frame = pd.DataFrame(
        {"sample_id": ids.sample_N, "subject_id": ids.subject_N, "split": ids.split_N, "dataset": "eyes",
         "modalities": "Fundus"}
    )  # fmt: skip
    dice = np.where(rng.random(N) < 0.1, np.nan, rng.beta(8, 2, N))
    metrics = {"dice": dice, "hd95": rng.gamma(2, 5, N), "success_rate": (rng.random(N) < 0.8) * 1.0}
    columns = [Column("vessel", "vessel", name, values_N) for name, values_N in metrics.items()]
    return over_images(frame, columns)["vessel"]


@pytest.mark.parametrize("name", [*TARGETS, "vessel"])
def test_the_interval_is_of_the_very_value_that_the_table_says(name):
    of = of_images() if name == "vessel" else of_vectors(name)
    rows_N = np.flatnonzero(of.samples.split_N == "test")
    found = of.measures(rows_N)
    assert len({measure.key for measure in found}) == len(found)
    for measure in found:
        assert not np.isnan(measure.value) and measure.evidence is not None, measure.key
        interval = measure.interval
        assert interval.value == pytest.approx(measure.value, abs=1e-12), measure.key
        if interval.reason is None:
            assert interval.low <= measure.value <= interval.high and interval.method, measure.key
            variance = float(interval.influence_S @ interval.influence_S)
            if measure.value in (0, 1):
                continue  # an exact limit: nobody moves the value
            assert 0.02 < np.sqrt(variance) / (interval.high - interval.low) < 0.6, measure.key
    could = [measure for measure in found if measure.metric not in WITHOUT_INTERVAL]
    assert sum(measure.interval.reason is None for measure in could) >= 0.9 * len(could)


@pytest.mark.parametrize("name", [*TARGETS])
def test_two_models_have_the_same_measures_of_the_same_samples_and_people(name):
    first, second = (of_vectors(name, noise) for noise in (0.3, 1.2))
    rows_N = np.flatnonzero(first.samples.split_N == "test")[5:]
    pairs = list(zip(first.measures(rows_N), second.measures(rows_N), strict=True))
    for one, other in pairs:
        assert one.key == other.key and (one.known_N == other.known_N).all()
        assert (one.subjects.place_N == other.subjects.place_N).all()
        if one.interval.reason is None and other.interval.reason is None:
            assert len(one.interval.influence_S) == len(other.interval.influence_S) > 0
    assert any(one.value != other.value for one, other in pairs)


def test_a_persons_number_follows_the_ids_however_they_are_stored():
    ids = np.array(["b", "a", "c10", "c9", "a"], dtype=object)
    of = Subjects.of(ids)
    assert of.place_N.tolist() == [1, 0, 2, 3, 0] and of.count == 4
    assert Subjects.of(of) is of
    taken = of.take(np.array([0, 3]))
    assert taken.place_N.tolist() == [0, 1] and taken.count == 2
    assert of.among(np.array([False, True, False, True, True])) == 2
    every = np.full(5, "all", dtype=object)
    assert Samples(ids, ids, every, every, every, every).subjects.place_N.tolist() == of.place_N.tolist()


def test_errors_of_points_are_those_of_images():
    rows = pd.DataFrame({"x": [3.0, None], "y": [4.0, 1.0], "truth_x": [0.0, 1.0], "truth_y": [0.0, 1.0]})
    assert landmarks.radial_errors(rows)[0] == 5.0 and np.isnan(landmarks.radial_errors(rows)[1])
