"""Stage `fuse`: joins a task's labelled images into samples: pointers into the feature caches, never copies.

Writes `samples.parquet` (all) and `train.parquet` (training and validation rows only, so that nothing of the test
split can reach training). A sample is an image (`pooled`), or an eye, visit or subject with its images of all
modalities.
"""

import argparse
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.data import splits, visits
from visionfm.errors import DataError, Problems, UsageError
from visionfm.tasks import kind_of
from visionfm.tasks.labels import Visits, absent_classes, encode, joined
from visionfm.tasks.maps.samples import dense_fields, dense_samples
from visionfm.tasks.progression import samples as progression
from visionfm.tasks.settings import FuseSettings, TargetSpec

SCHEMA = "visionfm/samples/1"
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
    if missing := sorted(set(settings.datasets) - set(labels)):
        raise UsageError("--labels lacks datasets of the task", expected="DATASET=FILE", found=", ".join(missing))
    inputs = {f"labels/{name}": artifacts.payload_digest(paths[0]) for name, paths in labels.items()}
    inputs["audit"] = artifacts.payload_digest(audit)
    # The kind itself is no part of the key: what of it matters to samples stands in the other settings.
    made_by = artifacts.provenance("fuse", settings.model_dump(mode="json", exclude={"kind"}), inputs)
    if artifacts.recall(out, made_by) and artifacts.recall(train_out, made_by):
        return
    if _is_dense(settings):
        samples = dense_samples(labels, settings)
        _count_people(samples, samples)
    else:
        samples = _samples(labels, settings)
    extra = {
        "targets": json.dumps(
            {name: target.model_dump(include=set(TargetSpec.model_fields)) for name, target in settings.targets.items()}
        ),
        "modalities": json.dumps(settings.modalities),
        "fusion": settings.fusion,
        "unit": settings.unit,
    }
    for path, wanted in ((out, ("train", "validation", "test")), (train_out, ("train", "validation"))):
        table = _table([sample for sample in samples if sample["split"] in wanted], settings)
        if path == train_out and progression.VISITS_WITH_OUTCOME in table.column_names:
            # So that an outcome of a later visit trains nothing anew.
            table = table.drop_columns(progression.VISITS_WITH_OUTCOME)
        artifacts.write_table(path, table, made_by, schema=SCHEMA, extra=extra)
    count = Counter(sample["split"] for sample in samples)
    log.info(
        "fuse: %d samples (train %d, validation %d, test %d); %s",
        *(len(samples), count["train"], count["validation"], count["test"], out),
    )


def _is_dense(settings: FuseSettings) -> bool:
    return kind_of(settings.kind).family == "maps"


def _samples(labels: dict[str, list[Path]], settings: FuseSettings) -> list[Row]:
    problems = Problems(DataError, "samples of the task")
    rows = [row for name in settings.datasets for row in _rows(name, labels[name][0], settings, problems)]
    problems.raise_if_any(do="correct these labels, or the target's `classes` and `unknown`")
    if settings.progression is not None:
        images = settings.unit == "image"
        samples = progression.of_images(rows, settings) if images else progression.of_eyes(rows, settings, _in_time)
    else:
        samples = _pooled(rows) if settings.unit == "image" else _units(rows, settings)
    samples.sort(key=lambda sample: str(sample["sample_id"]))
    _count_people(samples, rows)
    _check(samples, settings)
    return samples


def _count_people(samples: list[Row], rows: list[Row]) -> None:
    """Make one subject of those who share an equal file, so that a copy is never counted as a further person.

    Units are joined by the subject that the data name, and keep it in their names; `subject_id` of a sample is whom
    statistics count. `rows` are the images of the task, of all its datasets.
    """
    groups = splits.people([row["group_id"] for row in rows], [row["images"][0]["image_id"] for row in rows])
    person = {row["subject_id"]: group for row, group in zip(rows, groups, strict=True)}
    for sample in samples:
        sample["subject_id"] = person[sample["subject_id"]]


