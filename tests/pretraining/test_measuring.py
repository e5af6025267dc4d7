"""Measured statistics are those of all pixels that an encoder would see, exactly, however the work is shared."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_sets import ImageSet, source_of
from PIL import Image

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


def test_measuring_and_cropping_need_no_torch() -> None:
    code = """
import json, sys
import visionfm.pretraining.crops, visionfm.pretraining.measuring, visionfm.pretraining.packs
print(json.dumps([name for name in ("torch", "timm", "torchvision") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
