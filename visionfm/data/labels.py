"""Stage `label`: joins a dataset's labels to its images and gives each image its subject and split: `labels.parquet`.

A row per labelled image (layout `forecasting`: one per image and interval), sorted by path; null means unknown. Splits
given by the data are kept; validation is always drawn by subject from training unless the data give it.
"""

import argparse
import functools
import hashlib
import json
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.data import copied, spelling, splits
from visionfm.data.block import GROUP, Ids
from visionfm.data.columns import column_type
from visionfm.data.graders import agreements
from visionfm.data.headers import contradictions
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.data.label_rows import as_columns, read_labels
from visionfm.data.layouts.columns import GroupColumn
from visionfm.data.layouts.folders import check_root
from visionfm.data.layouts.outcomes import INTERVAL
from visionfm.data.layouts.rows import LabelRow, Value
from visionfm.data.listing import label_files, partner_names
from visionfm.data.partners import dense_columns, has_partners, partner_digests, point_names
from visionfm.data.settings import LabelSettings
from visionfm.data.tables.cells import read_eye
from visionfm.errors import DataError, Problems, cannot_read_now, is_passing
from visionfm.images.identity import file_id, file_path, file_paths, named_frame
from visionfm.images.regular import read_regular

SCHEMA = "visionfm/labels/1"
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
    indexed = pa.concat_tables([artifacts.read_table(path, READ, schema=IMAGES) for path in images])
    listed = {path: at for at, path in enumerate(indexed["path"].to_pylist())}
    is_readable = pc.equal(indexed["status"], "ok").to_pylist()
    taken = None if like is None else _splits_of(like)
    problems = Problems(DataError, f"labels of {settings.dataset}")
    files = file_paths(indexed["path"], indexed["image_id"]).to_pylist()
    names = partner_names(partners, settings.layout, settings.images, settings.frames is not None)
    rows = labelled(root, settings, sorted(set(files)), names, taken, problems)
    rows = of_frames(rows, files, list(listed), problems)
    readable = sorted((row for row in rows if row.path in listed and is_readable[listed[row.path]]), key=_order)
    dense: dict[str, list[Any]] = {}
    if has_partners(settings):
        known = {row["path"]: row for row in indexed.to_pylist()}
        dense = dense_columns(root, readable, known, partners, settings, problems)
    problems.raise_if_any(do="correct the files or lines named; nothing was written")
    if not rows:
        raise DataError(
            f"labels of {settings.dataset}: no image has a label",
            expected="a label for each image that is to be used",
            found="none",
            where=root,
            do="correct the label files, or say `labels: none`",
        )
    unlabelled = len(listed) - len({row.path for row in rows})
    rows = readable
    of_rows = indexed.take(pa.array([listed[row.path] for row in rows], pa.int64()))
    if dense or settings.labels == "none":  # what predicts maps and points needs the images' shapes
        dense |= {name: of_rows[name].to_pylist() for name in ("width", "height", "orientation")}
    columns = as_columns(rows)
    image_ids = of_rows["image_id"].to_pylist()
    subjects = [subject_of(row, image_id, settings) for row, image_id in zip(rows, image_ids, strict=True)]
    found = copied.pairs(copied.index_of(settings.dataset, images), None, "label", out)
    name = copied.names([(pair.file, pair.other_file) for pair in found])
    copy_ids = [name.get(file, file) for file in map(file_id, image_ids)]
    split = draw_splits(rows, subjects, copy_ids, columns, taken, settings)
    groups, points = settings.columns.group_columns, point_names(settings)
    table = _table(rows, subjects, split, image_ids, copy_ids, columns, dense, points, groups)
    said = agreements(*_graded_once(rows, subjects, image_ids), settings.columns)
    for one in said:
        kappa = "none" if one["kappa"] is None else f"{one['kappa']:.3f}"
        log.info("label: %s: %s agree with kappa %s", one["target"], one["graders"], kappa)
    extra = {"agreement": json.dumps(said)} if said else {}
    artifacts.write_table(out, table, made_by, schema=SCHEMA, extra=extra)
    count = Counter(split)
    log.info(
        "label: %d labelled (train %d, validation %d, test %d), %d without a label; %s",
        *(len(rows), count["train"], count["validation"], count["test"], unlabelled, out),
    )


