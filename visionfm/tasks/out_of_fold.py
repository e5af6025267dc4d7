"""Out-of-fold answers: what the decoders of all folds said together, each of the people whom it never saw.

Invariant: each sample of the task's own datasets stands there once. What every fold's decoder answers (external data)
is left out: five answers to one question are no five samples; their values are averaged instead.
"""

from collections.abc import Mapping
from typing import Any

from visionfm.tasks.runs import fold_of, pooled_run


def pooled(frames: Mapping[str, Any]) -> dict[str, Any]:
    """Return pooled run -> its test rows, from run -> rows (DataFrames with `run`, `split` and `sample_id`)."""
    import pandas as pd

    of: dict[str, list[Any]] = {}
    for run, rows in frames.items():
        if fold_of(run) is not None:
            of.setdefault(pooled_run(run), []).append(rows[rows["split"] == "test"])
    found = {}
    for name, parts in of.items():
        if len(parts) < 2:  # one fold alone is no cross-validation
            continue
        rows = pd.concat(parts, ignore_index=True)
        answered_by = rows.groupby("sample_id", sort=False)["run"].transform("nunique")
        found[name] = rows[answered_by == 1].reset_index(drop=True)
    return found


def shown(frames: Mapping[str, Any]) -> dict[str, Any]:
    """Return pooled run -> what a figure of it draws: its rows, and beside them what is no out-of-fold answer.

    That are the validation rows of all its decoders, and what the first fold's decoder answered of external data.
    """
    import pandas as pd

    found = {}
    for name, rows in pooled(frames).items():
        members = [of for run, of in frames.items() if fold_of(run) is not None and pooled_run(run) == name]
        first = members[0]
        beside = first[(first["split"] == "test") & ~first["sample_id"].isin(set(rows["sample_id"]))]
        found[name] = pd.concat([rows, beside, *(of[of["split"] != "test"] for of in members)], ignore_index=True)
    return found


def wider(rows: Any) -> float:
    """Return by how much errors are larger of these test rows with a known answer; 1 where no folds answered them.

    The figure's own people count: fewer than the task's where it has several datasets, so that bands err to the wide.
    """
    from visionfm.metrics.intervals import wider_by  # scipy, which a dry-run does not need

    runs = rows["run"].unique()
    of_folds = len(runs) > 1 and all(fold_of(run) is not None for run in runs)
    return wider_by(rows["subject_id"].nunique()) if of_folds else 1.0
