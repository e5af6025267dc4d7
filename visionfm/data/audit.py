"""Stage `audit`, one per task: leakage between splits, and what else a reviewer would ask about the data.

Writes `audit.parquet`. Fails, with the list, when a subject or the same bytes stand in two splits, or in a test split
and among the images that an encoder was pretrained on, unless the dataset's block gives a written reason; and when ids
of a cohort differ in their spelling alone. Copies of a photograph that were re-encoded, resized, cut, turned a little
or mirrored (`copies`) count as its bytes do. Notes: identical images of different classes, copies across datasets, ids
that cohorts share or that look like names and dates of birth, cohorts whose datasets share few people, images that use
little of their range, public sets that an encoder may have seen. Of a task with folds, its people stand against
external ones and those of pretraining; that no fold divides a person or a file is checked by `fuse`, which draws them.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.data import copied, copy_findings, people_findings
from visionfm.data.findings import COPY, FOLDS, PLACE, TESTED, Finding
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.data.labelled import Image, Labelled, in_several_splits, several
from visionfm.data.layouts.rows import comparable
from visionfm.data.public import verdicts
from visionfm.data.settings import AuditSettings, AuditTarget
from visionfm.errors import DataError, Problems
from visionfm.images.identity import file_ids, frame_of

SCHEMA = "visionfm/audit/1"


log = logging.getLogger("visionfm")


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
        check_given(option, [*wanted, *pretrained], given)


def audit(images: dict[str, list[Path]], labels: dict[str, list[Path]], out: Path, settings: AuditSettings) -> None:
    """Check a task's data; write the findings to `out`, or raise DataError with those that must not be."""
    _check_given(settings, images, labels)
    inputs = {
        f"{kind}/{dataset}/{index}": artifacts.payload_digest(path)
        for kind, files in (("images", images), ("labels", labels))
        for dataset, paths in files.items()
        for index, path in enumerate(paths)
    }
    left_out = set() if settings.folded else {"folded"}
    made_by = artifacts.provenance("audit", settings.model_dump(mode="json", exclude=left_out), inputs)
    if artifacts.recall(out, made_by):
        return
    columns = [target.column for target in settings.targets]
    listed = {dataset: _listed(paths) for dataset, paths in images.items()}
    known = {
        dataset: Labelled.read(dataset, paths[0], columns, split=_split(dataset, settings))
        for dataset, paths in labels.items()
    }
    task_images = {dataset: listed[dataset] for dataset in [*settings.datasets, *settings.external]}
    meeting = copy_findings.meeting(images, list(task_images), settings.pretraining)
    copies = {
        (one.dataset, other.dataset): copied.pairs(one, other, "audit", out)
        for one, other in meeting
        if other is not None
    }
    name = copy_findings.shared_names(copies, known)
    own = [known[dataset] for dataset in task_images]
    known = {dataset: one.named(name) for dataset, one in known.items()}
    labelled = [known[dataset] for dataset in task_images]
    several_of_one = several(labelled, "copy_id")
    in_two = list(_in_two_splits(in_several_splits(labelled, "copy_id"), "bytes", "copy_id"))
    direct = [*in_two, *copy_findings.copied_between(copies, labelled, in_two)]
    findings = [
        *_unreadable(task_images, settings),
        *_little_range(task_images),
        *people_findings.spelled_twice([known[name] for name in sorted(known) if name not in settings.exact]),
        *_in_two_splits(in_several_splits(labelled, "subject_id"), "subject", "subject_id"),
        *direct,
        *(copy_findings.still_to_join(several_of_one, own, direct) if name else ()),
        *copy_findings.unsought(meeting),
        *_pretrained_on(labelled, settings.pretraining, listed, known, name),
        *_public(labelled, settings),
        *_contradictions(several_of_one, settings.targets),
        *people_findings.shared_ids(labelled),
        *people_findings.few_in_common(labelled),
        *people_findings.personal(labelled),
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
    count = sum(one.columns.num_rows for one in labelled)
    log.info("audit: %d images of %d datasets, %d findings; %s", count, len(task_images), len(findings), out)


def _split(dataset: str, settings: AuditSettings) -> str | None:
    """Return the split of all images of a dataset; None of one whose own splits are used."""
    if dataset in settings.external:
        return "test"
    return FOLDS if dataset in settings.folded else None


def _listed(paths: list[Path]) -> Any:
    """Return what an index says of its images, as an Arrow table."""
    import pyarrow as pa

    columns = ("path", "image_id", "status", "note")
    tables = [artifacts.read_table(path, schema=IMAGES, columns=columns) for path in paths]
    return pa.concat_tables(tables, promote_options="permissive")


def _known(label: Any, target: AuditTarget) -> tuple[Any, Any] | None:
    """Return a label and what it means: its class's number, or itself where there are none; None where unknown."""
    if label is None or comparable(label) in map(comparable, target.unknown):
        return None
    classes = [index for index, labels in enumerate(target.classes) if comparable(label) in map(comparable, labels)]
    return label, (f"class {classes[0]}" if classes else comparable(label))


def _unreadable(listed: dict[str, Any], settings: AuditSettings) -> Iterator[Finding]:
    import pyarrow.compute as pc

    for dataset, images in listed.items():
        severity = "note" if settings.bad_images.get(dataset) == "skip" else "error"
        for row in images.filter(pc.not_equal(images["status"], "ok")).to_pylist():
            yield Finding("unreadable", severity, dataset, row["path"], None, None, None, None, row["status"])


def _little_range(listed: dict[str, Any]) -> Iterator[Finding]:
    """Yield how many images of a dataset use little of their range, with the first of them."""
    for dataset, images in listed.items():
        if "note" not in images.column_names:
            continue
        noted = images.filter(images["note"].is_valid())
        if noted.num_rows:
            first = noted.slice(0, 1).to_pylist()[0]
            detail = f"{noted.num_rows} of {images.num_rows} images of {dataset} use little of their range"
            detail += f" ({first['path']} is {first['note']})"
            yield Finding("range", "note", dataset, first["path"], None, None, None, None, detail)


def _in_two_splits(images: list[Image], check: str, attribute: str) -> Iterator[Finding]:
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        groups[getattr(image, attribute)].append(image)
    for key, members in sorted(groups.items()):
        first: dict[tuple[str, str], Image] = {}
        for image in sorted(members, key=PLACE):
            first.setdefault((image.split, image.dataset), image)
        for one, other in combinations([first[place] for place in sorted(first)], 2):
            if one.split == other.split:
                continue
            if one.file_id != other.file_id:
                same, found = COPY, "copy"
            else:
                same, found = "identical images" if one.image_id == other.image_id else "images of one file", check
            detail = f"subject {key}" if check == "subject" else f"{same}, sha256 {one.file_id[:12]}"
            found = "subject" if check == "subject" else found
            yield Finding(
                found, "leak", one.dataset, one.path, one.split, other.dataset, other.path, other.split, detail
            )


def _pretrained_on(
    labelled: list[Labelled],
    pretraining: dict[str, list[str]],
    listed: dict[str, Any],
    known: dict[str, Labelled],
    name_of: Mapping[str, str],
) -> Iterator[Finding]:
    """Yield the test images that an encoder saw; pretraining images without a known subject count for their pixels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for encoder, names in pretraining.items():
        plain = {name: (file_ids(listed[name]["image_id"]), listed[name]["path"]) for name in names}
        files = {name: (_renamed(column, name_of), paths) for name, (column, paths) in plain.items()}
        subjects = {name: (known[name].columns["subject_id"], known[name].columns["path"]) for name in names}
        tested = []
        for one in labelled:
            is_seen = pc.or_(one.among("copy_id", _keys(files)), one.among("subject_id", _keys(subjects)))
            is_tested = pc.is_in(one.columns["split"], value_set=pa.array(TESTED))
            tested += one.images(pc.and_(is_seen, is_tested))
        of_bytes = _places(plain, [image.file_id for image in tested])
        of_copy = _places(files, [image.copy_id for image in tested])
        of_subject = _places(subjects, [image.subject_id for image in tested])
        for image in sorted(tested, key=PLACE):
            if (place := of_bytes.get(image.file_id)) is not None:
                what = "this image"
            elif (place := of_copy.get(image.copy_id)) is not None:
                what = "a copy of this image"
            else:
                place, what = of_subject[image.subject_id], f"an image of subject {image.subject_id}"
            detail = f"encoder {encoder} was pretrained on {what}"
            yield Finding("pretraining", "leak", image.dataset, image.path, image.split, *place, "pretraining", detail)


def _public(labelled: list[Labelled], settings: AuditSettings) -> Iterator[Finding]:
    """Yield what encoders have seen of the public sets that are tested, and where it is not known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for one in labelled:
        public = settings.public.get(one.dataset)
        if public is None or not pc.any(one.among("split", pa.array(TESTED))).as_py():
            continue
        for encoder in dict.fromkeys([*settings.encoders, *settings.trained_here]):
            here, before = verdicts(encoder, public, settings.encoders, settings.trained_here)
            for found in (here, before):
                if found is not None and found.status != "not seen":
                    # Images of the config's own datasets were held against each other: those that meet are leaks.
                    severity = "leak" if found is before and found.status == "seen" else "note"
                    detail = f"encoder {encoder}: {found.detail}"
                    yield Finding("public", severity, one.dataset, "", "test", None, None, None, detail)


def _renamed(files: Any, name_of: Mapping[str, str]) -> Any:
    """Return the digests of files as copies share them."""
    import pyarrow as pa

    if not name_of:
        return files
    return pa.chunked_array([[name_of.get(file, file) for file in files.to_pylist()]], pa.string())


def _keys(columns: dict[str, tuple[Any, Any]]) -> Any:
    import pyarrow as pa

    return pa.chunked_array([chunk for keys, _ in columns.values() for chunk in keys.chunks], pa.string())


def _places(columns: dict[str, tuple[Any, Any]], wanted: list[str]) -> dict[str, tuple[str, str]]:
    """Return dataset and path of each wanted key, the last of several; `columns` are keys and paths by dataset."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, tuple[str, str]] = {}
    for dataset, (keys, paths) in columns.items():
        is_wanted = pc.is_in(keys, value_set=pa.array(wanted, pa.string()))
        rows = zip(keys.filter(is_wanted).to_pylist(), paths.filter(is_wanted).to_pylist(), strict=True)
        found.update((key, (dataset, path)) for key, path in rows)
    return found


def _contradictions(images: list[Image], targets: list[AuditTarget]) -> Iterator[Finding]:
    """Yield each pair of identical images of which some target says different things."""
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        groups[image.copy_id].append(image)
    for _, members in sorted(groups.items()):
        said = [
            (image, [_known(image.labels.get(target.column), target) for target in targets])
            for image in sorted(members, key=PLACE)
        ]
        for (one, labels), (other, other_labels) in combinations(said, 2):
            if one.image_id != other.image_id and any(frame_of(two.image_id) is not None for two in (one, other)):
                continue  # frames share their file's copies: which of them shows the same is not known
            differing = [
                f"{target.column} {mine[0]} and {theirs[0]}"
                for target, mine, theirs in zip(targets, labels, other_labels, strict=True)
                if mine is not None and theirs is not None and mine[1] != theirs[1]
            ]
            if differing:
                same = "identical images" if one.image_id == other.image_id else COPY
                detail = f"{same}, different labels: " + ", ".join(dict.fromkeys(differing))
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
    one = f"{finding.dataset}/{finding.path}".rstrip("/") + (f" ({finding.split})" if finding.split else "")
    other = f" and {finding.other_dataset}/{finding.other_path} ({finding.other_split})" if finding.other_path else ""
    allowed = f"; allowed: {finding.reason}" if finding.reason else ""
    return f"{one}{other}: {finding.detail}{allowed}"


def _write(out: Path, findings: list[Finding], made_by: artifacts.Provenance) -> None:
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in Finding._fields])
    table = pa.Table.from_pylist([finding._asdict() for finding in findings], schema=schema)
    artifacts.write_table(out, table, made_by, schema=SCHEMA)
