"""State dicts in each layout that `encoders.layouts` knows, made by surgery from one small network of timm's."""

import re
from collections.abc import Callable
from typing import NamedTuple

import torch

from world.encoder_fakes import Tensors, as_dinov2, as_dinov3, prefixed, tensors

WIDTH = 64
GENERATOR = torch.Generator().manual_seed(11)


class Written(NamedTuple):
    """A network in some layout: its tensors, under which entry, and what else it is."""

    layout: str
    arch: str
    tensors: Callable[[Tensors], Tensors]  # of the network's own
    key: str | None = None  # the entry it has to stand under
    biases: bool = False  # of a DINOv3


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR)


def renamed(state: Tensors, *pairs: tuple[str, str]) -> Tensors:
    found = {}
    for name, tensor in state.items():
        for pattern, new in pairs:
            name = re.sub(pattern, new, name)
        found[name] = tensor
    return found


def cut_qkv(state: Tensors, q: str, k: str, v: str) -> Tensors:
    """Cut `blocks.N.attn.qkv.*` into three."""
    found: Tensors = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            parts = zip((q, k, v), tensor.chunk(3), strict=True)
            found.update({name.replace("attn.qkv", part): value.clone() for part, value in parts})
        else:
            found[name] = tensor
    return found


HF = (
    ("^cls_token$", "embeddings.cls_token"),
    ("^mask_token$", "embeddings.mask_token"),
    ("^register_tokens$", "embeddings.register_tokens"),
    ("^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
HF_QKV = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))


def hf_vit(state: Tensors) -> Tensors:
    names = (
        *((rf"\.norm{n}\.", f".layernorm_{place}.") for n, place in ((1, "before"), (2, "after"))),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )
    found = renamed(cut_qkv(state, *HF_QKV), *HF, *names)
    head = {"classifier.weight": drawn(5, WIDTH), "classifier.bias": drawn(5)}
    return {**prefixed(found, "vit."), **head}


def hf_mae(state: Tensors) -> Tensors:
    found = {name: tensor for name, tensor in hf_vit(state).items() if name.startswith("vit.")}
    return {**found, "decoder.mask_token": drawn(1, 1, 8), "decoder.decoder_embed.weight": drawn(8, WIDTH)}


def hf_dinov2(state: Tensors) -> Tensors:
    names = (
        (r"\.ls([12])\.gamma", r".layer_scale\1.lambda1"),
        (r"\.w12\.", ".weights_in."),
        (r"\.w3\.", ".weights_out."),
    )
    return renamed(cut_qkv(as_dinov2(state), *HF_QKV), *HF, *names)


