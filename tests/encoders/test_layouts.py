"""Every layout gives the network it was made from, to the last bit; what becomes of each tensor is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from world.differences import KEPT, assert_as_near_as_told
from world.encoder_fakes import Tensors, network, save
from world.layout_files import REFUSED, STAGED, WRITTEN, drawn, file_of, openai

from visionfm import artifacts, load_encoder
from visionfm.encoders import layouts, timm_weights
from visionfm.encoders.checkpoints import Selection, read_checkpoint, select
from visionfm.encoders.dialects import Conversion, convert, recognise
from visionfm.errors import DataError

Import = Callable[..., Path]
NEUTRAL = {"mean": [0.0] * 3, "std": [1.0] * 3}


def converted(state: Tensors, tmp_path: Path, key: str | None = None) -> Conversion:
    selection = select(read_checkpoint(save({key or "model": state}, tmp_path / "w.pth")), None)
    return convert(selection, recognise(selection))


def assert_told(state: Tensors, conversion: Conversion) -> None:
    """Each tensor of the file is there unchanged, by its own name or one that is told, or it is told what it became."""
    for name, tensor in state.items():
        if name in conversion.dropped:
            continue
        new = conversion.renamed.get(name, name)
        if new in conversion.tensors:
            assert torch.equal(conversion.tensors[new], tensor), name
        else:
            assert new != name, f"{name} vanished"
            assert new.split(" ")[0].strip(",") in conversion.tensors or "_bias" in new, f"{name} became {new}"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_layout_gives_its_network_and_tells_everything(name: str, tmp_path: Path) -> None:
    state, expected = file_of(name)
    conversion = converted(state, tmp_path, WRITTEN[name].key)
    assert conversion.layout.name == WRITTEN[name].layout
    assert conversion.tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        if name in ("retizero", "dinov2-reg", "hf-dinov2-reg"):  # adapters and positions are added
            torch.testing.assert_close(conversion.tensors[key], tensor, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(conversion.tensors[key], tensor), key
    assert_told(state, conversion)


def test_every_layout_is_written_or_refused_in_the_tests() -> None:
    written = {written.layout for written in WRITTEN.values()} | REFUSED.keys() | STAGED.keys() | {"resnet"}
    written |= {"pooled", "mirage", "eyefm", "lora-dinoret"}  # in test_pooled
    assert {layout.name for layout in layouts.LAYOUTS} <= written


@pytest.mark.parametrize("name", WRITTEN)
def test_features_of_a_file_are_those_of_its_network(name: str, imported: Import, tmp_path: Path) -> None:
    state, own = file_of(name)
    arch = WRITTEN[name].arch
    model = network(arch, 3)
    model.load_state_dict(own, strict=False)
    if arch == "fake_clip":
        model.patch_embed.proj.bias = None
    px = 4 * model.patch_embed.patch_size[0]
    file = save({WRITTEN[name].key or "model": state}, tmp_path / "w.pth")
    encoder = load_encoder(imported(file, arch=arch, image_size=px, statistics=NEUTRAL))
    image = torch.rand(1, 3, px, px)
    with torch.inference_mode():
        tokens = model.forward_features(image)
    expected_BD = tokens[:, model.num_prefix_tokens :].mean(1)
    assert_as_near_as_told(WRITTEN[name].layout, encoder.cls_and_mean(image)[1], expected_BD)


def test_the_differences_that_are_told_are_of_all_layouts() -> None:
    usable = {layout.name for layout in layouts.LAYOUTS if layout.refusal is None}
    assert json.loads(KEPT.read_text(encoding="utf-8")).keys() == usable
    assert max(json.loads(KEPT.read_text(encoding="utf-8")).values()) < 1e-4


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_what_the_file_is(name: str, tmp_path: Path) -> None:
    says, state = REFUSED[name]
    with pytest.raises(DataError, match=says):
        converted(state, tmp_path)


def test_a_refusal_of_an_unknown_file_names_the_nearest_layout_and_what_is_missing(tmp_path: Path) -> None:
    state, _ = file_of("hf-vit")
    del state["vit.embeddings.patch_embeddings.projection.weight"]
    with pytest.raises(DataError, match="nearest is hf-vit") as caught:
        converted({**state, "conv.weight": drawn(4, 3, 2, 2)}, tmp_path)
    assert "embeddings.patch_embeddings.projection.weight" in str(caught.value)


def test_several_networks_by_prefix_are_named_and_one_is_chosen_by_key(tmp_path: Path) -> None:
    fundus, _ = file_of("plain", 1)
    oct_, _ = file_of("plain", 2)
    state = {f"{prefix}.{name}": t for prefix, part in (("fundus", fundus), ("oct", oct_)) for name, t in part.items()}
    path = save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"fundus \(.*oct \("):
        recognise(select(read_checkpoint(path), None))
    selection = select(read_checkpoint(path), "oct")
    conversion = convert(selection, recognise(selection))
    assert torch.equal(conversion.tensors["cls_token"], oct_["cls_token"])
    assert_told(state, conversion)
    assert "fundus.cls_token" in conversion.dropped


def test_a_bias_of_the_keys_that_rope_would_turn_is_refused(tmp_path: Path) -> None:
    state, _ = file_of("dinov3")
    state = {name: tensor for name, tensor in state.items() if not name.endswith("bias_mask")}
    with pytest.raises(DataError, match="keys of attention"):
        converted(state, tmp_path)


# --- timm's own converter -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [3, 4, 7, 14])
def test_timms_converter_resizes_no_positions(grid: int) -> None:
    """OpenAI's names of them end in `positional_embedding`; the text tower has some of its own."""
    state, expected = file_of("clip", grid=grid)
    for conversion in (
        timm_weights._by_timm(Selection(None, state, {}, {}), "fake_clip"),
        timm_weights.convert(Selection(None, state, {}, {}), "fake_clip"),
    ):
        assert conversion.tensors.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(conversion.tensors[name], tensor), name
        told = {**conversion.renamed, **conversion.dropped}
        assert told.keys() == state.keys()
        assert told["visual.conv1.weight"] == "patch_embed.proj.weight"


