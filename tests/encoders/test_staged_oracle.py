"""Networks of stages against a second computation: hooks inside timm's network, and pooling written out by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg
from world.differences import assert_as_near_as_told
from world.encoder_fakes import save

from visionfm import load_encoder
from visionfm.encoders.timm_weights import data_config, known_of

Import = Callable[..., Path]
PX = 128
SECOND_LAST = {  # where each family's last stage but one ends, and whether its map has its channels last
    "test_convnext": ("stages.2", False),
    "fake_swin": ("layers.2", True),
    "test_resnet": ("layer3", False),
    "test_efficientnet": (None, False),  # stages of its blocks that halve the map
}
LAYOUTS = {"test_convnext": "convnext", "fake_swin": "swin", "test_resnet": "resnet"}
MEAN, STD = [0.3, 0.5, 0.6], [0.2, 0.25, 0.3]
FAMILIES = ("convnext", "swin_", "resnet", "efficientnet")


@pytest.fixture(params=SECOND_LAST)
def both(request: Any, imported: Import, tmp_path: Path) -> tuple[str, Any, torch.nn.Module]:
    """A name, our encoder, and timm's network with the same drawn weights and statistics."""
    torch.manual_seed(7)
    more = {"img_size": PX} if request.param == "fake_swin" else {}
    own = timm.create_model(request.param, **more).eval()
    with torch.no_grad():
        for name, value in own.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                value.copy_(torch.rand_like(value) * 0.5 + (0.75 if name.endswith(("weight", "var")) else -0.25))
    state = {name: value for name, value in own.state_dict().items() if "attn_mask" not in name}
    settings = {"arch": request.param, "image_size": PX, "statistics": {"mean": MEAN, "std": STD}}
    file = save({"state_dict": state}, tmp_path / "w.pth")
    return request.param, load_encoder(imported(file, **settings)), own


def by_hand(name: str, own: torch.nn.Module, image_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The map (B, C, H, W) after the last stage but one, caught by a hook, and the mean that the classifier reads."""
    caught: list[torch.Tensor] = []
    module, channels_last = SECOND_LAST[name]
    ends = [info["module"] for info in own.feature_info] if isinstance(own.feature_info, list) else []
    hook = own.get_submodule(module or ends[-2]).register_forward_hook(lambda _m, _i, out: caught.append(out))
    normalised_BCHW = (image_BCHW - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.inference_mode():
        last = own.forward_features(normalised_BCHW)
        hook.remove()
        pooled_BD = last.mean(dim=(1, 2) if channels_last else (2, 3))
        if name == "test_convnext":  # its norm stands after the pooling
            norm = own.head.norm
            centred_BD = pooled_BD - pooled_BD.mean(1, keepdim=True)
            scaled_BD = centred_BD / (centred_BD.square().mean(1, keepdim=True) + norm.eps).sqrt()
            pooled_BD = scaled_BD * norm.weight + norm.bias
    return (caught[0].permute(0, 3, 1, 2) if channels_last else caught[0]), pooled_BD


def test_features_are_those_of_hooks_and_of_pooling_by_hand(both: tuple[str, Any, torch.nn.Module]) -> None:
    name, encoder, own = both
    image_BCHW = torch.rand(2, 3, PX, PX)
    before_BCHW, pooled_BD = by_hand(name, own, image_BCHW)
    row_B1D, mean_BD = encoder.cls_and_mean(image_BCHW)
    assert pooled_BD.std() > 0.01 and before_BCHW.std() > 0.01
    torch.testing.assert_close(mean_BD, pooled_BD, rtol=1e-5, atol=1e-5)
    if name in LAYOUTS:
        assert_as_near_as_told(LAYOUTS[name], mean_BD, pooled_BD)
    row_BD = torch.cat([before_BCHW.mean((2, 3)), pooled_BD], dim=1)
    torch.testing.assert_close(row_B1D[:, 0], row_BD, rtol=1e-5, atol=1e-5)


def test_a_bright_corner_lies_in_its_own_place_of_the_map(both: tuple[str, Any, torch.nn.Module]) -> None:
    _, encoder, _ = both
    plain, side = torch.full((1, 3, PX, PX), 0.4), PX // 16
    bright = plain.clone()
    bright[:, :, :24, -24:] = 1.0  # above, on the right
    moved_LPD = (encoder.patch_tokens(bright) - encoder.patch_tokens(plain))[0]
    finer = encoder.file.stages.widths[0]  # channels of the finer map, which sees less around a place
    strength = torch.cat(moved_LPD.unbind(0), dim=1)[:, :finer].square().sum(1).reshape(side, side)
    corners = {
        (row, column): float(strength[row : row + 2 or None, column : column + 2 or None].sum())
        for row in (0, -2)
        for column in (0, -2)
    }
    assert max(corners, key=lambda corner: corners[corner]) == (0, -2), corners


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_size_interpolation_and_crop_are_those_of_timms_data_config(family: str) -> None:
    names = [name for name in timm.list_pretrained() if name.startswith(family)]
    assert len(names) > 10
    for name in names:
        wanted = resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
        fed, known = data_config(name), known_of(name)
        assert (fed["px"], fed["interpolation"], fed["crop"]) == (
            *(wanted["input_size"][-1], wanted["interpolation"]),
            wanted["crop_pct"],
        ), name
        assert (tuple(known["mean"]), tuple(known["std"])) == (wanted["mean"], wanted["std"]), name
