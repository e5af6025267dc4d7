"""Weights that the user names by a timm model: from a local file or timm's own download, by timm's own converter.

timm's converter is trusted only for what our dialects do not know (CLIP, SigLIP, EVA, BEiT-3, ...). Invariant: whatever
it renames, drops or computes is found by the identity of the tensors and reported; the result must fit the model
exactly.
"""

import contextlib
import io
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionfm.encoders import anatomy, architectures, dialects, layouts
from visionfm.encoders.checkpoints import Selection
from visionfm.encoders.positions import grid_side
from visionfm.errors import DataError

if TYPE_CHECKING:
    from torch import nn

WEIGHT_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
OPEN = ("plain", "clip", "hf-clip", "hf-siglip")  # layouts that timm's converter is asked about where they do not fit
log = logging.getLogger("visionfm")


def known_of(name: str) -> dict[str, Any]:
    """Return what timm says of a model name: `mean`, `std`, `licence`; DataError for a wrong name."""
    config = _config(name)
    return {"mean": config.get("mean"), "std": config.get("std"), "licence": config.get("license")}


def data_config(name: str) -> dict[str, Any]:
    """Return how timm feeds a named model: side in px, interpolation, and the part of the side that it crops to."""
    config = _config(name)
    size = config.get("input_size") or (3, 0, 0)
    return {"px": int(size[-1]), "interpolation": config.get("interpolation"), "crop": config.get("crop_pct")}


def _config(name: str) -> dict[str, Any]:
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:
        raise DataError(f"timm has no weights {name!r}", found=error, do="correct the encoder's `timm`") from error
    return {} if config is None else config.to_dict()


def download(name: str) -> Path:
    """Return the file of timm's own weights, fetched into its cache unless it is there; DataError without a network."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError  # and not the local one, which means: no network
    from timm.models._hub import download_cached_file, hf_split

    config = _config(name)
    try:
        if config.get("hf_hub_id"):
            repository, revision = hf_split(str(config["hf_hub_id"]))
            files = (config["hf_hub_filename"],) if config.get("hf_hub_filename") else WEIGHT_FILES
            for file in files:
                with contextlib.suppress(RemoteEntryNotFoundError):
                    return Path(hf_hub_download(repository, file, revision=revision))
        elif config.get("url"):
            return Path(download_cached_file(config["url"], check_hash=False, progress=False))
    except Exception as error:  # the network fails in as many ways as there are libraries below
        raise DataError(
            f"timm's weights of {name} could not be downloaded",
            expected="a network, and for gated weights a login (`hf auth login`)",
            found=f"{type(error).__name__}: {(str(error) or 'no reason given').splitlines()[0]}",
            do="download the file elsewhere and give it as the encoder's `weights` beside `timm`",
        ) from error
    raise DataError(
        f"timm gives out no weights for {name}",
        expected="a name with pretrained weights, such as vit_base_patch14_dinov2.lvd142m",
        do="give a file as the encoder's `weights` beside `timm`, or `weights: random`",
    )


def convert(selection: Selection, name: str) -> dialects.Conversion:
    """Return a network's tensors under the names of the timm model `name` (without tag)."""
    shapes = architectures.shapes_of(selection.tensors)
    found = layouts.find(shapes, selection.key)
    match = found[0] if len(found) == 1 else None
    own = [match for match in found if match.layout.name not in OPEN and match.layout.refusal is None]
    if own:
        match = dialects.recognise(selection)
        return dialects.convert(selection, match, keep_qkv_bias=name.endswith("_qkvb"))
    model = architectures.build(name, image_size=None)
    if match is not None and match.layout.refusal is None:
        layout = layouts.TIMM if match.layout.name == "plain" else match.layout
        direct = dialects.convert(selection, layouts.Match(layout, match.prefix))
        if direct.tensors.keys() <= model.state_dict().keys():
            return direct
    return _by_timm(selection, name)


def convert_stages(selection: Selection, name: str) -> dialects.Conversion:
    """Return the tensors of the network of stages `name` (timm's, without tag) under timm's names.

    They are found behind whatever prefix they stand; files in the naming of a network's owner go through timm's own
    converter of that family. The classifier and counters of training steps are left out.
    """
    model = architectures.build_stages(name)
    wanted = architectures.without_counters(model.state_dict())
    classifiers = tuple(f"{one}." for one in architectures.classifier_of(model))
    work = dialects.Translation(selection)
    prefix = _prefix_of(list(selection.tensors), set(wanted), classifiers)
    if prefix is None:
        return _by_family(selection, name, model)
    for key in list(work.tensors):
        if not key.startswith(prefix):
            work.take(key, dropped=f"beside the encoder, whose names begin with {prefix}")
    work.rename(lambda key: key.removeprefix(prefix))
    _leave_out(work, classifiers, wanted)
    return work.done(layouts.TIMM)


