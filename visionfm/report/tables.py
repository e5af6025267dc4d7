"""Metrics as tables for people: every task's numbers by dataset, class, threshold, part of the data and run.

From the long metrics table to `Table`s of text; no HTML here.
Invariant: a value never stands without its n; a missing one shows a dash and its reason in words.
"""

from collections.abc import Sequence
from typing import Any

from visionfm.figures.tables import Cell, Table
from visionfm.metrics.binary import AT_THRESHOLD
from visionfm.metrics.calibration import BEFORE
from visionfm.metrics.calibration import METRICS as CALIBRATION
from visionfm.metrics.catalogue import METRICS, metric_name
from visionfm.metrics.decisions import CONFORMAL
from visionfm.metrics.written import NO_VALUE, interval, missing, number, text_of
from visionfm.tasks.results import WHOLE, TaskModel, whole
from visionfm.tasks.runs import FOLD_MEAN, MEAN, OBSERVER, mean_run
from visionfm.tasks.target_types import TYPES

COUNTS = ("n", "n_positive", "n_subjects")
OF_CLASSES = ("binary", "multiclass", "multilabel")  # their answers become a yes or no
CHOSEN_THERE = (
    "On these data the epoch, the settings of the baselines and every threshold but 0.5 were chosen, and probabilities "
    "calibrated where the task asks for it, so that these numbers are better than those on new data."
)

OVER_FOLDS = (
    "Each fold's decoder was tested on people whom it never saw; foldmean is the mean of these values. Of external "
    "data each decoder was asked everybody."
)


def means(result: TaskModel) -> list[str]:
    """Return the name that `evaluate` gave to the mean over seeds (and repeats of folds), where there are several."""
    return [MEAN] if (result.metrics["run"] == MEAN).any() else []


def _what(result: TaskModel, run: str) -> str:
    """Return what a run's numbers are, in words."""
    outside = "; of external data the mean over their decoders" if result.external else ""
    pooled = f"all folds' answers together{outside}" if result.decoders else ""
    if run == MEAN:
        repeats = result.block.split.repeats if result.block.split else 1
        over = ["seeds"] if len(result.runs) > repeats else []
        over += ["repeats of the folds"] if repeats > 1 else []
        return f"mean over {' and '.join(over)}" + (f"; {pooled}" if pooled else "")
    return pooled or run


def metric_tables(result: TaskModel) -> list[tuple[str, Table]]:
    """Return (heading, table) of all numbers: of test data, of all parts and runs together, of validation data.

    What depends on a yes or no has a table of its own, with a row per threshold, and so has calibration.
    """
    metrics, runs = result.metrics, result.runs
    there = set(metrics["run"])
    baselines = [name for name in result.baselines if "-" not in name]
    baselines = [mean_run(name) if mean_run(name) in there else name for name in baselines]
    test = metrics[metrics["split"] == "test"]
    one_modality, fewer = (~whole(test[name]) for name in ("modality", "modalities"))
    shown = [*means(result), *runs]
    first = test["run"] == shown[0]
    folds = [FOLD_MEAN, *result.decoders_of(runs)] if result.decoders else []
    everything = ~one_modality & ~fewer
    of = f" ({_what(result, shown[0])})" if len(runs) > 1 or folds else ""
    name = f"{result.task}, {result.model}: "
    tables = _themes(result, "Test data", f"{name}test data{of}", [], test[everything & first])

    def of_runs(names: Sequence[str]) -> Any:
        rows = test[everything & test["run"].isin(names)]
        return rows.assign(part=rows["run"])

    alone = test[one_modality & first] if test[one_modality]["modality"].nunique() > 1 else test[:0]
    part = test[fewer & first]
    rest = metrics[(metrics["split"] != "test") & (metrics["run"] == shown[0])]
    rest = rest[whole(rest["modality"]) & whole(rest["modalities"])]
    parts = [
        of_runs([*baselines, OBSERVER]),
        of_runs(runs if len(shown) > len(runs) else runs[1:]),
        of_runs(folds),
        alone.assign(part=[f"{modality} alone" for modality in alone["modality"]]),
        part.assign(part=[f"with {names} only" for names in part["modalities"]]),
    ]
    parts = [rows for rows in parts if len(rows)]
    if parts:
        caption, note = f"{name}by part and run", OVER_FOLDS if folds else ""
        tables += _themes(result, "By part and run", caption, ["part"], _joined(parts), note)
    for split in dict.fromkeys(rest["split"]):
        rows, note = rest[rest["split"] == split], CHOSEN_THERE if split == "validation" else ""
        tables += _themes(result, f"On {split} data", f"{name}on {split} data{of}", [], rows, note)
    return tables


def _joined(parts: Sequence[Any]) -> Any:
    import pandas as pd

    return pd.concat(parts, ignore_index=True)


