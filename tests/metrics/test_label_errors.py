"""Labels that look wrong: as plain loops say it, wrong ones first, no better than chance where features say nothing."""

import numpy as np
import pytest

from visionfm.metrics import label_errors
from visionfm.metrics.label_errors import Votes

COUNT, NEAR = 200, 12
ALL_N = np.ones(COUNT, bool)


def votes_of(place_N: np.ndarray) -> Votes:
    """The nearest others of each sample on a line."""
    away_NN = np.abs(place_N[:, None] - place_N)
    np.fill_diagonal(away_NN, np.inf)
    near_NK = np.argsort(away_NN, axis=1, kind="stable")[:, :NEAR]
    distance_NK = np.take_along_axis(away_NN, near_NK, axis=1)
    return Votes.of(near_NK, distance_NK, np.ones(near_NK.shape, bool))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def in_loops(label_N: list[float], votes: Votes, classes: int) -> list[float]:
    """The normalised margin after the class thresholds of confident learning, written again without arrays."""
    shares = []
    for near, weights in zip(votes.near_NK, votes.weight_NK, strict=True):
        known = [(label_N[k], w) for k, w in zip(near, weights, strict=True) if label_N[k] == label_N[k]]
        total = sum(w for _, w in known)
        shares.append([sum(w for label, w in known if label == c) / total for c in range(classes)])
    own = [[one[c] for one, label in zip(shares, label_N, strict=True) if label == c] for c in range(classes)]
    threshold = [sum(of) / len(of) for of in own]
    found = []
    for one, label in zip(shares, label_N, strict=True):
        if label != label:
            found.append(float("nan"))
            continue
        over = [share - limit + max(threshold) for share, limit in zip(one, threshold, strict=True)]
        over = [value / sum(over) for value in over]
        mine = over.pop(int(label))
        found.append((mine - max(over) + 1) / 2)
    return found


def test_the_quality_of_labels_is_what_plain_loops_say(rng: np.random.Generator) -> None:
    label_N = rng.integers(0, 3, COUNT).astype(float)
    label_N[::17] = np.nan
    votes = votes_of(np.nan_to_num(label_N) * 0.5 + rng.normal(size=COUNT))
    found = label_errors.judged(label_N[:, None], votes, 3, ALL_N)
    assert found.quality_NT[:, 0] == pytest.approx(in_loops(label_N.tolist(), votes, 3), abs=1e-12, nan_ok=True)


def test_wrong_labels_come_first_with_what_they_should_be(rng: np.random.Generator) -> None:
    true_N = np.repeat([0.0, 1, 2], [120, 60, 20])  # the rare class is not taken for an error
    votes, label_N = votes_of(true_N * 10 + rng.normal(size=COUNT)), true_N.copy()
    wrong = [5, 130, 185]
    label_N[wrong] = [2, 0, 1]
    found = label_errors.judged(label_N[:, None], votes, 3, ALL_N)
    rows, _ = label_errors.ranked(found, ALL_N)
    assert sorted(rows[:3]) == wrong and found.likely_NT[wrong, 0].tolist() == [0, 1, 2]
    assert np.flatnonzero(found.suspect_NT(3)).tolist() == wrong


def test_a_value_far_from_its_neighbours_comes_first(rng: np.random.Generator) -> None:
    place_N = rng.normal(size=COUNT)
    value_N = 300 + 20 * place_N
    value_N[7] += 150
    found = label_errors.judged(value_N[:, None], votes_of(place_N), 0, ALL_N)
    rows, _ = label_errors.ranked(found, ALL_N)
    assert rows[0] == 7 and abs(found.likely_NT[7, 0] - (300 + 20 * place_N[7])) < 5
    assert found.suspect_NT(0)[7, 0] and found.suspect_NT(0).mean() < 0.3


@pytest.mark.parametrize(("classes", "ordered"), [(2, False), (4, True), (0, False)])
def test_of_planted_errors_as_many_are_found_as_features_say(
    classes: int, ordered: bool, rng: np.random.Generator
) -> None:
    label_N = rng.integers(0, classes, COUNT) * 1.0 if classes else rng.normal(size=COUNT)
    telling, silent = votes_of(label_N + rng.normal(size=COUNT) * 0.05), votes_of(rng.normal(size=COUNT))
    for votes, low, high in ((telling, 0.85 if classes else 0.5, 1), (silent, 0.02, 0.2)):
        (found,) = label_errors.planted(label_N[:, None], votes, classes, ordered, ALL_N, 0.1, [10], 30, 0)
        assert found.changed == 20 and low <= found.mean <= high and found.low <= found.mean <= found.high


def test_planting_depends_on_the_seed_alone_and_leaves_the_labels(rng: np.random.Generator) -> None:
    label_NT = rng.integers(0, 2, (COUNT, 2)) * 1.0
    before, votes, some_N = label_NT.copy(), votes_of(rng.normal(size=COUNT)), np.arange(COUNT) % 2 == 0
    first, again, other = (
        label_errors.planted(label_NT, votes, 2, False, some_N, 0.05, [5, 20], 8, seed) for seed in (0, 0, 1)
    )
    assert first == again != other and [one.first for one in first] == [5, 20]
    assert first[0].changed == 10 and (label_NT == before).all()


def test_what_is_planted_is_drawn_from_training_labels_alone(rng: np.random.Generator) -> None:
    place_N = rng.normal(size=COUNT)
    train_N, votes = np.arange(COUNT) < 150, votes_of(place_N)
    found = []
    for held_out in (0.0, 2.0):
        label_N = np.where(train_N, (place_N > 0) * 1.0, held_out)[:, None]
        counted = Votes(votes.near_NK, votes.weight_NK * train_N[votes.near_NK])
        found.append(label_errors.planted(label_N, counted, 3, False, train_N, 0.05, [10], 20, 0))
    assert found[0] == found[1] and found[0][0].among == 150


def test_a_class_that_no_training_sample_has_is_not_judged(rng: np.random.Generator) -> None:
    place_N = rng.normal(size=COUNT)
    train_N = np.arange(COUNT) < 150
    label_N = np.where(train_N, (place_N > 0) * 1.0, 2.0)[:, None]
    quality_N = label_errors.judged(label_N, votes_of(place_N), 3, train_N).quality_NT[:, 0]
    assert np.isnan(quality_N[~train_N]).all() and not np.isnan(quality_N[train_N]).any()


def test_without_any_neighbour_nobody_votes() -> None:
    nobody = Votes.of(np.zeros((4, 0), np.int64), np.zeros((4, 0)), np.zeros((4, 0), bool))
    assert np.isnan(nobody.mean(np.arange(4.0))).all()
