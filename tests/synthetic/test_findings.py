"""What is true of a synthetic eye: diseases balanced and consistent, values named and in range."""

import numpy as np

from visionfm.synthetic.findings import BIOMARKERS, DISEASES, FACTORS, PLANTED, Findings, disease_vector, draw_findings

PEOPLE = 1500


def eyes() -> list[Findings]:
    return [eye for person in range(PEOPLE) for eye in draw_findings(np.random.default_rng([5, person])).values()]


def test_there_are_13_diseases_and_38_values_with_names_and_units() -> None:
    assert len(set(DISEASES)) == 13
    assert len({marker.name for marker in BIOMARKERS}) == 38
    assert all(marker.unit for marker in BIOMARKERS)
    assert len(PLANTED) == len(FACTORS) == 6


def test_every_disease_is_common_and_nearly_independent_of_the_others() -> None:
    table = np.asarray([eye.diseases for eye in eyes()])
    prevalence = dict(zip(DISEASES, table.mean(axis=0), strict=True))
    for name in DISEASES[5:]:
        assert 0.23 < prevalence[name] < 0.41, (name, prevalence[name])
    for name in DISEASES[1:5]:
        assert 0.06 < prevalence[name] < 0.13, (name, prevalence[name])
    assert 0.15 < prevalence["Healthy"] < 0.35
    correlation = np.corrcoef(table[:, 5:].T) - np.eye(8)
    assert np.abs(correlation).max() < 0.2


def test_healthy_means_no_disease_and_dr_has_one_grade() -> None:
    for eye in eyes():
        assert eye.has("Healthy") == (not any(eye.diseases[1:]))
        assert eye.has("DR") == (sum(eye.diseases[1:5]) == 1) == (eye.dr_grade > 0)
        assert sum(eye.diseases[:5]) <= 1


def test_both_eyes_of_a_person_share_what_belongs_to_the_person() -> None:
    differing = 0
    for person in range(200):
        right, left = draw_findings(np.random.default_rng([5, person])).values()
        assert right.has("DR") == left.has("DR")
        for name in ("age", "systolic_pressure", "melanin_index", "creatinine"):
            index = [marker.name for marker in BIOMARKERS].index(name)
            assert right.values[index] == left.values[index]
        differing += right.diseases != left.diseases
    assert differing > 100


def test_values_stay_in_their_range_and_follow_their_factor() -> None:
    drawn = eyes()
    values = np.asarray([eye.values for eye in drawn])
    for index, marker in enumerate(BIOMARKERS):
        low, high = sorted((marker.at_zero, marker.at_one))
        assert low <= values[:, index].min() and values[:, index].max() <= high
        correlation = np.corrcoef(values[:, index], [eye.level(marker.factor) for eye in drawn])[0, 1]
        assert abs(correlation) > (0.9999 if marker.name in PLANTED else 0.96), marker.name


def test_a_disease_vector_names_grade_and_others() -> None:
    assert disease_vector(0) == (1, *[0] * 12)
    assert disease_vector(3, {"AMD"}) == (0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0)