def test_features_of_openai_names_are_those_of_the_network(imported: Import, tmp_path: Path) -> None:
    state, _ = file_of("clip", grid=6)
    neutral = {"mean": [0.0] * 3, "std": [1.0] * 3}
    out = imported(save(state, tmp_path / "w.pth"), timm="fake_clip", image_size=96, statistics=neutral)
    assert artifacts.read_tensors(out)[0]["pos_embed"].shape == (1, 37, 64)
    assert json.loads(artifacts.read_metadata(out)["dropped"])["visual.proj"]


def test_patches_that_timm_would_resize_are_an_error() -> None:
    state, _ = file_of("clip")
    state["visual.conv1.weight"] = drawn(64, 3, 8, 8)
    with pytest.raises(DataError, match="patches or positions"):
        timm_weights._by_timm(Selection(None, state, {}, {}), "fake_clip")


@pytest.mark.parametrize("name", [name for name in WRITTEN if WRITTEN[name].key is None])
def test_with_timms_name_the_tensors_are_the_same_or_the_file_is_refused(name: str, tmp_path: Path) -> None:
    state, expected = file_of(name)
    selection = select(read_checkpoint(save(state, tmp_path / "w.pth")), None)
    conversion = timm_weights.convert(selection, WRITTEN[name].arch)
    assert conversion.tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(conversion.tensors[key], tensor, rtol=1e-5, atol=1e-5)
    assert_told(state, conversion)


def test_what_timm_computes_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Were a converter to scale a tensor, that would stand in the log and in the metadata."""
    from timm.models import vision_transformer

    whole = vision_transformer._convert_openai_clip

    def scaling(state: Tensors, model: object, prefix: str = "visual.") -> Tensors:
        found = whole(state, model, prefix)
        return {**found, "norm.weight": found["norm.weight"] * 2}

    monkeypatch.setattr(vision_transformer, "_convert_openai_clip", scaling)
    state = openai(file_of("clip")[1])
    conversion = timm_weights._by_timm(Selection(None, state, {}, {}), "fake_clip")
    assert "norm.weight" in caplog.text
    assert "norm.weight, which timm's converter computed" in conversion.renamed["visual.ln_post.weight"]
