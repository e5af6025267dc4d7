"""Task kind `progression`: whether and when an eye gets worse, from times that may end before it does (censored).

`published`: a logit of progression by the sample's own interval. `hazard`: one of each of the config's intervals, given
that the eye was free of it before (discrete-time survival; Gensheimer and Narasimhan 2019). `cox`: one log hazard ratio
(partial likelihood, ties as Breslow 1974) with Breslow's baseline hazard of the training samples.
Shapes: B batch, N samples, E intervals; labels are (event, days) in `hazard` and `cox`, the event alone in `published`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from visionfm.errors import DataError
from visionfm.tasks.classification.fit import f1
from visionfm.tasks.settings import TargetSpec, VectorFitSettings
from visionfm.tasks.slots import Slot, slots
from visionfm.tasks.vectors.objective import Objective, Prediction
from visionfm.tasks.vectors.recipe import HeadRecipe, sound

Floats = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[np.float32]]
PUBLISHED_HEAD = "ForecastHead"
POSITIVE_WEIGHT = 10.0  # published system, 6.6
PAIRS = 4_000_000  # entries of a matrix of samples at risk held at a time
LOG_HAZARD, CENTRE, HAZARD = "baseline.logit", "baseline.centre", "baseline.cumulative_hazard"


class Published:
    """Progression by the sample's own interval, as a yes-or-no question in which a yes weighs ten times."""

    def __init__(self, targets: Mapping[str, TargetSpec], recipe: HeadRecipe) -> None:
        """The one target is binary."""
        (self.slot,) = slots(targets)
        self.recipe = recipe

    def constants(self) -> Arrays:
        """Return nothing: a logit needs no more."""
        return {}

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor) -> torch.Tensor:
        """Return the mean weighted cross entropy."""
        weight = torch.full((1,), POSITIVE_WEIGHT, dtype=outputs_BK.dtype, device=outputs_BK.device)
        return functional.binary_cross_entropy_with_logits(outputs_BK, truth_BT, pos_weight=weight)

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return the loss and, as published, F1 at probability 0.5 (or minus the loss, where the recipe says so)."""
        loss = float(self.loss(outputs_NK, truth_NT))
        if self.recipe.selection == "loss":
            return loss, -loss
        return loss, f1(truth_NT[:, 0].cpu().numpy() > 0, outputs_NK[:, 0].cpu().numpy() > 0)

    def finish(self, outputs: Callable[[], torch.Tensor], truth_NT: torch.Tensor) -> None:
        """Take nothing more from the training samples."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return the probabilities (N, 1)."""
        return [Prediction(self.slot, None, 0, outputs_NK.double().cpu().sigmoid().numpy())]


class Hazard:
    """A hazard for each interval; a logit is the difference from the training samples' own."""

    def __init__(self, targets: Mapping[str, TargetSpec], logit_E: Floats) -> None:
        """`logit_E` is what `life_table` says of the training samples."""
        (self.slot,) = slots(targets)
        self.edges_E = np.array(self.slot.target.intervals)
        self.logit_E = logit_E

    def constants(self) -> Arrays:
        """Return the hazards that the outputs differ from."""
        return {LOG_HAZARD: self.logit_E.astype(np.float32)}

    def _logits(self, outputs_NE: torch.Tensor) -> torch.Tensor:
        return outputs_NE + torch.tensor(self.logit_E, dtype=outputs_NE.dtype, device=outputs_NE.device)

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor) -> torch.Tensor:
        """Return minus the mean log likelihood: of surviving intervals, and of the event in the last one."""
        edges_E = torch.tensor(self.edges_E, dtype=truth_BT.dtype, device=truth_BT.device)
        at_risk_BE, died_BE = exposure(truth_BT[:, 0], truth_BT[:, 1], edges_E)
        losses_BE = functional.binary_cross_entropy_with_logits(self._logits(outputs_BK), died_BE, reduction="none")
        return (losses_BE * at_risk_BE).sum(1).mean()

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return the loss, and minus the loss."""
        loss = float(self.loss(outputs_NK, truth_NT))
        return loss, -loss

    def finish(self, outputs: Callable[[], torch.Tensor], truth_NT: torch.Tensor) -> None:
        """Take nothing more from the training samples."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return (N, 1 + E): the risk, then the probability of the event by the end of each interval."""
        survival_NE = (1 - self._logits(outputs_NK.double().cpu()).sigmoid()).cumprod(1)
        return [_prediction(self.slot, 1 - survival_NE.numpy(), None, self.edges_E)]


