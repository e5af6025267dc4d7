"""Reads weights files that nobody vouches for: tensors and plain values only, never code.

Reads `.pth`-like files (torch.save) and `.safetensors`. Invariant: a pickle is read as data, with an exact list of what
it may name, and there is no fallback; whatever is wrong with a file ends in one DataError.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm.encoders.checksum import check_present
from visionfm.encoders.pickles import Unusable, not_now, read_pickled, refused
from visionfm.errors import DataError, Problems

if TYPE_CHECKING:
    import torch

WRAPPERS = ("teacher", "student", "visionfm_state_dict", "model", "state_dict", "model_ema", "state_dict_ema", "module")
BOTH_NETWORKS = ("teacher", "student")  # of self-distillation; the teacher is the one to use, as published
FLOATS = ("float32", "float16", "bfloat16", "float64")
INDEX = ".safetensors.index.json"  # lists which tensor lies in which file beside it
PREFIXES = ("module.", "_orig_mod.", "backbone.")


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
    check_present(path)
    try:
        with path.open("rb") as handle:
            start = handle.read(9)
    except OSError as error:
        raise not_now(path, error) from error
    if not start:
        raise refused(path, "it is empty")
    if path.name.endswith(INDEX):
        return _read_shards(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    return Checkpoint(path, read_pickled(path), {})


def _read_shards(path: Path) -> Checkpoint:
    """Return the tensors that an index of safetensors lists, from the files beside it."""
    try:
        where = json.loads(path.read_bytes())["weight_map"]
        shards = {name: str(where[name]) for name in where}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise refused(path, f"no index of safetensors: {type(error).__name__}: {error}") from error
    tensors: dict[str, Any] = {}
    for shard in dict.fromkeys(shards.values()):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise refused(path, f"a shard {shard!r} that is no .safetensors beside it")
        check_present(path.with_name(shard))
        tensors.update(_read_safetensors(path.with_name(shard)).content)
    if tensors.keys() != shards.keys():
        other = sorted(tensors.keys() ^ shards.keys())
        raise refused(path, f"the shards hold other tensors than it lists: {', '.join(other[:4])}")
    return Checkpoint(path, tensors, {})


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            metadata = file.metadata() or {}
    except (OSError, MemoryError) as error:
        raise not_now(path, error) from error
    except (SafetensorError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise refused(path, f"{type(error).__name__}: {error}") from error
    return Checkpoint(path, tensors, metadata)


# --- choosing the network -------------------------------------------------------------------------------------------


def select(checkpoint: Checkpoint, key: str | None) -> Selection:
    """Return the network under `key`, or the only one there is (the teacher, where teacher and student are both there).

    `key` may also be what names of tensors begin with. Wrapper prefixes (`module.`, `_orig_mod.`, `backbone.`) are
    removed where a name starts with them, nowhere else.
    """
    networks = _networks(checkpoint.content)
    if key is None:
        key = _only(checkpoint, networks)
    if key in networks:
        return _without_prefixes(checkpoint.path, key or None, networks[key])
    inside = {name: _inside(tensors, key) for name, tensors in networks.items()}
    there = [name for name, tensors in inside.items() if _is_network(tensors)]
    if len(there) != 1:
        raise DataError(
            f"the weights file has no entry {key!r}",
            expected=f"one of {_listed(networks)}, or what the names of one network's tensors begin with",
            found=_listed(checkpoint.content),
            where=checkpoint.path,
            do="correct the encoder's `key`, or leave it out",
        )
    return _part(checkpoint.path, key, networks[there[0]])


def _part(path: Path, key: str, tensors: Mapping[str, Any]) -> Selection:
    """Return the tensors whose names begin with `key`, the others dropped."""
    chosen = _without_prefixes(path, key, _inside(tensors, key))
    before = {name: f"{key}.{name}" for name in _inside(tensors, key)}
    origin = {new: old for old, new in chosen.renamed.items()}
    renamed = {before[origin.get(name, name)]: name for name in chosen.tensors}
    others = {name: f"beside {key}, which `key` names" for name in tensors if not name.startswith(f"{key}.")}
    dropped = {before[name]: why for name, why in chosen.dropped.items()}
    return Selection(key, chosen.tensors, renamed, {**others, **dropped})


def _networks(content: Mapping[str, Any], depth: int = 2) -> dict[str, dict[str, Any]]:
    """Return the networks of a checkpoint by key (`outer.inner` in nested ones); a flat state dict has the key ""."""
    networks = {name: _tensors_in(value) for name, value in content.items() if isinstance(value, Mapping)}
    inner = {}
    for name, tensors in networks.items():
        if not tensors and depth > 1:
            nested = _networks(content[name], depth - 1)
            inner.update({f"{name}.{part}" if part else name: found for part, found in nested.items()})
    networks = {name: tensors for name, tensors in {**networks, **inner}.items() if _is_network(tensors)}
    flat = _tensors_in(content)
    if _is_network(flat):
        networks[""] = flat
    for name, tensors in list(networks.items()):  # one dict may hold both networks of self-distillation, by prefix
        parts = {part: _inside(tensors, part) for part in BOTH_NETWORKS}
        if any(_is_network(part) for part in parts.values()):
            del networks[name]
            networks.update({part: inside for part, inside in parts.items() if _is_network(inside)})
    return networks


def _inside(tensors: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}


def _tensors_in(values: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    kinds = torch.Tensor | Unusable
    return {name: value for name, value in values.items() if isinstance(name, str) and isinstance(value, kinds)}


def _is_network(tensors: Mapping[str, Any]) -> bool:
    """Tell a network that sees images (it has a convolution or a patch embedding) from heads, losses and optimizers."""
    return any(getattr(tensor, "ndim", 0) in (4, 5) or "patch_embed" in name for name, tensor in tensors.items())


def _only(checkpoint: Checkpoint, networks: Mapping[str, Any]) -> str:
    known = [name for name in networks if name in WRAPPERS or name == ""]
    if set(known) == set(BOTH_NETWORKS):
        return "teacher"
    if len(known) == 1:
        return known[0]
    if len(networks) == 1:
        return next(iter(networks))
    if not networks:
        raise DataError(
            "no vision transformer was found in the weights file",
            expected="the tensors of a network that sees images, alone or under an entry of the file",
            found=told(checkpoint.content),
            where=checkpoint.path,
            do="`visionfm encoders` lists what can be imported",
        )
    raise DataError(
        "the weights file holds several networks, and which one is meant is not guessed",
        expected="one network, or a `key` for the encoder",
        found=_listed(networks),
        where=checkpoint.path,
        do="set the encoder's `key`",
    )


def told(content: Mapping[str, Any]) -> str:
    """Return what a file's entries are, for people."""
    told = []
    for name, value in list(content.items())[:8]:
        inside = list(_tensors_in(value)) if isinstance(value, Mapping) else []
        kind = "a tensor" if hasattr(value, "shape") else type(value).__name__
        told.append(f"{name} ({f'{len(inside)} tensors, such as {inside[0]}' if inside else kind})")
    return ", ".join(told) + (f" and {len(content) - 8} more" if len(content) > 8 else "") or "nothing"


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


