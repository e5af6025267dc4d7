"""Small networks of every kind, registered with timm, and checkpoints of every dialect made from them by surgery."""

from pathlib import Path
from typing import Any

import torch
from timm.layers import SwiGLUPacked
from timm.models import register_model
from timm.models.eva import Eva, _create_eva
from timm.models.swin_transformer import SwinTransformer, _create_swin_transformer
from timm.models.vision_transformer import VisionTransformer, _create_vision_transformer

SMALL: dict[str, Any] = {"embed_dim": 64, "depth": 4, "num_heads": 2}
GRID = 4


@register_model
def fake_plain(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    return _create_vision_transformer("fake_plain", pretrained=pretrained, **{**SMALL, "patch_size": 16, **kwargs})


@register_model
def fake_dinov2(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    options = {**SMALL, "patch_size": 14, "init_values": 1e-5}
    return _create_vision_transformer("fake_dinov2", pretrained=pretrained, **{**options, **kwargs})


@register_model
def fake_dinov2_reg(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    options = {**SMALL, "patch_size": 14, "init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
    return _create_vision_transformer("fake_dinov2_reg", pretrained=pretrained, **{**options, **kwargs})


@register_model
def fake_dinov2_giant(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    options = {**SMALL, "patch_size": 14, "init_values": 1e-5, "mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU}
    return _create_vision_transformer("fake_dinov2_giant", pretrained=pretrained, **{**options, **kwargs})


@register_model
def fake_siglip(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    options = {**SMALL, "patch_size": 16, "class_token": False}
    return _create_vision_transformer("fake_siglip", pretrained=pretrained, **{**options, **kwargs})


@register_model
def fake_clip(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    options = {**SMALL, "patch_size": 16, "pre_norm": True}
    return _create_vision_transformer("fake_clip", pretrained=pretrained, **{**options, **kwargs})


DINOV3: dict[str, Any] = {
    **SMALL,
    "patch_size": 16,
    "dynamic_img_size": True,
    "init_values": 1e-5,
    "rope_type": "dinov3",
    "rope_temperature": 100,
    "rope_rotate_half": True,
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "num_reg_tokens": 4,
    "use_fc_norm": False,
}


@register_model
def fake_dinov3(pretrained: bool = False, **kwargs: Any) -> Eva:
    return _create_eva("fake_dinov3", pretrained=pretrained, **{**DINOV3, "qkv_bias": False, **kwargs})


@register_model
def fake_dinov3_qkvb(pretrained: bool = False, **kwargs: Any) -> Eva:
    return _create_eva("fake_dinov3_qkvb", pretrained=pretrained, **{**DINOV3, "qkv_bias": True, **kwargs})


@register_model
def fake_dinov3_plus(pretrained: bool = False, **kwargs: Any) -> Eva:
    options = {**DINOV3, "qkv_bias": False, "swiglu_mlp": True}
    return _create_eva("fake_dinov3_plus", pretrained=pretrained, **{**options, **kwargs})


Tensors = dict[str, torch.Tensor]


def network(name: str, seed: int = 0, grid: int = GRID) -> torch.nn.Module:
    """A network whose every parameter matters: all drawn from a normal distribution."""
    import timm

    kwargs = {"num_classes": 0, "global_pool": ""}
    patch = timm.create_model(name, **kwargs).patch_embed.patch_size[0]
    model = timm.create_model(name, img_size=grid * patch, **kwargs).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + (parameter.ndim == 1) * 0.2)
    return model


def tensors(name: str, seed: int = 0, grid: int = GRID) -> Tensors:
    return {key: value.detach().clone() for key, value in network(name, seed, grid).state_dict().items()}


def prefixed(state: Tensors, prefix: str) -> Tensors:
    return {f"{prefix}{key}": value for key, value in state.items()}


def heads(width: int = 64) -> Tensors:
    return {"head.mlp.0.weight": torch.zeros(8, width), "head.last_layer.weight_g": torch.zeros(8, 1)}


def as_dinov2(state: Tensors, chunk: int | None = None) -> Tensors:
    """timm's names to DINOv2's own; `chunk` blocks a chunk, as sharded training writes them."""
    own = {"mask_token": torch.zeros(1, 64)}
    for key, value in state.items():
        new = key.replace("reg_token", "register_tokens")
        if "mlp.fc1_g" not in key:
            swiglu = state["blocks.0.mlp.fc1.weight"].shape[0] != state["blocks.0.mlp.fc2.weight"].shape[1]
            if swiglu:
                new = new.replace("mlp.fc1.", "mlp.w12.").replace("mlp.fc2.", "mlp.w3.")
        if chunk and new.startswith("blocks."):
            block, rest = int(new.split(".")[1]), new.split(".", 2)[2]
            new = f"blocks.{block // chunk}.{block}.{rest}"
        own[new] = value
    if "reg_token" in state:  # DINOv2 keeps the CLS token's position beside the patches'
        position = torch.full((1, 1, 64), 0.25)
        own["pos_embed"] = torch.cat([position, state["pos_embed"]], dim=1)
        own["cls_token"] = state["cls_token"] - position
    return own


def as_dinov3(state: Tensors, bias: bool) -> Tensors:
    """timm's names to DINOv3's own, with the masked biases and the stored periods."""
    own = {"mask_token": torch.zeros(1, 64)}
    own["rope_embed.periods"] = 100 ** (2 * torch.arange(8) / 16)  # head width 32
    for key, value in state.items():
        if key.endswith((".q_bias", ".v_bias")):
            continue
        new = key.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        new = new.replace("fc1_g", "w1").replace("fc1_x", "w2")
        if "blocks.0.mlp.fc1_g.weight" in state:
            new = new.replace("mlp.fc2", "mlp.w3")
        own[new] = value
    for block in range(4):
        stem = f"blocks.{block}.attn."
        zeros = torch.zeros(64)
        q, v = (state[f"{stem}q_bias"], state[f"{stem}v_bias"]) if bias else (zeros, zeros)
        own[f"{stem}qkv.bias"] = torch.cat([q, torch.ones(64), v])
        own[f"{stem}qkv.bias_mask"] = torch.cat([torch.ones(64), zeros, torch.ones(64)])
    return own


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@register_model
def fake_swin(pretrained: bool = False, **kwargs: Any) -> SwinTransformer:
    options = {"img_size": 64, "patch_size": 4, "window_size": 2, "embed_dim": 16, "depths": (1, 1, 1, 1)}
    options |= {"num_heads": (1, 1, 2, 2), **kwargs}
    config = {"input_size": (3, 64, 64), "fixed_input_size": True, "classifier": "head.fc"}
    return _create_swin_transformer("fake_swin", pretrained=pretrained, **{**options, "pretrained_cfg": config})
