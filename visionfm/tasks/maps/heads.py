"""Dense heads: patch tokens of four blocks, and the image, to one map an output at full resolution.

UnetrHead and LinearSegHead are the published ones (docs/published-system.md, 6), same parameter names and, in
evaluation, same outputs; LightHead is the default. Shapes: B batch, L levels (shallow to deep), P = G*G patches
(row-major), D width, K outputs, S px of the square input.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from visionfm.errors import DataError

UNETR_PATCH_PX = 16
UNETR_WIDTHS = (128, 64, 32, 16)  # at S/8, S/4, S/2, S
LIGHT_WIDTHS = (8, 16, 32, 64, 128)  # at S, S/2, S/4, S/8, S/16: most of a step's time goes into the first
LOCAL_PX, LEAST_DEVIATION = 16, 0.05  # of local_contrast; a deviation in units of the image's own
LEVELS = 4


def maps_of(tokens_BLPD: torch.Tensor) -> torch.Tensor:
    """Return tokens as maps (B, L, D, G, G)."""
    batch, levels, patches, width = tokens_BLPD.shape
    side = math.isqrt(patches)
    return tokens_BLPD.transpose(2, 3).reshape(batch, levels, width, side, side)


# --- published ------------------------------------------------------------------------------------------------------


class _Deconv(nn.Module):
    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(width_in, width_out, kernel_size=2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        doubled: torch.Tensor = self.deconv(x)
        return doubled


class _ConvBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(width_in, width_out, kernel_size=3, padding=1)
        self.layers = nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(x)
        return found


def _lifted(width_in: int, width_out: int, times: int) -> nn.Sequential:
    """Return `times` of (deconvolution, convolution block)."""
    layers: list[nn.Module] = []
    for step in range(times):
        layers += [_Deconv(width_in if step == 0 else width_out, width_out), _ConvBlock(width_out, width_out)]
    return nn.Sequential(*layers)


def _joined(width: int) -> nn.Sequential:
    return nn.Sequential(_ConvBlock(2 * width, width), _ConvBlock(width, width))


class UnetrHead(nn.Module):
    """The published UNETR head: four levels of tokens lifted by deconvolutions to meet the image at full resolution.

    Keys `d{1..4}.*`, `s{1..4}.*`, `c{1..4}.*`, `cls.*`.
    """

    def __init__(self, width: int, outputs: int, patch_px: int = UNETR_PATCH_PX) -> None:
        """`width` is D, `outputs` K; raises DataError unless patches have 16 px."""
        super().__init__()
        if patch_px != UNETR_PATCH_PX:
            raise DataError(
                "the UNETR head doubles its maps four times",
                expected=f"patches of {UNETR_PATCH_PX} px",
                found=f"{patch_px} px",
                do="choose `head: light` or `head: linear` for this encoder",
            )
        w1, w2, w3, w4 = UNETR_WIDTHS
        self.d1, self.d2, self.d3, self.d4 = _Deconv(width, w1), _Deconv(w1, w2), _Deconv(w2, w3), _Deconv(w3, w4)
        self.s1, self.s2, self.s3 = _lifted(width, w1, 1), _lifted(width, w2, 2), _lifted(width, w3, 3)
        self.s4 = nn.Sequential(_ConvBlock(3, w4), _ConvBlock(w4, w4))
        self.c1, self.c2, self.c3, self.c4 = _joined(w1), _joined(w2), _joined(w3), _joined(w4)
        self.dropout = nn.Dropout2d(0.3)
        self.cls = nn.Conv2d(w4, outputs, kernel_size=1)

    def forward(self, tokens_BLPD: torch.Tensor, image_BCSS: torch.Tensor) -> torch.Tensor:
        """Return logits_BKSS."""
        z3, z6, z9, z12 = maps_of(tokens_BLPD).unbind(dim=1)
        x = self.c1(torch.cat([self.d1(z12), self.s1(z9)], dim=1))
        x = self.c2(torch.cat([self.d2(x), self.s2(z6)], dim=1))
        x = self.c3(torch.cat([self.d3(x), self.s3(z3)], dim=1))
        x = self.c4(torch.cat([self.d4(x), self.s4(image_BCSS)], dim=1))
        logits: torch.Tensor = self.cls(self.dropout(x))
        return logits


class LinearSegHead(nn.Module):
    """The published linear head: a 1 x 1 convolution over the levels' tokens, then bilinear to the input's size.

    Keys `conv_seg.*`.
    """

    def __init__(self, width: int, outputs: int, patch_px: int = UNETR_PATCH_PX) -> None:
        """`width` is D, `outputs` K."""
        super().__init__()
        self.conv_seg = nn.Conv2d(LEVELS * width, outputs, kernel_size=1)

    def forward(self, tokens_BLPD: torch.Tensor, image_BCSS: torch.Tensor) -> torch.Tensor:
        """Return logits_BKSS."""
        coarse_BKGG = self.conv_seg(maps_of(tokens_BLPD).flatten(1, 2))
        return functional.interpolate(coarse_BKGG, size=image_BCSS.shape[2:], mode="bilinear", align_corners=False)


# --- default --------------------------------------------------------------------------------------------------------


def _conv(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


@torch.no_grad()
def local_contrast(image_BCSS: torch.Tensor) -> torch.Tensor:
    """Return the image less the mean of its surroundings, in their standard deviations: free of uneven light."""
    height, width = image_BCSS.shape[2:]
    grid = (max(1, round(height / LOCAL_PX)), max(1, round(width / LOCAL_PX)))
    coarse = [functional.adaptive_avg_pool2d(power, grid) for power in (image_BCSS, image_BCSS.square())]
    mean, square = (functional.avg_pool2d(one, 3, stride=1, padding=1, count_include_pad=False) for one in coarse)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    mean, deviation = (
        functional.interpolate(one, size=(height, width), mode="bilinear", align_corners=False)
        for one in (mean, deviation)
    )
    return (image_BCSS - mean) / (deviation + LEAST_DEVIATION)


class LightHead(nn.Module):
    """A small U-shaped network over the image, which meets the tokens of all levels at its coarsest scale.

    It sees the image twice, as it is and as `local_contrast`. Upsampling is bilinear and followed by a convolution, so
    that no checkerboard can arise; skips are added, not joined. Works with patches of any size.
    """

    def __init__(self, width: int, outputs: int, patch_px: int = UNETR_PATCH_PX) -> None:
        """`width` is D, `outputs` K."""
        super().__init__()
        widths = LIGHT_WIDTHS
        self.stem = _conv(2 * 3, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_conv(narrow, wide, stride=2), _conv(wide, wide)) for narrow, wide in pairwise(widths)
        )
        self.tokens = nn.Conv2d(LEVELS * width, widths[-1], kernel_size=1)
        self.meet = _conv(widths[-1], widths[-1])
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.narrow = nn.ModuleList(nn.Conv2d(wide, narrow, kernel_size=1) for wide, narrow in steps)
        self.up = nn.ModuleList(_conv(narrow, narrow) for _, narrow in steps)
        self.out = nn.Conv2d(widths[0], outputs, kernel_size=1)

    def forward(self, tokens_BLPD: torch.Tensor, image_BCSS: torch.Tensor) -> torch.Tensor:
        """Return logits_BKSS."""
        both_BCSS = torch.cat([image_BCSS, local_contrast(image_BCSS)], dim=1)
        scales = [self.stem(both_BCSS.contiguous(memory_format=torch.channels_last))]
        for down in self.down:
            scales.append(down(scales[-1]))
        x = scales.pop()
        tokens_BCGG = self.tokens(maps_of(tokens_BLPD).flatten(1, 2))
        if tokens_BCGG.shape[2:] != x.shape[2:]:
            tokens_BCGG = functional.interpolate(tokens_BCGG, size=x.shape[2:], mode="bilinear", align_corners=False)
        x = self.meet(x + tokens_BCGG)
        for narrow, up in zip(self.narrow, self.up, strict=True):
            skip = scales.pop()
            wider = functional.interpolate(narrow(x), size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = up(wider + skip)
        logits: torch.Tensor = self.out(x)
        return logits


HEADS = {"light": LightHead, "unetr": UnetrHead, "linear": LinearSegHead}


def head_of_file(names: set[str]) -> str | None:
    """Return which published head a state dict of these names is of, or None."""
    if {"conv_seg.weight", "conv_seg.bias"} == names:
        return "linear"
    return "unetr" if {"cls.weight", "d1.deconv.weight", "s4.0.layers.0.weight"} <= names else None
