"""Files that Hugging Face's own classes write give their owner's features; skipped where that library is not there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from world.encoder_fakes import GRID

from visionfm import load_encoder

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
Import = Callable[..., Path]
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "image_size": 16 * GRID,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
}
DINOV2 = {**SIZES, "image_size": 14 * GRID, "patch_size": 14, "mlp_ratio": 4}
MODELS = [  # class, its config, the same network of timm's, tokens before the patches, image size
    ("ViT", SIZES, "fake_plain", 1, 64),
    ("Dinov2", DINOV2, "fake_dinov2", 1, 56),
    ("Dinov2WithRegisters", {**DINOV2, "num_register_tokens": 4}, "fake_dinov2_reg", 5, 56),
    ("DINOv3ViT", {**SIZES, "num_register_tokens": 4, "layer_norm_eps": 1e-5}, "fake_dinov3_qkvb", 5, 64),
    ("SiglipVision", {**SIZES, "hidden_act": "gelu"}, "fake_siglip", 0, 64),
    ("CLIPVision", {**SIZES, "hidden_act": "gelu"}, "fake_clip", 1, 64),
]


@pytest.mark.parametrize(("name", "sizes", "arch", "before", "px"), MODELS, ids=[model[0] for model in MODELS])
def test_features_are_those_of_the_owners_class(
    name: str, sizes: dict[str, object], arch: str, before: int, px: int, imported: Import, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1 + (parameter.ndim == 1) * 0.2)
    model.save_pretrained(tmp_path / "owner")
    neutral = {"mean": [0.0] * 3, "std": [1.0] * 3}
    weights = tmp_path / "owner/model.safetensors"
    encoder = load_encoder(imported(weights, arch=arch, image_size=px, statistics=neutral))
    image = torch.rand(2, 3, px, px)
    with torch.inference_mode():
        tokens_BTD = model(pixel_values=image).last_hidden_state
        if name == "CLIPVision":  # it norms the CLS token alone
            tokens_BTD = getattr(model, "vision_model", model).post_layernorm(tokens_BTD)
    cls_BLD, mean_BD = encoder.cls_and_mean(image)
    torch.testing.assert_close(mean_BD, tokens_BTD[:, before:].mean(1), rtol=1e-4, atol=1e-4)
    if before:
        torch.testing.assert_close(cls_BLD[:, -1], tokens_BTD[:, 0], rtol=1e-4, atol=1e-4)
