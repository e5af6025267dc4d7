"""Metrics of masks over images: means of what `image_metrics` measured of each; the second observer is a run too."""

from typing import Any

import numpy as np

from visionfm.images.identity import AFTER_PATH
from visionfm.metrics.masks import COUNTS, MACRO, MASK_METRICS, VOLUME_DICE, WITH_BACKGROUND
from visionfm.tasks.maps.score import Column, VolumeColumn, over_images
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


def _columns(rows: Any, settings: EvaluateSettings) -> tuple[Any, list[Column], list[VolumeColumn]]:
    """Return the images, a column for each class and metric, and those of volumes where images are slices of some."""
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
    return images, columns, _of_volumes(rows, images, target, list(spec.classes))


def _of_volumes(rows: Any, images: Any, target: str, classes: list[str]) -> list[VolumeColumn]:
    """Return the columns of volumes: slices alone have counts, and are named `file#frame`."""
    counted = rows[rows["metric"] == COUNTS[0]]
    if not len(counted):
        return []
    slices = set(counted["sample_id"])
    named = [sample.rpartition(AFTER_PATH)[0] if sample in slices else "" for sample in images["sample_id"]]
    volume_N = np.array(named, object)
    counts_NC3 = np.zeros((len(images), len(classes), len(COUNTS)))
    for at, label in enumerate(classes):
        of_class = rows[rows["class"] == label].set_index("sample_id")
        for to, what in enumerate(COUNTS):
            values = of_class[of_class["metric"] == what]["value"]
            counts_NC3[:, at, to] = values.reindex(images["sample_id"], fill_value=0.0).to_numpy(np.float64)
    of = {label: [at] for at, label in enumerate(classes)} | {MACRO: list(range(1, len(classes)))}
    return [VolumeColumn(target, label, VOLUME_DICE, volume_N, counts_NC3[:, at]) for label, at in of.items()]
