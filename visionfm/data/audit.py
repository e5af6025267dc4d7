"""Stage `audit`, one per task: leakage between splits, and what else a reviewer would ask about the data.

Writes `audit.parquet`. Fails, with the list, when a subject or the same bytes stand in two splits, or in a test split
and among the images that an encoder was pretrained on, unless the dataset's block gives a written reason; and when ids
of a cohort differ in their spelling alone. What was looked for are equal ids and equal bytes: re-encoded copies are
not found. Notes: identical images of different classes, ids that cohorts share, cohorts whose datasets share few
people, images that use little of their range.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.data import spelling
from visionfm.data.layouts.rows import comparable
from visionfm.data.settings import AuditSettings, AuditTarget
from visionfm.errors import DataError, Problems, UsageError
from visionfm.images.identity import file_id, file_path

SCHEMA = "visionfm/audit/1"
FEW_IN_COMMON = 0.5  # of the smaller dataset's people: fewer, and a join is not what it seems


log = logging.getLogger("visionfm")


class Finding(NamedTuple):
    """One finding about one image, or about two; severity is leak, allowed (leak with a reason), error or note."""

    check: str
    severity: str
    dataset: str
    path: str
    split: str | None
    other_dataset: str | None
    other_path: str | None
    other_split: str | None
    detail: str
    reason: str | None = None


class Image(NamedTuple):
    """A labelled image of the task; `labels` are, per target, its label and the class that it means (or None)."""

    dataset: str
    path: str
    image_id: str
    subject_id: str
    split: str
    labels: tuple[tuple[Any, Any] | None, ...]

    @property
    def person(self) -> tuple[str, str] | None:
        """Return cohort and id of its subject; None where subjects are not known and the image stands for itself."""
        cohort, _, subject = self.subject_id.partition("/")
        return None if self.subject_id == f"{self.dataset}/{file_path(self.path, self.image_id)}" else (cohort, subject)

    @property
    def file_id(self) -> str:
        """What is equal for images of one file, and of files with equal bytes."""
        return file_id(self.image_id)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--images", required=True, nargs="+", help="DATASET=images.parquet, each shard")
    parser.add_argument("--labels", required=True, nargs="+", help="DATASET=labels.parquet of each dataset")
    parser.add_argument("--out", required=True, type=Path, help="audit.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    audit(by_dataset(args.images), by_dataset(args.labels), args.out, AuditSettings.model_validate_json(args.settings))


def _check_given(settings: AuditSettings, images: dict[str, list[Path]], labels: dict[str, list[Path]]) -> None:
    wanted = [*settings.datasets, *settings.external]
    pretrained = [name for names in settings.pretraining.values() for name in names]
    for option, given in (("--images", images), ("--labels", labels)):
        if missing := sorted({*wanted, *pretrained} - set(given)):
            raise UsageError(f"{option} lacks datasets of the task", expected="DATASET=FILE", found=", ".join(missing))


def audit(images: dict[str, list[Path]], labels: dict[str, list[Path]], out: Path, settings: AuditSettings) -> None:
    """Check a task's data; write the findings to `out`, or raise DataError with those that must not be."""
    _check_given(settings, images, labels)
    inputs = {
        f"{kind}/{dataset}/{index}": artifacts.payload_digest(path)
        for kind, files in (("images", images), ("labels", labels))
        for dataset, paths in files.items()
        for index, path in enumerate(paths)
    }
    made_by = artifacts.provenance("audit", settings.model_dump(mode="json"), inputs)
    if artifacts.recall(out, made_by):
        return
    listed = {
        dataset: [row for path in paths for row in artifacts.read_table(path).to_pylist()]
        for dataset, paths in images.items()
    }
    known = {dataset: list(_labelled(dataset, paths[0], settings)) for dataset, paths in labels.items()}
    task_images = {dataset: listed[dataset] for dataset in [*settings.datasets, *settings.external]}
    labelled = [image for dataset in task_images for image in known[dataset]]
    seen = {encoder: Seen.of(names, listed, known) for encoder, names in settings.pretraining.items()}
    findings = [
        *_unreadable(task_images, settings),
        *_little_range(task_images),
        *_spelled_twice([image for name in sorted(known) for image in known[name]], settings.exact),
        *_in_two_splits(labelled, "subject", "subject_id"),
        *_in_two_splits(labelled, "bytes", "file_id"),
        *_pretrained_on(labelled, seen),
        *_contradictions(labelled, settings.targets),
        *_shared_ids(labelled),
        *_few_in_common(labelled),
    ]
    findings = [_allow(finding, settings.allow_leakage) for finding in findings]
    problems = Problems(DataError, f"audit of task {settings.task}")
    for finding in findings:
        if finding.severity in ("leak", "error"):
            problems.add(_sentence(finding))
    problems.raise_if_any(
        do='correct subjects or splits; an overlap that is meant needs `allow_leakage: "why"` in the dataset\'s block, '
        "unreadable images `bad_images: skip`"
    )
    for finding in findings:
        log.warning("audit: %s", _sentence(finding))
    _write(out, findings, made_by)
    log.info("audit: %d images of %d datasets, %d findings; %s", len(labelled), len(task_images), len(findings), out)


