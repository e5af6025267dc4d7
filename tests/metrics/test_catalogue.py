"""Every metric that is computed has its entry, and every kind of task one headline."""

from typing import get_args

import numpy as np
import pytest

from visionfm.metrics.binary import Binary
from visionfm.metrics.calibration import METRICS as CALIBRATION
from visionfm.metrics.catalogue import METRICS, headline, metric_name, unit_of
from visionfm.metrics.decisions import CONFORMAL
from visionfm.metrics.masks import MASK_METRICS, VOLUME_DICE
from visionfm.metrics.multiclass import Multiclass
from visionfm.metrics.regression import Regression
from visionfm.metrics.survival import AtTime, Whole
from visionfm.metrics.written import interval, number
from visionfm.tasks import KINDS
from visionfm.tasks.progression.score import Forecast
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.target_types import TYPES, answers, counts


def test_every_computed_metric_has_an_entry() -> None:
    truth, score = np.array([0.0, 1, 1, 0]), np.array([0.2, 0.7, 0.6, 0.4])
    days, by = np.array([10.0, 20, 30, 40]), np.stack([score, score], axis=1)
    scorers = [
        Binary(truth, score, {"0.5": score >= 0.5}),
        Multiclass(truth, (score >= 0.5).astype(np.intp), ["no", "yes"], ordered=True),
        Regression(truth, score),
        Whole(truth, days, score, by, np.array([15.0, 35.0])),
        AtTime(truth, days, score, 25.0),
        Forecast(truth, score, {}, days),
    ]
    computed = {metric for scorer in scorers for metric, _ in scorer(np.ones((1, 4)))}
    computed |= {*MASK_METRICS, VOLUME_DICE, *CALIBRATION, *CONFORMAL, "mre", "mre_mm", "success_rate"}
    assert computed == set(METRICS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_headline(kind: str) -> None:
    assert headline(kind) in METRICS
    assert sum(kind in metric.headline_of for metric in METRICS.values()) == 1


def test_a_target_of_times_has_its_own_headline() -> None:
    assert (
        headline("progression", "event") == "concordance"
        and headline("progression", "binary") == "auroc_within_intervals"
    )
    with pytest.raises(KeyError, match="no metric is the headline of cooking"):
        headline("cooking")


def test_units_are_the_metrics_own_or_the_targets() -> None:
    assert (unit_of("mae", "years"), unit_of("mre_mm", "years"), unit_of("r2", "years")) == ("years", "mm", None)
    assert METRICS["r2"].bounded and not METRICS["mae"].bounded


def test_values_are_written_with_the_digits_of_their_metric() -> None:
    assert (number(-0.5, "r2"), number(1234.5, "mae"), number(0.01234, "mae")) == ("\u22120.500", "1234", "0.0123")
    assert interval(0.1, 0.25, "auroc") == "0.100 to 0.250" and interval(None, 0.2, "auroc") == ""
    assert metric_name("never_heard_of") == "never heard of"


def test_every_type_of_target_says_what_it_asks_for_and_what_is_counted() -> None:
    import pandas as pd

    assert set(TYPES) == {*get_args(TargetSpec.model_fields["type"].annotation), "grades"}  # grades: a form of classes
    grades = {"type": "multiclass", "classes": ["none", "mild"], "unit": None}
    assert counts(grades, pd.Series([0.0, 1, 1, None])) == {"none": 1, "mild": 2, "known": 3}
    findings = {"type": "multilabel", "classes": ["a", "b"], "unit": None}
    assert counts(findings, pd.Series([[1, 0], [1, 1], None])) == {"a": 2, "b": 1, "known": 2}
    times = {"type": "event", "classes": [], "unit": None, "intervals": [300.0, 600.0]}
    assert counts(times, pd.Series([1.0, 0, None])) == {"events": 1, "known": 2}
    said = [
        answers(one) for one in (grades, times, {"type": "value", "unit": "years"}, {"type": "value", "unit": None})
    ]
    assert said == ["none, mild", "intervals that end after 300, 600 days", "years", "no unit"]
