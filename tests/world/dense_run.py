"""A run of dense tasks without any training: drawn images of all shapes, labels by the stages, made-up answers.

Images are landscape, portrait and turned by EXIF; in each a bright band (the vessel) runs from the upper left, with
the disc as a bright dot at its lower end; clouds differ from eye to eye.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visionfm import artifacts
from visionfm.artifacts.archive import writing
from visionfm.data.audit import audit
from visionfm.data.columns import read_dense_samples
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.images.masks import encode_mask
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.tasks.compare import compare
from visionfm.tasks.evaluate import Archives, evaluate
from visionfm.tasks.fuse import fuse
from visionfm.tasks.maps.archive import encode_map

ORIENTATIONS = (1, 1, 6, 8, 3, 1, 5, 2)
COLUMNS = {"image": "image", "subject": "who", "split": "split", "mask": "mask", "mask2": "second", "fov": "fov",
           "points": {"disc": ["x", "y"], "corner": ["cx", "cy"]}, "mm_per_px": 0.01}  # fmt: skip
CONFIG: dict[str, Any] = {
    "report": {"pictures": "examples", "ids": "shown"},
    "encoders": {"tiny": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224", "device": "cpu"}},
    "models": {"tiny": {"Fundus": "tiny"}},
    "datasets": {
        "eyes": {"modality": "Fundus", "root": "data", "layout": "table", "table": "l.csv",
                 "images": "images/*", "columns": COLUMNS}
    },
    "tasks": {
        "vessels": {
            "kind": "segmentation",
            "datasets": ["eyes"],
            "models": ["tiny"],
            "targets": {"vessel": {"classes": {"background": 0, "vessel": 255}}},
        },
        "places": {
            "kind": "landmarks",
            "datasets": ["eyes"],
            "models": ["tiny"],
            "targets": {"disc": {}, "corner": {}},
            "success_mm": [0.05],
        },
    },
}  # fmt: skip


def draw(n: int, wide: bool, shift: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return a stored image, its mask and the disc's place."""
    height, width = (240, 360) if wide else (360, 240)
    y, x = np.mgrid[0:height, 0:width]
    band = np.abs((y - shift) - 0.5 * x - 40) < 9 + n % 3
    band &= x < 0.6 * width
    clouds = np.random.default_rng(n).integers(0, 100, (6, 6), np.uint8)  # no two eyes are copies of one photograph
    cloud = np.asarray(Image.fromarray(clouds).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    image = (np.array([150, 80, 40]) * (0.75 + cloud[..., None] / 120)).clip(0, 255).astype(np.uint8)
    image[(x - width / 2) ** 2 + (y - height / 2) ** 2 > (0.52 * max(width, height)) ** 2] = 0
    image[band] = (90, 20, 20)
    at = (0.6 * width, 0.5 * 0.6 * width + 40)
    image[(x - at[0]) ** 2 + (y - at[1]) ** 2 < 15**2] = (250, 220, 150)
    return image, band, at


def write_data(root: Path, count: int = 16) -> None:
    """Write images, masks of two observers, fields of view and the table."""
    lines = ["image,who,split,mask,second,fov,x,y,cx,cy"]
    for folder in ("images", "masks", "second", "fov"):
        (root / folder).mkdir(parents=True)
    for n in range(count):
        image, band, at = draw(n, n % 2 == 0)
        exif = Image.Exif()
        exif[274] = ORIENTATIONS[n % 8]
        Image.fromarray(image).save(root / f"images/{n:02}.jpg", quality=92, exif=exif)
        Image.fromarray(band.astype(np.uint8) * 255).save(root / f"masks/{n:02}.png")
        second = draw(n, n % 2 == 0, shift=3)[1]
        Image.fromarray(second.astype(np.uint8) * 255).save(root / f"second/{n:02}.png")
        Image.fromarray((image.max(axis=2) > 40).astype(np.uint8) * 255).save(root / f"fov/{n:02}.png")
        split = "test" if n >= count // 2 else "train"
        corner = "," if n % 4 == 3 else "20,30"
        files = ",".join(f"{folder}/{n:02}.png" for folder in ("masks", "second", "fov"))
        lines.append(f"images/{n:02}.jpg,p{n},{split},{files},{at[0]},{at[1]},{corner}")
    (root / "l.csv").write_text("\n".join(lines) + "\n")


class DenseRun:
    """Everything below the working directory, up to the metrics."""

    def __init__(self) -> None:
        self.config = CONFIG
        self.plan = Plan(Config.model_validate_json(json.dumps(CONFIG)))

    def write(self) -> "DenseRun":
        plan = self.plan
        write_data(Path("data"))
        images, labels = Path(plan.images("eyes")[0]), Path(plan.labels("eyes"))
        index(Path("data"), images, plan.data.index_settings("eyes", ""))
        label(Path("data"), [images], None, labels, plan.data.label_settings("eyes"))
        self._encoder()
        for task in self.config["tasks"]:
            audit({"eyes": [images]}, {"eyes": [labels]}, Path(plan.audit(task)), plan.data.audit_settings(task))
            samples, train = Path(plan.samples(task, "tiny")), Path(plan.train_table(task, "tiny"))
            fuse({"eyes": [labels]}, Path(plan.audit(task)), samples, train, plan.tasks.fuse_settings(task))
            self._training(task)
            self._masks() if task == "vessels" else self._points()
            self.evaluate(task)
            for out in plan.comparison(task):
                compared = {model: [Path(path)] for model, path in plan.compared(task)}
                compare(compared, Path(out), plan.tasks.compare_settings(task))
        return self

    def evaluate(self, task: str) -> None:
        """Run the stage on the predictions."""
        plan = self.plan
        settings = plan.tasks.evaluate_settings(task, "tiny")
        archives = None
        if task == "vessels":
            masks, maps = ([Path(path)] for path in plan.masks(task, "tiny", "seed0"))
            archives = Archives(masks, maps, {"eyes": Path("data")}, Path(plan.image_metrics(task, "tiny")[0]))
        predictions = [Path(plan.predictions(task, "tiny", "seed0"))]
        evaluate(predictions, Path(plan.metrics(task, "tiny")), settings, archives)

    def _encoder(self) -> None:
        extra = {"arch": "vit_tiny_patch16_224", "image_size": "224", "patch": "16", "modality": "Fundus"}
        source = {"name": "random", "sha256": None, "dialect": "random", "key": None, "licence": "none"}
        extra |= {"interpolation": "bilinear", "mean": "[0.5, 0.5, 0.5]", "std": "[0.2, 0.2, 0.2]"}
        extra |= {"source": json.dumps(source), "renamed": "{}", "dropped": "{}"}
        made_by = artifacts.provenance("import", {}, {})
        tensors = {"norm.weight": np.ones(3, np.float32)}
        artifacts.write_tensors(self.plan.encoder("tiny"), tensors, made_by, schema="visionfm/encoder/1", extra=extra)

    def _training(self, task: str) -> None:
        epochs = np.arange(1, 6)
        curves = {"train_loss": 1.0 / epochs, "validation_loss": 1.1 / epochs, "best": epochs == 5}
        table = pa.table({"epoch": epochs, **curves})
        path = self.plan.training(task, "tiny", "seed0")
        artifacts.write_table(path, table, artifacts.provenance("train", {}, {}), schema="visionfm/training/1")

    def _ids(self, sample, target: str) -> dict[str, Any]:
        same = ("sample_id", "subject_id", "dataset", "split", "path", "image_id", "width", "height", "orientation",
                "mm_per_px")  # fmt: skip
        constants = {"modalities": "Fundus", "run": "seed0", "target": target}
        return {name: getattr(sample, name) for name in same} | constants

    def _masks(self) -> None:
        """Answer with the truth, moved to the right by more and more pixels, upright."""
        plan, rows = self.plan, []
        target = plan.map_task("vessels").dense_targets()["vessel"]
        made_by = artifacts.provenance("predict", {}, {})
        masks, maps = plan.masks("vessels", "tiny", "seed0")
        targets = {"targets": json.dumps({"vessel": target.model_dump(mode="json")})}
        with (
            writing(masks, made_by, schema="visionfm/masks/1", extra=targets) as archive,
            writing(maps, made_by, schema="visionfm/probabilities/1") as probabilities,
        ):
            for n, sample in enumerate(read_dense_samples(plan.samples("vessels", "tiny"))):
                truth = sample.mask(Path("data"), target.values)
                assert truth is not None
                said = np.zeros_like(truth)
                said[:, n:] = truth[:, : truth.shape[1] - n]
                name = str(Path(sample.dataset, sample.path).with_suffix(".png"))
                archive.add(name, encode_mask(said, target.values, orientation=sample.orientation))
                probabilities.add(name, encode_map((said * 50000.0 + 2000) / 65535))
                truth_files = {f"{role}_{what}" for role in ("mask", "mask2", "fov") for what in ("path", "id")}
                rows.append(
                    self._ids(sample, "vessel") | {"mask": name} | {at: getattr(sample, at) for at in truth_files}
                )
        numbers = dict.fromkeys(("width", "height", "orientation"), pa.int32())
        numbers["mm_per_px"] = pa.list_(pa.float64())
        schema = pa.schema([(name, numbers.get(name, pa.string())) for name in sorted(rows[0])])
        table = pa.Table.from_pylist(rows, schema=schema)
        path = plan.predictions("vessels", "tiny", "seed0")
        artifacts.write_table(path, table, made_by, schema="visionfm/dense-predictions/1")

    def _points(self) -> None:
        """Answer below the truth by more and more pixels, upright."""
        plan, rows = self.plan, []
        for n, sample in enumerate(read_dense_samples(plan.samples("places", "tiny"))):
            for name, at in sample.points.items():
                x, y = at or (50.0, 50.0)
                truth = {"truth_x": None, "truth_y": None} if at is None else {"truth_x": x, "truth_y": y}
                rows.append(self._ids(sample, name) | {"x": x, "y": y + 2 * n, "score": 0.5, **truth})
        made_by = artifacts.provenance("predict", {"points": 1}, {})
        table = pa.Table.from_pylist(rows)
        path = plan.predictions("places", "tiny", "seed0")
        artifacts.write_table(path, table, made_by, schema="visionfm/dense-predictions/1")