def _leave_out(work: dialects.Translation, classifiers: tuple[str, ...], wanted: Mapping[str, Any]) -> None:
    for key in [key for key in work.tensors if key not in wanted]:
        if anatomy.is_counter(key):
            work.take(key, dropped="counter of training steps")
        elif key.startswith(classifiers):
            work.take(key, dropped=layouts.HEAD_REASON)


def _prefix_of(names: Sequence[str], wanted: set[str], classifiers: tuple[str, ...]) -> str | None:
    """Return what stands before a network's names in a file; None where they are not timm's; DataError for several."""
    anchor = next(iter(sorted(wanted, key=lambda name: (-len(name), name))))  # a long name is no other network's
    found = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
    whole = [prefix for prefix in found if {f"{prefix}{name}" for name in wanted} <= set(names)]
    if len(whole) > 1:
        raise DataError(
            "the weights file holds several networks, and which one is meant is not guessed",
            expected="one network, or a `key` for the encoder",
            found=", ".join(prefix.removesuffix(".") for prefix in whole),
            do="set the encoder's `key`",
        )
    if whole:
        return whole[0]
    alike = sum(name in wanted for name in names)
    return "" if 2 * alike > len(wanted) else None  # timm's names, and the comparison will say what is missing


def _by_family(selection: Selection, name: str, model: "nn.Module") -> dialects.Conversion:
    """Return what the converter of the model's own family makes of the tensors; what it computes is told."""
    family = sys.modules[type(model).__module__]
    converter = getattr(family, "checkpoint_filter_fn", None)
    if converter is None:
        raise DataError(
            f"the tensors are not named as those of {name}",
            expected="timm's names, such as " + ", ".join(list(model.state_dict())[:3]),
            found=", ".join(list(selection.tensors)[:3]),
            do="name the network that the weights are of (`timm`)",
        )
    tensors = _called(converter, selection, model, {})
    origin = _origins(selection, tensors)
    work = dialects.Translation(selection)
    classifiers = tuple(f"{one}." for one in architectures.classifier_of(model))
    for key in [key for key in tensors if anatomy.is_counter(key) or key.startswith(classifiers)]:
        del tensors[key]
        for old in origin[key]:
            counts = anatomy.is_counter(key)
            work.dropped[work.origin[old]] = "counter of training steps" if counts else layouts.HEAD_REASON
    return _told(selection, tensors, origin, work)


def _by_timm(selection: Selection, name: str) -> dialects.Conversion:
    """Return what timm's converter makes of the tensors; it is given a model in which it has nothing to resize.

    Positions are resized once, when an encoder is loaded. Whatever the converter computes (and does not just rename,
    reshape or cut) is reported, and a patch embedding or positions that it computed are an error.
    """
    model = architectures.build(name, image_size=None)
    patch = int(model.patch_embed.patch_size[0])  # type: ignore[union-attr,index]
    prefixes = {0, anatomy.position_prefix(model)}
    for side in [*_sides(selection, int(model.embed_dim), prefixes), 16]:  # type: ignore[arg-type]
        model = architectures.build(name, image_size=patch * side)
        tensors = _converted(selection, model)
        origin = _origins(selection, tensors)
        if all(origin.get(key, [key]) for key in ("pos_embed", "patch_embed.proj.weight")):
            break
    else:
        raise DataError(
            f"the weights do not have the patches or positions of {name}",
            expected=f"patches of {patch} px, and positions of a square image",
            found="others, which timm's converter would resize",
            do="name the model that the weights are of (`timm`)",
        )
    work = dialects.Translation(selection)
    for pattern, reason in layouts.TIMM.dropped.items():
        for key in [key for key in tensors if re.fullmatch(pattern, key)]:
            del tensors[key]
            for old in origin[key]:
                work.dropped[work.origin[old]] = reason
    return _told(selection, tensors, origin, work)


