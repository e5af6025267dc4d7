"""Counts in words: what is found and what is falsely called, at a threshold that every class has."""

import pandas as pd

from visionfm.report.sections.tasks import _validation_loss
from visionfm.tasks.results import found_and_alarms

NAN = float("nan")


def rows(*of: tuple[str, str, float, float]) -> pd.DataFrame:
    """Of classes with 10 cases among 50; each row is metric, operating point, value, threshold."""
    columns = ["metric", "operating_point", "value", "threshold"]
    return pd.DataFrame(list(of), columns=columns).assign(n=50, n_positive=10)


HALF = [("sensitivity", "0.5", 0.6, 0.5), ("specificity", "0.5", 0.9, 0.5)]
CHOSEN = [("sensitivity", "validation", 0.8, 0.3), ("specificity", "validation", 0.75, 0.3)]
WITHOUT = [("sensitivity", "validation", NAN, NAN), ("specificity", "validation", NAN, NAN)]


def test_cases_and_false_alarms_are_counted_at_the_threshold_of_validation():
    (said,) = found_and_alarms(None, rows(*HALF, *CHOSEN), "eyes")
    assert said == (
        "of 10 eyes it finds 8, with 10 false alarms among 40 others (threshold chosen on validation data)."
    )


def test_a_class_without_a_threshold_does_not_drop_out_of_the_counts():
    (said,) = found_and_alarms(None, rows(*HALF, *CHOSEN, *HALF, *WITHOUT), "findings")
    assert said == "of 20 findings it finds 12, with 8 false alarms among 80 others (thresholds 0.5)."


def test_each_fold_has_a_threshold_of_its_own_and_the_sentence_says_thresholds():
    (said,) = found_and_alarms(None, rows(*[(*one[:3], NAN) for one in CHOSEN]), "eyes")
    assert said.endswith("(thresholds chosen on validation data).")


def test_runs_that_chose_among_candidates_are_compared_by_the_loss_by_which_they_chose():
    table = pd.DataFrame(
        {"chosen": [False, True, True], "candidate_loss": [0.7, 0.5, 0.5], "validation_loss": [0.1, 0.2, 0.4],
         "best": [True, True, True]}
    )  # fmt: skip
    assert _validation_loss(table) == 0.5
    assert abs(_validation_loss(table[["validation_loss", "best"]][1:]) - 0.3) < 1e-12
