"""The report's data part sums up a label of many values, and counts one of few."""

import pandas as pd
from world.filled_tables import filled_table

from visionfm.report.data import DatasetTables
from visionfm.report.sections.datasets import _counts


def test_a_label_of_many_values_has_its_range_by_split() -> None:
    labels = pd.DataFrame({"split": ["train"] * 20 + ["test"] * 20, "group_id": [f"p{n // 2}" for n in range(40)]})
    labels["thickness"] = [None, *(200.0 + n for n in range(39))]
    table = _counts(DatasetTables("oct", "OCT", "data/oct", None, labels))[-1]
    assert table.caption == "oct: thickness"
    filled_table(table)
    cells = [[cell.text for cell in row] for row in table.rows]
    assert cells == [
        ["Training", "19", "1", "200", "209", "218"],
        ["Test", "20", "0", "219", "228", "238"],
        ["All", "39", "1", "200", "219", "238"],
    ]
