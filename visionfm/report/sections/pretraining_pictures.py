"""What a pretrained encoder makes of example images: masks, attention and components of its patch tokens, as pictures.

Runs the finished encoder, on the CPU and one thread, so that equal inputs give equal pictures. The encoder holds no
decoder to pixels and no mask token: nothing here is a reconstruction, and what stands for a hidden patch is the mean
colour. N images, P patches (G x G), D width, H/W px.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.encoders import anatomy
from visionfm.encoders.file import InputStatistics

if TYPE_CHECKING:
    import torch

    from visionfm.pretraining.recipe import Recipe

SHOWN_PX = 176
HIDDEN_GREY = 118
MASK_DRAWS = 50  # half of the published masks hide nothing: draw until one does
QUANTILES = (0.02, 0.98)
Pixels = npt.NDArray[np.uint8]


class Example(NamedTuple):
    """An image as the encoder gets it, with its name and id."""

    name: str
    image_id: str
    modality: str
    image_HWC: Pixels


class Seen(NamedTuple):
    """The pictures of one image, each (H, W, 3)."""

    name: str
    image: Pixels
    masked: Pixels
    nearest: Pixels
    attention: Pixels
    components: Pixels


class Look(NamedTuple):
    """The pictures of an encoder, and what is measured on them."""

    seen: list[Seen]
    hidden: int  # patches
    nearest_error: float  # mean absolute difference of hidden patches to those put in their place, of 255
    chance_error: float  # the same with visible patches at random
    explained: float  # share of the variance of patch tokens that the three components hold


def look(encoder: Path, examples: Sequence[Example], recipe: "Recipe") -> Look:
    """Return the pictures of images of the modalities that the encoder was trained on."""
    import torch

    from visionfm.encoders.vit import load_network
    from visionfm.runtime.reproducible import reproducible

    with reproducible(), torch.inference_mode():
        size = examples[0].image_HWC.shape[0]
        file, network = load_network(encoder, image_size=size)
        side = size // file.patch
        masks_NP = np.stack([_mask(recipe, side, one.image_id) for one in examples])
        whole_NCHW = torch.stack([_normalised(one.image_HWC, file.statistics(one.modality)) for one in examples])
        tokens_NPD, attention_NP = tokens_and_attention(network, whole_NCHW)
        hidden_N1HW = torch.from_numpy(_to_pixels(masks_NP, file.patch))[:, None]
        blind_NPD, _ = tokens_and_attention(network, whole_NCHW.masked_fill(hidden_N1HW, 0.0))
    images_NHWC = np.stack([one.image_HWC for one in examples])
    patches_NP = _patches(images_NHWC, file.patch)
    nearest_NP, chance_NP = nearest_visible(tokens_NPD.numpy(), blind_NPD.numpy(), masks_NP, patches_NP)
    colours_NP3, explained = components(tokens_NPD.numpy())
    seen = []
    for n, one in enumerate(examples):
        mask_HW = _to_pixels(masks_NP[n : n + 1], file.patch)[0]
        masked, nearest = one.image_HWC.copy(), one.image_HWC.copy()
        masked[mask_HW] = HIDDEN_GREY
        nearest[mask_HW] = _joined(nearest_NP[n], side)[mask_HW]
        bright_HW = _to_pixels(scaled(attention_NP[n].numpy())[None], file.patch)[0]
        attention = (one.image_HWC * (0.15 + 0.85 * bright_HW[..., None])).astype(np.uint8)
        drawn = _to_pixels((colours_NP3[n] * 255).astype(np.uint8)[None], file.patch)[0]
        seen.append(Seen(one.name, one.image_HWC, masked, nearest, attention, drawn))
    return Look(
        seen,
        int(masks_NP.sum()),
        _error(patches_NP, nearest_NP, masks_NP),
        _error(patches_NP, chance_NP, masks_NP),
        explained,
    )


def _mask(recipe: "Recipe", side: int, image_id: str) -> npt.NDArray[np.bool_]:
    """Return a mask (P) as training draws them, one that hides something (if the recipe does); it is the image's."""
    from visionfm.pretraining.masking import draw_mask
    from visionfm.pretraining.recipe import HidingRecipe

    rng = np.random.default_rng(int(image_id[:12], 16))
    mask_P = np.zeros(side * side, np.bool_)
    if not isinstance(recipe, HidingRecipe):
        return mask_P
    for _ in range(MASK_DRAWS):
        mask_P = draw_mask(recipe, side, recipe.epochs, rng).reshape(-1)
        if mask_P.any():
            break
    return mask_P


