"""What the report says of the people of a dataset: their groups in each split, as the first table of a paper has them.

Invariant: people are counted, and beside them their images; who has no value is counted as `unknown`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from visionfm.data.block import GROUP
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import NO_VALUE, number, percent
from visionfm.report.words import count
from visionfm.tasks.groups import EYES, UNKNOWN, group_name, ordered


def characteristics(name: str, parts: Mapping[str, Any], heads: Sequence[str], cuts: Mapping[str, Sequence[float]]
) -> Table | None:  # fmt: skip
    """Return the table of a dataset's labels (by split, all last) by group; None where its table has no groups."""
    if not cuts:
        return None
    rows: list[list[Cell]] = []
    for grouping, cut in cuts.items():
        column = f"{GROUP}{grouping}"
        if cut:
            rows.append([Cell(grouping), Cell("median"), *(_median(part, column) for part in parts.values())])
        rows += _rows(grouping, cut, {split: part[column].map(lambda value, at=cut: group_name(value, at))
                                      for split, part in parts.items()}, parts)  # fmt: skip
    eyes = {split: part["eye"].map(lambda eye: EYES.get(eye, UNKNOWN)) for split, part in parts.items()}
    if any((of != UNKNOWN).any() for of in eyes.values()):
        rows += _rows("eye", (), eyes, parts)
    note = "People, their share of the split, and their images. Who has images of several groups counts in each."
    return Table(f"{name}: characteristics by split", ["", "group", *heads], rows, heads=2, notes=[note])


def _rows(grouping: str, cut: Sequence[float], groups: Mapping[str, Any], parts: Mapping[str, Any]) -> list[list[Cell]]:
    every = [group for of in groups.values() for group in of]
    return [
        [Cell(grouping), Cell(group), *(_cell(part, groups[split] == group) for split, part in parts.items())]
        for group in ordered(every, cut)
    ]


def _cell(part: Any, members: Any) -> Cell:
    people, everyone = part[members]["group_id"].nunique(), part["group_id"].nunique()
    share = f" ({percent(people / everyone)})" if everyone else ""
    return Cell(f"{people:,}{share}", count(int(members.sum()), "image"), numeric=True)


def _median(part: Any, column: str) -> Cell:
    """Return the median over people and the range; a person of several values (ages at visits) counts by their mean."""
    known = part.groupby("group_id")[column].mean().dropna()
    if not len(known):
        return Cell(NO_VALUE, numeric=True)
    low, middle, high = (number(float(known.quantile(at))) for at in (0, 0.5, 1))
    return Cell(middle, f"{low} to {high}", numeric=True)
