"""The layouts that checkpoints are written in, as data: one entry each; what is done with them is in `dialects`.

An entry says how its files are told from others, which names mean which of timm's, what is left out, and what its owner
trained with. Invariant: only names and shapes decide, never a file's name; the first entry that fits is meant. Adding a
layout is one entry here and one file in the tests. Imports no torch.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from visionfm.encoders.positions import grid_side

HEADS = r"head\..*|head_dist\..*"
HEAD_REASON = "classification or projection head"
MASK_REASON = "mask token of pretraining"
DECODER_REASON = "decoder of pretraining"
PATCHES = "patch_embed.proj.weight"  # timm's name of the patch embedding
Statistics = Literal["imagenet", "modality", "clip", "half", "unit", "said"]  # `said`: the config has to say them


class Layout(NamedTuple):
    """One way of writing a network down."""

    name: str
    title: str  # whose files are written so
    anchor: str  # name of the patch embedding; what stands before it is the prefix of the network
    signs: tuple[str, ...] = ()  # patterns: each is the whole name of some tensor
    beside: tuple[str, ...] = ()  # patterns of whole names of tensors outside the network, such as of a text tower
    absent: str | None = None  # and none has this name
    prefix: str | None = None  # what its owner's names begin with, where that decides
    keys: tuple[str, ...] = ()  # the entries of the file that it stands under, where that decides
    width: int | None = None
    kernel: int | None = None  # dimensions of the patch embedding
    grid: int | None = None  # patches along a side of the stored positions
    renames: tuple[tuple[str, str], ...] = ()  # pattern -> new part, one after the other
    rules: tuple[str, ...] = ()  # what else is done, by name in `dialects.RULES`, in this order
    dropped: Mapping[str, str] = {}  # pattern of whole names (new ones) -> why
    statistics: Statistics = "said"
    licence: str = "unknown"
    pooling: str = "CLS"  # what its owner reads
    modality: str = "any"
    where: str = ""  # its owner gives it out
    arch: str | None = None  # what to say where shapes do not show the architecture
    network: str | None = None  # timm's name of the network of stages that it is
    pool: str | None = None  # a column whose tokens have no norm: how it is pooled (`architectures.POOLS`)
    adapters: Mapping[str, str] = {}  # modality -> which of its input adapters is for it
    refusal: str | None = None  # why its files cannot be used


class Match(NamedTuple):
    """A layout, and the prefix that its names have in a file."""

    layout: Layout
    prefix: str


_HF_QKV = ((r"attention\.attention\.(query|key|value)\.", r"attn.\1."), (r"attention\.output\.dense\.", "attn.proj."))
_HF_EMBEDDINGS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.register_tokens$", "register_tokens"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?(weight|bias)$", r"patch_embed.proj.\2"),
    (r"^encoder\.layer\.", "blocks."),
    (r"^layernorm\.", "norm."),
)
_HF_TOWER = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
)
_OPENAI = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_DINOV2 = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # the chunk that sharded training puts a block in
    (r"^register_tokens$", "reg_token"),
    (r"\.mlp\.(w12|weights_in)\.", ".mlp.fc1."),
    (r"\.mlp\.(w3|weights_out)\.", ".mlp.fc2."),
)
_DINOV3 = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),
    (r"^storage_tokens$", "reg_token"),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_DINO_HEADS = {HEADS + r"|dino_head\..*|ibot_head\..*": HEAD_REASON, "mask_token": MASK_REASON}
_DINOV3_DROPPED = {
    **_DINO_HEADS,
    r"rope_embed\.periods": "fixed, computed anew",
    r"local_cls_norm\..*": "norm of local crops in pretraining",
}
_MAE_DROPPED = {
    HEADS: HEAD_REASON,
    "mask_token": MASK_REASON,
    r"decoder_.*": DECODER_REASON,
    r"bert_(encoder|mlp)\..*": "text network of pretraining",
}
_POOLED = (r"fc_norm\.weight", r"blocks\.0\.norm1\.weight")
_MULTIMAE = ((r"^global_tokens$", "cls_token"), (r"^encoder\.", "blocks."))
_MULTIMAE_DROPPED = {
    r"input_adapters\..*": "input adapter of other images",
    r"output_adapters\..*": DECODER_REASON,
}
_CLIP_ARCH = (
    "`timm: vit_base_patch16_clip_quickgelu_224` for OpenAI's own, `timm: vit_base_patch16_clip_224` for LAION's"
)
_NC = "CC BY-NC 4.0"

# The first that fits is meant: those with more signs stand before those with fewer.
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "octcube",
        "OCTCube",
        PATCHES,
        signs=("pos_embed_spatial", "pos_embed_temporal"),
        licence="BSD-2-Clause (code)",
        modality="OCT volumes",
        refusal="OCTCube reads volumes of 60 slices: its patches are 3-D, and no 2-D use of them is published",
    ),
    Layout(
        "jepa",
        "V-JEPA and other networks of videos or volumes",
        PATCHES,
        kernel=5,
        refusal="the network reads videos or volumes: its patches are 3-D",
    ),
    Layout(
        "flair",
        "FLAIR: a ResNet-50 beside a text network",
        "layer1.0.conv1.weight",
        signs=(r"bn1\.running_mean", r"layer4\.0\.conv1\.weight"),
        prefix="vision_model.model.",
        network="resnet50",
        statistics="unit",
        licence="Apache-2.0",
        pooling="mean of the last map, at 512 px",
        modality="Fundus",
        where="`jusiro/FLAIR` on GitHub",
    ),
    Layout(
        "resnet",
        "ResNet, torchvision's and timm's names",
        "layer1.0.conv1.weight",
        signs=(r"bn1\.running_mean", r"layer4\.0\.conv1\.weight"),
        pooling="mean of the last map",
        arch="its name, such as `arch: resnet50`",
    ),
    Layout(
        "swin",
        "Swin, its own and timm's names",
        PATCHES,
        signs=(r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table",),
        pooling="mean of the last map",
        where="timm, by name",
        arch="its name, such as `timm: swin_tiny_patch4_window7_224`",
    ),
    Layout(
        "convnext",
        "ConvNeXt and DINOv3's, their own names",
        "downsample_layers.0.0.weight",
        pooling="mean of the last map",
        where="timm, by name",
        arch="its name, such as `timm: convnext_tiny.dinov3_lvd1689m`",
    ),
    Layout(
        "convnext",
        "ConvNeXt, timm's names",
        "stem.0.weight",
        signs=(r"stages\.0\.blocks\.0\.conv_dw\.weight",),
        pooling="mean of the last map",
        where="timm, by name",
        arch="its name, such as `timm: convnext_tiny.dinov3_lvd1689m`",
    ),
    Layout(
        "lora-dinoret",
        "LoRA-DINORET: DINOv2 with adapters (LoRA) beside its linear layers",
        PATCHES,
        signs=(r"blocks\.0\.attn\.qkv\.original_linear\.weight", r"blocks\.0\..*\.lora_adapter\.lora_A\.weight"),
        renames=((r"\.original_linear\.", "."), *_DINOV2),
        rules=("merge_lora", "join_positions"),
        dropped=_DINO_HEADS,
        statistics="imagenet",
        licence=_NC,
        modality="Fundus",
        where="`cm090999/dinoret` on GitHub",
    ),
    Layout(
        "retizero",
        "RetiZero: a ViT-L/16 with adapters (LoRA) in q and v, beside a text network",
        PATCHES,
        signs=(r"blocks\.0\.attn\.qkv\.linear_a_q\.weight", r"blocks\.0\.attn\.qkv\.qkv\.weight"),
        renames=((r"\.attn\.qkv\.qkv\.", ".attn.qkv."),),
        rules=("merge_adapters",),
        dropped={HEADS: HEAD_REASON},
        statistics="imagenet",
        modality="Fundus",
        where="`LooKing9218/RetiZero` on GitHub",
    ),
    Layout(
        "dinov3",
        "DINOv3, its own names",
        PATCHES,
        signs=(r"storage_tokens|rope_embed\.periods",),
        renames=_DINOV3,
        rules=("split_qkv_bias",),
        dropped=_DINOV3_DROPPED,
        statistics="imagenet",
        licence="DINOv3 License",
        where="README of `facebookresearch/dinov3` on GitHub",
    ),
    Layout(
        "dinov3",
        "DINOv3, timm's names",
        PATCHES,
        signs=("reg_token", r"blocks\.0\.gamma_1"),
        absent="pos_embed",
        renames=_DINOV3,
        rules=("split_qkv_bias",),
        dropped=_DINOV3_DROPPED,
        statistics="imagenet",
        licence="DINOv3 License",
        where="timm, by name",
    ),
    Layout(
        "dinov2",
        "DINOv2, RETFound-DINOv2, DINORET: their own names",
        PATCHES,
        signs=(r"blocks\.(\d+\.)+ls1\.gamma", "mask_token|register_tokens"),
        renames=_DINOV2,
        rules=("join_positions",),
        dropped=_DINO_HEADS,
        statistics="imagenet",
        licence="Apache-2.0",
        where="`facebookresearch/dinov2` on GitHub; RETFound's: `YukunZhou/RETFound_dinov2_meh` on Hugging Face",
    ),
    Layout(
        "dinov2",
        "DINOv2, timm's names",
        PATCHES,
        signs=(r"blocks\.(\d+\.)+ls1\.gamma",),
        grid=37,  # of the released weights: 518 px by patches of 14
        renames=_DINOV2,
        dropped=_DINO_HEADS,
        statistics="imagenet",
        licence="Apache-2.0",
        where="timm, by name",
    ),
    Layout(
        "dinov2",
        "RETFound-DINOv2, fine-tuned by its own script",
        PATCHES,
        signs=(r"blocks\.(\d+\.)+ls1\.gamma", r"blocks\.23\.norm1\.weight", r"head\.weight"),
        keys=("model",),
        width=1024,
        dropped=_DINO_HEADS,
        statistics="imagenet",
        licence=_NC,
        modality="Fundus, OCT",
        where="whoever fine-tuned it",
    ),
    Layout(
        "plain",
        "a ViT with layer scale of unknown origin (RETFound-Green)",
        PATCHES,
        signs=(r"blocks\.(\d+\.)+ls1\.gamma",),
        dropped={HEADS: HEAD_REASON},
        pooling="patch mean",
        where="RETFound-Green: releases of `justinengelmann/RETFound_Green` on GitHub",
    ),
    Layout(
        "pooled",
        "RETFound, fine-tuned by its own script on the mean of the patches",
        PATCHES,
        signs=_POOLED,
        absent="norm.weight",
        keys=("model",),
        kernel=4,
        dropped={HEADS: HEAD_REASON, "mask_token": MASK_REASON},
        statistics="imagenet",
        licence=_NC,
        pooling="the normed mean of the patches",
        modality="Fundus, OCT",
        where="whoever fine-tuned it; eight are listed in the README of `rmaphoh/RETFound` on GitHub",
        pool="normed mean",
    ),
    Layout(
        "pooled",
        "a ViT that norms the mean of its patches alone (EVA-02, VisionUnite's)",
        PATCHES,
        signs=_POOLED,
        absent="norm.weight",
        kernel=4,
        dropped={HEADS: HEAD_REASON, "mask_token": MASK_REASON, r"rope\..*": "fixed, computed anew"},
        pooling="the normed mean of the patches",
        pool="normed mean",
    ),
    Layout(
        "mae",
        "RETFound, DERETFound, UrFound and other masked autoencoders",
        PATCHES,
        signs=(r"decoder_.*",),
        dropped=_MAE_DROPPED,
        statistics="imagenet",
        licence=_NC,
        pooling="patch mean",
        modality="Fundus, OCT",
        where="`YukunZhou/RETFound_mae_natureCFP` on Hugging Face (gated); `yukkai/UrFound` on GitHub",
    ),
    Layout(
        "visionfm-finetuned",
        "VisionFM, fine-tuned",
        PATCHES,
        keys=("visionfm_state_dict",),
        dropped={HEADS: HEAD_REASON, "masked_embed": MASK_REASON},
        statistics="modality",
        licence=_NC,
        pooling="CLS of the last four blocks",
        modality="Fundus, OCT",
        where="`Fine-tuning/README.md` of `ABILab-CUHK/VisionFM` on GitHub",
    ),
    Layout(
        "visionfm",
        "VisionFM and iBOT pretraining",
        PATCHES,
        keys=("teacher", "student"),
        dropped={HEADS: HEAD_REASON, "masked_embed": MASK_REASON},
        statistics="modality",
        licence=_NC,
        pooling="CLS of the last four blocks",
        modality="each one file",
        where="README of `ABILab-CUHK/VisionFM` on GitHub",
    ),
    Layout(
        "mae",
        "RETFound without its decoder",
        PATCHES,
        signs=(r"blocks\.23\.norm1\.weight",),
        keys=("model",),
        width=1024,
        dropped=_MAE_DROPPED,
        statistics="imagenet",
        licence=_NC,
        pooling="patch mean",
        modality="Fundus, OCT",
        where="`YukunZhou/RETFound_mae_natureCFP` on Hugging Face (gated)",
    ),
    Layout(
        "plain",
        "a ViT of unknown origin, timm's names",
        PATCHES,
        dropped={HEADS: HEAD_REASON},
    ),
    Layout(
        "hf-dinov3",
        "DINOv3, Hugging Face's names",
        "embeddings.patch_embeddings.weight",
        signs=(r"layer\.0\.attention\.q_proj\.weight",),
        renames=(
            *_HF_EMBEDDINGS[:5],
            (r"^layer\.", "blocks."),
            (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
            (r"\.attention\.o_proj\.", ".attn.proj."),
            (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
            (r"^register_tokens$", "reg_token"),
        ),
        rules=("join_qkv", "name_gated_mlp", "split_qkv_bias"),
        dropped=_DINOV3_DROPPED,
        statistics="imagenet",
        licence="DINOv3 License",
        where="`facebook/dinov3-*` on Hugging Face (gated)",
    ),
    Layout(
        "hf-dinov2",
        "DINOv2, Hugging Face's names",
        "embeddings.patch_embeddings.projection.weight",
        signs=(r"encoder\.layer\.0\.layer_scale1\.lambda1",),
        renames=(
            *_HF_EMBEDDINGS,
            *_HF_QKV,
            (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
            *_DINOV2,
        ),
        rules=("join_qkv", "join_positions"),
        dropped={**_DINO_HEADS, r"classifier\..*": HEAD_REASON},
        statistics="imagenet",
        licence="Apache-2.0",
        where="`facebook/dinov2-*` on Hugging Face",
    ),
    Layout(
        "hf-vit",
        "ViT and ViTMAE, Hugging Face's names",
        "embeddings.patch_embeddings.projection.weight",
        signs=(r"encoder\.layer\.0\.layernorm_before\.weight",),
        renames=(
            *_HF_EMBEDDINGS,
            *_HF_QKV,
            (r"\.layernorm_before\.", ".norm1."),
            (r"\.layernorm_after\.", ".norm2."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        ),
        rules=("join_qkv",),
        dropped={"mask_token": MASK_REASON, r"pooler\..*": "pooling of the classifier", r"classifier\..*": HEAD_REASON},
        where="Hugging Face",
    ),
    Layout(
        "hf-clip",
        "CLIP, Hugging Face's names",
        "embeddings.patch_embedding.weight",
        signs=(r"embeddings\.class_embedding", r"pre_layrnorm\.weight"),
        renames=_HF_TOWER,
        rules=("join_qkv", "shape_positions"),
        dropped={r"embeddings\.position_ids": "numbers of the positions"},
        statistics="clip",
        licence="MIT if OpenAI's",
        pooling="CLS, projected",
        where="`openai/clip-vit-*` on Hugging Face",
        arch=_CLIP_ARCH,
    ),
    Layout(
        "hf-siglip",
        "SigLIP, SigLIP 2, MedSigLIP: Hugging Face's names",
        "embeddings.patch_embedding.weight",
        signs=(r"encoder\.layers\.0\.self_attn\.q_proj\.weight", r"post_layernorm\.weight"),
        absent="pre_layrnorm.weight",
        renames=_HF_TOWER,
        rules=("join_qkv", "shape_positions"),
        dropped={r"head\..*": "pooling of the classifier", r"embeddings\.position_ids": "numbers of the positions"},
        statistics="half",
        licence="Apache-2.0; MedSigLIP: HAI-DEF terms",
        pooling="attention pooling; here the patch mean stands for it",
        where="`google/siglip*`, `google/medsiglip-448` on Hugging Face",
        arch="`timm: vit_so400m_patch14_siglip_gap_448` for MedSigLIP, `timm: vit_base_patch16_siglip_224` for SigLIP",
    ),
    Layout(
        "ret-clip",
        "RET-CLIP",
        "conv1.weight",
        signs=("class_embedding", r"transformer\.resblocks\.0\.ln_1\.weight"),
        beside=(r"(module\.)?bert\.embeddings\.word_embeddings\.weight", r"(module\.)?left_feature_mapping\.weight"),
        renames=_OPENAI,
        rules=("shape_positions",),
        dropped={"proj": "projection to the text's space"},
        statistics="clip",
        licence="no licence file",
        pooling="CLS, projected",
        modality="Fundus",
        where="`sStonemason/RET-CLIP` on GitHub",
        arch="`timm: vit_base_patch16_clip_quickgelu_224`",
    ),
    Layout(
        "clip",
        "CLIP and EyeCLIP, OpenAI's names",
        "conv1.weight",
        signs=("class_embedding", "positional_embedding", r"transformer\.resblocks\.0\.ln_1\.weight"),
        renames=_OPENAI,
        rules=("shape_positions",),
        dropped={
            "proj": "projection to the text's space",
            "mask_token": MASK_REASON,
            r"decoder.*": DECODER_REASON,
        },
        statistics="clip",
        licence="MIT if OpenAI's; EyeCLIP has no licence file",
        pooling="CLS, projected",
        where="`openai/CLIP`, `Michi-3000/EyeCLIP` on GitHub",
        arch=_CLIP_ARCH,
    ),
    Layout(
        "mirage",
        "MIRAGE",
        "global_tokens",
        signs=(r"input_adapters\.bscan\.proj\.weight", r"encoder\.0\.norm1\.weight"),
        renames=_MULTIMAE,
        rules=("shape_adapter",),
        dropped=_MULTIMAE_DROPPED,
        statistics="unit",
        licence="CC BY-NC-ND 4.0",
        pooling="patch mean, at 512 px",
        modality="OCT",
        where="`j-morano/MIRAGE` on GitHub",
        pool="mean",
        adapters={"OCT": "bscan"},
    ),
    Layout(
        "eyefm",
        "EyeFM",
        "global_tokens",
        signs=(r"input_adapters\.cfp\.proj\.weight", r"encoder\.0\.norm1\.weight"),
        renames=_MULTIMAE,
        rules=("shape_adapter",),
        dropped=_MULTIMAE_DROPPED,
        statistics="imagenet",
        pooling="patch mean",
        modality="Fundus, OCT, FFA, External",
        where="`eyefm/EyeFM` on GitHub (no weights are given out yet)",
        pool="mean",
        adapters={"Fundus": "cfp", "OCT": "oct", "FFA": "ffa", "External": "eyephoto"},
    ),
    # --- known, and not to be used ---
    Layout(
        "multimae",
        "a MultiMAE of unknown origin",
        "global_tokens",
        signs=(r"input_adapters\..*\.proj\.weight", r"encoder\.0\..*"),
        refusal="which images its input adapters are for, and how they were normalised, is not known",
    ),
)
ENCODER = Layout("encoder", "an encoder.safetensors of this project", PATCHES)
TIMM = Layout(
    "timm", "named by timm", PATCHES, dropped={HEADS: HEAD_REASON, r"attn_pool\..*": "pooling of the classifier"}
)
RANDOM = Layout("random", "untrained", PATCHES, statistics="modality", licence="none (untrained)")

Shapes = Mapping[str, tuple[int, ...]]


def find(shapes: Shapes, key: str | None) -> list[Match]:
    """Return the layout of each network among tensors of these shapes; one at the root stands for all below it."""
    found: dict[str, Layout] = {}
    for layout in LAYOUTS:
        for prefix in _prefixes(shapes, layout.anchor):
            if prefix not in found and _fits(layout, shapes, prefix, key):
                found[prefix] = layout
    if "" in found:
        return [Match(found[""], "")]
    outer = [prefix for prefix in found if not any(prefix != other and prefix.startswith(other) for other in found)]
    return [Match(found[prefix], prefix) for prefix in sorted(outer)]


def _prefixes(shapes: Shapes, anchor: str) -> Iterator[str]:
    for name in shapes:
        if name == anchor or name.endswith(f".{anchor}"):
            yield name.removesuffix(anchor)


def _fits(layout: Layout, shapes: Shapes, prefix: str, key: str | None) -> bool:
    inside = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    if layout.keys and key not in layout.keys:
        return False
    if layout.prefix is not None and not prefix.endswith(layout.prefix):
        return False
    if layout.kernel is not None and len(inside[layout.anchor]) != layout.kernel:
        return False
    if layout.absent is not None and layout.absent in inside:
        return False
    if layout.width is not None and inside[PATCHES][:1] != (layout.width,):
        return False
    if layout.grid is not None and _grid(inside) != layout.grid:
        return False
    outside = [name for name in shapes if not name.startswith(prefix)] if layout.beside else []
    return all(any(re.fullmatch(sign, name) for name in inside) for sign in layout.signs) and all(
        any(re.fullmatch(sign, name) for name in outside) for sign in layout.beside
    )


def _grid(shapes: Shapes) -> int | None:
    positions = shapes.get("pos_embed", ())
    return (grid_side(positions[1], 1) or grid_side(positions[1], 0)) if len(positions) == 3 else None


def nearest(shapes: Shapes) -> str:
    """Return, in words, the layout that tensors of these shapes come nearest to, and which of its names they lack."""
    best, there, lacking = None, 0, [""]
    for layout in LAYOUTS:
        for prefix in {"", *_guesses(shapes, layout)}:
            inside = [name.removeprefix(prefix) for name in shapes if name.startswith(prefix)]
            wanted = [re.escape(layout.anchor), *layout.signs]
            missing = [sign for sign in wanted if not any(re.fullmatch(sign, name) for name in inside)]
            known = sum(_names_of(layout, name) for name in inside)
            score = len(wanted) - len(missing) + min(known, 20)
            if score > there:
                best, there, lacking = layout, score, missing
    if best is None:
        return "none of the known layouts shares a name with it"
    words = ", ".join(sign.replace("\\", "") for sign in lacking[:3]) or "nothing: see the error"
    return f"nearest is {best.name} ({best.title}); of its names these are missing: {words}"


def _guesses(shapes: Shapes, layout: Layout) -> Iterator[str]:
    """Yield prefixes that a block's names stand behind."""
    for name in list(shapes)[:200]:
        if found := re.match(
            r"(.*?\.|)(blocks\.0\.|encoder\.layers?\.0\.|layer\.0\.|transformer\.resblocks\.0\.)", name
        ):
            yield found[1]


def _names_of(layout: Layout, name: str) -> bool:
    if not layout.renames:
        return bool(re.match(r"(blocks\.\d+\.(norm[12]|attn|mlp)\.|norm\.|cls_token$|pos_embed$)", name))
    return any(re.search(pattern, name) for pattern, _ in layout.renames)
