"""Stage `label`: joins a dataset's labels to its images and gives each image its subject and split: `labels.parquet`.

A row per labelled image (layout `forecasting`: one per image and interval), sorted by path; null means unknown. Splits
given by the data are kept; validation is always drawn by subject from training unless the data give it.
"""

import argparse
import hashlib
import json
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.data import copied, spelling, splits
from visionfm.data.block import GROUP, Ids
from visionfm.data.columns import column_type
from visionfm.data.graders import agreements
from visionfm.data.headers import contradictions
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.data.label_rows import as_columns, read_labels
from visionfm.data.layouts.folders import check_root
from visionfm.data.layouts.outcomes import INTERVAL
from visionfm.data.layouts.rows import LabelColumns, Value
from visionfm.data.listing import label_files, partner_names
from visionfm.data.partners import dense_columns, has_partners, partner_digests, point_names
from visionfm.data.settings import LabelSettings
from visionfm.data.tables.cells import read_eye
from visionfm.errors import DataError, Problems, cannot_read_now, is_passing
from visionfm.images.identity import file_id, file_path, file_paths, has_frames, named_frame
from visionfm.images.regular import read_regular

SCHEMA = "visionfm/labels/1"
UNLABELLED = "unlabelled"  # in the metadata: files without a label -> `copy_id` of those of their copies that have one
MOST_GROUPS = 50  # of one column
READ = ("path", "image_id", "width", "height", "orientation", "frames", "status")  # of images.parquet
SHORTEST_KEY, SHORTEST_ID = 16, 4  # bytes; signs: a shorter id stands in a path by chance
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--root", required=True, type=Path, help="the dataset's folder")
    parser.add_argument("--images", required=True, nargs="+", type=Path, help="images.parquet, all shards")
    parser.add_argument("--like", type=Path, help="labels.parquet of the dataset whose splits are taken over")
    parser.add_argument("--out", required=True, type=Path, help="labels.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    label(args.root, args.images, args.like, args.out, LabelSettings.model_validate_json(args.settings))


def label(root: Path, images: list[Path], like: Path | None, out: Path, settings: LabelSettings) -> None:
    """Write the labels of a dataset to `out`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    check_root(root)
    inputs = {f"images{i}": artifacts.payload_digest(path) for i, path in enumerate(images)}
    for file in label_files(root, settings.layout, settings.table):
        if file.is_file():
            inputs[f"file:{os.path.relpath(file, root)}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    partners = partner_digests(root, settings)
    if partners:
        inputs["partners"] = hashlib.sha256(json.dumps(partners, sort_keys=True).encode()).hexdigest()
    if settings.ids is not None:
        inputs["ids"] = spelling.hashed("", read_key(settings.ids))  # tells keys apart, and nothing else
    if like is not None:
        inputs["like"] = artifacts.payload_digest(like)
    made_by = artifacts.provenance("label", settings.model_dump(mode="json"), inputs)
    if artifacts.recall(out, made_by):
        return
    indexed = pa.concat_tables([artifacts.read_table(path, READ, schema=IMAGES, checked=True) for path in images])
    paths: list[str] = indexed["path"].to_pylist()
    taken = None if like is None else _splits_of(like)
    problems = Problems(DataError, f"labels of {settings.dataset}")
    in_frames = has_frames(indexed["image_id"])
    files = file_paths(indexed["path"], indexed["image_id"]).to_pylist() if in_frames else paths
    names = partner_names(partners, settings.layout, settings.images, settings.frames is not None)
    labels = labelled(root, settings, sorted(dict.fromkeys(files)), names, taken, problems)
    labels = of_frames(labels, files, paths, problems)
    number, unlabelled = len(labels), len(paths) - len(set(labels.path))
    labels, at_N = _readable(labels, paths, pc.equal(indexed["status"], "ok").to_numpy())
    of_rows = indexed.take(pa.array(at_N))
    del indexed, paths
    dense: dict[str, list[Any]] = {}
    if has_partners(settings):
        known = {row["path"]: row for row in of_rows.to_pylist()}
        dense = dense_columns(root, labels, known, partners, settings, problems, set(files))
    del files
    problems.raise_if_any(do="correct the files or lines named; nothing was written")
    if not number:
        raise DataError(
            f"labels of {settings.dataset}: no image has a label",
            expected="a label for each image that is to be used",
            found="none",
            where=root,
            do="correct the label files, or say `labels: none`",
        )
    if dense or settings.labels == "none":  # what predicts maps and points needs the images' shapes
        dense |= {name: of_rows[name].to_pylist() for name in ("width", "height", "orientation")}
    columns = as_columns(labels)
    image_ids: list[str] = of_rows["image_id"].to_pylist()
    del of_rows
    subjects = subjects_of(labels, image_ids, settings)
    found = copied.pairs(copied.index_of(settings.dataset, images), None, "label", out)
    name = copied.names([(pair.file, pair.other_file) for pair in found])
    file_ids = list(map(file_id, image_ids)) if in_frames else image_ids
    copy_ids = [name.get(file, file) for file in file_ids] if name else file_ids
    split = draw_splits(labels, subjects, copy_ids, columns, taken, settings)
    said = agreements(*_graded_once(labels, subjects, image_ids), settings.columns)
    for one in said:
        kappa = "none" if one["kappa"] is None else f"{one['kappa']:.3f}"
        log.info("label: %s: %s agree with kappa %s", one["target"], one["graders"], kappa)
    table = _table(labels, subjects, split, image_ids, copy_ids, columns, dense, settings)
    extra = {"agreement": json.dumps(said)} if said else {}
    if name:
        have, shared = set(file_ids), set(copy_ids)
        beside = {file: one for file, one in sorted(name.items()) if one in shared and file not in have}
        extra |= {UNLABELLED: json.dumps(beside)} if beside else {}
    artifacts.write_table(out, table, made_by, schema=SCHEMA, extra=extra)
    count = Counter(split)
    log.info(
        "label: %d labelled (train %d, validation %d, test %d), %d without a label; %s",
        *(len(labels), count["train"], count["validation"], count["test"], unlabelled, out),
    )


def labelled(
    root: Path,
    settings: LabelSettings,
    listed: list[str],
    partners: list[str],
    taken: Mapping[str, str] | None,
    problems: Problems,
) -> LabelColumns:
    """Return the labelled images of a dataset as its files say it; `taken`: subject -> split of the leader's."""
    labels = read_labels(root, settings, listed, problems, partners)
    _read_paths(labels, settings, problems)
    contradictions(labels, settings.columns, problems)
    _spell_subjects(labels, taken, settings, problems)
    _name_test_subjects(labels, settings, problems)
    _check_groups(labels, settings, problems)
    return labels


def _splits_of(labels: Path) -> dict[str, str]:
    """Return subject -> split of a labels.parquet."""
    table = artifacts.read_table(labels, ("subject_id", "split"), schema=SCHEMA)
    return dict(zip(table["subject_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def of_frames(labels: LabelColumns, files: list[str], paths: list[str], problems: Problems) -> LabelColumns:
    """Return a row for each indexed frame of the file that a row labels; or for the one frame that it names.

    `paths` are those of the index, `files` the files that they stand in.
    """
    frames: dict[str, list[str]] = defaultdict(list)
    if files is not paths:
        for file, path in zip(files, paths, strict=True):
            if file != path:
                frames[file].append(path)
    whole = set(files)
    if not frames and whole.issuperset(labels.path):
        return labels
    rows, named, of_volume = list[int](), list[str](), set[int]()
    left_out = 0
    for row, path in enumerate(labels.path):
        file, frame = named_frame(path, whole)
        own = [path]
        if frame is None and file in frames:
            own = frames[file]
            of_volume.update(range(len(rows), len(rows) + len(own)))
        elif frame is not None and file not in frames:
            problems.add(
                f"{labels.where[row]}: {path} names a frame, and {file} is one image: say `frames` of the dataset"
            )
            own = []
        elif frame is not None and path not in frames[file]:
            left_out += 1
            own = []
        named += own
        rows += [row] * len(own)
    found = labels.take(rows)
    found.path = named
    found.beside |= {row: {**found.beside.get(row, {}), "of_volume": True} for row in sorted(of_volume)}
    if left_out:
        log.info("label: %d rows name frames that `frames` leaves out", left_out)
    if frames:
        times = Counter(zip(found.path, found.where, strict=True))
        for path, count in Counter(path for path, _ in times).items():
            if count > 1:
                where = " and ".join(sorted(at for one, at in times if one == path)[:2])
                problems.add(f"{where}: both label {path}: name a file, or its frames")
    return found


def _readable(
    labels: LabelColumns, paths: list[str], is_readable_M: npt.NDArray[np.bool_]
) -> tuple[LabelColumns, npt.NDArray[np.int64]]:
    """Return the labels of readable images, by path and interval, and where these stand in the index (of `paths`)."""
    place = {path: at for at, path in enumerate(paths)}
    at_N = np.fromiter((place.get(path, -1) for path in labels.path), np.int64, len(labels))
    rows: list[int] = np.flatnonzero((at_N >= 0) & is_readable_M[at_N]).tolist()
    days = labels.values.get(INTERVAL)
    if days is None:
        rows.sort(key=labels.path.__getitem__)
    else:
        rows.sort(key=lambda row: (labels.path[row], days[row] if isinstance(days[row], float) else 0.0))
    return (labels if rows == list(range(len(labels))) else labels.take(rows)), at_N[rows]


def _graded_once(labels: LabelColumns, subjects: list[str], image_ids: list[str]) -> tuple[LabelColumns, list[str]]:
    """Return what several have graded: a volume once, however many frames of it are images."""
    if not labels.grades:
        return LabelColumns(), []
    first: dict[tuple[str, str], int] = {}
    for row, (path, image_id) in enumerate(zip(labels.path, image_ids, strict=True)):
        first.setdefault((labels.where[row], file_path(path, image_id)), row)
    rows = list(first.values())
    return labels.take(rows), [subjects[row] for row in rows]


def _read_paths(labels: LabelColumns, settings: LabelSettings, problems: Problems) -> None:
    """Take subject, eye and visit from the file names where the config has a pattern for them."""
    if settings.path_pattern is None:
        return
    pattern = re.compile(settings.path_pattern)
    for row, path in enumerate(labels.path):
        found = pattern.search(path)
        if found is None:
            problems.add(f"{labels.where[row]}: path_pattern {settings.path_pattern!r} does not match {path}")
            continue
        parts = found.groupdict()
        labels.subject[row] = parts.get("subject") or labels.subject[row]
        labels.visit[row] = parts.get("visit") or labels.visit[row]
        if (eye := parts.get("eye")) is not None:
            labels.eye[row] = read_eye(eye)
            if labels.eye[row] is None:
                problems.add(f"{labels.where[row]}: path_pattern: expected an eye R or L, found {eye!r}")


def _spell_subjects(
    labels: LabelColumns, taken: Mapping[str, str] | None, settings: LabelSettings, problems: Problems
) -> None:
    """Write each subject as the config says; ids that then differ in their spelling alone are problems."""
    normalise = settings.columns.normalise
    key = None if settings.ids is None else read_key(settings.ids)
    if key is not None:
        _hide_no_path(labels, problems)
    written: dict[str | None, str | None] = {None: None}  # a person has many images
    for subject in labels.subject:
        if subject not in written:
            plain = spelling.written(subject or "", normalise)
            written[subject] = plain if key is None else spelling.hashed(plain, key)
    labels.subject = [written[subject] for subject in labels.subject]
    if normalise == "exact":
        return
    ids = dict.fromkeys(subject for subject in written.values() if subject is not None)
    known = set(ids)
    if taken is not None:  # ids that the leader's table spells otherwise would not find their splits
        prefix = f"{settings.cohort}/"
        ids |= dict.fromkeys(subject.removeprefix(prefix) for subject in taken)

    def where(subject: str) -> str:
        its = labels.where[labels.subject.index(subject)] if subject in known else None
        return its or f"the labels of {settings.split.like}"

    for first, *others in spelling.alike(ids):
        for other in others:
            problems.add(
                f"{where(other)}: subject {other!r} is {first!r} ({where(first)}) but for its spelling; "
                f"{spelling.advice(first, other, settings.columns.subject_column)}"
            )


def _hide_no_path(labels: LabelColumns, problems: Problems) -> None:
    """Note where the path of an image, which is never hashed, holds the id of its subject."""
    told = 0
    for row, (path, subject) in enumerate(zip(labels.path, labels.subject, strict=True)):
        plain = spelling.written(subject or "", None)
        partners: dict[str, str] = labels.beside.get(row, {}).get("partners", {})
        said = " ".join((path, *partners.values()))
        if len(plain) < SHORTEST_ID or (said.isascii() and (plain.lstrip("0") or plain).lower() not in said.lower()):
            continue  # as nearly all are, before a pattern is made
        told += _id_pattern(plain).search(said) is not None
    if told:  # without their paths: what is said stands in a log below results too
        problems.add(
            f"the paths of {told} images hold the ids of their subjects, which `ids` hashes: paths stand in results; "
            "give the files other names"
        )


def _id_pattern(plain: str) -> re.Pattern[str]:
    """Return what finds an id in a path: in any case, beside letters where it begins or ends with a digit (12345OD)."""
    left = r"(?<!\d)0*" if plain[:1].isdigit() else r"(?<![^\W\d_])"
    right = r"(?!\d)" if plain[-1:].isdigit() else r"(?![^\W\d_])"
    return re.compile(left + re.escape(plain.lstrip("0") or plain) + right, re.IGNORECASE)


def read_key(ids: Ids) -> bytes:
    """Return a site's key; DataError where there is none, or a short one."""
    path = Path(ids.hash)
    try:
        key = read_regular(path).strip()
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(path, error) from error
        key = b""
    if len(key) < SHORTEST_KEY:
        raise DataError(
            "the key that ids are hashed with cannot be used",
            expected=f"a file of {SHORTEST_KEY} bytes or more, relative to the working directory",
            found=f"{len(key)} bytes" if path.is_file() else "no file",
            where=path,
            do="make one by `openssl rand -hex 32 > site.key`; keep it, in secret: another key makes other ids",
        )
    return key


def _name_test_subjects(labels: LabelColumns, settings: LabelSettings, problems: Problems) -> None:
    """Put the subjects that the config names into the test split, all others into training."""
    named = {spelling.written(name, settings.columns.normalise) for name in settings.split.test_subjects}
    if not named:
        return
    if unknown := sorted(named.difference(subject for subject in labels.subject if subject is not None)):
        problems.add(f"split.test_subjects: no image is of {', '.join(unknown)}")
    labels.split = ["test" if subject in named else "train" for subject in labels.subject]


def _check_groups(labels: LabelColumns, settings: LabelSettings, problems: Problems) -> None:
    """Find columns of groups that tell no groups apart: measured values, free text, ids."""
    for name, group in settings.columns.group_columns.items():
        values = set(labels.groups.get(name, ())) - {None}
        if not group.cut and len(values) > MOST_GROUPS:
            problems.add(
                f"columns.groups.{name}: {group.column} has {len(values)} different values, more than {MOST_GROUPS}; "
                "numbers are cut into groups: `{column: age, cut: [50, 65]}`"
            )


def subjects_of(labels: LabelColumns, image_ids: Sequence[str], settings: LabelSettings) -> list[str]:
    """Return subject ids that are unique over datasets; without one, a file is a subject of its own."""
    cohort, dataset = settings.cohort or settings.dataset, settings.dataset
    full = {subject: f"{cohort}/{subject}" for subject in set(labels.subject)}
    return [
        f"{dataset}/{file_path(path, image_id)}" if subject is None else full[subject]
        for subject, path, image_id in zip(labels.subject, labels.path, image_ids, strict=True)
    ]


def draw_splits(
    labels: LabelColumns,
    subjects: list[str],
    copy_ids: list[str],
    columns: dict[str, list[Value]],
    taken: Mapping[str, str] | None,
    settings: LabelSettings,
) -> list[str]:
    """Return each row's split: as its files say, as the leader's (`taken`), or drawn; copies stay together."""
    rule = settings.split
    if rule.stratify is not None and rule.stratify not in columns:
        raise DataError(
            f"split of {settings.dataset}: cannot stratify by {rule.stratify!r}",
            expected=f"one of its labels: {', '.join(columns) or 'none'}",
            do="correct split.stratify",
        )
    strata: Sequence[Hashable] = columns[rule.stratify] if rule.stratify else [None] * len(labels)
    given = labels.split
    if taken is not None:
        given = [taken.get(subject, split) for subject, split in zip(subjects, given, strict=True)]
    if settings.labels == "none":
        return [split or "test" for split in given]
    undivided = list(zip(_undivided(labels, subjects, rule.by), copy_ids, strict=True))
    drawn = splits.draw(
        undivided,
        given,
        strata,
        validation=rule.validation,
        test=rule.test,
        seed=rule.seed,
    )
    if "train" in drawn and "validation" not in drawn:
        raise DataError(
            f"split of {settings.dataset}: no group is left for validation",
            expected="at least two groups of training images in some stratum",
            found=f"{len(set(splits.connected(undivided)))} groups (identical images and copies are one)",
            do="give more images, a coarser split.stratify, or a split column",
        )
    return drawn


def _undivided(labels: LabelColumns, subjects: list[str], by: str) -> list[str]:
    """Return what of each image may not be divided between splits, beside copies."""
    if by == "subject":
        return subjects
    return [
        f"{subject}/{eye}" if by == "eye" and eye is not None else f"{subject}/{path}"
        for subject, eye, path in zip(subjects, labels.eye, labels.path, strict=True)
    ]


def _table(
    labels: LabelColumns,
    subjects: list[str],
    split: list[str],
    image_ids: list[str],
    copy_ids: list[str],
    columns: dict[str, list[Value]],
    dense: dict[str, list[Any]],
    settings: LabelSettings,
) -> Any:
    import pyarrow as pa

    fixed: dict[str, Sequence[str | None]] = {
        "path": labels.path,
        "image_id": image_ids,
        "copy_id": copy_ids,
        "subject_id": subjects,
        "group_id": splits.people(subjects, copy_ids),
        "eye": labels.eye,
        "visit": labels.visit,
        "split": split,
    }
    arrays = {name: pa.array(values, pa.string()) for name, values in fixed.items()}
    for name, values in columns.items():
        text = any(isinstance(value, str) for value in values)
        arrays[name] = pa.array(values, pa.string() if text else pa.float64())
    points = point_names(settings)
    for name, of_images in dense.items():
        arrays[name] = pa.array(of_images, column_type(name, points))
    for name, group in settings.columns.group_columns.items():
        told_apart = labels.groups.get(name, [None] * len(labels))
        arrays[f"{GROUP}{name}"] = pa.array(told_apart, pa.float64() if group.cut else pa.string())
    return pa.table(arrays)