def _log_common(rows: list[Row]) -> None:
    """Say of each two datasets how many people they share."""
    people: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        people[row["dataset"]].add(row["subject_id"])
    for one, other in combinations(sorted(people), 2):
        common, everyone = len(people[one] & people[other]), len(people[one] | people[other])
        log.info("fuse: %d of %d people are in both %s and %s", common, everyone, one, other)


def _rows(dataset: str, path: Path, settings: FuseSettings, problems: Problems) -> list[Row]:
    """Return a dataset's labelled images with encoded targets; those that know no target of the task are left out."""
    table = artifacts.read_table(path)
    unlabelled = not any(
        column in table.column_names for target in settings.targets.values() for column in target.columns()
    )
    rows = []
    for row in table.to_pylist():
        where = f"{dataset}/{row['path']}"
        values = {name: encode(target, row, where, problems) for name, target in settings.targets.items()}
        known = any(
            value is not None and value != [None] * len(target.classes)
            for value, target in zip(values.values(), settings.targets.values(), strict=True)
        )
        history = settings.progression is not None and settings.unit == "eye"
        if not known and not unlabelled and not history:
            continue
        image = {
            "modality": settings.datasets[dataset],
            "dataset": dataset,
            "path": row["path"],
            "image_id": row["image_id"],
        }
        split = "test" if dataset in settings.external else row["split"]
        same = {name: row[name] for name in ("subject_id", "group_id", "eye", "visit")}
        if settings.progression is not None:
            same["interval_days"] = row.get("interval_days")
        rows.append(
            {"sample_id": where, **same, "dataset": dataset, "split": split, "images": [image], "values": values}
        )
    return rows


def _pooled(rows: list[Row]) -> list[Row]:
    return [{**row, **row["values"]} for row in rows]


# --- units of several images ----------------------------------------------------------------------------------------


def _units(rows: list[Row], settings: FuseSettings) -> list[Row]:
    keys = {"eye": ("subject_id", "eye"), "visit": ("subject_id", "visit"), "subject": ("subject_id",)}[settings.unit]
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


def _check(samples: list[Row], settings: FuseSettings) -> None:
    """Raise where nothing can be learned; say where something cannot be measured."""
    problems = Problems(DataError, "the task cannot be trained")
    count = Counter(sample["split"] for sample in samples)
    for split in ("train", "validation"):
        if not count[split] and settings.trains:
            problems.add(f"no {split} samples with a known target; {dict(count) or 'no samples at all'}")
    for name in settings.targets if settings.progression is not None else ():
        for problem in progression.check_events(samples, name):
            problems.add(problem)
    for name, target in settings.targets.items():
        for split in [split for split in ("train", "validation", "test") if count[split]]:
            for absent in absent_classes(target, [sample[name] for sample in samples if sample["split"] == split]):
                survival = settings.progression in ("hazard", "cox")
                if survival and split != "test":
                    continue  # events everywhere are an answer; where there are none was said
                if split == "train" and settings.trains:
                    problems.add(f"{name}: {absent} in the training split")
                else:
                    log.warning("fuse: %s: %s in the %s split; its metrics there have no value", name, absent, split)
    problems.raise_if_any(do="correct labels, `classes` or splits (stratify spreads rare classes)")


def _table(samples: Sequence[Row], settings: FuseSettings) -> Any:
    import pyarrow as pa

    text = pa.string()
    image = pa.struct([(name, text) for name in ("modality", "dataset", "path", "image_id")])
    fields = [(name, text) for name in ("sample_id", "subject_id", "eye", "visit", "dataset", "split")]
    fields.append(("images", pa.list_(image)))
    if _is_dense(settings):
        fields += dense_fields(settings)
    for name, target in settings.targets.items() if not _is_dense(settings) else ():
        fields.append((name, pa.list_(pa.float64()) if target.type == "multilabel" else pa.float64()))
    if settings.progression is not None:
        fields.append(("interval_days", pa.float64()))
        if settings.unit == "eye":
            fields += [("days_before", pa.list_(pa.float64())), (progression.VISITS_WITH_OUTCOME, pa.int64())]
    names = [name for name, _ in fields]
    return pa.Table.from_pylist(
        [{name: sample[name] for name in names} for sample in samples], schema=pa.schema(fields)
    )
