"""Which family of checkpoints a state dict is written in, and its translation to timm's tensor names.

Pure functions on tensors by name. Invariant: every tensor of the file comes out under a new name that is reported, is
dropped by a rule of its dialect that is reported, or stays under its name; nothing is invented. The maths of each
network stays what it was.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from visionfm.encoders.checkpoints import Selection
from visionfm.encoders.positions import grid_side
from visionfm.errors import DataError

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

VISIONFM, FINETUNED, MAE, DINOV2, DINOV3, PLAIN = "visionfm", "visionfm-finetuned", "mae", "dinov2", "dinov3", "plain"
ENCODER, TIMM, RANDOM = "encoder", "timm", "random"  # our own file; named by the user; untrained
DINOV2_GRID = 37  # of the released DINOv2 weights: 518 px by patches of 14
HEADS = r"head\..*|head_dist\..*"
HEAD_REASON = "classification or projection head"
DROPPED: dict[str, dict[str, str]] = {  # dialect -> pattern of whole names -> why
    VISIONFM: {HEADS: HEAD_REASON, "masked_embed": "mask token of pretraining"},
    FINETUNED: {HEADS: HEAD_REASON, "masked_embed": "mask token of pretraining"},
    MAE: {HEADS: HEAD_REASON, "mask_token": "mask token of pretraining", r"decoder_.*": "decoder of pretraining"},
    DINOV2: {
        HEADS + r"|dino_head\..*|ibot_head\..*": HEAD_REASON,
        "mask_token": "mask token of pretraining",
    },
    DINOV3: {
        HEADS + r"|dino_head\..*|ibot_head\..*": HEAD_REASON,
        "mask_token": "mask token of pretraining",
        r"rope_embed\.periods": "fixed, computed anew",
        r"local_cls_norm\..*": "norm of local crops in pretraining",
    },
    PLAIN: {HEADS: HEAD_REASON},
    TIMM: {HEADS: HEAD_REASON, r"attn_pool\..*": "pooling of the classifier"},
    ENCODER: {},
}


class Conversion(NamedTuple):
    """Tensors under timm's names (as stored, not yet float32), and what was done to get there."""

    dialect: str
    tensors: "Tensors"
    renamed: dict[str, str]  # old -> new, prefixes included
    dropped: dict[str, str]  # key -> why


def recognise_dialect(selection: Selection) -> str:
    """Return the dialect of a network's tensors, from their names and shapes and the checkpoint's key."""
    tensors = selection.tensors
    names = set(tensors)
    if "storage_tokens" in names or "rope_embed.periods" in names:
        return DINOV3
    if {"reg_token", "blocks.0.gamma_1"} <= names and "pos_embed" not in names:
        return DINOV3  # in timm's naming
    if any(re.fullmatch(r"blocks\.(\d+\.)+ls1\.gamma", name) for name in names):
        own_naming = bool({"mask_token", "register_tokens"} & names)
        return DINOV2 if own_naming or _grid(tensors) == DINOV2_GRID else PLAIN
    if any(name.startswith("decoder_") for name in names):
        return MAE
    if selection.key == "visionfm_state_dict":
        return FINETUNED
    if selection.key in ("teacher", "student"):
        return VISIONFM
    if selection.key == "model" and "blocks.23.norm1.weight" in names and _width(tensors) == 1024:
        return MAE  # RETFound's encoder without the decoder
    return PLAIN


def _width(tensors: Mapping[str, "torch.Tensor"]) -> int | None:
    kernel = tensors.get("patch_embed.proj.weight")
    return None if kernel is None else int(kernel.shape[0])


def _grid(tensors: Mapping[str, "torch.Tensor"]) -> int | None:
    positions = tensors.get("pos_embed")
    if positions is None or positions.ndim != 3:
        return None
    return grid_side(positions.shape[1], 1) or grid_side(positions.shape[1], 0)


def convert(selection: Selection, dialect: str, *, keep_qkv_bias: bool = False) -> Conversion:
    """Return the tensors under timm's names; raises DataError where the network cannot be one of timm's.

    `keep_qkv_bias` keeps DINOv3's biases even where all are zero (timm has both kinds of each model).
    """
    work = Translation(selection)
    work.drop(DROPPED[dialect])
    if "fc_norm.weight" in work.tensors and "norm.weight" not in work.tensors:
        raise DataError(
            "the weights were fine-tuned with mean pooling and have no norm for their tokens",
            expected="norm.weight and norm.bias after the last block",
            found="fc_norm, which was trained on the mean of the patches alone",
            where=f"entry {selection.key!r}" if selection.key else None,
            do="use the pretrained file these weights were fine-tuned from; an untrained norm is not put in its place",
        )
    if dialect == DINOV2:
        with_registers = "register_tokens" in work.tensors
        work.rename(_dinov2_name)
        if with_registers:
            _join_positions(work)
    if dialect == DINOV3:
        work.rename(_dinov3_name)
        _split_qkv_bias(work, keep_qkv_bias)
    return work.done(dialect)