def _themes(
    result: TaskModel, heading: str, caption: str, by: Sequence[str], rows: Any, note: str = ""
) -> list[tuple[str, Table]]:
    """Return (heading, table) of rows: what stands for itself, what needs a yes or no, calibration, sets of classes."""
    by = [*(["dataset"] if rows["dataset"].nunique() > 1 else []), *by]
    survival = any(TYPES[target["type"]].at_times for target in result.targets.values())
    classes = [name for name, target in result.targets.items() if target["type"] in OF_CLASSES]
    at_threshold = rows["metric"].isin(AT_THRESHOLD) & rows["target"].isin(classes)
    of_probabilities = rows["metric"].isin(CALIBRATION)
    of_sets = rows["metric"].isin(CONFORMAL)
    others = ~at_threshold & ~of_probabilities & ~of_sets
    found = []
    if others.any():
        found.append((heading, pivot(rows[others], by, caption, survival, note)))
    if at_threshold.any():
        table = thresholds(rows[at_threshold], by, f"{caption}, where the answer is a yes or no", note)
        found.append((f"{heading}: yes or no", table))
    if of_probabilities.any():
        table = calibration(rows[of_probabilities], by, f"{caption}, calibration of the probabilities", note)
        found.append((f"{heading}: calibration", table))
    if of_sets.any():
        of_level = rows[of_sets].rename(columns={"operating_point": "asked"}).assign(operating_point=None)
        table = pivot(of_level, [*by, "asked"], f"{caption}, sets of classes", note=note)
        found.append((f"{heading}: sets of classes", table))
    return found


def thresholds(rows: Any, by: Sequence[str], caption: str, note: str = "") -> Table:
    """Return what depends on a threshold: a row per part, class and threshold."""
    rows = rows.assign(
        threshold=[_threshold(record) for record in rows.to_dict("records")], operating_point=None, at=rows["threshold"]
    )
    return pivot(rows, [*by, "threshold"] if rows["threshold"].any() else by, caption, note=note)


def calibration(rows: Any, by: Sequence[str], caption: str, note: str = "") -> Table:
    """Return how right probabilities are; with those before `calibrate`, where it was asked for."""
    before = rows["operating_point"] == BEFORE
    if not before.any():
        return pivot(rows, by, caption, note=note)
    times = ["before" if one else "after" for one in before]
    rows = rows.assign(probabilities=times, operating_point=None)
    order = [*by, "probabilities"]
    return pivot(rows.sort_values("probabilities", ascending=False, kind="stable"), order, caption, note=note)


def _threshold(record: dict[str, Any]) -> str:
    """Return an operating point in words; empty where the most probable class is the answer."""
    point = text_of(record["operating_point"])
    if not point or point == "0.5":
        return point
    how = "largest sensitivity + specificity" if point == "validation" else f"{point}"
    at = "" if missing(record["threshold"]) else f"{number(float(record['threshold']), 'auroc')}: "
    return f"{at}{how} on validation"


def _metric_column(row: dict[str, Any]) -> str:
    if row["metric"] == "success_rate":
        return f"within {text_of(row['operating_point'])}"
    return metric_name(row["metric"])


def pivot(rows: Any, by: Sequence[str], caption: str, survival: bool = False, note: str = "") -> Table:
    """Return metrics side by side, one row for each (part, target, class, n)."""
    records = rows.to_dict("records")
    several_targets = len({record["target"] for record in records}) > 1
    several_classes = any(text_of(record["class"]) for record in records)
    after = [name for name in by if name in ("threshold", "probabilities")]
    before = [name for name in by if name not in after]
    heads = [*before, *(["target"] if several_targets else []), *(["class"] if several_classes else []), *after]
    if not heads:
        heads = ["target"]
    columns = list(dict.fromkeys(_metric_column(record) for record in records))
    places: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in records:
        key = (*(text_of(record[name]) for name in heads), *(_whole_number(record[name]) for name in COUNTS))
        places.setdefault(key, {})[_metric_column(record)] = record
    notes: dict[str, str] = {}
    body = []
    for key, values in places.items():
        n, positives, subjects = key[len(heads) :]
        # Not broken within: the columns of a wide table are narrow.
        small = [f"{positives}\u00a0{'events' if survival else 'positive'}"] if positives else []
        small.append(f"{subjects}\u00a0subject" + ("s" if subjects != "1" else ""))
        counted = {METRICS[record["metric"]].counts for record in values.values() if record["metric"] in METRICS}
        small = [*sorted(counted - {""}), *small]
        cells = [Cell(_head(name, text, survival)) for name, text in zip(heads, key, strict=False)]
        cells.append(Cell(n, "\n".join(small), numeric=True))
        body.append(cells + [_value(values.get(column), notes) for column in columns])
    marked = [note] if note else []
    marked += [f"{mark} {text}" for text, mark in notes.items()]
    shown = ["horizon" if survival and name == "class" else name for name in heads]
    return Table(caption, [*shown, "n", *columns], body, heads=len(heads), notes=marked)


def _whole_number(value: Any) -> str:
    return "" if missing(value) else f"{int(value):,}"


def _head(name: str, text: str, survival: bool = False) -> str:
    if name == "dataset" and text in WHOLE:
        return "all, pooled"
    if name == "class" and text in WHOLE:
        if survival:
            return "all times"
        return "macro" if text == "macro" else "all classes"
    return text


def _value(record: dict[str, Any] | None, notes: dict[str, str]) -> Cell:
    if record is None:
        return Cell("", numeric=True)
    reason = text_of(record["reason"])
    if missing(record["value"]):
        return Cell(NO_VALUE, numeric=True, mark=_mark(reason or "no reason was given", notes))
    metric = record["metric"]
    small = interval(record["ci_low"], record["ci_high"], metric)
    unit = text_of(record["unit"])
    value = number(float(record["value"]), metric) + (f" {unit}" if unit else "")
    return Cell(value, small, numeric=True, mark=_mark(reason, notes) if reason else "")


def _mark(reason: str, notes: dict[str, str]) -> str:
    return notes.setdefault(reason, f"[{len(notes) + 1}]")
