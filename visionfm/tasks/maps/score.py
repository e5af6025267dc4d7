"""Metrics of dense tasks over images: the mean of each image's value, its interval from a bootstrap over subjects.

Sets of masks are small: of two to four subjects the interval is Student's t over subjects, cut to what is possible.

Segmentation: predictions.parquet has the metrics of each image, ours and the second observer's; the latter stand in a
run of their own, `observer2`. Landmarks: a row per image and point, from which errors are computed here; the target
`all points` is each image's mean over its known points.
Shapes: N images, D draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm import artifacts
from visionfm.errors import ArtifactError, UsageError
from visionfm.metrics.bootstrap import few_subjects_interval, subject_draws
from visionfm.metrics.masks_and_points import MACRO, MASK_METRICS, NAN, WITH_BACKGROUND
from visionfm.metrics.weighted import Floats
from visionfm.tasks.prediction_arrays import ALL, REDO, Answers, Part, check_origin, natural
from visionfm.tasks.settings import EvaluateSettings
from visionfm.tasks.vectors.score import Line

OBSERVER = "observer2"
ALL_POINTS = "all points"
UNITS = {"hd95": "px", "hd95_mm": "mm", "mre": "px", "mre_mm": "mm"}
Key = tuple[str, Part, str | None, str, str | None]


@dataclass(frozen=True)
class Column:
    """One metric of each image: NaN where it does not exist; `present_N`: the truth has the class."""

    target: str
    label: str | None
    metric: str
    values_N: Floats
    point: str | None = None
    threshold: float | None = None
    unit: str | None = None
    present_N: NDArray[np.bool_] | None = None


def dense_runs(paths: Sequence[Path], settings: EvaluateSettings) -> dict[str, dict[Key, Line]]:
    """Return run -> metric lines of a dense task; the second observer is a run too, where there is one."""
    frames: dict[str, tuple[Path, Any]] = {}
    for path in paths:
        table = artifacts.read_table(path)
        check_origin(path, {key.decode(): value.decode() for key, value in table.schema.metadata.items()}, settings)
        for run, rows in table.to_pandas().groupby("run", sort=True):
            if run in frames:
                raise UsageError(f"run {run} is given twice", found=f"{frames[run][0]} and {path}", do="give each once")
            frames[run] = (path, rows.sort_values(["sample_id", "target"], kind="stable"))
    if not frames:
        raise ArtifactError("the predictions are empty", where=", ".join(map(str, paths)), do=REDO)
    found: dict[str, dict[Key, Line]] = {}
    for run, (path, rows) in sorted(frames.items(), key=lambda item: natural(item[0])):
        found[run] = _scored(rows, "metrics", path, settings)
    first = next(iter(found))
    if settings.kind == "segmentation" and (seen := frames[first][1])["observer2"].notna().any():
        found[OBSERVER] = _scored(seen[seen["observer2"].notna()], "observer2", frames[first][0], settings)
    return found


def _scored(rows: Any, source: str, path: Path, settings: EvaluateSettings) -> dict[Key, Line]:
    if settings.kind == "segmentation":
        images, columns = _mask_columns(rows, source, settings)
    else:
        images, columns = _point_columns(rows, settings)
    if images["sample_id"].duplicated().any():
        raise ArtifactError("a sample is answered twice", where=path, do=REDO)
    if not columns:
        return {}  # nothing is known of any image: there is nothing to measure
    where = {name: images[name].to_numpy(dtype=object) for name in ("subject_id", "split", "dataset", "modalities")}
    every = np.full(len(images), ALL, dtype=object)
    none_N0 = np.zeros((len(images), 0))
    answers = Answers(
        none_N0, none_N0, where["subject_id"], where["split"], where["dataset"], where["modalities"], every
    )
    return {
        (column.target, part, column.label, column.metric, column.point): line
        for part, rows_N in answers.parts(pooled=True)
        for column, line in zip(columns, _lines(columns, rows_N, where["subject_id"], settings), strict=True)
    }


# --- columns --------------------------------------------------------------------------------------------------------


def _mask_columns(rows: Any, source: str, settings: EvaluateSettings) -> tuple[Any, list[Column]]:
    """Return the images that have a mask, and a column for each class and metric."""
    ((target, spec),) = settings.targets.items()
    images = rows[rows[source].notna()].reset_index(drop=True)
    by_image = [{(cell["class"], cell["metric"]): cell["value"] for cell in cells} for cells in images[source]]
    present = [set(names) for names in images["present"]]
    columns = []
    for label in (*spec.classes, MACRO, WITH_BACKGROUND):
        has_N = np.array([label in names for names in present], bool) if label in spec.classes else None
        for metric in MASK_METRICS:
            values = [scores.get((label, metric)) for scores in by_image]
            if not any((label, metric) in scores for scores in by_image):
                continue
            values_N = np.array([NAN if value is None else value for value in values], np.float64)
            columns.append(Column(target, label, metric, values_N, unit=UNITS.get(metric), present_N=has_N))
    return images, columns


def _point_columns(rows: Any, settings: EvaluateSettings) -> tuple[Any, list[Column]]:
    """Return the images, and a column for each point, metric and threshold."""
    columns_of = ("sample_id", "subject_id", "split", "dataset", "modalities")
    images = rows.drop_duplicates(subset=["sample_id"])[list(columns_of)].reset_index(drop=True)
    errors: dict[str, dict[str, Floats]] = {"px": {}, "mm": {}}
    for name in settings.targets:
        of_point = images[["sample_id"]].merge(
            rows[rows["target"] == name], on="sample_id", how="left", validate="one_to_one"
        )
        error_N = radial_errors(of_point)
        errors["px"][name] = error_N
        errors["mm"][name] = error_N * of_point["mm_per_px"].to_numpy(np.float64, na_value=np.nan)
    columns = []
    for unit, thresholds in (("px", settings.success_px), ("mm", settings.success_mm)):
        known_PN = np.array(list(errors[unit].values()))
        if unit == "mm" and np.isnan(known_PN).all():
            continue
        suffix = "" if unit == "px" else "_mm"
        for name, error_N in (*errors[unit].items(), (ALL_POINTS, _mean(known_PN))):
            columns.append(Column(name, None, f"mre{suffix}", error_N, unit=unit))
            for threshold in thresholds:
                hits_PN = np.where(np.isnan(known_PN), np.nan, known_PN <= threshold)
                hit_N = _mean(hits_PN) if name == ALL_POINTS else hits_PN[list(settings.targets).index(name)]
                columns.append(Column(name, None, "success_rate", hit_N, f"{threshold:g} {unit}", threshold))
    return images, columns


def radial_errors(rows: Any) -> Floats:
    """Return the distances between predicted and true points in px of the original image; NaN where unknown."""
    dx, dy = (
        rows[axis].to_numpy(np.float64, na_value=np.nan) - rows[f"truth_{axis}"].to_numpy(np.float64, na_value=np.nan)
        for axis in ("x", "y")
    )
    distance_N: Floats = np.hypot(dx, dy)
    return distance_N


def _mean(values_PN: Floats) -> Floats:
    """Return the mean over the points that each image knows."""
    known_PN = ~np.isnan(values_PN)
    count_N = known_PN.sum(axis=0)
    total_N = np.where(known_PN, values_PN, 0.0).sum(axis=0)
    return np.where(count_N > 0, total_N / np.maximum(count_N, 1), np.nan)


# --- over images ----------------------------------------------------------------------------------------------------


def _lines(
    columns: Sequence[Column], rows_N: NDArray[np.intp], subjects: NDArray[Any], settings: EvaluateSettings
) -> Iterator[Line]:
    """Yield each column's mean over these images, for the sample itself and for each bootstrap draw."""
    subject_N = subjects[rows_N]
    values_NM = np.stack([column.values_N[rows_N] for column in columns], axis=1)
    known_NM = ~np.isnan(values_NM)
    filled_NM = np.where(known_NM, values_NM, 0.0)
    chunks = []
    for weights_DN in subject_draws(subject_N.tolist(), settings.draws, settings.seed):
        count_DM = weights_DN @ known_NM.astype(np.float64)
        total_DM = weights_DN @ filled_NM
        chunks.append(np.where(count_DM > 0, total_DM / np.maximum(count_DM, 1), np.nan))
    means_DM = np.concatenate(chunks)
    for m, column in enumerate(columns):
        known_N = known_NM[:, m]
        present_N = None if column.present_N is None else column.present_N[rows_N]
        yield Line(
            column.label,
            column.metric,
            column.point,
            means_DM[:, m],
            n=int(known_N.sum()),
            n_positive=None if present_N is None else int((present_N & known_N).sum()),
            subjects_S=np.unique(subject_N[known_N]),
            threshold=column.threshold,
            reason=_reason(column, known_N),
            unit=column.unit,
            bounds=_bounds(column, values_NM[known_N, m], subject_N[known_N].tolist()),
        )


