"""Images of fine-tuning: random crops and flips for training, the encoder's own resize for validation.

Every image's randomness comes from (seed, epoch, place in the epoch) alone, whichever process makes it, so that a
resumed run sees what an uninterrupted one would have seen. Shapes: B batch, S px of the square, T labels; uint8 RGB.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from visionfm.images.reading import read_checked
from visionfm.images.settings import Reading
from visionfm.images.transforms import Interpolation, resize_square
from visionfm.runtime.interruption import ignore_stop_signals
from visionfm.runtime.randomness import derived_seed
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.samples import Samples

ASPECT = (3 / 4, 4 / 3)
ERASED_SCALE, ERASED_ASPECT = (0.02, 1 / 3), (0.3, 10 / 3)
CROP_FROM = 2  # a large JPEG is decoded at a size from which crops of this many input sides can be cut


class Place(NamedTuple):
    """One image of a batch: its row, and the seed of what is done to it; None for validation."""

    row: int
    seed: int | None


@dataclass(frozen=True)
class Augmentation:
    """How pixels become the encoder's input."""

    size_px: int
    interpolation: Interpolation
    exact: bool
    crop_scale: tuple[float, float]
    randaugment: str | None
    random_erasing: float
    mean: tuple[float, ...]  # RGB in [0, 1]: what erased rectangles are filled with

    @classmethod
    def of(cls, recipe: FinetuneRecipe, encoder: Any, exact: bool) -> "Augmentation":
        """Return what a recipe asks for with an encoder."""
        return cls(
            encoder.image_size,
            encoder.interpolation,
            exact or recipe.exact_decode,
            (recipe.crop_scale[0], recipe.crop_scale[1]),
            recipe.randaugment or None,
            recipe.random_erasing,
            encoder.mean,
        )


class Images(Dataset[torch.Tensor]):
    """The images of samples, each checked against its index; an item is found by its Place."""

    def __init__(
        self, samples: Samples, roots: Mapping[str, Path], reading: Mapping[str, Reading], how: Augmentation
    ) -> None:
        """A sample is one image; `roots` are the datasets' folders."""
        self.references, self.roots, self.reading, self.how = samples.references, roots, reading, how

    def __len__(self) -> int:
        """Return N."""
        return len(self.references)

    def __getitem__(self, place: Place) -> torch.Tensor:
        """Return one image (3, S, S), uint8."""
        image_HWC = self._decoded(place.row, training=place.seed is not None)
        if place.seed is None:
            image_HWC = resize_square(image_HWC, self.how.size_px, self.how.interpolation)
        else:
            with seeded(place.seed):
                image_HWC = augment(image_HWC, self.how)
        return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))

    def _decoded(self, row: int, training: bool) -> npt.NDArray[np.uint8]:
        dataset, path, image_id = self.references[row]
        target_px = self.how.size_px * (CROP_FROM if training else 1)
        reading = self.reading[dataset]
        return read_checked(self.roots[dataset], path, image_id, reading, target_px=target_px, exact=self.how.exact)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's, numpy's and Python's generators while the block runs, and leave them as they were found."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - timm draws from the global generators
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def augment(image_HWC: npt.NDArray[np.uint8], how: Augmentation) -> npt.NDArray[np.uint8]:
    """Return a random crop (bilinear) of an image, flipped both ways at random, then what else the recipe asks for."""
    from PIL import Image
    from torchvision.transforms import InterpolationMode, RandomErasing, RandomResizedCrop
    from torchvision.transforms import functional as f

    image = Image.fromarray(image_HWC)
    top, left, height, width = RandomResizedCrop.get_params(image, list(how.crop_scale), list(ASPECT))
    size = [how.size_px, how.size_px]
    image = f.resized_crop(image, top, left, height, width, size, InterpolationMode.BILINEAR)
    image = f.hflip(image) if torch.rand(()) < 0.5 else image
    image = f.vflip(image) if torch.rand(()) < 0.5 else image
    fill = tuple(round(255 * value) for value in how.mean)
    if how.randaugment:
        from timm.data.auto_augment import rand_augment_transform

        image = rand_augment_transform(how.randaugment, {"img_mean": fill})(image)
    pixels_HWC = np.array(image)
    if how.random_erasing and torch.rand(()) < how.random_erasing:
        blank = torch.empty(3, *size)
        at, left, height, width, _ = RandomErasing.get_params(blank, ERASED_SCALE, ERASED_ASPECT, [0.0])
        pixels_HWC[at : at + height, left : left + width] = fill
    return pixels_HWC


def loader(images: Images, batches: Iterable[Sequence[Place]], workers: int) -> Iterator[torch.Tensor]:
    """Yield images_B3SS of each batch, in order, decoded by `workers` processes (0: by this one)."""
    ahead: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": 2} if workers else {}
    yield from DataLoader(
        images,
        batch_sampler=_Listed(batches),
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        **ahead,
    )


class _Listed:
    """Batches made elsewhere, as torch's loader wants them."""

    def __init__(self, batches: Iterable[Sequence[Place]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[Place]]:
        return (list(batch) for batch in self.batches)


def _start_worker(_: int) -> None:
    ignore_stop_signals()
    torch.set_num_threads(1)


def order(count: int, seed: int, epoch: int, weight_N: torch.Tensor | None) -> list[Place]:
    """Return an epoch's images in their random order; with weights drawn with replacement, by them."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "epoch", epoch))
    if weight_N is None:
        rows = torch.randperm(count, generator=generator)
    else:
        rows = torch.multinomial(weight_N, count, replacement=True, generator=generator)
    return [Place(row, derived_seed(seed, "image", epoch, at)) for at, row in enumerate(rows.tolist())]
