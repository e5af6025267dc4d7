"""`scheme: mix`: one encoder for several modalities, each image normalised by its own, in training and afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from world.small_training import FUNDUS, Small

from visionfm import artifacts
from visionfm.cli import main
from visionfm.config.base import Statistics
from visionfm.data.settings import IndexSettings
from visionfm.encoders.vit import load_encoder
from visionfm.errors import DataError
from visionfm.features.cache import read_cache
from visionfm.features.settings import ExtractSettings
from visionfm.pretraining.settings import ImageSetSettings
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

OCT = Statistics(mean=[0.2, 0.2, 0.2], std=[0.1, 0.1, 0.1])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """An encoder of fundus photographs and scans, which are other files of the same folder."""
    small = Small(tmp_path_factory.mktemp("mixed"), images=6)
    scans = Small(small.folder / "scans", images=10)
    for number in range(6):
        (scans.root / f"{number:03}.png").unlink()
    table = small.folder / "results" / "datasets" / "scans" / "images.parquet"
    settings = IndexSettings(modality="OCT", layout="table").model_dump_json()
    assert main(["index", "--root", str(scans.root), "--out", str(table), "--settings", settings]) == 0
    sets = {"eyes": ImageSetSettings(modality="Fundus"), "scans": ImageSetSettings(modality="OCT")}
    chosen = small.settings(epochs=1, datasets=sets, statistics={"Fundus": FUNDUS, "OCT": OCT}, scheme="mix")
    arguments = small.arguments(chosen)
    for flag, value in (("--images", f"scans={table}"), ("--root", f"scans={scans.root}")):
        arguments.insert(arguments.index(flag) + 1, value)
    assert main(arguments) == 0
    return small


def test_the_encoder_holds_the_statistics_of_each_modality(mixed: Small) -> None:
    metadata = artifacts.read_metadata(mixed.out)
    assert metadata["modality"] == "any" and set(json.loads(metadata["statistics"])) == {"Fundus", "OCT"}
    assert load_encoder(mixed.out, modality="OCT").mean == (0.2, 0.2, 0.2)
    assert load_encoder(mixed.out, modality="Fundus").std == tuple(FUNDUS.std)
    for modality in (None, "MRI"):
        with pytest.raises(DataError, match="Fundus, OCT"):
            load_encoder(mixed.out, modality=modality)


def test_extract_normalises_by_the_images_own_modality(mixed: Small) -> None:
    caches = {}
    for modality in ("Fundus", "OCT"):
        out = mixed.folder / "results" / "features" / "own" / f"{modality.lower()}.cls48.h5"
        settings = ExtractSettings(size=48, modality=modality, dtype="float32", device="cpu", workers=0)
        where = ["--images", str(mixed.images), "--root", str(mixed.root), "--encoder", str(mixed.out)]
        assert main(["extract", *where, "--out", str(out), "--settings", settings.model_dump_json()]) == 0
        caches[modality] = torch.from_numpy(read_cache(out).cls_NVLD[:, 0])
    images = [mixed.root / f"{number:03}.png" for number in range(6)]
    for modality, cls_NLD in caches.items():
        expected = load_encoder(mixed.out, modality=modality)(images).cls_BLD
        torch.testing.assert_close(cls_NLD, expected, atol=1e-5, rtol=1e-5)
    assert not torch.equal(caches["Fundus"], caches["OCT"])  # nor was one's row taken for the other's


def test_the_plan_tells_extract_the_modality_of_a_mix_alone(tmp_path: Path) -> None:
    pretrain = {"datasets": ["eyes"], "arch": "vit_tiny_patch16_224", "scheme": "mix"}
    config: dict[str, Any] = {
        "encoders": {"all": {"modality": "any", "pretrain": pretrain}, "one": {"modality": "any", "timm": "a"}},
        "datasets": {"eyes": {"modality": "Fundus", "root": "eyes", "layout": "vfm", "labels": ["dr"]}},
        "models": {},
        "tasks": {},
    }
    plan = Plan(parse_config(config))
    assert plan.encoding.extract_settings("all", "eyes").modality == "Fundus"
    assert plan.encoding.extract_settings("one", "eyes").modality is None
