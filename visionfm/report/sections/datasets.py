"""The report's data part: counts by split and label, images left out, and example pictures.

Reads the example images below a dataset's root and nothing else there; one that changed since `index` is not shown.
Invariant: which examples are shown depends on images.parquet and labels.parquet alone.
"""

import base64
import io
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from visionfm.errors import CannotReadNow, VisionFMError
from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table, counted
from visionfm.images.identity import shown_as
from visionfm.images.settings import Reading
from visionfm.metrics.written import NO_VALUE, interval, missing, number, percent
from visionfm.project.plan import Plan
from visionfm.report.data import DatasetTables, Results
from visionfm.report.sections.demographics import characteristics
from visionfm.report.sections.partners import partner_counts
from visionfm.report.words import SPLITS, count, listed

EXAMPLES = 8
THUMBNAIL_PX = 176
MOST_VALUES = 20  # a label with more is a measured value or free text, and is summarised
MOST_LISTED = 50
log = logging.getLogger("visionfm")


class Picture(NamedTuple):
    """An image as data URI, what stands below it, and how it is called.

    The URI is empty where no picture may be shown, or the file is not what it was.
    """

    uri: str
    says: str
    path: str


@dataclass(frozen=True)
class DatasetView:
    """What the page says of one dataset."""

    name: str
    modality: str
    layout: str
    facts: list[str]
    tables: list[Table]
    people: Table | None
    left_out: Table | None
    examples: list[Picture]
    subjects_known: bool


def sections(results: Results) -> list[Section]:
    """Return the section of all datasets."""
    views = [dataset_view(results.plan, tables) for tables in results.datasets]
    return [Section("report/sections/datasets.html.j2", views, "Data", "data", folded=True)]


def subjects_known(tables: DatasetTables) -> bool:
    """Tell whether the images have subjects; without any, each image counts as a person of its own."""
    return not (tables.labels["subject_id"] == tables.name + "/" + tables.labels["path"]).all()


def in_folds(plan: Plan, dataset: str) -> list[str]:
    """Return, in words, which tasks divide a dataset's people anew, so that its splits say nothing of them."""
    tasks = [task for task in plan.config.tasks if dataset in plan.folded_datasets(task)]
    return [f"in folds in {listed(tasks)}, where the splits of this dataset play no part"] if tasks else []


def dataset_view(plan: Plan, tables: DatasetTables) -> DatasetView:
    """Return a dataset's counts, the images left out, and its examples."""
    images, labels = tables.images, tables.labels
    readable = images[images["status"] == "ok"]
    left_out = images[images["status"] != "ok"]
    facts = [count(len(images), "image file"), f"{labels['path'].nunique():,} labelled"]
    if subjects_known(tables):
        facts.append(count(labels["group_id"].nunique(), "subject"))
    if len(readable):
        facts.append(f"{readable['width'].min()}x{readable['height'].min()} to "
                     f"{readable['width'].max()}x{readable['height'].max()} pixels")  # fmt: skip
    repeated = len(readable) - readable["image_id"].nunique()
    if repeated:
        facts.append(f"{count(repeated, 'file')} with the same bytes as another")
    facts += in_folds(plan, tables.name)
    return DatasetView(
        name=tables.name,
        modality=tables.modality,
        layout=plan.config.datasets[tables.name].layout,
        facts=facts,
        tables=[*_counts(tables), *_agreement(tables)],
        people=_people(plan, tables),
        left_out=_left_out(tables.name, left_out, plan.config.report.ids == "shown") if len(left_out) else None,
        examples=_examples(plan, tables) if plan.config.report.pictures == "examples" else [],
        subjects_known=subjects_known(tables),
    )


# --- counts ---------------------------------------------------------------------------------------------------------


