"""The report's labels that look wrong: what stage `suspect` ranked, as pictures beside what contradicts each label.

Invariant: the section is there only where the page may show pictures; nothing is corrected, and the order is that of
suspects.parquet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table
from visionfm.report.data import Results, Suspects
from visionfm.report.sections.datasets import Picture
from visionfm.report.sections.errors import Cases, truth_text
from visionfm.report.words import SPLITS, count
from visionfm.tasks.suspect import CONTRADICTED, COPIES

MOST_IDENTICAL = 6
MOST_PICTURES = 3  # of a sample: which of its images is meant is not known here


@dataclass(frozen=True)
class LabelView:
    """A label that looks wrong: its images, and those that contradict it."""

    says: str
    pictures: list[Picture]
    others: list[Picture]


@dataclass(frozen=True)
class TargetView:
    """The list of one target."""

    target: str
    says: str
    identical: list[LabelView]
    contradicted: list[LabelView]


@dataclass(frozen=True)
class LabelsView:
    """One task."""

    task: str
    model: str
    table: Table | None
    reasons: list[str]
    targets: list[TargetView]


def sections(results: Results) -> list[Section]:
    """Return the section; none where no picture may be shown."""
    views = [_view(results, task, found) for task, found in results.suspects.items()]
    template, title = "report/sections/labels.html.j2", "Labels that look wrong"
    return [Section(template, views, title, "labels", folded=True, by_task=True)] if views else []


def _view(results: Results, task: str, found: Suspects) -> LabelsView:
    model = results.config.tasks[task].models[0]
    result = next(one for one in results.results if (one.task, one.model) == (task, model))
    cases = Cases(result, {row["sample_id"]: row for row in result.samples.to_dict("records")}, {})
    shown = results.plan.tasks.suspect_settings(task).shown
    targets = []
    for name, spec in result.targets.items():
        rows = found.table[found.table["target"] == name].to_dict("records")
        views = {
            kind: [_label(cases, row, spec) for row in rows if (row["reason"] != CONTRADICTED) is kind]
            for kind in (True, False)
        }
        about = found.about[name]
        says = f"{about['contradicted']:,} of {about['judged']:,} labels are contradicted by their neighbours"
        if views[True]:
            says = f"{count(len(views[True]), 'label')} of identical images or copies differ; {says}"
        targets.append(TargetView(name, says, views[True][:MOST_IDENTICAL], views[False][:shown]))
    folds = ["With folds, training and test are those of the first; other folds test what is training here."]
    reasons = folds if result.decoders else []
    reasons += [f"{name}: {one['reason']}." for name, one in found.about.items() if "reason" in one]
    return LabelsView(task, model, _planted(task, found.about), reasons, targets)


def _label(cases: Cases, row: Mapping[str, Any], spec: Mapping[str, Any]) -> LabelView:
    one = {"type": "binary", "classes": []} if spec["type"] == "multilabel" else spec
    about = f"{row['class']}: " if spec["type"] == "multilabel" else ""
    likely = f", {truth_text(row['likely'], one)} for its neighbours" if row["reason"] == CONTRADICTED else ""
    own = f"{about}labelled {truth_text(row['label'], one)}"
    likely += ", its other image is a copy" if row["reason"] == COPIES else ""
    says = f"{own}{likely} ({SPLITS[row['split']].lower()}, {row['dataset']})"
    at = spec["classes"].index(row["class"]) if about else None
    others = []
    for name in row["others"]:
        label = cases.samples[name][row["target"]]
        label = label if at is None or label is None else label[at]
        others += cases.pictures(name, f"{about}labelled {truth_text(label, one)}")[:MOST_PICTURES]
    return LabelView(says, cases.pictures(row["sample_id"], own)[:MOST_PICTURES], others)


def _planted(task: str, about: Mapping[str, Any]) -> Table | None:
    """Return what the lists find of labels that were changed on purpose."""
    columns = ["target", "wrong on purpose", "first of the list", "of these wrong on purpose", "95 % of draws"]
    table = Table(f"{task}: errors planted among the training labels, and found", columns, [])
    for name, one in about.items():
        for planted in one.get("planted", []):
            wrong = f"{planted['share']:.0%}"
            few = f"{planted['changed']:,} of {planted['among']:,} labels"
            span = f"{planted['low']:.0%} to {planted['high']:.0%}"
            table.rows.append(
                [Cell(name), Cell(wrong, few, True), Cell(f"{planted['first']:,}", numeric=True),
                 Cell(f"{planted['mean']:.0%}", numeric=True), Cell(span, numeric=True)]
            )  # fmt: skip
    return table if table.rows else None
