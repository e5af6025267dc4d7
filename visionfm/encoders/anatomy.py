"""The parts of a vision transformer: the one place that knows what timm calls them, in networks and in tensor names.

Whoever freezes, adapts, drops or looks into a part asks here; another family of networks is described here. Imports no
torch before a function is called. Shapes: B batch, H heads, T tokens (prefix, then P patches), D width.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

WIDTH_OF = "norm.weight"  # the tensor whose shape is (D,)
ATTENTION_LAYERS = r".*\bblocks\.\d+\.attn\.(qkv|q_proj|k_proj|v_proj|proj)"  # linear ones, for adapters
UNDECAYED = ("cls_token", "pos_embed", "reg_token")  # of more than one dimension, and no product of matrices
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_DROP_PATHS = ("drop_path1", "drop_path2")


# --- by the names of tensors ----------------------------------------------------------------------------------------


def depth_of(names: Iterable[str]) -> int:
    """Return how many blocks a network has whose tensors are called so."""
    return 1 + max((int(found[1]) for name in names if (found := _BLOCK.match(name))), default=-1)


def layer_of(name: str, depth: int) -> int:
    """Return how deep a tensor lies: 0 the embeddings, 1 to `depth` the blocks, `depth` + 1 the norm after them."""
    if found := _BLOCK.match(name):
        return 1 + int(found[1])
    return depth + 1 if name.startswith("norm.") else 0


def registers_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the number of register tokens that shapes by name show."""
    return shapes["reg_token"][1] if len(shapes.get("reg_token", ())) == 3 else 0


# --- of a network ---------------------------------------------------------------------------------------------------


def blocks(network: Any) -> "Sequence[nn.Module]":
    """Return the blocks, shallow to deep."""
    found: Sequence[nn.Module] = network.blocks
    return found


def final_norm(network: Any) -> "nn.Module":
    """Return the norm after the last block, which all features pass through."""
    found: nn.Module = network.norm
    return found


def width(network: Any) -> int:
    """Return D."""
    return int(network.embed_dim)


def has_cls(network: Any) -> bool:
    """Tell whether the first token stands for the whole image; SigLIP has none."""
    return getattr(network, "cls_token", None) is not None


def position_prefix(network: Any) -> int:
    """Return how many of the position embeddings belong to no patch."""
    return 0 if getattr(network, "no_embed_class", False) else int(network.num_prefix_tokens)


def taps(
    network: Any, pixels_BCHW: "torch.Tensor", indices: Sequence[int]
) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """Return (prefix tokens, patch tokens), each (B, T, D), after each 0-based block of `indices`, not yet normed."""
    found = network.forward_intermediates(
        pixels_BCHW,
        indices=list(indices),
        norm=False,
        stop_early=True,
        output_fmt="NLC",
        return_prefix_tokens=True,
        intermediates_only=True,
    )
    return [(tap[1], tap[0]) if isinstance(tap, tuple) else (tap[:, :0], tap) for tap in found]


def cls_attention(block: Any, into_BTD: "torch.Tensor", prefix: int) -> "torch.Tensor":
    """Return how much the CLS token attends to each patch (B, P) in a plain ViT's block, mean over the heads.

    `into_BTD` are the tokens that enter the block, the first `prefix` of them no patches.
    """
    import torch

    attention, (count, tokens) = block.attn, into_BTD.shape[:2]
    qkv = attention.qkv(block.norm1(into_BTD)).reshape(count, tokens, 3, attention.num_heads, -1)
    q_BHTD, k_BHTD, _ = qkv.permute(2, 0, 3, 1, 4)
    q_BHTD, k_BHTD = attention.q_norm(q_BHTD), attention.k_norm(k_BHTD)
    cls_BHT = torch.matmul(q_BHTD[:, :, :1] * attention.scale, k_BHTD.transpose(-2, -1))[:, :, 0].softmax(dim=-1)
    return cls_BHT.mean(dim=1)[:, prefix:]


def set_drop_path(network: Any, rate: float) -> None:
    """Let training skip blocks at random: the last one with probability `rate`, those before it less, linearly."""
    import torch
    from timm.layers import DropPath
    from torch import nn

    all_blocks = blocks(network)
    for block, share in zip(all_blocks, torch.linspace(0, rate, len(all_blocks)).tolist(), strict=True):
        for name in _DROP_PATHS:
            if hasattr(block, name):
                setattr(block, name, DropPath(share) if share > 0 else nn.Identity())
