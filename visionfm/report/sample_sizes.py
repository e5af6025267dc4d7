"""Whether a test is large enough to be relied on: how many people it would need, from what was seen of the first model.

Of several classes the one with the fewest cases speaks. Numbers are those of metrics/sample_size.py.
"""

from typing import Any, NamedTuple

import numpy as np

from visionfm.metrics.binary import Binary
from visionfm.metrics.sample_size import Needed, for_auroc, for_slope
from visionfm.metrics.subjects import Subjects
from visionfm.report.data import Results
from visionfm.report.sections.models import kind_of_report
from visionfm.tasks.results import TaskModel


class Size(NamedTuple):
    """People in a test, and how many (with how many cases) would give AUROC +-0.05 and a calibration slope +-0.1."""

    name: str
    subjects: int
    auroc: Needed
    slope: Needed | None  # None: all probabilities are the same

    @property
    def text(self) -> str:
        """Return what is missing, in words; empty where nothing is."""
        needs = [("AUROC within 0.05", self.auroc), ("calibration slope within 0.1", self.slope)]
        missing = [
            f"{what}: {need.samples:,} people with {need.cases:,} cases"
            for what, need in needs
            if need is not None and need.samples > self.subjects
        ]
        return f"{self.name} has {self.subjects:,} people; {', '.join(missing)}" if missing else ""


def too_small(results: Results) -> list[str]:
    """Return what each test that is too small would need."""
    first: dict[str, TaskModel] = {}
    for result in results.results:
        first.setdefault(result.task, result)
    return [size.text for result in first.values() for size in sizes(result) if size.text]


def sizes(result: TaskModel) -> list[Size]:
    """Return what the tests of a task would need, for each target and dataset; none of kinds without yes or no."""
    asks = getattr(kind_of_report(result.block.kind), "questions", None)
    if asks is None:
        return []
    found = []
    for dataset in result.tested_on():
        rows = result.of(dataset).tested()
        for name, target in result.targets.items():
            asked = [one for one in asks(rows[rows["target"] == name], target) if one.drawable]
            if not asked:
                continue
            rarest = min(asked, key=lambda one: min(one.truth_N.sum(), (~one.truth_N).sum()))
            label = name if len(asked) == 1 else f"{name} ({rarest.name})"
            found.append(_size(f"{result.task} / {label} on {dataset}", rarest))
    return found


def _size(name: str, asked: Any) -> Size:
    truth_N, score_N = asked.truth_N, asked.score_N
    value = float(Binary(truth_N.astype(float), score_N, {})(np.ones((1, len(truth_N))))["auroc", None][0])
    # A perfect order in a few samples is no perfect order: as if one pair of the rarer kind were half wrong.
    highest = 1 - 0.5 / min(int(truth_N.sum()), int((~truth_N).sum()))
    try:
        slope = for_slope(score_N)
    except ValueError:
        slope = None
    seen = min(max(value, 1 - value), highest)
    return Size(name, Subjects.of(asked.subject_N).count, for_auroc(seen, float(truth_N.mean())), slope)
