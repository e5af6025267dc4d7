"""Predicting many large images takes the memory of predicting few: no map outlives its image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.dense_project import DenseProject, write_encoder

pytestmark = pytest.mark.slow
SIDE_PX, FEW, MANY = 1200, 4, 16
MAP_MIB = SIDE_PX**2 * 4 / 2**20  # one map of probabilities, float32


def draw(folder: Path, count: int) -> Path:
    """Draw noisy images, whose probability maps hardly compress."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return folder


def peak_mib(project: DenseProject, images: Path) -> float:
    """Return the largest resident size of `visionfm predict` over a folder."""
    out = images.with_name(f"{images.name}_found")
    flags = ["--decoder", project.run / "decoder.safetensors", "--encoder", project.encoder, "--images", images]
    flags += ["--out", out.with_suffix(".parquet"), "--masks-out", out.with_suffix(".zip")]
    flags += ["--probabilities-out", out.with_name(f"{out.name}_p.zip")]
    settings = json.dumps({"kind": "segmentation", "threads": 1})
    command = [sys.executable, "-m", "visionfm", "predict", *map(str, flags), "--settings", settings]
    started = subprocess.Popen(command, env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0
    return used.ru_maxrss / 1024


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    project = DenseProject(tmp_path / "run", write_encoder(tmp_path / "encoder.safetensors"))
    project.dense()
    project.train(epochs=1)
    few, many = (peak_mib(project, draw(tmp_path / f"of{count}", count)) for count in (FEW, MANY))
    kept = (MANY - FEW) * MAP_MIB  # what holding one map per image would add
    print(f"peak with {FEW} images {few:.0f} MiB, with {MANY} {many:.0f} MiB; holding their maps: {kept:.0f} MiB more")
    assert many - few < kept / 3
