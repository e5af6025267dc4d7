"""Weights that the user names by a timm model: from a local file or timm's own download, by timm's own converter.

timm's converter is trusted only for what our dialects do not know (CLIP, SigLIP, EVA, BEiT-3, ...). Invariant: whatever
it renames, drops or computes is found by the identity of the tensors and reported; the result must fit the model
exactly.
"""

import contextlib
import io
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionfm.encoders import architectures, dialects
from visionfm.encoders.checkpoints import Selection
from visionfm.encoders.positions import grid_side
from visionfm.errors import DataError

if TYPE_CHECKING:
    from torch import nn

WEIGHT_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
log = logging.getLogger("visionfm")


def known_of(name: str) -> dict[str, Any]:
    """Return what timm says of a model name: `mean`, `std`, `licence`; DataError for a wrong name."""
    config = _config(name)
    return {"mean": config.get("mean"), "std": config.get("std"), "licence": config.get("license")}


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
    dialect = dialects.recognise_dialect(selection)
    if dialect != dialects.PLAIN:
        return dialects.convert(selection, dialect, keep_qkv_bias=name.endswith("_qkvb"))
    model = architectures.build(name, image_size=_stored_size(selection, name))
    direct = dialects.convert(selection, dialects.TIMM)
    if direct.tensors.keys() <= model.state_dict().keys():
        return direct
    return _by_timm(selection, model)


def _stored_size(selection: Selection, name: str) -> int:
    """Return a size at which timm's converter has nothing to resize: that is done once, when an encoder is loaded."""
    sizes = [
        tensor.shape[1] for key, tensor in selection.tensors.items() if key.endswith("pos_embed") and tensor.ndim == 3
    ]
    patch = int(architectures.build(name, image_size=None).patch_embed.patch_size[0])  # type: ignore[union-attr,index]
    sides = [side for count in sizes for prefix in (0, 1) if (side := grid_side(count, prefix))]
    return patch * (sides[0] if sides else 16)


def _by_timm(selection: Selection, model: "nn.Module") -> dialects.Conversion:
    filter_fn, options = _converter(selection, model)
    sources = {id(tensor): key for key, tensor in selection.tensors.items()}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            tensors = filter_fn(dict(selection.tensors), model, **options)
        except (KeyError, ValueError, RuntimeError, AttributeError, IndexError, TypeError) as error:
            raise DataError(
                "timm's converter does not understand the weights",
                expected=f"a checkpoint of {type(model).__name__} in one of the namings timm knows",
                found=f"{type(error).__name__}: {error}",
                do="convert the file to timm's naming",
            ) from error
    if said.getvalue():
        log.debug("timm: %s", said.getvalue().strip())
    origin = {key: sources.get(id(tensor)) for key, tensor in tensors.items()}
    work = dialects.Translation(selection)
    renamed = {work.origin[old]: new for new, old in origin.items() if old is not None and work.origin[old] != new}
    used = {old for old in origin.values() if old is not None}
    computed = sorted(key for key, old in origin.items() if old is None)
    dropped = dict(selection.dropped)
    for key in selection.tensors.keys() - used:
        dropped[work.origin[key]] = "left out or merged by timm's converter"
    for pattern, reason in dialects.DROPPED[dialects.TIMM].items():
        for key in [key for key in tensors if re.fullmatch(pattern, key)]:
            del tensors[key]
            dropped[work.origin.get(origin[key] or "", key)] = reason
    renamed = {old: new for old, new in renamed.items() if old not in dropped}
    if computed:
        log.info("computed by timm's converter: %s", ", ".join(computed[:8]))
    return dialects.Conversion(dialects.TIMM, tensors, dict(sorted(renamed.items())), dict(sorted(dropped.items())))


def _converter(selection: Selection, model: "nn.Module") -> tuple[Callable[..., dict[str, Any]], dict[str, Any]]:
    from timm.models import eva, vision_transformer

    if isinstance(model, eva.Eva):
        return eva.checkpoint_filter_fn, {}
    layer_scale = any(re.search(r"blocks\.\d+\.gamma_[12]$", key) for key in selection.tensors)
    return vision_transformer.checkpoint_filter_fn, {"adapt_layer_scale": layer_scale}
