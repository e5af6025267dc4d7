"""Every metric once: its name for people, what it says, its unit and bounds, and of what it is the headline.

A new metric is a function in this package and an entry here. Invariant: each kind of task has one headline.
"""

from typing import NamedTuple

OWN = "own"  # the unit of the target itself


class Metric(NamedTuple):
    """What a reader must know of a metric."""

    name: str
    says: str
    unit: str | None = None
    lower_is_better: bool = False
    guessing: float | None = None  # what guessing reaches
    headline_of: tuple[str, ...] = ()  # kinds of tasks, or types of targets, which come first
    left_out: str = ""  # why it does not exist for an image
    endless: bool = False  # has no unit, and may be above 1
    of_data: bool = False  # says something of the data, not of a model, so that no two models differ in it
    counts: str = ""  # what its n counts, where that is not the samples
    right: float | None = None  # what it should be, where neither more nor less is better: no two models are compared

    @property
    def bounded(self) -> bool:
        """Return whether it is at most 1: written with three decimals, shown on a bar from 0 to 1."""
        return self.unit is None and not self.endless

    @property
    def compares(self) -> bool:
        """Return whether a difference says which of two models is better."""
        return not self.of_data and self.right is None


ABSENT = "the class is absent from truth and prediction there"
UNKNOWN = "the point is unknown there"
METRICS = {
    "auroc": Metric(
        "AUROC",
        "Take one case and one non-case at random: the chance that the case gets the higher score. 1 is perfect, 0.5 "
        "is guessing.",
        guessing=0.5,
        headline_of=("classification",),
        left_out="the truth has one class only there, or there are no probabilities",
    ),
    "auroc_within_intervals": Metric(
        "AUROC within equal intervals",
        "The same among samples that were asked at nearly the same interval (within one quarter of a year): longer "
        "intervals hold more events, and a score that only knew the interval would look good over all of them.",
        guessing=0.5,
        headline_of=("progression",),
    ),
    "auroc_of_interval": Metric(
        "AUROC of the interval alone",
        "What a score reaches that knows nothing but the interval, the longer the higher. AUROC over all intervals "
        "means little where it is not clearly above this.",
        guessing=0.5,
        of_data=True,
    ),
    "average_precision": Metric(
        "Average precision",
        "Precision averaged over all thresholds. Guessing gives the share of cases, so it is low by nature for rare "
        "findings.",
    ),
    "f1": Metric("F1", "Harmonic mean of precision and sensitivity at the threshold. 1 is perfect."),
    "sensitivity": Metric(
        "Sensitivity",
        "Share of the cases that are found at the threshold.",
        left_out="the class is absent from the truth there",
    ),
    "specificity": Metric(
        "Specificity",
        "Share of the non-cases that are rightly called negative at the threshold.",
        left_out="nothing but the class is there",
    ),
    "ppv": Metric(
        "PPV",
        "Positive predictive value: share of the positive calls that are right. It holds for as many cases as the test "
        "data have: among fewer cases it is lower.",
    ),
    "npv": Metric(
        "NPV",
        "Negative predictive value: share of the negative calls that are right. It holds for as many cases as the test "
        "data have: among fewer cases it is higher.",
    ),
    "likelihood_ratio_positive": Metric(
        "LR+",
        "Likelihood ratio of a positive call: how many times more often cases are called positive than non-cases. 1 "
        "says nothing; the odds of a case before the test times LR+ are the odds after a positive call.",
        guessing=1.0,
        endless=True,
    ),
    "likelihood_ratio_negative": Metric(
        "LR\u2212",
        "Likelihood ratio of a negative call: how many times more often cases are called negative than non-cases. 1 "
        "says nothing, 0 is perfect.",
        lower_is_better=True,
        guessing=1.0,
        endless=True,
    ),
    "precision": Metric(
        "Precision",
        "Share of the positive calls that are right; 0 where a class is there and no call is made.",
        left_out=ABSENT,
    ),
    "accuracy": Metric("Accuracy", "Share of all calls that are right; misleading where one class is frequent."),
    "balanced_accuracy": Metric(
        "Balanced accuracy", "Sensitivity averaged over the classes, so that rare ones count as much as frequent ones."
    ),
    "quadratic_kappa": Metric(
        "Quadratic kappa",
        "Agreement of ordered grades beyond chance; a miss by two grades counts four times a miss by one. 1 is "
        "perfect, 0 is chance.",
        guessing=0.0,
        headline_of=("ordinal",),
    ),
    "brier": Metric(
        "Brier score",
        "Mean squared error of the predicted probability. 0 is perfect; lower is better.",
        lower_is_better=True,
    ),
    "brier_prevalence": Metric(
        "Brier score of the prevalence",
        "What everybody would reach who always says the share of cases in these data. A model whose Brier score is not "
        "lower says no more than that.",
        lower_is_better=True,
        of_data=True,
    ),
    "calibration_slope": Metric(
        "Calibration slope",
        "1 is right. Below 1 probabilities are too extreme (the usual sign of overfitting), above 1 too moderate.",
        endless=True,
        right=1.0,
    ),
    "calibration_intercept": Metric(
        "Calibration intercept",
        "0 is right. By how much the log odds of all predictions are too low (above 0) or too high (below 0).",
        endless=True,
        right=0.0,
    ),
    "calibration_in_the_large": Metric(
        "Calibration in the large",
        "Share of cases minus the mean predicted probability. 0 is right; above 0 probabilities are too low.",
        right=0.0,
    ),
    "ece": Metric(
        "ECE",
        "Expected calibration error: how far predicted and observed shares lie apart, over bins of equally many "
        "answers, without what chance adds. 0 is perfect; lower is better.",
        lower_is_better=True,
    ),
    "ece_plain": Metric(
        "ECE, plain",
        "The same as most papers report it: too large, the more so the fewer samples there are.",
        lower_is_better=True,
    ),
    "ece_by_chance": Metric(
        "ECE by chance",
        "What the plain ECE would be on average in so many samples if every probability were right.",
        lower_is_better=True,
        of_data=True,
    ),
    "conformal_coverage": Metric(
        "Coverage of the sets",
        "How often the set of classes that is answered holds the true one; each person counts once. It should be what "
        "was asked for.",
        right=1.0,
    ),
    "conformal_set_size": Metric(
        "Classes in a set",
        "How many classes the set holds on average: the fewer at the same coverage, the more it says.",
        lower_is_better=True,
        endless=True,
    ),
    "conformal_single": Metric("Sets of one class", "Share of the answers that name one class and no other."),
    "concordance": Metric(
        "Concordance (Harrell)",
        "Take two eyes of which one got worse while the other was still followed: the chance that it had the higher "
        "predicted risk. 1 is perfect, 0.5 is guessing.",
        guessing=0.5,
        headline_of=("event",),
    ),
    "concordance_ipcw": Metric(
        "Concordance (Uno)",
        "The same, with pairs weighted so that it does not depend on how long eyes happened to be followed; up to the "
        "last time of prediction.",
        guessing=0.5,
    ),
    "time_dependent_auroc": Metric(
        "AUROC at a horizon",
        "The chance that an eye that got worse by then had a higher predicted probability than one that had not; "
        "weighted for those whose follow-up ended earlier.",
        guessing=0.5,
    ),
    "time_dependent_brier": Metric(
        "Brier score at a horizon",
        "Mean squared error of the predicted probability of having got worse by then, weighted for those whose "
        "follow-up ended earlier. 0 is perfect; lower is better.",
        lower_is_better=True,
    ),
    "integrated_brier": Metric(
        "Integrated Brier score",
        "The Brier score averaged over time, from the first to the last time of prediction. 0 is perfect; lower is "
        "better.",
        lower_is_better=True,
    ),
    "mae": Metric(
        "MAE",
        "Mean absolute error, in the value's own unit. Lower is better.",
        unit=OWN,
        lower_is_better=True,
    ),
    "rmse": Metric(
        "RMSE",
        "Root of the mean squared error, in the value's own unit; large errors weigh more. Lower is better.",
        unit=OWN,
        lower_is_better=True,
    ),
    "r2": Metric(
        "R\u00b2",
        "Share of the variance that is explained. 1 is perfect, 0 is no better than always saying the mean, below 0 "
        "is worse.",
        guessing=0.0,
        headline_of=("regression",),
    ),
    "pearson": Metric(
        "Pearson r", "Linear correlation of predicted and true values; blind to a constant offset.", guessing=0.0
    ),
    "dice": Metric(
        "Dice",
        "Overlap of the predicted and the true area: twice the common part over the sum of both. 1 is perfect. Of each "
        "image, then the mean over images; macro is the mean over the classes but the background.",
        headline_of=("segmentation",),
        left_out=ABSENT,
    ),
    "dice_of_volume": Metric(
        "Dice of volumes",
        "The same over the voxels of those slices of a volume that have a mask, taken together, then the mean over "
        "volumes. A slice with a few pixels of the class, which can make its own Dice small, counts as little as it "
        "holds; n counts volumes.",
        left_out=ABSENT,
        counts="volumes",
    ),
    "iou": Metric(
        "IoU",
        "The common part of both areas over all that either covers. 1 is perfect; lower than Dice.",
        left_out=ABSENT,
    ),
    "hd95": Metric(
        "HD95",
        "Hausdorff distance: 95 % of the border of each area lies within it of the other's, in px of the original "
        "image. Where one of the two areas is empty (a class that was missed, or found where it is not) it is the "
        "image's diagonal; it does not exist where both are.",
        unit="px",
        lower_is_better=True,
        left_out=ABSENT,
    ),
    "hd95_mm": Metric(
        "HD95 in mm",
        "The same in mm.",
        unit="mm",
        lower_is_better=True,
        left_out=f"{ABSENT}, or mm_per_px is not given",
    ),
    "cldice": Metric(
        "clDice",
        "How much of the centre lines of each area lies within the other: whether vessels are connected.",
        left_out=ABSENT,
    ),
    "mre": Metric(
        "Mean error",
        "Mean distance of the predicted from the true place, in px of the original image. 0 is perfect.",
        unit="px",
        lower_is_better=True,
        headline_of=("landmarks",),
        left_out=UNKNOWN,
    ),
    "mre_mm": Metric(
        "Mean error in mm",
        "The same in mm.",
        unit="mm",
        lower_is_better=True,
        left_out=f"{UNKNOWN}, or mm_per_px is",
    ),
    "success_rate": Metric(
        "Success rate", "Share of the places that were predicted within a distance.", left_out=UNKNOWN
    ),
}


def headline(kind: str, target_type: str = "") -> str:
    """Return the metric that stands for a target of a kind of task."""
    for what in (target_type, kind):
        for name, metric in METRICS.items():
            if what in metric.headline_of:
                return name
    raise KeyError(f"no metric is the headline of {kind}")


def headline_metrics() -> list[str]:
    """Return all metrics that are some headline."""
    return [name for name, metric in METRICS.items() if metric.headline_of]


def metric_name(metric: str) -> str:
    """Return a metric's name for people."""
    return METRICS[metric].name if metric in METRICS else metric.replace("_", " ")


def unit_of(metric: str, own: str | None) -> str | None:
    """Return the unit of a metric's values; `own` is that of the target."""
    unit = METRICS[metric].unit if metric in METRICS else None
    return own if unit == OWN else unit
