"""A tiny fine-tuning project: images with a planted sign, their tables, and a small untrained encoder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visionfm import artifacts
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.features import extract
from visionfm.features.settings import ExtractSettings
from visionfm.images.settings import Reading
from visionfm.images.transforms import VIEWS
from visionfm.tasks.finetune import Outputs, finetune
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.finetuning.settings import FinetuneSettings
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.train import train
from world.decoder_data import BINARY, kind_of, recipe_and_rest, recipe_file, splits_of, train_settings, write_samples

SIZE_PX, COUNT = 32, 40


def draw(folder: Path, hidden_N: np.ndarray, px: int = 40) -> list[dict[str, str]]:
    """Images whose centre is as bright as their hidden value; return their references."""
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    for n, hidden in enumerate(hidden_N):
        rng = np.random.default_rng(n)
        pixels = rng.integers(60, 100, (px, px, 3))
        pixels[px // 4 : -px // 4, px // 4 : -px // 4] += int(np.clip(60 * hidden, -60, 120))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{n:04}.png")
        digest = hashlib.sha256((folder / f"{n:04}.png").read_bytes()).hexdigest()
        found.append({"modality": "Fundus", "dataset": "eyes", "path": f"{n:04}.png", "image_id": digest})
    return found


def write_encoder(path: Path, seed: int = 0) -> Path:
    """An untrained encoder for 32 px."""
    settings = ImportSettings(
        modality="Fundus", weights="random", arch="vit_tiny_patch16_224", image_size=SIZE_PX, seed=seed
    )
    import_encoder(settings, path)
    return path


class Project:
    """Files of one fine-tuning task below a results folder."""

    def __init__(self, folder: Path, labels: Mapping[str, Any] | None = None, targets: Any = None) -> None:
        self.folder = folder / "results" / "task"
        self.hidden_N = np.random.default_rng(0).normal(size=COUNT)
        self.images = draw(folder / "images", self.hidden_N)
        self.roots = {"eyes": folder / "images"}
        self.targets: Mapping[str, TargetSpec] = targets or BINARY
        labels = labels or {"sick": (self.hidden_N > 0) * 1.0}
        self.samples = self.folder / "samples.parquet"
        rows = [[image] for image in self.images]
        self.train = write_samples(self.samples, rows, splits_of(COUNT), labels, self.targets)
        self.encoder = write_encoder(folder / "encoder.safetensors")

    def settings(self, **changes: Any) -> FinetuneSettings:
        kind, name = kind_of(self.targets), changes.pop("recipe", "modern")
        same = {"kind": kind, "targets": self.targets, "modalities": ["Fundus"], "recipe_name": name, "workers": 0}
        same |= {"datasets": {"eyes": Reading()}, "epochs": 2, "batch_size": 8, "threads": 1}
        same |= {"probe_first": False}  # so few images teach an encoder less than its head alone knows
        path = recipe_file(kind, name, self.targets, mode="finetune")
        recipe, rest = recipe_and_rest(FinetuneRecipe, path, {**same, **changes})
        return FinetuneSettings(**rest, recipe=recipe)

    def outputs(self, name: str = "run") -> Outputs:
        folder = self.folder / name
        return Outputs(folder / "decoder.safetensors", folder / "encoder.safetensors", folder / "training.parquet")

    def run(self, name: str = "run", **changes: Any) -> Outputs:
        outputs = self.outputs(name)
        finetune(self.train, self.roots, self.encoder, outputs, self.settings(**changes))
        return outputs

    def frozen(self, name: str) -> Path:
        """Train recipe `sound` on the frozen encoder's features, and return its decoder."""
        folder = self.folder / name
        images = [extract.IndexedImage(image["path"], image["image_id"]) for image in self.images]
        source = extract.Source(self.roots["eyes"], self.encoder, artifacts.payload_digest(self.encoder))
        of = ExtractSettings(size=SIZE_PX, dtype="float32", device="cpu", workers=0, views=list(VIEWS))
        cache, out = folder / "features" / "eyes.cls32.h5", folder / "decoder.safetensors"
        extract.extract(images, source, of, cache, artifacts.provenance("extract", {}, {}))
        settings = train_settings(self.targets)
        train(self.train, {"eyes": [cache]}, out, folder / "training.parquet", settings)
        return out

    def arguments(self, name: str = "run", **changes: Any) -> list[str]:
        """The stage's command line; the log comes last."""
        outputs = self.outputs(name)
        return [
            *("finetune", "--train", str(self.train), "--root", f"eyes={self.roots['eyes']}"),
            *("--encoder", str(self.encoder), "--out", str(outputs.decoder), "--encoder-out", str(outputs.encoder)),
            *("--training-out", str(outputs.training), "--settings", self.settings(**changes).model_dump_json()),
            *("--log", str(self.folder / f"{name}.log")),
        ]


def tensors(path: Path) -> dict[str, np.ndarray]:
    return artifacts.read_tensors(path)[0]
