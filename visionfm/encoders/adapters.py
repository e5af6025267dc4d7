"""Low-rank adapters (LoRA) beside an encoder's attention: adding them to a network, and merging what they learned.

Whoever trains an encoder asks here: fine-tuning and continued pretraining. A layer W with an adapter of rank r computes
(W + scale B A) x, scale = alpha / r; only A and B move. Imports no torch before a function is called.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from visionfm.config.base import Positive, Strict
from visionfm.encoders import anatomy
from visionfm.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


class Lora(Strict):
    """Low-rank adapters beside the attention's linear layers."""

    rank: Positive = Field(8, description="of the adapters")
    alpha: float | None = Field(None, gt=0, description="their scale; default: twice the rank")

    @property
    def scale(self) -> float:
        """What the product of both matrices is multiplied by."""
        return (self.alpha or 2.0 * self.rank) / self.rank


def add(network: "nn.Module", lora: Lora, arch: str) -> None:
    """Put adapters beside the attention's layers, in place; afterwards they alone have gradients.

    Raises DataError for a network without attention, UsageError where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise UsageError("adapters (LoRA) need peft, which is not installed", do="pip install peft") from error

    layers = anatomy.ATTENTION_LAYERS
    if not any(re.fullmatch(layers, name) for name, _ in network.named_modules()):
        raise DataError(
            "adapters (LoRA) stand beside layers of attention, which the network does not have",
            expected="a vision transformer, or a Swin",
            found=arch,
            do="leave `lora` out: then all weights are trained",
        )
    network.requires_grad_(False)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.scale * lora.rank, target_modules=layers)  # type: ignore[arg-type]
    inject_adapter_in_model(config, network)


def merged(tensors: "Mapping[str, torch.Tensor]", lora: Lora | None) -> "dict[str, torch.Tensor]":
    """Return tensors by the network's own names, each adapter added to the layer that it stands beside."""
    found = {}
    for name, value in tensors.items():
        if ".lora_" in name:
            continue
        stem = name.removesuffix(f"{BASE}weight")
        if stem != name and lora is not None and f"{stem}{DOWN}" in tensors:
            value = value + (tensors[f"{stem}{UP}"] @ tensors[f"{stem}{DOWN}"]) * lora.scale
        found[name.replace(BASE, ".")] = value
    return found
