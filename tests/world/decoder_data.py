"""Small tasks with known answers: samples, train and cache files as `fuse` and `extract` write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visionfm import artifacts
from visionfm.config.recipe import read_recipe
from visionfm.features import cache, rows
from visionfm.tasks import KINDS
from visionfm.tasks.block import Training
from visionfm.tasks.settings import PredictSettings, TargetSpec, TrainSettings
from visionfm.tasks.vectors.recipe import SOUND, Recipe

VIEWS = ("identity", "h", "v", "hv")
IDENTITY = rows.RowIdentity("0" * 64, "square224-bilinear-fast", "[8, 9, 10, 11]", "fp32", "float32")
BINARY = {"sick": TargetSpec(type="binary", classes=["no", "yes"])}
IMAGE = pa.struct([(name, pa.string()) for name in ("modality", "dataset", "path", "image_id")])


def write_cache(
    path: Path,
    cls_NVLD: np.ndarray,
    patch_mean_NVD: np.ndarray,
    views: Sequence[str] = VIEWS,
    names: Any = None,
    dtype: str = "float32",
) -> Path:
    names = [f"{n:04}.png" for n in range(len(cls_NVLD))] if names is None else names
    ids = [f"{n:0>64}" for n in names]
    arrays = (cls_NVLD.astype(dtype), patch_mean_NVD.astype(dtype))
    made_by = artifacts.provenance("extract", {}, {})
    cache.write_cache(path, rows.Names(names, ids, tuple(views)), arrays, IDENTITY, made_by)
    return path


def image(number: int, dataset: str = "eyes", modality: str = "Fundus") -> dict[str, str]:
    name = f"{number:04}.png"
    return {"modality": modality, "dataset": dataset, "path": name, "image_id": f"{name:0>64}"}


def write_samples(
    path: Path,
    images: Sequence[Sequence[dict[str, str]]],
    splits: Sequence[str],
    labels: Mapping[str, Sequence[Any]],
    targets: Mapping[str, TargetSpec],
    fusion: str = "pooled",
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write samples.parquet of all rows at `path`, and train.parquet (no test rows) beside it."""
    columns: dict[str, Any] = {
        "sample_id": pa.array([f"s{n:04}" for n in range(len(images))]),
        "subject_id": pa.array([f"p{n:04}" for n in range(len(images))]),
        "eye": pa.nulls(len(images), pa.string()),
        "visit": pa.nulls(len(images), pa.string()),
        "dataset": pa.array([row[0]["dataset"] for row in images]),
        "split": pa.array(list(splits)),
        "images": pa.array([list(row) for row in images], pa.list_(IMAGE)),
    }
    for name, target in targets.items():
        kind = pa.list_(pa.float64()) if target.type == "multilabel" else pa.float64()
        columns[name] = pa.array(list(labels[name]), kind)
    table = pa.table({**columns, **(more or {})})
    extra = {
        "targets": json.dumps({name: target.model_dump(mode="json") for name, target in targets.items()}),
        "modalities": json.dumps(sorted({entry["modality"] for row in images for entry in row})),
        "fusion": fusion,
        "unit": "image",
    }
    made_by = artifacts.provenance("fuse", {}, {})
    artifacts.write_table(path, table, made_by, schema="visionfm/samples/1", extra=extra)
    keep = pa.array([split != "test" for split in splits])
    train = path.with_name("train.parquet")
    artifacts.write_table(train, table.filter(keep), made_by, schema="visionfm/samples/1", extra=extra)
    return train


def splits_of(count: int) -> list[str]:
    """60 % training, 20 % validation, 20 % test."""
    return [("train", "train", "train", "validation", "test")[n % 5] for n in range(count)]


def planted(count: int, taps: int = 4, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (four views) in which a hidden value of each image stands, and that value."""
    rng = np.random.default_rng(seed)
    hidden_N = rng.normal(size=count)
    cls_NVLD = rng.normal(size=(count, 4, taps, width)) * 3 + 5
    cls_NVLD[..., 0] += 6 * hidden_N[:, None, None]
    patch_mean_NVD = rng.normal(size=(count, 4, width))
    patch_mean_NVD[..., 1] += hidden_N[:, None]
    return cls_NVLD, patch_mean_NVD, hidden_N


def kind_of(targets: Mapping[str, TargetSpec]) -> str:
    return "regression" if all(target.type == "value" for target in targets.values()) else "classification"


def recipe_file(kind: str, recipe: str, targets: Any, modalities: Sequence[str] = ("Fundus",), **keys: Any) -> Path:
    """The file that a config with such a task takes its recipe from."""
    keys["training"] = Training.model_construct(mode=keys.pop("mode", "frozen"))
    return KINDS[kind].block.model_construct(targets=targets, **keys).recipe_file(recipe, modalities)


def recipe_and_rest(model: Any, path: Path, changes: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The recipe with the hyper-parameters among the changes, and the other changes."""
    given = {name: value for name, value in changes.items() if name in model.model_fields}
    return read_recipe(model, path, given), {name: changes[name] for name in changes.keys() - given.keys()}


def train_settings(targets: Mapping[str, TargetSpec] = BINARY, recipe: str = "sound", **changes: Any) -> TrainSettings:
    kind = changes.pop("kind", kind_of(targets))
    same = {"kind": kind, "targets": targets, "modalities": ["Fundus"], "recipe_name": recipe}
    path = recipe_file(kind, recipe, targets, changes.get("modalities", ["Fundus"]), head=changes.get("head"))
    head = {"head": changes.pop("head")} if kind == "progression" else {}
    found, rest = recipe_and_rest(Recipe, path, changes)
    return TrainSettings(**{**same, **head, **rest}, recipe=found)


def named(path: str) -> Recipe:
    """A recipe by its file below visionfm/tasks."""
    return read_recipe(Recipe, SOUND.parents[2] / path)


def predict_settings(targets: Mapping[str, TargetSpec] = BINARY, **changes: Any) -> PredictSettings:
    kind = kind_of(targets)
    same = {"task": "t", "model": "m", "run": "seed0", "kind": kind, "targets": targets, "modalities": ["Fundus"]}
    return PredictSettings(**{**same, **changes})


def answered(folder: Path, table: Path, cache: Path, settings: TrainSettings, asked: PredictSettings) -> Any:
    """Train on train.parquet and ask about s.parquet of a folder, both of `eyes`; the predictions as a frame."""
    from visionfm.tasks.predict import predict
    from visionfm.tasks.train import train

    decoder, found = folder / "d.safetensors", folder / "p.parquet"
    train(table, {"eyes": [cache]}, decoder, folder / "t.parquet", settings)
    predict(decoder, folder / "s.parquet", {"eyes": [cache]}, found, asked)
    return artifacts.read_table(found).to_pandas()
