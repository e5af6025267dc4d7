"""What a task's audit found: sentences, reasons for what was allowed, the list, and copies side by side.

Pictures are shown where the page may show them; else images are called by their ids and the row of audit.parquet.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionfm.data.findings import TESTED
from visionfm.figures.tables import Cell, Table
from visionfm.images.identity import shown_as
from visionfm.images.settings import Reading
from visionfm.metrics.written import NO_VALUE, text_of
from visionfm.report.data import Results
from visionfm.report.sections.datasets import Picture, thumbnail
from visionfm.report.words import SPLITS, count

MOST_LISTED, MOST_COPIES = 50, 12
COPIES = ("bytes", "copy", "pretraining")  # checks that find two images which show the same
CHECKS = {
    "subject": "the same subject in two splits",
    "bytes": "identical images in two splits",
    "copy": "copies of one photograph, or two of one eye taken together, in two splits or datasets",
    "pretraining": "test images that an encoder was pretrained on",
    "public": "public test sets that an encoder was trained on, or perhaps was",
    "contradiction": "identical images with different labels",
    "shared_ids": "cohorts with ids in common",
    "few_in_common": "datasets of a cohort that share few people",
    "personal_ids": "datasets whose ids look like names or dates of birth",
    "not_sought": "datasets too large to seek copies in",
    "range": "images that use little of their range",
    "unreadable": "unreadable images, left out",
}


@dataclass(frozen=True)
class CopiesView:
    """Two images that show the same, across splits or datasets; `says` names the row of audit.parquet."""

    says: str
    pictures: list[Picture]


@dataclass(frozen=True)
class AuditView:
    """What an audit found: one sentence per kind of finding, the reasons for what was allowed, and the list."""

    sentences: list[str]
    reasons: list[str]
    table: Table | None
    copies: list[CopiesView]
    crossing: str  # how many copies cross splits or datasets, and how many of them are shown
    pictured: bool


def allowed_reasons(rows: Any) -> list[str]:
    """Return the reasons that were given for what was allowed."""
    allowed = rows[rows["severity"] == "allowed"]
    return [
        f"{dataset}: {reason}"
        for dataset, reason in dict.fromkeys(zip(allowed["dataset"], allowed["reason"], strict=True))
    ]


def doubts(rows: Any, named: bool) -> list[str]:
    """Return what may mean that people are not told apart or not found again, or that pixels are not what was meant.

    `named`: in the audit's own words, which name files and subjects.
    """
    found = rows[rows["check"].isin(["shared_ids", "few_in_common", "personal_ids", "not_sought", "range"])]
    public = list(rows[rows["check"] == "public"]["detail"])
    if named:
        return [*_contradictions(rows), *public, *found["detail"]]
    return [
        *_contradictions(rows),
        *public,
        *(f"{CHECKS[check]}: {count(number, 'finding')}" for check, number in Counter(found["check"]).items()),
    ]


def _contradictions(rows: Any) -> list[str]:
    """Return how many identical images have different labels, and how many are tested; of what is in folds, all is."""
    twice = rows[rows["check"] == "contradiction"]
    tested = int((twice["split"].isin(TESTED) | twice["other_split"].isin(TESTED)).sum())
    if not len(twice):
        return []
    pairs = count(len(twice), "pair")
    return [f"{CHECKS['contradiction']}: {pairs}, {tested} with a test image; a label of each pair must be wrong"]


def audit_view(results: Results, task: str) -> AuditView:
    """Return an audit's findings in words; without findings there is neither sentence nor table.

    Where ids are shown, with the list, which names files and subjects; it always stands in audit.parquet.
    """
    rows, named = results.audits[task], results.config.report.ids == "shown"
    pictured = results.config.report.pictures == "examples"
    kinds = Counter(zip(rows["check"], rows["severity"] == "allowed", strict=True))
    sentences = [
        f"{CHECKS.get(check, check)}: {count(found, 'finding')}" + (", allowed by a written reason" if allowed else "")
        for (check, allowed), found in sorted(kinds.items())
    ]
    reasons = allowed_reasons(rows)
    copies, crossing = _copies(results, rows, named, pictured)
    if not named or not len(rows):
        return AuditView(sentences, reasons, None, copies, crossing, pictured)
    table = Table(f"{task}: findings of the audit", ["image", "and", "finding"], [])
    table.rows = [
        [
            Cell(_place(row["dataset"], row["path"]), text_of(row["split"])),
            Cell(_place(row["other_dataset"], row["other_path"]), text_of(row["other_split"])),
            Cell(row["detail"], f"allowed: {row['reason']}" if text_of(row["reason"]) else ""),
        ]
        for row in rows.head(MOST_LISTED).to_dict("records")
    ]
    if len(rows) > MOST_LISTED:
        table.notes.append(f"The first {MOST_LISTED} of {len(rows):,} are listed; all stand in audit.parquet.")
    return AuditView(sentences, reasons, table, copies, crossing, pictured)


def _copies(results: Results, rows: Any, named: bool, pictured: bool) -> tuple[list[CopiesView], str]:
    """Return the first copies that cross splits or datasets, and how many there are in words."""
    same = rows["check"].isin(COPIES) & (
        (rows["check"] != "pretraining") | rows["detail"].fillna("").str.endswith(" this image")
    )  # else an image of the same person
    crossing = rows[same & rows["other_path"].notna()]
    crossing = crossing[
        (crossing["split"] != crossing["other_split"]) | (crossing["dataset"] != crossing["other_dataset"])
    ].drop_duplicates(["dataset", "path", "other_dataset", "other_path"])  # several encoders have seen one image
    ids = {tables.name: dict(zip(tables.images["path"], tables.images["image_id"], strict=True))
           for tables in results.datasets}  # fmt: skip

    def picture(dataset: str, path: str, split: Any) -> Picture:
        block, image_id = results.config.datasets[dataset], ids[dataset].get(path)
        uri = thumbnail(Path(block.root), path, image_id, Reading.of(block)) if pictured and image_id else ""
        return Picture(uri, f"{SPLITS.get(split, text_of(split))}, {dataset}", shown_as(path, image_id, named))

    found = []
    for at, row in crossing.head(MOST_COPIES).iterrows():
        detail = row["detail"] if named or row["check"] != "pretraining" else CHECKS["pretraining"]
        pictures = [picture(row[f"{of}dataset"], row[f"{of}path"], row[f"{of}split"]) for of in ("", "other_")]
        found.append(CopiesView(f"{detail} (row {int(at) + 1} of audit.parquet)", pictures))
    more = f", of which the first {MOST_COPIES} are shown" if len(crossing) > MOST_COPIES else ""
    return found, f"Copies across splits or datasets: {count(len(crossing), 'finding')}{more}"


def _place(dataset: Any, path: Any) -> str:
    return f"{text_of(dataset)}/{text_of(path)}".strip("/") or NO_VALUE
