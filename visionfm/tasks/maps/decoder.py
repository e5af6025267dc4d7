"""A dense decoder as a network and as a file: `decoder.safetensors`, or a published `checkpoint_*_linear.pth`.

The file holds the head's tensors under their published names; its metadata say what it was trained for.
"""

from pathlib import Path

import torch
from torch import nn

from visionfm.tasks import kind_of
from visionfm.tasks.decoder_file import fill, is_own, not_published, published_state
from visionfm.tasks.maps.heads import HEADS, UNETR_PATCH_PX, head_of_file
from visionfm.tasks.maps.settings import DensePredictSettings
from visionfm.tasks.maps.spec import DenseSpec

LEVELS = 4
PUBLISHED_WIDTH = 0.0  # of a landmark's target: one pixel
KERNELS = {  # those that sizes are read from
    "unetr": ("cls.weight", "d1.deconv.weight"),
    "linear": ("conv_seg.weight",),
}


def network_of(spec: DenseSpec) -> nn.Module:
    """Return the head of a spec, random weights from torch's global generator."""
    head: nn.Module = HEADS[spec.head](spec.width, spec.outputs, spec.patch)
    return head.to(memory_format=torch.channels_last) if spec.head == "light" else head


def load_decoder(path: Path, settings: DensePredictSettings) -> tuple[DenseSpec, nn.Module]:
    """Return a decoder of this project or a published one, ready to predict.

    DataError where a published one is no UNETR or linear head, or its outputs are not those of the settings' targets.
    """
    if is_own(path):
        spec, arrays = DenseSpec.load(path)
        state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    else:
        state = published_state(path)
        spec = _published_spec(path, state, settings)
    network = network_of(spec)
    fill(network, state, spec.head, path)
    return spec, network


def _published_spec(path: Path, tensors: dict[str, torch.Tensor], settings: DensePredictSettings) -> DenseSpec:
    head = head_of_file(set(tensors))
    if head is None or any(tensors[name].ndim != 4 for name in KERNELS[head]):
        raise not_published(
            path,
            "masks or points",
            tensors,
            expected="tensors d1.*, s1.*, c1.*, cls.* (UNETR) or conv_seg.* (linear)",
            do="name a decoder written by train_seg_decoder or train_landmark_decoder",
        )
    last = tensors["cls.weight" if head == "unetr" else "conv_seg.weight"]
    width = tensors["d1.deconv.weight"].shape[0] if head == "unetr" else last.shape[1] // LEVELS
    outputs = len(last)
    kind_of(settings.kind).fit().check_outputs(path, outputs, settings.targets)
    return DenseSpec(
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