def labelled(
    root: Path,
    settings: LabelSettings,
    listed: list[str],
    partners: list[str],
    taken: Mapping[str, str] | None,
    problems: Problems,
) -> list[LabelRow]:
    """Return the labelled images of a dataset as its files say it; `taken`: subject -> split of the leader's."""
    rows = read_labels(root, settings, listed, problems, partners)
    _read_paths(rows, settings, problems)
    contradictions(rows, settings.columns, problems)
    _spell_subjects(rows, taken, settings, problems)
    _name_test_subjects(rows, settings, problems)
    _check_groups(rows, settings, problems)
    return rows


def _splits_of(labels: Path) -> dict[str, str]:
    """Return subject -> split of a labels.parquet."""
    return {row["subject_id"]: row["split"] for row in artifacts.read_table(labels, schema=SCHEMA).to_pylist()}


def of_frames(rows: list[LabelRow], files: list[str], paths: list[str], problems: Problems) -> list[LabelRow]:
    """Return a row for each indexed frame of the file that a row labels; or for the one frame that it names.

    `paths` are those of the index, `files` the files that they stand in.
    """
    frames: dict[str, list[str]] = defaultdict(list)
    for file, path in zip(files, paths, strict=True):
        if file != path:
            frames[file].append(path)
    whole = set(files)
    found: list[LabelRow] = []
    left_out = 0
    for row in rows:
        file, frame = named_frame(row.path, whole)
        if frame is None:
            found += [replace(row, path=path, of_volume=True) for path in frames[file]] if file in frames else [row]
        elif file not in frames:
            problems.add(f"{row.where}: {row.path} names a frame, and {file} is one image: say `frames` of the dataset")
        elif row.path in frames[file]:
            found.append(row)
        else:
            left_out += 1
    if left_out:
        log.info("label: %d rows name frames that `frames` leaves out", left_out)
    if frames:
        times = Counter((row.path, row.where) for row in found)
        for path, count in Counter(path for path, _ in times).items():
            if count > 1:
                where = " and ".join(sorted(at for one, at in times if one == path)[:2])
                problems.add(f"{where}: both label {path}: name a file, or its frames")
    return found


def _graded_once(rows: list[LabelRow], subjects: list[str], image_ids: list[str]) -> tuple[list[LabelRow], list[str]]:
    """Return what was graded: a volume once, however many frames of it are images."""
    first: dict[tuple[str, str], int] = {}
    for at, (row, image_id) in enumerate(zip(rows, image_ids, strict=True)):
        first.setdefault((row.where, file_path(row.path, image_id)), at)
    return [rows[at] for at in first.values()], [subjects[at] for at in first.values()]


def _order(row: LabelRow) -> tuple[str, float]:
    """Return what orders rows: the path, and where an image has several intervals these."""
    interval = row.values.get(INTERVAL)
    return row.path, interval if isinstance(interval, float) else 0.0


def _read_paths(rows: list[LabelRow], settings: LabelSettings, problems: Problems) -> None:
    """Take subject, eye and visit from the file names where the config has a pattern for them."""
    if settings.path_pattern is None:
        return
    pattern = re.compile(settings.path_pattern)
    for row in rows:
        found = pattern.search(row.path)
        if found is None:
            problems.add(f"{row.where}: path_pattern {settings.path_pattern!r} does not match {row.path}")
            continue
        parts = found.groupdict()
        row.subject = parts.get("subject") or row.subject
        row.visit = parts.get("visit") or row.visit
        if (eye := parts.get("eye")) is not None:
            row.eye = read_eye(eye)
            if row.eye is None:
                problems.add(f"{row.where}: path_pattern: expected an eye R or L, found {eye!r}")


def _spell_subjects(
    rows: list[LabelRow], taken: Mapping[str, str] | None, settings: LabelSettings, problems: Problems
) -> None:
    """Write each subject as the config says; ids that then differ in their spelling alone are problems."""
    normalise = settings.columns.normalise
    where: dict[str, str] = {}
    key = None if settings.ids is None else read_key(settings.ids)
    if key is not None:
        _hide_no_path(rows, problems)

    @functools.cache  # a person has many images
    def written(subject: str) -> str:
        plain = spelling.written(subject, normalise)
        return plain if key is None else spelling.hashed(plain, key)

    for row in rows:
        if row.subject is not None:
            row.subject = written(row.subject)
            where.setdefault(row.subject, row.where)
    if normalise == "exact":
        return
    if taken is not None:  # ids that the leader's table spells otherwise would not find their splits
        prefix = f"{settings.cohort}/"
        for subject in taken:
            where.setdefault(subject.removeprefix(prefix), f"the labels of {settings.split.like}")
    for first, *others in spelling.alike(where):
        for other in others:
            problems.add(
                f"{where[other]}: subject {other!r} is {first!r} ({where[first]}) but for its spelling; "
                f"{spelling.advice(first, other, settings.columns.subject_column)}"
            )


