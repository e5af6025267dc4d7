"""Batches of augmented crops, each image decoded once for all its crops, in worker processes.

All randomness of a sample comes from (seed, epoch, position in the image list), so that neither workers nor processes
nor a resume change what is seen. Shapes: B images, G global crops, L local crops, S/s px of their sides, C = 3 (RGB),
P = S / patch. The workers import no torch.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.encoders.sizes import check_size
from visionfm.errors import ConfigError
from visionfm.images.parallel import Pool, in_order
from visionfm.images.pixels import Pixels
from visionfm.pretraining import augment
from visionfm.pretraining.masking import Mask, draw_mask
from visionfm.pretraining.order import Order, sample_rng
from visionfm.pretraining.reading import Files, Item, read_pixels
from visionfm.pretraining.recipe import HidingRecipe, Recipe
from visionfm.pretraining.source import ImageSource

if TYPE_CHECKING:
    import torch


class CropBatch(NamedTuple):
    """One forward pass; crops are float32, normalised by each image's own modality.

    With `statistics_2B3` (mean and std of each image's modality) they are uint8 still, and their axes C, B, h, w, 3.
    """

    global_CBchw: "torch.Tensor"  # (G, B, 3, S, S)
    local_CBchw: "torch.Tensor | None"  # (L, B, 3, s, s)
    masks_CBPP: "torch.Tensor"  # (G, B, P, P) bool, True where hidden; families that hide nothing: nowhere
    at_B: list[int]  # positions in the image list
    statistics_2B3: "torch.Tensor | None" = None


class Sampling(NamedTuple):
    """What turns images into crops, for one epoch."""

    recipe: Recipe
    patch: int
    epoch: int
    files: dict[str, Files]
    kinds: dict[str, augment.Kind]  # by modality


class Crops(NamedTuple):
    """Crops of some images as uint8, and their masks."""

    global_CBhwc: npt.NDArray[np.uint8]
    local_CBhwc: npt.NDArray[np.uint8] | None
    masks_CBPP: npt.NDArray[np.bool_]


Piece = tuple[list[int], list[Item]]


def check_sizes(recipe: Recipe, patch: int, arch: str) -> None:
    """Raise DataError unless global and local crops divide into patches."""
    for size in dict.fromkeys(recipe.size_in(epoch) for epoch in (0, recipe.epochs - 1)):
        check_size(size, patch, arch)
    if recipe.augment.local_crops:
        check_size(recipe.augment.local_size, patch, f"{arch}, as local crops")


def batches(
    source: ImageSource,
    recipe: Recipe,
    patch: int,
    epoch: int,
    first_step: int,
    rank: int,
    world: int,
    workers: int | Pool,
    on_gpu: bool = False,
) -> Iterator[CropBatch]:
    """Yield the micro-batches of one process, in order, from `first_step` of the epoch on.

    `workers` is a number, or a pool of `worker_pool` that lasts for all epochs. `on_gpu`: as bytes, for `normalised`.
    Close the iterator (contextlib.closing) when leaving early, so that the workers end.
    """
    sampling = sampling_of(source, recipe, patch, epoch)
    order = Order(len(source), recipe).of_process(epoch, first_step, rank, world)
    pieces = ((at_B, [source.items[at] for at in at_B]) for at_B in order)
    with closing(in_order(pieces, partial(crops_of, sampling=sampling), workers)) as made:
        for (at_B, items), crops in made:
            drawn = as_bytes(crops, at_B, items, source)
            yield drawn if on_gpu else normalised(drawn)


def sampling_of(source: ImageSource, recipe: Recipe, patch: int, epoch: int) -> Sampling:
    """Return what turns the images of `source` into crops; ConfigError where a modality has no statistics."""
    if lacking := sorted(set(source.by_modality) - set(source.statistics)):
        raise ConfigError(
            "images of a modality that the encoder is not trained for",
            expected=", ".join(sorted(source.statistics)),
            found=", ".join(lacking),
            do="name datasets of one modality, or `scheme: mix`",
        )
    kinds = {name: augment.Kind.of(name, said.mean) for name, said in source.statistics.items()}
    return Sampling(recipe, patch, epoch, source.files, kinds)


def crops_of(piece: Piece, sampling: Sampling) -> Crops:
    """Return the crops and masks of some images; this is what a worker does."""
    recipe = sampling.recipe
    count, size = recipe.augment.global_crops, recipe.size_in(sampling.epoch)
    local, side = recipe.augment.local_crops, size // sampling.patch
    at_B, items = piece
    global_CBhwc = np.empty((count, len(items), size, size, 3), np.uint8)
    local_px = recipe.augment.local_size
    local_CBhwc = np.empty((local, len(items), local_px, local_px, 3), np.uint8) if local else None
    masks_CBPP = np.zeros((count, len(items), side, side), np.bool_)
    for b, (at, item) in enumerate(zip(at_B, items, strict=True)):
        for number, crop_SSC in enumerate(_crops(item, at, sampling)):
            if number < count:
                global_CBhwc[number, b] = crop_SSC
            elif local_CBhwc is not None:
                local_CBhwc[number - count, b] = crop_SSC
        if isinstance(recipe, HidingRecipe):
            rng = sample_rng(recipe, sampling.epoch, at, "masks")
            for number in range(count):
                mask_PP: Mask = draw_mask(recipe, side, sampling.epoch, rng)
                masks_CBPP[number, b] = mask_PP
    return Crops(global_CBhwc, local_CBhwc, masks_CBPP)


def _crops(item: Item, at: int, sampling: Sampling) -> Generator[Pixels]:
    """Yield an image's global crops, then its local ones; the image is decoded once, no larger than they need."""
    recipe, kind = sampling.recipe, sampling.kinds[item.modality]
    switches, size = recipe.augment, recipe.size_in(sampling.epoch)
    rng = sample_rng(recipe, sampling.epoch, at, "crops")
    region = augment.region_before_reading(switches, kind, item.width, item.height)
    if region is not None:
        crops = augment.draw_crops(rng, switches, size, region)
        need_px = augment.side_needed_by(crops, item.width, item.height)
        image_HWC = read_pixels(item, sampling.files, None if switches.decode == "exact" else need_px)
    else:
        need_px = augment.side_needed(switches, size, kind, item.width, item.height)
        image_HWC = read_pixels(item, sampling.files, None if switches.decode == "exact" else need_px)
        crops = augment.draw_crops(rng, switches, size, augment.region_of(image_HWC, item.width, item.height))
    for crop in crops:
        yield augment.make_crop(rng, image_HWC, crop, switches, kind, item.width, item.height)


def as_bytes(crops: Crops, at_B: list[int], items: list[Item], source: ImageSource) -> CropBatch:
    """Return crops as they were drawn, with the statistics that `normalised` needs."""
    import torch

    said = [source.statistics[item.modality] for item in items]
    statistics_2B3 = torch.tensor([[one.mean for one in said], [one.std for one in said]])
    local = None if crops.local_CBhwc is None else torch.from_numpy(crops.local_CBhwc)
    masks = torch.from_numpy(crops.masks_CBPP)
    return CropBatch(torch.from_numpy(crops.global_CBhwc), local, masks, list(at_B), statistics_2B3)


def normalised(crops: CropBatch, device: "torch.device | str" = "cpu") -> CropBatch:
    """Return crops as the network gets them, on its device: (value / 255 - mean) / std of each image's modality.

    A GPU is sent bytes and does the arithmetic: a quarter of the transfer, and no work of the process that steps.
    """
    import torch

    on_cpu = torch.device(device).type == "cpu"

    def there(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if on_cpu or tensor.is_cuda else tensor.pin_memory().to(device, non_blocking=True)

    masks, local = there(crops.masks_CBPP), crops.local_CBchw
    if crops.statistics_2B3 is None:
        return CropBatch(there(crops.global_CBchw), None if local is None else there(local), masks, crops.at_B)
    mean_B311, std_B311 = there(crops.statistics_2B3)[..., None, None]

    def floats(crops_CBhwc: torch.Tensor) -> torch.Tensor:
        values = there(crops_CBhwc).permute(0, 1, 4, 2, 3).to(torch.float32).contiguous()
        # By a tensor: a GPU multiplies by the reciprocal of a number, which a CPU does not.
        return values.div_(torch.full((), 255.0, device=values.device)).sub_(mean_B311).div_(std_B311)

    return CropBatch(floats(crops.global_CBchw), None if local is None else floats(local), masks, crops.at_B)
