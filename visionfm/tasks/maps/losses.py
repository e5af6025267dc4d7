"""Losses of dense decoders: Dice and focal for masks as published, cross entropy for heat maps.

Published system (docs/published-system.md), 6.3. Shapes: B batch, K outputs, C classes, H/W px. A mask of two classes
has one output, the logit of the second.
"""

import torch
from torch.nn import functional

GAMMA, SMOOTH = 2.0, 1e-5


def dice_focal(
    logits_BKHW: torch.Tensor,
    classes_BHW: torch.Tensor,
    weight_C: torch.Tensor | None = None,
    over_batch: bool = False,
) -> torch.Tensor:
    """Return Dice (sigmoid for one output, softmax for more) plus focal loss (always sigmoid), equally weighted.

    Dice: 1 - (2I + 1e-5) / (sum p + sum t + 1e-5), the mean over images and outputs. Focal: gamma 2, the mean over all
    elements. `weight_C` weighs the classes in both; with one output it weighs each pixel's focal term by its class.
    With `over_batch` Dice counts the pixels of a batch's images together: image by image, as published, one without a
    class has a Dice loss of 1 without a slope, however many of its pixels are given that class.
    """
    logits_BKHW = logits_BKHW.float()
    outputs = logits_BKHW.shape[1]
    if outputs == 1:
        truth_BKHW = classes_BHW[:, None].to(logits_BKHW.dtype)
        p_BKHW = logits_BKHW.sigmoid()
    else:
        truth_BKHW = functional.one_hot(classes_BHW.long(), outputs).movedim(3, 1).to(logits_BKHW.dtype)
        p_BKHW = logits_BKHW.softmax(dim=1)
    area = (0, 2, 3) if over_batch else (2, 3)
    shared = (p_BKHW * truth_BKHW).sum(area)
    dice = 1 - (2 * shared + SMOOTH) / (p_BKHW.sum(area) + truth_BKHW.sum(area) + SMOOTH)
    entropy_BKHW = functional.binary_cross_entropy_with_logits(logits_BKHW, truth_BKHW, reduction="none")
    # log(1 - p_t), stable: the probability of the wrong answer.
    wrong_BKHW = functional.logsigmoid(-logits_BKHW * (2 * truth_BKHW - 1))
    focal_BKHW = (GAMMA * wrong_BKHW).exp() * entropy_BKHW
    if weight_C is not None:
        if outputs == 1:
            focal_BKHW = focal_BKHW * weight_C.to(logits_BKHW)[classes_BHW.long()][:, None]
        else:
            dice = dice * weight_C.to(dice)
            focal_BKHW = focal_BKHW * weight_C.to(focal_BKHW)[:, None, None]
    return dice.mean() + focal_BKHW.mean()


def balanced_weights(pixels_C: torch.Tensor) -> torch.Tensor:
    """Return class weights, mean 1, of which each makes up for a class's rarity; a class that is absent weighs 0."""
    there_C = pixels_C > 0
    inverse_C = torch.where(there_C, 1 / pixels_C.clamp(min=1).double(), 0.0)
    return (inverse_C / inverse_C.sum() * there_C.sum()).float()


def point_loss(logits_BKHW: torch.Tensor, points_BK2: torch.Tensor, width_px: float) -> torch.Tensor:
    """Return the cross entropy of a spatial softmax with targets around points (x, y), NaN where absent.

    The target is a Gaussian of standard deviation `width_px`, or, at 0, the nearest pixel alone, as published. The mean
    is over the points that are there.
    """
    height, width = logits_BKHW.shape[2:]
    log_p_BKHW = logits_BKHW.float().flatten(2).log_softmax(dim=2).view(logits_BKHW.shape)
    known_BK = ~points_BK2.isnan().any(dim=2)
    points_BK2 = torch.nan_to_num(points_BK2)
    across_BKW = _profile(points_BK2[..., 0], width, width_px)
    down_BKH = _profile(points_BK2[..., 1], height, width_px)
    entropy_BK = -torch.einsum("bkhw,bkw,bkh->bk", log_p_BKHW, across_BKW, down_BKH)
    return (entropy_BK * known_BK).sum() / known_BK.sum().clamp(min=1)


def _profile(at_BK: torch.Tensor, length: int, width_px: float) -> torch.Tensor:
    """Return the target along one axis, which sums to 1."""
    pixel = torch.arange(length, device=at_BK.device, dtype=torch.float32)
    if width_px == 0:
        return functional.one_hot(at_BK.round().long().clamp(0, length - 1), length).float()
    return (-((pixel - at_BK[..., None].float()) ** 2) / (2 * width_px**2)).softmax(dim=-1)
