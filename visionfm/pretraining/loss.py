"""The losses of pretraining: between views, on hidden patches, KoLeo; and what keeps the teacher from collapsing.

The teacher's targets are softmax(scores / temperature + bias). The bias of a prototype is its running mean (published:
docs/published-system.md, 3.6) or comes from Sinkhorn-Knopp, which uses all prototypes alike within a step. Both see the
whole effective batch, however it is cut among micro-batches and processes.

G teacher's views, V student's views, B images, M hidden patches, K prototypes, Z bottleneck, D width.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

AllReduce = Callable[[torch.Tensor, str], torch.Tensor]  # (tensor, "sum" or "max") -> over all processes


def alone(values: torch.Tensor, _how: str) -> torch.Tensor:
    """Reduce over one process."""
    return values


class Centre:
    """The running mean of the teacher's scores, of one kind of token."""

    def __init__(self, prototypes: int, momentum: float, device: torch.device | str = "cpu") -> None:
        """Start at zero."""
        self.mean_K = torch.zeros(prototypes, device=device)
        self.momentum = momentum
        self._sum_K, self._count = torch.zeros_like(self.mean_K), 0

    def bias(self, temperature: float) -> torch.Tensor:
        """Return the bias (K) that subtracts the mean of the steps before."""
        return -self.mean_K / temperature

    def add(self, sum_K: torch.Tensor, count: int) -> None:
        """Note the sum of some tokens' scores."""
        self._sum_K += sum_K
        self._count += count

    def move(self, all_reduce: AllReduce = alone) -> None:
        """Move towards the mean of the tokens noted since the last step."""
        seen = all_reduce(torch.cat([self._sum_K, self._sum_K.new_tensor([self._count])]), "sum")
        self.mean_K = self.mean_K * self.momentum + seen[:-1] / seen[-1] * (1 - self.momentum)
        self._sum_K, self._count = torch.zeros_like(self.mean_K), 0


def sinkhorn_bias(
    scores: Callable[[torch.Tensor], torch.Tensor],
    parts: Sequence[torch.Tensor],
    temperature: float,
    iterations: int,
    all_reduce: AllReduce = alone,
) -> torch.Tensor:
    """Return the bias (K) under which the tokens use all prototypes alike: Sinkhorn-Knopp in the log domain.

    `scores` maps a part (N, Z) to its scores (N, K): they are computed anew in each round, since all tokens of a step
    together would not fit. The last round ends with the tokens, so that targets are softmax(scores / t + bias).
    """
    like = scores(parts[0][:0])
    bias_K = torch.zeros(like.shape[1], device=like.device)
    for iteration in range(iterations):
        top_K, sum_K = torch.full_like(bias_K, -torch.inf), torch.zeros_like(bias_K)
        for part in parts:
            if not len(part):
                continue
            scaled_NK = scores(part) / temperature
            share_NK = scaled_NK
            if iteration:  # the first round begins with the prototypes
                share_NK = scaled_NK - torch.logsumexp(scaled_NK + bias_K, dim=1, keepdim=True)
            higher_K = torch.maximum(top_K, share_NK.amax(dim=0))
            sum_K = sum_K * (top_K - higher_K).exp() + (share_NK - higher_K).exp().sum(dim=0)
            top_K = higher_K
        all_top_K = all_reduce(top_K.clone(), "max")
        if not bool(all_top_K.isfinite().all()):
            return bias_K  # no token at all
        all_sum_K = all_reduce(sum_K * (top_K - all_top_K).exp(), "sum")
        bias_K = -(all_top_K + all_sum_K.log())
        bias_K = bias_K - bias_K.mean()  # a constant changes no softmax; this one keeps numbers small
    return bias_K


def targets(scores_NK: torch.Tensor, bias_K: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the teacher's probabilities (N, K)."""
    return torch.softmax(scores_NK / temperature + bias_K, dim=-1)


def views_loss(student_VBK: torch.Tensor, teacher_GBK: torch.Tensor, student_temp: float) -> torch.Tensor:
    """Return the cross-entropy summed over images, mean over pairs of a teacher's view and another student's view.

    The first G of the student's views are the teacher's.
    """
    log_VBK = functional.log_softmax(student_VBK / student_temp, dim=-1)
    views, given = len(log_VBK), len(teacher_GBK)
    # Over all pairs at once, then without those of a view with itself.
    total = -(teacher_GBK.sum(dim=0) * log_VBK.sum(dim=0)).sum()
    same = -(teacher_GBK * log_VBK[:given]).sum()
    return (total - same) / (given * (views - 1))


def patches_loss(
    student_MK: torch.Tensor, teacher_MK: torch.Tensor, weight_M: torch.Tensor, student_temp: float
) -> torch.Tensor:
    """Return the weighted sum of the hidden patches' cross-entropies."""
    log_MK = functional.log_softmax(student_MK / student_temp, dim=-1)
    return -((teacher_MK * log_MK).sum(dim=-1) * weight_M).sum()


def patch_weights(masks_GBP: torch.Tensor) -> torch.Tensor:
    """Return the weight (M) of each hidden patch: mean over a crop's hidden patches and over global crops; B adds."""
    hidden_GB1 = masks_GBP.sum(dim=-1, keepdim=True).clamp(min=1)
    weight_GBP = masks_GBP / (hidden_GB1 * len(masks_GBP))
    return weight_GBP[masks_GBP]


def koleo_loss(cls_VBD: torch.Tensor) -> torch.Tensor:
    """Return KoLeo summed over images, mean over views: minus the log distance of each CLS token to its nearest."""
    views, count = cls_VBD.shape[:2]
    if count < 2:
        return cls_VBD.sum() * 0
    with torch.autocast(cls_VBD.device.type, enabled=False):
        unit_VBD = functional.normalize(cls_VBD.float(), dim=-1)
        near_VBB = unit_VBD.detach() @ unit_VBD.detach().transpose(1, 2)
        near_VBB.diagonal(dim1=1, dim2=2).fill_(-2)
        nearest_VB1 = near_VBB.argmax(dim=-1, keepdim=True).expand(-1, -1, unit_VBD.shape[2])
        distance_VB = (unit_VBD - unit_VBD.gather(1, nearest_VB1)).norm(dim=-1)
        summed: torch.Tensor = -(distance_VB + 1e-8).log().sum() / views
        return summed


def entropy(probabilities_NK: torch.Tensor) -> torch.Tensor:
    """Return each row's entropy in nats."""
    return -(probabilities_NK * probabilities_NK.clamp(min=1e-12).log()).sum(dim=-1)


def rank_me(features_ND: torch.Tensor) -> float:
    """Return the effective rank of features: exp of the entropy of their singular values (RankMe)."""
    singular = torch.linalg.svdvals(features_ND.double().cpu())
    shares = singular / singular.sum().clamp(min=1e-12) + 1e-7
    return math.exp(float(-(shares * shares.log()).sum()))