def _agreement(tables: DatasetTables) -> list[Table]:
    """Return how far the graders of the labels agree, where several have graded the same images."""
    rows = [
        [
            Cell(one["target"]),
            Cell(one["graders"]),
            Cell(f"{one['images']:,}", small=count(one["subjects"], "subject"), numeric=True),
            Cell(percent(one["equal"]), numeric=True),
            Cell(
                NO_VALUE if one["kappa"] is None else number(one["kappa"], "quadratic_kappa"),
                interval(one["low"], one["high"], "quadratic_kappa") or (one["reason"] or ""),
                numeric=True,
            ),
        ]
        for one in tables.agreement
    ]
    if not rows:
        return []
    found = Table(f"{tables.name}: agreement of graders", ["label", "graders", "images", "same grade", "kappa"], rows)
    found.notes.append("Kappa of numbers has quadratic weights; of rows in no order it is Fleiss'. 95 % intervals.")
    return [found]


def _people(plan: Plan, tables: DatasetTables) -> Table | None:
    """Return the groups of people by split, where the dataset tells them apart."""
    groups = plan.config.datasets[tables.name].columns.group_columns
    splits = [split for split in SPLITS if (tables.labels["split"] == split).any()]
    parts = {split: tables.labels[tables.labels["split"] == split] for split in splits} | {"all": tables.labels}
    heads = [*(SPLITS[split] for split in splits), "All"]
    return characteristics(tables.name, parts, heads, {name: group.cut for name, group in groups.items()})


def _counts(tables: DatasetTables) -> list[Table]:
    labels = tables.labels
    splits = [split for split in SPLITS if (labels["split"] == split).any()]
    if not splits:
        return []
    parts = {split: labels[labels["split"] == split] for split in splits}
    heads = [*(SPLITS[split] for split in splits), "All"]

    def by_split(values: list[int]) -> list[int]:
        return [*values, sum(values)]

    rows = [("images", by_split([len(part) for part in parts.values()]))]
    rows.append(("subjects", [*(part["group_id"].nunique() for part in parts.values()), labels["group_id"].nunique()]))
    found = [counted(f"{tables.name}: images by split", "", heads, rows)]
    if partners := partner_counts(tables.name, parts, heads):
        found.append(partners)
    flags = [name for name in tables.label_columns if _is_flag(labels[name])]
    if len(flags) > 1:
        rows = [(name, by_split([int((part[name] == 1).sum()) for part in parts.values()])) for name in flags]
        found.append(counted(f"{tables.name}: images with each finding (label 1)", "finding", heads, rows))
    for name in tables.label_columns:
        if len(flags) > 1 and name in flags:
            continue
        values = sorted(
            {value for value in labels[name] if not missing(value)}, key=lambda value: (isinstance(value, str), value)
        )
        if len(values) <= MOST_VALUES:
            rows = [
                (_label(value), by_split([int((part[name] == value).sum()) for part in parts.values()]))
                for value in values
            ]
            unknown = by_split([int(part[name].isna().sum()) for part in parts.values()])
            rows += [("unknown", unknown)] if unknown[-1] else []
            found.append(counted(f"{tables.name}: images by {name}", name, heads, rows))
        else:
            found.append(_summary(tables.name, name, {**parts, "": labels}))
    return found


def _is_flag(column: Any) -> bool:
    return not column.isna().all() and set(column.dropna()) <= {0.0, 1.0}


