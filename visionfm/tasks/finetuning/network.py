"""Encoder and head as one network that is trained: which weights move, at what rate, and what is written at the end.

Forward is the encoder's own features (CLS of the last four blocks, patch mean), as extraction computes them, and the
decoder on top. Shapes: B batch, S px, L taps, D width, K outputs.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from visionfm.encoders import adapters, anatomy
from visionfm.encoders.vit import Encoder
from visionfm.errors import DataError
from visionfm.tasks.finetuning.processes import standardised
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.vectors.decoder import Decoder

Tensors = dict[str, torch.Tensor]


class TunedNetwork(nn.Module):
    """Images to outputs."""

    mean_F: torch.Tensor
    std_F: torch.Tensor

    def __init__(self, encoder: Encoder, decoder: Decoder, recipe: FinetuneRecipe) -> None:
        """Take both over; afterwards exactly what the recipe trains has gradients."""
        super().__init__()
        self.encoder, self.decoder, self.features = encoder, decoder, decoder.spec.features
        encoder.precision = recipe.precision  # autocast; the weights stay float32
        if recipe.drop_path:
            anatomy.set_drop_path(encoder.network, recipe.drop_path)
        choose_trainable(encoder, recipe)
        self.lora = recipe.lora
        if recipe.checkpoint_activations:
            encoder.network.set_grad_checkpointing(True)
        (width,) = decoder.spec.widths
        self.by_batch = recipe.standardise
        self.register_buffer("mean_F", torch.zeros(width))
        self.register_buffer("std_F", torch.ones(width))

    def set_statistics(self, mean_F: torch.Tensor, std_F: torch.Tensor) -> None:
        """Standardise features by these from now on, in evaluation."""
        with torch.no_grad():
            self.mean_F.copy_(mean_F)
            self.std_F.copy_(std_F)

    def raw_features(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        """Return features_BF of uint8 images, or of float ones in [0, 1], not standardised."""
        cls_BLD, patch_mean_BD = self.encoder.trainable_features(images_B3SS)
        parts = {"cls": [cls_BLD.flatten(1)], "patch_mean": [patch_mean_BD]}
        parts["both"] = parts["cls"] + parts["patch_mean"]
        return torch.cat(parts[self.features or "cls"], dim=1)

    def forward(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        """Return outputs_BK of images; in training, features are standardised by their own batch.

        While the encoder moves, what all images have in common drifts by more than images differ.
        """
        features_BF = self.raw_features(images_B3SS)
        if self.training and self.by_batch:
            features_BF = standardised(features_BF)
        else:
            features_BF = (features_BF - self.mean_F) / self.std_F
        present_BS = torch.ones(len(features_BF), 1, dtype=torch.bool, device=features_BF.device)
        outputs_BK: torch.Tensor = self.decoder([features_BF], present_BS)
        return outputs_BK

    def moving(self) -> Tensors:
        """Return what training changes, by name: weights with gradients, and the running statistics of norms."""
        found = {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}
        return {**found, **{name: value for name, value in self.named_buffers() if not name.startswith("encoder.")}}

    def take(self, moving: Tensors) -> None:
        """Set what `moving` names."""
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        with torch.no_grad():
            for name, value in moving.items():
                own[name].copy_(value)

    def encoder_tensors(self) -> Tensors:
        """Return the encoder's weights by timm's names, adapters merged into the layers they stand beside."""
        network = self.encoder.network
        tensors = {name: value for name, value in network.state_dict().items() if not anatomy.is_counter(name)}
        merged = adapters.merged(tensors, self.lora)
        return {name: value.detach().float().cpu().contiguous() for name, value in merged.items()}


def choose_trainable(encoder: Encoder, recipe: FinetuneRecipe) -> None:
    """Give gradients to what the recipe trains of an encoder: all, the last blocks and the norm, or adapters."""
    network = encoder.network
    network.requires_grad_(recipe.last is None and recipe.lora is None)
    if recipe.last is not None:
        if recipe.last > encoder.depth:
            raise DataError(
                "there are not so many blocks, or stages, to train",
                expected=f"last: 1 to {encoder.depth}",
                found=str(recipe.last),
                do="set fewer, or `trainable: all`",
            )
        parameters = dict(network.named_parameters())
        for name, layer in anatomy.layers(network, parameters).items():
            parameters[name].requires_grad_(layer > encoder.depth - recipe.last)
    if recipe.lora is not None:
        adapters.add(network, recipe.lora, encoder.arch)


def optimizer_of(network: TunedNetwork, recipe: FinetuneRecipe) -> torch.optim.Optimizer:
    """Return AdamW over what moves; each group's `share` of the head's learning rate follows its depth."""
    depth, inside = network.encoder.depth, "encoder.network."
    own = [name.removeprefix(inside) for name, _ in network.named_parameters() if name.startswith(inside)]
    layers = anatomy.layers(network.encoder.network, own)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        share = 1.0
        if name.startswith("encoder."):
            layer = layers[name.removeprefix(inside)]
            share = recipe.encoder_lr * recipe.layer_decay ** (depth + 1 - layer)
        plain = parameter.ndim < 2 or name.endswith(anatomy.UNDECAYED)
        groups.setdefault((share, recipe.decay_all or not plain), []).append(parameter)
    listed: Iterable[dict[str, Any]] = [
        {"params": parameters, "share": share, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for (share, decayed), parameters in groups.items()
    ]
    return torch.optim.AdamW(listed, recipe.lr, weight_decay=recipe.weight_decay)
