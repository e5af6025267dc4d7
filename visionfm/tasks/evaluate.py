"""Stage `evaluate`: predictions of all runs -> metrics.parquet, one row per metric.

Rows are over all, by dataset, by modality (pooled) and by subset of modalities (fused), for each split and run; runs
that differ only in their seed get a mean as well. Thresholds are chosen on the validation rows of the same run.
Invariant: each row has its n, and its value and interval or the reason why not.
"""

import argparse
import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.metrics.bootstrap import interval
from visionfm.runtime.progress import track
from visionfm.tasks.maps.block import DENSE_KINDS
from visionfm.tasks.maps.score import OBSERVER, dense_runs
from visionfm.tasks.prediction_arrays import ALL, Answers, Part, read_runs
from visionfm.tasks.runs import read_run
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from visionfm.tasks.vectors.score import Line, score, thresholds

SCHEMA = "visionfm/metrics/1"
COLUMNS = {
    "task": "string", "model": "string", "head": "string", "fusion": "string",
    "run": "string", "seed": "int64", "fold": "int64", "train_fraction": "double", "shots": "int64",
    "dataset": "string", "modality": "string", "modalities": "string", "split": "string", "subgroup": "string",
    "target": "string", "class": "string", "metric": "string", "threshold": "double", "operating_point": "string",
    "value": "double", "ci_low": "double", "ci_high": "double",
    "n": "int64", "n_positive": "int64", "n_subjects": "int64",
    "unit": "string", "reason": "string",
}  # fmt: skip
HEADLINES = {
    "classification": "auroc",
    "regression": "r2",
    "segmentation": "dice",
    "landmarks": "mre",
    "progression": "auroc",
}
IN_UNITS = ("mae", "rmse")
Key = tuple[str, Part, str | None, str, str | None]  # target, part, class, metric, operating point
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument(
        "--predictions", type=Path, required=True, nargs="+", metavar="FILE", help="predictions.parquet of each run"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="metrics.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    evaluate(args.predictions, args.out, EvaluateSettings.model_validate_json(args.settings))


def evaluate(predictions: list[Path], out: Path, settings: EvaluateSettings) -> None:
    """Publish the metrics of these runs at `out`."""
    digests = sorted(artifacts.payload_digest(path) for path in predictions)
    inputs = {f"predictions.{number}": digest for number, digest in enumerate(digests)}
    made_by = artifacts.provenance("evaluate", settings.model_dump(mode="json"), inputs, seed=settings.seed)
    if artifacts.recall(out, made_by):
        return
    if settings.kind in DENSE_KINDS:
        rows = rows_of(dense_runs(predictions, settings), settings)
    else:
        rows = metric_rows(read_runs(predictions, settings), settings)
    artifacts.write_table(out, table_of(rows), made_by, schema=SCHEMA)
    log.info("evaluate: %d rows; %s", len(rows), out)


def table_of(rows: list[dict[str, Any]]) -> Any:
    """Return rows of metrics.parquet as a `pyarrow.Table`."""
    import pyarrow as pa

    schema = pa.schema([(name, getattr(pa, {"double": "float64"}.get(kind, kind))()) for name, kind in COLUMNS.items()])
    return pa.Table.from_pylist(rows, schema=schema)


def metric_rows(runs: Mapping[str, Mapping[str, Answers]], settings: EvaluateSettings) -> list[dict[str, Any]]:
    """Return the rows of metrics.parquet for run -> target -> answers."""
    return rows_of({run: _score_run(run, answers, settings) for run, answers in runs.items()}, settings)


def rows_of(scored: dict[str, dict[Key, Line]], settings: EvaluateSettings) -> list[dict[str, Any]]:
    """Return the rows of these lines, and of their means over seeds."""
    families: dict[str, list[str]] = defaultdict(list)
    for run in scored:
        if re.match(r"seed\d", run):
            families[re.sub(r"^seed\d+", "mean", run)].append(run)
    for name, members in families.items():
        if len(members) > 1:
            scored[name] = _mean({run: scored[run] for run in members})
    rows = [_row(run, key, line, settings) for run, lines in scored.items() for key, line in lines.items()]
    for run in scored:
        _report([row for row in rows if row["run"] == run], settings)
    return rows


# --- one run --------------------------------------------------------------------------------------------------------


def _score_run(run: str, answers: Mapping[str, Answers], settings: EvaluateSettings) -> dict[Key, Line]:
    pooled = settings.fusion == "pooled"
    work = [(name, part, rows) for name in settings.targets for part, rows in answers[name].parts(pooled)]
    found: dict[Key, Line] = {}
    seen: dict[tuple[str, str, bytes], list[Line]] = {}
    for name, part, rows in track(work, total=len(work), what=f"evaluate {run}", unit="groups"):
        of_target, target = answers[name], settings.targets[name]
        same = (name, part.subset, rows.tobytes())  # a task with one dataset: by dataset is over all
        if same not in seen:
            chosen = _thresholds(of_target, target, part.subset)
            seen[same] = score(
                target, of_target.truth_NK[rows], of_target.score_NK[rows], of_target.subject_N[rows], chosen,
                draws=settings.draws, seed=settings.seed,
            )  # fmt: skip
        found |= {(name, part, line.label, line.metric, line.point): line for line in seen[same]}
    return found


def _thresholds(answers: Answers, target: TargetSpec, subset: str) -> list[float | str]:
    """Return thresholds from all validation samples with this subset of modalities: the same for every dataset."""
    rows = (answers.split_N == "validation") & (answers.subset_N == subset)
    return thresholds(target, answers.truth_NK[rows], answers.score_NK[rows])


# --- several runs ---------------------------------------------------------------------------------------------------


def _mean(scored: Mapping[str, Mapping[Key, Line]]) -> dict[Key, Line]:
    """Return the mean over runs: of the values, and draw by draw, since equal subjects are drawn equally."""
    first = next(iter(scored.values()))
    found = {}
    for key, line in first.items():
        lines = {run: of_run[key] for run, of_run in scored.items() if key in of_run}
        notes = {run: other.reason for run, other in lines.items() if other.reason}
        notes |= dict.fromkeys(scored.keys() - lines.keys(), "no such samples")
        shared = set(notes.values()).pop() if len(set(notes.values())) == 1 and len(notes) == len(scored) else None
        reasons = [shared] if shared else [f"{run}: {notes[run]}" for run in scored if run in notes]
        if len(lines) < len(scored):
            values_D = np.full(1, np.nan)
        elif all(_same_samples(line, other) for other in lines.values()):
            values_D = np.mean([other.values_D for other in lines.values()], axis=0)
        else:
            values_D = np.mean([other.values_D[:1] for other in lines.values()], axis=0)
        thresholds_R = {other.threshold for other in lines.values()}
        found[key] = Line(
            line.label, line.metric, line.point, values_D, line.n, line.n_positive, line.subjects_S,
            threshold=thresholds_R.pop() if len(thresholds_R) == 1 else None, reason="; ".join(reasons) or None,
            unit=line.unit,
        )  # fmt: skip
    return found


def _same_samples(line: Line, other: Line) -> bool:
    return line.n == other.n and np.array_equal(line.subjects_S, other.subjects_S)


# --- rows -----------------------------------------------------------------------------------------------------------


def _row(run: str, key: Key, line: Line, settings: EvaluateSettings) -> dict[str, Any]:
    target, part, label, metric, point = key
    value, low, high = float(line.values_D[0]), None, None
    reasons = [line.reason] if line.reason else []
    if not np.isnan(value):
        bounds: tuple[float, float] | str = "no interval: the runs were scored on different samples"
        if line.bounds is not None:
            bounds = line.bounds
            reasons.append(f"interval by Student's t: {len(line.subjects_S)} subjects are too few to draw from")
        elif len(line.values_D) == 1 + settings.draws:
            bounds = interval(line.values_D[1:], len(line.subjects_S))
        if isinstance(bounds, str):
            reasons.append(bounds)
        else:
            low, high = bounds
    return {
        "task": settings.task, "model": settings.model, "run": run, **_of_run(run, settings),
        "dataset": part.dataset, "modality": part.modality, "modalities": part.subset,
        "split": part.split, "subgroup": None, "target": target, "class": label,
        "metric": metric, "threshold": line.threshold, "operating_point": point,
        "value": None if np.isnan(value) else value, "ci_low": low, "ci_high": high,
        "n": line.n, "n_positive": line.n_positive, "n_subjects": len(line.subjects_S),
        "unit": settings.targets[target].unit if metric in IN_UNITS else line.unit,
        "reason": "; ".join(reasons) or None,
    }  # fmt: skip


def _of_run(run: str, settings: EvaluateSettings) -> dict[str, Any]:
    """Return what a run's name says, its head and its fusion: baselines join modalities side by side."""
    about = read_run(run)._asdict()
    if run == OBSERVER:
        return {**about, "head": OBSERVER, "fusion": settings.fusion}
    baseline = about.pop("baseline")
    if baseline is None:
        return {"head": settings.head, "fusion": settings.fusion, **about}
    return {"head": baseline, "fusion": "pooled" if settings.fusion == "pooled" else "concat", **about}


def _report(rows: list[dict[str, Any]], settings: EvaluateSettings) -> None:
    """Say in the log what the run reached, and warn of what the test split cannot tell."""
    test = [
        row for row in rows
        if row["split"] == "test" and (row["dataset"], row["modality"], row["modalities"]) == (ALL, ALL, ALL)
    ]  # fmt: skip
    missing: dict[tuple[str, str | None, str], list[str]] = defaultdict(list)
    for row in test:
        if row["value"] is None and row["class"] != "macro":
            names = missing[row["target"], row["class"], row["reason"]]
            names += [row["metric"]] if row["metric"] not in names else []
    for (name, label, reason), metrics in missing.items():
        where = name if label is None else f"{name}, {label}"
        log.warning("evaluate: %s: %s has no %s in test: %s", rows[0]["run"], where, ", ".join(metrics), reason)
    for name, target in settings.targets.items():
        label = "macro" if target.type in ("multiclass", "multilabel", "mask") else None
        headline = (name, label, "concordance" if target.type == "event" else HEADLINES[settings.kind])
        for row in test:
            if (row["target"], row["class"], row["metric"]) != headline or row["value"] is None:
                continue
            span = "" if row["ci_low"] is None else f" ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
            value = f"{row['metric']} {row['value']:.3f}{span}"
            log.info("evaluate: %s: %s: %s, n %d, %d subjects", row["run"], name, value, row["n"], row["n_subjects"])