def _labelled(dataset: str, path: Path, settings: AuditSettings) -> Iterator[Image]:
    for row in artifacts.read_table(path).to_pylist():
        split = "test" if dataset in settings.external else row["split"]
        labels = tuple(_known(row.get(target.column), target) for target in settings.targets)
        yield Image(dataset, row["path"], row["image_id"], row["subject_id"], split, labels)


def _known(label: Any, target: AuditTarget) -> tuple[Any, Any] | None:
    """Return a label and what it means: its class's number, or itself where there are none; None where unknown."""
    if label is None or comparable(label) in map(comparable, target.unknown):
        return None
    classes = [index for index, labels in enumerate(target.classes) if comparable(label) in map(comparable, labels)]
    return label, (f"class {classes[0]}" if classes else comparable(label))


def _unreadable(listed: dict[str, list[dict[str, str]]], settings: AuditSettings) -> Iterator[Finding]:
    for dataset, rows in listed.items():
        severity = "note" if settings.bad_images.get(dataset) == "skip" else "error"
        for row in rows:
            if row["status"] != "ok":
                yield Finding("unreadable", severity, dataset, row["path"], None, None, None, None, row["status"])


def _little_range(listed: dict[str, list[dict[str, str]]]) -> Iterator[Finding]:
    """Yield how many images of a dataset use little of their range, with the first of them."""
    for dataset, rows in listed.items():
        noted = [row for row in rows if row.get("note")]
        if noted:
            first = noted[0]
            detail = f"{len(noted)} of {len(rows)} images of {dataset} use little of their range"
            detail += f" ({first['path']} is {first['note']})"
            yield Finding("range", "note", dataset, first["path"], None, None, None, None, detail)


def _in_two_splits(labelled: list[Image], check: str, attribute: str) -> Iterator[Finding]:
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in labelled:
        groups[getattr(image, attribute)].append(image)
    for key, members in sorted(groups.items()):
        first: dict[tuple[str, str], Image] = {}
        for image in sorted(members, key=_place):
            first.setdefault((image.split, image.dataset), image)
        for one, other in combinations([first[place] for place in sorted(first)], 2):
            if one.split == other.split:
                continue
            same = "identical images" if one.image_id == other.image_id else "images of one file"
            detail = f"subject {key}" if check == "subject" else f"{same}, sha256 {key[:12]}"
            yield Finding(
                check, "leak", one.dataset, one.path, one.split, other.dataset, other.path, other.split, detail
            )


def _place(image: Image) -> tuple[str, str]:
    return image.dataset, image.path


class Seen(NamedTuple):
    """What an encoder saw in pretraining: one (dataset, path) for each image and each subject."""

    images: dict[str, tuple[str, str]]
    subjects: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, datasets: list[str], listed: dict[str, list[dict[str, str]]], known: dict[str, list[Image]]) -> "Seen":
        """Gather the images of some datasets; those without a known subject count for their bytes alone."""
        return cls(
            {file_id(row["image_id"]): (dataset, row["path"]) for dataset in datasets for row in listed[dataset]},
            {image.subject_id: (dataset, image.path) for dataset in datasets for image in known[dataset]},
        )


def _pretrained_on(labelled: list[Image], seen: dict[str, Seen]) -> Iterator[Finding]:
    for encoder, (images, subjects) in seen.items():
        for image in sorted(labelled, key=_place):
            if image.split != "test":
                continue
            if (place := images.get(image.file_id)) is not None:
                what = "this image"
            elif (place := subjects.get(image.subject_id)) is not None:
                what = f"an image of subject {image.subject_id}"
            else:
                continue
            detail = f"encoder {encoder} was pretrained on {what}"
            yield Finding("pretraining", "leak", image.dataset, image.path, "test", *place, "pretraining", detail)


