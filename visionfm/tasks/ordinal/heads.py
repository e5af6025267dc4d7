"""Heads of grades: from features to the log probability of each grade, so that losses and k-NN see ordinary classes.

`cumulative`: proportional odds (McCullagh 1980), P(y <= k) = sigmoid(threshold_k - w.x), the thresholds rising.
`corn`: P(y > k | y >= k) = sigmoid(w_k.x + b_k) (Shi, Cao and Raschka 2023). By the chain rule the sum of CORN's
conditional losses over the grades that a sample reached is minus the log probability of its grade.
Shapes: B batch, F features, G grades of a target, C = G - 1 cuts; K outputs, one per grade of each target.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from visionfm.tasks.settings import TargetSpec


def cumulative_log_probabilities(score_B: torch.Tensor, first: torch.Tensor, gap_logs: torch.Tensor) -> torch.Tensor:
    """Return log P(y = k) as (B, G); `first` is the lowest threshold, exp(gap_logs) (C - 1) are the steps to the next.

    sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): nothing cancels however far a sample lies.
    """
    gaps = gap_logs.exp()
    # Not a cumulative sum, which has no deterministic form on a GPU.
    steps = torch.ones(len(gaps) + 1, len(gaps), dtype=gaps.dtype, device=gaps.device).tril(-1)
    thresholds_C = first + steps @ gaps
    below_BC = thresholds_C - score_B.unsqueeze(1)
    inner = torch.log(-torch.expm1(-gaps)) + functional.logsigmoid(below_BC[:, 1:])
    inner = inner + functional.logsigmoid(-below_BC[:, :-1])
    lowest, highest = functional.logsigmoid(below_BC[:, :1]), functional.logsigmoid(-below_BC[:, -1:])
    return torch.cat([lowest, inner, highest], dim=1)


def conditional_log_probabilities(logits_BC: torch.Tensor) -> torch.Tensor:
    """Return log P(y = k) as (B, G) from the logits of P(y > k | y >= k)."""
    cuts = logits_BC.shape[1]
    before = torch.ones(cuts, cuts + 1, dtype=logits_BC.dtype, device=logits_BC.device).triu(1)
    reached_BG = functional.logsigmoid(logits_BC) @ before
    stopped_BG = functional.pad(functional.logsigmoid(-logits_BC), (0, 1))
    return reached_BG + stopped_BG


class Cumulative(nn.Module):
    """Proportional odds of one target; starts at equal probabilities, whatever the seed."""

    def __init__(self, features: int, grades: int) -> None:
        """`features` is F, `grades` G."""
        super().__init__()
        thresholds_C = torch.logit(torch.arange(1, grades, dtype=torch.float64) / grades)
        self.weight = nn.Parameter(torch.zeros(1, features))
        self.first = nn.Parameter(thresholds_C[:1].float())
        self.gap_logs = nn.Parameter(thresholds_C.diff().log().float())

    def forward(self, features_BF: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, G)."""
        score_B = functional.linear(features_BF, self.weight).squeeze(1)
        return cumulative_log_probabilities(score_B, self.first, self.gap_logs)


class Corn(nn.Module):
    """The conditional questions of one target; starts at zero, whatever the seed."""

    def __init__(self, features: int, grades: int) -> None:
        """`features` is F, `grades` G."""
        super().__init__()
        self.linear = nn.Linear(features, grades - 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_BF: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, G)."""
        return conditional_log_probabilities(self.linear(features_BF))


class GradesHead(nn.Module):
    """The targets side by side."""

    of_one: type[Cumulative | Corn]

    def __init__(self, features: int, targets: Mapping[str, TargetSpec]) -> None:
        """`features` is F; the targets are in the order of the outputs."""
        super().__init__()
        self.names = list(targets)
        self.grades = nn.ModuleList(self.of_one(features, len(target.classes)) for target in targets.values())

    def of(self, name: str) -> nn.Module:
        """Return the part of one target."""
        return self.grades[self.names.index(name)]

    def forward(self, features_BF: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK: log probabilities."""
        return torch.cat([part(features_BF) for part in self.grades], dim=1)


class CumulativeHead(GradesHead):
    """Proportional odds of each target."""

    of_one = Cumulative


class CornHead(GradesHead):
    """The conditional questions of each target."""

    of_one = Corn