def _normalised(image_HWC: Pixels, statistics: InputStatistics) -> "torch.Tensor":
    import torch

    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    return (torch.from_numpy(image_HWC.transpose(2, 0, 1).copy()).float() / 255 - mean) / std


def tokens_and_attention(network: Any, images_NCHW: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the normed patch tokens (N, P, D), and how much the CLS token attends to each patch in the last block."""
    import torch

    blocks = anatomy.blocks(network)
    (prefix, patches), (_, last) = anatomy.taps(network, images_NCHW, [len(blocks) - 2, len(blocks) - 1])
    attention_NP = anatomy.cls_attention(blocks[-1], torch.cat([prefix, patches], dim=1), prefix.shape[1])
    return anatomy.final_norm(network)(last), attention_NP


def nearest_visible(
    tokens_NPD: npt.NDArray[Any], blind_NPD: npt.NDArray[Any], masks_NP: npt.NDArray[np.bool_], patches_NP: Pixels
) -> tuple[Pixels, Pixels]:
    """Return for each patch the visible one, of all images, whose token is most like its own; and one at random.

    The token of a hidden patch is that of the masked image, those of visible ones are of whole images.
    """
    visible = np.argwhere(~masks_NP)
    bank_VD = _unit(tokens_NPD[~masks_NP])
    rng = np.random.default_rng(0)
    nearest_NP, chance_NP = patches_NP.copy(), patches_NP.copy()
    for n, p in np.argwhere(masks_NP):
        best = visible[int(np.argmax(bank_VD @ _unit(blind_NPD[n, p])))]
        nearest_NP[n, p] = patches_NP[tuple(best)]
        chance_NP[n, p] = patches_NP[tuple(visible[rng.integers(len(visible))])]
    return nearest_NP, chance_NP


def _unit(tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return tokens / np.linalg.norm(tokens, axis=-1, keepdims=True).clip(1e-12)  # type: ignore[no-any-return]


def components(tokens_NPD: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the first three principal components of all patch tokens, each in [0, 1], and their share of variance."""
    flat = tokens_NPD.reshape(-1, tokens_NPD.shape[-1]).astype(np.float64)
    centred = flat - flat.mean(0)
    _, strength, directions = np.linalg.svd(centred, full_matrices=False)
    first = directions[:3]
    largest = np.abs(first).argmax(axis=1)
    first = first * np.sign(first[np.arange(len(first)), largest])[:, None]  # a direction's sign means nothing: fix it
    projected = centred @ first.T
    low, high = np.quantile(projected, QUANTILES, axis=0)
    colours = ((projected - low) / (high - low).clip(1e-12)).clip(0, 1)
    share = float((strength[:3] ** 2).sum() / (strength**2).sum().clip(1e-12))
    return colours.reshape(*tokens_NPD.shape[:2], -1), share


def scaled(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values stretched to [0, 1]."""
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, 1e-12)  # type: ignore[no-any-return]


def _patches(images_NHWC: Pixels, patch: int) -> Pixels:
    """Return the pixels of each patch: (N, P, patch, patch, 3)."""
    n, size = images_NHWC.shape[:2]
    side = size // patch
    split = images_NHWC.reshape(n, side, patch, side, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(n, side * side, patch, patch, 3)


def _joined(patches_P: Pixels, side: int) -> Pixels:
    patch = patches_P.shape[1]
    split = patches_P.reshape(side, side, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    return split.reshape(side * patch, side * patch, 3)


def _to_pixels(values_NP: npt.NDArray[Any], patch: int) -> npt.NDArray[Any]:
    """Return one value per patch as one per pixel: (N, P, ...) to (N, H, W, ...)."""
    side = round(values_NP.shape[1] ** 0.5)
    grid = values_NP.reshape(len(values_NP), side, side, *values_NP.shape[2:])
    return grid.repeat(patch, axis=1).repeat(patch, axis=2)


def _error(patches_NP: Pixels, other_NP: Pixels, masks_NP: npt.NDArray[np.bool_]) -> float:
    difference = np.abs(patches_NP[masks_NP].astype(int) - other_NP[masks_NP])
    return float(difference.mean()) if masks_NP.any() else 0.0


def data_uri(image_HWC: Pixels) -> str:
    """Return a picture as a small JPEG data URI."""
    from PIL import Image

    picture = Image.fromarray(image_HWC)
    if picture.width > SHOWN_PX:
        picture = picture.resize((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
