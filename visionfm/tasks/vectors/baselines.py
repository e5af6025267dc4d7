"""Baselines on the same cached features as the trained head: what the encoder gives by itself.

`logreg`: scikit-learn's L2-regularised logistic regression, C chosen on validation. `knn`: neighbours by cosine
similarity, k chosen on validation. Both see standardised identity views, each modality by its own statistics,
modalities joined side by side; both become a decoder like any other. Shapes: N samples, F features, K outputs.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from visionfm.errors import DataError
from visionfm.tasks import kind_of
from visionfm.tasks.slots import Slot, slots
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.neighbours import fused
from visionfm.tasks.vectors.training import Batches

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
K_GRID = (1, 3, 5, 10, 20, 50, 100)
PARAMETERS = {"logreg": "C", "knn": "k"}
ITERATIONS = 2000
log = logging.getLogger("visionfm")
Floats = npt.NDArray[np.float64]
Scores = tuple[Floats, Any]  # probabilities of the classes on validation (N, C), and what made them


class Part(NamedTuple):
    """One question: a multiclass target, a binary one, or one finding of a multilabel one."""

    slot: Slot
    class_name: str | None
    outputs: slice
    truth_N: Floats  # of training
    validation_N: Floats
    classes: int

    @property
    def name(self) -> str:
        """Return it in words."""
        return self.slot.name + (f" {self.class_name}" if self.class_name else "")


class Baseline(Protocol):
    """What is fitted to the training samples of one part; a kind's `fit` may have its own `Logistic`."""

    def __init__(self, part: Part, features_NF: Any, validation_NF: Any, balanced: bool) -> None:
        """`balanced`: rare classes weigh more."""

    def __call__(self, value: float) -> Scores:
        """Return the probabilities on validation with this value of its parameter, and what `put` takes."""

    def put(self, head: Any, made: Any) -> None:
        """Write what was chosen into the head."""


def fit(baseline: str, network: Decoder, train: Batches, validation: Batches, balanced: bool) -> list[dict[str, Any]]:
    """Fit the network's head to the training features; return a row for each value that was tried."""
    from threadpoolctl import threadpool_limits

    features_NF, validation_NF = fused(network, train), fused(network, validation)
    train.streams.clear()  # those of validation, too: of 100,000 images each copy takes gigabytes
    rows: list[dict[str, Any]] = []
    # The last bits of a sum can depend on the number of threads.
    with threadpool_limits(limits=1):
        logistic: type[Baseline] = getattr(kind_of(network.spec.kind).fit(), "Logistic", Logistic)
        for part in _parts(network, train, validation):
            try_one: Baseline
            if baseline == "logreg":
                try_one = logistic(part, features_NF, validation_NF, balanced)
                values: Sequence[float] = C_GRID
            else:
                try_one = _Neighbours(part, features_NF, validation_NF, balanced)
                values = [k for k in K_GRID if k <= int((~np.isnan(part.truth_N)).sum())]
            made, of_part = _choose(part, try_one, values, PARAMETERS[baseline])
            rows += of_part
            with torch.no_grad():
                try_one.put(network.head, made)
    if baseline == "knn":
        head: Any = network.head
        head.remember(torch.from_numpy(features_NF), _one_hot(network, train))
    return rows


def _parts(network: Decoder, train: Batches, validation: Batches) -> list[Part]:
    truths = [batches.truth_NT.numpy().astype(np.float64) for batches in (train, validation)]
    found = []
    for slot in slots(network.spec.targets):
        multiclass = slot.target.type == "multiclass"
        names = slot.target.classes if slot.target.type == "multilabel" else [None]
        for at, name in enumerate(names):
            outputs = slot.outputs if multiclass else slice(slot.outputs.start + at, slot.outputs.start + at + 1)
            train_N, validation_N = (truth_NT[:, slot.labels.start + at] for truth_NT in truths)
            classes = len(slot.target.classes) if multiclass else 2
            part = Part(slot, name, outputs, train_N, validation_N, classes)
            if len(present := np.unique(part.truth_N[~np.isnan(part.truth_N)])) < part.classes:
                raise DataError(
                    f"a baseline of {part.name} cannot be fitted",
                    expected=f"training samples of all {part.classes} classes",
                    found=f"classes {', '.join(f'{value:g}' for value in present) or 'none'}",
                    do="label samples of the others, or set `baselines: []` on the task",
                )
            found.append(part)
    return found


