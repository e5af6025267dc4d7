"""Which timm architecture a state dict belongs to, by shapes alone, and how to build it.

Invariant: exactly one architecture fits, or it is an error; heads and normalisation constants, which shapes do not
show, are those of the published model family. Columns (vision transformers with a final norm) can be recognised; other
networks of timm's that give maps of their stages are named.
"""

import difflib
import functools
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm.encoders import anatomy
from visionfm.encoders.positions import grid_side, resize_positions
from visionfm.errors import DataError, Problems

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger("visionfm")
Shapes = Mapping[str, tuple[int, ...]]

# (width, depth) -> families; inside a family only the patch size differs, and the first name stands for sizes that timm
# has no name for
FAMILIES: dict[tuple[int, int], tuple[tuple[str, ...], ...]] = {
    (192, 12): (("vit_tiny_patch16_224",), ("vit_tiny_patch16_dinov3_qkvb",)),
    (384, 12): (
        ("vit_small_patch16_224", "vit_small_patch8_224", "vit_small_patch32_224"),
        ("deit3_small_patch16_224",),
        ("vit_small_patch14_dinov2",),
        ("vit_small_patch14_reg4_dinov2",),
        ("vit_small_patch16_dinov3",),
        ("vit_small_patch16_dinov3_qkvb",),
        ("vit_small_plus_patch16_dinov3",),
        ("vit_small_plus_patch16_dinov3_qkvb",),
    ),
    (768, 12): (
        ("vit_base_patch16_224", "vit_base_patch8_224", "vit_base_patch32_224"),
        ("deit3_base_patch16_224",),
        ("vit_base_patch14_dinov2",),
        ("vit_base_patch14_reg4_dinov2",),
        ("vit_base_patch16_dinov3",),
        ("vit_base_patch16_dinov3_qkvb",),
    ),
    (1024, 24): (
        ("vit_large_patch16_224", "vit_large_patch14_224", "vit_large_patch32_224"),
        ("deit3_large_patch16_224",),
        ("vit_large_patch14_dinov2",),
        ("vit_large_patch14_reg4_dinov2",),
        ("vit_large_patch16_dinov3",),
        ("vit_large_patch16_dinov3_qkvb",),
    ),
    (1280, 32): (
        ("vit_huge_patch14_224",),
        ("deit3_huge_patch14_224",),
        ("vit_huge_plus_patch16_dinov3",),
        ("vit_huge_plus_patch16_dinov3_qkvb",),
    ),
    (1536, 40): (("vit_giant_patch14_dinov2",), ("vit_giant_patch14_reg4_dinov2",)),
    (4096, 40): (("vit_7b_patch16_dinov3",),),
}


class Architecture(NamedTuple):
    """A timm model name, its patch size in px (which may differ from the name's) and its number of register tokens.

    Of a network of stages `patch` is what a patch token stands for: a place of the finer of the two maps that are read.
    """

    name: str
    patch: int
    registers: int
    stages: anatomy.Stages | None = None

    @property
    def step(self) -> int:
        """What the side of an image, in px, has to divide by."""
        return self.stages.px[-1] if self.stages else self.patch


def build(
    name: str,
    *,
    image_size: int | None,
    patch: int | None = None,
    registers: int | None = None,
    depth: int | None = None,
    empty: bool = True,
) -> "nn.Module":
    """Return the timm model without classifier and pooling, for square images of `image_size` px.

    `empty`: without memory for its weights (device "meta"), which are to be assigned. Raises DataError for an unknown
    name and for models that are no columnar vision transformer with a final norm.
    """
    from timm.models.eva import Eva

    _check_known(name)
    options: dict[str, Any] = {"img_size": image_size, "patch_size": patch, "depth": depth}
    model = _create(name, options, empty)
    if registers and registers != anatomy.registers_of(shapes_of(model.state_dict())):
        options["num_reg_tokens" if isinstance(model, Eva) else "reg_tokens"] = registers
        model = _create(name, options, empty)
    return model


def _check_known(name: str) -> None:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise DataError(
            f"timm has no architecture {name!r}",
            expected=f"one of `timm.list_models()`, such as {', '.join(near)}"
            if near
            else "one of `timm.list_models()`",
            do="correct the encoder's `arch` or `timm`",
        )


def _create(name: str, options: Mapping[str, Any], empty: bool) -> "nn.Module":
    import timm
    import torch

    try:
        with torch.device("meta" if empty else "cpu"):
            model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **options)
    except (TypeError, AssertionError, ValueError, RuntimeError, AttributeError) as error:
        raise _not_columnar(name, f"{type(error).__name__}: {error}") from error
    _check_columnar(name, model)
    return model


