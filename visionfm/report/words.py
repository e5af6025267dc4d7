"""The report's words: names of splits and fusions, what each number means.

Pure text; no table is read here.
"""

from typing import Any

GENERAL = (
    (
        "95 % interval",
        "The range in brackets. The test subjects were drawn again 1000 times, with replacement; the interval holds "
        "the middle 95 % of the results. Whole subjects are drawn, so that two eyes of one person do not count as two "
        "independent cases. Overlap of two models' intervals does not say that the models are alike: both were tested "
        "on the same subjects. Where a mean over images rests on two to four subjects, it is Student's t interval over "
        "subjects instead, and wide. How the intervals of risk groups are made stands below their table.",
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
FUSIONS = {
    "pooled": "one decoder over the images of all modalities; a sample is one image",
    "concat": "the modalities' features are joined side by side",
    "mean": "the modalities' features are averaged",
    "attention": "the modalities' features are weighed by attention",
}
BASELINES = {
    "knn": "k nearest neighbours (cosine similarity, k chosen on validation)",
    "logreg": "logistic regression (regularised, C chosen on validation)",
}


def count(value: int, one: str, many: str = "") -> str:
    """Return `1 image`, `1,204 images`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def listed(names: Any) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