def _label(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else number(value)


def _summary(dataset: str, name: str, parts: dict[str, Any]) -> Table:
    rows = []
    for split, part in parts.items():
        known = part[name].dropna()
        numeric = len(known) > 0 and not isinstance(known.iloc[0], str)
        cells = (
            [number(float(value)) for value in (known.min(), known.median(), known.max())]
            if numeric
            else [NO_VALUE] * 3
        )
        counts = [f"{len(known):,}", f"{len(part) - len(known):,}"]
        rows.append([Cell(SPLITS.get(split, "All")), *(Cell(text, numeric=True) for text in [*counts, *cells])])
    return Table(f"{dataset}: {name}", ["split", "known", "unknown", "lowest", "median", "highest"], rows)


def _left_out(dataset: str, rows: Any, named: bool) -> Table:
    reasons = Counter(rows["status"])
    table = Table(f"{dataset}: images left out", ["image", "reason"], [])
    table.rows = [
        [Cell(shown_as(row["path"], row["image_id"], named)), Cell(row["status"])]
        for row in rows.head(MOST_LISTED).to_dict("records")
    ]
    table.notes = [f"{reason}: {count(number_of, 'image')}" for reason, number_of in reasons.most_common()]
    if len(rows) > MOST_LISTED:
        table.notes.append(f"The first {MOST_LISTED} of {len(rows):,} are listed; all stand in images.parquet.")
    return table


# --- examples -------------------------------------------------------------------------------------------------------


def choose_examples(tables: DatasetTables, wanted: list[str], most: int = EXAMPLES) -> list[dict[str, Any]]:
    """Return rows of labels (of images where nothing is labelled), spread over the values of the first `wanted` label.

    Inside a value images come in the order of their hash, which is as good as at random and holds still.
    """
    images = tables.images[tables.images["status"] == "ok"]
    rows = tables.labels[tables.labels["path"].isin(images["path"])] if len(tables.labels) else images
    label = next((name for name in wanted if name in rows.columns), None)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows.sort_values(["image_id", "path"]).to_dict("records"):
        groups.setdefault("" if label is None or missing(row[label]) else _label(row[label]), []).append(row)
    chosen: list[dict[str, Any]] = []
    shown: set[str] = set()
    while len(chosen) < most and any(groups.values()):
        for name in sorted(groups):
            row = groups[name].pop(0) if groups[name] else None
            if row is not None and row["image_id"] not in shown and len(chosen) < most:
                chosen.append(row)
                shown.add(row["image_id"])
    return chosen


def _examples(plan: Plan, tables: DatasetTables) -> list[Picture]:
    columns = tables.label_columns
    asked = [
        name
        for task, block in plan.config.tasks.items()
        if tables.name in plan.task_datasets(task)
        for target in block.labels().values()
        for name in target.columns()
    ]
    wanted = list(dict.fromkeys(str(name) for name in asked if str(name) in columns)) or columns
    flags = [name for name in wanted if _is_flag(tables.labels[name])]
    flags = flags if len(flags) > 2 else []
    values = [name for name in wanted if name not in flags]
    chosen = [(caption(row, values, flags), row) for row in choose_examples(tables, values or wanted)]
    block = plan.config.datasets[tables.name]
    return [
        Picture(
            thumbnail(Path(tables.root), row["path"], row["image_id"], Reading.of(block)),
            text,
            shown_as(row["path"], row["image_id"], plan.config.report.ids == "shown"),
        )
        for text, row in sorted(chosen, key=lambda pair: (pair[0], pair[1]["path"]))
    ]


def caption(row: dict[str, Any], values: list[str], flags: list[str]) -> str:
    """Return what is known of an image: `label: value`, and of the yes-or-no labels those that are yes."""
    known = [f"{name}: {_label(row[name])}" for name in values if name in row and not missing(row[name])]
    told = [name for name in flags if name in row and not missing(row[name])]
    found = [", ".join(name for name in told if row[name] == 1) or "no finding"] if told else []
    return "; ".join([*known[:4], *(["..."] if len(known) > 4 else []), *found]) or "no label"


def thumbnail(root: Path, path: str, image_id: str, reading: Reading) -> str:
    """Return an image as a small JPEG data URI; empty, with a warning, where the file is not what `index` saw."""
    from PIL import Image

    from visionfm.images.reading import read_checked

    try:
        pixels_HWC = read_checked(root, path, image_id, reading, target_px=2 * THUMBNAIL_PX)
    except CannotReadNow:
        raise  # a page that lacks a picture for that would stay without it
    except VisionFMError as error:
        log.warning("report: the picture of %s/%s is left out: %s", root, path, error.problem)
        return ""
    picture = Image.fromarray(pixels_HWC)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
