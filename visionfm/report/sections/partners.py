"""What the report says of a dataset's masks and points: how many images have them, by split."""

from collections.abc import Mapping
from typing import Any

from visionfm.figures.tables import Table, counted

WORDS = {
    "mask_id": "a mask",
    "mask2_id": "a second observer's mask",
    "fov_id": "a field of view",
    "mm_per_px": "a scale",
}


def partner_counts(name: str, parts: Mapping[str, Any], heads: list[str]) -> Table | None:
    """Return the table of a dataset's labels (by split) that have masks or points; None where it has none."""
    rows = []
    for column, words in WORDS.items():
        counts = [int(part[column].notna().sum()) for part in parts.values() if column in part.columns]
        if any(counts):
            rows.append((words, [*counts, sum(counts)]))
    points: dict[str, list[int]] = {}
    for place, part in enumerate(parts.values()):
        for known in part["points"] if "points" in part.columns else ():
            for point, at in (known or {}).items():
                points.setdefault(point, [0] * len(parts))[place] += at is not None
    rows += [(f"point {point}", [*counts, sum(counts)]) for point, counts in points.items()]
    return counted(f"{name}: images with masks and points", "with", heads, rows) if rows else None
