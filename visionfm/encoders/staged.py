"""The encoder at work where the network is one of stages (ConvNeXt, Swin, ResNet, EfficientNet, ...).

The same outputs as a column's, by one rule over the last two stages: `cls` is the mean of the first one's map and the
network's own pooled output in one row, `patch_mean` that pooled output alone, and patch tokens are both maps on the
finer grid, each place's channels of a map brought to mean 0 and deviation 1 (stages have no trained norm of their own).
Invariant: the pooled output is what the network's classifier would read. B batch, C channels, H/W places, L levels, P
patches, D width.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from visionfm.encoders import anatomy
from visionfm.encoders.vit import Encoder
from visionfm.errors import DataError


class StagedEncoder(Encoder):
    """A frozen network of stages with its input normalisation."""

    def _vectors(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps, pooled_BD = self._outputs(images_BCHW)
        row_BD = torch.cat([*(map_BCHW.mean(dim=(2, 3)) for map_BCHW in maps[:-1]), pooled_BD], dim=1)
        return row_BD[:, None], pooled_BD

    def _all(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps, pooled_BD = self._outputs(images_BCHW)
        row_BD = torch.cat([*(map_BCHW.mean(dim=(2, 3)) for map_BCHW in maps[:-1]), pooled_BD], dim=1)
        return row_BD[:, None], pooled_BD, _tokens(maps)

    @torch.inference_mode()
    def patch_tokens(self, images_BCHW: torch.Tensor, blocks: Sequence[int] | None = None) -> torch.Tensor:
        """Return the patch tokens (B, L, P, D): the channels of both maps, shallow to deep, cut into L levels."""
        if blocks is not None and tuple(blocks) != self.stages.numbers:
            raise DataError(
                "stages that are not read of such a network", expected=self.stages.numbers, found=tuple(blocks)
            )
        tokens_BPD = _tokens(self._outputs(images_BCHW)[0])
        levels = torch.stack(tokens_BPD.chunk(anatomy.MAP_LEVELS, dim=2), dim=1)
        return levels.contiguous()

    @property
    def stages(self) -> anatomy.Stages:
        """What is read of the network."""
        assert self.file.stages is not None, "load_encoder has seen to it"
        return self.file.stages

    def _outputs(self, images_BCHW: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the maps (B, C, H, W) after the two stages and the pooled output (B, D), float32."""
        pixels_BCHW = self._normalised(images_BCHW)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            maps, pooled_BD = anatomy.stage_outputs(self.network, pixels_BCHW, self.stages.numbers)
        return [map_BCHW.float() for map_BCHW in maps], pooled_BD.float()


def _tokens(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return maps of several grids as tokens (B, P, D) on the finest one: places of the coarser ones are repeated."""
    side = max(map_BCHW.shape[-1] for map_BCHW in maps)
    parts = []
    for map_BCHW in maps:
        normed_BHWC = functional.layer_norm(map_BCHW.permute(0, 2, 3, 1), (map_BCHW.shape[1],))
        times = side // map_BCHW.shape[-1]
        finer_BHWC = normed_BHWC.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
        parts.append(finer_BHWC.flatten(1, 2))
    return torch.cat(parts, dim=2)
