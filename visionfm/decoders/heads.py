"""Heads: one vector a sample to the outputs of all targets.

ClsHead and RegHead are the published ones (VisionFM facts 6), same parameter names and, in evaluation, same outputs;
LinearHead is the sound default. Shapes: B batch, F features, K outputs.
"""

from itertools import pairwise

import torch
from torch import nn

DROPOUT = 0.1
EPS, MOMENTUM = 1e-6, 0.99
INIT_STD = 0.01


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


HEADS = {"linear": LinearHead, "ClsHead": ClsHead, "RegHead": RegHead}
