"""The texts that say what becomes of synthetic eyes: the published label files, and a table of all their visits."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from visionfm.synthetic.findings import EYES
from visionfm.synthetic.forecasting import Outcome, label_line, table
from visionfm.synthetic.items import Item


def forecasts(items: Sequence[Item]) -> dict[str, str]:
    """Return each modality's table of visits, and the published label files, which have the baselines alone."""
    lines: dict[str, list[str]] = {}
    visits: dict[str, list[tuple[str, str, str, str, Outcome, int]]] = {}
    for item in items:
        if item.outcome is None:
            continue
        path = PurePosixPath(item.path)
        home, name = path.parent.parent, f"{item.split}/{path.name}"
        # Noise is numbered anew in each split: it is of other people.
        subject, eye = item.subject or f"{item.split}_{path.stem}", item.eye or EYES[0]
        row = (name, subject, eye, item.split, item.outcome, item.days_before)
        visits.setdefault(str(home / "visits.csv"), []).append(row)
        if item.days_before == 0:
            lines.setdefault(str(home / f"{item.split}.txt"), []).append(label_line(name, item.outcome))
    texts = {file: "\n".join(rows) + "\n" for file, rows in lines.items()}
    return texts | {file: table(rows) for file, rows in visits.items()}