def _check_columnar(name: str, model: "nn.Module") -> None:
    from timm.layers import PatchEmbed
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    if not isinstance(model, VisionTransformer | Eva) or not isinstance(model.patch_embed, PatchEmbed):
        raise _not_columnar(name, type(model).__name__)
    if isinstance(anatomy.final_norm(model), nn.Identity):
        raise _not_columnar(name, "no norm after the last block")


def _not_columnar(name: str, found: str) -> DataError:
    return DataError(
        f"{name} cannot be an encoder here",
        expected="a columnar vision transformer with a final norm: ViT, DeiT, DINO to DINOv3, CLIP, SigLIP",
        found=found,
        do="choose such a model",
    )


# --- networks of stages ---------------------------------------------------------------------------------------------


# How a network's output is pooled, where its weights were trained otherwise than timm's network of that name.
POOLS: dict[str, dict[str, Any]] = {
    "own": {},
    "normed mean": {"global_pool": "avg"},  # a column's `fc_norm` norms the mean of its patches; tokens have no norm
    "mean": {"global_pool": "avg", "fc_norm": False, "final_norm": False},  # nothing is normed after the last block
}


@functools.lru_cache(maxsize=64)
def is_column(name: str) -> bool:
    """Tell a columnar vision transformer with a final norm from other networks; DataError for an unknown name."""
    _check_known(name)
    try:
        build(name, image_size=None)
    except DataError:
        return False
    return True


def build_stages(name: str, *, image_size: int | None = None, empty: bool = True, pool: str = "own") -> "nn.Module":
    """Return a network of stages without classifier, pooled as POOLS says; see `build`.

    Only networks that are made for one size (Swin) are told `image_size`.
    """
    import timm
    import torch
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    _check_known(name)
    try:
        with torch.device("meta" if empty else "cpu"):
            options = {"pretrained": False, "num_classes": 0, **POOLS[pool]}
            model: nn.Module = timm.create_model(name, **options)
            column = isinstance(model, VisionTransformer | Eva)
            if image_size not in (None, own_size(model)) and (column or _config_of(model).get("fixed_input_size")):
                model = timm.create_model(name, **options, img_size=image_size)
        if not callable(getattr(model, "forward_intermediates", None)):
            raise ValueError("timm gives no maps of its stages")
    except (TypeError, AssertionError, ValueError, RuntimeError, AttributeError) as error:
        raise _no_stages(name, error) from error
    model.visionfm_stages = True  # type: ignore[assignment]
    return model


def own_size(model: "nn.Module") -> int:
    """Return the side of the square images, in px, that timm made a network for."""
    return int(_config_of(model)["input_size"][-1])


def classifier_of(model: "nn.Module") -> tuple[str, ...]:
    """Return what timm calls a network's classifier."""
    found = _config_of(model).get("classifier") or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _config_of(model: "nn.Module") -> dict[str, Any]:
    found: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return found


def _no_stages(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be an encoder here",
        expected="a vision transformer, or a network of timm's that gives maps of its stages and a pooled output",
        found=f"{type(error).__name__}: {error}",
        do="choose another, such as vit_base_patch16_224, convnext_tiny, swin_tiny_patch4_window7_224 or resnet50",
    )


@functools.lru_cache(maxsize=64)
def _wanted_stages(name: str, pool: str) -> tuple[dict[str, tuple[int, ...]], anatomy.Stages]:
    """Return the shapes of a network of stages by tensor name, and what is read of it."""
    model = build_stages(name, pool=pool)
    try:
        stages = anatomy.stages_of(model, own_size(model), pool)
    except Exception as error:  # timm's families are many, and each says in its own way that it cannot
        raise _no_stages(name, error) from error
    return without_counters(shapes_of(model.state_dict())), stages


