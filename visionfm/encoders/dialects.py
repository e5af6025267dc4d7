"""Translates a network's tensors from the layout they are written in to timm's names.

Pure functions on tensors by name. Invariant: every tensor of the file comes out under a new name that is reported, is
dropped by a rule of its layout that is reported, or stays under its name; nothing is invented. The maths of each
network stays what it was.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from visionfm.encoders import layouts
from visionfm.encoders.checkpoints import Selection
from visionfm.encoders.layouts import Match
from visionfm.errors import DataError

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

SEVERAL = "\n"  # between the names of tensors that were joined into one


class Conversion(NamedTuple):
    """Tensors under timm's names (as stored, not yet float32), and what was done to get there."""

    layout: layouts.Layout
    tensors: "Tensors"
    renamed: dict[str, str]  # old -> new, prefixes included
    dropped: dict[str, str]  # key -> why


def recognise(selection: Selection) -> Match:
    """Return the layout of a network's tensors and its prefix; raises DataError unless exactly one can be used."""
    shapes = {name: tuple(tensor.shape) for name, tensor in selection.tensors.items()}
    found = layouts.find(shapes, selection.key)
    where = f"entry {selection.key!r}" if selection.key else None
    if not found:
        raise DataError(
            "the weights are in no known layout",
            expected="a vision transformer in one of the layouts that `visionfm encoders` lists",
            found=f"{_some(shapes)}; {layouts.nearest(shapes)}",
            where=where,
            do="give timm's name of the network (`timm`) where timm's converter knows the file, or rename its tensors",
        )
    usable = [match for match in found if match.layout.refusal is None]
    if not usable:
        layout = found[0].layout
        raise DataError(
            f"the weights are those of {layout.title}, which cannot be an encoder here",
            expected="a vision transformer for single images, with a norm after its last block",
            found=layout.refusal,
            where=where,
            do="choose another encoder: `visionfm encoders` lists them",
        )
    if len(usable) > 1:
        names = [match.prefix.removesuffix(".") for match in usable]
        raise DataError(
            "the weights file holds several networks, and which one is meant is not guessed",
            expected="one network, or a `key` for the encoder",
            found=", ".join(f"{name} ({match.layout.title})" for name, match in zip(names, usable, strict=True)),
            where=where,
            do=f"set the encoder's `key`, such as {names[0]}",
        )
    return usable[0]


def _some(shapes: Mapping[str, object]) -> str:
    return ", ".join(list(shapes)[:4]) + (f" and {len(shapes) - 4} more" if len(shapes) > 4 else "")


def convert(
    selection: Selection, match: Match, *, keep_qkv_bias: bool = False, modality: str | None = None
) -> Conversion:
    """Return the tensors under timm's names; raises DataError where the network cannot be one of timm's.

    `keep_qkv_bias` keeps DINOv3's biases even where all are zero (timm has both kinds of each model). `modality` is of
    the images, for a network with an input adapter for each.
    """
    work, (layout, prefix) = Translation(selection), match
    for name in [name for name in work.tensors if not name.startswith(prefix)]:
        work.take(name, dropped=f"beside the encoder, whose names begin with {prefix}")
    work.rename(lambda name: _renamed(name.removeprefix(prefix), layout))
    if layout.adapters:
        _choose_adapter(work, layout, modality)
    work.drop(layout.dropped)
    if layout.pool is None and "fc_norm.weight" in work.tensors and "norm.weight" not in work.tensors:
        raise DataError(
            "the weights were fine-tuned with mean pooling and have no norm for their tokens",
            expected="norm.weight and norm.bias after the last block",
            found="fc_norm, which was trained on the mean of the patches alone",
            where=f"entry {selection.key!r}" if selection.key else None,
            do="use the pretrained file these weights were fine-tuned from; an untrained norm is not put in its place",
        )
    try:
        for rule in layout.rules:
            RULES[rule](work, keep_qkv_bias)
    except (RuntimeError, IndexError, ValueError) as error:  # of shapes or types that no such file has
        raise DataError(
            f"the tensors do not fit together as those of {layout.title}",
            expected="the shapes and types that its owner gives them",
            found=str(error).splitlines()[0],
            where=f"entry {selection.key!r}" if selection.key else None,
            do="get the file again from its owner and compare its sha256",
        ) from error
    return work.done(layout)


