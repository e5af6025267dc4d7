"""What a run answered to one target, and the one way from it to metrics: `measures` of any of its samples.

`read` gives it for every kind of task; `evaluate` asks for the measures of each part of the samples, `compare` for
those of two models on the samples that both have:

    samples = scored.samples            # ids, subjects, splits, datasets
    found = scored.measures(rows_N)     # a `Measure` per class, metric and operating point: value and evidence

Two models' measures pair by `Measure.key` where their `rows_N` name the same samples in the same order.
Invariant: thresholds belong to the run (its validation samples choose them), whatever samples are asked for.
Shape legend: N samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.measure import Measure
from visionfm.metrics.weighted import Floats, Mask
from visionfm.tasks import kind_of
from visionfm.tasks.prediction_arrays import Part, Samples
from visionfm.tasks.runs import fold_of, pooled_run
from visionfm.tasks.settings import EvaluateSettings


@dataclass(frozen=True)
class Scored:
    """One run's answers to one target; `measures(rows_N)` are the metrics of these of its samples.

    `truth_NK` is against what they are scored (of masks and points K is 0: files and places are the truth).
    """

    samples: Samples
    truth_NK: Floats
    known_N: Mask  # of whom something is known
    measures: Callable[[NDArray[np.intp]], Sequence[Measure]]

    def parts(self, settings: EvaluateSettings) -> dict[Part, NDArray[np.intp]]:
        """Return the parts of its samples that get numbers of their own, and their rows."""
        return dict(self.samples.parts(settings, self.known_N))


def read(
    predictions: list[Path], settings: EvaluateSettings, image_metrics: Any = None
) -> dict[str, dict[str, Scored]]:
    """Return run -> target -> answers, in the order of the runs' names.

    `predictions` are the predictions.parquet of all runs of one task and model; of masks it is `image_metrics`, the
    DataFrame of image_metrics.parquet, that is scored.
    """
    found = _read(predictions, settings, image_metrics)
    joined = {pooled_run(run) for run in found if fold_of(run) is not None}
    return {run: _of_folds(targets) if run in joined else targets for run, targets in found.items()}


def _of_folds(targets: dict[str, Scored]) -> dict[str, Scored]:
    """Return answers of several folds' decoders, whose measures know it: their intervals are wider.

    People of whom the target is not known trained nobody: they do not count.
    """

    def measures(of: Scored, people: int, rows_N: NDArray[np.intp]) -> list[Measure]:
        return [replace(one, folds_people=people) for one in of.measures(rows_N)]

    people = {name: of.samples.subjects.among(of.known_N) for name, of in targets.items()}

    return {name: replace(of, measures=partial(measures, of, people[name])) for name, of in targets.items()}


def _read(predictions: list[Path], settings: EvaluateSettings, image_metrics: Any) -> dict[str, dict[str, Scored]]:
    kind = kind_of(settings.kind)
    if kind.block.has_masks:
        return dict(kind.part("score").read(image_metrics, settings))
    if kind.family == "maps":
        return dict(kind.part("score").read(predictions, settings))
    return dict(import_module("visionfm.tasks.vectors.score").read(predictions, settings, kind.scoring))
