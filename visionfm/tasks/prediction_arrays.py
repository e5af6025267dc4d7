"""Predictions as arrays: for each run and target, what was known, what was answered, and for whom.

Reads the rows of predictions.parquet; a null truth becomes NaN and is masked by every metric.
Shape legend: N samples (a subset of modalities counts as a sample of its own), K classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visionfm import artifacts
from visionfm.errors import ArtifactError, UsageError
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Mask
from visionfm.tasks import kind_of
from visionfm.tasks.maps.predict import SCHEMA as DENSE
from visionfm.tasks.out_of_fold import pooled
from visionfm.tasks.predict import SCHEMA as VECTORS
from visionfm.tasks.runs import pooled_run
from visionfm.tasks.settings import EvaluateSettings, TargetSpec

ALL = "all"
SPLITS = ("test", "validation")  # the order; of test each dataset is reported, even one that has no test sample
ROUNDING = 1e-6  # of probabilities computed in single precision
REDO = "run `visionfm predict` again"


class Part(NamedTuple):
    """A group of samples that gets numbers of its own; `all` stands for no restriction, so `dataset` all is pooled."""

    split: str
    dataset: str
    modality: str
    subset: str


@dataclass(frozen=True)
class Samples:
    """Who was asked: an id of each sample (N,), its subject, and the parts to which it belongs."""

    sample_N: NDArray[np.object_]
    subject_N: NDArray[np.object_]
    split_N: NDArray[np.object_]
    dataset_N: NDArray[np.object_]
    modality_N: NDArray[np.object_]
    subset_N: NDArray[np.object_]

    @cached_property
    def subjects(self) -> Subjects:
        """Return the subjects, numbered once for all parts and metrics."""
        import pandas as pd

        place_N, ids_S = pd.factorize(self.subject_N, sort=True)
        return Subjects(place_N.astype(np.intp), len(ids_S))

    def parts(self, settings: EvaluateSettings, known_N: Mask) -> Iterator[tuple[Part, NDArray[np.intp]]]:
        """Yield each part and its rows: each dataset where something is known, and in it each subset of modalities.

        What datasets of the task have together, and each modality of them, comes only where the task asks for it
        (`pool`), and never with an external dataset: two clinics' values differ, and their mixture is neither.
        """
        every = sorted(set(self.dataset_N[known_N])) or sorted(set(self.dataset_N))
        for split in [*SPLITS, *sorted(set(self.split_N) - set(SPLITS))]:
            of_split = self.split_N == split
            whole = of_split & (self.subset_N == ALL)
            there = set(self.dataset_N[of_split]) & set(every)
            for dataset in every if split == "test" else sorted(there):
                of_dataset = self.dataset_N == dataset
                yield Part(split, dataset, ALL, ALL), np.flatnonzero(whole & of_dataset)
                of_both = of_split & of_dataset
                for subset in sorted(set(self.subset_N[of_both]) - {ALL}):
                    yield Part(split, dataset, ALL, subset), np.flatnonzero(of_both & (self.subset_N == subset))
            inside = sorted(there - set(settings.external))
            if settings.pool and len(inside) > 1:
                pooled = whole & np.isin(self.dataset_N, inside)
                yield Part(split, ALL, ALL, ALL), np.flatnonzero(pooled)
                modalities = sorted(set(self.modality_N[pooled])) if settings.fusion == "pooled" else []
                for modality in modalities if len(modalities) > 1 else ():
                    yield Part(split, ALL, modality, ALL), np.flatnonzero(pooled & (self.modality_N == modality))


@dataclass(frozen=True)
class Answers:
    """All answers to one target; binary and value: K = 1, multiclass: truth_NK has one column of class indices.

    Of a timed kind truth_NK is (outcome, days). Event: score_NK is the risk and the probability of the event by the
    end of each interval.
    """

    truth_NK: Floats
    score_NK: Floats
    samples: Samples
    run_N: NDArray[np.object_]  # who answered: of out-of-fold answers another decoder in each fold
    before_NK: Floats | None = None  # the same probabilities as they were before `calibrate`


def read_frames(paths: list[Path], settings: EvaluateSettings) -> dict[str, tuple[Path, Any]]:
    """Return run -> its file and its rows (a DataFrame); runs in natural order (seed2 before seed10)."""
    schema = DENSE if kind_of(settings.kind).family == "maps" else VECTORS
    frames: dict[str, tuple[Path, Any]] = {}
    for path in paths:
        table = artifacts.read_table(path, schema=schema)
        check_origin(path, {key.decode(): value.decode() for key, value in table.schema.metadata.items()}, settings)
        for run, rows in table.to_pandas(types_mapper=_lists_stay).groupby("run", sort=True):
            if run in frames:
                raise UsageError(f"run {run} is given twice", found=f"{frames[run][0]} and {path}", do="give each once")
            frames[run] = (path, rows)
    if not frames:
        raise ArtifactError("the predictions are empty", where=", ".join(map(str, paths)), do=REDO)
    return dict(sorted(frames.items(), key=lambda item: natural(item[0])))


def _lists_stay(type_of_column: Any) -> Any:
    """Return the pandas type of a column of lists, which would otherwise become an object per row."""
    import pandas as pd
    import pyarrow as pa

    return pd.ArrowDtype(type_of_column) if pa.types.is_list(type_of_column) else None


def read_runs(paths: list[Path], settings: EvaluateSettings) -> dict[str, dict[str, Answers]]:
    """Return run -> target -> answers, the pooled ones of folds too; targets in the settings' order."""
    timed = kind_of(settings.kind).timed
    frames = read_frames(paths, settings)
    return {
        run: {name: _answers(rows[rows["target"] == name], target, timed, f"{path}, target {name}")
              for name, target in settings.targets.items()}
        for run, (path, rows) in (frames | with_paths(frames)).items()
    }  # fmt: skip