def _choose_adapter(work: "Translation", layout: layouts.Layout, modality: str | None) -> None:
    """Give the input adapter of a modality timm's names; DataError where there is none for it."""
    there = {
        modality: adapter
        for modality, adapter in layout.adapters.items()
        if f"input_adapters.{adapter}.proj.weight" in work.tensors
    }
    if modality not in there:
        raise DataError(
            f"{layout.title} has an input adapter for each modality, and none for these images",
            expected=", ".join(there) or "an adapter of a known modality",
            found=modality or "none said",
            do="set the encoder's `modality` (--modality) to one of them",
        )
    own = f"input_adapters.{there[modality]}."
    new = {
        f"{own}proj.weight": layouts.PATCHES,
        f"{own}proj.bias": "patch_embed.proj.bias",
        f"{own}pos_emb": "pos_embed",
    }
    work.rename(lambda name: new.get(name, name))


def _renamed(name: str, layout: layouts.Layout) -> str:
    for pattern, new in layout.renames:
        name = re.sub(pattern, new, name)
    return name


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
        for origin in self.origin[name].split(SEVERAL):
            if dropped is not None:
                self.dropped[origin] = dropped
                self.changed.pop(origin, None)
            if becomes is not None:
                self.changed[origin] = becomes
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

    def done(self, layout: layouts.Layout) -> Conversion:
        """Return the result with all that was renamed and dropped on the way."""
        alone = {name: self.origin.get(name, name) for name in self.tensors}
        renamed = {old: name for name, old in alone.items() if old != name and SEVERAL not in old}
        return Conversion(
            layout, self.tensors, dict(sorted({**renamed, **self.changed}.items())), dict(sorted(self.dropped.items()))
        )


# --- rules: what names alone do not do ------------------------------------------------------------------------------


def _join_positions(work: Translation, _keep: bool) -> None:
    """Add the CLS token's position to the token, as timm does where registers stand between CLS and patches."""
    registers = work.origin.get("reg_token", "").endswith("register_tokens")
    if registers and {"cls_token", "pos_embed"} <= work.tensors.keys():
        positions = work.take("pos_embed", becomes="pos_embed (patches), cls_token (its first, added)")
        work.tensors["cls_token"] = work.tensors["cls_token"].float() + positions[:, :1].float()
        work.tensors["pos_embed"] = positions[:, 1:]
        work.changed[work.origin["cls_token"]] = "cls_token (its position added)"


def _split_qkv_bias(work: Translation, keep: bool) -> None:
    """Give q and v their biases by timm's names; timm's networks have none for k, where DINOv3 has zeros.

    DINOv3 multiplies its biases by a mask; where nothing remains in any block, timm's model without them is meant.
    """
    biases = {}
    for name in [name for name in work.tensors if name.endswith(".attn.qkv.bias")]:
        bias = work.tensors[name].float()
        if f"{name}_mask" in work.tensors:
            bias = bias * work.take(f"{name}_mask", dropped="applied to the bias").float()
        biases[name] = bias.chunk(3)
    of_k = [name for name, (_, k, _) in biases.items() if bool(k.any())]
    if of_k:
        raise DataError(
            "the weights have a bias for the keys of attention, which such a network has not",
            expected="zeros, or a mask (bias_mask) that makes them zeros",
            found=f"other values in the middle third of {work.origin[of_k[0]]}",
            do="use the file as its owner gives it out",
        )
    empty = not any(bool(part.any()) for parts in biases.values() for part in parts)
    for name, (q, _, v) in biases.items():
        if empty and not keep:
            work.take(name, dropped="zero in all blocks")
            continue
        stem = name.removesuffix("qkv.bias")
        work.take(name, becomes=f"{stem}q_bias, {stem}v_bias")
        work.tensors[f"{stem}q_bias"], work.tensors[f"{stem}v_bias"] = q, v


def _join_qkv(work: Translation, _keep: bool) -> None:
    """Put the rows of q, k and v under each other; where k alone has no bias, it is zero."""
    import torch

    for name in list(work.tensors):
        found = re.fullmatch(r"(blocks\.\d+\.attn\.)(q|query)\.(weight|bias)", name)
        if not found:
            continue
        stem, q, kind = found.groups()
        parts = [f"{stem}{part}.{kind}" for part in (("q", "k", "v") if q == "q" else ("query", "key", "value"))]
        there = [part in work.tensors for part in parts]
        if not (all(there) or (kind == "bias" and there == [True, False, True])):
            continue  # the comparison with the architecture will name them
        joined = f"{stem}qkv.{kind}"
        origins = [work.origin[part] for part in parts if part in work.tensors]
        rows = [
            work.take(part, becomes=f"{joined} (rows of {letter})") if part in work.tensors else None
            for part, letter in zip(parts, "qkv", strict=True)
        ]
        zeros = torch.zeros_like(rows[0])  # type: ignore[arg-type]
        work.tensors[joined] = torch.cat([zeros if part is None else part for part in rows])
        work.origin[joined] = SEVERAL.join(origins)


