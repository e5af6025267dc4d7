"""Every dialect, made by surgery from one network, gives that network's features again, with all changes reported."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.eva import checkpoint_filter_fn as eva_filter
from timm.models.vision_transformer import checkpoint_filter_fn as vit_filter
from world.encoder_fakes import as_dinov2, as_dinov3, heads, network, prefixed, save, tensors

from visionfm import artifacts, load_encoder
from visionfm.encoders import dialects
from visionfm.encoders.checkpoints import Selection
from visionfm.errors import DataError
from visionfm.modalities import IMAGENET_MEAN, MODALITIES

Import = Callable[..., Path]


def features(arch: str, image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected CLS of the last four blocks and patch mean on a fixed normalised input, straight from timm."""
    model = network(arch)
    with torch.inference_mode():
        taps = model.forward_intermediates(
            pixels(image_size),
            indices=4,
            norm=True,
            output_fmt="NLC",
            return_prefix_tokens=True,
            intermediates_only=True,
        )
    return torch.stack([prefix[:, 0] for _, prefix in taps], 1), taps[-1][0].mean(1)


def pixels(image_size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(2, 3, image_size, image_size, generator=generator)


NEUTRAL = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def check(imported: Import, path: Path, arch: str, image_size: int, **settings: object) -> dict[str, str]:
    """Import and compare with the network the file was made from; return the artefact's metadata."""
    out = imported(path, arch=arch, image_size=image_size, **{"statistics": NEUTRAL, **settings})
    cls_BLD, mean_BD = load_encoder(out).cls_and_mean(pixels(image_size))
    expected_cls_BLD, expected_mean_BD = features(arch, image_size)
    torch.testing.assert_close(cls_BLD, expected_cls_BLD, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mean_BD, expected_mean_BD, rtol=1e-4, atol=1e-4)
    return artifacts.read_metadata(out)


def converted(state: dict[str, torch.Tensor]) -> dialects.Conversion:
    selection = Selection(None, dict(state), {}, {})
    return dialects.convert(selection, dialects.recognise(selection))


def source(metadata: dict[str, str]) -> dict[str, str]:
    return dict(json.loads(metadata["source"]))


@pytest.mark.parametrize("wrapped", ["teacher", "student", "student-only"])
def test_visionfm_pretraining_files(imported: Import, tmp_path: Path, wrapped: str) -> None:
    key = wrapped.removesuffix("-only")
    prefix = "backbone." if key == "teacher" else "module.backbone."
    extra = {"masked_embed": torch.zeros(1, 64)} if key == "student" else {}
    state = {**prefixed({**tensors("fake_plain"), **extra}, prefix), **prefixed(heads(), "module." if extra else "")}
    other = (
        {}
        if wrapped.endswith("only")
        else {"teacher" if extra else "student": prefixed(tensors("fake_plain", 9), prefix)}
    )
    path = save({key: state, **other}, tmp_path / "w.pth")
    metadata = check(imported, path, "fake_plain", 64, key=None if wrapped == "student-only" else key)
    assert source(metadata) | {"dialect": "visionfm", "key": key, "licence": "CC BY-NC 4.0"} == source(metadata)
    dropped = json.loads(metadata["dropped"])
    assert dropped.keys() == {name for name in state if "head." in name or "masked_embed" in name}
    assert json.loads(metadata["renamed"])[f"{prefix}cls_token"] == "cls_token"
    assert len(json.loads(metadata["renamed"])) == len(tensors("fake_plain"))


def test_visionfm_fine_tuned_files(imported: Import, tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "classifier_state_dict": {"module.classifier.0.weight": torch.zeros(2, 2)},
        "visionfm_state_dict": tensors("fake_plain"),
    }
    metadata = check(imported, save(content, tmp_path / "w.pth"), "fake_plain", 64)
    assert source(metadata)["dialect"] == "visionfm-finetuned"


def test_retfound_mae_files_lose_their_decoder_and_keep_imagenet_statistics(imported: Import, tmp_path: Path) -> None:
    leftovers = {
        "mask_token": torch.zeros(1, 1, 8),
        "decoder_embed.weight": torch.zeros(8, 64),
        "decoder_pos_embed": torch.zeros(1, 17, 8),
        "decoder_blocks.0.norm1.weight": torch.zeros(8),
        "decoder_norm.bias": torch.zeros(8),
        "decoder_pred.weight": torch.zeros(768, 8),
    }
    path = save({"model": {**tensors("fake_plain"), **leftovers}}, tmp_path / "RETFound.pth")
    metadata = check(imported, path, "fake_plain", 64)
    assert json.loads(metadata["dropped"]).keys() == leftovers.keys()
    own = artifacts.read_metadata(imported(path, arch="fake_plain", image_size=64))
    assert tuple(json.loads(own["mean"])) == IMAGENET_MEAN
    assert source(own) | {"dialect": "mae", "licence": "CC BY-NC 4.0"} == source(own)


def test_a_file_fine_tuned_with_mean_pooling_by_others_than_retfound_has_to_say_its_normalisation(
    imported: Import, tmp_path: Path
) -> None:
    state = {
        name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: v
        for name, v in tensors("fake_plain").items()
    }
    path = save({"visionfm_state_dict": {**state, "head.weight": torch.zeros(5, 64)}}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="input normalisation"):
        imported(path, arch="fake_plain", image_size=64)


@pytest.mark.parametrize("arch", ["fake_dinov2", "fake_dinov2_reg", "fake_dinov2_giant"])
@pytest.mark.parametrize("chunk", [None, 2], ids=["flat", "chunked"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["released", "teacher"])
def test_dinov2_in_its_own_naming(
    imported: Import, tmp_path: Path, arch: str, chunk: int | None, wrapped: bool
) -> None:
    state = as_dinov2(tensors(arch), chunk)
    content: object = state
    if wrapped:
        content = {"teacher": {**prefixed(state, "backbone."), "dino_head.mlp.0.weight": torch.zeros(4, 64)}}
    metadata = check(imported, save(content, tmp_path / "w.pth"), arch, 56)
    assert source(metadata)["dialect"] == "dinov2"
    assert ("RETFound" in source(metadata)["licence"]) is wrapped
    renamed = json.loads(metadata["renamed"])
    prefix = "backbone." if wrapped else ""
    if arch.endswith("giant"):
        block = f"{prefix}blocks.{'0.1' if chunk else '1'}.mlp.w12.weight"
        assert renamed[block] == "blocks.1.mlp.fc1.weight"
    if arch.endswith("reg"):
        assert renamed[f"{prefix}register_tokens"] == "reg_token"
        assert "cls_token" in renamed[f"{prefix}pos_embed"]


@pytest.mark.parametrize("arch", ["fake_dinov2", "fake_dinov2_reg", "fake_dinov2_giant"])
def test_dinov2_translates_as_timm_does(arch: str) -> None:
    state = as_dinov2(tensors(arch))
    ours = converted(state).tensors
    theirs = vit_filter(dict(state), network(arch))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor)


@pytest.mark.parametrize("arch", ["fake_dinov3", "fake_dinov3_qkvb", "fake_dinov3_plus"])
def test_dinov3_in_its_own_naming(imported: Import, tmp_path: Path, arch: str) -> None:
    state = as_dinov3(tensors(arch), bias=arch.endswith("qkvb"))
    metadata = check(imported, save(state, tmp_path / "w.pth"), arch, 64)
    assert source(metadata) | {"dialect": "dinov3", "licence": "DINOv3 License"} == source(metadata)
    dropped = json.loads(metadata["dropped"])
    assert {"mask_token", "rope_embed.periods", "blocks.0.attn.qkv.bias_mask"} <= dropped.keys()
    assert ("blocks.0.attn.qkv.bias" in dropped) is not arch.endswith("qkvb")


@pytest.mark.parametrize("arch", ["fake_dinov3", "fake_dinov3_qkvb", "fake_dinov3_plus"])
def test_dinov3_translates_as_timm_does(arch: str, capsys: pytest.CaptureFixture[str]) -> None:
    state = as_dinov3(tensors(arch), bias=arch.endswith("qkvb"))
    ours = converted(state).tensors
    theirs = eva_filter(dict(state), network(arch))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor)


