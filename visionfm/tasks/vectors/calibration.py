"""Maps from a decoder's probabilities to calibrated ones: fitted by the stage `calibrate`, held by the decoder's file.

- temperature: log odds (of several classes: log probabilities) are divided by one number (Guo et al., ICML 2017).
- platt: log odds times a slope plus an intercept (Platt 1999); of several classes one slope, and an intercept each
  (Alexandari et al., ICML 2020), which of two classes is the same.
- isotonic: the best rising step function (Zadrozny and Elkan, KDD 2002); of several classes one against the rest, then
  divided by their sum.

Temperature and platt are maximum likelihood. A map is of one question: a target, or one class of a multilabel target.
Invariant: probabilities stay probabilities, and those of one of several classes add up to 1. No torch here.
Shape legend: N samples, K probabilities of a question (1: yes or no), P parameters.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm.errors import DataError
from visionfm.tasks.slots import Slot

Floats = npt.NDArray[np.float64]
PREFIX = "calibration."  # of the tensors in a decoder's file
LEAST = 1e-12  # a probability of 0 has no logarithm: it counts as this
STEEPEST = 1e3  # slopes of probabilities that separate all cases are endless


class Calibrator:
    """The maps of all questions of a decoder."""

    def __init__(self, how: str, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """`tensors` are those of `fitted`, by their names in the decoder's file."""
        self.how, self.tensors = how, tensors

    def __call__(self, slot: Slot, class_name: str | None, score_NK: Floats) -> Floats:
        """Return the calibrated probabilities (N, K) of a question."""
        name = name_of(slot, class_name)
        if self.how == "isotonic":
            return _isotonic(self.tensors[f"{name}.said"], self.tensors[f"{name}.is"], score_NK)
        return _by_line(np.asarray(self.tensors[name], dtype=np.float64), score_NK)


def name_of(slot: Slot, class_name: str | None) -> str:
    """Return a question's name in the file; class names are free text, so that the class is a number."""
    number = "" if class_name is None else f".{slot.target.classes.index(class_name)}"
    return f"{PREFIX}{slot.name}{number}"


def fitted(
    how: str, slot: Slot, class_name: str | None, score_NK: Floats, truth_N: Floats
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the tensors of the map of one question; DataError where a class has no sample to learn from.

    `truth_N` is 0 or 1, of several classes the index; NaN (unknown) is left out.
    """
    known_N = ~np.isnan(truth_N)
    score_NK, class_N = score_NK[known_N], truth_N[known_N].astype(np.intp)
    names = slot.target.classes if slot.target.type == "multiclass" else ["no", "yes"]
    missing = [name for k, name in enumerate(names) if not (class_N == k).any()]
    if missing and (how != "temperature" or len(names) - len(missing) < 2):
        raise DataError(
            f"{slot.name}{f' {class_name}' if class_name else ''} cannot be calibrated by {how}",
            expected="validation samples of each class"
            if how != "temperature"
            else "validation samples of two classes",
            found=f"{len(class_N)} with a known answer, none of {', '.join(missing)}",
            do="give the dataset's split a larger `validation`, or set `calibrate: none`",
        )
    name = name_of(slot, class_name)
    if how == "isotonic":
        said_CK, is_CK = _steps(score_NK, class_N)
        return {f"{name}.said": said_CK, f"{name}.is": is_CK}
    return {name: _line(how, score_NK, class_N)}


# --- temperature and platt --------------------------------------------------------------------------------------------


def _line(how: str, score_NK: Floats, class_N: npt.NDArray[np.intp]) -> Floats:
    """Return the slope, and in platt an intercept (of several classes each): what makes the outcomes most probable."""
    from scipy import optimize, special

    intercepts = 0 if how == "temperature" else score_NK.shape[1]
    logs_NK = _logs(score_NK)
    log_slope = (np.log(1 / STEEPEST), np.log(STEEPEST))

    def loss(values_P: Floats) -> float:
        odds_NK = np.exp(values_P[0]) * logs_NK + (values_P[1:] if intercepts else 0.0)
        if score_NK.shape[1] == 1:
            return float(np.logaddexp(0, np.where(class_N == 1, -odds_NK[:, 0], odds_NK[:, 0])).mean())
        return float((special.logsumexp(odds_NK, axis=1) - odds_NK[np.arange(len(class_N)), class_N]).mean())

    if not intercepts:
        found = optimize.minimize_scalar(lambda at: loss(np.array([at])), bounds=log_slope, method="bounded",
                                         options={"xatol": 1e-9})  # fmt: skip
        return np.array([np.exp(found.x)])
    start_P = np.zeros(1 + intercepts)
    bounds = [log_slope, *[(-50.0, 50.0)] * intercepts]
    best = optimize.minimize(loss, start_P, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9})
    best_P: Floats = best.x
    if intercepts > 1:  # one number for all changes nothing
        best_P[1:] -= best_P[1:].mean()
    return np.concatenate([[np.exp(best_P[0])], best_P[1:]])


def _logs(score_NK: Floats) -> Floats:
    """Return log odds of a yes or no, log probabilities of several classes."""
    from scipy import special

    if score_NK.shape[1] == 1:
        return np.asarray(special.logit(np.clip(score_NK, LEAST, 1 - LEAST)))
    return np.log(np.maximum(score_NK, LEAST))


def _by_line(values_P: Floats, score_NK: Floats) -> Floats:
    from scipy import special

    odds_NK = values_P[0] * _logs(score_NK) + (values_P[1:] if len(values_P) > 1 else 0.0)
    found = special.expit(odds_NK) if score_NK.shape[1] == 1 else special.softmax(odds_NK, axis=1)
    return np.asarray(found)


# --- isotonic ---------------------------------------------------------------------------------------------------------


def _steps(score_NK: Floats, class_N: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the corners (C, K) of the step functions; shorter ones repeat their last."""
    from sklearn.isotonic import IsotonicRegression

    corners = []
    for k in range(score_NK.shape[1]):
        is_N = class_N == (1 if score_NK.shape[1] == 1 else k)
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score_NK[:, k], is_N)
        corners.append((model.X_thresholds_, model.y_thresholds_))
    longest = max(len(said) for said, _ in corners)
    said_CK, is_CK = (
        np.stack([np.pad(pair[side], (0, longest - len(pair[side])), mode="edge") for pair in corners], axis=1)
        for side in (0, 1)
    )
    return said_CK, is_CK


def _isotonic(said_CK: npt.NDArray[Any], is_CK: npt.NDArray[Any], score_NK: Floats) -> Floats:
    columns = [np.interp(score_NK[:, k], said_CK[:, k], is_CK[:, k]) for k in range(score_NK.shape[1])]
    found_NK = np.stack(columns, axis=1)
    if found_NK.shape[1] == 1:
        return found_NK
    total_N = found_NK.sum(axis=1, keepdims=True)
    # Where no class is thought possible, all are alike, as scikit-learn has it.
    return np.where(total_N > 0, found_NK / np.where(total_N > 0, total_N, 1), 1 / found_NK.shape[1])
