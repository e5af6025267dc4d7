"""The encoder at work: images in, final-normed tokens out; `load_encoder` builds it from `encoder.safetensors`.

Reads the artefact of `import` or `pretrain`. Invariant: on one machine the features of an image depend on its pixels,
the encoder and the precision alone, not on the images beside it. B batch, C channels, H/W px, L taps, P patches, D
width.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import nn

from visionfm import artifacts
from visionfm.config.base import Statistics
from visionfm.encoders import anatomy, architectures, given
from visionfm.encoders.file import EncoderFile, InputStatistics, check_sense, dense_blocks, facts_of
from visionfm.encoders.sizes import check_size
from visionfm.errors import DataError

if TYPE_CHECKING:
    from visionfm.encoders.inputs import Images

BATCH = 16  # images a forward pass of `__call__`
log = logging.getLogger("visionfm")
Precision = Literal["fp32", "bf16"]


class Features(NamedTuple):
    """Float32 on the CPU: CLS of the last four blocks, shallow to deep; the last one's patch mean and patches.

    Of a network of stages: what stands for them (`staged`).
    """

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
        self,
        network: nn.Module,
        file: EncoderFile,
        statistics: InputStatistics,
        *,
        modality: str,
        image_size: int,
        precision: Precision = "fp32",
    ) -> None:
        """Wrap the loaded timm network of `file`, for images of one modality and its statistics."""
        super().__init__()
        self.file, self.arch, self.modality, self.patch = file, file.arch, modality, file.patch
        self.mean, self.std = statistics
        self.interpolation = file.interpolation
        self.source = file.source
        self.taps = file.vector_blocks
        self.image_size = image_size
        self.precision = precision
        self.network = network.eval().requires_grad_(False)
        self.dim, self.depth = file.width, file.depth
        self.has_cls = anatomy.has_cls(network)
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
        return self._vectors(images_BCHW)

    @torch.inference_mode()
    def patch_tokens(self, images_BCHW: torch.Tensor, blocks: Sequence[int] | None = None) -> torch.Tensor:
        """Return the patch tokens (B, L, P, D) after the 0-based `blocks`; None: those in DENSE_BLOCKS."""
        chosen = dense_blocks(self.depth) if blocks is None else tuple(blocks)
        if not chosen or min(chosen) < 0 or max(chosen) >= self.depth:
            raise DataError("blocks that the encoder does not have", expected=f"0 to {self.depth - 1}", found=chosen)
        ordered = sorted(set(chosen))
        taps = dict(zip(ordered, self._taps(images_BCHW, ordered), strict=True))
        return torch.stack([self._normed(taps[block][1]) for block in chosen], dim=1)

    def trainable_features(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `cls_and_mean` returns, with gradients for whoever trains the encoder."""
        return self._vectors(images_BCHW)

    def vector_width(self, features: str) -> int:
        """Return how many numbers a feature vector has: of `cls`, `patch_mean` or `both`."""
        levels, width = self.file.vector_shape
        own = {"cls": levels * width, "patch_mean": self.file.mean_width}
        return own["cls"] + own["patch_mean"] if features == "both" else own[features]

    def train(self, mode: bool = True) -> "Encoder":
        """Set the mode of training; batch norms keep their statistics in it."""
        super().train(mode)
        anatomy.keep_statistics(self.network)
        return self

    def _vectors(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cls_BLD, patches_BPD = self._cls_and_patches(images_BCHW)
        return cls_BLD, patches_BPD.mean(dim=1)

    def _all(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cls_BLD, patches_BPD = self._cls_and_patches(images_BCHW)
        return cls_BLD, patches_BPD.mean(dim=1), patches_BPD

    def _cls_and_patches(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        taps = self._taps(images_BCHW, self.taps)
        patches_BPD = self._normed(taps[-1][1])
        if self.has_cls:  # the norm works on each token alone: only those needed are normed
            return self._normed(torch.stack([prefix[:, 0] for prefix, _ in taps], dim=1)), patches_BPD
        means = [self._normed(patches).mean(dim=1) for _, patches in taps[:-1]]
        return torch.stack([*means, patches_BPD.mean(dim=1)], dim=1), patches_BPD

    def _taps(self, images_BCHW: torch.Tensor, blocks: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return (prefix tokens, patch tokens) after each of the blocks, not yet normed."""
        pixels_BCHW = self._normalised(images_BCHW)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return anatomy.taps(self.network, pixels_BCHW, blocks)

    def _normed(self, tokens: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = anatomy.final_norm(self.network)(tokens.float())
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
            parts.append(tuple(one.cpu() for one in self._all(batch_BCHW.to(self.device))))
        return Features(*(torch.cat(column) for column in zip(*parts, strict=True)))


def load_encoder(
    path: str | Path | None = None,
    *,
    image_size: int | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    modality: str | None = None,
    timm: str | None = None,
    key: str | None = None,
    arch: str | None = None,
    statistics: str | Statistics | None = None,
    interpolation: Literal["bilinear", "bicubic"] | None = None,
) -> Encoder:
    """Return the encoder of an `encoder.safetensors`, for square images of `image_size` px (None: as it was imported).

    `path` may also be a weights file in any layout that `import` knows, or None with timm's name of weights (`timm`);
    `modality`, `key`, `arch`, `statistics` and `interpolation` then say what a config would. `modality` is needed for
    those, and where an encoder was trained on several modalities, each normalised by its own statistics.

    Absolute position embeddings are resized by the published load-time rule. Raises ArtifactError for a damaged
    encoder, DataError for weights that cannot be used and for a size that does not divide by the patch, UsageError
    where too little is said.
    """
    path = None if path is None else Path(path)
    said = (timm, key, arch, statistics, interpolation)
    ours = path is not None and (given.is_encoder(path) or (path.suffix == ".safetensors" and not path.exists()))
    if path is not None and ours and all(word is None for word in said):
        return _encoder(path, image_size, device, precision, modality)
    with given.encoder_file(given.Given(path, modality, timm, key, arch, statistics, interpolation)) as encoder:
        return _encoder(encoder, image_size, device, precision, modality)


def _encoder(
    path: Path, image_size: int | None, device: str | torch.device, precision: Precision, modality: str | None
) -> Encoder:
    file, network, size = _loaded(path, image_size)
    statistics = file.statistics(modality)
    seen = modality if file.is_mix and modality is not None else file.modality
    if precision == "bf16" and torch.device(device).type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        log.warning("this CPU has no bfloat16 instructions: precision fp32 is faster here, and exact")
    kind = Encoder
    if file.stages:
        from visionfm.encoders.staged import StagedEncoder

        kind = StagedEncoder
    return kind(network, file, statistics, modality=seen, image_size=size, precision=precision).to(device)


def load_network(path: str | Path, *, image_size: int | None = None) -> tuple[EncoderFile, nn.Module]:
    """Return an encoder's facts and its frozen network, for whoever normalises images himself; see `load_encoder`."""
    file, network, _ = _loaded(path, image_size)
    return file, network.eval().requires_grad_(False)


def _loaded(path: str | Path, image_size: int | None) -> tuple[EncoderFile, nn.Module, int]:
    """Return the facts, the network as it was loaded, and the side of its input in px."""
    arrays, metadata = artifacts.read_tensors(path)
    file = facts_of(path, metadata, {name: array.shape for name, array in arrays.items()})
    check_sense(metadata, path)
    size = image_size or file.image_size
    check_size(size, file.step, file.arch)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if file.stages:
        return file, architectures.load_stages(file.arch, tensors, image_size=size, pool=file.stages.pool), size
    return file, architectures.load(file.arch, tensors, image_size=size, patch=file.patch), size
