"""Stage `evaluate`: predictions of all runs -> metrics.parquet, one row per metric.

Rows are by dataset, and in it by subset of modalities (fused), for each split and run; pooled over datasets only where
the task asks for it. Runs that differ only in their seed get a mean as well. Folds get what their decoders answered
together, and the mean of their values (`runs.py`). Thresholds are chosen on the validation rows of the same run. Masks
are measured image by image from their archives, into image_metrics.parquet.
Invariant: each row has its n, and its value and interval or the reason why not.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.errors import UsageError
from visionfm.metrics.catalogue import headline, unit_of
from visionfm.metrics.evidence import Members, OverFolds
from visionfm.metrics.measure import Measure
from visionfm.metrics.written import interval, number
from visionfm.runtime.progress import track
from visionfm.tasks import kind_of, scored
from visionfm.tasks.prediction_arrays import ALL, Part
from visionfm.tasks.runs import FOLD_MEAN, OBSERVER, fold_of, mean_run, pooled_run, read_run
from visionfm.tasks.scored import Scored
from visionfm.tasks.settings import EvaluateSettings
from visionfm.tasks.target_types import type_of

SCHEMA = "visionfm/metrics/1"
COLUMNS = {
    "task": "string", "model": "string", "head": "string", "fusion": "string",
    "run": "string", "seed": "int64", "repeat": "int64", "fold": "int64", "train_fraction": "double", "shots": "int64",
    "dataset": "string", "modality": "string", "modalities": "string", "split": "string",
    "target": "string", "class": "string", "metric": "string", "threshold": "double", "operating_point": "string",
    "value": "double", "ci_low": "double", "ci_high": "double", "interval": "string",
    "n": "int64", "n_positive": "int64", "n_subjects": "int64",
    "unit": "string", "reason": "string",
}  # fmt: skip
Row = dict[str, Any]
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
        f"{name}.{at}": digest
        for name, paths in read.items()
        for at, digest in enumerate(sorted(digests[path] for path in paths))
    }
    made_by = artifacts.provenance("evaluate", settings.model_dump(mode="json"), inputs)
    outputs = [out] if archives is None else [out, archives.image_metrics]
    if all([artifacts.recall(path, made_by) for path in outputs]):
        return
    measured = None
    if archives is not None:
        from visionfm.tasks.segmentation import image_metrics

        runs = [image_metrics.RunFiles(*paths) for paths in zip(*read.values(), strict=True)]
        measured = image_metrics.measure(
            runs, archives.roots, archives.image_metrics, made_by, digests, settings, archives.workers
        )
    rows = metric_rows(scored.read(predictions, settings, measured), settings)
    artifacts.write_table(out, artifacts.table_of(rows, COLUMNS), made_by, schema=SCHEMA)
    log.info("evaluate: %d rows; %s", len(rows), out)


def metric_rows(runs: Mapping[str, Mapping[str, Scored]], settings: EvaluateSettings) -> list[Row]:
    """Return the rows of metrics.parquet for run -> target -> answers: run by run, then means, then each fold's."""
    families: dict[str, list[str]] = defaultdict(list)
    folds: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        (families if fold_of(run) is None else folds)[mean_run(run)].append(run)
    means = [name for name, members in families.items() if len(members) > 1]
    over_folds = [mean_run(members[0], FOLD_MEAN) for members in folds.values()]
    names = [*(run for members in families.values() for run in members), *means, *over_folds]
    rows: dict[str, list[Row]] = {run: [] for run in [*names, *(run for members in folds.values() for run in members)]}
    for name in dict.fromkeys([*families, *folds]):
        members = families[name]
        mean = name if len(members) > 1 else None
        for target in dict.fromkeys(target for run in [*members, *folds[name]] for target in runs[run]):
            of_members = {run: runs[run][target] for run in members if target in runs[run]}
            found, together = _of_family(of_members, target, mean, settings) if members else ({}, {})
            of_folds = {run: runs[run][target] for run in folds[name] if target in runs[run]}
            for part in (found, _of_folds(of_folds, target, mean, together, settings)):
                for run, of_run in part.items():
                    rows[run] += of_run
    for name in names:
        _report(rows[name], settings)
    return [row for of_run in rows.values() for row in of_run]


