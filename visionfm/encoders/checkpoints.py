"""Reads weights files that nobody vouches for: tensors and plain values only, never code.

Reads `.pth`-like files (torch.save) and `.safetensors`. Invariant: unpickling is weights-only with the exact allow-list
below, and there is no fallback; whatever is wrong with a file ends in one DataError.
"""

import argparse
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from visionfm.errors import DataError

if TYPE_CHECKING:
    import torch

WRAPPERS = ("teacher", "student", "visionfm_state_dict", "model", "state_dict", "model_ema", "state_dict_ema", "module")
BOTH_NETWORKS = ("teacher", "student")  # of self-distillation; the teacher is the one to use, as published
PREFIXES = ("module.", "_orig_mod.", "backbone.")
NUMPY_DTYPES = ("Float64", "Float32", "Float16", "Int64", "Int32", "Bool")
COMPRESSION_LIMIT = (
    2  # torch.save stores without compression: a file that unpacks to more than this was made to do harm
)
log = logging.getLogger("visionfm")


class Checkpoint(NamedTuple):
    """A weights file's content (nested dicts of tensors and plain values) and, for safetensors, its metadata."""

    path: Path
    content: Mapping[str, Any]
    metadata: Mapping[str, str]


class Selection(NamedTuple):
    """One network of a checkpoint: tensors by name without wrapper prefixes, and what each name was before."""

    key: str | None
    tensors: dict[str, "torch.Tensor"]
    renamed: dict[str, str]  # old -> new
    dropped: dict[str, str]  # key -> why


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Return the content of a weights file, on the CPU; raises DataError for anything but a whole, harmless file."""
    path = Path(path)
    with path.open("rb") as handle:
        start = handle.read(9)
    if not start:
        raise _refused(path, "it is empty")
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    return Checkpoint(path, _read_torch(path), {})


def _refused(path: Path, found: str, do: str = "get the file again from its owner and compare its sha256") -> DataError:
    return DataError(
        f"the weights file {path.name} cannot be read",
        expected="tensors written by torch.save, or safetensors",
        found=found,
        where=path,
        do=do,
    )


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise _refused(path, f"{type(error).__name__}: {error}") from error
    return Checkpoint(path, tensors, metadata)


def _read_torch(path: Path) -> Mapping[str, Any]:
    import pickle

    import torch

    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path)
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise _blocked(path, error) from error
    except (
        Exception
    ) as error:  # a hostile file can make the parser raise anything; the process must end with an explanation
        raise _refused(path, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
    if not isinstance(content, Mapping):
        raise _refused(path, f"a {type(content).__name__}, not a dictionary of tensors")
    return content


def _allowed_globals() -> list[Any]:
    """Return what published checkpoints hold beside tensors: `args` (a Namespace), numpy scalars such as `best_f1`."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [
        argparse.Namespace,
        (scalar, "numpy._core.multiarray.scalar"),
        (scalar, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
        np.dtype,
        *(getattr(np.dtypes, f"{name}DType") for name in NUMPY_DTYPES),
    ]


