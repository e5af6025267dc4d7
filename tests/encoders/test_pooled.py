"""Columns whose tokens have no norm (fine-tuned on their mean, MultiMAE), adapters and shards: the owner's features."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import world.encoder_fakes  # noqa: F401 - registers the fakes with timm
from safetensors.torch import save_file
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional
from world.differences import assert_as_near_as_told
from world.encoder_fakes import save, tensors

from visionfm import artifacts, load_encoder
from visionfm.encoders.checksum import sha256_of
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError

Import = Callable[..., Path]
PX, WIDTH, GRID = 64, 64, 4
NEUTRAL = {"mean": [0.0] * 3, "std": [1.0] * 3}


def redrawn(model: nn.Module) -> nn.Module:
    torch.manual_seed(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1 + (parameter.ndim == 1) * 0.3)
    return model.eval()


@pytest.mark.parametrize("px", [64, 96])
def test_a_file_fine_tuned_on_the_mean_gives_what_its_head_reads(px: int, imported: Import, tmp_path: Path) -> None:
    own = redrawn(timm.create_model("fake_plain", num_classes=5, global_pool="avg", img_size=px))
    path = imported(save({"model": dict(own.state_dict())}, tmp_path / "w.pth"), arch="fake_plain", image_size=px)
    image = torch.rand(2, 3, px, px)
    encoder = load_encoder(path)
    with torch.inference_mode():
        pixels = (image - encoder.mean_C11) / encoder.std_C11
        expected_BD = own.forward_head(own.forward_features(pixels), pre_logits=True)
    assert_as_near_as_told("pooled", encoder.cls_and_mean(image)[1], expected_BD)
    assert encoder.source["dialect"] == "pooled" and encoder.mean[0] == pytest.approx(0.485)
    assert read_encoder_file(path).mean_width == WIDTH


def test_the_positions_of_such_a_file_are_resized_as_all_are(imported: Import, tmp_path: Path) -> None:
    own = redrawn(timm.create_model("fake_plain", num_classes=5, global_pool="avg", img_size=PX))
    path = imported(save({"model": dict(own.state_dict())}, tmp_path / "w.pth"), arch="fake_plain", image_size=96)
    assert load_encoder(path).patch_tokens(torch.rand(1, 3, 96, 96)).shape == (1, 4, 36, WIDTH // 2)


def test_eva_with_a_norm_of_the_mean_alone(imported: Import, tmp_path: Path) -> None:
    own = redrawn(timm.create_model("eva02_tiny_patch14_224", num_classes=3, img_size=56))
    state = {f"eva02.model.{name}": tensor for name, tensor in own.state_dict().items()}
    path = save({**state, "llama.weight": torch.rand(2, 2)}, tmp_path / "w.pth")
    encoder = load_encoder(imported(path, arch="eva02_tiny_patch14_224", image_size=56, statistics=NEUTRAL))
    image = torch.rand(2, 3, 56, 56)
    with torch.inference_mode():
        expected_BD = own.forward_head(own.forward_features(image), pre_logits=True)
    torch.testing.assert_close(encoder.cls_and_mean(image)[1], expected_BD, rtol=1e-5, atol=1e-5)


class MultiMae(nn.Module):
    """The encoder of MIRAGE and EyeFM for one modality: patches, then global tokens, blocks, and no norm."""

    def __init__(self, names: list[str], channels: int) -> None:
        super().__init__()
        self.global_tokens = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.input_adapters = nn.ModuleDict()
        for name in names:
            self.input_adapters[name] = nn.Module()
            self.input_adapters[name].proj = nn.Conv2d(channels, WIDTH, 16, 16)
            self.input_adapters[name].pos_emb = nn.Parameter(torch.zeros(1, WIDTH, GRID, GRID))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.encoder = nn.Sequential(*(Block(WIDTH, 2, qkv_bias=True, norm_layer=norm) for _ in range(4)))

    def forward(self, name: str, image_BCHW: torch.Tensor) -> torch.Tensor:
        adapter = self.input_adapters[name]
        patches_BPD = (adapter.proj(image_BCHW) + adapter.pos_emb).flatten(2).transpose(1, 2)
        tokens_BTD = torch.cat([patches_BPD, self.global_tokens.expand(len(image_BCHW), -1, -1)], dim=1)
        return self.encoder(tokens_BTD)[:, :-1].mean(1)


@pytest.mark.parametrize(
    ("names", "channels", "modality", "chosen", "dialect"),
    [
        (["bscan", "slo"], 1, "OCT", "bscan", "mirage"),
        (["cfp", "oct", "uwf", "ffa", "eyephoto"], 3, "FFA", "ffa", "eyefm"),
    ],
)
def test_a_multimae_is_read_by_the_adapter_of_the_images(
    names: list[str], channels: int, modality: str, chosen: str, dialect: str, imported: Import, tmp_path: Path
) -> None:
    own = redrawn(MultiMae(names, channels))
    state = {**own.state_dict(), f"output_adapters.{chosen}.mask_token": torch.rand(1, 1, 8)}
    weights = save({"model": state, "args": {"model": "base"}}, tmp_path / "w.pth")
    path = imported(weights, arch="fake_plain", image_size=PX, modality=modality)
    encoder, grey = load_encoder(path), torch.rand(2, 1, PX, PX)
    with torch.inference_mode():
        rgb = grey.repeat(1, 3, 1, 1)
        seen = grey if channels == 1 else (rgb - encoder.mean_C11) / encoder.std_C11
        expected_BD = own(chosen, seen)
    assert_as_near_as_told(dialect, encoder.cls_and_mean(rgb)[1], expected_BD)
    assert encoder.source["dialect"] == dialect
    with pytest.raises(DataError, match="none for these images"):
        imported(weights, arch="fake_plain", image_size=PX, modality="Ultrasound")


class Lora(nn.Module):
    """A linear layer and its adapter, as LoRA-DINORET has them: alpha 16."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.original_linear, self.rank = linear, rank
        self.lora_adapter = nn.Module()
        self.lora_adapter.lora_A = nn.Linear(linear.in_features, rank, bias=False)
        self.lora_adapter.lora_B = nn.Linear(rank, linear.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = self.lora_adapter.lora_B(self.lora_adapter.lora_A(x)) * (16 / self.rank)
        return functional.linear(x, self.original_linear.weight, self.original_linear.bias) + added


def test_lora_dinoret_is_merged(imported: Import, tmp_path: Path) -> None:
    own = timm.create_model("fake_dinov2", num_classes=0, img_size=56)
    for block in own.blocks:
        block.attn.qkv, block.attn.proj = Lora(block.attn.qkv, 2), Lora(block.attn.proj, 2)
        block.mlp.fc1, block.mlp.fc2 = Lora(block.mlp.fc1, 4), Lora(block.mlp.fc2, 4)
    redrawn(own)
    path = save({**own.state_dict(), "mask_token": torch.rand(1, WIDTH)}, tmp_path / "w.pth")
    out = imported(path, arch="fake_dinov2", image_size=56)
    encoder, image = load_encoder(out), torch.rand(2, 3, 56, 56)
    with torch.inference_mode():
        expected_BD = own.forward_features((image - encoder.mean_C11) / encoder.std_C11)[:, 0]
    assert_as_near_as_told("lora-dinoret", encoder.cls_and_mean(image)[0][:, -1], expected_BD)
    assert "alpha 16" in artifacts.read_metadata(out)["renamed"]


# --- files in several parts -----------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    state, where = tensors("fake_plain"), {}
    for at, names in enumerate((list(state)[::2], list(state)[1::2])):
        shard = f"model-{at + 1:05}-of-00002.safetensors"
        save_file({name: state[name] for name in names}, tmp_path / shard)
        where |= dict.fromkeys(names, shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


def test_an_index_of_safetensors_is_the_files_that_it_lists(sharded: Path, imported: Import, tmp_path: Path) -> None:
    settings = {"arch": "fake_plain", "image_size": PX, "statistics": NEUTRAL}
    whole = tmp_path / "whole.safetensors"
    save_file(tensors("fake_plain"), whole)
    found, expected = (artifacts.read_tensors(imported(path, **settings))[0] for path in (sharded, whole))
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)
    before = sha256_of(sharded)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    assert sha256_of(sharded) != before, "a changed shard is another file"


@pytest.mark.parametrize("damage", ["missing", "elsewhere", "other", "nonsense"])
def test_an_index_that_does_not_fit_its_files_is_refused(sharded: Path, imported: Import, damage: str) -> None:
    where = json.loads(sharded.read_text())["weight_map"]
    if damage == "missing":
        sharded.with_name("model-00002-of-00002.safetensors").unlink()
    elif damage == "nonsense":
        sharded.write_text("[1, 2]")
    else:
        where["cls_token"] = "../" + where["cls_token"] if damage == "elsewhere" else where["cls_token"]
        where |= {"more.weight": where["norm.weight"]} if damage == "other" else {}
        sharded.write_text(json.dumps({"weight_map": where}))
    with pytest.raises(DataError):
        imported(sharded, arch="fake_plain", image_size=PX, statistics=NEUTRAL)
