"""Student and teacher: a timm ViT that can hide patches, take crops of several sizes, and ends in a projection head.

Names of tensors inside `backbone.vit` are timm's. B crops, G global crops, L local crops, N patches, D width, M hidden
patches, Z bottleneck, K prototypes.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from visionfm.encoders import anatomy, architectures
from visionfm.encoders.positions import resize_positions
from visionfm.errors import DataError
from visionfm.pretraining.head import INIT_STD, Head
from visionfm.pretraining.recipe import DistillationRecipe, Recipe
from visionfm.pretraining.recomputing import recomputing

NUDGE = 0.1  # added to the grid when positions are interpolated for smaller crops, as published


class Backbone(nn.Module):
    """A ViT from pixels to final-normed tokens."""

    vit: Any

    def __init__(self, vit: nn.Module, *, hides: bool) -> None:
        """`hides` gives it the token that stands for hidden patches (the student's)."""
        super().__init__()
        self.vit = vit
        self.vit.patch_embed.strict_img_size = False
        self.masked_embed = nn.Parameter(torch.zeros(1, anatomy.width(vit))) if hides else None
        self.side = int(self.vit.patch_embed.grid_size[0])
        self.activation_checkpointing = self.compiled = False

    def compile_blocks(self) -> None:
        """Compile each block by itself: they are alike, so that one compilation serves all."""
        self.compiled = True
        for block in anatomy.blocks(self.vit):
            block.compile()

    def forward(
        self, images_BCHW: torch.Tensor, masks_BN: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return CLS tokens (B, D) and patch tokens (B, N, D)."""
        vit = self.vit
        x_BND = vit.patch_embed(images_BCHW)
        if x_BND.ndim == 4:  # (B, rows, columns, D), of models built for any size
            x_BND = x_BND.flatten(1, 2)
        if masks_BN is not None and self.masked_embed is not None:
            x_BND = torch.where(masks_BN[..., None], self.masked_embed.to(x_BND.dtype), x_BND)
        first = [token.expand(len(x_BND), -1, -1) for token in (vit.cls_token, vit.reg_token) if token is not None]
        positions = self._positions(images_BCHW.shape[-1] // vit.patch_embed.patch_size[0])
        if vit.no_embed_class:
            x_BTD = torch.cat([*first, x_BND + positions], dim=1)
        else:
            x_BTD = torch.cat([*first, x_BND], dim=1) + positions
        x_BTD = vit.norm_pre(x_BTD)
        for block in anatomy.blocks(vit):
            x_BTD = self._through(block, x_BTD)
        x_BTD = anatomy.final_norm(vit)(x_BTD)
        return x_BTD[:, 0], x_BTD[:, vit.num_prefix_tokens :]

    def _through(self, block: nn.Module, x_BTD: torch.Tensor) -> torch.Tensor:
        learns = self.training and torch.is_grad_enabled()
        if learns and self.activation_checkpointing:
            return checkpoint(block, x_BTD, use_reentrant=False)  # type: ignore[no-any-return]
        # The compiler chooses by itself what to compute again.
        with recomputing(block) if learns and not self.compiled else nullcontext():
            through_BTD: torch.Tensor = block(x_BTD)
        return through_BTD

    def _positions(self, side: int) -> torch.Tensor:
        """Return position embeddings for side x side patches: by the published run-time rule below the built size.

        Above it (the last epochs of high resolution) they are resized as when an encoder is loaded for larger images.
        """
        positions_1TD: torch.Tensor = self.vit.pos_embed
        if side == self.side:
            return positions_1TD
        prefix = anatomy.position_prefix(self.vit)
        if side > self.side:
            return resize_positions(positions_1TD, prefix, side)
        others, patches = positions_1TD[:, :prefix], positions_1TD[:, prefix:]
        grid_1DGG = patches.float().reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        scale = (side + NUDGE) / self.side
        grid_1DGG = functional.interpolate(grid_1DGG, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([others, grid_1DGG.flatten(2).transpose(1, 2).to(others.dtype)], dim=1)


class Seen(NamedTuple):
    """What the student makes of a micro-batch: scores of CLS tokens (all crops) and hidden patches; global CLS."""

    cls_NK: torch.Tensor
    patch_MK: torch.Tensor
    cls_BD: torch.Tensor


class Student(nn.Module):
    """The network that is trained: it sees global crops with hidden patches, and local crops."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        """`backbone` hides patches."""
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(
        self,
        global_BCHW: torch.Tensor,
        masks_BN: torch.Tensor,
        hidden_M: torch.Tensor,
        local_BCHW: torch.Tensor | None,
    ) -> Seen:
        """Return scores; `hidden_M` are the places of hidden patches in the flattened (B, N)."""
        cls_BD, patches_BND = self.backbone(global_BCHW, masks_BN)
        cls = [cls_BD] if local_BCHW is None else [cls_BD, self.backbone(local_BCHW)[0]]
        hidden_MD = patches_BND.flatten(0, 1).index_select(0, hidden_M)
        cls_NK, patch_MK = self.head(torch.cat(cls), hidden_MD)
        return Seen(cls_NK, patch_MK, cls_BD)


class Taught(NamedTuple):
    """What the teacher makes of a micro-batch, at the bottleneck; `mean_BZ` is the mean over a crop's patches."""

    cls_BZ: torch.Tensor
    hidden_MZ: torch.Tensor
    mean_BZ: torch.Tensor | None
    cls_BD: torch.Tensor


class Teacher(nn.Module):
    """The moving average of the student: it sees global crops whole."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        """`backbone` hides nothing."""
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, global_BCHW: torch.Tensor, hidden_M: torch.Tensor, needs_mean: bool) -> Taught:
        """Return tokens at the bottleneck; only hidden patches are kept.

        The published centre is the mean of all patches' scores. The last layer is linear, so the mean at the bottleneck
        is enough: `needs_mean` sends all patches that far, otherwise only the hidden ones go through the head.
        """
        cls_BD, patches_BND = self.backbone(global_BCHW)
        crops, count = patches_BND.shape[:2]
        flat_PD = patches_BND.flatten(0, 1)
        if not needs_mean:
            cls_BZ, hidden_MZ = self.head.bottleneck(cls_BD, flat_PD.index_select(0, hidden_M))
            return Taught(cls_BZ, hidden_MZ, None, cls_BD)
        cls_BZ, all_PZ = self.head.bottleneck(cls_BD, flat_PD)
        mean_BZ = all_PZ.view(crops, count, -1).mean(dim=1)
        return Taught(cls_BZ, all_PZ.index_select(0, hidden_M), mean_BZ, cls_BD)


class Pair(NamedTuple):
    """The networks of one training, each with a `backbone`: what is trained, and what gives targets (None: nothing)."""

    student: Any
    teacher: Any

    @property
    def networks(self) -> list[Any]:
        """Those there are."""
        return [network for network in self if network is not None]

    @property
    def patch(self) -> int:
        """Side of a patch in px."""
        return int(self.student.backbone.vit.patch_embed.patch_size[0])


def build_vit(arch: str, patch: int | None, recipe: Recipe) -> nn.Module:
    """Return an untrained ViT for the recipe's crops, initialised as published; torch's random state decides."""
    vit = architectures.build(arch, image_size=recipe.image_size, patch=patch, registers=recipe.registers, empty=False)
    check_trainable(arch, vit)
    nn.init.trunc_normal_(vit.cls_token, std=INIT_STD)  # type: ignore[arg-type]
    return vit


def check_trainable(arch: str, vit: Any) -> None:
    """Raise DataError for networks whose positions or CLS token are not a plain ViT's."""
    from timm.models.vision_transformer import VisionTransformer

    plain = isinstance(vit, VisionTransformer) and vit.pos_embed is not None and vit.cls_token is not None
    if not plain:
        raise DataError(
            f"{arch} cannot be pretrained here",
            expected="a ViT with a CLS token and learned positions: ViT, DeiT, DINO, DINOv2",
            found=type(vit).__name__,
            do="choose such an `arch`",
        )


def pair_of(vits: Sequence[nn.Module], recipe: DistillationRecipe) -> Pair:
    """Return student and teacher around two networks of equal weights; the teacher starts as a copy."""
    student_vit, teacher_vit = vits
    anatomy.set_drop_path(student_vit, recipe.drop_path)
    anatomy.set_drop_path(teacher_vit, 0.0)
    dim = anatomy.width(student_vit)
    student = Student(Backbone(student_vit, hides=True), Head(dim, recipe))
    teacher = Teacher(Backbone(teacher_vit, hides=False), Head(dim, recipe))
    teacher.load_state_dict(without_mask_token(student.state_dict()))
    teacher.requires_grad_(False)
    return Pair(student, teacher)


def without_mask_token(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return a student's tensors as far as a teacher has them."""
    return {name: tensor for name, tensor in tensors.items() if name != "backbone.masked_embed"}


def parameter_bytes(pair: Pair) -> int:
    """Return the bytes of the largest checkpoint of this pair: both networks and the optimizer's two moments."""
    counts: list[int] = [sum(p.numel() for p in network.parameters()) for network in pair.networks]
    return 4 * (2 * counts[0] + sum(counts))
