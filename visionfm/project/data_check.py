"""Opens the label files of a config before any job is queued: what is wrong in them, all at once, each thing once.

Reads names of images and whole tables, no pixel. Splits are drawn as `label` draws them, but for copies of images.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from visionfm.data import spelling
from visionfm.data.findings import FOLDS
from visionfm.data.label_rows import as_columns
from visionfm.data.labels import draw_splits, labelled, subjects_of
from visionfm.data.layouts.rows import LabelColumns, Value, parts_of
from visionfm.data.listing import label_files, list_images, list_partners, no_images, partner_names, to_install
from visionfm.data.partners import has_partners, mask_roles
from visionfm.data.settings import LabelSettings
from visionfm.errors import DataError, Problems
from visionfm.images.identity import named_frame
from visionfm.project.plan import Plan
from visionfm.tasks.folding import classes_of, divided
from visionfm.tasks.labels import Encoded, absent_classes, encode
from visionfm.tasks.settings import LabelledTarget

MOST_BYTES = 200_000_000
DO = "correct the files, or the blocks that say how they are read; nothing was written"
log = logging.getLogger("visionfm")


class Labels:
    """A dataset's labelled images as `label` would write them; `columns` are the labels by name."""

    def __init__(self, rows: LabelColumns, subjects: list[str], splits: list[str]) -> None:
        """All of one length."""
        self.rows, self.subjects, self.splits = rows, subjects, splits
        self.columns: dict[str, list[Value]] = as_columns(rows)


def check_data(plan: Plan) -> list[str]:
    """Raise DataError with everything that is wrong in the datasets that are there; say what only limits results.

    Return a line for each target and split of each task on vectors: how many images it has, and of which classes.
    """
    counts: list[str] = []
    problems = Problems(DataError, "data")
    found: dict[str, Labels] = {}
    for name in sorted(plan.config.datasets, key=lambda name: plan.config.datasets[name].split.like is not None):
        if (labels := _labels(plan, name, found, problems)) is not None:
            found[name] = labels
    _spelled_twice(plan, found, problems)
    seen: set[tuple[str, str]] = set()
    for task in plan.config.tasks:
        names = [name for name in plan.task_datasets(task) if name in found]
        if names:
            _in_two_splits(plan, task, {name: found[name] for name in names}, problems)
        if not plan.is_dense(task) and len(names) == len(plan.task_datasets(task)):
            _check_task(plan, task, found, seen, problems, counts)
    problems.raise_if_any(do=DO)
    return counts


