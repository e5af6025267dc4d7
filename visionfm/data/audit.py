"""Stage `audit`, one per task: leakage between splits, and what else a reviewer would ask about the data.

Writes `audit.parquet`. Fails, with the list, when a subject or the same bytes stand in two splits, or in a test split
and among the images that an encoder was pretrained on, unless the dataset's block gives a written reason. Identical
images with different labels are reported.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.data.settings import AuditSettings
from visionfm.errors import DataError, Problems, UsageError

SCHEMA = "visionfm/audit/1"


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
    """A labelled image of the task."""

    dataset: str
    path: str
    image_id: str
    subject_id: str
    split: str
    labels: tuple[tuple[str, object], ...]


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
        *_in_two_splits(labelled, "subject", "subject_id"),
        *_in_two_splits(labelled, "bytes", "image_id"),
        *_pretrained_on(labelled, seen),
        *_contradictions(labelled),
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
        known = tuple((name, row[name]) for name in settings.targets if row.get(name) is not None)
        yield Image(dataset, row["path"], row["image_id"], row["subject_id"], split, known)


def _unreadable(listed: dict[str, list[dict[str, str]]], settings: AuditSettings) -> Iterator[Finding]:
    for dataset, rows in listed.items():
        severity = "note" if settings.bad_images.get(dataset) == "skip" else "error"
        for row in rows:
            if row["status"] != "ok":
                yield Finding("unreadable", severity, dataset, row["path"], None, None, None, None, row["status"])


def _in_two_splits(labelled: list[Image], check: str, attribute: str) -> Iterator[Finding]:
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in labelled:
        groups[getattr(image, attribute)].append(image)
    for key, members in sorted(groups.items()):
        first: dict[tuple[str, str], Image] = {}
        for image in sorted(members):
            first.setdefault((image.split, image.dataset), image)
        for one, other in combinations([first[place] for place in sorted(first)], 2):
            if one.split == other.split:
                continue
            detail = f"subject {key}" if check == "subject" else f"identical images, sha256 {key[:12]}"
            yield Finding(
                check, "leak", one.dataset, one.path, one.split, other.dataset, other.path, other.split, detail
            )


class Seen(NamedTuple):
    """What an encoder saw in pretraining: one (dataset, path) for each image and each subject."""

    images: dict[str, tuple[str, str]]
    subjects: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, datasets: list[str], listed: dict[str, list[dict[str, str]]], known: dict[str, list[Image]]) -> "Seen":
        """Gather the images of some datasets; those without a known subject count for their bytes alone."""
        return cls(
            {row["image_id"]: (dataset, row["path"]) for dataset in datasets for row in listed[dataset]},
            {image.subject_id: (dataset, image.path) for dataset in datasets for image in known[dataset]},
        )


def _pretrained_on(labelled: list[Image], seen: dict[str, Seen]) -> Iterator[Finding]:
    for encoder, (images, subjects) in seen.items():
        for image in sorted(labelled):
            if image.split != "test":
                continue
            if (place := images.get(image.image_id)) is not None:
                what = "this image"
            elif (place := subjects.get(image.subject_id)) is not None:
                what = f"an image of subject {image.subject_id}"
            else:
                continue
            detail = f"encoder {encoder} was pretrained on {what}"
            yield Finding("pretraining", "leak", image.dataset, image.path, "test", *place, "pretraining", detail)


def _contradictions(labelled: list[Image]) -> Iterator[Finding]:
    """Yield each pair of identical images with different labels."""
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in labelled:
        groups[image.image_id].append(image)
    for _, members in sorted(groups.items()):
        for one, other in combinations(sorted(members), 2):
            theirs = dict(other.labels)
            differing = [
                f"{name} {value} and {theirs[name]}" for name, value in one.labels if theirs.get(name, value) != value
            ]
            if differing:
                detail = "identical images, different labels: " + ", ".join(differing)
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


def _allow(finding: Finding, reasons: dict[str, str]) -> Finding:
    reason = reasons.get(finding.dataset) or reasons.get(finding.other_dataset or "")
    if finding.severity == "leak" and reason is not None:
        return finding._replace(severity="allowed", reason=reason)
    return finding


def _sentence(finding: Finding) -> str:
    one = f"{finding.dataset}/{finding.path}" + (f" ({finding.split})" if finding.split else "")
    other = f" and {finding.other_dataset}/{finding.other_path} ({finding.other_split})" if finding.other_path else ""
    allowed = f"; allowed: {finding.reason}" if finding.reason else ""
    return f"{one}{other}: {finding.detail}{allowed}"


def _write(out: Path, findings: list[Finding], made_by: artifacts.Provenance) -> None:
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in Finding._fields])
    table = pa.Table.from_pylist([finding._asdict() for finding in findings], schema=schema)
    artifacts.write_table(out, table, made_by, schema=SCHEMA)
