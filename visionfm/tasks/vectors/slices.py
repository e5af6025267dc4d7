"""The slices of a modality to one vector by gated attention: which slices matter is learned, any number of them.

Attention-based multiple instance learning with the gate (Ilse et al. 2018, equation 9); the mean and the maximum of
slices, which need no learning, are taken where features are gathered. Invariant: what stands beyond a sample's own
slices cannot reach the output.
Shapes: B batch, S streams, I slices (padded), F features of a stream, K attentions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

ATTENTION_WIDTH = 128
ATTENTIONS = 8
HIDDEN = 0.3  # of the slices in training: attention that sees all of them learns them by heart, and misses the finding


class Slices(NamedTuple):
    """Which slices are a sample's own: the first `count_BS` of each stream (one at least); in training, those shown."""

    count_BS: torch.Tensor
    shown_BSI: torch.Tensor | None = None


class GatedAttention(nn.Module):
    """Weights of slices, softmax(w (tanh(V h) * sigmoid(U h))), for each of K w; keys `seen`, `gate`, `score`."""

    def __init__(self, features: int) -> None:
        """`features` is F."""
        super().__init__()
        self.seen = nn.Linear(features, ATTENTION_WIDTH)
        self.gate = nn.Linear(features, ATTENTION_WIDTH)
        self.score = nn.Linear(ATTENTION_WIDTH, ATTENTIONS, bias=False)

    def forward(
        self, slices_BIF: torch.Tensor, count_B: torch.Tensor, shown_BI: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return weight_BKI, which adds up to 1; 0 beyond each sample's first `count_B` slices.

        So are slices that are not `shown_BI`, of samples that have others.
        """
        score_BIK = self.score(self.seen(slices_BIF).tanh() * self.gate(slices_BIF).sigmoid())
        absent_BI = torch.arange(slices_BIF.shape[1], device=slices_BIF.device) >= count_B.unsqueeze(1)
        if shown_BI is not None:
            hidden_BI = absent_BI | ~shown_BI[:, : slices_BIF.shape[1]]
            absent_BI = torch.where(hidden_BI.all(1, keepdim=True), absent_BI, hidden_BI)
        weight_BKI: torch.Tensor = (
            score_BIK.transpose(1, 2).masked_fill(absent_BI.unsqueeze(1), float("-inf")).softmax(2)
        )
        return weight_BKI


class SlicePooling(nn.Module):
    """The slices of each stream, weighed by the mean of K attentions.

    In training each attention answers for itself, by the one head that they share. Where one of them comes upon the
    finding, the head learns its look, and the others follow. One attention alone often learns nothing from a few
    hundred volumes.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has each stream's F."""
        super().__init__()
        self.attention = nn.ModuleList(GatedAttention(width) for width in widths)

    def weights(self, streams: Sequence[torch.Tensor], own: Slices) -> list[torch.Tensor]:
        """Return S tensors weight_BI, which add up to 1, of S tensors (B, I, F)."""
        return [
            attention(slices_BIF, own.count_BS[:, s]).mean(1)
            for s, (attention, slices_BIF) in enumerate(zip(self.attention, streams, strict=True))
        ]

    def forward(self, streams: Sequence[torch.Tensor], own: Slices) -> list[torch.Tensor]:
        """Return S tensors (B, F) of S tensors (B, I, F); in training (K * B, F), one attention after the other."""
        if not self.training:
            weights = [weight_BI.unsqueeze(1) for weight_BI in self.weights(streams, own)]
        else:
            weights = [
                attention(slices_BIF, own.count_BS[:, s], None if own.shown_BSI is None else own.shown_BSI[:, s])
                for s, (attention, slices_BIF) in enumerate(zip(self.attention, streams, strict=True))
            ]
        return [
            torch.bmm(weight_BKI, slices_BIF).transpose(0, 1).flatten(0, 1)
            for weight_BKI, slices_BIF in zip(weights, streams, strict=True)
        ]
