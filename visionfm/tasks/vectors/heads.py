"""Heads: one vector per sample to the outputs of all targets.

ClsHead, RegHead and ForecastHead are the published ones (docs/published-system.md, 6), same parameter names and, in
evaluation, same outputs; LinearHead is the sound default, KnnHead a baseline. Shapes: B batch, F features, K outputs.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

DROPOUT = 0.1
EPS, MOMENTUM = 1e-6, 0.99
INIT_STD = 0.01
AT_ONCE = 512  # queries of k-NN: all cosines with 100,000 rows would take gigabytes
PERIOD = 10_000  # of the slowest wave of a time encoding, over 2 pi


class _BatchNormHead(nn.Module):
    """BatchNorm over the features, then layers: Linear, GELU, Dropout, ..., Linear, numbered as published."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.channel_bn = nn.BatchNorm1d(widths[0], eps=EPS, momentum=MOMENTUM)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            linear = nn.Linear(width_in, width_out)
            nn.init.normal_(linear.weight, 0, INIT_STD)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.GELU(), nn.Dropout(DROPOUT)]
        self.classifier = nn.Sequential(*layers[:-2])

    def forward(self, features_BF: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK."""
        outputs: torch.Tensor = self.classifier(self.channel_bn(features_BF))
        return outputs


class ClsHead(_BatchNormHead):
    """The published classification head: F -> F/2 -> F/4 -> K.

    BatchNorm (eps 1e-6, momentum 0.99), GELU, dropout 0.1; weights N(0, 0.01), biases 0. Keys `channel_bn.*`,
    `classifier.{0,3,6}.*`.
    """

    def __init__(self, features: int, outputs: int) -> None:
        """`features` is F, `outputs` K."""
        super().__init__([features, features // 2, features // 4, outputs])


class RegHead(_BatchNormHead):
    """The published regression head: F -> F/4 -> K. Keys `channel_bn.*`, `classifier.{0,3}.*`."""

    def __init__(self, features: int, outputs: int) -> None:
        """`features` is F, `outputs` K."""
        super().__init__([features, features // 4, outputs])


class LinearHead(nn.Module):
    """One linear layer that starts at zero: every first prediction is the same, whatever the seed."""

    def __init__(self, features: int, outputs: int) -> None:
        """`features` is F, `outputs` K."""
        super().__init__()
        self.linear = nn.Linear(features, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_BF: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK."""
        outputs: torch.Tensor = self.linear(features_BF)
        return outputs


class AttentiveHead(nn.Module):
    """Each output scores every patch with the same weights; its value is their mean, high scores counting for more.

    Auto-pooling (McFee, Salamon and Bello, 2018): a patch counts as softmax(scale * score); the scale is learned for
    each output and starts at 1. Weights start at zero, so that it begins as the linear head on the mean of all patches.
    What a sign looks like and where to look for it are one thing to learn: a few hundred eyes are enough for that, and
    were not for queries of their own (efficient probing; bench/RESULTS.md). The levels of tokens are weighed by learned
    weights that start equal. Keys `levels_L`, `scale_K`, `linear.*`.
    """

    def __init__(self, shape_LPD: Sequence[int], outputs: int) -> None:
        """`shape_LPD` is that of an image's tokens, `outputs` K."""
        super().__init__()
        levels, _, width = self.shape_LPD = tuple(shape_LPD)
        self.inputs = width  # what an output is a sum over
        self.levels_L = nn.Parameter(torch.zeros(levels))
        self.scale_K = nn.Parameter(torch.ones(outputs))
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens_BF: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK of flat tokens, standardised."""
        tokens_BLPD = tokens_BF.reshape(-1, *self.shape_LPD)
        tokens_BPD = torch.einsum("blpd,l->bpd", tokens_BLPD, self.levels_L.softmax(dim=0))
        score_BPK = functional.linear(tokens_BPD, self.linear.weight)
        share_BPK = (score_BPK * self.scale_K).softmax(dim=1)
        outputs_BK: torch.Tensor = (share_BPK * score_BPK).sum(dim=1) + self.linear.bias
        return outputs_BK


class KnnHead(nn.Module):
    """Votes of the k most similar training samples (cosine), smoothed by one vote of the training frequencies.

    Outputs are log odds of a yes-or-no question (`odds_K`), log probabilities of a class. Labels of the N training
    samples are part of its state, a load takes over their number; their features are not, see `neighbours`.
    """

    rows_NF: torch.Tensor
    truth_NK: torch.Tensor
    k_K: torch.Tensor
    odds_K: torch.Tensor

    def __init__(self, features: int, outputs: int) -> None:
        """`features` is F, `outputs` K; without training samples."""
        super().__init__()
        self.register_buffer("rows_NF", torch.zeros(0, features), persistent=False)
        self.register_buffer("truth_NK", torch.zeros(0, outputs))
        self.register_buffer("k_K", torch.ones(outputs, dtype=torch.int64))
        self.register_buffer("odds_K", torch.zeros(outputs, dtype=torch.bool))

    def remember(self, rows_NF: torch.Tensor, truth_NK: torch.Tensor) -> None:
        """Hold training samples; their labels are 0 or 1, NaN where unknown."""
        self.rows_NF, self.truth_NK = rows_NF, truth_NK

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any) -> None:
        found = state_dict.get(f"{prefix}truth_NK")
        if found is not None and found.shape[1:] == self.truth_NK.shape[1:]:
            self.truth_NK = self.truth_NK.new_zeros(found.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, features_BF: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK."""
        outputs, nearest = [], {}
        unit_NF = functional.normalize(self.rows_NF, dim=1)
        for at, (column_N, k) in enumerate(zip(self.truth_NK.T, self.k_K.tolist(), strict=True)):
            known_N = ~column_N.isnan()
            key = (k, known_N.cpu().numpy().tobytes())  # the classes of one target share their neighbours
            if key not in nearest:
                nearest[key] = most_similar(features_BF, unit_NF if known_N.all() else unit_NF[known_N], k)
            votes_N1 = column_N[known_N].unsqueeze(1)
            chance_B = smoothed(votes_N1[nearest[key]], votes_N1.mean(0)).squeeze(1)
            outputs.append(chance_B.logit() if self.odds_K[at] else chance_B.log())
        return torch.stack(outputs, dim=1)


def most_similar(queries_BF: torch.Tensor, unit_NF: torch.Tensor, k: int) -> torch.Tensor:
    """Return the numbers (B, k) of the rows (of length 1) with the largest cosine, the largest first."""
    parts = torch.split(functional.normalize(queries_BF, dim=1), AT_ONCE)
    return torch.cat([(part_BF @ unit_NF.T).topk(k, dim=1).indices for part_BF in parts])


def smoothed(votes_BkC: torch.Tensor, prior_C: torch.Tensor) -> torch.Tensor:
    """Return probabilities (B, C): the votes and one more, divided as the training samples are; never 0 for a class."""
    return (votes_BkC.sum(1) + prior_C) / (votes_BkC.shape[1] + 1)


def sinusoid(days: torch.Tensor, width: int) -> torch.Tensor:
    """Return the encoding of times, of their shape and then `width`: sines at even places, cosines at odd ones."""
    places = torch.arange(0, width, 2, device=days.device, dtype=torch.float32)
    angles = days.float().unsqueeze(-1) * torch.exp(places * (-math.log(PERIOD) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :width]


class ForecastHead(nn.Module):
    """The published forecasting head: the encoded interval is added to the features, then one linear layer.

    Key `fc_1.*`; the published file's table `pe` holds the encodings of 0 to 6499 days, which are computed here.
    """

    def __init__(self, features: int, outputs: int) -> None:
        """`features` is F, `outputs` K."""
        super().__init__()
        self.fc_1 = nn.Linear(features, outputs)

    def forward(self, features_BF: torch.Tensor, interval_B: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK: logits of progression by `interval_B` days."""
        outputs: torch.Tensor = self.fc_1(features_BF + sinusoid(interval_B, features_BF.shape[1]))
        return outputs


HEADS: dict[str, type[LinearHead | ClsHead | RegHead | KnnHead | ForecastHead]] = {
    "linear": LinearHead,
    "ClsHead": ClsHead,
    "RegHead": RegHead,
    "knn": KnnHead,
    "ForecastHead": ForecastHead,
}