def _of_family(
    runs: Mapping[str, Scored], target: str, mean: str | None, settings: EvaluateSettings
) -> tuple[dict[str, list[Row]], dict[Part, Sequence[Measure]]]:
    """Return run -> rows of the parts of one target; with those of the `mean` over these runs, where it has a name.

    Also the measures that stand for the family: the mean's, or those of its only run.
    """
    parts = {run: of.parts(settings) for run, of in runs.items()}
    seen: dict[bytes, dict[str, Sequence[Measure]]] = {}
    found: dict[str, list[Row]] = defaultdict(list)
    together: dict[Part, Sequence[Measure]] = {}
    every = dict.fromkeys(part for of_run in parts.values() for part in of_run)
    for part in track(every, total=len(every), what=f"evaluate {mean or next(iter(runs))}", unit="groups"):
        rows = {run: parts[run][part] for run in runs if part in parts[run]}
        same = part.subset.encode() + b"".join(rows_N.tobytes() for rows_N in rows.values())
        if same not in seen:  # pooled modalities that are one dataset each
            seen[same] = {run: runs[run].measures(rows_N) for run, rows_N in rows.items()}
        for run, measures in seen[same].items():
            found[run] += [_row(run, target, part, measure, settings) for measure in measures]
        together[part] = next(iter(seen[same].values()))
        if mean is not None:
            ids = {run: runs[run].samples.sample_N[rows_N] for run, rows_N in rows.items()}
            together[part] = mean_over_runs(seen[same], ids, list(runs))
            found[mean] += [_row(mean, target, part, measure, settings) for measure in together[part]]
    return found, together


def _of_folds(
    runs: Mapping[str, Scored],
    target: str,
    mean: str | None,
    together: Mapping[Part, Sequence[Measure]],
    settings: EvaluateSettings,
) -> dict[str, list[Row]]:
    """Return run -> rows of the folds' decoders, and of means over them; `together` are all folds' answers as one set.

    Samples that each fold tests apart get the mean of the folds' values. What every decoder is asked (external data)
    gets the mean over decoders, under the name of what they answer together; and over all divisions under `mean`.
    """
    found: dict[str, list[Row]] = defaultdict(list)
    parts = {run: of.parts(settings) for run, of in runs.items()}
    every = dict.fromkeys(part for of_run in parts.values() for part in of_run)
    for part in track(every, total=len(every), what=f"evaluate {pooled_run(next(iter(runs), ''))}", unit="groups"):
        rows = {run: parts[run][part] for run in runs if part in parts[run]}
        measured = {run: runs[run].measures(rows_N) for run, rows_N in rows.items()}
        for run, measures in measured.items():
            found[run] += [_row(run, target, part, measure, settings) for measure in measures]
        if part.split != "test" or len(runs) < 2:
            continue
        ids = {run: runs[run].samples.sample_N[rows_N] for run, rows_N in rows.items()}
        joined: dict[str, list[str]] = defaultdict(list)
        for run in runs:
            joined[pooled_run(run)].append(run)
        if len(rows) < len(runs) or not _asked_the_same(ids):  # a single fold may test all of a small dataset
            name = mean_run(next(iter(runs)), FOLD_MEAN)
            means = fold_means(measured, list(runs), together.get(part, ()))
            found[name] += [_row(name, target, part, measure, settings) for measure in means]
            continue
        for name, members in [*joined.items(), *([(mean, list(runs))] if mean is not None else [])]:
            there = [run for run in members if run in rows]
            means = mean_over_runs({run: measured[run] for run in there}, {run: ids[run] for run in there}, members)
            found[name] += [_row(name, target, part, measure, settings) for measure in means]
    return found


def _asked_the_same(ids: Mapping[str, NDArray[np.object_]]) -> bool:
    """Tell whether all decoders were asked the same samples; of two folds none is the same."""
    first = next(iter(ids.values()))
    return len(first) > 0 and all(np.array_equal(one, first) for one in ids.values())


# --- several runs ---------------------------------------------------------------------------------------------------


