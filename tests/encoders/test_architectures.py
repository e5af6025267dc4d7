"""Shapes alone tell the architecture, or it is an error that says what was seen."""

import pytest
import timm
import torch
from world.encoder_fakes import tensors

from visionfm.encoders import architectures
from visionfm.errors import DataError

PUBLISHED = [
    "vit_tiny_patch16_224",
    "vit_small_patch8_224",
    "vit_small_patch16_224",
    "vit_base_patch8_224",
    "vit_base_patch16_224",
    "vit_large_patch14_224",
    "vit_large_patch16_224",
    "deit3_base_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_base_patch14_reg4_dinov2",
    "vit_large_patch14_dinov2",
    "vit_large_patch14_reg4_dinov2",
    "vit_giant_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_small_plus_patch16_dinov3_qkvb",
    "vit_base_patch16_dinov3",
    "vit_large_patch16_dinov3",
    "vit_huge_plus_patch16_dinov3",
]


def shapes(name: str, **kwargs: object) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0, global_pool="", **kwargs)
    return architectures.shapes_of(model.state_dict())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_recognised(name: str) -> None:
    found = architectures.recognise(shapes(name))
    assert found.name == name
    assert f"patch{found.patch}_" in name
    assert found.registers == (4 if "reg4" in name or "dinov3" in name else 0)


@pytest.mark.slow
def test_every_name_in_the_table_is_timms_and_has_the_width_and_depth_it_stands_under() -> None:
    for (width, depth), families in architectures.FAMILIES.items():
        for name in [name for family in families for name in family]:
            with torch.device("meta"):
                model = timm.create_model(name, num_classes=0, global_pool="")
            assert (model.embed_dim, len(model.blocks)) == (width, depth), name


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("vit_tiny_patch16_224", {"patch_size": 8}, ("vit_tiny_patch16_224", 8, 0)),
        ("vit_small_patch14_dinov2", {"patch_size": 16, "img_size": 224}, ("vit_small_patch14_dinov2", 16, 0)),
        ("vit_base_patch16_224", {"img_size": 512}, ("vit_base_patch16_224", 16, 0)),
        ("vit_small_patch14_reg4_dinov2", {"reg_tokens": 8}, ("vit_small_patch14_reg4_dinov2", 14, 8)),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}, ("vit_tiny_patch16_224", 16, 4)),
    ],
)
def test_other_patch_sizes_grids_and_register_counts_are_recognised(
    name: str, kwargs: dict[str, object], expected: tuple[str, int, int]
) -> None:
    assert architectures.recognise(shapes(name, **kwargs))[:3] == expected


@pytest.mark.parametrize(
    "name", ["vit_base_patch16_clip_224", "vit_base_patch16_siglip_224", "vit_medium_patch16_gap_256"]
)
def test_shapes_of_no_known_family_need_arch(name: str) -> None:
    with pytest.raises(DataError, match="`arch`") as caught:
        architectures.recognise(shapes(name))
    assert "width" in str(caught.value)


def test_two_fitting_families_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = (("vit_tiny_patch16_224",), ("deit_tiny_patch16_224",))
    monkeypatch.setitem(architectures.FAMILIES, (192, 12), twins)
    with pytest.raises(DataError, match="several"):
        architectures.recognise(shapes("vit_tiny_patch16_224"))


@pytest.mark.parametrize(
    "name", ["resnet18", "swin_tiny_patch4_window7_224", "convnext_tiny", "vit_base_resnet50d_224"]
)
def test_convolutional_and_hierarchical_networks_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be an encoder"):
        architectures.build(name, image_size=224)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(DataError, match="vit_base_patch16_224"):
        architectures.build("vit_base_patch16_24", image_size=224)


def test_loading_misfitting_tensors_is_a_data_error() -> None:
    state = tensors("fake_plain")
    del state["norm.weight"]
    with pytest.raises(DataError, match=r"norm\.weight"):
        architectures.load("fake_plain", state, image_size=64, patch=16)


def test_a_network_with_copied_blocks_is_the_deeper_one_and_one_with_fewer_lacks_some() -> None:
    state = tensors("fake_dinov2")
    deeper = {**state, **{f"blocks.4.{name[9:]}": t for name, t in state.items() if name.startswith("blocks.3.")}}
    shapes = architectures.shapes_of(deeper)
    fitted = architectures.check_fit("fake_dinov2", shapes, "w.pth")
    assert len(architectures.load(fitted.name, deeper, image_size=56, patch=14).blocks) == 5
    shorter = {name: shape for name, shape in shapes.items() if not name.startswith(("blocks.3.", "blocks.4."))}
    with pytest.raises(DataError, match=r"blocks\.3\.norm1\.weight is missing"):
        architectures.check_fit("fake_dinov2", shorter, "w.pth")
