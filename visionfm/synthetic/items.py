"""What is to be written of a synthetic dataset: one item an image, what belongs to it, and the table of all truth."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from visionfm.synthetic import partners
from visionfm.synthetic.findings import BIOMARKERS, DISEASES, Findings
from visionfm.synthetic.forecasting import Outcome


class Item(NamedTuple):
    """One image to write: where, of whom, and how to draw it. Noise has no findings but labels."""

    task: str
    path: str
    subject: str
    eye: str
    modality: str
    split: str
    label: str
    findings: Findings | None
    entropy: tuple[int, ...]
    size: int
    difficulty: str
    outcome: Outcome | None = None
    days_before: int = 0


class Encoded(NamedTuple):
    """An image's file, and its mask or points."""

    image: bytes
    partner: partners.Partner | None


def label_path(item: Item) -> str:
    """Return where an image's mask or array lies; empty for tasks that have none."""
    if item.task not in partners.FOLDERS:
        return ""
    home, name = Path(item.path).parent.parent, Path(item.path).stem
    return f"{home.as_posix()}/labels/{name}{partners.SUFFIXES[item.task]}"


def truth_table(items: Sequence[Item], points: Sequence[dict[str, tuple[float, float]]]) -> str:
    """Return the table of all images, for the `table` layout: one row per image, all that is known of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    known = bool(items) and items[0].findings is not None
    head = ["path", "subject", "eye", "modality", "split"]
    if known:
        head += [column(name) for name in DISEASES] + ["dr_grade"] + [marker.name for marker in BIOMARKERS]
    forecast = bool(items) and items[0].outcome is not None
    head += ["days_before", "log_hazard", "progression"] if forecast else []
    head += [] if known or forecast else ["label"]
    if items and items[0].task == "segmentation":
        head.append("mask")
    names = list(dict.fromkeys(name for of_image in points for name in of_image))
    head += [f"{name}_{axis}" for name in names for axis in "xy"]
    writer.writerow(head)
    for index, item in enumerate(items):
        row: list[object] = [item.path, item.subject, item.eye, item.modality, item.split]
        if item.findings is not None:
            row += [*item.findings.diseases, item.findings.dr_grade, *item.findings.values]
        elif item.outcome is None:
            row.append(item.label)
        if item.outcome is not None:
            row += [item.days_before, item.outcome.log_hazard, item.outcome.progression]
        if item.task == "segmentation":
            row.append(label_path(item))
        for name in names:
            row += points[index].get(name, ("", ""))
        writer.writerow(row)
    return text.getvalue()


def column(disease: str) -> str:
    """Return the name of a disease's column in truth.csv: `Retinal Vein Occlusion` is `retinal_vein_occlusion`."""
    return disease.lower().replace(" ", "_").replace("-", "_")
