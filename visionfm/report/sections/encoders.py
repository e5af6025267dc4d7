"""The report's encoders: which weights, under which licence, fed with which statistics, used by which models.

Reads the metadata of the encoders' artefacts, nothing else.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import NO_VALUE
from visionfm.report.data import Results
from visionfm.report.words import count, listed

PRETRAINED = "pretrain"  # the source's name of encoders trained here


class EncodersView(NamedTuple):
    """All encoders, and what their import left out."""

    table: Table
    notes: list[str]


def sections(results: Results) -> list[Section]:
    """Return the section of all encoders."""
    view = EncodersView(encoders_table(results), import_notes(results))
    return [Section("report/sections/encoders.html.j2", view, "Encoders", "encoders", folded=True)]


def source(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return where an encoder's weights came from."""
    found: dict[str, Any] = json.loads(metadata["source"])
    return found


def is_untrained(metadata: Mapping[str, str]) -> bool:
    """Return whether an encoder was made from no weights file, and not trained here."""
    return not source(metadata).get("sha256") and source(metadata).get("name") != PRETRAINED


def encoders_table(results: Results) -> Table:
    """Return one row per encoder: its architecture, weights, licence and input statistics."""
    columns = [
        "encoder",
        "modality",
        "architecture",
        "input",
        "weights",
        "sha256",
        "dialect",
        "licence",
        "mean",
        "std",
        "used by",
    ]
    rows = []
    for name, metadata in results.encoders.items():
        origin = source(metadata)
        models = [model for model, encoders in results.config.models.items() if name in encoders.values()]
        weights = "random (untrained)" if is_untrained(metadata) else str(origin.get("name") or NO_VALUE)
        weights = "pretrained here" if origin.get("name") == PRETRAINED else weights
        half = ", computed in bf16" if results.config.encoders[name].precision == "bf16" else ""
        key = f"key {origin['key']}" if origin.get("key") else ""
        rows.append(
            [
                Cell(name),
                Cell(metadata["modality"]),
                Cell(metadata["arch"]),
                Cell(f"{metadata['image_size']} px", f"patch {metadata['patch']}, {metadata['interpolation']}{half}"),
                Cell(weights, key),
                Cell(str(origin.get("sha256") or NO_VALUE)[:12]),
                Cell(str(origin.get("dialect") or NO_VALUE)),
                Cell(str(origin.get("licence") or "not known")),
                Cell(_triple(metadata["mean"])),
                Cell(_triple(metadata["std"])),
                Cell(listed(models)),
            ]
        )
    return Table("Encoders and their weights", columns, rows)


def _triple(text: str) -> str:
    values = json.loads(text)
    return "by modality" if values is None else ", ".join(f"{value:.3f}" for value in values)


def import_notes(results: Results) -> list[str]:
    """Return what was renamed or dropped when each encoder's weights were imported, with the reasons."""
    found = []
    for name, metadata in results.encoders.items():
        renamed, dropped = (json.loads(metadata.get(kind) or "{}") for kind in ("renamed", "dropped"))
        if fed := json.loads(metadata.get("timm") or "{}"):
            crop = f"cropped to {fed['crop']:g} of the side" if fed["crop"] not in (None, 1) else "not cropped"
            own = f"{metadata['image_size']} px, {metadata['interpolation']}"
            found.append(
                f"{name}: timm feeds these weights with images of {fed['px']} px, {fed['interpolation']}, {crop}, and "
                f"their normalisation is timm's; here they see the whole image at {own}."
            )
        if renamed:
            found.append(f"{name}: {count(len(renamed), 'tensor')} renamed when its weights were imported.")
        for reason, number_of in Counter(dropped.values()).items():
            found.append(f"{name}: {count(number_of, 'tensor')} dropped: {reason}.")
    return found
