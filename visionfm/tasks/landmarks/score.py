"""Metrics of points: distances to the truth and success rates, from predictions.parquet (a row per image and point).

The target `all points` is each image's mean over its known points.
Shapes: N images, P points.
"""

from pathlib import Path
from typing import Any

import numpy as np

from visionfm.errors import ArtifactError
from visionfm.metrics import points
from visionfm.metrics.weighted import Floats
from visionfm.tasks.maps.score import Column, over_images
from visionfm.tasks.prediction_arrays import REDO, read_frames, with_paths
from visionfm.tasks.scored import Scored
from visionfm.tasks.settings import EvaluateSettings

ALL_POINTS, NONE_KNOWN = "all points", "no point is known there"


def read(paths: list[Path], settings: EvaluateSettings) -> dict[str, dict[str, Scored]]:
    """Return run -> target -> what was measured of each image; the pooled runs of folds too."""
    frames = read_frames(paths, settings)
    return {
        run: over_images(*_columns(rows.sort_values(["sample_id", "target"], kind="stable"), path, settings))
        for run, (path, rows) in (frames | with_paths(frames)).items()
    }


def radial_errors(rows: Any, unit: str = "px") -> Floats:
    """Return the distances of rows of predictions.parquet, in px of the original image or in mm; NaN where unknown."""
    said_N2, true_N2 = (
        np.stack([rows[name].to_numpy(np.float64, na_value=np.nan) for name in names], axis=1)
        for names in (("x", "y"), ("truth_x", "truth_y"))
    )
    size_N2 = np.ones((len(rows), 2))
    if unit == "mm":
        known_N = rows["mm_per_px"].notna().to_numpy()
        size_N2[~known_N] = np.nan
        sizes = [list(size) for size in rows["mm_per_px"][known_N]]
        size_N2[known_N] = np.array(sizes, np.float64).reshape(-1, 2)  # of images none of which says its size: none
    return points.radial_errors(said_N2 * size_N2, true_N2 * size_N2)


def _columns(rows: Any, path: Path, settings: EvaluateSettings) -> tuple[Any, list[Column]]:
    """Return the images, and a column for each point, metric and threshold."""
    columns_of = ("sample_id", "subject_id", "split", "dataset", "modalities")
    images = rows.drop_duplicates(subset=["sample_id"])[list(columns_of)].reset_index(drop=True)
    if rows.duplicated(subset=["sample_id", "target"]).any():
        raise ArtifactError("a sample is answered twice", where=path, do=REDO)
    errors: dict[str, dict[str, Floats]] = {"px": {}, "mm": {}}
    for name in settings.targets:
        of_point = images[["sample_id"]].merge(rows[rows["target"] == name], on="sample_id", how="left")
        for unit in errors:
            errors[unit][name] = radial_errors(of_point, unit)
    columns = []
    for unit, thresholds in (("px", settings.success_px), ("mm", settings.success_mm)):
        known_PN = np.array(list(errors[unit].values()))
        if unit == "mm" and np.isnan(known_PN).all():
            continue
        metric = "mre" if unit == "px" else "mre_mm"
        left_out = NONE_KNOWN if unit == "px" else f"{NONE_KNOWN}, or mm_per_px is not given"
        for at, name in enumerate([*settings.targets, ALL_POINTS]):
            # Of all points together: the mean over those that an image knows.
            together = name == ALL_POINTS
            why = left_out if together else ""
            error_N = points.mean_over_known(known_PN) if together else known_PN[at]
            columns.append(Column(name, None, metric, error_N, left_out=why))
            for threshold in thresholds:
                hits_PN = points.within(known_PN, threshold)
                hit_N = points.mean_over_known(hits_PN) if together else hits_PN[at]
                point = f"{threshold:g} {unit}"
                columns.append(Column(name, None, "success_rate", hit_N, point, threshold, left_out=why))
    return images, columns
