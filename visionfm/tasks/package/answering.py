"""What decoders answer to samples: `predict`'s own scoring, as arrays by question, and the mean over an ensemble.

Shapes: N samples, K scores of a question.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm.features.cache import FeatureStore
from visionfm.images.transforms import VIEWS
from visionfm.tasks.predict import ALL, features_read, scored
from visionfm.tasks.prediction_arrays import Answers
from visionfm.tasks.prediction_arrays import Samples as Asked
from visionfm.tasks.samples import Samples
from visionfm.tasks.settings import PredictSettings, TargetSpec
from visionfm.tasks.vectors import feature_arrays as streams_of

Floats = npt.NDArray[np.float64]
GIVEN = "package"


@dataclass(frozen=True)
class Answer:
    """To one target, or one class of a multilabel target; of values K is 0, and of classes `value_N` is None.

    `scores_NK` are probabilities, `value_N` is in the target's unit, an expected grade, or a risk.
    """

    target: str
    label: str | None
    value_N: Floats | None
    scores_NK: Floats


def answers(samples: Samples, store: FeatureStore, loaded: Any, tta: str) -> list[Answer]:
    """Return what a decoder (`decoder.Loaded`) answers from all images of each sample, as `predict` computes it."""
    spec = loaded.spec
    views = VIEWS if tta == "flips" else VIEWS[:1]
    features = features_read(spec, store)
    streams = streams_of.gather(samples, store, spec.modalities, spec.fusion, features, views, spec.visits, spec.slices)
    same: dict[str, Any] = {"task": GIVEN, "model": GIVEN, "run": GIVEN, "targets": {}, "modalities": []}
    table = scored(samples, streams, loaded, PredictSettings(kind=spec.kind, **same))
    rows = table.to_pandas()
    rows, count = rows[rows["subset"] == ALL], len(samples)
    found = []
    for start in range(0, len(rows), count):
        part = rows.iloc[start : start + count]
        first = part.iloc[0]
        value_N = None if part["value"].isna().any() else part["value"].to_numpy(np.float64)
        scores = [] if first["scores"] is None else [np.asarray(row, np.float64) for row in part["scores"]]
        label = None if first["class"] is None or first["class"] != first["class"] else str(first["class"])
        found.append(Answer(str(first["target"]), label, value_N, np.stack(scores) if scores else np.zeros((count, 0))))
    return found


def numbers(found: Sequence[Answer]) -> Floats:
    """Return all answers as one array (N, numbers), for comparisons."""
    parts = [part for one in found for part in (one.value_N, one.scores_NK) if part is not None]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def mean(by_member: Sequence[Sequence[Answer]]) -> list[Answer]:
    """Return an ensemble's answers: the mean of its members' probabilities and values.

    A Cox risk is relative to the people whom one decoder was trained on: the mean of several means nothing, and an
    ensemble's answer to an event has probabilities alone.
    """
    return [
        replace(
            same[0],
            value_N=None if same[0].value_N is None else np.mean([one.value_N for one in same], axis=0),
            scores_NK=np.mean([one.scores_NK for one in same], axis=0),
        )
        for same in zip(*by_member, strict=True)
    ]


def yes_or_no(kind: str, target: TargetSpec, score_NK: Floats) -> dict[str | None, Floats]:
    """Return label -> the probability (N,) of each yes-or-no question of a target, in the order of its thresholds.

    `score_NK` as in `prediction_arrays`: of a multilabel target a column per class.
    """
    if kind == "ordinal":
        from visionfm.tasks.ordinal.score import cuts

        return {
            label: p_N for label, (_, p_N) in cuts(target.classes, np.full(len(score_NK), np.nan), score_NK).items()
        }
    if target.type not in ("binary", "multilabel"):
        return {}
    labels = target.classes if target.type == "multilabel" else [None]
    return {label: score_NK[:, k] for k, label in enumerate(labels)}


def of_ensemble(by_run: Sequence[Answers]) -> Answers:
    """Return the validation answers of an ensemble: of each sample the mean over the members that validated on it.

    Members of several seeds validated on the same samples, so that this is what the ensemble answers. Members of
    folds did not: a sample's answer is that of those which have not learned from it.
    """
    parts = [_validation(answers) for answers in by_run]
    if len(parts) == 1:
        return parts[0]
    names = np.unique(np.concatenate([part.samples.sample_N.astype(str) for part in parts]))
    at = [np.searchsorted(names, part.samples.sample_N.astype(str)) for part in parts]
    count_N = np.sum([np.bincount(rows, minlength=len(names)) for rows in at], axis=0)
    whole = [np.concatenate([getattr(part.samples, name) for part in parts]) for name in Asked.__dataclass_fields__]
    rows = np.concatenate(at)
    first_N = np.unique(rows, return_index=True)[1]
    score_NK = np.zeros((len(names), parts[0].score_NK.shape[1]))
    np.add.at(score_NK, rows, np.concatenate([part.score_NK for part in parts]))
    return Answers(
        np.concatenate([part.truth_NK for part in parts])[first_N],
        score_NK / count_N[:, None],
        Asked(*(column[first_N] for column in whole)),
        np.full(len(names), GIVEN, object),
    )


def _validation(answers: Answers) -> Answers:
    samples = answers.samples
    keep_N = (samples.split_N == "validation") & (samples.subset_N == ALL)
    kept = Asked(*(getattr(samples, name)[keep_N] for name in Asked.__dataclass_fields__))
    return Answers(answers.truth_NK[keep_N], answers.score_NK[keep_N], kept, answers.run_N[keep_N])