class Cox:
    """Proportional hazards."""

    def __init__(
        self,
        targets: Mapping[str, TargetSpec],
        event_share: float = 1.0,
        centre: float = 0.0,
        hazard_E: Floats | None = None,
    ) -> None:
        """`event_share` is that of the training samples; centre and baseline hazard are known after `fit`."""
        (self.slot,) = slots(targets)
        self.edges_E = np.array(self.slot.target.intervals)
        self.event_share, self.centre = event_share, centre
        self.hazard_E = np.zeros(len(self.edges_E)) if hazard_E is None else hazard_E

    def constants(self) -> Arrays:
        """Return the centre of the risks and the cumulative baseline hazard by the end of each interval."""
        return {CENTRE: np.array([self.centre], np.float32), HAZARD: self.hazard_E.astype(np.float32)}

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor, event_share: float | None = None) -> torch.Tensor:
        """Return minus the log partial likelihood, over the number of events expected in such a batch."""
        share = self.event_share if event_share is None else event_share
        return partial_likelihood(outputs_BK[:, 0], truth_BT[:, 0], truth_BT[:, 1]) / (len(truth_BT) * share)

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return the loss an event, and minus it."""
        loss = float(self.loss(outputs_NK, truth_NT, float(truth_NT[:, 0].mean())))
        return loss, -loss

    def finish(self, outputs: Callable[[], torch.Tensor], truth_NT: torch.Tensor) -> None:
        """Take centre and baseline hazard from the training samples' outputs."""
        risk_N = outputs()[:, 0].double().cpu().numpy()
        event_N, days_N = truth_NT.double().cpu().numpy().T
        self.centre = float(np.float32(risk_N.mean()))
        self.hazard_E = breslow(risk_N - self.centre, event_N, days_N, self.edges_E)

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return (N, 1 + E): the log hazard ratio, then the probability of the event by the end of each interval."""
        risk_N = outputs_NK[:, 0].double().cpu().numpy() - self.centre
        by_NE = -np.expm1(-self.hazard_E * np.exp(risk_N)[:, None])
        return [_prediction(self.slot, by_NE, risk_N, self.edges_E)]


def _prediction(slot: Slot, by_NE: Floats, risk_N: Floats | None, edges_E: Floats) -> Prediction:
    """Return risk and probabilities; without a risk of its own: the mean over time of the probability so far."""
    if risk_N is None:
        before_NE = np.concatenate([np.zeros((len(by_NE), 1)), by_NE[:, :-1]], axis=1)
        risk_N = ((by_NE + before_NE) / 2 * np.diff(edges_E, prepend=0)).sum(axis=1) / edges_E[-1]
    return Prediction(slot, None, 0, np.concatenate([risk_N[:, None], by_NE], axis=1), numbers=1)


# --- likelihoods ----------------------------------------------------------------------------------------------------


def exposure(event_B: torch.Tensor, days_B: torch.Tensor, edges_E: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return at_risk_BE and died_BE, 0 or 1: through which intervals a sample was followed, where it had the event.

    An interval runs from after one edge to the next, that included. One in which a sample was censored counts where
    half of it was followed.
    """
    start_E = torch.cat([edges_E.new_zeros(1), edges_E[:-1]])
    days_B1, event_B1 = days_B.unsqueeze(1), event_B.unsqueeze(1) > 0
    # A day of 0 belongs to the first interval.
    inside_BE = ((days_B1 > start_E) | (edges_E == edges_E[0])) & (days_B1 <= edges_E)
    followed_BE = (days_B1 > edges_E) | (inside_BE & (event_B1 | (days_B1 >= (start_E + edges_E) / 2)))
    return followed_BE.to(days_B.dtype), (inside_BE & event_B1).to(days_B.dtype)