def _check_archive(path: Path) -> None:
    """Check the archive's checksums and that it unpacks to no more than it says: torch would map it unchecked."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise _refused(path, "TorchScript, which is a program", "save its state_dict instead")
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > COMPRESSION_LIMIT * path.stat().st_size:
                raise _refused(path, f"an archive that unpacks to {unpacked / 1e6:.0f} MB")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused(path, f"a damaged archive: {error}") from error
    if damaged is not None:
        raise _refused(path, f"a damaged archive: the checksum of {damaged} does not fit")


def _blocked(path: Path, error: Exception) -> DataError:
    import torch

    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as unreadable:  # a damaged pickle cannot be listed either
        found = []
        log.debug("globals of %s cannot be listed: %s", path.name, unreadable)
    allowed = {"argparse.Namespace", "numpy.dtype", "numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"}
    blocked = [name for name in found if name not in allowed and not name.startswith("numpy.dtypes.")]
    if not blocked:
        return _refused(
            path, f"a pickle that is damaged or not a checkpoint ({str(error).splitlines()[-1].strip()[:200]})"
        )
    return DataError(
        f"the weights file {path.name} wants to run code and was not loaded",
        expected="tensors, plain values, argparse.Namespace and numpy scalars",
        found=", ".join(blocked),
        where=path,
        do="ask its owner for a file of plain tensors (safetensors); there is no fallback that loads it anyway",
    )


# --- choosing the network -------------------------------------------------------------------------------------------


def select(checkpoint: Checkpoint, key: str | None) -> Selection:
    """Return the network under `key`, or the only one there is (the teacher, where teacher and student are both there).

    Wrapper prefixes (`module.`, `_orig_mod.`, `backbone.`) are removed where a name starts with them, nowhere else.
    """
    networks = _networks(checkpoint.content)
    if key is None:
        key = _only(checkpoint.path, networks)
    if key not in networks:
        raise DataError(
            f"the weights file has no entry {key!r}",
            expected=f"one of {_listed(networks)}",
            found=_listed(checkpoint.content),
            where=checkpoint.path,
            do="correct the encoder's `key`, or leave it out",
        )
    return _without_prefixes(checkpoint.path, key or None, networks[key])


def _networks(content: Mapping[str, Any]) -> dict[str, dict[str, "torch.Tensor"]]:
    """Return the networks of a checkpoint by key; a flat state dict has the key "" ."""
    networks = {name: _tensors_in(content[name]) for name in content if isinstance(content[name], Mapping)}
    flat = _tensors_in(content)
    for name in [name for name in networks if not _is_network(networks[name])]:
        del networks[name]
    if _is_network(flat):
        networks[""] = flat
    for name, tensors in list(networks.items()):  # one dict may hold both networks of self-distillation, by prefix
        parts = {part: _inside(tensors, part) for part in BOTH_NETWORKS}
        if any(_is_network(part) for part in parts.values()):
            del networks[name]
            networks.update({part: inside for part, inside in parts.items() if _is_network(inside)})
    return networks


def _inside(tensors: Mapping[str, "torch.Tensor"], part: str) -> dict[str, "torch.Tensor"]:
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}


def _tensors_in(values: Mapping[str, Any]) -> dict[str, "torch.Tensor"]:
    import torch

    return {name: value for name, value in values.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}


def _is_network(tensors: Mapping[str, "torch.Tensor"]) -> bool:
    """Tell a network that sees images (it has a convolution or a patch embedding) from heads, losses and optimizers."""
    return any(tensor.ndim == 4 or "patch_embed" in name for name, tensor in tensors.items())


def _only(path: Path, networks: Mapping[str, Any]) -> str:
    known = [name for name in networks if name in WRAPPERS or name == ""]
    if set(known) == set(BOTH_NETWORKS):
        return "teacher"
    if len(known) == 1:
        return known[0]
    if not networks:
        raise DataError(
            "no vision transformer was found in the weights file",
            expected=f"a state dict, alone or under one of {', '.join(WRAPPERS)}",
            where=path,
            do="docs/weights.md lists what can be imported",
        )
    raise DataError(
        "the weights file holds several networks, and which one is meant is not guessed",
        expected="one network, or a `key` for the encoder",
        found=_listed(networks),
        where=path,
        do="set the encoder's `key`",
    )


def _listed(names: Mapping[str, Any]) -> str:
    shown = [name or "(the tensors beside them)" for name in list(map(str, names))[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "nothing"


def _bare(name: str) -> tuple[str, bool]:
    """Return a tensor's name without its wrapper prefixes, and whether it was in a `backbone.`."""
    in_backbone = False
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
        in_backbone |= prefix == "backbone."
    return name, in_backbone


def _without_prefixes(path: Path, key: str | None, tensors: Mapping[str, "torch.Tensor"]) -> Selection:
    bare = {name: _bare(name) for name in tensors}
    wrapped = any(in_backbone for _, in_backbone in bare.values())
    chosen: dict[str, torch.Tensor] = {}
    renamed, dropped = {}, {}
    for name, (new, in_backbone) in bare.items():
        if wrapped and not in_backbone and new.split(".")[0] in ("head", "dino_head", "ibot_head"):
            dropped[name] = "projection head of pretraining"
            continue
        if new in chosen:
            raise DataError("two tensors of the weights file have the same name", found=f"{name} and {new}", where=path)
        _check_tensor(path, name, tensors[name])
        chosen[new] = tensors[name]
        if new != name:
            renamed[name] = new
    return Selection(key, chosen, renamed, dropped)


def _check_tensor(path: Path, name: str, tensor: "torch.Tensor") -> None:
    """Refuse a tensor that claims more values than are stored, or values that are no numbers."""
    stored = tensor.untyped_storage().nbytes() if tensor.layout is not None and not tensor.is_sparse else 0
    if tensor.numel() * tensor.element_size() > stored:
        raise _refused(path, f"{name} claims {tensor.numel()} values, {stored // tensor.element_size()} are stored")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise DataError(
            "the weights are not finite",
            expected="numbers",
            found=f"NaN or infinity in {name}",
            where=path,
            do="get another file; such weights give no features",
        )