def _choose(
    part: Part, try_one: Callable[[float], Scores], values: Sequence[float], parameter: str
) -> tuple[Any, list[dict[str, Any]]]:
    """Return what the value with the lowest log loss on validation made, and a row for each value."""
    known_N = ~np.isnan(part.validation_N)
    rows: list[dict[str, Any]] = []
    made = []
    for value in values:
        scores_NC, one = try_one(value)
        made.append(one)
        chosen_N = scores_NC[known_N, part.validation_N[known_N].astype(int)]
        loss = float(-np.log(np.maximum(chosen_N, 1e-12)).mean()) if known_N.any() else None
        same = {"target": part.slot.name, "class": part.class_name, "parameter": parameter, "value": float(value)}
        rows.append({**same, "validation_loss": loss, "best": False})
    if known_N.any():
        best = int(np.argmin([row["validation_loss"] for row in rows]))
    else:
        best = len(rows) // 2
        log.warning("train: %s: no validation label, so %s = %g is taken unchosen", part.name, parameter, values[best])
    rows[best]["best"] = True
    return made[best], rows


class Logistic:
    """Logistic regressions of rising C, each started from the one before."""

    def __init__(self, part: Part, features_NF: Any, validation_NF: Any, balanced: bool) -> None:
        """Fit on the training samples of `part` that are known."""
        from sklearn.linear_model import LogisticRegression

        known_N = ~np.isnan(part.truth_N)
        self.features_NF = known_rows(features_NF, known_N).astype(np.float64)
        self.truth_N = part.truth_N[known_N].astype(int)
        self.validation_NF = validation_NF.astype(np.float64)
        self.model = LogisticRegression(
            max_iter=ITERATIONS, warm_start=True, class_weight="balanced" if balanced else None
        )
        self.part = part

    def __call__(self, value: float) -> Scores:
        """Fit with C = `value`."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self.model.set_params(C=value).fit(self.features_NF, self.truth_N)
        if caught:
            log.warning(
                "train: %s: logistic regression with C = %g stopped after %d steps", self.part.name, value, ITERATIONS
            )
        scores_NC = self.model.predict_proba(self.validation_NF)
        return scores_NC, (self.model.coef_.copy(), self.model.intercept_.copy())

    def put(self, head: Any, made: Any) -> None:
        """Write coefficients and intercepts into the head."""
        coef_CF, intercept_C = made
        at = self.part.outputs
        if self.part.slot.target.type == "multiclass" and self.part.classes == 2:
            at = slice(at.start + 1, at.stop)  # the first class's output stays 0
        head.linear.weight[at] = torch.from_numpy(coef_CF).float()
        head.linear.bias[at] = torch.from_numpy(intercept_C).float()


def known_rows(features_NF: Any, known_N: npt.NDArray[np.bool_]) -> Any:
    """Return the features of samples with a label; no copy where all have one."""
    return features_NF if known_N.all() else features_NF[known_N]


class _Neighbours:
    """Votes of the k most similar training samples."""

    def __init__(self, part: Part, features_NF: Any, validation_NF: Any, balanced: bool) -> None:
        from visionfm.tasks.vectors.heads import most_similar, smoothed

        self.part = part

        known_N = ~np.isnan(part.truth_N)
        truth_N = part.truth_N[known_N].astype(int)
        self.hot_NC = torch.from_numpy(np.eye(part.classes, dtype=np.float32)[truth_N])
        most = min(max(K_GRID), len(truth_N))
        unit_NF = functional.normalize(torch.from_numpy(known_rows(features_NF, known_N)), dim=1)
        self.nearest_NM = most_similar(torch.from_numpy(validation_NF), unit_NF, most)
        self.smoothed = smoothed

    def __call__(self, value: float) -> Scores:
        near_NMC = self.hot_NC[self.nearest_NM[:, : int(value)]]
        return self.smoothed(near_NMC, self.hot_NC.mean(0)).double().numpy(), int(value)

    def put(self, head: Any, made: Any) -> None:
        head.k_K[self.part.outputs] = made
        head.odds_K[self.part.outputs] = self.part.slot.target.type != "multiclass"


def _one_hot(network: Decoder, train: Batches) -> torch.Tensor:
    """Return the training labels as outputs (N, K): 0 or 1, NaN where unknown."""
    columns = []
    for slot in slots(network.spec.targets):
        truth_NT = train.truth_NT[:, slot.labels]
        if slot.target.type == "multiclass":
            hot_NC = (truth_NT == torch.arange(len(slot.target.classes))).float()
            truth_NT = torch.where(truth_NT.isnan(), truth_NT, hot_NC)
        columns.append(truth_NT)
    return torch.cat(columns, dim=1)
