"""The slices of a modality to one vector by gated attention: which slices matter is learned, any number of them.

Attention-based multiple instance learning with the gate (Ilse et al. 2018, equation 9), over what tells a slice from
the others of its sample; the vector is the mean of the slices and, beside it, what attention sees beyond the mean. The
mean and the maximum of slices, which need no learning, are taken where features are gathered. Invariant: what stands
beyond a sample's own slices cannot reach the output.
Shapes: B batch, S streams, I slices (padded), F features of a stream, K attentions.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

ATTENTION_WIDTH = 128
ATTENTIONS = 32
SHARPNESS = 10.0  # of attentions at the start: each looks at few slices, so that some come upon a finding
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
        with torch.no_grad():
            self.score.weight.mul_(SHARPNESS)

    def forward(self, slices_BIF: torch.Tensor, absent_BI: torch.Tensor) -> torch.Tensor:
        """Return weight_BKI, which adds up to 1; 0 where a slice is absent."""
        score_BIK = self.score(self.seen(slices_BIF).tanh() * self.gate(slices_BIF).sigmoid())
        weight_BKI: torch.Tensor = (
            score_BIK.transpose(1, 2).masked_fill(absent_BI.unsqueeze(1), float("-inf")).softmax(2)
        )
        return weight_BKI


class SlicePooling(nn.Module):
    """The slices of each stream: their mean, and their deviations from it weighed by the mean of K attentions.

    Eyes differ more than a small finding changes one of fifty slices. Attention over the slices as they are learns
    eyes by heart before it comes upon the finding; over deviations it cannot. In training each attention answers for
    itself, by the one head that they share. Where one of them comes upon the finding, the head learns its look, and the
    others follow. One attention alone often learns nothing from a few hundred volumes.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has each stream's F."""
        super().__init__()
        self.attention = nn.ModuleList(GatedAttention(width) for width in widths)
        self.widths = [2 * width for width in widths]  # of what it returns

    def weights(self, streams: Sequence[torch.Tensor], own: Slices) -> list[torch.Tensor]:
        """Return S tensors weight_BI, which add up to 1, of S tensors (B, I, F)."""
        return [weight_BKI.mean(1) for weight_BKI, _, _ in self._attended(streams, own._replace(shown_BSI=None))]

    def forward(self, streams: Sequence[torch.Tensor], own: Slices) -> list[torch.Tensor]:
        """Return S tensors (B, 2F) of S tensors (B, I, F); in training (K * B, 2F), one attention after the other."""
        found = []
        for weight_BKI, mean_B1F, beyond_BIF in self._attended(streams, own):
            weight_BKI = weight_BKI if self.training else weight_BKI.mean(1, keepdim=True)
            seen_BKF = torch.bmm(weight_BKI, beyond_BIF)
            both_BKF = torch.cat([mean_B1F.expand(-1, seen_BKF.shape[1], -1), seen_BKF], dim=2)
            found.append(both_BKF.transpose(0, 1).flatten(0, 1))
        return found

    def _attended(
        self, streams: Sequence[torch.Tensor], own: Slices
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield of each stream weight_BKI, the mean of each sample's slices (B, 1, F), and how all deviate from it."""
        for s, (attention, slices_BIF) in enumerate(zip(self.attention, streams, strict=True)):
            absent_BI = _absent(slices_BIF, own.count_BS[:, s], None if own.shown_BSI is None else own.shown_BSI[:, s])
            count_B11 = (~absent_BI).sum(1).view(-1, 1, 1)
            mean_B1F = slices_BIF.masked_fill(absent_BI.unsqueeze(2), 0).sum(1, keepdim=True) / count_B11
            beyond_BIF = slices_BIF - mean_B1F
            yield attention(beyond_BIF, absent_BI), mean_B1F, beyond_BIF


def _absent(slices_BIF: torch.Tensor, count_B: torch.Tensor, shown_BI: torch.Tensor | None) -> torch.Tensor:
    """Return which slices do not count (B, I): beyond each sample's first `count_B`; not `shown_BI`, if others are."""
    absent_BI = torch.arange(slices_BIF.shape[1], device=slices_BIF.device) >= count_B.unsqueeze(1)
    if shown_BI is None:
        return absent_BI
    hidden_BI = absent_BI | ~shown_BI[:, : slices_BIF.shape[1]]
    return torch.where(hidden_BI.all(1, keepdim=True), absent_BI, hidden_BI)
