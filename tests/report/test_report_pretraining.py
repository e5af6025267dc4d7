"""The report shows what an encoder pretrained here was trained on and what it makes of images, and claims no more."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from world.filled_tables import filled

from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.encoders import architectures
from visionfm.pretraining import pretrain as stage
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan
from visionfm.report.sections.pretraining_pictures import components, nearest_visible, scaled, tokens_and_attention
from visionfm.report.stage import Outputs, report

CONFIG = """
encoders:
  eyes:
    modality: Fundus
    device: cpu
    pretrain:
      {datasets: [eyes], arch: vit_tiny_patch16_224, recipe: modern, image_size: 64, epochs: 2, batch_size: 4,
       micro_batch: 4, out_dim: 16, patch_out_dim: 16, head_hidden: 16, head_bottleneck: 8, precision: fp32, workers: 0,
       registers: 0, augment: {local_crops: 0}, log_steps: 1}
models: {m: {Fundus: eyes}}
report: {pictures: examples, ids: shown}
datasets: {eyes: {modality: Fundus, root: data/eyes, layout: table, labels: none}}
tasks: {}
"""
MIX = (
    CONFIG.replace("modality: Fundus\n", "modality: any\n")
    .replace("datasets: [eyes]", "datasets: [eyes, scans], scheme: mix")
    .replace("{Fundus: eyes}", "{any: eyes}")
    .replace("labels: none}}", "labels: none}, scans: {modality: OCT, root: data/scans, layout: table, labels: none}}")
)


def draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((90, 80), Image.Resampling.BICUBIC).save(path)


def run_stages(plan: Plan) -> str:
    """Run index, label, pretrain and report as their rules do; return the page."""
    tables = {}
    for name in plan.config.datasets:
        images, labels = Path(plan.images(name)[0]), Path(plan.labels(name))
        index(Path("data", name), images, plan.data.index_settings(name, ""))
        label(Path("data", name), [images], None, labels, plan.data.label_settings(name))
        tables[name] = images
    encoder = Path(plan.encoder("eyes"))
    files = {"images": [f"{name}={path}" for name, path in tables.items()], "pack": [], "weights_sum": None}
    files["root"] = [f"{name}=data/{name}" for name in tables]
    rest = {"knn_labels": None, "knn_root": None, "out": encoder, "log": None, "threads": 1, "resume": None}
    settings = plan.pretraining.pretrain_settings("eyes").model_dump_json()
    training = Path(plan.pretraining_curves("eyes"))
    stage.main(SimpleNamespace(**files, **rest, training_out=training, settings=settings))  # type: ignore[arg-type]
    out = Outputs.of(plan)
    report(out, plan.report_settings())
    return out.page.read_text(encoding="utf-8")


@pytest.fixture
def plan(results: Path) -> Plan:
    for number in range(8):
        draw(Path("data/eyes") / f"{number}.png", number)
    Path("config.yaml").write_text(CONFIG)
    return Plan(load_config("config.yaml"))


def test_the_page_shows_curves_pictures_and_what_was_trained_on(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    page = run_stages(plan)
    assert any("first and last interval" in caption for caption in filled(page))
    assert "vit_tiny_patch16_224 at 64 px, trained on 8 of 8 images of eyes." in page
    assert "Encoders whose pretraining saw fewer than 100,000 images: eyes. They may be no better" in page
    assert page.count("data:image/jpeg;base64,") >= 4 * 5
    assert "nothing here is a reconstruction" in page and "Untrained encoders" not in page
    for words in ("Losses", "Effective rank of the features", "Entropy of the teacher", "Views that agree"):
        assert words in page
    found = re.search(r"differ from the truth by ([\d.]+) of 255 on average; visible patches.*? by ([\d.]+)\.", page)
    assert found is not None and 0 < float(found[1]) < 255 and 0 < float(found[2]) < 255
    # An added image trains nothing; the page says so. A file that changed since it was indexed is not shown.
    draw(Path("data/eyes/new.png"), 99)
    with caplog.at_level(logging.INFO, "visionfm"):
        page = run_stages(plan)
    assert "trained on 8 of 9 images of eyes" in page and "`visionfm forget encoders/eyes`" in page
    assert "unchanged: results/encoders/eyes/encoder.safetensors" in caplog.text


def test_an_encoder_of_several_modalities_is_shown_on_images_of_each(results: Path) -> None:
    for number in range(8):
        draw(Path("data", "scans" if number % 2 else "eyes", f"{number}.png"), number)
    Path("config.yaml").write_text(MIX)
    page = run_stages(Plan(load_config("config.yaml")))
    assert "trained on 8 of 8 images of eyes and scans." in page and "by modality" in page
    shown = re.findall(r'alt="(\w+)/\d\.png: attention"', page)
    assert sorted(shown) == ["eyes", "eyes", "scans", "scans"]


def test_equal_inputs_give_an_equal_page(plan: Plan) -> None:
    first = run_stages(plan)
    Path(plan.report).unlink()
    for kept in Path("results/.kept/report").rglob("*.*"):
        kept.unlink()
    assert run_stages(plan) == first


def test_attention_is_that_of_the_last_block() -> None:
    torch.manual_seed(0)
    network: Any = architectures.build("vit_tiny_patch16_224", image_size=64, empty=False).eval()
    seen: list[torch.Tensor] = []
    attention = network.blocks[-1].attn
    attention.fused_attn = False
    attention.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        tokens, weights = tokens_and_attention(network, images)
        expected = network.forward_features(images)
    torch.testing.assert_close(weights, seen[-1][:, :, 0, 1:].mean(1))
    torch.testing.assert_close(tokens, expected[:, 1:])


def test_a_hidden_patch_is_shown_by_the_visible_one_with_the_nearest_token() -> None:
    tokens = np.eye(4, dtype=np.float32)[None].repeat(2, axis=0)
    masks = np.array([[True, False, False, False], [False, False, False, False]])
    blind = tokens.copy()
    blind[0, 0] = [0.1, 0, 0.9, 0]
    patches = np.arange(8, dtype=np.uint8).reshape(2, 4, 1, 1, 1).repeat(3, axis=-1)
    nearest, chance = nearest_visible(tokens, blind, masks, patches)
    assert nearest[0, 0].flat[0] == 2  # the first of two equals, in the same image
    assert chance[0, 0].flat[0] != 0
    np.testing.assert_array_equal(nearest[1], patches[1])


def test_components_are_directions_of_largest_variance_in_zero_to_one() -> None:
    rng = np.random.default_rng(0)
    strong = rng.normal(size=(2, 50, 3)) * [9, 5, 3]
    tokens = np.concatenate([strong, rng.normal(size=(2, 50, 5)) * 0.01], axis=2)
    colours, share = components(tokens)
    assert share > 0.999 and colours.min() == 0 and colours.max() == 1
    order = np.corrcoef(colours[..., 0].ravel(), strong[..., 0].ravel())[0, 1]
    assert abs(order) > 0.95
    assert scaled(np.array([2.0, 4.0])).tolist() == [0, 1]
