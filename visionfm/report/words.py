"""The report's words: names of metrics and splits, what each number means, how numbers are written.

Pure text; no table is read here.
"""

import math
from typing import Any, NamedTuple

MINUS = "\u2212"
NO_VALUE = "\u2013"


class Meaning(NamedTuple):
    """A metric's name for people and what it says."""

    name: str
    says: str
    bounded: bool = True  # between -1 and 1: three decimals


METRICS = {
    "auroc": Meaning(
        "AUROC",
        "Take one case and one non-case at random: the chance that the case gets the higher score. 1 is perfect, 0.5 "
        "is guessing.",
    ),
    "average_precision": Meaning(
        "Average precision",
        "Precision averaged over all thresholds. Guessing gives the share of cases, so it is low by nature for rare "
        "findings.",
    ),
    "f1": Meaning("F1", "Harmonic mean of precision and sensitivity at the threshold. 1 is perfect."),
    "sensitivity": Meaning("Sensitivity", "Share of the cases that are found at the threshold."),
    "specificity": Meaning("Specificity", "Share of the non-cases that are rightly called negative at the threshold."),
    "precision": Meaning("Precision", "Share of the positive calls that are right."),
    "accuracy": Meaning("Accuracy", "Share of all calls that are right; misleading where one class is frequent."),
    "balanced_accuracy": Meaning(
        "Balanced accuracy", "Sensitivity averaged over the classes, so that rare ones count as much as frequent ones."
    ),
    "quadratic_kappa": Meaning(
        "Quadratic kappa",
        "Agreement of ordered grades beyond chance; a miss by two grades counts four times a miss by one. 1 is "
        "perfect, 0 is chance.",
    ),
    "brier": Meaning("Brier score", "Mean squared error of the predicted probability. 0 is perfect; lower is better."),
    "concordance": Meaning(
        "Concordance (Harrell)",
        "Take two eyes of which one got worse while the other was still followed: the chance that it had the higher "
        "predicted risk. 1 is perfect, 0.5 is guessing.",
    ),
    "concordance_ipcw": Meaning(
        "Concordance (Uno)",
        "The same, with pairs weighted so that it does not depend on how long eyes happened to be followed; up to the "
        "last time of prediction.",
    ),
    "time_dependent_auroc": Meaning(
        "AUROC at a horizon",
        "The chance that an eye that got worse by then had a higher predicted probability than one that had not; "
        "weighted for those whose follow-up ended earlier.",
    ),
    "time_dependent_brier": Meaning(
        "Brier score at a horizon",
        "Mean squared error of the predicted probability of having got worse by then, weighted for those whose "
        "follow-up ended earlier. 0 is perfect; lower is better.",
    ),
    "integrated_brier": Meaning(
        "Integrated Brier score",
        "The Brier score averaged over time, from the first to the last time of prediction. 0 is perfect; lower is "
        "better.",
    ),
    "mae": Meaning("MAE", "Mean absolute error, in the value's own unit. Lower is better.", False),
    "rmse": Meaning(
        "RMSE",
        "Root of the mean squared error, in the value's own unit; large errors weigh more. Lower is better.",
        False,
    ),
    "r2": Meaning(
        "R\u00b2",
        "Share of the variance that is explained. 1 is perfect, 0 is no better than always saying the mean, below 0 "
        "is worse.",
    ),
    "pearson": Meaning("Pearson r", "Linear correlation of predicted and true values; blind to a constant offset."),
    "dice": Meaning(
        "Dice",
        "Overlap of the predicted and the true area: twice the common part over the sum of both. 1 is perfect. Of each "
        "image, then the mean over images; macro is the mean over the classes but the background.",
    ),
    "iou": Meaning("IoU", "The common part of both areas over all that either covers. 1 is perfect; lower than Dice."),
    "hd95": Meaning(
        "HD95",
        "Hausdorff distance: 95 % of the border of each area lies within it of the other's, in px of the original "
        "image. It does not exist where an area is empty.",
        False,
    ),
    "hd95_mm": Meaning("HD95 in mm", "The same in mm.", False),
    "cldice": Meaning(
        "clDice", "How much of the centre lines of each area lies within the other: whether vessels are connected."
    ),
    "mre": Meaning(
        "Mean error",
        "Mean distance of the predicted from the true place, in px of the original image. 0 is perfect.",
        False,
    ),
    "mre_mm": Meaning("Mean error in mm", "The same in mm.", False),
    "success_rate": Meaning("Success rate", "Share of the places that were predicted within a distance."),
}
GENERAL = (
    (
        "95 % interval",
        "The range in brackets. The test subjects were drawn again 1000 times, with replacement; the interval holds "
        "the middle 95 % of "
        "the results. Whole subjects are drawn, so that two eyes of one person do not count as two independent "
        "cases. Two models whose "
        "intervals overlap widely are not told apart by these data. Where a mean over images rests on two to four "
        "subjects, it is Student's t interval over subjects instead, and wide.",
    ),
    (
        "n",
        "How many samples (images, eyes, visits or subjects: each task says which) with a known answer the number "
        "rests on.",
    ),
    ("positives", "How many of them have the finding. With few positives every number of that row is uncertain."),
    ("subjects", "From how many people the samples come."),
    ("macro", "The plain mean over the classes: each counts the same, however rare."),
    (
        "threshold",
        "Some metrics need a yes or no: the answer is yes from this predicted probability on. It is 0.5, or the "
        "one with the largest sum of sensitivity and specificity on validation data. Without either, the most "
        "probable class is the answer.",
    ),
    (
        "test, validation, train",
        "The decoder learns from train, its epoch is chosen on validation, and test is looked at only for the "
        "numbers here. "
        "No subject is in two of them, unless a caution above says so.",
    ),
)
SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}
TARGET_TYPES = {
    "binary": "yes or no",
    "multiclass": "one of several classes",
    "multilabel": "any of several findings",
    "value": "a measured value",
    "event": "when it happens, as far as eyes were followed",
    "mask": "a class for each pixel",
    "point": "a place in the image",
}
FUSIONS = {
    "pooled": "one decoder over the images of all modalities; a sample is one image",
    "concat": "the modalities' features are joined side by side",
    "mean": "the modalities' features are averaged",
    "attention": "the modalities' features are weighed by attention",
}
MODES = {"frozen": "Decoders on frozen features", "finetune": "Encoders fine-tuned with their decoders"}
BASELINES = {
    "knn": "k nearest neighbours (cosine similarity, k chosen on validation)",
    "logreg": "logistic regression (regularised, C chosen on validation)",
}


def metric_name(metric: str) -> str:
    """Return a metric's name for people."""
    return METRICS[metric].name if metric in METRICS else metric.replace("_", " ")


def missing(value: Any) -> bool:
    """Return whether a cell of a table holds nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value != value


def number(value: float, metric: str = "") -> str:
    """Return a value with three decimals (bounded metrics) or three significant digits."""
    if metric in METRICS and METRICS[metric].bounded:
        text = f"{value:.3f}"
    elif value == 0:
        text = "0"
    else:
        decimals = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(decimals, 8)}f}"
    return text.replace("-", MINUS)


def interval(low: Any, high: Any, metric: str = "") -> str:
    """Return `low to high`; empty where there is no interval."""
    return "" if missing(low) or missing(high) else f"{number(low, metric)} to {number(high, metric)}"


def count(value: int, one: str, many: str = "") -> str:
    """Return `1 image`, `1,204 images`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def listed(names: Any) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
