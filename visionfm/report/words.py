"""The report's words: names of splits and fusions, what each number means.

Pure text; no table is read here.
"""

from collections.abc import Mapping
from typing import Any

GENERAL = (
    (
        "95 % interval",
        "The range in brackets. Of 100 studies like this one, 95 would have an interval that holds the true value. The "
        "person is the unit, so that two eyes of one person do not count as two independent cases. There is no "
        "interval where fewer than five people could show how far people differ (for an AUROC: five with the condition "
        "and five without); the reason then stands below the table. The method depends on the metric; the column "
        "`interval` of metrics.parquet names it. Overlap of two models' intervals does not say that the models are "
        "alike: both were tested on the same people. How the intervals of risk groups are made stands below their "
        "table.",
    ),
    (
        "n",
        "How many samples (images, eyes, visits or subjects: each task says which) with a known answer the number "
        "rests on.",
    ),
    ("positives", "How many of them have the finding. With few positives every number of that row is uncertain."),
    ("subjects", "From how many people the samples come."),
    (
        "difference, p, p after Holm",
        "p is the chance of a difference at least this large between two models that are equally good, on other test "
        "subjects like these. It is below 0.05 exactly where the interval of the difference leaves 0 out. Who asks "
        "several such questions finds a small p by chance: Holm's correction makes up for all rows of a task's table "
        "of differences. A large p is no proof that two models are equally good.",
    ),
    ("macro", "The plain mean over the classes: each counts the same, however rare."),
    (
        "threshold",
        "Some metrics need a yes or no: the answer is yes from this predicted probability on. It is 0.5, the one "
        "with the largest sum of sensitivity and specificity on validation data, or one that reached a wanted "
        "sensitivity or specificity there. Without any, the most probable class is the answer.",
    ),
    (
        "fold",
        "One of several parts into which a task divides its people. A decoder is trained without each part and tested "
        "on it, so that everybody is tested once.",
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
SLICES = {
    "mean": "averaged",
    "max": "joined by the maximum of each feature",
    "attention": "weighed by attention that was learned (the baselines see their mean)",
}
BASELINES = {
    "knn": "k nearest neighbours (cosine similarity, k chosen on validation)",
    "logreg": "logistic regression (regularised, C chosen on validation)",
}


# Of names of tasks, targets and data, which are keys: how they are written.
ABBREVIATIONS = {
    name.lower(): name
    for name in ("AMD", "CNV", "DME", "DR", "FFA", "ICGA", "IDRiD", "IOP", "NPDR", "OCT", "PDR", "RNFL", "ROP", "RVO")
}


def title_of(name: str, titles: Mapping[str, str]) -> str:
    """Return a key as people write it: its title in the config, or `dr_grade` as `DR grade`."""
    return titles.get(name) or " ".join(ABBREVIATIONS.get(part, part) for part in name.split("_"))


def headed(text: str) -> str:
    """Return a text with a capital letter at its start."""
    return text[:1].upper() + text[1:]


def count(value: int, one: str, many: str = "") -> str:
    """Return `1 image`, `1,204 images`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def listed(names: Any) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
