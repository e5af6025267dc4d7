"""Parts of the training data for label efficiency."""

import numpy as np
import pytest
from world.decoder_data import image, train_settings, write_samples

from visionfm.errors import DataError
from visionfm.tasks.samples import read_samples
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.train import training_samples
from visionfm.tasks.vectors.label_efficiency import part_of

GRADES = {"grade": TargetSpec(type="multiclass", classes=["none", "some", "much"])}
COUNT = 240


@pytest.fixture
def samples(tmp_path):
    """Two images per subject, three classes of unequal size, every fourth subject in validation."""
    grades = [float(g) for n in range(COUNT // 2) for g in [(0, 0, 0, 1, 1, 2)[n // 4 % 6]] * 2]
    splits = ["validation" if n // 2 % 4 == 0 else "train" for n in range(COUNT)]
    table = write_samples(tmp_path / "s.parquet", [[image(n)] for n in range(COUNT)], splits, {"grade": grades}, GRADES)
    found = read_samples(table, GRADES, ["Fundus"])
    found.ids["subject_id"][:] = [f"p{n // 2:03}" for n in range(COUNT)]
    return found


def trained(samples, keep_N):
    kept = samples.take(keep_N & samples.in_splits(["train"]))
    return set(kept.ids["sample_id"]), list(kept.ids["subject_id"]), kept.truth_NT[:, 0]


def test_fractions_are_nested_stratified_and_of_whole_subjects(samples):
    before: set[str] = set()
    for fraction in (0.1, 0.3, 0.5, 0.9, 1.0):
        ids, subjects, truth_N = trained(samples, part_of(samples, GRADES, 0, fraction, None))
        assert before <= ids
        assert all(subjects.count(subject) == 2 for subject in subjects)
        share = np.bincount(truth_N.astype(int)) / np.bincount(
            samples.truth_NT[samples.in_splits(["train"]), 0].astype(int)
        )
        assert np.abs(share - fraction).max() < 0.04
        before = ids
    assert len(before) == samples.in_splits(["train"]).sum()


def test_shots_are_so_many_samples_a_class_each_of_another_subject(samples):
    before: set[str] = set()
    for shots in (1, 5, 10):
        ids, subjects, truth_N = trained(samples, part_of(samples, GRADES, 0, None, shots))
        assert before <= ids and len(set(subjects)) == len(subjects)
        assert np.bincount(truth_N.astype(int)).tolist() == [shots] * 3
        before = ids


def test_another_seed_draws_other_subjects_and_the_same_seed_the_same(samples):
    one, same, other = (trained(samples, part_of(samples, GRADES, seed, 0.3, None))[0] for seed in (0, 0, 1))
    assert one == same != other


def test_validation_stays_whole(samples):
    keep_N = part_of(samples, GRADES, 0, None, 1)
    assert keep_N[samples.in_splits(["validation"])].all()


def test_a_fraction_without_a_case_of_a_class_is_an_error_that_names_the_smallest(samples):
    with pytest.raises(DataError, match=r"grade much: expected one case .* 0\.033 is the smallest"):
        part_of(samples, GRADES, 0, 0.01, None)
    part_of(samples, GRADES, 0, 0.034, None)


def test_more_shots_than_subjects_of_a_class_are_an_error(samples):
    with pytest.raises(DataError, match="grade much: expected 30 subjects, found 15"):
        part_of(samples, GRADES, 0, None, 30)


def test_a_class_of_another_target_that_the_part_lacks_is_an_error(tmp_path):
    targets = {**GRADES, "rare": TargetSpec(type="binary", classes=["no", "yes"])}
    labels = {"grade": [float(n % 3) for n in range(90)], "rare": [float(n == 50) for n in range(90)]}
    splits = ["train"] * 60 + ["validation"] * 30
    table = write_samples(tmp_path / "s.parquet", [[image(n)] for n in range(90)], splits, labels, targets)
    found = read_samples(table, targets, ["Fundus"])
    with pytest.raises(DataError, match="rare: expected a case of yes, found none"):
        for seed in range(5):
            part_of(found, targets, seed, 0.1, None)


def test_values_are_stratified_by_fifths_and_findings_by_finding(tmp_path):
    rng = np.random.default_rng(0)
    targets = {"iop": TargetSpec(type="value"), "signs": TargetSpec(type="multilabel", classes=["a", "b"])}
    values = rng.normal(size=100)
    signs = [[float(n % 2), float(n % 3 == 0)] for n in range(100)]
    splits = ["train"] * 80 + ["validation"] * 20
    table = write_samples(
        tmp_path / "s.parquet", [[image(n)] for n in range(100)], splits, {"iop": values, "signs": signs}, targets
    )
    value = {"iop": targets["iop"]}
    found = read_samples(table, value, ["Fundus"])
    chosen = trained(found, part_of(found, value, 0, None, 2))[2]
    inner = np.quantile(values[:80], [0.2, 0.4, 0.6, 0.8])
    assert np.bincount(np.searchsorted(inner, chosen)).tolist() == [2] * 5
    findings = {"signs": targets["signs"]}
    found = read_samples(table, findings, ["Fundus"])
    kept = found.take(part_of(found, findings, 0, None, 3) & found.in_splits(["train"]))
    assert (kept.truth_NT == 1).sum(0).min() >= 3 and (kept.truth_NT == 0).all(1).sum() == 3


def test_train_reads_the_part_that_its_settings_ask_for(tmp_path):
    labels = {"grade": [float(n % 3) for n in range(90)]}
    splits = ["train"] * 60 + ["validation"] * 30
    table = write_samples(tmp_path / "s.parquet", [[image(n)] for n in range(90)], splits, labels, GRADES)
    assert len(training_samples(table, train_settings(GRADES, shots=2))) == 30 + 6
    assert len(training_samples(table, train_settings(GRADES, train_fraction=0.5))) == 30 + 30
