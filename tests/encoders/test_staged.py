"""Networks of stages are encoders: their features are timm's own, and their files are found in every naming."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from world.differences import assert_as_near_as_told
from world.encoder_fakes import Tensors, save

from visionfm import artifacts, load_encoder
from visionfm.encoders import anatomy, architectures
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError

Import = Callable[..., Path]
PX = 64
NETWORKS = ("test_convnext", "fake_swin", "test_resnet", "test_efficientnet")
NEUTRAL = {"mean": [0.0] * 3, "std": [1.0] * 3}


def drawn(name: str) -> torch.nn.Module:
    """The network as timm has it, with its classifier, norms and their statistics drawn too."""
    torch.manual_seed(5)
    model = timm.create_model(name).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.ndim == 1 and value.is_floating_point():
                value.copy_(torch.rand(value.shape) * (0.2 if "mean" in key else 1) + (0.5 if "mean" not in key else 0))
    return model


@pytest.fixture
def given(imported: Import, tmp_path: Path) -> Callable[..., Path]:
    def run(name: str, state: Tensors | None = None, **settings: object) -> Path:
        file = save({"state_dict": state or dict(drawn(name).state_dict())}, tmp_path / f"{name}.pth")
        return imported(file, **{"arch": name, "image_size": PX, "statistics": NEUTRAL, **settings})

    return run


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_pooled_output_that_timms_classifier_reads(name: str, given: Callable[..., Path]) -> None:
    encoder, own = load_encoder(given(name)), drawn(name)
    image = torch.rand(4, 3, PX, PX)
    with torch.inference_mode():
        pooled_BD = own.forward_head(own.forward_features(image), pre_logits=True)
        before_BCHW = own.forward_intermediates(image, intermediates_only=True, norm=False, output_fmt="NCHW")[-2]
    row_B1D, mean_BD = encoder.cls_and_mean(image)
    assert torch.equal(mean_BD, pooled_BD)
    assert torch.equal(row_B1D[:, 0], torch.cat([before_BCHW.mean((2, 3)), pooled_BD], dim=1))
    rolled, _ = encoder.cls_and_mean(image.roll(1, 0))
    assert torch.equal(rolled.roll(-1, 0), row_B1D), "an image's features depend on the images beside it"


@pytest.mark.parametrize("name", NETWORKS)
def test_facts_of_the_file_are_the_shapes_of_the_features(name: str, given: Callable[..., Path]) -> None:
    path = given(name)
    file, encoder, image = read_encoder_file(path), load_encoder(path), torch.rand(2, 3, PX, PX)
    row_BLD, mean_BD = encoder.cls_and_mean(image)
    assert (row_BLD.shape[1:], mean_BD.shape[1]) == (file.vector_shape, file.mean_width)
    assert file.step == 32 and file.patch == 16
    levels, width = file.token_shape
    assert encoder.patch_tokens(image).shape == (2, levels, (PX // file.patch) ** 2, width)
    features = encoder(image)
    assert features.patches_BPD.shape == (2, 16, levels * width)
    assert encoder.vector_width("both") == row_BLD.shape[2] + mean_BD.shape[1]


def test_tokens_are_both_maps_on_the_finer_grid_each_place_normed(given: Callable[..., Path]) -> None:
    encoder, own = load_encoder(given("test_resnet")), drawn("test_resnet")
    image = torch.rand(1, 3, PX, PX)
    with torch.inference_mode():
        maps = own.forward_intermediates(image, intermediates_only=True, norm=False, output_fmt="NCHW")[-2:]
    tokens_PD = torch.cat(encoder.patch_tokens(image)[0].unbind(0), dim=1)
    assert encoder.file.stages is not None
    for at, part_PC in zip((5, 6), tokens_PD.split(encoder.file.stages.widths, dim=1), strict=True):
        y, x = divmod(at, 4)
        map_CHW = maps[0][0] if at == 5 else maps[1][0].repeat_interleave(2, 1).repeat_interleave(2, 2)
        place_C = map_CHW[:, y, x]
        wanted_C = (place_C - place_C.mean()) / (place_C.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(part_PC[at], wanted_C, rtol=1e-4, atol=1e-4)


def test_a_file_is_found_behind_a_prefix_and_beside_other_networks_and_all_is_told(given: Callable[..., Path]) -> None:
    state = {f"vision.net.{name}": tensor for name, tensor in drawn("test_resnet").state_dict().items()}
    plain, beside = given("test_resnet"), given("test_resnet", {**state, "text.weight": torch.rand(2, 2)})
    assert artifacts.read_tensors(plain)[0].keys() == artifacts.read_tensors(beside)[0].keys()
    assert '"text.weight": "beside the encoder' in artifacts.read_metadata(beside)["dropped"]
    dropped = artifacts.read_metadata(plain)["dropped"]
    assert "classification or projection head" in dropped and "counter of training steps" in dropped


def test_a_missing_or_misshapen_tensor_is_an_error(given: Callable[..., Path]) -> None:
    state = dict(drawn("test_resnet").state_dict())
    state["conv1.0.weight" if "conv1.0.weight" in state else "conv1.weight"] = torch.rand(2, 3, 3, 3)
    with pytest.raises(DataError, match="do not fit test_resnet"):
        given("test_resnet", state)


def test_a_file_without_a_name_is_told_which_to_give(imported: Import, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="show the whole architecture") as caught:
        imported(save(dict(drawn("test_convnext").state_dict()), tmp_path / "w.pth"), statistics="imagenet")
    assert "timm: convnext" in str(caught.value)


def test_layers_go_from_the_stem_to_the_last_stage_and_beyond() -> None:
    network = architectures.build_stages("test_efficientnet", empty=False)
    names = [name for name, _ in network.named_parameters()]
    layers = anatomy.layers(network, names)
    assert layers[names[0]] == 0 and list(layers.values()) == sorted(layers.values())
    assert layers["conv_head.weight"] == anatomy.stage_count(network) + 1


def test_batch_norms_keep_their_statistics_while_the_encoder_is_trained(given: Callable[..., Path]) -> None:
    encoder = load_encoder(given("test_resnet"))
    before, image = {key: value.clone() for key, value in encoder.state_dict().items()}, torch.rand(2, 3, PX, PX)
    trained, _ = encoder.train().trainable_features(image)
    assert torch.equal(trained, encoder.eval().trainable_features(image)[0])
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_an_untrained_network_is_drawn_from_its_seed(imported: Import) -> None:
    first, again, other = (
        imported("random", arch="test_convnext", image_size=PX, seed=seed).read_bytes() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_report_knows_how_timm_feeds_the_weights(given: Callable[..., Path]) -> None:
    metadata = artifacts.read_metadata(given("test_resnet", timm="test_resnet.r160_in1k", arch=None))
    assert metadata["timm"] == '{"crop": 0.95, "interpolation": "bilinear", "px": 160}'


def test_sizes_divide_by_the_last_stage(given: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="multiple of 32"):
        given("test_resnet", image_size=80)


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "beit_base_patch16_224"])
def test_a_column_is_one_with_a_final_norm(name: str) -> None:
    assert architectures.is_column(name) == (name == "vit_base_patch16_224")


def test_flair_is_a_resnet_50_beside_a_text_network(imported: Import, tmp_path: Path) -> None:
    torch.manual_seed(6)
    own = torchvision.models.resnet50(weights=None).eval()
    own.fc = torch.nn.Identity()
    for module in own.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = {f"vision_model.model.{name}": tensor for name, tensor in own.state_dict().items()}
    state |= {"text_model.model.embeddings.weight": torch.rand(3, 4), "logit_scale": torch.zeros(())}
    state["vision_model.projection_head_vision.projection.weight"] = torch.rand(4, 2048)
    save_file(state, tmp_path / "model.safetensors")
    encoder = load_encoder(imported(tmp_path / "model.safetensors", image_size=PX))
    assert encoder.arch == "resnet50" and encoder.source["licence"] == "Apache-2.0"
    image = torch.rand(2, 3, PX, PX)
    with torch.inference_mode():
        expected_BD = own(image)
    assert_as_near_as_told("flair", encoder.cls_and_mean(image)[1], expected_BD)
