"""A dense decoder as a network and as a file: `decoder.safetensors`, or a published `checkpoint_*_linear.pth`.

The file holds the head's tensors under their published names; its metadata say what it was trained for.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from visionfm import artifacts
from visionfm.encoders.checkpoints import read_checkpoint, told
from visionfm.errors import ArtifactError, DataError
from visionfm.tasks import kind_of
from visionfm.tasks.maps.heads import HEADS, UNETR_PATCH_PX, head_of_file
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTarget
from visionfm.tasks.vectors.decoder import fill

SCHEMA = "visionfm/dense-decoder/1"
LEVELS = 4
PUBLISHED_WIDTH = 0.0  # of a landmark's target: one pixel
KERNELS = {  # those that sizes are read from
    "unetr": ("cls.weight", "d1.deconv.weight"),
    "linear": ("conv_seg.weight",),
}


@dataclass(frozen=True)
class DenseSpec:
    """What a dense decoder is, apart from its numbers."""

    kind: str
    targets: dict[str, DenseTarget]
    modalities: list[str]
    head: str
    size: int  # px of the square input
    patch: int
    width: int  # D
    outputs: int  # K
    target_width: float
    tile_overlap: float | None
    swaps: list[list[str]]
    threshold: float = 0.5  # of two classes: where the second begins

    def metadata(self) -> dict[str, str]:
        """Return it as an artefact's metadata."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("targets", "kind", "head")}
        targets = {name: target.model_dump(mode="json") for name, target in self.targets.items()}
        texts = {name: json.dumps(value) for name, value in {**plain, "targets": targets}.items()}
        return {**texts, "kind": self.kind, "head": self.head}


def network_of(spec: DenseSpec) -> nn.Module:
    """Return the head of a spec, random weights from torch's global generator."""
    head: nn.Module = HEADS[spec.head](spec.width, spec.outputs, spec.patch)
    return head.to(memory_format=torch.channels_last) if spec.head == "light" else head


def read_spec(path: Path) -> DenseSpec:
    """Return the spec in a decoder's metadata."""
    metadata = artifacts.read_metadata(path)
    if metadata.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{path.name} is no decoder of masks or points", expected=SCHEMA, found=metadata.get("schema"), where=path
        )
    names = ("modalities", "size", "patch", "width", "outputs", "target_width", "tile_overlap", "swaps")
    targets = {name: DenseTarget.model_validate(value) for name, value in json.loads(metadata["targets"]).items()}
    return DenseSpec(
        kind=metadata["kind"],
        head=metadata["head"],
        targets=targets,
        **{name: json.loads(metadata[name]) for name in names},
        threshold=json.loads(metadata.get("threshold", "0.5")),  # of decoders from before it was chosen
    )


def load_own(path: Path) -> tuple[DenseSpec, nn.Module]:
    """Return a decoder of this project, ready to predict."""
    spec = read_spec(path)
    tensors, _ = artifacts.read_tensors(path)
    return spec, _filled(spec, {name: torch.from_numpy(value) for name, value in tensors.items()}, path)


def load_published(path: Path, settings: DensePredictSettings) -> tuple[DenseSpec, nn.Module]:
    """Return a published decoder: a dict with `state_dict`, or the state dict itself, names with or without `module.`.

    DataError where it is no UNETR or linear head, or its outputs are not those of the settings' targets.
    """
    content = read_checkpoint(path).content
    found = content.get("state_dict", content)
    state = found if isinstance(found, dict) else {}
    tensors = {
        str(name).removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    head = head_of_file(set(tensors))
    if head is not None and any(tensors[name].ndim != 4 for name in KERNELS[head]):
        head = None
    if head is None:
        raise DataError(
            f"{path.name} is no published decoder of masks or points",
            expected="tensors d1.*, s1.*, c1.*, cls.* (UNETR) or conv_seg.* (linear)",
            found=", ".join(sorted(tensors)[:6]) or told(content),
            where=path,
            do="name a decoder written by train_seg_decoder or train_landmark_decoder",
        )
    last = tensors["cls.weight" if head == "unetr" else "conv_seg.weight"]
    width = tensors["d1.deconv.weight"].shape[0] if head == "unetr" else last.shape[1] // LEVELS
    outputs = len(last)
    kind_of(settings.kind).fit().check_outputs(path, outputs, settings.targets)
    spec = DenseSpec(
        kind=settings.kind,
        targets=settings.targets,
        modalities=settings.modalities,
        head=head,
        size=settings.size,
        patch=UNETR_PATCH_PX,
        width=int(width),
        outputs=outputs,
        target_width=PUBLISHED_WIDTH,
        tile_overlap=settings.tile_overlap,
        swaps=settings.swaps,
    )
    return spec, _filled(spec, tensors, path)


def _filled(spec: DenseSpec, tensors: dict[str, torch.Tensor], path: Path) -> nn.Module:
    network = network_of(spec)
    fill(network, tensors, spec.head, path)
    return network


def file_tensors(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Return what decoder.safetensors holds."""
    return {name: value.contiguous().cpu().numpy() for name, value in state.items()}
