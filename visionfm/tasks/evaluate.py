"""Stage `evaluate`: predictions of all runs -> metrics.parquet, one row per metric.

Rows are over all, by dataset, by modality (pooled) and by subset of modalities (fused), for each split and run; runs
that differ only in their seed get a mean as well. Thresholds are chosen on the validation rows of the same run. Masks
are measured image by image from their archives, into image_metrics.parquet.
Invariant: each row has its n, and its value and interval or the reason why not.
"""

import argparse
import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.errors import UsageError
from visionfm.metrics.bootstrap import interval
from visionfm.metrics.catalogue import headline, unit_of
from visionfm.runtime.progress import track
from visionfm.tasks import kind_of
from visionfm.tasks.prediction_arrays import ALL, Answers, Part, read_runs
from visionfm.tasks.runs import OBSERVER, read_run
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from visionfm.tasks.target_types import type_of
from visionfm.tasks.vectors.score import Line, score

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
Key = tuple[str, Part, str | None, str, str | None]  # target, part, class, metric, operating point
log = logging.getLogger("visionfm")


class Archives(NamedTuple):
    """What only segmentation reads and writes beside its predictions: archives in the order of the predictions."""

    masks: list[Path]
    probabilities: list[Path]
    roots: dict[str, Path]
    image_metrics: Path
    workers: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument(
        "--predictions", type=Path, required=True, nargs="+", metavar="FILE", help="predictions.parquet of each run"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="metrics.parquet")
    of_masks = parser.add_argument_group("segmentation")
    of_masks.add_argument("--masks", type=Path, nargs="+", metavar="FILE", help="masks.zip of each run")
    of_masks.add_argument("--probabilities", type=Path, nargs="+", metavar="FILE", help="probabilities.zip of each run")
    of_masks.add_argument("--roots", nargs="+", metavar="DATASET=DIR", help="the folders of the images and masks")
    of_masks.add_argument("--image-metrics-out", type=Path, metavar="FILE", help="image_metrics.parquet")
    of_masks.add_argument("--workers", type=int, default=0, metavar="N", help="processes that measure masks")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = EvaluateSettings.model_validate_json(args.settings)
    has_masks = kind_of(settings.kind).block.has_masks
    evaluate(args.predictions, args.out, settings, _archives(args) if has_masks else None)


def _archives(args: argparse.Namespace) -> Archives:
    asked = (args.masks, args.probabilities, args.roots, args.image_metrics_out)
    if any(one is None for one in asked) or not len(args.predictions) == len(args.masks) == len(args.probabilities):
        raise UsageError(
            "masks are measured from their archives",
            expected="--masks and --probabilities, one file per --predictions, --roots and --image-metrics-out",
        )
    roots = {name: folders[0] for name, folders in by_dataset(args.roots).items()}
    return Archives(args.masks, args.probabilities, roots, args.image_metrics_out, args.workers)


def evaluate(predictions: list[Path], out: Path, settings: EvaluateSettings, archives: Archives | None = None) -> None:
    """Publish the metrics of these runs at `out`; `archives` for segmentation."""
    read = {"predictions": predictions}
    read |= {} if archives is None else {"masks": archives.masks, "probabilities": archives.probabilities}
    digests = {path: artifacts.payload_digest(path) for paths in read.values() for path in paths}
    inputs = {
        f"{name}.{number}": digest
        for name, paths in read.items()
        for number, digest in enumerate(sorted(digests[path] for path in paths))
    }
    made_by = artifacts.provenance("evaluate", settings.model_dump(mode="json"), inputs, seed=settings.seed)
    outputs = [out] if archives is None else [out, archives.image_metrics]
    if all([artifacts.recall(path, made_by) for path in outputs]):
        return
    if archives is not None:
        from visionfm.tasks.segmentation import image_metrics
        from visionfm.tasks.segmentation import score as masks

        runs = [image_metrics.RunFiles(*paths) for paths in zip(*read.values(), strict=True)]
        measured = image_metrics.measure(
            runs, archives.roots, archives.image_metrics, made_by, digests, settings, archives.workers
        )
        rows = rows_of(masks.score(measured, settings), settings)
    elif kind_of(settings.kind).family == "maps":
        rows = rows_of(kind_of(settings.kind).part("score").score(predictions, settings), settings)
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
    scoring = import_module(kind_of(settings.kind).scoring)
    work = [(name, part, rows) for name in settings.targets for part, rows in answers[name].parts(pooled)]
    found: dict[Key, Line] = {}
    seen: dict[tuple[str, str, bytes], list[Line]] = {}
    for name, part, rows in track(work, total=len(work), what=f"evaluate {run}", unit="groups"):
        of_target, target = answers[name], settings.targets[name]
        same = (name, part.subset, rows.tobytes())  # a task with one dataset: by dataset is over all
        if same not in seen:
            chosen = _thresholds(of_target, target, part.subset, scoring.thresholds)
            seen[same] = score(
                target, of_target.truth_NK[rows], of_target.score_NK[rows], of_target.subject_N[rows], chosen,
                draws=settings.draws, seed=settings.seed, scorers_of=scoring.scorers,
            )  # fmt: skip
        found |= {(name, part, line.label, line.metric, line.point): line for line in seen[same]}
    return found


def _thresholds(answers: Answers, target: TargetSpec, subset: str, of: Any) -> list[float | str]:
    """Return thresholds from all validation samples with this subset of modalities: the same for every dataset."""
    rows = (answers.split_N == "validation") & (answers.subset_N == subset)
    found: list[float | str] = of(target, answers.truth_NK[rows], answers.score_NK[rows])
    return found


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
        "unit": unit_of(metric, settings.targets[target].unit if target in settings.targets else None),
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
        label = "macro" if type_of(target.type, target.form).over_classes else None
        shown = (name, label, headline(settings.kind, target.type))
        for row in test:
            if (row["target"], row["class"], row["metric"]) != shown or row["value"] is None:
                continue
            span = "" if row["ci_low"] is None else f" ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
            value = f"{row['metric']} {row['value']:.3f}{span}"
            log.info("evaluate: %s: %s: %s, n %d, %d subjects", row["run"], name, value, row["n"], row["n_subjects"])