def partial_likelihood(risk_B: torch.Tensor, event_B: torch.Tensor, days_B: torch.Tensor) -> torch.Tensor:
    """Return minus the log partial likelihood (Cox 1972), tied events each against all at risk (Breslow).

    A matrix of who is at risk when, not cumulative sums: those have no deterministic backward on a GPU.
    """
    cases = torch.nonzero(event_B > 0).squeeze(1)
    total = risk_B.sum() * 0
    for at in torch.split(cases, max(1, PAIRS // max(1, len(risk_B)))):
        at_risk_CB = days_B >= days_B[at].unsqueeze(1)
        logs_CB = torch.where(at_risk_CB, risk_B, risk_B.new_full((), float("-inf")))
        total = total + (logs_CB.logsumexp(1) - risk_B[at]).sum()
    return total


def breslow(risk_N: Floats, event_N: Floats, days_N: Floats, edges_E: Floats) -> Floats:
    """Return the cumulative baseline hazard at each edge (Breslow 1974)."""
    order = np.argsort(days_N, kind="stable")
    days, weight = days_N[order], np.exp(risk_N[order])
    at_risk = np.cumsum(weight[::-1])[::-1]
    first = np.searchsorted(days, days, side="left")  # all of one day are at risk together
    steps = np.where(event_N[order] > 0, 1 / at_risk[first], 0)
    found: Floats = np.append(0, np.cumsum(steps))[np.searchsorted(days, edges_E, side="right")]
    return found


def life_table(event_N: Floats, days_N: Floats, edges_E: Floats) -> Floats:
    """Return the logit of each interval's hazard over all samples; half an event is added, so that none is infinite."""
    tensors = (torch.tensor(values, dtype=torch.float64) for values in (event_N, days_N, edges_E))
    at_risk_NE, died_NE = exposure(*tensors)
    hazard_E = (died_NE.sum(0).numpy() + 0.5) / (at_risk_NE.sum(0).numpy() + 1)
    logit_E: Floats = np.log(hazard_E / (1 - hazard_E))
    return logit_E


def check_follow_up(days_N: Floats, edges_E: Floats) -> None:
    """Raise DataError where no training sample is followed into some interval: nothing can be learned of it."""
    starts_E = np.append(0, edges_E[:-1])
    empty = [f"{start:g} to {end:g}" for start, end in zip(starts_E, edges_E, strict=True) if days_N.max() <= start]
    if empty:
        raise DataError(
            "no training sample is followed into some of the task's intervals",
            expected=f"follow-up of more than {starts_E[-1]:g} days in some training sample",
            found=f"at most {days_N.max():g} days; nobody in {', '.join(empty)}",
            do="leave the last of `survival: {intervals: [...]}` away",
        )


def make(settings: VectorFitSettings, recipe: HeadRecipe, truth_NT: Floats) -> Published | Hazard | Cox:
    """Return the objective of a head for these training labels."""
    targets = settings.targets
    if settings.head == "published":
        return Published(targets, recipe)
    (slot,) = slots(targets)
    edges_E = np.array(slot.target.intervals)
    event_N, days_N = truth_NT.T
    check_follow_up(days_N, edges_E)
    if settings.head == "cox":
        return Cox(targets, float(event_N.mean()))
    return Hazard(targets, life_table(event_N, days_N, edges_E))


def restored(targets: Mapping[str, TargetSpec], constants: Mapping[str, npt.NDArray[Any]]) -> Objective:
    """Return the objective of a decoder's file, as predictions need it."""
    if LOG_HAZARD in constants:
        return Hazard(targets, constants[LOG_HAZARD].astype(np.float64))
    if HAZARD in constants:
        return Cox(targets, 1.0, float(constants[CENTRE][0]), constants[HAZARD].astype(np.float64))
    return Published(targets, sound())