def without_counters(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors by name without those that count steps of training."""
    return {name: tensor for name, tensor in tensors.items() if not anatomy.is_counter(name)}


def check_stages(name: str, shapes: Shapes, where: object, pool: str = "own") -> Architecture:
    """Return the network of stages `name`, or one DataError with every tensor that misfits.

    Of a column the number of patches may differ: its positions are resized when it is loaded.
    """
    wanted, stages = _wanted_stages(name, pool)
    if len(found := shapes.get("pos_embed", ())) == 3 and "pos_embed" in wanted and _square(found, wanted["pos_embed"]):
        wanted = {**wanted, "pos_embed": found}
    problems = Problems(DataError, f"the weights do not fit {name} ({where})")
    for key in wanted.keys() | shapes.keys():
        if shapes.get(key) != wanted.get(key):
            problems.add(f"{key} has shape {shapes.get(key, 'none')}, expected {wanted.get(key, 'none')}")
    problems.raise_if_any(do="name the architecture that the weights are of (`arch`), or another `key`")
    return Architecture(name, stages.px[0], 0, stages)


def _square(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Tell whether positions are those of a column like the wanted ones', on another square grid."""
    prefix = next((prefix for prefix in (1, 0) if grid_side(wanted[1], prefix)), 0)
    return found[2] == wanted[2] and grid_side(found[1], prefix) is not None


def load_stages(name: str, tensors: "Mapping[str, torch.Tensor]", *, image_size: int, pool: str = "own") -> "nn.Module":
    """Return the network of stages with these weights; raises DataError on any misfit."""
    import torch

    network = build_stages(name, image_size=image_size, empty=False, pool=pool)
    if "pos_embed" in tensors and tensors["pos_embed"].ndim == 3 and hasattr(network, "num_prefix_tokens"):
        prefix, own = anatomy.position_prefix(network), network.state_dict()["pos_embed"].shape
        if (side := grid_side(own[1], prefix)) is not None:
            tensors = {**tensors, "pos_embed": resize_positions(tensors["pos_embed"], prefix, side)}
    counters = {key: torch.zeros((), dtype=torch.long) for key in network.state_dict() if anatomy.is_counter(key)}
    try:
        network.load_state_dict({**tensors, **counters}, strict=True, assign=True)
        anatomy.stages_of(network.eval(), image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise DataError(
            f"the tensors do not fit {name} at {image_size} px",
            expected=f"the size that it was trained at, {own_size(network)} px, where it depends on it",
            found=str(error).strip().splitlines()[-1],
            do="set `image_size` to that, or import the weights again",
        ) from error
    return network


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def patch_of(shapes: Shapes) -> int:
    """Return the patch size in px that the patch embedding shows."""
    kernel = shapes.get("patch_embed.proj.weight")
    if kernel is None or len(kernel) != 4 or kernel[1] != 3 or kernel[2] != kernel[3]:
        raise DataError(
            "the weights have no patch embedding for RGB images",
            expected="patch_embed.proj.weight of shape (width, 3, patch, patch)",
            found=kernel or "none",
            do="`visionfm encoders` lists what can be imported",
        )
    return kernel[-1]


def recognise(shapes: Shapes) -> Architecture:
    """Return the one known architecture that has exactly these tensors."""
    patch, registers = patch_of(shapes), anatomy.registers_of(shapes)
    width, depth = shapes["patch_embed.proj.weight"][0], _depth(shapes)
    families = FAMILIES.get((width, depth), ())
    misfits = {family: misfit(family[0], shapes, depth) for family in families}
    fitting = [family for family in families if not misfits[family]]
    with_own_registers = [family for family in fitting if "_reg" in family[0] or "dinov3" in family[0]]
    if registers and with_own_registers:  # else: a model that is published without registers, with some
        fitting = with_own_registers
    if len(fitting) == 1:
        name = next((name for name in fitting[0] if f"patch{patch}_" in name), fitting[0][0])
        return Architecture(name, patch, registers)
    if fitting:
        raise DataError(
            "several architectures have these shapes",
            expected="one",
            found=", ".join(family[0] for family in fitting),
            do="name the timm architecture: the encoder's `arch`",
        )
    found = f"width {width}, depth {depth}, patch {patch}, {registers} registers"
    nearest = min(families, key=lambda family: len(misfits[family]), default=None)
    if nearest is not None:
        found += f"; nearest is {nearest[0]}, but {'; '.join(misfits[nearest][:4])}"
    raise DataError(
        "the architecture is not recognised",
        expected="a plain ViT, DeiT III, DINOv2 or DINOv3 of a published size",
        found=found,
        do="name the timm architecture: the encoder's `arch`",
    )


def _depth(shapes: Shapes) -> int:
    """Return how many blocks there are; never more than tensors, whatever numbers stand in a file's names."""
    return min(anatomy.depth_of(shapes), len(shapes))


@functools.lru_cache(maxsize=64)
def _depth_of(name: str) -> int:
    return len(anatomy.blocks(build(name, image_size=None)))


@functools.lru_cache(maxsize=64)
def _wanted(name: str, patch: int, registers: int, depth: int | None) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return a model's shapes by tensor name and its position prefix; blocks are alike: with `depth` one is built."""
    model = build(name, image_size=4 * patch, patch=patch, registers=registers, depth=None if depth is None else 1)
    shapes = shapes_of(model.state_dict())
    for block in range(1, depth or 1):
        shapes.update({key.replace(".0.", f".{block}.", 1): shape for key, shape in shapes.items() if ".0." in key})
    return shapes, anatomy.position_prefix(model)


def misfit(name: str, shapes: Shapes, depth: int | None = None) -> list[str]:
    """Return what keeps tensors of these shapes from being a whole `name`; the number of patches may differ.

    `depth` is the model's, where it is known: the comparison is faster then.
    """
    wanted, prefix = _wanted(name, patch_of(shapes), anatomy.registers_of(shapes), depth)
    problems = [f"{key} is missing" for key in wanted if key not in shapes]
    problems += [f"{key} is not expected" for key in shapes if key not in wanted]
    for key in wanted.keys() & shapes.keys():
        found = shapes[key]
        if key == "pos_embed":
            if len(found) != 3 or found[::2] != wanted[key][::2] or grid_side(found[1], prefix) is None:
                problems.append(f"pos_embed has shape {found}, expected (1, {prefix} + n*n, {wanted[key][2]})")
        elif found != wanted[key]:
            problems.append(f"{key} has shape {found}, expected {wanted[key]}")
    return sorted(problems)


def stored_size(architecture: Architecture, shapes: Shapes) -> int | None:
    """Return the image size in px that the weights' absolute positions are stored for; None where there are none."""
    if len(shapes.get("pos_embed", ())) != 3:
        return None
    tokens = shapes["pos_embed"][1]
    if architecture.stages:
        side = grid_side(tokens, 1) or grid_side(tokens, 0)
    else:
        _, prefix = _wanted(architecture.name, architecture.patch, architecture.registers, None)
        side = grid_side(tokens, prefix)
    return None if side is None else side * architecture.patch


def check_fit(name: str, shapes: Shapes, where: object) -> Architecture:
    """Return `name` with the weights' patch and registers, or one DataError with every tensor that misfits.

    More blocks of the same kind than `name` has are a deeper network (BE-DINORET); fewer are a file that lacks some.
    """
    problems = Problems(DataError, f"the weights do not fit {name} ({where})")
    deeper = _depth(shapes) > _depth_of(name)
    if deeper:
        log.info("%s has %d blocks, these weights %d: all are used", name, _depth_of(name), _depth(shapes))
    for problem in misfit(name, shapes, _depth(shapes) if deeper else None):
        problems.add(problem)
    problems.raise_if_any(
        do="name the architecture the weights are of (`arch`), or another `key`; nothing is filled in or left out"
    )
    return Architecture(name, patch_of(shapes), anatomy.registers_of(shapes))


def fitting(name: str | None, shapes: Shapes, where: object, pool: str | None = None) -> Architecture:
    """Return the architecture `name` if tensors of these shapes are it; None: the column that they are alone.

    With `pool` it is a column without a norm of its tokens, pooled so. Raises DataError where they are not.
    """
    if pool is not None:
        if name is None:
            normed = {re.sub("^fc_norm", "norm", key): shape for key, shape in shapes.items()}
            width = (shapes.get("patch_embed.proj.weight", (0,))[0],)
            name = recognise({"norm.weight": width, "norm.bias": width, **normed}).name
        return check_stages(name, shapes, where, pool)
    if name is None:
        return recognise(shapes)
    return check_fit(name, shapes, where) if is_column(name) else check_stages(name, shapes, where)


def load(name: str, tensors: "Mapping[str, torch.Tensor]", *, image_size: int, patch: int) -> "nn.Module":
    """Return the network with these weights, its positions resized to `image_size`; raises DataError on any misfit."""
    shapes = shapes_of(tensors)
    registers, depth = anatomy.registers_of(shapes), _depth(shapes)
    network = build(name, image_size=image_size, patch=patch, registers=registers, depth=depth)
    if any(
        buffer.is_meta for buffer in network.buffers()
    ):  # what the file does not hold (rotary frequencies) has to be computed
        network = build(name, image_size=image_size, patch=patch, registers=registers, depth=depth, empty=False)
    tensors = dict(tensors)
    if "pos_embed" in tensors:
        prefix = anatomy.position_prefix(network)
        tensors["pos_embed"] = resize_positions(tensors["pos_embed"], prefix, image_size // patch)
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise DataError(f"the tensors do not fit {name}", found=error, do="import the weights again") from error
    return network