def _hide_no_path(rows: list[LabelRow], problems: Problems) -> None:
    """Note where the path of an image, which is never hashed, holds the id of its subject."""
    told = 0
    for row in rows:
        plain = spelling.written(row.subject or "", None)
        said = " ".join((row.path, *row.partners.values()))
        told += len(plain) >= SHORTEST_ID and _id_pattern(plain).search(said) is not None
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


def _name_test_subjects(rows: list[LabelRow], settings: LabelSettings, problems: Problems) -> None:
    """Put the subjects that the config names into the test split, all others into training."""
    named = {spelling.written(name, settings.columns.normalise) for name in settings.split.test_subjects}
    if not named:
        return
    if unknown := sorted(named - {row.subject for row in rows}):
        problems.add(f"split.test_subjects: no image is of {', '.join(unknown)}")
    for row in rows:
        row.split = "test" if row.subject in named else "train"


def _check_groups(rows: list[LabelRow], settings: LabelSettings, problems: Problems) -> None:
    """Find columns of groups that tell no groups apart: measured values, free text, ids."""
    for name, group in settings.columns.group_columns.items():
        values = {row.groups.get(name) for row in rows} - {None}
        if not group.cut and len(values) > MOST_GROUPS:
            problems.add(
                f"columns.groups.{name}: {group.column} has {len(values)} different values, more than {MOST_GROUPS}; "
                "numbers are cut into groups: `{column: age, cut: [50, 65]}`"
            )


def subject_of(row: LabelRow, image_id: str, settings: LabelSettings) -> str:
    """Return a subject id that is unique over datasets; without one, a file is a subject of its own."""
    if row.subject is None:
        return f"{settings.dataset}/{file_path(row.path, image_id)}"
    return f"{settings.cohort or settings.dataset}/{row.subject}"


def draw_splits(
    rows: list[LabelRow],
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
    strata: list[Hashable] = list(columns[rule.stratify]) if rule.stratify else [None] * len(rows)
    keys = [_undivided(row, subject, rule.by) for row, subject in zip(rows, subjects, strict=True)]
    given = [row.split for row in rows]
    if taken is not None:
        given = [taken.get(subject, split) for subject, split in zip(subjects, given, strict=True)]
    if settings.labels == "none":
        return [split or "test" for split in given]
    undivided = [[key, copy_id] for key, copy_id in zip(keys, copy_ids, strict=True)]
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


def _undivided(row: LabelRow, subject: str, by: str) -> str:
    if by == "subject":
        return subject
    return f"{subject}/{row.eye}" if by == "eye" and row.eye is not None else f"{subject}/{row.path}"


def _table(
    rows: list[LabelRow],
    subjects: list[str],
    split: list[str],
    image_ids: list[str],
    copy_ids: list[str],
    columns: dict[str, list[Value]],
    dense: dict[str, list[Any]],
    points: list[str],
    groups: Mapping[str, GroupColumn],
) -> Any:
    import pyarrow as pa

    fixed: dict[str, list[str | None]] = {
        "path": [row.path for row in rows],
        "image_id": list(image_ids),
        "copy_id": list(copy_ids),
        "subject_id": list(subjects),
        "group_id": list(splits.people(subjects, copy_ids)),
        "eye": [row.eye for row in rows],
        "visit": [row.visit for row in rows],
        "split": list(split),
    }
    arrays = {name: pa.array(values, pa.string()) for name, values in fixed.items()}
    for name, values in columns.items():
        text = any(isinstance(value, str) for value in values)
        arrays[name] = pa.array(values, pa.string() if text else pa.float64())
    for name, values in dense.items():
        arrays[name] = pa.array(values, column_type(name, points))
    for name, group in groups.items():
        values = [row.groups.get(name) for row in rows]
        arrays[f"{GROUP}{name}"] = pa.array(values, pa.float64() if group.cut else pa.string())
    return pa.table(arrays)
