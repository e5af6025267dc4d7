"""The projection head of student and teacher: tokens to scores of prototypes.

Names and sizes are the published ones (docs/published-system.md, 3.5). N tokens, D width, H hidden, Z bottleneck, K
prototypes.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from visionfm.pretraining.recipe import DistillationRecipe

INIT_STD = 0.02


class Prototypes(nn.Module):
    """A linear layer without bias whose rows have length 1 (weight norm with the gain frozen at 1)."""

    def __init__(self, width: int, count: int) -> None:
        """`width` is Z, `count` is K."""
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(count, 1), requires_grad=False)
        self.weight_v = nn.Parameter(torch.empty(count, width))
        nn.init.trunc_normal_(self.weight_v, std=INIT_STD)

    def forward(self, z_NZ: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, K) of tokens of length 1, in float32: temperatures magnify every rounding."""
        with torch.autocast(z_NZ.device.type, enabled=False):
            return functional.linear(z_NZ.float(), self.weight_g * functional.normalize(self.weight_v, dim=1))


class Scores(NamedTuple):
    """Scores of CLS and of patch tokens."""

    cls_NK: torch.Tensor
    patch_MK: torch.Tensor


class Head(nn.Module):
    """Two hidden layers, a bottleneck of length 1, prototypes for CLS and for patches."""

    def __init__(self, dim: int, recipe: DistillationRecipe) -> None:
        """`dim` is D; the recipe's `head` says what CLS and patches share."""
        super().__init__()
        self.mlp = _mlp(dim, recipe)
        self.last_layer = Prototypes(recipe.head_bottleneck, recipe.out_dim)
        if recipe.head == "shared":
            self.last_layer2 = self.last_layer
        else:
            self.last_layer2 = Prototypes(recipe.head_bottleneck, recipe.patch_out_dim)
        if recipe.head == "separate":
            self.patch_mlp = _mlp(dim, recipe)

    def bottleneck(self, cls_ND: torch.Tensor, patch_MD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return CLS and patch tokens at the bottleneck, (N, Z) and (M, Z), of length 1."""
        if hasattr(self, "patch_mlp"):
            z_NZ, z_MZ = self.mlp(cls_ND), self.patch_mlp(patch_MD)
        else:
            z_NZ, z_MZ = self.mlp(torch.cat([cls_ND, patch_MD])).split([len(cls_ND), len(patch_MD)])
        return functional.normalize(z_NZ.float(), dim=-1), functional.normalize(z_MZ.float(), dim=-1)

    def forward(self, cls_ND: torch.Tensor, patch_MD: torch.Tensor) -> Scores:
        """Return the scores of both; only those patch tokens come here whose scores are needed."""
        z_NZ, z_MZ = self.bottleneck(cls_ND, patch_MD)
        return Scores(self.last_layer(z_NZ), self.last_layer2(z_MZ))


def _mlp(dim: int, recipe: DistillationRecipe) -> nn.Sequential:
    hidden = recipe.head_hidden
    layers = [nn.Linear(dim, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, recipe.head_bottleneck)]
    for layer in layers:
        nn.init.trunc_normal_(layer.weight, std=INIT_STD)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