def mean_over_runs(
    measured: Mapping[str, Sequence[Measure]], ids: Mapping[str, NDArray[np.object_]], runs: Sequence[str]
) -> list[Measure]:
    """Return the mean over runs of each measure; its interval joins theirs, with the correlation of their subjects."""
    by_key = {run: {measure.key: measure for measure in measures} for run, measures in measured.items()}
    first_run, first = next(iter(by_key.items()))
    found = []
    for key, measure in first.items():
        members = {run: of_run[key] for run, of_run in by_key.items() if key in of_run}
        notes = {run: member.reason for run, member in members.items() if member.reason}
        notes |= dict.fromkeys([run for run in runs if run not in members], "no such samples")
        shared = set(notes.values()).pop() if len(set(notes.values())) == 1 and len(notes) == len(runs) else None
        reasons = [shared] if shared else [f"{run}: {notes[run]}" for run in runs if run in notes]
        value = float(np.mean([member.value for member in members.values()])) if len(members) == len(runs) else np.nan
        same = all(
            np.array_equal(ids[run], ids[first_run]) and np.array_equal(member.known_N, measure.known_N)
            for run, member in members.items()
        )
        if not np.isnan(value) and not same:
            reasons.append("no interval: the runs were scored on different samples")
        joined = Members({run: member.interval for run, member in members.items()})
        thresholds_R = {member.threshold for member in members.values()}
        found.append(
            Measure(
                *key,
                value,
                joined if same and not np.isnan(value) else None,
                measure.subjects,
                measure.known_N,
                n_positive=measure.n_positive,
                threshold=thresholds_R.pop() if len(thresholds_R) == 1 else None,
                reason="; ".join(reasons) or None,
            )
        )
    return found


def fold_means(
    measured: Mapping[str, Sequence[Measure]], runs: Sequence[str], together: Sequence[Measure]
) -> list[Measure]:
    """Return the mean of the folds' values of each measure of their answers together, which gives it its interval."""
    by_key = {run: {measure.key: measure for measure in measures} for run, measures in measured.items()}
    found = []
    for measure in together:
        values, lost = [], []
        for run in runs:
            of_run = by_key.get(run, {}).get(measure.key)
            if of_run is None or np.isnan(of_run.value):
                lost.append(f"{run}: {of_run.reason if of_run is not None else 'no such samples'}")
            else:
                values.append(of_run.value)
        value = float("nan") if lost else float(np.mean(values))
        evidence = None if lost or measure.evidence is None else OverFolds(value, measure.interval)
        reason = "; ".join(lost) or measure.reason
        found.append(replace(measure, value=value, evidence=evidence, threshold=None, reason=reason, folds_people=None))
    return found


# --- rows -----------------------------------------------------------------------------------------------------------


def _row(run: str, target: str, part: Part, measure: Measure, settings: EvaluateSettings) -> Row:
    interval = measure.interval
    reasons = [measure.reason, None if measure.evidence is None else interval.reason]
    return {
        "task": settings.task, "model": settings.model, "run": run, **_of_run(run, settings),
        "dataset": part.dataset, "modality": part.modality, "modalities": part.subset,
        "split": part.split, "target": target, "class": measure.label,
        "metric": measure.metric, "threshold": measure.threshold, "operating_point": measure.point,
        "value": None if np.isnan(measure.value) else measure.value,
        "ci_low": interval.low, "ci_high": interval.high, "interval": interval.method,
        "n": measure.n, "n_positive": measure.n_positive, "n_subjects": measure.n_subjects,
        "unit": unit_of(measure.metric, settings.targets[target].unit if target in settings.targets else None),
        "reason": "; ".join(reason for reason in reasons if reason) or None,
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


def _report(rows: list[Row], settings: EvaluateSettings) -> None:
    """Say in the log what the run reached on each dataset, and warn of what its test samples cannot tell."""
    test = [row for row in rows if row["split"] == "test" and (row["modality"], row["modalities"]) == (ALL, ALL)]
    missing: dict[tuple[str, str, str | None, str], list[str]] = defaultdict(list)
    for row in test:
        if row["value"] is None and row["class"] != "macro":
            names = missing[row["dataset"], row["target"], row["class"], row["reason"]]
            names += [row["metric"]] if row["metric"] not in names else []
    for (dataset, name, label, reason), metrics in missing.items():
        where = name if label is None else f"{name}, {label}"
        log.warning(
            "evaluate: %s: %s has no %s in test of %s: %s", rows[0]["run"], where, ", ".join(metrics), dataset, reason
        )
    for name, target in settings.targets.items():
        label = "macro" if type_of(target.type, target.form).over_classes else None
        shown = (name, label, headline(settings.kind, target.type))
        for row in test:
            if (row["target"], row["class"], row["metric"]) != shown or row["value"] is None:
                continue
            span = "" if row["ci_low"] is None else f" ({interval(row['ci_low'], row['ci_high'], row['metric'])})"
            value = f"{row['metric']} {number(row['value'], row['metric'])}{span}"
            found = (row["run"], name, row["dataset"], value, row["n"], row["n_subjects"])
            log.info("evaluate: %s: %s on %s: %s, n %d, %d subjects", *found)
