"""Mixup and cutmix of a batch with itself in reverse order. Shapes: B batch, S px."""

import numpy as np
import torch

from visionfm.tasks.finetuning.images import seeded


def mix(images_B3SS: torch.Tensor, mixup: float, cutmix: float, seed: int) -> tuple[torch.Tensor, float]:
    """Return images mixed with the batch in reverse order, float in [0, 1], and the share that is still their own.

    Mixup (Zhang et al. 2018) blends whole images, cutmix (Yun et al. 2019) pastes a rectangle; with both, one of them
    by a coin. Labels are mixed by the caller: loss = share x own + (1 - share) x of the reversed.
    """
    if not mixup and not cutmix:
        return images_B3SS, 1.0
    from timm.data.mixup import cutmix_bbox_and_lam

    mixed_B3SS = images_B3SS.float() / 255
    other_B3SS = mixed_B3SS.flip(0)
    with seeded(seed):
        pastes = cutmix > 0 and (not mixup or np.random.random() < 0.5)  # noqa: NPY002 - seeded, as timm draws
        alpha = cutmix if pastes else mixup
        share = float(np.random.beta(alpha, alpha))  # noqa: NPY002
        if not pastes:
            return share * mixed_B3SS + (1 - share) * other_B3SS, share
        (top, bottom, left, right), share = cutmix_bbox_and_lam(mixed_B3SS.shape, share)
    mixed_B3SS[:, :, top:bottom, left:right] = other_B3SS[:, :, top:bottom, left:right]
    return mixed_B3SS, float(share)
