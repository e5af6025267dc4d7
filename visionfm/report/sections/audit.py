"""What a task's audit found: sentences, reasons for what was allowed, and the list."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from visionfm.data.findings import TESTED
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import NO_VALUE, text_of
from visionfm.report.words import count

MOST_LISTED = 50
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
class AuditView:
    """What an audit found: one sentence per kind of finding, the reasons for what was allowed, and the list."""

    sentences: list[str]
    reasons: list[str]
    table: Table | None


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


def audit_view(task: str, rows: Any, named: bool) -> AuditView:
    """Return an audit's findings in words; without findings there is neither sentence nor table.

    `named`: with the list, which names files and subjects; it always stands in audit.parquet.
    """
    kinds = Counter(zip(rows["check"], rows["severity"] == "allowed", strict=True))
    sentences = [
        f"{CHECKS.get(check, check)}: {count(found, 'finding')}" + (", allowed by a written reason" if allowed else "")
        for (check, allowed), found in sorted(kinds.items())
    ]
    reasons = allowed_reasons(rows)
    if not len(rows):
        return AuditView([], [], None)
    if not named:
        return AuditView(sentences, reasons, None)
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
    return AuditView(sentences, reasons, table)


def _place(dataset: Any, path: Any) -> str:
    return f"{text_of(dataset)}/{text_of(path)}".strip("/") or NO_VALUE
