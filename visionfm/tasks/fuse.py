"""Stage `fuse`: joins a task's labelled images into samples: pointers into the feature caches, never copies.

Writes `samples.parquet` (all) and `train.parquet` (training and validation rows only, so that nothing of the test
split can reach training). A sample is an image (`pooled`), or an eye, visit or subject with its images of all
modalities; or a volume, the frames of one file. Of a task with folds, the samples as one of its folds divides them.
"""

import argparse
import functools
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.data import splits, visits
from visionfm.data.audit import SCHEMA as AUDIT
from visionfm.data.block import LABEL_COLUMNS
from visionfm.data.copied import names
from visionfm.data.labels import SCHEMA as LABELS
from visionfm.data.layouts.outcomes import INTERVAL
from visionfm.errors import DataError, Problems
from visionfm.images.identity import file_path
from visionfm.tasks import kind_of
from visionfm.tasks.folding import folded, where
from visionfm.tasks.labels import Visits, absent_classes, encode, encode_columns, joined, side_by_side
from visionfm.tasks.maps.samples import check_dense, dense_fields, dense_samples
from visionfm.tasks.progression import samples as progression
from visionfm.tasks.settings import FuseSettings, TargetSpec

SCHEMA = "visionfm/samples/1"
SPLITS = ("train", "validation", "test")
IMAGE_FIELDS = ["modality", "dataset", "path", "image_id"]
Row = dict[str, Any]
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--labels", required=True, nargs="+", help="DATASET=labels.parquet")
    parser.add_argument("--audit", required=True, type=Path, help="audit.parquet of the task")
    parser.add_argument("--out", required=True, type=Path, help="samples.parquet")
    parser.add_argument("--train-out", required=True, type=Path, help="train.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    fuse(by_dataset(args.labels), args.audit, args.out, args.train_out, FuseSettings.model_validate_json(args.settings))


def fuse(labels: dict[str, list[Path]], audit: Path, out: Path, train_out: Path, settings: FuseSettings) -> None:
    """Write all samples to `out` and those of training and validation to `train_out`."""
    import pyarrow.compute as pc

    check_given("--labels", settings.datasets, labels)
    inputs = {f"labels/{name}": artifacts.payload_digest(paths[0]) for name, paths in labels.items()}
    inputs["audit"] = artifacts.payload_digest(audit)
    # The kind itself is no part of the key: what of it matters to samples stands in the other settings.
    left_out = {"kind"} | ({"fold"} if settings.fold is None else set())
    made_by = artifacts.provenance("fuse", settings.model_dump(mode="json", exclude=left_out), inputs)
    if artifacts.recall(out, made_by) and artifacts.recall(train_out, made_by):
        return
    copies = _copies_of(audit)
    samples = _of_masks(labels, settings, copies) if _is_dense(settings) else _of_vectors(labels, settings, copies)
    extra = {
        "targets": json.dumps(
            {name: target.model_dump(include=set(TargetSpec.model_fields)) for name, target in settings.targets.items()}
        ),
        "modalities": json.dumps(settings.modalities),
        "fusion": settings.fusion,
        "unit": settings.unit,
    }
    artifacts.write_table(out, samples, made_by, schema=SCHEMA, extra=extra)
    training = samples.filter(pc.not_equal(samples["split"], "test"))
    if progression.VISITS_WITH_OUTCOME in training.column_names:
        # So that an outcome of a later visit trains nothing anew.
        training = training.drop_columns(progression.VISITS_WITH_OUTCOME)
    artifacts.write_table(train_out, training, made_by, schema=SCHEMA, extra=extra)
    count = _counted(samples)
    log.info(
        "fuse%s: %d samples (train %d, validation %d, test %d); %s",
        *(where(settings), samples.num_rows, count["train"], count["validation"], count["test"], out),
    )


def _counted(samples: Any) -> Counter[str]:
    """Return the number of samples of each split, in order of their first."""
    return Counter({one["values"]: one["counts"] for one in samples["split"].value_counts().to_pylist()})


def _is_dense(settings: FuseSettings) -> bool:
    return kind_of(settings.kind).family == "maps"


def _copies_of(audit: Path) -> list[tuple[str, str]]:
    """Return the copies across datasets that an audit found, as DATASET/PATH of either."""
    columns = ("check", "dataset", "path", "other_dataset", "other_path")
    rows = artifacts.read_table(audit, columns, schema=AUDIT).to_pylist()
    return [
        (f"{row['dataset']}/{row['path']}", f"{row['other_dataset']}/{row['other_path']}")
        for row in rows
        if row["check"] == "copy"
    ]


def _of_masks(labels: dict[str, list[Path]], settings: FuseSettings, copies: list[tuple[str, str]]) -> Any:
    """Return the samples of a dense task as a table."""
    rows = dense_samples(labels, settings)
    subjects, groups = ([row[name] for row in rows] for name in ("subject_id", "group_id"))
    copy_ids = _copy_ids([row["sample_id"] for row in rows], [row["copy_id"] for row in rows], copies)
    samples = _count_people(_table(rows, settings), subjects, groups, copy_ids)
    samples = folded(samples, settings)
    check_dense(samples, settings)
    return samples


def _copy_ids(places: list[str], copy_ids: list[str], copies: list[tuple[str, str]]) -> list[str]:
    """Return what copies share, over all datasets of the task; `places` are DATASET/PATH of the images."""
    of_place = dict(zip(places, copy_ids, strict=True))
    joined = [(of_place[one], of_place[other]) for one, other in copies if one in of_place and other in of_place]
    name = names(joined)
    return [name.get(one, one) for one in copy_ids]


def _of_vectors(labels: dict[str, list[Path]], settings: FuseSettings, copies: list[tuple[str, str]]) -> Any:
    """Return the samples of a task on feature vectors as a table."""
    import pyarrow as pa

    problems = Problems(DataError, "samples of the task")
    images = pa.concat_tables([_labelled(name, labels[name][0], settings, problems) for name in settings.datasets])
    problems.raise_if_any(do="correct these labels, or the target's `classes` and `unknown`")
    if settings.progression is None and settings.unit == "image":
        samples = images.select(_schema(settings).names).cast(_schema(settings)).sort_by("sample_id")
    else:
        samples = _table(sorted(_joined(_rows(images, settings), settings), key=_name), settings)
    subjects, groups = (images[name].to_pylist() for name in ("subject_id", "group_id"))
    copy_ids = _copy_ids(images["sample_id"].to_pylist(), images["copy_id"].to_pylist(), copies)
    samples = folded(_count_people(samples, subjects, groups, copy_ids), settings)
    _check(samples, settings)
    return samples


def _name(sample: Row) -> str:
    return str(sample["sample_id"])


def _joined(rows: list[Row], settings: FuseSettings) -> list[Row]:
    """Return the samples that are made of several images, or of one of several outcomes."""
    if settings.progression is None:
        return _units(rows, settings)
    if settings.unit == "image":
        return progression.of_images(rows, settings)
    return progression.of_eyes(rows, settings, _in_time)


def _count_people(samples: Any, subjects: list[str], groups: list[str], copy_ids: list[str]) -> Any:
    """Make one subject of those who share an equal file or a copy, so that a copy is never counted as a further person.

    Units are joined by the subject that the data name, and keep it in their names; `subject_id` of a sample is whom
    statistics count. The lists are of the images of the task, of all its datasets.
    """
    import pyarrow as pa

    person = dict(zip(subjects, splits.people(groups, copy_ids), strict=True))
    counted = pa.array([person[subject] for subject in samples["subject_id"].to_pylist()], pa.string())
    return samples.set_column(samples.column_names.index("subject_id"), "subject_id", counted)


def _log_common(rows: list[Row]) -> None:
    """Say of each two datasets how many people they share."""
    people: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        people[row["dataset"]].add(row["subject_id"])
    for one, other in combinations(sorted(people), 2):
        common, everyone = len(people[one] & people[other]), len(people[one] | people[other])
        log.info("fuse: %d of %d people are in both %s and %s", common, everyone, one, other)


def _labelled(dataset: str, path: Path, settings: FuseSettings, problems: Problems) -> Any:
    """Return a dataset's labelled images with encoded targets; those that know no target of the task are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = [column for target in settings.targets.values() for column in target.columns()]
    names = tuple(dict.fromkeys([*LABEL_COLUMNS, INTERVAL, *wanted]))
    table = artifacts.read_table(path, names, schema=LABELS).combine_chunks()
    said, unlabelled = Problems(DataError, dataset), not set(wanted) & set(table.column_names)
    parts = {name: encode_columns(target, table, said) for name, target in settings.targets.items()}
    for row in table.to_pylist() if len(said) else ():
        for target in settings.targets.values():
            encode(target, row, f"{dataset}/{row['path']}", problems)
    rows = table.num_rows
    same = {
        name: pa.repeat(text, rows) for name, text in (("dataset", dataset), ("modality", settings.datasets[dataset]))
    }
    image = {**same, **{name: _array(table[name]) for name in ("path", "image_id")}}
    fields = [image[name] for name in IMAGE_FIELDS]
    of_one = pa.ListArray.from_arrays(
        pa.array(range(rows + 1), pa.int32()), pa.StructArray.from_arrays(fields, IMAGE_FIELDS)
    )
    columns = {
        "sample_id": pc.binary_join_element_wise(dataset, table["path"], "/"),
        **{name: table[name] for name in ("subject_id", "group_id", "copy_id", "eye", "visit")},
        "dataset": same["dataset"],
        "split": _split(dataset, table, settings, unlabelled),
        "images": of_one,
        INTERVAL: table[INTERVAL] if INTERVAL in table.column_names else pa.nulls(rows, pa.float64()),
    }
    for name, target in settings.targets.items():
        columns[name] = side_by_side(parts[name]) if target.type == "multilabel" else parts[name][0]
    images = pa.table(columns)
    history = settings.progression is not None and settings.unit == "eye"
    if unlabelled or history:
        return images
    return images.filter(
        functools.reduce(pc.or_, (part.is_valid() for of_target in parts.values() for part in of_target))
    )


def _split(dataset: str, table: Any, settings: FuseSettings, unlabelled: bool) -> Any:
    """Return the split of each image; what is divided into folds is train until then, whatever its dataset says."""
    import pyarrow as pa

    if dataset in settings.external:
        return pa.repeat("test", table.num_rows)
    # Images without labels that join those of an eye go with its person.
    own = settings.fold is None or (unlabelled and settings.unit == "image")
    return table["split"] if own else pa.repeat("train", table.num_rows)


def _array(column: Any) -> Any:
    """Return a column of a table without chunks as an array."""
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _rows(images: Any, settings: FuseSettings) -> list[Row]:
    """Return the labelled images as objects, their targets among `values`."""
    rows: list[Row] = images.to_pylist()
    for row in rows:
        row["values"] = {name: row.pop(name) for name in settings.targets}
        (image,) = row["images"]
        row["file"] = file_path(image["path"], image["image_id"])
    return rows


# --- units of several images ----------------------------------------------------------------------------------------


def _units(rows: list[Row], settings: FuseSettings) -> list[Row]:
    keys = {
        "volume": ("dataset", "file"),
        "eye": ("subject_id", "eye"),
        "visit": ("subject_id", "visit"),
        "subject": ("subject_id",),
    }[settings.unit]
    problems = Problems(DataError, f"units ({settings.unit}) of the task")
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if missing := [key for key in keys if row[key] is None]:
            problems.add(f"{row['sample_id']}: {', '.join(missing)} is unknown")
        else:
            groups[tuple(row[key] for key in keys)].append(row)
    problems.raise_if_any(
        do=f"give {settings.unit} for these images (columns or path_pattern), or choose another `unit`"
    )
    _log_common(rows)
    samples = []
    for key, members in sorted(groups.items()):
        for suffix, cluster in _within_days(members, settings.max_days, problems):
            samples.append(_join("/".join(key) + suffix, cluster, settings, problems))
    problems.raise_if_any(do="give the target an `aggregate`, or correct the labels or splits")
    if len(settings.modalities) > 1 and all(len({i["modality"] for i in s["images"]}) < 2 for s in samples):
        raise DataError(
            "no sample has images of two modalities",
            expected=f"{settings.unit}s seen in several of {', '.join(settings.modalities)}",
            found=f"{len(samples)} samples of one modality each",
            do="give the datasets of the same people the same `cohort`, and their subjects the same ids",
        )
    return samples


def _within_days(members: list[Row], max_days: int | None, problems: Problems) -> list[tuple[str, list[Row]]]:
    """Cut a unit into clusters whose images lie within `max_days` of the cluster's first."""
    if max_days is None:
        return [("", members)]
    dated: list[tuple[float, Row]] = []
    for row in members:
        try:
            dated.append((visits.day(row["visit"]), row))
        except ValueError:
            problems.add(
                f"{row['sample_id']}: visit: expected a date YYYY-MM-DD or a number of days for max_days,"
                f" found {row['visit']!r}"
            )
    clusters: list[tuple[str, list[Row]]] = []
    first_day = float("-inf")
    for day, row in sorted(dated, key=lambda pair: (pair[0], pair[1]["sample_id"])):
        if not clusters or day - first_day > max_days:
            first_day = day
            clusters.append((f"/{row['visit']}", []))
        clusters[-1][1].append(row)
    return clusters


def _in_time(row: Row) -> tuple[float, str, str]:
    """Return what orders images by visit: by day where it is one, else by its text; unknown visits come first."""
    try:
        return visits.day(row["visit"]), "", row["sample_id"]
    except ValueError:
        return float("-inf"), row["visit"] or "", row["sample_id"]


def _join(sample_id: str, members: list[Row], settings: FuseSettings, problems: Problems) -> Row:
    first = members[0]
    splits = sorted({row["split"] for row in members})
    if len(splits) > 1:
        problems.add(f"{sample_id}: its images stand in {' and '.join(splits)}; split by {settings.unit} or subject")
    images = [image for row in members for image in row["images"]]
    images.sort(key=lambda image: (settings.modalities.index(image["modality"]), image["dataset"], image["path"]))
    natural = all(row["dataset"] in settings.natural_visits for row in members)
    seen = Visits([row["visit"] for row in members], natural)
    values = {
        name: joined(target, [row["values"][name] for row in members], seen, f"{sample_id}: {name}", problems)
        for name, target in settings.targets.items()
    }

    def common(name: str) -> str | None:
        found = {row[name] for row in members}
        return found.pop() if len(found) == 1 else None

    cohort = first["subject_id"].split("/")[0]  # fused samples span datasets: they are told apart by cohort
    return {
        "sample_id": sample_id,
        "subject_id": first["subject_id"],
        "eye": common("eye"),
        "visit": common("visit"),
        "dataset": cohort,
        "split": splits[0],
        "images": images,
        **values,
    }


# --- checks and output ----------------------------------------------------------------------------------------------


def _check(samples: Any, settings: FuseSettings) -> None:
    """Raise where nothing can be learned; say where something cannot be measured."""
    import pyarrow.compute as pc

    problems = Problems(DataError, f"the task cannot be trained{where(settings)}")
    count = _counted(samples)
    for split in ("train", "validation"):
        if not count[split] and settings.trains:
            problems.add(f"no {split} samples with a known target; {dict(count) or 'no samples at all'}")
    for name in settings.targets if settings.progression is not None else ():
        for problem in progression.check_events(samples.select(["split", name]).to_pylist(), name):
            problems.add(problem)
    of_splits = {split: samples.filter(pc.equal(samples["split"], split)) for split in SPLITS if count[split]}
    for name, target in settings.targets.items():
        for split, of_split in of_splits.items():
            values = of_split[name] if target.type == "multilabel" else pc.unique(of_split[name])
            for absent in absent_classes(target, values.to_pylist()):
                survival = settings.progression in ("hazard", "cox")
                if survival and split != "test":
                    continue  # events everywhere are an answer; where there are none was said
                if split == "train" and settings.trains:
                    problems.add(f"{name}: {absent} in the training split")
                else:
                    log.warning("fuse: %s: %s in the %s split; its metrics there have no value", name, absent, split)
    do = "splits (stratify spreads rare classes)" if settings.fold is None else "give fewer `folds`"
    problems.raise_if_any(do=f"correct labels, `classes` or {do}")


def _schema(settings: FuseSettings) -> Any:
    import pyarrow as pa

    text = pa.string()
    fields = [(name, text) for name in ("sample_id", "subject_id", "eye", "visit", "dataset", "split")]
    fields.append(("images", pa.list_(pa.struct([(name, text) for name in IMAGE_FIELDS]))))
    if _is_dense(settings):
        fields += dense_fields(settings)
    for name, target in settings.targets.items() if not _is_dense(settings) else ():
        fields.append((name, pa.list_(pa.float64()) if target.type == "multilabel" else pa.float64()))
    if settings.progression is not None:
        fields.append((INTERVAL, pa.float64()))
        if settings.unit == "eye":
            fields += [("days_before", pa.list_(pa.float64())), (progression.VISITS_WITH_OUTCOME, pa.int64())]
    return pa.schema(fields)


def _table(samples: Sequence[Row], settings: FuseSettings) -> Any:
    import pyarrow as pa

    schema = _schema(settings)
    return pa.Table.from_pylist([{name: sample[name] for name in schema.names} for sample in samples], schema=schema)
