"""Token reconstruction: the student learns to make of a disturbed image the tokens that its given weights made of it.

A frozen copy of the given weights gives the targets; the student sees noise on the pixels, and a token in place of
hidden patches. Mean squared error over CLS and patch tokens (Engelmann and Bernabeu, RETFound-Green, 2024). No
prototypes, no teacher that moves; the projector of training is no part of the encoder. V crops of an image, B images,
T tokens (CLS, patches), D width.
"""

from collections.abc import Sequence

import torch
from torch import nn

from visionfm.encoders import adapters, anatomy
from visionfm.pretraining.crops import CropBatch
from visionfm.pretraining.networks import Backbone, Pair
from visionfm.pretraining.recipe import TokenReconstructionRecipe
from visionfm.pretraining.schedules import Values
from visionfm.pretraining.step import Losses, Step

PROJECTOR_SCALE = 1e-5  # of what the projector adds to a token at first


class Projector(nn.Module):
    """What is added to each token in training; next to nothing at first."""

    def __init__(self, width: int) -> None:
        """`width` is D."""
        super().__init__()
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.scale_D = nn.Parameter(torch.full((width,), PROJECTOR_SCALE))

    def forward(self, tokens_BTD: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, T, D)."""
        projected_BTD: torch.Tensor = self.mlp(tokens_BTD)
        return tokens_BTD + self.scale_D * projected_BTD


class Reconstructor(nn.Module):
    """The network that is trained, and its projector."""

    def __init__(self, backbone: Backbone) -> None:
        """`backbone` hides patches."""
        super().__init__()
        self.backbone, self.head = backbone, Projector(anatomy.width(backbone.vit))

    def forward(self, images_BCHW: torch.Tensor, masks_BN: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, T, D)."""
        cls_BD, patches_BND = self.backbone(images_BCHW, masks_BN)
        tokens_BTD: torch.Tensor = self.head(torch.cat([cls_BD[:, None], patches_BND], dim=1))
        return tokens_BTD


class Frozen(nn.Module):
    """The given weights as they were."""

    def __init__(self, backbone: Backbone) -> None:
        """`backbone` hides nothing."""
        super().__init__()
        self.backbone = backbone
        self.requires_grad_(False)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, T, D)."""
        cls_BD, patches_BND = self.backbone(images_BCHW)
        return torch.cat([cls_BD[:, None], patches_BND], dim=1)


class TokenReconstruction(Step):
    """A step of token reconstruction."""

    recipe: TokenReconstructionRecipe
    sums = ("loss", "loss_hidden")

    @staticmethod
    def networks(vits: Sequence[nn.Module], recipe: TokenReconstructionRecipe, arch: str, _images: int) -> Pair:
        """Return the student and the frozen copy."""
        student, frozen = vits
        anatomy.set_drop_path(student, recipe.drop_path)
        anatomy.set_drop_path(frozen, 0.0)
        if recipe.lora is not None:
            adapters.add(student, recipe.lora, arch)
        return Pair(Reconstructor(Backbone(student, hides=True)), Frozen(Backbone(frozen, hides=False)))

    def _losses(self, given: CropBatch, _values: Values) -> Losses:
        views, images = given.global_CBchw.shape[:2]
        pixels_NCHW, masks_NP = given.global_CBchw.flatten(0, 1), given.masks_CBPP.flatten(0, 1).flatten(1)
        spread_NC11 = pixels_NCHW.std(dim=(2, 3), keepdim=True)
        noisy_NCHW = pixels_NCHW + torch.randn_like(pixels_NCHW) * self.recipe.noise * spread_NC11
        with self._autocast():
            with torch.no_grad():
                wanted_NTD = self.pair.teacher(pixels_NCHW)
            found_NTD = self.trained(noisy_NCHW, masks_NP)
        error_NT = (found_NTD.float() - wanted_NTD.float()).pow(2).mean(dim=2)
        hidden_N = (error_NT[:, 1:] * masks_NP).sum(dim=1) / masks_NP.sum(dim=1).clamp(min=1)
        return Losses(error_NT.mean(dim=1).sum() / views, [hidden_N.sum() / views], found_NTD[:images, 0])
