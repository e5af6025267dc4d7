"""The encoder at work: images in, final-normed tokens out; `load_encoder` builds it from `encoder.safetensors`.

Reads the artefact of `import` or `pretrain`. Invariant: on one machine the features of an image depend on its pixels,
the encoder and the precision alone, not on the images beside it. B batch, C channels, H/W px, L taps, P patches, D
width.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import nn

from visionfm import artifacts
from visionfm.encoders import architectures
from visionfm.encoders.sizes import check_size
from visionfm.errors import ArtifactError, DataError

if TYPE_CHECKING:
    from visionfm.encoders.inputs import Images

TAPS = 4  # last blocks whose CLS tokens are features, as published
DENSE_BLOCKS = {12: (3, 5, 7, 11), 24: (5, 11, 17, 23)}  # depth -> 0-based blocks whose patch tokens dense heads read
BATCH = 16  # images a forward pass of `__call__`
log = logging.getLogger("visionfm")
Precision = Literal["fp32", "bf16"]


class Features(NamedTuple):
    """Float32 on the CPU: CLS of the last four blocks, shallow to deep; the last one's patch mean and patches."""

    cls_BLD: torch.Tensor
    patch_mean_BD: torch.Tensor
    patches_BPD: torch.Tensor


class Encoder(nn.Module):
    """A frozen vision transformer with its input normalisation; all outputs are final-normed float32.

    Where the network has no CLS token (SigLIP), the mean of the patch tokens stands in its place.
    """

    network: Any
    mean_C11: torch.Tensor
    std_C11: torch.Tensor

    def __init__(
        self, network: nn.Module, metadata: dict[str, str], *, image_size: int, precision: Precision = "fp32"
    ) -> None:
        """Wrap a loaded timm network; `metadata` are those of `encoder.safetensors`."""
        super().__init__()
        self.arch = metadata["arch"]
        self.modality = metadata["modality"]
        self.patch = int(metadata["patch"])
        self.mean: tuple[float, ...] = tuple(json.loads(metadata["mean"]))
        self.std: tuple[float, ...] = tuple(json.loads(metadata["std"]))
        self.interpolation: Literal["bilinear", "bicubic"] = (
            "bicubic" if metadata["interpolation"] == "bicubic" else "bilinear"
        )
        self.source: dict[str, Any] = json.loads(metadata["source"])
        self.image_size = image_size
        self.precision = precision
        self.network = network.eval().requires_grad_(False)
        self.dim = int(self.network.embed_dim)
        self.depth = len(self.network.blocks)
        self.has_cls = getattr(self.network, "cls_token", None) is not None
        self.register_buffer("mean_C11", torch.tensor(self.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std_C11", torch.tensor(self.std).view(3, 1, 1), persistent=False)
        if precision == "bf16":
            # the two costly layers hold bfloat16 once and for all; norms and the residual stream stay float32 under
            # autocast
            for module in self.network.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(torch.bfloat16)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return self.mean_C11.device

    @torch.inference_mode()
    def cls_and_mean(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last four blocks' CLS tokens (B, L, D), shallow to deep, and the last one's patch mean (B, D).

        images_BCHW: uint8 in [0, 255] of the encoder's image size, on its device.
        """
        cls_BLD, patches_BPD = self._cls_and_patches(images_BCHW)
        return cls_BLD, patches_BPD.mean(dim=1)

    @torch.inference_mode()
    def patch_tokens(self, images_BCHW: torch.Tensor, blocks: Sequence[int] | None = None) -> torch.Tensor:
        """Return the patch tokens (B, L, P, D) after the 0-based `blocks`; None: those in DENSE_BLOCKS."""
        chosen = self._dense_blocks() if blocks is None else tuple(blocks)
        if not chosen or min(chosen) < 0 or max(chosen) >= self.depth:
            raise DataError("blocks that the encoder does not have", expected=f"0 to {self.depth - 1}", found=chosen)
        ordered = sorted(set(chosen))
        taps = dict(zip(ordered, self._taps(images_BCHW, ordered), strict=True))
        return torch.stack([self._normed(taps[block][1]) for block in chosen], dim=1)

    def _dense_blocks(self) -> tuple[int, ...]:
        if self.depth not in DENSE_BLOCKS:
            raise DataError(
                f"an encoder of {self.depth} blocks has no published choice of them for dense tasks",
                expected=f"depth {' or '.join(map(str, DENSE_BLOCKS))}",
                found=self.depth,
                do="name the blocks",
            )
        return DENSE_BLOCKS[self.depth]

    def trainable_features(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `cls_and_mean` returns, with gradients for whoever trains the encoder."""
        cls_BLD, patches_BPD = self._cls_and_patches(images_BCHW)
        return cls_BLD, patches_BPD.mean(dim=1)

    def _cls_and_patches(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        taps = self._taps(images_BCHW, range(self.depth - TAPS, self.depth))
        patches_BPD = self._normed(taps[-1][1])
        if self.has_cls:  # the norm works on each token alone: only those needed are normed
            return self._normed(torch.stack([prefix[:, 0] for prefix, _ in taps], dim=1)), patches_BPD
        means = [self._normed(patches).mean(dim=1) for _, patches in taps[:-1]]
        return torch.stack([*means, patches_BPD.mean(dim=1)], dim=1), patches_BPD

    def _taps(self, images_BCHW: torch.Tensor, blocks: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return (prefix tokens, patch tokens) after each of the blocks, not yet normed."""
        pixels_BCHW = self._normalised(images_BCHW)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            taps = self.network.forward_intermediates(
                pixels_BCHW,
                indices=list(blocks),
                norm=False,
                stop_early=True,
                output_fmt="NLC",
                return_prefix_tokens=True,
                intermediates_only=True,
            )
        return [(tap[1], tap[0]) if isinstance(tap, tuple) else (tap[:, :0], tap) for tap in taps]

    def _normed(self, tokens: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.network.norm(tokens.float())
        return normed

    def _normalised(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        expected = (3, self.image_size, self.image_size)
        if images_BCHW.ndim != 4 or tuple(images_BCHW.shape[1:]) != expected:
            raise DataError(
                "images of another shape than the encoder's",
                expected=f"(B, 3, {self.image_size}, {self.image_size})",
                found=tuple(images_BCHW.shape),
                do="resize them, or load the encoder with another image_size",
            )
        pixels = images_BCHW.float()  # [0, 255], or [0, 1] where they were floats
        if not images_BCHW.is_floating_point():
            pixels = pixels.div_(255)
            return pixels.sub_(self.mean_C11).div_(self.std_C11)
        return pixels.sub(self.mean_C11).div_(self.std_C11)

    @torch.inference_mode()
    def forward(self, images: "Images") -> Features:
        """Return the features of paths, PIL images, uint8 arrays (HWC) or tensors (uint8 or [0, 1], CHW)."""
        from visionfm.encoders.inputs import batches

        parts = []
        for batch_BCHW in batches(images, self.image_size, self.interpolation, BATCH):
            cls_BLD, patches_BPD = self._cls_and_patches(batch_BCHW.to(self.device))
            parts.append((cls_BLD.cpu(), patches_BPD.mean(dim=1).cpu(), patches_BPD.cpu()))
        return Features(*(torch.cat(column) for column in zip(*parts, strict=True)))


def load_encoder(
    path: str | Path,
    *,
    image_size: int | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    modality: str | None = None,
) -> Encoder:
    """Return the encoder of an `encoder.safetensors`, for square images of `image_size` px (None: as it was imported).

    `modality` is needed where the encoder was trained on several, each normalised by its own statistics.

    Absolute position embeddings are resized by the published load-time rule. Raises ArtifactError for a damaged file
    and DataError for a size that does not divide by the patch.
    """
    arrays, metadata = artifacts.read_tensors(path)
    if metadata.get("schema") != "visionfm/encoder/1":
        raise ArtifactError(
            "not an encoder",
            expected="visionfm/encoder/1",
            found=metadata.get("schema"),
            where=path,
            do="run `visionfm import`",
        )
    metadata = _for_modality(metadata, modality, path)
    size, patch = image_size or int(metadata["image_size"]), int(metadata["patch"])
    check_size(size, patch, metadata["arch"])
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    network = architectures.load(metadata["arch"], tensors, image_size=size, patch=patch)
    if precision == "bf16" and torch.device(device).type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        log.warning("this CPU has no bfloat16 instructions: precision fp32 is faster here, and exact")
    encoder = Encoder(network, metadata, image_size=size, precision=precision)
    if encoder.depth < TAPS:
        raise DataError(f"{encoder.arch} is too shallow", expected=f"at least {TAPS} blocks", found=encoder.depth)
    return encoder.to(device)


def _for_modality(metadata: dict[str, str], modality: str | None, where: str | Path) -> dict[str, str]:
    """Return the metadata with the statistics of one modality, where the encoder has several."""
    if "statistics" not in metadata:
        return metadata
    known = json.loads(metadata["statistics"])
    if modality is None or modality not in known:
        raise DataError(
            "the encoder normalises each modality by its own statistics, and which one is meant is not said",
            expected=", ".join(sorted(known)),
            found=modality or "none",
            where=where,
            do="name the modality of the images",
        )
    return {**metadata, **{name: json.dumps(values) for name, values in known[modality].items()}, "modality": modality}