def with_paths(frames: Mapping[str, tuple[Path, Any]]) -> dict[str, tuple[Path, Any]]:
    """Return pooled run -> (a file of one of its folds, its rows); nothing where there are no folds."""
    path_of = {pooled_run(run): path for run, (path, _) in frames.items()}
    return {run: (path_of[run], rows) for run, rows in pooled({run: rows for run, (_, rows) in frames.items()}).items()}


def natural(run: str) -> list[tuple[int, str]]:
    """Return what puts runs in natural order: seed2 before seed10."""
    import re

    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", run)]


def check_origin(path: Path, metadata: Mapping[str, str], settings: EvaluateSettings) -> None:
    """Raise ArtifactError for predictions of another task or model."""
    for name, expected in (("task", settings.task), ("model", settings.model)):
        if metadata.get(name, expected) != expected:
            raise ArtifactError(
                f"these are predictions for another {name}",
                expected=expected,
                found=metadata[name],
                where=path,
                do=REDO,
            )


def _answers(rows: Any, target: TargetSpec, timed: bool, where: str) -> Answers:
    """Return the answers of one target from its rows (a DataFrame)."""
    import pandas as pd

    code_R = np.zeros(len(rows), dtype=np.int64)
    for name in ("split", "subset", "sample_id", "run"):
        of_name_R, names = pd.factorize(rows[name], sort=True)
        code_R = code_R * len(names) + of_name_R
    order_R = np.argsort(code_R, kind="stable")  # sums of floats depend on the order; metrics should not
    rows, code_R = rows.iloc[order_R], code_R[order_R]
    first_N = np.flatnonzero(np.diff(code_R, prepend=-1))
    sample_R = np.repeat(np.arange(len(first_N)), np.diff(first_N, append=len(rows)))
    classes = target.classes if target.type == "multilabel" else [None]
    column_R = np.zeros(len(rows), dtype=np.intp)
    if target.type == "multilabel":
        column_R = pd.Index(classes).get_indexer(rows["class"])
        if (column_R < 0).any():
            raise ArtifactError(
                "a class is unknown",
                expected=classes,
                found=rows["class"].iloc[int(np.argmin(column_R))],
                where=where,
                do=REDO,
            )
    if len(np.unique(sample_R * len(classes) + column_R)) != len(rows):
        raise ArtifactError("a sample is answered twice", where=where, do=REDO)
    truth_NK = np.full((len(first_N), len(classes)), np.nan)
    truth_NK[sample_R, column_R] = rows["truth"].to_numpy(dtype=np.float64, na_value=np.nan)
    if timed:
        days_R = rows["interval_days"].to_numpy(dtype=np.float64, na_value=np.nan)
        truth_NK = np.stack([truth_NK[:, 0], days_R[first_N]], axis=1)

    def by_sample(score_RK: Floats) -> Floats:
        if target.type != "multilabel":
            return score_RK[first_N]
        score_NK = np.zeros_like(truth_NK)
        score_NK[sample_R, column_R] = score_RK[:, 0]
        return score_NK

    score_NK, before_NK = by_sample(_scores(rows, target, where)), None
    if "uncalibrated" in rows:
        before_NK = by_sample(_scores(rows.assign(scores=rows["uncalibrated"]), target, where))
    run_N = rows["run"].to_numpy(dtype=object)[first_N]
    if target.type == "event" and len(set(run_N)) > 1:
        score_NK = _comparable(score_NK, target)
    _check_truth(truth_NK, target, timed, where)
    names = ("sample_id", "subject_id", "split", "dataset", "modalities", "subset")
    samples = Samples(*(rows[name].to_numpy(dtype=object)[first_N] for name in names))
    return Answers(truth_NK, score_NK, samples, run_N, before_NK)


