"""Tables for people as CSV files: of the page, and of the paper."""

import csv
import io
import re

from visionfm.figures.tables import Table, harmless
from visionfm.metrics.written import MINUS, NO_VALUE


def csv_table(table: Table) -> str:
    """Return a table as CSV: what stands in brackets beside a value has a column of its own, and so have marks.

    Numbers are written with a plain minus and no comma; what is not there is empty.
    """
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    parts = [("", "text"), *((f" ({what})", part) for what, part in (("beside", "small"), ("note", "mark")))]
    shown = [
        (name + suffix, [_plain(getattr(cell, part)) for cell in cells])
        for name, cells in zip(table.columns, columns, strict=True)
        for suffix, part in parts
        if part == "text" or any(getattr(cell, part) for cell in cells)
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in shown])
    writer.writerows(zip(*(texts for _, texts in shown), strict=True))
    return out.getvalue()


def _plain(text: str) -> str:
    text = " ".join(text.replace("\u00a0", " ").replace("\n", "; ").split())
    text = "" if text == NO_VALUE else text.replace(MINUS, "-")
    if re.fullmatch(r"-?[\d,]+", text):
        return text.replace(",", "")
    return harmless(text)
