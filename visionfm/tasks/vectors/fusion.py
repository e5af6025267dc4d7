"""Fusion: the feature vectors of a sample's modalities to one vector; missing modalities are masked.

A stream is one modality's features (one stream for all of them in `pooled`, where a sample is one image). Widths may
differ between streams. Invariant: what stands in a masked entry cannot reach the output.
Shapes: B batch, S streams, F features of a stream, W common width.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from visionfm.tasks.vectors.heads import sinusoid

COMMON_WIDTH = 128
ATTENTION_HEADS = 4
Streams = Sequence[torch.Tensor]  # S tensors (B, F)


class Pooled(nn.Module):
    """One decoder over the images of all modalities, as published: the features pass through."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has the one stream's F."""
        super().__init__()
        (self.width,) = widths

    def forward(self, streams: Streams, present_BS: torch.Tensor) -> torch.Tensor:
        """Return fused_BF."""
        return streams[0]


class Concat(nn.Module):
    """All streams side by side, zeros for a missing one, and a presence flag each."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has each stream's F."""
        super().__init__()
        self.width = sum(widths) + len(widths)

    def forward(self, streams: Streams, present_BS: torch.Tensor) -> torch.Tensor:
        """Return fused_BW, W = sum of widths + S."""
        parts = [_masked(features_BF, present_BS[:, s]) for s, features_BF in enumerate(streams)]
        return torch.cat([*parts, present_BS.to(parts[0].dtype)], dim=1)


class Mean(nn.Module):
    """Each stream through a linear layer of its own to a common width, then the mean of those present."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has each stream's F."""
        super().__init__()
        self.width = COMMON_WIDTH
        self.project = nn.ModuleList(nn.Linear(width, self.width) for width in widths)

    def forward(self, streams: Streams, present_BS: torch.Tensor) -> torch.Tensor:
        """Return fused_BW."""
        tokens_BSW = _tokens(self.project, streams, present_BS)
        weight_BS1 = present_BS.unsqueeze(-1).to(tokens_BSW.dtype)
        return (tokens_BSW * weight_BS1).sum(1) / weight_BS1.sum(1).clamp(min=1)


class Attention(nn.Module):
    """Attention pooling: a learned query looks at the streams present, each marked by an embedding of its modality.

    Softmax attention (Vaswani et al. 2017) with one query per head and a mask; values are the projected streams.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has each stream's F."""
        super().__init__()
        self.width = COMMON_WIDTH
        self.project = nn.ModuleList(nn.Linear(width, self.width) for width in widths)
        self.modality = nn.Parameter(torch.empty(len(widths), self.width).normal_(0, 0.02))
        self.query = nn.Parameter(torch.empty(ATTENTION_HEADS, self.width // ATTENTION_HEADS).normal_(0, 0.02))
        self.key = nn.Linear(self.width, self.width)
        self.value = nn.Linear(self.width, self.width)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, streams: Streams, present_BS: torch.Tensor) -> torch.Tensor:
        """Return fused_BW."""
        return self._pool(self.norm(_tokens(self.project, streams, present_BS) + self.modality), present_BS)

    def _pool(self, tokens_BSW: torch.Tensor, present_BS: torch.Tensor) -> torch.Tensor:
        batch, count, _ = tokens_BSW.shape
        keys_BSHE = self.key(tokens_BSW).view(batch, count, *self.query.shape)
        values_BSHE = self.value(tokens_BSW).view(batch, count, *self.query.shape)
        scores_BSH = (keys_BSHE * self.query).sum(-1) / self.query.shape[1] ** 0.5
        weights_BSH = scores_BSH.masked_fill(~present_BS.unsqueeze(-1), float("-inf")).softmax(1)
        fused_BHE: torch.Tensor = (weights_BSH.unsqueeze(-1) * values_BSHE).sum(1)
        return fused_BHE.flatten(1)


class Visits(Attention):
    """Attention over the modalities of several visits of an eye: a token has the encoding of how long ago it was.

    The streams are those of the baseline, then those of the visit before it, and so on; a modality's visits share its
    layer. The baseline's features also stand beside what attention makes, as they are: of a few hundred eyes attention
    alone learns less than a linear layer does from one visit.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` has the F of each of the baseline's streams."""
        super().__init__(widths)
        self.width = COMMON_WIDTH + sum(widths)

    def forward(
        self, streams: Streams, present_BS: torch.Tensor, days_before_BS: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return fused_BW; `days_before_BS` are days before the baseline."""
        if days_before_BS is None:
            raise ValueError("visits need their days before the baseline")
        layers = [self.project[s % len(self.project)] for s in range(len(streams))]
        modality_SW = self.modality.repeat(len(streams) // len(self.project), 1)
        tokens_BSW = _tokens(layers, streams, present_BS) + modality_SW
        joined_BW = self._pool(self.norm(tokens_BSW + sinusoid(days_before_BS, COMMON_WIDTH)), present_BS)
        baseline = [_masked(streams[s], present_BS[:, s]) for s in range(len(self.project))]
        return torch.cat([joined_BW, *baseline], dim=1)


def _masked(features_BF: torch.Tensor, present_B: torch.Tensor) -> torch.Tensor:
    # A product would let NaN through.
    return torch.where(present_B.unsqueeze(-1), features_BF, torch.zeros((), device=features_BF.device))


def _tokens(project: Iterable[nn.Module], streams: Streams, present_BS: torch.Tensor) -> torch.Tensor:
    masked = [_masked(features_BF, present_BS[:, s]) for s, features_BF in enumerate(streams)]
    return torch.stack([layer(x_BF) for layer, x_BF in zip(project, masked, strict=True)], dim=1)


FUSIONS: dict[str, type[Pooled | Concat | Mean | Attention]] = {
    "pooled": Pooled,
    "concat": Concat,
    "mean": Mean,
    "attention": Attention,
    "visits": Visits,
}