def _shape_positions(work: Translation, _keep: bool) -> None:
    """Give CLS token and positions the leading axes that timm's have."""
    for name in ("cls_token", "pos_embed"):
        tensor = work.tensors.get(name)
        if tensor is not None and tensor.ndim < 3:
            work.tensors[name] = tensor.reshape(1, -1, tensor.shape[-1])
            work.changed[work.origin[name]] = f"{name} (as 1 x {work.tensors[name].shape[1]} x {tensor.shape[-1]})"


def _name_gated_mlp(work: Translation, _keep: bool) -> None:
    """Name the layers of an MLP with a gate (SwiGLU) or without."""
    gated = any(".mlp.gate_proj." in name for name in work.tensors)
    up = ".mlp.fc1_x." if gated else ".mlp.fc1."
    new = {".mlp.gate_proj.": ".mlp.fc1_g.", ".mlp.up_proj.": up, ".mlp.down_proj.": ".mlp.fc2."}

    def renamed(name: str) -> str:
        for old, timms in new.items():
            name = name.replace(old, timms)
        return name

    work.rename(renamed)


def _shape_adapter(work: Translation, _keep: bool) -> None:
    """Give positions (1, D, G, G) the shape of timm's, zeros before them for the global tokens; patches of grey to RGB.

    Kernels of one channel are spread over three by thirds: of a grey image they see the same.
    """
    import torch

    positions_1DGG, tokens_1TD = work.tensors["pos_embed"], work.tensors["cls_token"]
    positions_1PD = positions_1DGG.flatten(2).transpose(1, 2)
    work.tensors["pos_embed"] = torch.cat([torch.zeros_like(tokens_1TD), positions_1PD], dim=1)
    work.changed[work.origin["pos_embed"]] = "pos_embed (as 1 x tokens x width, zeros for the global token)"
    kernel_DCHW = work.tensors[layouts.PATCHES]
    if kernel_DCHW.shape[1] == 1:
        work.tensors[layouts.PATCHES] = kernel_DCHW.float().repeat(1, 3, 1, 1) / 3
        work.changed[work.origin[layouts.PATCHES]] = f"{layouts.PATCHES} (a third of it for each of R, G and B)"


LORA_ALPHA = 16.0  # of LoRA-DINORET, in its owner's script; the adapters count by alpha / rank


def _merge_lora(work: Translation, _keep: bool) -> None:
    """Add adapters (LoRA: b a, times alpha / rank) to the weights of the linear layers that they stand beside."""
    for name in [name for name in work.tensors if name.endswith(".lora_adapter.lora_A.weight")]:
        stem = name.removesuffix("lora_adapter.lora_A.weight")
        pair = [name, f"{stem}lora_adapter.lora_B.weight"]
        if f"{stem}weight" not in work.tensors or pair[1] not in work.tensors:
            continue  # the comparison with the architecture will name what is there alone
        a_RI, b_OR = (work.take(factor, becomes=f"{stem}weight (added)").float() for factor in pair)
        work.tensors[f"{stem}weight"] = work.tensors[f"{stem}weight"].float() + LORA_ALPHA / len(a_RI) * (b_OR @ a_RI)
        work.changed[work.origin[f"{stem}weight"]] = (
            f"{stem}weight (adapters of rank {len(a_RI)} added, alpha {LORA_ALPHA:g})"
        )


def _merge_adapters(work: Translation, _keep: bool) -> None:
    """Add adapters of q and v (LoRA, factors a then b, no scaling) to the weights they stand beside."""
    for name in [name for name in work.tensors if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", name)]:
        stem, weight = name.removesuffix("weight"), work.tensors[name].float().clone()
        width = weight.shape[0] // 3
        for letter, rows in (("q", slice(0, width)), ("v", slice(2 * width, None))):
            pair = [f"{stem}linear_{factor}_{letter}.weight" for factor in "ab"]
            if not all(factor in work.tensors for factor in pair):
                continue  # the comparison with the architecture will name what is there alone
            a, b = (work.take(factor, becomes=f"{name} (added to its rows of {letter})").float() for factor in pair)
            weight[rows] += b @ a
        work.tensors[name] = weight
        work.changed[work.origin[name]] = f"{name} (adapters added)"


RULES: dict[str, Callable[[Translation, bool], None]] = {
    "join_positions": _join_positions,
    "split_qkv_bias": _split_qkv_bias,
    "join_qkv": _join_qkv,
    "shape_positions": _shape_positions,
    "name_gated_mlp": _name_gated_mlp,
    "merge_adapters": _merge_adapters,
    "merge_lora": _merge_lora,
    "shape_adapter": _shape_adapter,
}
