"""A small training for tests: a few drawn images, a network of six narrow blocks, crops of 3 x 3 patches."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visionfm.cli import main
from visionfm.config.base import Statistics
from visionfm.data.settings import IndexSettings
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.modalities import MODALITIES
from visionfm.pretraining.recipe import FAMILIES, ContinuedRecipe
from visionfm.pretraining.settings import ImageSetSettings, PretrainSettings
from world.pretraining_recipes import recipe

SMALL = {
    "epochs": 3,
    "batch_size": 8,
    "micro_batch": 4,
    "image_size": 48,
    "precision": "fp32",
    "head_hidden": 32,
    "head_bottleneck": 16,
    "out_dim": 64,
    "patch_out_dim": 64,
    "log_steps": 2,
    "lr": 1e-3,
    "mask_ratio": [0.4],
    "mask_spread": [0.1],
}
FUNDUS = Statistics(mean=list(MODALITIES["Fundus"].mean), std=list(MODALITIES["Fundus"].std))


class Small:
    """Images, their index, and the command that pretrains on them."""

    def __init__(self, folder: Path, images: int = 20) -> None:
        self.folder, self.root = folder, folder / "eyes"
        self.images = folder / "results" / "datasets" / "eyes" / "images.parquet"
        self.out = folder / "results" / "encoders" / "own" / "encoder.safetensors"
        self.curves = self.out.with_name("training.parquet")
        self.add(images)

    def add(self, images: int) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for seed in range(len(list(self.root.iterdir())), images):
            rng = np.random.default_rng(seed)
            low = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(low).resize((80, 60), Image.Resampling.BICUBIC).save(self.root / f"{seed:03}.png")
        settings = IndexSettings(modality="Fundus", layout="table")
        arguments = ["--root", str(self.root), "--out", str(self.images), "--settings", settings.model_dump_json()]
        assert main(["index", *arguments]) == 0

    def weights(self) -> Path:
        """Given weights to continue from."""
        path = self.folder / "given.safetensors"
        if not path.exists():
            settings = ImportSettings(modality="Fundus", weights="random", arch="test_vit", image_size=48)
            import_encoder(settings, path)
        return path

    def settings(self, name: str = "published", **fields: Any) -> PretrainSettings:
        small = {key: value for key, value in SMALL.items() if key in FAMILIES[name].model_fields}
        of_stage = {key: fields.pop(key) for key in list(fields) if key in PretrainSettings.model_fields}
        given = {
            "datasets": {"eyes": ImageSetSettings(modality="Fundus")},
            "statistics": {"Fundus": FUNDUS},
            "arch": "test_vit",
            "device": "cpu",
            "workers": 0,
            "recipe": recipe(name, **{**small, **fields}),
        }
        if issubclass(FAMILIES[name], ContinuedRecipe):
            given.update(arch=None, init=str(self.weights()))
        return PretrainSettings(**{**given, **of_stage})

    def arguments(self, settings: PretrainSettings) -> list[str]:
        where = ["--images", f"eyes={self.images}", "--root", f"eyes={self.root}"]
        out = ["--out", str(self.out), "--training-out", str(self.curves), "--threads", "1"]
        return ["pretrain", *where, *out, "--settings", settings.model_dump_json()]

    def run(self, settings: PretrainSettings) -> int:
        return main(self.arguments(settings))

    def start(self, settings: PretrainSettings, processes: int = 1, **environment: str) -> subprocess.Popen[str]:
        launcher = [sys.executable, "-m", "visionfm"]
        if processes > 1:
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            launcher = [sys.executable, *torchrun, "-m", "visionfm"]
        return subprocess.Popen(
            [*launcher, *self.arguments(settings)],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
