"""A small dense task: bright discs on noise, an untrained encoder of 64 px, and the files of all stages."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visionfm import artifacts
from visionfm.data.block import DENSE_COLUMNS
from visionfm.data.columns import column_type, read_dense_samples
from visionfm.encoders import importing
from visionfm.encoders.settings import ImportSettings
from visionfm.features import tokens as dense
from visionfm.features.settings import DenseSettings, TokenReading
from visionfm.tasks.evaluate import Archives, evaluate
from visionfm.tasks.maps.predict import Outputs, predict_dense
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTarget, DenseTrainSettings
from visionfm.tasks.maps.train import DenseFiles, train_dense
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from world.decoder_data import recipe_and_rest, recipe_file

SIZE_PX, WIDTH, HEIGHT = 64, 96, 80
MASK = {"disc": DenseTarget(column="disc", classes=["background", "disc"], values=[[0], [255]])}
POINTS = {name: DenseTarget(column=name) for name in ("left", "right")}
SPLITS = ("train", "train", "train", "train", "validation", "test", "test")


def write_encoder(path: Path) -> Path:
    settings = ImportSettings(modality="Fundus", weights="random", arch="vit_tiny_patch16_224", image_size=SIZE_PX)
    importing.import_encoder(settings, path)
    return path


class DenseProject:
    """A run folder; `count` images of which the last two are test images, the last one without truth."""

    def __init__(self, folder: Path, encoder: Path, count: int = 7) -> None:
        self.folder, self.encoder = folder, encoder
        self.root = folder / "eyes"
        self.results = folder / "results"
        self.run = self.results / "tasks/t/m/seed0"
        self.cache = self.results / "features/fundus/eyes.dense64.h5"
        self.rows = [self._draw(number) for number in range(count)]

    def _draw(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng(number)
        x, y = rng.uniform(25, WIDTH - 25), rng.uniform(25, HEIGHT - 25)
        yy, xx = np.mgrid[:HEIGHT, :WIDTH]
        inside = (xx - x) ** 2 + (yy - y) ** 2 < 12**2
        pixels = rng.integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        pixels[inside] += np.uint8(150)
        name, mask = f"img/{number}.png", f"masks/{number}.png"
        for place, array in ((name, pixels), (mask, (inside * 255).astype(np.uint8))):
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(self.root / place)
        row: dict[str, Any] = dict.fromkeys(DENSE_COLUMNS)
        row |= {"path": name, "image_id": self._id(name), "split": SPLITS[number % len(SPLITS)]}
        row |= {"width": WIDTH, "height": HEIGHT, "orientation": 1}
        if number != len(SPLITS) - 1:
            row |= {"mask_path": mask, "mask_id": self._id(mask), "mask_values": [0, 255]}
            row |= {"points": {"left": [x - 12, y], "right": [x + 12, y] if number != 1 else None}}
        return row

    def _id(self, name: str) -> str:
        return hashlib.sha256((self.root / name).read_bytes()).hexdigest()

    @property
    def table(self) -> Path:
        return self.results / "tasks/t/m/samples.parquet"

    def write_tables(self) -> None:
        """Write images.parquet, samples.parquet and train.parquet."""
        made_by = artifacts.provenance("fuse", {}, {})
        index = pa.table(
            {n: [row[n] for row in self.rows] for n in ("path", "image_id")} | {"status": ["ok"] * len(self.rows)}
        )
        artifacts.write_table(self.results / "images.parquet", index, made_by, schema="visionfm/images/1")
        image = pa.struct([(name, pa.string()) for name in ("modality", "dataset", "path", "image_id")])
        for path, rows in (
            (self.table, self.rows),
            (self.table.with_name("train.parquet"), [row for row in self.rows if row["split"] != "test"]),
        ):
            columns = {
                name: pa.array([row[name] for row in rows], column_type(name, list(POINTS))) for name in DENSE_COLUMNS
            }
            ids = {"sample_id": "eyes/{path}", "subject_id": "eyes/{path}", "dataset": "eyes", "split": "{split}"}
            texts = {name: pa.array([text.format(**row) for row in rows]) for name, text in ids.items()}
            same = {"modality": "Fundus", "dataset": "eyes"}
            images = [[{**same, "path": row["path"], "image_id": row["image_id"]}] for row in rows]
            table = pa.table({**texts, "images": pa.array(images, pa.list_(image)), **columns})
            artifacts.write_table(path, table, made_by, schema="visionfm/samples/1")

    def dense(self, **changed: Any) -> None:
        self.write_tables()
        settings = DenseSettings(
            **{"size": SIZE_PX, "views": ["identity", "h", "v", "hv"], "device": "cpu", "workers": 0, **changed}
        )
        dense.dense(self.results / "images.parquet", self.root, self.encoder, self.cache, settings)

    @property
    def files(self) -> DenseFiles:
        return DenseFiles([f"eyes={self.cache}"], [f"eyes={self.encoder}"], [f"eyes={self.root}"])

    def settings(self, kind: str) -> dict[str, Any]:
        targets = MASK if kind == "segmentation" else POINTS
        swaps = [] if kind == "segmentation" else [["left", "right"]]
        same = {"kind": kind, "targets": targets, "modalities": ["Fundus"], "size": SIZE_PX, "swaps": swaps}
        return {**same, "datasets": {"eyes": TokenReading()}}

    def train(self, kind: str = "segmentation", **changed: Any) -> bytes:
        name = changed.pop("recipe", "sound")
        path = recipe_file(kind, name, {})
        recipe, rest = recipe_and_rest(DenseRecipe, path, {**self.settings(kind), "epochs": 3, "threads": 1, **changed})
        settings = DenseTrainSettings(**rest, recipe_name=name, recipe=recipe)
        out = self.run / "decoder.safetensors"
        train_dense(self.table.with_name("train.parquet"), self.files, out, self.run / "training.parquet", settings)
        return out.read_bytes()

    @property
    def outputs(self) -> Outputs:
        return Outputs(self.run / "predictions.parquet", self.run / "masks.zip", self.run / "probabilities.zip")

    def predict(self, kind: str = "segmentation", **changed: Any) -> Any:
        """Return predictions.parquet as rows."""
        settings = DensePredictSettings(
            **{**self.settings(kind), "task": "t", "model": "m", "run": "seed0", "threads": 1, **changed}
        )
        outputs = self.outputs if kind == "segmentation" else Outputs(self.outputs.table, None, None)
        digest = artifacts.payload_digest(self.table)
        predict_dense(
            self.run / "decoder.safetensors", read_dense_samples(self.table), digest, self.files, outputs, settings
        )
        return artifacts.read_table(outputs.table).to_pylist()

    def measure(self) -> dict[str, dict[tuple[str, str], float | None]]:
        """Return path of an image -> the metrics of its predicted mask, by class and metric."""
        out = self.run.parent / "image_metrics.parquet"
        archives = Archives([self.outputs.masks], [self.outputs.probabilities], {"eyes": self.root}, out)
        targets = {"disc": TargetSpec(type="mask", classes=MASK["disc"].classes)}
        same = {"task": "t", "model": "m", "head": "sound", "fusion": "pooled"}
        settings = EvaluateSettings(**same, kind="segmentation", targets=targets)
        evaluate([self.outputs.table], self.run.parent / "metrics.parquet", settings, archives)
        found: dict[str, dict[tuple[str, str], float | None]] = {}
        for row in artifacts.read_table(out).to_pylist():
            found.setdefault(row["sample_id"].removeprefix("eyes/"), {})[row["class"], row["metric"]] = row["value"]
        return found