def _contradictions(labelled: list[Image], targets: list[AuditTarget]) -> Iterator[Finding]:
    """Yield each pair of identical images of which some target says different things."""
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in labelled:
        groups[image.image_id].append(image)
    for _, members in sorted(groups.items()):
        for one, other in combinations(sorted(members, key=_place), 2):
            both = zip(targets, one.labels, other.labels, strict=True)
            differing = [
                f"{target.column} {mine[0]} and {theirs[0]}"
                for target, mine, theirs in both
                if mine is not None and theirs is not None and mine[1] != theirs[1]
            ]
            if differing:
                detail = "identical images, different labels: " + ", ".join(dict.fromkeys(differing))
                yield Finding(
                    "contradiction",
                    "note",
                    one.dataset,
                    one.path,
                    one.split,
                    other.dataset,
                    other.path,
                    other.split,
                    detail,
                )


def _spelled_twice(images: list[Image], exact: list[str]) -> Iterator[Finding]:
    """Yield each pair of ids of a cohort that differ in their spelling alone: they would count as two people."""
    first: dict[tuple[str, str], Image] = {}
    for image in sorted(images, key=_place):
        if image.person is not None and image.dataset not in exact:
            first.setdefault(image.person, image)
    for cohort in sorted({cohort for cohort, _ in first}):
        for one, *others in spelling.alike(subject for name, subject in first if name == cohort):
            for other in others:
                a, b = first[cohort, one], first[cohort, other]
                detail = f"subjects {one!r} and {other!r} of {cohort} differ in their spelling alone; "
                detail += spelling.advice(one, other)
                yield Finding("spelling", "error", a.dataset, a.path, a.split, b.dataset, b.path, b.split, detail)


def _by_person(labelled: list[Image], *, cohorts: bool) -> dict[str, dict[str, Image]]:
    """Return the first image of each person, by cohort or by dataset."""
    found: dict[str, dict[str, Image]] = defaultdict(dict)
    for image in sorted(labelled, key=_place):
        if image.person is not None:
            cohort, subject = image.person
            key = spelling.written(subject, "digits") if cohorts else image.subject_id
            found[cohort if cohorts else image.dataset].setdefault(key, image)
    return found


def _shared_ids(labelled: list[Image]) -> Iterator[Finding]:
    """Yield each two cohorts that have ids in common, in any spelling: are they the same people?"""
    people = _by_person(labelled, cohorts=True)
    for one, other in combinations(sorted(people), 2):
        if common := sorted(people[one].keys() & people[other].keys()):
            a, b = people[one][common[0]], people[other][common[0]]
            listed = ", ".join(common[:5]) + (", ..." if len(common) > 5 else "")
            detail = (
                f"{len(common)} ids of cohort {one} are ids of cohort {other} too, in this or another spelling"
                f" ({listed}); if they are the same people, give the datasets one `cohort`"
            )
            yield Finding("shared_ids", "note", a.dataset, a.path, a.split, b.dataset, b.path, b.split, detail)


def _few_in_common(labelled: list[Image]) -> Iterator[Finding]:
    """Yield each two datasets of a cohort that share less than half of the smaller one's people."""
    people = _by_person(labelled, cohorts=False)
    for one, other in combinations(sorted(people), 2):
        a, b = people[one], people[other]
        cohorts = {next(iter(found)).partition("/")[0] for found in (a, b)}
        common = len(a.keys() & b.keys())
        if len(cohorts) == 1 and common < FEW_IN_COMMON * min(len(a), len(b)):
            everyone = len(a.keys() | b.keys())
            detail = f"{common} of {everyone} people are in both {one} and {other}, which share a cohort"
            yield Finding("few_in_common", "note", one, "", None, other, None, None, detail)


def _allow(finding: Finding, reasons: dict[str, str]) -> Finding:
    reason = reasons.get(finding.dataset) or reasons.get(finding.other_dataset or "")
    if finding.severity == "leak" and reason is not None:
        return finding._replace(severity="allowed", reason=reason)
    return finding


def _sentence(finding: Finding) -> str:
    one = f"{finding.dataset}/{finding.path}".rstrip("/") + (f" ({finding.split})" if finding.split else "")
    other = f" and {finding.other_dataset}/{finding.other_path} ({finding.other_split})" if finding.other_path else ""
    allowed = f"; allowed: {finding.reason}" if finding.reason else ""
    return f"{one}{other}: {finding.detail}{allowed}"


def _write(out: Path, findings: list[Finding], made_by: artifacts.Provenance) -> None:
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in Finding._fields])
    table = pa.Table.from_pylist([finding._asdict() for finding in findings], schema=schema)
    artifacts.write_table(out, table, made_by, schema=SCHEMA)