def _bounds(column: Column, values_N: Floats, subjects_N: list[str]) -> tuple[float, float] | None:
    found = few_subjects_interval(values_N, subjects_N)
    highest = np.inf if column.unit else 1.0
    return None if found is None else (max(0.0, found[0]), min(highest, found[1]))


def _reason(column: Column, known_N: NDArray[np.bool_]) -> str | None:
    """Return why there is no value, or of how many images the value is."""
    if known_N.all() and len(known_N):
        return None
    if not len(known_N):
        return "no image with a mask or point"
    if column.metric.startswith(("mre", "success")):
        why = "the point is unknown there" if column.target != ALL_POINTS else "no point is known there"
        why += ", or mm_per_px is" if column.metric.endswith("_mm") else ""
    else:
        why = {
            "hd95": "the class is absent from truth or prediction there",
            "hd95_mm": "the class is absent from truth or prediction there, or mm_per_px is not given",
            "sensitivity": "the class is absent from the truth there",
            "precision": "the class is absent from the prediction there",
            "specificity": "nothing but the class is there",
            "auroc": "the truth has one class only there, or there are no probabilities",
        }.get(column.metric, "the class is absent from truth and prediction there")
    left_out = int((~known_N).sum())
    return f"{left_out} of {len(known_N)} images left out: {why}"