def hf_dinov3(state: Tensors) -> Tensors:
    gated = any("fc1_g" in name for name in state)
    up = "fc1_x" if gated else "fc1"
    names = (
        *HF[:3],
        ("^reg_token$", "embeddings.register_tokens"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
        (r"^blocks\.", "layer."),
        (r"\.gamma_([12])$", r".layer_scale\1.lambda1"),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.attn\.([qv])_bias", r".attention.\1_proj.bias"),
        (r"\.mlp\.fc1_g\.", ".mlp.gate_proj."),
        (rf"\.mlp\.{up}\.", ".mlp.up_proj."),
        (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    )
    found = renamed(cut_qkv(state, *(f"attention.{part}_proj" for part in "qkv")), *names)
    if not any(name.endswith("q_proj.bias") for name in found):
        zeros = {f"layer.{n}.attention.{part}_proj.bias": torch.zeros(WIDTH) for n in range(4) for part in "qv"}
        found |= zeros
    return {**found, "embeddings.mask_token": drawn(1, 1, WIDTH)}


def hf_tower(state: Tensors) -> Tensors:
    names = (
        ("^cls_token$", "embeddings.class_embedding"),
        ("^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^norm_pre\.", "pre_layrnorm."),
        (r"^norm\.", "post_layernorm."),
        (r"^blocks\.", "encoder.layers."),
        (r"\.norm([12])\.", r".layer_norm\1."),
        (r"\.attn\.proj\.", ".self_attn.out_proj."),
    )
    found = renamed(cut_qkv(state, *(f"self_attn.{part}_proj" for part in "qkv")), *names)
    for name in ("embeddings.class_embedding", "embeddings.position_embedding.weight"):
        if name in found:
            found[name] = found[name][0].squeeze(0) if "class" in name else found[name][0]
    found["embeddings.position_ids"] = torch.arange(17)[None]
    beside = {"text_model.embeddings.token_embedding.weight": drawn(9, 8), "logit_scale": drawn(1)[0]}
    return {**prefixed(found, "vision_model."), **beside}


def hf_siglip(state: Tensors) -> Tensors:
    return {**hf_tower(state), "vision_model.head.probe": drawn(1, 1, WIDTH)}


def openai(state: Tensors) -> Tensors:
    names = (
        ("^cls_token$", "class_embedding"),
        ("^pos_embed$", "positional_embedding"),
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.norm([12])\.", r".ln_\1."),
        (r"\.attn\.qkv\.", ".attn.in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    )
    found = renamed(state, *names)
    found["class_embedding"], found["positional_embedding"] = state["cls_token"][0, 0], state["pos_embed"][0]
    beside = {"token_embedding.weight": drawn(9, 8), "positional_embedding": drawn(7, 8), "logit_scale": drawn(1)[0]}
    return {**prefixed({**found, "proj": drawn(WIDTH, 32)}, "visual."), **beside}


def eyeclip(state: Tensors) -> Tensors:
    return {**openai(state), "visual.decoder.embed.weight": drawn(8, WIDTH), "visual.mask_token": drawn(1, 1, 8)}


def ret_clip(state: Tensors) -> Tensors:
    """A Chinese CLIP with a mapping for each eye, as DistributedDataParallel saved it."""
    visual = {name: tensor for name, tensor in openai(state).items() if name.startswith("visual.")}
    names = ("bert.embeddings.word_embeddings.weight", "text_projection.0.weight", "left_feature_mapping.weight")
    return prefixed({**visual, **{name: drawn(9, 8) for name in names}, "logit_scale": drawn(1)[0]}, "module.")


def retizero(state: Tensors) -> Tensors:
    """Adapters whose product is known exactly: the base holds the rest."""
    found = renamed(state, (r"\.attn\.qkv\.", ".attn.qkv.qkv."))
    for block in range(4):
        stem = f"blocks.{block}.attn.qkv."
        base = found[f"{stem}qkv.weight"].clone()
        for letter, rows in (("q", slice(0, WIDTH)), ("v", slice(2 * WIDTH, None))):
            a, b = drawn(8, WIDTH), drawn(WIDTH, 8)
            found[f"{stem}linear_a_{letter}.weight"], found[f"{stem}linear_b_{letter}.weight"] = a, b
            base[rows] -= b @ a
        found[f"{stem}qkv.weight"] = base
    text = {"text_model.model.embeddings.word_embeddings.weight": drawn(9, 8), "logit_scale": drawn(1)[0]}
    return {**prefixed(found, "vision_model.model.lora_vit."), **text}


def mae(state: Tensors) -> Tensors:
    return {**state, "mask_token": drawn(1, 1, 8), "decoder_embed.weight": drawn(8, WIDTH)}


def urfound(state: Tensors) -> Tensors:
    return {**mae(state), "bert_encoder.layer.0.weight": drawn(8, 8), "bert_mlp.weight": drawn(8, 8)}


def beside_others(state: Tensors) -> Tensors:
    return {**prefixed(state, "trunk."), "projector.0.weight": drawn(4, WIDTH), "text.weight": drawn(4, 4)}


def plain(state: Tensors) -> Tensors:
    return {**state, "head.weight": drawn(5, WIDTH), "head.bias": drawn(5)}


def visionfm(state: Tensors) -> Tensors:
    return {**prefixed(state, "backbone."), "head.last_layer.weight_v": drawn(8, WIDTH)}


WRITTEN: dict[str, Written] = {
    "plain": Written("plain", "fake_plain", plain),
    "with layer scale": Written("plain", "fake_dinov2", plain),
    "inside another network": Written("plain", "fake_plain", beside_others),
    "visionfm": Written("visionfm", "fake_plain", visionfm, "teacher"),
    "visionfm-finetuned": Written("visionfm-finetuned", "fake_plain", plain, "visionfm_state_dict"),
    "mae": Written("mae", "fake_plain", mae),
    "urfound": Written("mae", "fake_plain", urfound),
    "dinov2": Written("dinov2", "fake_dinov2", as_dinov2),
    "dinov2-reg": Written("dinov2", "fake_dinov2_reg", as_dinov2),
    "dinov2-giant": Written("dinov2", "fake_dinov2_giant", as_dinov2),
    "dinov2-chunks": Written("dinov2", "fake_dinov2", lambda state: as_dinov2(state, 2)),
    "dinov3": Written("dinov3", "fake_dinov3", lambda state: as_dinov3(state, bias=False)),
    "dinov3-qkvb": Written("dinov3", "fake_dinov3_qkvb", lambda state: as_dinov3(state, bias=True)),
    "dinov3-plus": Written("dinov3", "fake_dinov3_plus", lambda state: as_dinov3(state, bias=False)),
    "dinov3-timm": Written("dinov3", "fake_dinov3", plain),
    "hf-vit": Written("hf-vit", "fake_plain", hf_vit),
    "hf-mae": Written("hf-vit", "fake_plain", hf_mae),
    "hf-dinov2": Written("hf-dinov2", "fake_dinov2", hf_dinov2),
    "hf-dinov2-reg": Written("hf-dinov2", "fake_dinov2_reg", hf_dinov2),
    "hf-dinov2-giant": Written("hf-dinov2", "fake_dinov2_giant", hf_dinov2),
    "hf-dinov3": Written("hf-dinov3", "fake_dinov3", hf_dinov3),
    "hf-dinov3-qkvb": Written("hf-dinov3", "fake_dinov3_qkvb", hf_dinov3),
    "hf-dinov3-plus": Written("hf-dinov3", "fake_dinov3_plus", hf_dinov3),
    "hf-clip": Written("hf-clip", "fake_clip", hf_tower),
    "hf-siglip": Written("hf-siglip", "fake_siglip", hf_siglip),
    "clip": Written("clip", "fake_clip", openai),
    "ret-clip": Written("ret-clip", "fake_clip", ret_clip),
    "eyeclip": Written("clip", "fake_clip", eyeclip),
    "retizero": Written("retizero", "fake_plain", retizero),
}


def file_of(name: str, seed: int = 3, grid: int = 4) -> tuple[Tensors, Tensors]:
    """Return a network's tensors in a layout, and the same network's under timm's names."""
    written = WRITTEN[name]
    state = tensors(written.arch, seed, grid)
    if written.arch == "fake_clip":  # such networks have no bias there
        state.pop("patch_embed.proj.bias", None)
    return written.tensors(dict(state)), state


def other(**shapes: tuple[int, ...]) -> Tensors:
    return {name: drawn(*shape) for name, shape in shapes.items()}


REFUSED: dict[str, tuple[str, Tensors]] = {  # known networks that cannot be used -> what the refusal says, tensors
    "multimae": (
        "MultiMAE",
        other(
            **{
                "input_adapters.rgb.proj.weight": (64, 3, 16, 16),
                "global_tokens": (1, 1, 64),
                "encoder.0.norm1.weight": (64,),
            }
        ),
    ),
    "octcube": (
        "volumes",
        other(
            **{
                "patch_embed.proj.weight": (64, 1, 3, 16, 16),
                "pos_embed_spatial": (1, 16, 64),
                "pos_embed_temporal": (1, 20, 64),
            }
        ),
    ),
    "jepa": ("3-D", other(**{"patch_embed.proj.weight": (64, 3, 2, 16, 16), "blocks.0.norm1.weight": (64,)})),
    "unknown": ("no known layout", other(**{"features.0.kernel": (8, 3, 3, 3), "features.1.scale": (8,)})),
}

STAGED: dict[str, Tensors] = {  # networks of stages, a few of their tensors: none is whole
    "flair": other(
        **{
            f"vision_model.model.{name}": shape
            for name, shape in {
                "conv1.weight": (8, 3, 7, 7),
                "bn1.running_mean": (8,),
                "layer1.0.conv1.weight": (8, 8, 1, 1),
                "layer4.0.conv1.weight": (8, 8, 1, 1),
            }.items()
        }
    ),
    "convnext": other(**{"stem.0.weight": (8, 3, 4, 4), "stages.0.blocks.0.conv_dw.weight": (8, 1, 7, 7)}),
    "swin": other(
        **{
            "patch_embed.proj.weight": (8, 3, 4, 4),
            "layers.0.blocks.0.attn.relative_position_bias_table": (169, 2),
        }
    ),
}
