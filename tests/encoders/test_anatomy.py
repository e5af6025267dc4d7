"""Parts of a network are found by name and by object alike, in ViTs and in their rotary relatives."""

from typing import Any

import pytest
import torch
import world.encoder_fakes  # noqa: F401 - registers the fakes with timm
from timm.layers import DropPath

from visionfm.encoders import anatomy, architectures

FAKES = ("fake_plain", "fake_dinov2_reg", "fake_siglip", "fake_dinov3")


def fake(name: str) -> Any:
    return architectures.build(name, image_size=56 if "dinov2" in name else 64, empty=False).eval()


@pytest.mark.parametrize("name", FAKES)
def test_names_of_tensors_tell_depth_and_layer(name: str) -> None:
    network = fake(name)
    names = list(network.state_dict())
    depth = anatomy.depth_of(names)
    assert depth == len(anatomy.blocks(network)) == 4
    layers = {name: anatomy.layer_of(name, depth) for name in names}
    assert {layers[name] for name in names if name.startswith("blocks.2.")} == {3}
    assert {layers[name] for name in names if name.startswith("norm.")} == {depth + 1}
    assert layers["patch_embed.proj.weight"] == 0 and set(layers.values()) == set(range(depth + 2))


@pytest.mark.parametrize("name", FAKES)
def test_taps_end_in_what_the_network_itself_gives(name: str) -> None:
    network = fake(name)
    images_BCHW = torch.randn(2, 3, *[network.patch_embed.img_size[0]] * 2)
    with torch.inference_mode():
        prefix_BTD, patches_BPD = anatomy.taps(network, images_BCHW, [1, 3])[-1]
        normed = anatomy.final_norm(network)(torch.cat([prefix_BTD, patches_BPD], dim=1))
        torch.testing.assert_close(normed, network.forward_features(images_BCHW))
    assert anatomy.has_cls(network) == (name != "fake_siglip")


def test_the_chance_to_skip_a_block_rises_to_the_last_one_and_can_be_taken_away() -> None:
    network = fake("fake_plain")
    anatomy.set_drop_path(network, 0.3)
    found = [block.drop_path1 for block in anatomy.blocks(network)]
    assert isinstance(found[0], torch.nn.Identity)
    assert [one.drop_prob for one in found[1:]] == pytest.approx([0.1, 0.2, 0.3])
    anatomy.set_drop_path(network, 0.0)
    assert not any(isinstance(module, DropPath) for module in network.modules())