def _check_tensor(path: Path, name: str, tensor: Any) -> None:
    """Refuse a tensor without values that can be used, and values that are no numbers."""
    if isinstance(tensor, Unusable) or tensor.is_sparse or tensor.is_quantized:
        why = tensor.why if isinstance(tensor, Unusable) else "sparse" if tensor.is_sparse else "quantised"
        raise refused(path, f"{name} is {why}", do="save the network's state_dict as float32, float16 or bfloat16")
    if str(tensor.dtype).removeprefix("torch.") not in FLOATS:  # whether it is needed is seen later: `check_types`
        return
    finite = bool(tensor.isfinite().all())
    if not finite or (tensor.itemsize > 4 and not bool(tensor.float().isfinite().all())):
        raise DataError(
            "the weights are not finite",
            expected="numbers that float32 can hold",
            found=f"{'a value beyond float32' if finite else 'NaN or infinity'} in {name}",
            where=path,
            do="get another file; such weights give no features",
        )


def check_types(selection: Selection, dropped: Mapping[str, str]) -> list[str]:
    """Raise DataError unless all tensors of a network but the dropped ones hold real numbers; return its float64 ones.

    `dropped` has the names in the file; those of float64 lose digits when they become float32.
    """
    before = {new: old for old, new in selection.renamed.items()}
    used = {before.get(name, name): tensor for name, tensor in selection.tensors.items()}
    types = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in used.items() if name not in dropped}
    problems = Problems(DataError, "tensors whose values are no weights")
    for name, kind in types.items():
        if kind not in FLOATS:
            problems.add(f"{name} is {kind}, expected {' or '.join(FLOATS)}")
    problems.raise_if_any(do="get the unquantised file, or save its state_dict as float32")
    return [name for name, kind in types.items() if kind == "float64"]
