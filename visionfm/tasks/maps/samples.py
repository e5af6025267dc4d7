"""Samples of dense tasks: each image with its mask or points, checked against what the task asks for.

A sample is an image with a mask (with one of the task's points). Datasets without any masks or points are test only:
they are predicted, and nothing is measured on them.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.data.block import DENSE_COLUMNS
from visionfm.data.columns import column_type
from visionfm.data.labels import SCHEMA as LABELS
from visionfm.errors import DataError, Problems
from visionfm.tasks.folding import where
from visionfm.tasks.settings import FuseSettings, LabelledTarget

Row = dict[str, Any]
SPLITS = ("train", "validation", "test")
log = logging.getLogger("visionfm")


def dense_samples(labels: dict[str, list[Path]], settings: FuseSettings) -> list[Row]:
    """Return the samples of a task, by sample_id; DataError, all problems at once, for labels that do not fit it."""
    problems = Problems(DataError, "samples of the task")
    samples = [row for name in settings.datasets for row in _rows(name, labels[name][0], settings, problems)]
    problems.raise_if_any(do="correct these masks or points, or the target's `classes`")
    samples.sort(key=lambda sample: str(sample["sample_id"]))
    return samples


def _rows(dataset: str, path: Path, settings: FuseSettings, problems: Problems) -> Iterator[Row]:
    table = artifacts.read_table(path, schema=LABELS)
    labelled = any(column in table.column_names for t in settings.targets.values() for column in t.columns())
    if "width" not in table.column_names:
        what = "mask" if any(t.type == "mask" for t in settings.targets.values()) else "points"
        problems.add(f"{dataset}: its labels hold no {what}; give `columns: {{{what}: ...}}`, or say `labels: none`")
        return
    left_out = 0
    for row in table.to_pylist():
        dense = {name: row.get(name) for name in DENSE_COLUMNS}
        where = f"{dataset}/{row['path']}"
        known = [_one(name, target, dense, where, problems) for name, target in settings.targets.items()]
        if labelled and not any(known):
            left_out += 1
            continue
        image = {"modality": settings.datasets[dataset], "dataset": dataset}
        inside = row["split"] if settings.fold is None else "train"  # until it is divided into folds
        split = "test" if dataset in settings.external or not labelled else inside
        yield {
            "sample_id": where,
            **{name: row[name] for name in ("subject_id", "group_id", "copy_id", "eye", "visit")},
            "dataset": dataset,
            "split": split,
            "images": [{**image, "path": row["path"], "image_id": row["image_id"]}],
            **dense,
            "points": _points(dense, settings),
        }
    if left_out:
        log.warning("fuse: %s: %d images without a mask or point of this task are left out", dataset, left_out)


def _one(name: str, target: LabelledTarget, dense: Row, where: str, problems: Problems) -> bool:
    """Tell whether an image knows a target; values that are none of its classes go to `problems`."""
    if target.type == "point":
        return (dense["points"] or {}).get(target.column) is not None
    classes = {value for values in target.values for value in values}
    for role in ("mask", "mask2"):
        if strange := sorted(set(dense[f"{role}_values"] or []) - classes):
            problems.add(
                f"{where}: {name}: {dense[f'{role}_path']}: expected pixel values {_listed(sorted(classes))},"
                f" found {_listed(strange)}"
            )
    return dense["mask_id"] is not None


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")


def _points(dense: Row, settings: FuseSettings) -> Row | None:
    wanted = {name: target.column for name, target in settings.targets.items() if target.type == "point"}
    return {name: (dense["points"] or {}).get(column) for name, column in wanted.items()} or None


def check_dense(samples: Any, settings: FuseSettings) -> None:
    """Raise where nothing can be learned; say where something cannot be measured. `samples` is an Arrow table."""
    problems = Problems(DataError, f"the task cannot be trained{where(settings)}")
    rows = samples.select(["split", "mask_values", "points"]).to_pylist()
    by_split = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
    counts = {split: len(rows) for split, rows in by_split.items() if rows}
    for split in ("train", "validation"):
        if split not in counts:
            problems.add(f"no {split} samples with a mask or point; {counts or 'no samples at all'}")
    for name, target in settings.targets.items():
        for split in counts:
            rows = by_split[split]
            if target.type == "point":
                absent = [] if any((row["points"] or {}).get(name) for row in rows) else [name]
            else:
                found = {value for row in rows for value in row["mask_values"] or []}
                pairs = zip(target.classes, target.values, strict=True)
                absent = [text for text, values in pairs if not found & set(values)]
            for text in absent:
                if split == "train":
                    problems.add(f"{name}: no image has {text} in the training split")
                else:
                    log.warning("fuse: %s: no image has %s in the %s split; it has no metrics there", name, text, split)
    problems.raise_if_any(
        do="correct masks, points, `classes` or splits" + ("; or give fewer `folds`" if settings.fold else "")
    )


def dense_fields(settings: FuseSettings) -> list[tuple[str, Any]]:
    """Return the columns, name and Arrow type, that samples of dense tasks have instead of targets."""
    points = [name for name, target in settings.targets.items() if target.type == "point"]
    return [(name, column_type(name, points or ["none"])) for name in DENSE_COLUMNS]