def _comparable(score_NK: Floats, target: TargetSpec) -> Floats:
    """Return the answers to an event with a risk that several decoders share: the mean probability over time so far.

    A Cox risk is relative to the people that its decoder was trained on; within one decoder the order stays the same.
    """
    ends_E, by_NE = np.array(target.intervals), score_NK[:, 1:]
    before_NE = np.concatenate([np.zeros((len(by_NE), 1)), by_NE[:, :-1]], axis=1)
    risk_N = ((by_NE + before_NE) / 2 * np.diff(ends_E, prepend=0)).sum(axis=1) / ends_E[-1]
    return np.concatenate([risk_N[:, None], by_NE], axis=1)


def _scores(rows: Any, target: TargetSpec, where: str) -> Floats:
    """Return score_RK (K = 1 but for multiclass and events), finite, and probabilities where they should be."""
    import pyarrow as pa
    import pyarrow.compute as pc

    width = len(target.classes) if target.type == "multiclass" else len(target.intervals) or 1
    if target.type == "value":
        score_RK: Floats = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
    else:
        lists = pa.chunked_array(rows["scores"].array.__arrow_array__()).combine_chunks()
        wrong_R = pc.fill_null(pc.not_equal(pc.list_value_length(lists), width), True).to_numpy(zero_copy_only=False)
        if wrong_R.any():
            found = lists[int(np.argmax(wrong_R))].as_py()
            raise ArtifactError(
                "scores do not fit the target", expected=f"{width} a sample", found=found, where=where, do=REDO
            )
        score_RK = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, width)
        if (bad := (score_RK < -ROUNDING) | (score_RK > 1 + ROUNDING)).any():
            raise ArtifactError("scores are no probabilities", found=score_RK[bad][0], where=where, do=REDO)
    if target.type == "event":
        risk_R = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
        score_RK = np.concatenate([risk_R[:, None], score_RK], axis=1)
    if not np.isfinite(score_RK).all():
        count = int((~np.isfinite(score_RK)).any(axis=1).sum())
        raise ArtifactError(
            "predictions are not finite", found=f"{count} of {len(score_RK)}", where=where, do="train the decoder again"
        )
    return score_RK


def _check_truth(truth_NK: Floats, target: TargetSpec, timed: bool, where: str) -> None:
    known = truth_NK[~np.isnan(truth_NK)]
    if target.type == "value":
        wrong, expected = known[~np.isfinite(known)], "finite numbers"
    elif timed:
        wrong, expected = known[(known < 0) | ~np.isfinite(known)], "an event 0 or 1 at a day from 0 on"
    else:
        count = len(target.classes) if target.type == "multiclass" else 2
        wrong, expected = known[(known < 0) | (known >= count) | (known % 1 != 0)], f"0 to {count - 1}"
    if len(wrong):
        raise ArtifactError("a truth is out of range", expected=expected, found=wrong[0], where=where, do=REDO)