class Translation:
    """Tensors under translation; `origin` remembers each one's name in the file."""

    def __init__(self, selection: Selection) -> None:
        """Start from a network's tensors and what was renamed and dropped so far."""
        self.tensors = dict(selection.tensors)
        self.origin = {name: name for name in self.tensors} | {new: old for old, new in selection.renamed.items()}
        self.dropped = dict(selection.dropped)
        self.changed: dict[str, str] = {}  # old -> what became of a tensor whose values changed

    def drop(self, rules: Mapping[str, str]) -> None:
        """Drop all tensors whose whole name matches a pattern of `rules` (pattern -> why)."""
        for pattern, reason in rules.items():
            for name in [name for name in self.tensors if re.fullmatch(pattern, name)]:
                self.take(name, dropped=reason)

    def take(self, name: str, *, dropped: str | None = None, becomes: str | None = None) -> "torch.Tensor":
        """Remove and return a tensor, noting why it is dropped or what it becomes."""
        if dropped is not None:
            self.dropped[self.origin[name]] = dropped
        if becomes is not None:
            self.changed[self.origin[name]] = becomes
        return self.tensors.pop(name)

    def rename(self, new_name: Callable[[str], str]) -> None:
        """Rename all tensors; two under one name are an error."""
        tensors: Tensors = {}
        origin: dict[str, str] = {}
        for name, tensor in self.tensors.items():
            new = new_name(name)
            if new in tensors:
                found = f"{origin[new]} and {self.origin[name]}"
                raise DataError("two tensors of the weights file mean the same", expected=f"one {new}", found=found)
            tensors[new], origin[new] = tensor, self.origin[name]
        self.tensors, self.origin = tensors, origin

    def done(self, dialect: str) -> Conversion:
        """Return the result with all that was renamed and dropped on the way."""
        renamed = {self.origin[name]: name for name in self.tensors if self.origin.get(name, name) != name}
        return Conversion(
            dialect, self.tensors, dict(sorted({**renamed, **self.changed}.items())), dict(sorted(self.dropped.items()))
        )


def _dinov2_name(name: str) -> str:
    name = _unchunked(name)
    name = {"register_tokens": "reg_token"}.get(name, name)
    return name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")


def _dinov3_name(name: str) -> str:
    name = _unchunked(name)
    name = {"storage_tokens": "reg_token"}.get(name, name)
    name = re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", name)
    for old, new in (("w12", "fc1"), ("w1", "fc1_g"), ("w2", "fc1_x"), ("w3", "fc2")):
        name = name.replace(f".mlp.{old}.", f".mlp.{new}.")
    return name


def _unchunked(name: str) -> str:
    """Return the name of a block's tensor without the chunk that sharded training puts it in."""
    return re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)


def _join_positions(work: Translation) -> None:
    """Add the CLS token's position to the token, as timm does where registers stand between CLS and patches."""
    if {"cls_token", "pos_embed"} <= work.tensors.keys():
        positions = work.take("pos_embed", becomes="pos_embed (patches), cls_token (its first, added)")
        work.tensors["cls_token"] = work.tensors["cls_token"].float() + positions[:, :1].float()
        work.tensors["pos_embed"] = positions[:, 1:]


def _split_qkv_bias(work: Translation, keep: bool) -> None:
    """Give q and v their biases by timm's names; that of k shifts a whole row of attention alike and has no effect.

    DINOv3 multiplies its biases by a mask; where nothing remains in any block, timm's model without them is meant.
    """
    biases = {}
    for name in [name for name in work.tensors if name.endswith(".attn.qkv.bias")]:
        bias = work.tensors[name].float()
        if f"{name}_mask" in work.tensors:
            bias = bias * work.take(f"{name}_mask", dropped="applied to the bias").float()
        biases[name] = bias.chunk(3)
    empty = not any(bool(part.any()) for q, _, v in biases.values() for part in (q, v))
    for name, (q, _, v) in biases.items():
        if empty and not keep:
            work.take(name, dropped="zero in all blocks")
            continue
        stem = name.removesuffix("qkv.bias")
        work.take(name, becomes=f"{stem}q_bias, {stem}v_bias")
        work.tensors[f"{stem}q_bias"], work.tensors[f"{stem}v_bias"] = q, v
