"""Datasets of small drawn images with their index, as pretraining takes them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from visionfm.config.base import Statistics
from visionfm.data.index import index
from visionfm.data.settings import IndexSettings
from visionfm.pretraining.packs import pack
from visionfm.pretraining.settings import ImageSetSettings, PackSettings
from visionfm.pretraining.source import ImageSource, open_source

GREY = Statistics(mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])


def draw_image(path: Path, seed: int, size: tuple[int, int] | None = None) -> None:
    """Write a smooth picture; JPEG or PNG by its name. Its size is drawn too unless given."""
    rng = np.random.default_rng(seed)
    width, height = size or (int(value) for value in rng.integers(60, 140, 2))
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG", quality=92)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


class ImageSet:
    """One dataset below a run's folder."""

    def __init__(self, run: Path, name: str = "eyes", modality: str = "Fundus", count: int = 6, seed: int = 0) -> None:
        self.run, self.name, self.modality = run, name, modality
        self.root = run / "data" / name
        for number in range(count):
            draw_image(self.root / f"{number:02d}.{'jpg' if number % 2 else 'png'}", 100 * seed + number)
        self.images = run / f"results/datasets/{name}/images.parquet"
        self.pack_index = run / f"results/packs/{name}/80px.parquet"
        self.index()

    def index(self) -> None:
        index(self.root, self.images, IndexSettings(modality=self.modality, layout="table"))

    def pack(self, **changed: object) -> None:
        pack(self.images, self.root, self.pack_index, PackSettings(size=80, **changed))  # type: ignore[arg-type]

    def settings(self, **changed: object) -> ImageSetSettings:
        return ImageSetSettings(modality=self.modality, **changed)  # type: ignore[arg-type]


def source_of(*sets: ImageSet, packed: bool = False, pack_px: int | None = None, **changed: object) -> ImageSource:
    """Return the source of some datasets."""
    return open_source(
        {one.name: one.settings(pack_px=80 if packed else pack_px, **changed) for one in sets},
        {one.name: [one.images] for one in sets},
        {one.name: one.root for one in sets},
        {one.name: [one.pack_index] for one in sets} if packed else {},
        {one.modality: GREY for one in sets},
    )
