"""The parts of a network: the one place that knows what timm calls them, in networks and in tensor names.

There are two kinds: columns (vision transformers, whose tokens keep one size from block to block) and networks of
stages (ConvNeXt, Swin, ResNet, ...: `Stages`). Whoever freezes, adapts, drops or looks into a part asks here. Imports
no torch before a function is called. Shapes: B batch, H heads, T tokens (prefix, then P patches), D width, C channels.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import nn

WIDTH_OF = "norm.weight"  # the tensor whose shape is (D,)
ATTENTION_LAYERS = r".*\bblocks\.\d+\.attn\.(qkv|q_proj|k_proj|v_proj|proj)"  # linear ones, for adapters
UNDECAYED = ("cls_token", "pos_embed", "reg_token")  # of more than one dimension, and no product of matrices
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_DROP_PATHS = ("drop_path1", "drop_path2", "drop_path")
_COUNTER = ".num_batches_tracked"
READ_STAGES = 2  # the last ones: features and maps are read of them
MAP_LEVELS = 4  # as many as dense heads read of a column's blocks


class Stages(NamedTuple):
    """What is read of a network whose maps shrink from stage to stage: its last two stages, shallow to deep."""

    numbers: tuple[int, ...]  # 0-based, in timm's list of the network's stages
    widths: tuple[int, ...]  # channels of their maps
    px: tuple[int, ...]  # side of the square of the image that a place of their maps stands for
    pooled: int  # width of the network's own pooled output, which its classifier reads
    pool: str = "own"  # how it is pooled, a name in `architectures.POOLS`

    @property
    def token_width(self) -> int:
        """D of a level of patch tokens: the channels of both maps, shallow to deep, are cut into MAP_LEVELS levels."""
        return sum(self.widths) // MAP_LEVELS

    @property
    def vector_width(self) -> int:
        """Width of the pooled stages together: the mean of the first's map, and the network's own pooled output."""
        return sum(self.widths[:-1]) + self.pooled

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "Stages | None":
        """Return what an encoder's metadata say; None of a column."""
        if "stages" not in metadata:
            return None
        said = json.loads(metadata["stages"])
        pairs = (tuple(said["numbers"]), tuple(said["widths"]), tuple(said["px"]))
        return cls(*pairs, int(said["pooled"]), str(said.get("pool", "own")))


# --- by the names of tensors ----------------------------------------------------------------------------------------


def depth_of(names: Iterable[str]) -> int:
    """Return how many blocks a network has whose tensors are called so."""
    return 1 + max((int(found[1]) for name in names if (found := _BLOCK.match(name))), default=-1)


def layer_of(name: str, depth: int) -> int:
    """Return how deep a tensor lies: 0 the embeddings, 1 to `depth` the blocks, `depth` + 1 the norm after them."""
    if found := _BLOCK.match(name):
        return 1 + int(found[1])
    return depth + 1 if name.startswith("norm.") else 0


def is_counter(name: str) -> bool:
    """Tell whether a tensor counts a batch norm's steps of training, which no output depends on."""
    return name.endswith(_COUNTER)


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

    all_blocks = [module for module in network.modules() if any(hasattr(module, name) for name in _DROP_PATHS)]
    for block, share in zip(all_blocks, torch.linspace(0, rate, len(all_blocks)).tolist(), strict=True):
        for name in _DROP_PATHS:
            if hasattr(block, name):
                setattr(block, name, DropPath(share) if share > 0 else nn.Identity())


def keep_statistics(network: Any) -> None:
    """Put batch norms to evaluation: they keep the statistics of pretraining, whatever batch an image stands in."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def layers(network: Any, names: Iterable[str]) -> dict[str, int]:
    """Return how deep each tensor of `names` (in the network's order) lies: 0, the blocks or stages, then what follows.

    Adapters beside a layer lie where it does.
    """
    if not is_staged(network):
        depth = len(blocks(network))
        return {name: layer_of(name, depth) for name in names}
    ends = [f"{one['module']}." for one in _stage_list(network)]
    found, at, inside = {}, 0, False  # stages so far, and whether the last one is being walked through
    for name in names:
        here = next((number for number, end in enumerate(ends) if name.startswith(end)), None)
        if here is not None:
            at, inside = here + 1, True
        elif inside:  # the parts between two stages belong to the next
            at, inside = at + 1, False
        found[name] = at
    return found


# --- of a network of stages -----------------------------------------------------------------------------------------


def is_staged(network: Any) -> bool:
    """Tell a network of stages from a column."""
    return getattr(network, "visionfm_stages", False) is True


def _stage_list(network: Any) -> list[dict[str, Any]]:
    info = network.feature_info
    return list(info) if isinstance(info, list) else list(info.info)


def stage_count(network: Any) -> int:
    """Return how many stages timm lists."""
    return len(_stage_list(network))


def stages_of(network: Any, image_size: int, pool: str = "own") -> Stages:
    """Return what is read of a network of stages; raises whatever it raises where it gives no maps of its stages."""
    import torch

    device = next(network.parameters()).device
    last = stage_count(network)
    numbers = tuple(range(last - READ_STAGES, last))
    maps, pooled_BD = stage_outputs(network, torch.zeros(1, 3, image_size, image_size, device=device), numbers)
    if len(maps) != READ_STAGES or any(map_BCHW.ndim != 4 or len(set(map_BCHW.shape[2:])) > 1 for map_BCHW in maps):
        raise ValueError("its last two stages give no square maps")
    if pooled_BD.ndim != 2:
        raise ValueError("it has no pooled output")
    if any(image_size % map_BCHW.shape[-1] for map_BCHW in maps) or maps[0].shape[-1] % maps[1].shape[-1]:
        raise ValueError("the maps of its last two stages do not fit onto each other")
    widths = tuple(int(map_BCHW.shape[1]) for map_BCHW in maps)
    if sum(widths) % MAP_LEVELS:
        raise ValueError(f"the channels of its last two stages do not divide by {MAP_LEVELS}")
    px = tuple(image_size // int(map_BCHW.shape[-1]) for map_BCHW in maps)
    return Stages(numbers, widths, px, int(pooled_BD.shape[1]), pool)


def stage_outputs(
    network: Any, pixels_BCHW: "torch.Tensor", numbers: Sequence[int]
) -> "tuple[list[torch.Tensor], torch.Tensor]":
    """Return the maps (B, C, H, W) after stages, not normed, and the network's own pooled output (B, D)."""
    last, maps = network.forward_intermediates(pixels_BCHW, indices=list(numbers), norm=False, output_fmt="NCHW")
    return list(maps), network.forward_head(last, pre_logits=True)
