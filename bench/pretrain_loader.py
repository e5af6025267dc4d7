"""How fast images reach pretraining: `python -m bench.pretrain_loader [--images 8] [--rounds 3]`.

The reference is a plain rewrite of the published way: each image decoded at full size by PIL for its pair of crops,
torchvision's transforms. Ours is what a worker does (decode, crops, colours) and the normalisation that follows; from
the original JPEGs and from a pack of 512 px. One process and one thread each, times of the best round.
Needs the real images (`VISIONFM_SHARED` names the shared folder), enlarged to camera size and grained.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from torchvision import transforms

from bench.decode import CAMERA_PX, SHARED, photograph
from visionfm.config.base import Statistics
from visionfm.data.index import index
from visionfm.data.settings import IndexSettings
from visionfm.modalities import MODALITIES
from visionfm.pretraining.block import Pretrain
from visionfm.pretraining.crops import as_bytes, crops_of, normalised, sampling_of
from visionfm.pretraining.packs import pack
from visionfm.pretraining.settings import ImageSetSettings, PackSettings
from visionfm.pretraining.source import ImageSource, open_source

PATCH, PACK_PX = 16, 512
FUNDUS = MODALITIES["Fundus"]


class _Blur:
    """Gaussian blur of a random radius, with a chance."""

    def __init__(self, chance: float) -> None:
        self.chance = chance

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(1).item() >= self.chance:
            return image
        return image.filter(ImageFilter.GaussianBlur(float(torch.empty(1).uniform_(0.1, 2.0))))


def published_crop(blur: float, solarize: float) -> Callable[[Image.Image], torch.Tensor]:
    """One global crop of the published augmentation."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                224, scale=(0.32, 1), ratio=(0.8, 1.2), interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2),
            _Blur(blur),
            transforms.RandomSolarize(128, solarize),
            transforms.ToTensor(),
            transforms.Normalize(FUNDUS.mean, FUNDUS.std),
        ]
    )


def reference(paths: list[Path]) -> torch.Tensor:
    """Two crops of each image, as published: the file decoded at full size."""
    first, second = published_crop(1.0, 0.0), published_crop(0.1, 0.2)
    pairs = []
    for path in paths:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        pairs.append(torch.stack([first(image), second(image)]))
    return torch.stack(pairs)


def ours(source: ImageSource) -> torch.Tensor:
    """The same crops by this project."""
    recipe = Pretrain(datasets=["bench"], arch="vit_base_patch16_224").recipe_values()
    sampling = sampling_of(source, recipe, PATCH, epoch=0)
    at_B = list(range(len(source)))
    items = source.items[:]
    return normalised(as_bytes(crops_of((at_B, items), sampling), at_B, items, source)).global_CBchw


def best_s(action: Callable[[], torch.Tensor], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    originals = sorted((SHARED / "data" / "idrid" / "images" / "train").iterdir())
    chosen = originals[:: len(originals) // args.images][: args.images]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        root.mkdir()
        for number, path in enumerate(chosen):
            (root / f"{number}.jpg").write_bytes(photograph(path, CAMERA_PX, 2, 90, number))
        images, packed = (Path(folder) / f"results/{name}.parquet" for name in ("images", f"{PACK_PX}px"))
        index(root, images, IndexSettings(modality="Fundus", layout="table"))
        pack(images, root, packed, PackSettings(size=PACK_PX))
        statistics = {"Fundus": Statistics(mean=list(FUNDUS.mean), std=list(FUNDUS.std))}

        def source(pack_px: int | None) -> ImageSource:
            sets = {"bench": ImageSetSettings(modality="Fundus", pack_px=pack_px)}
            packs = {} if pack_px is None else {"bench": [packed]}
            return open_source(sets, {"bench": [images]}, {"bench": root}, packs, statistics)

        files, packs = source(None), source(PACK_PX)
        paths = sorted(root.iterdir())
        reference_s = best_s(lambda: reference(paths), args.rounds)
        width, height = CAMERA_PX
        print("name | reference | ours | ratio | wanted")
        for name, one, wanted in (("JPEG files", files, 3), (f"pack of {PACK_PX} px", packs, 8)):
            ours_s = best_s(lambda one=one: ours(one), args.rounds)  # type: ignore[misc]
            each = [f"{seconds / len(paths) * 1e3:.0f} ms" for seconds in (reference_s, ours_s)]
            ratio = reference_s / ours_s
            print(
                f"{width}x{height}, two crops, {name} | {each[0]} | {each[1]} | {ratio:.1f} | >= {wanted}", flush=True
            )


if __name__ == "__main__":
    main()
