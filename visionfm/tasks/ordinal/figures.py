"""What the figures of grades show: confusion, by how many grades calls miss, and each cut's ROC and calibration.

Pure functions from predictions (rows of one split, run and subset) to `svg.Panel`s. N samples, G grades.
Invariant: the grade called is that of the metrics (score.py); every panel names its n.
"""

from collections.abc import Mapping
from typing import Any

from visionfm.figures.svg import PALETTE, Panel, label
from visionfm.metrics.written import missing, number, percent
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.classification.figures import Scored, areas, calibration, curves, matrix
from visionfm.tasks.out_of_fold import wider
from visionfm.tasks.results import TaskModel, calibrated, found_and_alarms, shown_run, weighted
from visionfm.tasks.results import recipe as how
from visionfm.tasks.vectors import relevance

sections = relevance.sections
HEADS = {"cumulative": "proportional odds", "corn": "CORN"}


def trained_by(task: TaskBlock) -> str:
    """Return how decoders were trained, as the start of a sentence."""
    return f"{how(task)}, {HEADS[task.head_name()]}"


def sentences(task: TaskBlock) -> list[str]:
    """Return what a grade called is, and what the logistic regression is here."""
    found = [
        "The grade called is the expected grade, rounded. A cut such as `>= 2` asks whether it is grade 2 or worse."
    ]
    if "logreg" in task.baseline_names():
        found.append("Logistic regression is here that of proportional odds.")
    return found + weighted(task) + calibrated(task)


def in_words(result: TaskModel, target: str) -> list[str]:
    """Return how far grades miss, and how many cases are found at the cut that tells referable eyes: 2, where it is."""
    rows = shown_run(result)
    rows = rows[rows["target"] == target]
    grades = result.targets[target]["classes"]
    cut = f">= {grades[2 if len(grades) > 2 else 1]}"
    unit = result.block.unit
    off = [f"the grade called misses by {number(float(row['value']), 'mae')} grades on average."
           for row in rows[rows["metric"] == "mae"].to_dict("records")[:1] if not missing(row["value"])]  # fmt: skip
    return off + found_and_alarms(result, rows[rows["class"] == cut], f"{unit}s of grade {cut}")


def panels(result: TaskModel) -> list[Panel]:
    """Return the figures of each target."""
    rows = result.tested()
    return [
        panel
        for name, target in result.targets.items()
        for panel in grades(rows[rows["target"] == name], name, target, areas(result, name, result.runs[0]))
    ]


def grades(
    rows: Any, name: str, target: Mapping[str, Any], of_cuts: Mapping[tuple[str, str], str] | None = None
) -> list[Panel]:
    """Return the panels of one target; none where no truth is known. `of_cuts`: see classification's `areas`."""
    import numpy as np

    from visionfm.tasks.ordinal.score import called

    known = rows[rows["truth"].notna() & rows["scores"].notna()]
    if not len(known):
        return []
    classes = [str(text) for text in target["classes"]]
    truth_N = known["truth"].to_numpy(np.float64)
    called_N = called(np.array([list(score) for score in known["scores"]], dtype=np.float64))
    scored = questions(rows, target)
    return [
        _confusion(truth_N.astype(int), called_N, name, classes),
        _errors(called_N - truth_N.astype(int), name, len(classes)),
        curves("roc", name, scored, of_cuts or {}),
        calibration(name, scored),
    ]


def questions(rows: Any, target: Mapping[str, Any]) -> list[Scored]:
    """Return each cut, as a yes-or-no question answered by probabilities."""
    import numpy as np

    from visionfm.tasks.ordinal.score import cuts

    known = rows[rows["truth"].notna() & rows["scores"].notna()]
    classes = [str(text) for text in target["classes"]]
    score_NG = np.array([list(score) for score in known["scores"]], dtype=np.float64).reshape(len(known), len(classes))
    found = cuts(classes, known["truth"].to_numpy(np.float64), score_NG).items()
    people = known["subject_id"].to_numpy(object)
    return [Scored(cut, reached_N > 0, score_N, people, wider(known)) for cut, (reached_N, score_N) in found]


def _confusion(truth_N: Any, called_N: Any, name: str, classes: list[str]) -> Panel:
    import numpy as np

    counts_GG = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts_GG, (truth_N, called_N), 1)
    shares_GG = counts_GG / np.maximum(counts_GG.sum(axis=1, keepdims=True), 1)
    title = f"Confusion: {label(name, 22)}"
    by_grade = "; ".join(
        f"true {grade}: " + ", ".join(f"{count} called {other}" for other, count in zip(classes, row, strict=True))
        for grade, row in zip(classes, counts_GG.tolist(), strict=True)
    )
    alt = f"Confusion matrix of {name} (expected grade, rounded; n = {len(truth_N)}). {by_grade}"
    below = f"called: the expected grade, rounded\n(n = {len(truth_N)})"
    return Panel(
        "confusion",
        title,
        alt,
        lambda figure: matrix(figure, title, counts_GG, shares_GG, classes, classes, below, "true"),
    )


def _errors(miss_N: Any, name: str, grade_count: int) -> Panel:
    """Return how many calls miss by so many grades; `miss_N` is called - true."""
    import numpy as np

    misses = list(range(1 - grade_count, grade_count))
    counts = np.bincount(miss_N + grade_count - 1, minlength=len(misses)).tolist()
    title = f"Errors in grades: {label(name, 22)}"

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.bar(misses, counts, width=0.8, color=[PALETTE[0] if miss == 0 else PALETTE[1] for miss in misses])
        for miss, count in zip(misses, counts, strict=True):
            axes.text(miss, count, f"{count}\n{percent(count / len(miss_N))}", ha="center", va="bottom", fontsize=7.5)
        axes.set_xticks(misses, [f"{miss:+d}" if miss else "0" for miss in misses])
        axes.set(title=title, ylim=(0, max(counts) * 1.25), ylabel="samples")
        axes.set_xlabel(f"called - true, in grades (n = {len(miss_N)})")

    found = ", ".join(f"{count} by {miss:+d}" for miss, count in zip(misses, counts, strict=True) if count)
    return Panel("grade_errors", title, f"Called minus true grade of {name}, n = {len(miss_N)}: {found}.", draw)
