"""The published way of extracting features, written plainly: what the benchmarks measure this project against.

Full-size PIL decode, float32, attention as three separate products, ten passes of random flips over a training set, one
pickle per image and pass. Written from a description of the published behaviour; `tests/features/test_reference.py`
checks it against golden outputs.
Shapes: B batch, H heads, T tokens (CLS + patches), D width, E = D / H, L the last four blocks.
"""

import pickle
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

HEAD_WIDTH = 64
TAPS = 4
PASSES = 10


class _Attention(nn.Module):
    """Self-attention whose (B, H, T, T) map is written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.scale = HEAD_WIDTH**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape
        q_BHTE, k_BHTE, v_BHTE = self.qkv(x_BTD).reshape(b, t, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        map_BHTT = (q_BHTE @ k_BHTE.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((map_BHTT @ v_BHTE).transpose(1, 2).reshape(b, t, d))


class _Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x_BTD)))


class _Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attn(self.norm1(x_BTD))
        return x_BTD + self.mlp(self.norm2(x_BTD))


class _PatchEmbed(nn.Module):
    """Non-overlapping patches, embedded by a convolution."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.proj(images_BCHW).flatten(2).transpose(1, 2)


class ReferenceEncoder(nn.Module):
    """A vision transformer of 12 or so equal blocks, float32; its shape is read off the weights."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """`weights` in timm's names; position embeddings must be of the image size that will be given."""
        super().__init__()
        width, patch = weights["patch_embed.proj.weight"].shape[0], weights["patch_embed.proj.weight"].shape[2]
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(weights["pos_embed"].shape))
        self.patch_embed = _PatchEmbed(width, patch)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.load_state_dict({name: weights[name].float() for name in self.state_dict()})
        self.eval()

    @torch.no_grad()
    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the tokens (B, T, D) after each of the last four blocks, each through the final norm."""
        x_BTD = self.patch_embed(images_BCHW)
        x_BTD = torch.cat([self.cls_token.expand(len(x_BTD), -1, -1), x_BTD], dim=1) + self.pos_embed
        taps = []
        for number, block in enumerate(self.blocks):
            x_BTD = block(x_BTD)
            if number >= len(self.blocks) - TAPS:
                taps.append(self.norm(x_BTD))
        return taps


class _ImageFolderPass(Dataset[tuple[Tensor, int]]):
    """Each image decoded at full size, resized to a square, flipped at random where augmented, normalised."""

    def __init__(
        self, paths: Sequence[Path], size_px: int, mean: Sequence[float], std: Sequence[float], augment: bool
    ) -> None:
        self.paths = paths
        self.size_px = size_px
        self.mean_C11 = torch.tensor(mean).reshape(3, 1, 1)
        self.std_C11 = torch.tensor(std).reshape(3, 1, 1)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[number]) as image:
            image = image.convert("RGB").resize((self.size_px, self.size_px), Image.Resampling.BILINEAR)
        if self.augment and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.augment and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        pixels_CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels_CHW - self.mean_C11) / self.std_C11, number


def extract(
    encoder: ReferenceEncoder,
    paths: Sequence[Path],
    out: Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    size_px: int = 224,
    passes: int = PASSES,
    augment: bool = True,
    batch_size: int = 128,
    workers: int = 4,
) -> float:
    """Write one pickle per image and pass below `out`; return how many seconds it took."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    depth = len(encoder.blocks)
    images = _ImageFolderPass(paths, size_px, mean, std, augment)
    for number_of_pass in range(passes):
        for images_BCHW, numbers in DataLoader(images, batch_size, shuffle=augment, num_workers=workers):
            cls_LBD = [tokens_BTD[:, 0].numpy() for tokens_BTD in encoder(images_BCHW)]
            for row, number in enumerate(numbers.tolist()):
                path = paths[number]
                content: dict[str, Any] = {
                    "img_name": path.name,
                    "feats_idx": list(range(depth - TAPS, depth)),
                    "feats": [cls_BD[row].copy() for cls_BD in cls_LBD],
                    "labels": np.zeros(1, np.float32),
                    "img_path": path.name,
                }
                with (out / f"{path.stem}_{number_of_pass}.pickle").open("wb") as file:
                    pickle.dump(content, file)
    return time.perf_counter() - started


def read_pickles(folder: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return cls (N, L, D) of all pickles of a folder: what an epoch of the published decoder training reads."""
    rows = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            rows.append(np.stack(pickle.load(file)["feats"]))
    return np.stack(rows)
