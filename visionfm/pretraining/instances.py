"""Instances: each image is a class of its own, whichever crop of it is seen.

A linear classifier on the CLS token and the mean of the patch tokens names the image among all; cross-entropy with
label smoothing (DIET, Ibrahim et al., 2024; continued from given weights: DIET-CP, 2025). No teacher, no projection,
and the classifier is no part of the encoder. V crops of an image, B images, N all images.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from visionfm.encoders import adapters, anatomy
from visionfm.pretraining.crops import CropBatch
from visionfm.pretraining.head import INIT_STD
from visionfm.pretraining.networks import Backbone, Pair
from visionfm.pretraining.recipe import InstancesRecipe
from visionfm.pretraining.schedules import Values
from visionfm.pretraining.step import Losses, Step


class Recogniser(nn.Module):
    """The network that is trained, and the classifier of images."""

    def __init__(self, backbone: Backbone, images: int) -> None:
        """`images` is N."""
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(2 * anatomy.width(backbone.vit), images)
        nn.init.trunc_normal_(self.head.weight, std=INIT_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores (B, N) and CLS tokens (B, D)."""
        cls_BD, patches_BPD = self.backbone(images_BCHW)
        return self.head(torch.cat([cls_BD, patches_BPD.mean(dim=1)], dim=1)), cls_BD


class Instances(Step):
    """A step of telling images apart."""

    recipe: InstancesRecipe
    sums = ("loss", "recognised")

    @staticmethod
    def networks(vits: Sequence[nn.Module], recipe: InstancesRecipe, arch: str, images: int) -> Pair:
        """Return the student alone."""
        student = vits[0]
        anatomy.set_drop_path(student, recipe.drop_path)
        if recipe.lora is not None:
            adapters.add(student, recipe.lora, arch)
        return Pair(Recogniser(Backbone(student, hides=False), images), None)

    @property
    def head_lr(self) -> float:
        """The classifier's learning rate, in parts of lr."""
        return self.recipe.head_lr

    def _losses(self, given: CropBatch, _values: Values) -> Losses:
        views, images = given.global_CBchw.shape[:2]
        with self._autocast():
            scores_VN, cls_VD = self.trained(given.global_CBchw.flatten(0, 1))
        truth_V = torch.tensor(given.at_B, device=scores_VN.device).repeat(views)
        smoothing = self.recipe.label_smoothing
        total = functional.cross_entropy(scores_VN.float(), truth_V, label_smoothing=smoothing, reduction="sum") / views
        return Losses(total, [(scores_VN.argmax(dim=1) == truth_V).sum() / views], cls_VD[:images])
