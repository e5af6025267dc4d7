"""A dataset of small images and a small encoder, written as the stages before `extract` write them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visionfm import artifacts

SIZE_PX, WIDTH, DEPTH = 32, 192, 12
Settings = dict[str, Any]


def write_encoder(path: Path, seed: int = 0, scale: float = 0.05) -> Path:
    """Write a ViT-Ti/16 for 32-pixel images with random weights."""
    generator = np.random.default_rng(seed)
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + (SIZE_PX // 16) ** 2, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for block in range(DEPTH):
        for name, out, into in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            shapes |= {f"blocks.{block}.{name}.weight": (out, into), f"blocks.{block}.{name}.bias": (out,)}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{name}.weight": (WIDTH,), f"blocks.{block}.{name}.bias": (WIDTH,)}
    tensors = {name: (generator.standard_normal(shape) * scale).astype(np.float32) for name, shape in shapes.items()}
    for name in tensors:
        if "norm" in name and name.endswith("weight"):
            tensors[name] += 1
    metadata = {
        "arch": "vit_tiny_patch16_224",
        "image_size": str(SIZE_PX),
        "patch": "16",
        "modality": "Fundus",
        "mean": json.dumps([0.4, 0.3, 0.2]),
        "std": json.dumps([0.3, 0.2, 0.1]),
        "interpolation": "bilinear",
        "source": json.dumps({"name": "random", "sha256": None, "dialect": "random", "key": None, "licence": None}),
        "renamed": "{}",
        "dropped": "[]",
    }
    made_by = artifacts.provenance("import", {"seed": seed}, {})
    artifacts.write_tensors(path, tensors, made_by, schema="visionfm/encoder/1", extra=metadata)
    return path


def write_images(root: Path, count: int, seed: int = 0) -> list[str]:
    """Write `count` small JPEG and PNG images of different sizes below `root`; return their paths."""
    generator = np.random.default_rng(seed)
    names = []
    for number in range(count):
        height, width = generator.integers(40, 80, 2)
        name = f"eyes/{number:03}.{'png' if number % 2 else 'jpg'}"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BILINEAR).save(root / name)
        names.append(name)
    return names


def write_index(path: Path, root: Path, status: Mapping[str, str] | None = None) -> Path:
    """Write images.parquet of all files below `root`, with the `status` given for some."""
    rows = []
    for file in sorted(file for file in root.rglob("*") if file.is_file()):
        name = file.relative_to(root).as_posix()
        rows.append(
            {
                "path": name,
                "image_id": hashlib.sha256(file.read_bytes()).hexdigest(),
                "status": (status or {}).get(name, "ok"),
            }
        )
    listing = {"listing": json.dumps(rows)}
    artifacts.write_table(
        path, pa.Table.from_pylist(rows), artifacts.provenance("index", listing, {}), schema="visionfm/images/1"
    )
    return path


class Project:
    """A run folder with one dataset and one encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "data"
        self.encoder = folder / "results/encoders/fundus/encoder.safetensors"
        self.out = folder / "results/features/fundus/eyes.cls32.h5"
        self.index = folder / "results/datasets/eyes/images.parquet"
        self.settings: Settings = {"size": SIZE_PX, "views": ["identity"], "workers": 0, "device": "cpu"}

    def arguments(self, **changed: Any) -> list[str]:
        """Return the flags of `extract` and its settings, some of them changed."""
        return [
            *("--images", str(self.index), "--root", str(self.root)),
            *("--encoder", str(self.encoder), "--out", str(self.out)),
            *("--settings", json.dumps({**self.settings, **changed})),
        ]

    def extract(self, **changed: Any) -> bytes:
        """Run the stage in this process; return the file's bytes."""
        import argparse

        from visionfm.features import extract

        parser = argparse.ArgumentParser()
        parser.add_argument("--settings")
        extract.add_arguments(parser)
        extract.main(parser.parse_args(self.arguments(**changed)))
        return self.out.read_bytes()

    def reindex(self, status: Mapping[str, str] | None = None) -> None:
        """Write the index anew."""
        write_index(self.index, self.root, status)
