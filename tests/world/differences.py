"""How far features of each layout were from the reference forward, the largest that the tests measured.

docs/weights.md shows them. After a change that is meant, let the tests of encoders write the file anew:
`VISIONFM_WRITE_DIFFERENCES=1 pytest tests/encoders`.
"""

import json
import os
from pathlib import Path

import torch

from visionfm.encoders.layouts import LAYOUTS

KEPT = Path(__file__).parents[1] / "encoders" / "differences.json"
ROUNDING = 2e-6  # another machine's, where the kept difference is 0


def assert_as_near_as_told(layout: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """The features are not farther from the reference than the file says, but for another machine's rounding."""
    difference = float((found - expected).abs().max())
    kept: dict[str, float] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    if os.environ.get("VISIONFM_WRITE_DIFFERENCES"):
        kept[layout] = max(difference, kept.get(layout, 0.0))
        rounded = {name: float(f"{value:.1e}") for name, value in sorted(kept.items())}
        KEPT.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
        return
    assert difference <= max(3 * kept[layout], ROUNDING), (layout, difference, kept[layout])


def table() -> str:
    """The table of docs/weights.md."""
    titles: dict[str, list[str]] = {}
    for layout in LAYOUTS:
        titles.setdefault(layout.name, []).append(layout.title)
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    rows = [f"| {title} | {value or 0:.2g} |" for name, value in kept.items() for title in titles[name]]
    return "\n".join(["| layout | largest difference |", "|---|---|", *rows, ""])
