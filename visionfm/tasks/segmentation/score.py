"""Metrics of masks over images: means of what `image_metrics` measured of each; the second observer is a run too."""

from typing import Any

import numpy as np

from visionfm.metrics.masks import MACRO, MASK_METRICS, WITH_BACKGROUND
from visionfm.tasks.maps.score import Column, over_images
from visionfm.tasks.out_of_fold import pooled
from visionfm.tasks.prediction_arrays import natural
from visionfm.tasks.runs import OBSERVER
from visionfm.tasks.scored import Scored
from visionfm.tasks.settings import EvaluateSettings


def read(measured: Any, settings: EvaluateSettings) -> dict[str, dict[str, Scored]]:
    """Return run -> target -> what was measured, the second observer last; from image_metrics.parquet (DataFrame)."""
    runs = sorted(set(measured["run"]) - {OBSERVER}, key=natural)
    names = [*runs, OBSERVER] if (measured["run"] == OBSERVER).any() else runs
    frames = {run: measured[measured["run"] == run] for run in names}
    return {run: over_images(*_columns(rows, settings)) for run, rows in (frames | pooled(frames)).items()}


def _columns(rows: Any, settings: EvaluateSettings) -> tuple[Any, list[Column]]:
    """Return the images, and a column for each class and metric."""
    ((target, spec),) = settings.targets.items()
    images = rows.drop_duplicates("sample_id").reset_index(drop=True)
    columns = []
    for label in (*spec.classes, MACRO, WITH_BACKGROUND):
        of_class = rows[rows["class"] == label].set_index("sample_id")
        has_N = None
        if label in spec.classes:
            present = of_class[~of_class.index.duplicated()]["present"]
            has_N = present.reindex(images["sample_id"], fill_value=False).to_numpy(bool)
        for metric in MASK_METRICS:
            values = of_class[of_class["metric"] == metric]["value"]
            if len(values):
                values_N = values.reindex(images["sample_id"]).to_numpy(np.float64)
                columns.append(Column(target, label, metric, values_N, present_N=has_N))
    return images, columns
