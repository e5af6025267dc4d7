"""What a training starts from: nothing, a weights file of any dialect that `import` knows, or timm's own weights.

The student's mask token, the registers and (unless `init_head`) the head are made new where the weights have none; the
log says so.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from visionfm.encoders import anatomy
from visionfm.encoders.checkpoints import PREFIXES, Checkpoint, read_checkpoint
from visionfm.encoders.importing import imported_from
from visionfm.encoders.positions import resize_positions
from visionfm.encoders.settings import ImportSettings
from visionfm.errors import DataError, Problems
from visionfm.pretraining.families import STEPS
from visionfm.pretraining.networks import Pair, build_vit
from visionfm.pretraining.recipe import DistillationRecipe
from visionfm.pretraining.settings import PretrainSettings
from visionfm.runtime.randomness import derived_seed

if TYPE_CHECKING:
    from visionfm.pretraining.recipe import Recipe

MASK_TOKENS = ("masked_embed", "mask_token")
OWN = "own (trained here)"
log = logging.getLogger("visionfm")
Tensors = dict[str, torch.Tensor]


class Start(NamedTuple):
    """Networks ready to be trained, what they are, and what else came with the weights, by names in a checkpoint."""

    pair: Pair
    arch: str
    licence: str  # of what it started from
    state: Tensors


def start(settings: PretrainSettings, images: int) -> Start:
    """Return the networks as the settings have them, for so many images; the seed alone decides what is made new."""
    recipe = settings.recipe
    torch.manual_seed(derived_seed(recipe.seed, "start"))
    if settings.init is None and settings.timm is None:
        assert settings.arch is not None, "the config was checked"
        vits = [build_vit(settings.arch, None, recipe) for _ in range(2)]
        vits[1].load_state_dict(vits[0].state_dict())
        return Start(_networks(vits, recipe, settings.arch, images), settings.arch, OWN, {})
    return _from_weights(settings, images)


def _networks(vits: list[nn.Module], recipe: "Recipe", arch: str, images: int) -> Pair:
    return STEPS[type(recipe)].networks(vits, recipe, arch, images)


def _from_weights(settings: PretrainSettings, images: int) -> Start:
    path = None if settings.init is None else Path(settings.init)
    imported = imported_from(_as_import(settings), path)
    arch, patch = imported.metadata["arch"], int(imported.metadata["patch"])
    licence = str(json.loads(imported.metadata["source"])["licence"])
    tensors, recipe = _with_registers(imported.tensors, arch, patch, settings.recipe)
    vits = [build_vit(arch, patch, recipe) for _ in range(2)]
    prefix = anatomy.position_prefix(vits[0])
    tensors["pos_embed"] = resize_positions(tensors["pos_embed"], prefix, recipe.image_size // patch)
    for vit in vits:
        try:
            vit.load_state_dict(tensors)
        except RuntimeError as error:  # such as one with more blocks than its architecture's name says
            raise DataError(
                f"the weights are no plain {arch}, which a training can start from",
                found="; ".join(line.strip() for line in str(error).splitlines()[1:3])[:300],
                where=path or settings.timm,
                do="start from another file",
            ) from error
    pair = _networks(vits, recipe, arch, images)
    if path is None:
        return Start(pair, arch, licence, {})
    checkpoint = read_checkpoint(path)
    _take_mask_token(pair, checkpoint)
    takes_head = isinstance(recipe, DistillationRecipe) and recipe.init_head
    return Start(pair, arch, licence, _take_head(pair, checkpoint, settings) if takes_head else {})


def _as_import(settings: PretrainSettings) -> ImportSettings:
    return ImportSettings(
        modality=settings.modality,
        weights=settings.init,
        timm=settings.timm,
        key=settings.init_key,
        arch=settings.arch,
        image_size=settings.recipe.image_size,
        statistics="imagenet",  # the training's own are used; those of the file do not matter here
    )


def _with_registers(tensors: Tensors, arch: str, patch: int, recipe: "Recipe") -> tuple[Tensors, "Recipe"]:
    """Return the weights with the registers that the recipe asks for, and the recipe with those that they have."""
    tensors = dict(tensors)
    there = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    if there and recipe.registers not in (0, there):
        raise DataError(
            "the weights have another number of registers",
            expected=f"registers: {recipe.registers}",
            found=there,
            do=f"set `registers: {there}`",
        )
    recipe = recipe.model_copy(update={"registers": there or recipe.registers})
    if recipe.registers == there:
        return tensors, recipe
    fresh: Any = build_vit(arch, patch, recipe)
    tensors["reg_token"] = fresh.reg_token.detach()
    if anatomy.position_prefix(fresh) > 1:
        cls, patches = tensors["pos_embed"][:, :1], tensors["pos_embed"][:, 1:]
        none = torch.zeros(1, recipe.registers, cls.shape[2])
        tensors["pos_embed"] = torch.cat([cls, none, patches], dim=1)
    log.info("pretrain: %d register tokens are made new", recipe.registers)
    return tensors, recipe


def _take_mask_token(pair: Pair, checkpoint: Checkpoint) -> None:
    token = pair.student.backbone.masked_embed
    if token is None:
        return
    for tensors in _files_networks(checkpoint):
        for name in MASK_TOKENS:
            if name in tensors and tensors[name].numel() == token.numel():
                token.data.copy_(tensors[name].float().view_as(token))
                return
    log.info("pretrain: the mask token is made new")


def _take_head(pair: Pair, checkpoint: Checkpoint, settings: PretrainSettings) -> Tensors:
    """Load the head of a published pretraining file into both networks; return its centres."""
    wanted = pair.student.head.state_dict()
    heads = [
        {name.removeprefix("head."): tensor.float() for name, tensor in tensors.items() if name.startswith("head.")}
        for tensors in _files_networks(checkpoint, settings.init_key)
    ]
    found = next((head for head in heads if head), {})
    problems = Problems(DataError, f"the head in {checkpoint.path.name}")
    for name, tensor in wanted.items():
        if name not in found:
            problems.add(f"{name}: expected {tuple(tensor.shape)}, found none")
        elif found[name].shape != tensor.shape:
            problems.add(f"{name}: expected {tuple(tensor.shape)}, found {tuple(found[name].shape)}")
    problems.raise_if_any(
        do="set `head`, `head_hidden`, `head_bottleneck`, `out_dim` and `patch_out_dim` as the file has them, or "
        "`init_head: false` for a new head"
    )
    for network in pair:
        network.head.load_state_dict({name: found[name] for name in wanted})
    stored = checkpoint.content.get("ibot_loss", {})
    centres = (
        {"centre.cls": stored.get("center"), "centre.patch": stored.get("center2")}
        if isinstance(stored, Mapping)
        else {}
    )
    return {name: value.float().reshape(-1) for name, value in centres.items() if isinstance(value, torch.Tensor)}


def _files_networks(checkpoint: Checkpoint, key: str | None = None) -> list[Tensors]:
    """Return tensors by bare name of each network in the file, the one under `key` or the student first."""
    content = checkpoint.content
    names = [name for name in content if isinstance(content[name], Mapping)]
    found = [content[name] for name in sorted(names, key=lambda name: name != (key or "student"))] or [content]
    return [
        {_bare(name): value for name, value in tensors.items() if isinstance(name, str) and torch.is_tensor(value)}
        for tensors in found
    ]


def _bare(name: str) -> str:
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name
