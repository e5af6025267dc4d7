"""Measured statistics are those of all pixels that an encoder would see, exactly, however the work is shared."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from world.image_sets import ImageSet, draw_image, source_of

from visionfm import artifacts
from visionfm.cli import main
from visionfm.errors import DataError
from visionfm.pretraining.measuring import measure


def test_the_statistics_are_those_of_all_resized_pixels(results: Path) -> None:
    eyes, scans = ImageSet(results.parent, count=21), ImageSet(results.parent, "scans", "OCT", seed=1)
    source = source_of(eyes, scans)
    found = measure(source, 32, exact=True)
    assert found == measure(source, 32, workers=2, exact=True)
    fast = measure(source, 32)
    assert fast != found and np.allclose(fast["OCT"].mean, found["OCT"].mean, atol=0.002)
    for one in (eyes, scans):
        pixels = np.stack(
            [
                np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float64)
                for path in sorted(one.root.iterdir())
            ]
        )
        np.testing.assert_allclose(found[one.modality].mean, pixels.mean((0, 1, 2)) / 255, rtol=1e-12)
        np.testing.assert_allclose(found[one.modality].std, pixels.std((0, 1, 2)) / 255, rtol=1e-12)


def test_images_that_are_the_same_everywhere_are_refused(results: Path) -> None:
    eyes = ImageSet(results.parent, count=2)
    for path in eyes.root.iterdir():
        Image.new("RGB", (40, 40), (10, 20, int(path.stem))).save(path)
    eyes.index()
    with pytest.raises(DataError, match="same everywhere in a channel"):
        measure(source_of(eyes), 32)


def measured(run: Path, out: Path, *sets: ImageSet, labels: dict[str, Path] | None = None, **settings: Any) -> dict:
    arguments = ["--images", *(f"{one.name}={one.images}" for one in sets), "--out", str(out)]
    arguments += ["--root", *(f"{one.name}={one.root}" for one in sets)]
    arguments += ["--labels", *(f"{name}={path}" for name, path in (labels or {}).items())]
    datasets = {one.name: one.settings().model_dump() for one in sets}
    chosen = {"datasets": datasets, "size": 32, "workers": 0, **settings}
    assert main(["measure", *arguments, "--settings", json.dumps(chosen)]) == 0
    return artifacts.read_json(out)


def test_the_stage_measures_once_and_only_training_images(results: Path) -> None:
    eyes = ImageSet(results.parent, count=8)
    rows = [{"path": path.name, "split": "test" if path.name < "04" else "train"} for path in eyes.root.iterdir()]
    labels, out = results / "datasets/eyes/labels.parquet", results / "encoders/own/statistics.json"
    artifacts.write_table(
        labels, pa.Table.from_pylist(rows), artifacts.provenance("label", {}, {}), schema="visionfm/labels/1"
    )
    found = measured(results.parent, out, eyes, labels={"eyes": labels})
    source = source_of(eyes)
    training = [item.image_id for item in source.items if item.path >= "04"]
    expected = measure(source.take(training), 32)["Fundus"]
    assert found == {"modality": "Fundus", "images": 4, "mean": expected.mean, "std": expected.std}
    draw_image(eyes.root / "new.png", 55)
    eyes.index()
    out.unlink()
    assert measured(results.parent, out, eyes, labels={"eyes": labels}) == found
    whole = measured(results.parent, results / "encoders/other/statistics.json", eyes, every_split=["eyes"])
    assert whole["images"] == 9


def test_an_imported_encoder_takes_the_measured_statistics(results: Path) -> None:
    out, said = results / "encoders/own/encoder.safetensors", results / "encoders/own/statistics.json"
    content = {"modality": "OCTA", "images": 3, "mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1]}
    artifacts.write_json(said, content, artifacts.provenance("measure", {}, {}), schema="visionfm/statistics/1")
    base = {"modality": "OCTA", "weights": "random", "arch": "vit_tiny_patch16_224", "image_size": 32}
    for choice in ("auto", "weights"):  # the encoder's choice, or what its added modality says
        settings = json.dumps({**base, "statistics": choice})
        assert main(["import", "--statistics", str(said), "--out", str(out), "--settings", settings]) == 0
        metadata = artifacts.read_metadata(out)
        assert json.loads(metadata["mean"]) == [0.1, 0.2, 0.3] and json.loads(metadata["std"]) == [0.3, 0.2, 0.1]
    assert main(["import", "--out", str(out), "--settings", json.dumps({**base, "statistics": "auto"})]) == 2


def test_measuring_and_cropping_need_no_torch() -> None:
    code = """
import json, sys
import visionfm.pretraining.crops, visionfm.pretraining.measuring, visionfm.pretraining.packs
print(json.dumps([name for name in ("torch", "timm", "torchvision") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