def _labels(plan: Plan, name: str, found: dict[str, Labels], problems: Problems) -> Labels | None:
    """Return the labels of a dataset; None where it is not there, says too much for now, or is wrong."""
    block, settings = plan.config.datasets[name], plan.data.label_settings(name)
    root = Path(block.root)
    if not root.is_dir():
        return None  # `check` says so: data may come later
    size = sum(file.stat().st_size for file in label_files(root, block.layout, block.table) if file.is_file())
    if size > MOST_BYTES:
        log.warning("dataset %s: label files of %d MB are not opened here", name, size // 1_000_000)
        return None
    own = Problems(DataError, name)
    images = list_images(root, block.layout, block.images)
    for missing in to_install(images):
        own.add(f"images cannot be read by this installation: {missing}")
    listed = [entry.path for entry in images]
    if not listed:
        if any(root.iterdir()):
            problems.add(f"{name}: {_in_a_line(no_images(root, block.layout, block.images))}")
        else:  # they may come later
            log.warning("dataset %s: no images below %s", name, block.root)
        return None
    there = list_partners(root, block.layout, block.images) if has_partners(settings) else []
    partners = partner_names((entry.path for entry in there), block.layout, block.images, block.frames is not None)
    like = found.get(block.split.like or "")
    taken = None if like is None else dict(zip(like.subjects, like.splits, strict=True))
    rows = labelled(root, settings, listed, partners, taken, own)
    _find_masks(rows, settings, set(partners), own)
    known = set(listed)
    rows = rows.take([at for at, path in enumerate(rows.path) if named_frame(path, known)[0] in known])
    files = [named_frame(path, known)[0] for path in rows.path]
    subjects = subjects_of(rows, [""] * len(rows), settings)
    if not rows and not own:
        own.add("no image has a label")
    if own:
        for line in own:
            problems.add(f"{name}: {line}")
        return None
    try:
        splits = draw_splits(rows, subjects, files, as_columns(rows), taken, settings)
    except DataError as error:
        problems.add(_in_a_line(error))
        return None
    if block.labels == "none":
        log.info("dataset %s: %d images, without labels", name, len(listed))
        return Labels(rows, subjects, splits)
    drawn = splits != [split or "test" for split in rows.split]
    yet = " (drawn; which images are copies is not known yet)" if drawn else ""
    log.info("dataset %s: %d images, %d labelled; %s%s", name, len(listed), len(rows), _counted(splits), yet)
    return Labels(rows, subjects, splits)


def _in_a_line(error: DataError) -> str:
    return "; ".join([error.problem, *(f"{what}: {text}" for what, text in error.details)])


def _counted(splits: list[str]) -> str:
    count = Counter(splits)
    return ", ".join(f"{split} {count[split]}" for split in ("train", "validation", "test") if count[split])


def _find_masks(rows: LabelColumns, settings: LabelSettings, partners: set[str], problems: Problems) -> None:
    for row in rows:
        for role in mask_roles(settings):
            path = row.partners.get(role)
            files = [file for _, file in parts_of(path) or []] if parts_of(path) is not None else [path]
            for file in [one for one in files if one is not None and named_frame(one, partners)[0] not in partners]:
                problems.add(f"{row.where}: {role} {file!r} of {row.path}: no such file, or indexed as an image")


def _spelled_twice(plan: Plan, found: dict[str, Labels], problems: Problems) -> None:
    """Note people of a cohort whose ids differ in their spelling from one dataset to another."""
    of: dict[str, dict[str, str]] = defaultdict(dict)
    for name, labels in found.items():
        block = plan.config.datasets[name]
        if block.cohort is not None and block.columns.normalise != "exact":
            for subject in labels.subjects:
                of[block.cohort].setdefault(subject.removeprefix(f"{block.cohort}/"), name)
    for cohort, ids in of.items():
        pairs = [(first, other) for first, *others in spelling.alike(ids) for other in others]
        if pairs:
            first, other = pairs[0]
            problems.add(
                f"cohort {cohort}: {len(pairs)} ids are others but for their spelling, as {other!r} of {ids[other]} "
                f"is {first!r} of {ids[first]}; {spelling.advice(first, other)}"
            )


def _in_two_splits(plan: Plan, task: str, labels: dict[str, Labels], problems: Problems) -> None:
    """Note people who stand in two splits of a task, as the files give them."""
    external, folded = plan.config.tasks[task].external, plan.folded_datasets(task)
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for name, own in labels.items():
        if plan.config.datasets[name].allow_leakage is None:
            for subject, split in zip(own.subjects, own.splits, strict=True):
                split = "test" if name in external else FOLDS if name in folded else split
                splits[subject].setdefault(split, name)
    both = {subject: sorted(where) for subject, where in splits.items() if len(where) > 1}
    if both:
        subject, names = next(iter(both.items()))
        problems.add(
            f"task {task}: {len(both)} people stand in two splits, as {subject} in {' and '.join(names)}; correct the "
            'splits, or say `allow_leakage: "why"`'
        )


def _check_task(
    plan: Plan,
    task: str,
    found: dict[str, Labels],
    seen: set[tuple[str, str]],
    problems: Problems,
    counts: list[str],
) -> None:
    """Note labels that a task's targets do not know, and classes without a case in a split (of some fold)."""
    block = plan.config.tasks[task]
    names = [name for name in plan.task_datasets(task) if plan.config.datasets[name].labels != "none"]
    values: dict[str, list[Encoded]] = {}
    for name, target in block.labels().items():
        # One wrong word is one mistake, however many tasks and models read it.
        spec = json.dumps(target.model_dump(mode="json", include={"type", "column", "classes", "values", "unknown"}))
        encoded, wrong = [], False
        for dataset in names:
            own, labels = Problems(DataError, dataset), found[dataset]
            none: list[Value] = [None] * len(labels.rows)
            known = {column: labels.columns.get(column, none) for column in target.columns()}
            for index, where in enumerate(labels.rows.where):
                said = {column: values_R[index] for column, values_R in known.items()}
                encoded.append(encode(target, said, f"{dataset}: {where}", own))
            wrong = wrong or bool(own)
            if (dataset, spec) not in seen:
                for line in own:
                    problems.add(line)
            seen.add((dataset, spec))
        if not wrong:
            values[name] = encoded
    first = next(iter(block.labels()))
    if block.kind == "progression" or (plan.folds(task) and first not in values):
        return
    for where, split_R in _divisions(plan, task, names, found, values, problems):
        if "test" not in split_R:
            text = "task %s%s: no image is in the test split, so nothing will be measured; `split: {test: 0.2}` on the "
            log.warning(text + "dataset draws one, where no column names the splits", task, where)
        for name, encoded in values.items():
            _check_classes(plan, task, name, where, encoded, split_R, problems)
            counts += _of_classes(f"task {task}, {name}{where}", block.labels()[name], encoded, split_R)


def _of_classes(title: str, target: LabelledTarget, encoded: list[Encoded], split_R: list[str]) -> Iterator[str]:
    """Yield how many images of each split know a target, and how many of each class there are."""
    for split in ("train", "validation", "test"):
        known = [value for value, of in zip(encoded, split_R, strict=True) if of == split and value is not None]
        if known:
            of_classes = Counter(place for value in known for place in classes_of(target, value))
            keys = target.classes if target.type == "multilabel" else map(float, range(len(target.classes)))
            named = [f"{name} {of_classes[key]}" for name, key in zip(target.classes, keys, strict=True)]
            yield f"{title}: {split} {len(known)} images" + (f" ({', '.join(named)})" if named else "")


def _divisions(
    plan: Plan,
    task: str,
    names: list[str],
    found: dict[str, Labels],
    values: dict[str, list[Encoded]],
    problems: Problems,
) -> Iterator[tuple[str, list[str]]]:
    """Yield the splits of all rows of a task's datasets; of a task with folds those of each, and its name."""
    external, folded = plan.config.tasks[task].external, plan.folded_datasets(task)
    rows = [(name, at) for name in names for at in range(len(found[name].rows))]
    own = ["test" if name in external else found[name].splits[at] for name, at in rows]
    folds = plan.folds(task)
    if not folds:
        yield "", own
        return
    first, target = next(iter(plan.config.tasks[task].labels().items()))
    inside = [
        row
        for row, (name, _) in enumerate(rows)
        if name in folded and any(encoded[row] is not None for encoded in values.values())
    ]
    people = [found[rows[row][0]].subjects[rows[row][1]] for row in inside]
    classes = [classes_of(target, values[first][row]) for row in inside]
    for fold in folds:
        settings = plan.tasks.fuse_settings(task, fold.name).fold
        assert settings is not None, "a task with folds has settings of each"
        try:
            drawn = divided(people, classes, settings)
        except DataError as error:
            problems.add(
                f"task {task}: " + "; ".join([error.problem, *(f"{what}: {text}" for what, text in error.details)])
            )
            return
        splits = list(own)
        for row, split in zip(inside, drawn, strict=True):
            splits[row] = split
        yield f" of {fold.name}", splits


def _check_classes(
    plan: Plan, task: str, name: str, where: str, encoded: list[Encoded], split_R: list[str], problems: Problems
) -> None:
    """Note what a target lacks in some split."""
    block = plan.config.tasks[task]
    target, trains = block.labels()[name], block.given_decoder() is None
    values: dict[str, list[Encoded]] = defaultdict(list)
    for value, split in zip(encoded, split_R, strict=True):
        values[split].append(value)
    for split in ("train", "validation") if trains else ():
        if all(value is None for value in values[split]):
            problems.add(f"task {task}: {name}: no {split} images{where} with a known value")
            values[split] = []
    for split in ("train", "validation", "test"):
        for absent in absent_classes(target, values[split]) if values[split] else ():
            if split == "train" and trains:
                problems.add(f"task {task}: {name}: {absent} in the training split{where}")
            else:
                text = "task %s: %s: %s in the %s split%s; its metrics there have no value"
                log.warning(text, task, name, absent, split, where)