def test_dinov3_biases_that_are_not_zero_are_never_dropped(imported: Import, tmp_path: Path) -> None:
    path = save(as_dinov3(tensors("fake_dinov3_qkvb"), bias=True), tmp_path / "w.pth")
    with pytest.raises(DataError, match="q_bias is not expected"):
        imported(path, arch="fake_dinov3", image_size=64)


def test_dinov3_with_other_rotary_periods_is_refused(imported: Import, tmp_path: Path) -> None:
    state = as_dinov3(tensors("fake_dinov3"), bias=False)
    state["rope_embed.periods"] *= 2
    with pytest.raises(DataError, match="periods"):
        imported(save(state, tmp_path / "w.pth"), arch="fake_dinov3", image_size=64)


@pytest.mark.parametrize("arch", ["fake_plain", "fake_dinov2", "fake_dinov2_reg", "fake_dinov3", "fake_dinov3_qkvb"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "safetensors"])
def test_timms_own_naming_flat_wrapped_and_as_safetensors(
    imported: Import, tmp_path: Path, arch: str, wrapper: str | None
) -> None:
    state = {**tensors(arch), "head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10)}
    if wrapper == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(state, path)
    else:
        path = save(state if wrapper is None else {wrapper: state}, tmp_path / "w.pth")
    metadata = check(imported, path, arch, 56 if "dinov2" in arch else 64)
    assert json.loads(metadata["dropped"]).keys() == {"head.weight", "head.bias"}
    assert json.loads(metadata["renamed"]) == {}


def test_a_plain_network_of_unknown_origin_needs_its_statistics_said(imported: Import, tmp_path: Path) -> None:
    path = save(tensors("fake_plain"), tmp_path / "w.pth")
    with pytest.raises(DataError, match="statistics"):
        imported(path, arch="fake_plain", image_size=64)
    out = imported(path, arch="fake_plain", image_size=64, statistics="modality")
    assert json.loads(artifacts.read_metadata(out)["mean"]) == list(MODALITIES["Fundus"].mean)


def test_dinov2_shaped_weights_of_another_grid_in_timms_naming_need_their_statistics_said() -> None:
    def layout(grid: int) -> str:
        return dialects.recognise(Selection(None, tensors("fake_dinov2_reg", grid=grid), {}, {})).layout.name

    assert layout(37) == "dinov2"
    assert layout(28) == "plain"  # RETFound-Green


def test_our_own_encoder_is_weights_too_and_keeps_statistics_and_licence(imported: Import, tmp_path: Path) -> None:
    path = save({"teacher": prefixed(tensors("fake_plain"), "backbone.")}, tmp_path / "w.pth")
    first = imported(path, arch="fake_plain", image_size=64, modality="OCT")
    again = artifacts.read_metadata(imported(first, modality="Fundus", image_size=64))
    assert json.loads(again["mean"]) == list(MODALITIES["OCT"].mean)
    assert source(again) | {"dialect": "encoder", "licence": "CC BY-NC 4.0"} == source(again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.2.attn.qkv.bias"), "blocks.2.attn.qkv.bias is missing"),
        (lambda s: s.pop("norm.weight"), "norm.weight is missing"),
        (lambda s: s.update({"blocks.0.extra": torch.zeros(1)}), "blocks.0.extra is not expected"),
        (lambda s: s.update({"mask_tokens": torch.zeros(1)}), "mask_tokens is not expected"),
        (lambda s: s.update({"norm.weight": torch.zeros(63)}), "norm.weight has shape"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 16, 64)}), "pos_embed has shape"),
        (lambda s: s.update({"patch_embed.proj.weight": torch.zeros(64, 1, 16, 16)}), "RGB"),
    ],
)
def test_missing_surplus_and_misshapen_tensors_are_errors(
    imported: Import, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    state = tensors("fake_plain")
    change(state)
    path = save({"teacher": state}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        imported(path, arch="fake_plain", image_size=64)


def test_all_misfits_are_reported_at_once(imported: Import, tmp_path: Path) -> None:
    state = tensors("fake_plain")
    del state["norm.bias"], state["blocks.1.mlp.fc1.weight"]
    state["odd"] = torch.zeros(2)
    with pytest.raises(DataError) as caught:
        imported(save({"teacher": state}, tmp_path / "w.pth"), arch="fake_plain", image_size=64)
    assert all(text in str(caught.value) for text in ("norm.bias", "blocks.1.mlp.fc1.weight", "odd", "3 problems"))


def test_fakes_are_what_timm_would_build() -> None:
    assert timm.is_model("fake_dinov3_plus")