def _told(
    selection: Selection, tensors: dict[str, Any], origin: Mapping[str, list[str]], work: dialects.Translation
) -> dialects.Conversion:
    """Return the conversion with what became of each tensor of the file."""
    renamed: dict[str, str] = {}
    for key in tensors:
        for old in origin[key]:
            same = selection.tensors[old].shape == tensors[key].shape
            before = work.origin[old]
            renamed[before] = ", ".join(filter(None, [renamed.get(before), key])) + (
                "" if same else " (in another shape)"
            )
    computed = sorted(key for key in tensors if not origin[key])
    used = {old for key in tensors for old in origin[key]}
    for key in selection.tensors.keys() - used:
        if not computed:
            work.dropped.setdefault(work.origin[key], "left out by timm's converter")
        elif work.origin[key] not in work.dropped:
            renamed[work.origin[key]] = (
                f"left out, or used for {', '.join(computed[:4])}, which timm's converter computed"
            )
    if computed:
        log.warning("computed by timm's converter from other tensors: %s", ", ".join(computed[:8]))
    changed = {old: new for old, new in renamed.items() if old != new}
    return dialects.Conversion(layouts.TIMM, tensors, dict(sorted(changed.items())), dict(sorted(work.dropped.items())))


def _sides(selection: Selection, width: int, prefixes: set[int]) -> list[int]:
    """Return the sides of the square grids that tensors which may be positions (T, D) are of."""
    found = []
    for key, tensor in selection.tensors.items():
        shape = tuple(tensor.shape)
        if "pos" in key and len(shape) in (2, 3) and shape[-1] == width and shape[:-2] in ((), (1,)):
            found += [side for prefix in sorted(prefixes, reverse=True) if (side := grid_side(shape[-2], prefix))]
    return list(dict.fromkeys(found))


def _converted(selection: Selection, model: "nn.Module") -> dict[str, Any]:
    filter_fn, options = _converter(selection, model)
    return _called(filter_fn, selection, model, options)


def _called(
    filter_fn: Callable[..., dict[str, Any]], selection: Selection, model: "nn.Module", options: Mapping[str, Any]
) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            tensors = filter_fn(dict(selection.tensors), model, **options)
        except Exception as error:  # it is made for whole files of one origin, and asserts little
            raise DataError(
                "timm's converter does not understand the weights",
                expected=f"a checkpoint of {type(model).__name__} in one of the namings timm knows",
                found=f"{type(error).__name__}: {error}; "
                + layouts.nearest(architectures.shapes_of(selection.tensors)),
                do="convert the file to timm's naming",
            ) from error
    if said.getvalue():
        log.debug("timm: %s", said.getvalue().strip())
    return dict(tensors)


def _origins(selection: Selection, tensors: dict[str, Any]) -> dict[str, list[str]]:
    """Return for each tensor those of the file that it is, in the same or another shape, whole, cut or put together.

    Views are known by where their numbers lie; copies must hold the numbers of tensors of the file, in order.
    """
    import torch

    places = {name: _place(tensor) for name, tensor in selection.tensors.items()}
    found: dict[str, list[str]] = {key: [] for key in tensors}
    for key, tensor in tensors.items():
        start, end = _place(tensor)
        found[key] = [name for name, (first, last) in places.items() if first <= start and end <= last][:1]
    taken = {name for names in found.values() for name in names}
    rest = {name: tensor for name, tensor in selection.tensors.items() if name not in taken}
    for key in [key for key, names in found.items() if not names]:
        stem = key.rpartition(".")[2]
        parts = [name for name in rest if name.rpartition(".")[2] == stem]
        for count in (1, 2, 3):
            for at in range(len(parts) - count + 1):
                chosen = parts[at : at + count]
                if sum(rest[name].numel() for name in chosen) != tensors[key].numel():
                    continue
                joined = torch.cat([rest[name].reshape(-1) for name in chosen]).to(tensors[key].dtype)
                if torch.equal(joined, tensors[key].reshape(-1)):
                    found[key] = chosen
                    break
            if found[key]:
                break
    return found


def _place(tensor: Any) -> tuple[int, int]:
    """Return where a tensor's numbers begin and end in memory."""
    if not tensor.numel():
        return (-1, -2)
    last = sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _converter(selection: Selection, model: "nn.Module") -> tuple[Callable[..., dict[str, Any]], dict[str, Any]]:
    from timm.models import eva, vision_transformer

    if isinstance(model, eva.Eva):
        return eva.checkpoint_filter_fn, {}
    layer_scale = any(re.search(r"blocks\.\d+\.gamma_[12]$", key) for key in selection.tensors)
    return vision_transformer.checkpoint_filter_fn, {"adapt_layer_scale": layer_scale}
