"""How gradients move the student, and the student the teacher: groups, AdamW, clipping, averaging.

Published system (docs/published-system.md), 3.7.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from visionfm.encoders import anatomy
from visionfm.pretraining.recipe import Recipe
from visionfm.pretraining.schedules import Values

BETAS, EPS = (0.9, 0.999), 1e-8
LAST_LAYER = "last_layer"


def optimizer_of(student: nn.Module, recipe: Recipe, depth: int, head_lr: float = 1.0) -> torch.optim.AdamW:
    """Return AdamW over the student: biases and vectors are not decayed; lower blocks move less with `layer_decay`.

    `head_lr` is the learning rate of the head, in parts of lr.
    """
    groups: dict[tuple[bool, float, type], dict[str, Any]] = {}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and not name.endswith(".bias")
        factor = head_lr if name.startswith("head.") else recipe.layer_decay ** (depth + 1 - layer_of(name, depth))
        group = groups.setdefault((decayed, factor, type(parameter.data)), {"params": []})
        group["params"].append(parameter)
        group.update(decayed=decayed, factor=factor)
    return torch.optim.AdamW(list(groups.values()), betas=BETAS, eps=EPS, fused=True)


def layer_of(name: str, depth: int) -> int:
    """Return 0 for what lies before the blocks, 1 for the first block, ..., depth + 1 for norm and head."""
    if name.startswith("backbone.vit."):
        return anatomy.layer_of(name.removeprefix("backbone.vit."), depth)
    return 0 if name == "backbone.masked_embed" else depth + 1


def set_values(optimizer: torch.optim.Optimizer, values: Values) -> None:
    """Set the learning rate and weight decay of a step."""
    for group in optimizer.param_groups:
        group["lr"] = values.lr * group["factor"]
        group["weight_decay"] = values.weight_decay if group["decayed"] else 0.0


def clip_gradients(parameters: Iterable[nn.Parameter], recipe: Recipe) -> float:
    """Scale down gradients that are too long; return the norm of all together before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack([_norm(gradient) for gradient in gradients])
    total = torch.linalg.vector_norm(norms)
    if recipe.clip > 0:
        too_long = norms if recipe.clip_by == "parameter" else total.expand(len(norms))
        factors = (recipe.clip / (too_long + 1e-6)).clamp(max=1)
        torch._foreach_mul_([_own_part(gradient) for gradient in gradients], list(factors.unbind()))
    return float(total)


def _norm(gradient: torch.Tensor) -> torch.Tensor:
    norm: Any = torch.linalg.vector_norm(gradient)
    whole_norm: torch.Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # GPUs share the gradient
    return whole_norm


def _own_part(tensor: Any) -> torch.Tensor:
    """Return what of a tensor this process holds: all of it, unless GPUs share it."""
    part: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def hold_last_layer(student: nn.Module) -> None:
    """Take the gradients of the head's last layers away, so that this step leaves them as they are."""
    for name, parameter in student.named_parameters():
        if LAST_LAYER in name:
            parameter.grad = None


class MovingAverage:
    """The teacher follows the student."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        """Pairs parameters by name; the mask token has no partner."""
        mine = dict(student.named_parameters())
        self.pairs = [(parameter, mine[name]) for name, parameter in teacher.named_parameters()]

    @torch.no_grad()
    def move(self, momentum: float) -> None:
        """Move all parameters of the teacher a step towards the student's."""
        teachers, students = zip(*self.pairs, strict=True)
        torch._foreach_lerp_([_own_part(p.data) for p in teachers], [_own_part(p.data) for p in students], 1 - momentum)


# --- state by name --------------------------------------------------------------------------------------------------


def restore(network: nn.Module, prefix: str, stored: Mapping[str, torch.Tensor]) -> None:
    """Set a network's tensors to those under a prefix, all of them; none where nothing has that prefix."""
    under = {name.removeprefix(f"{prefix}."): value for name, value in stored.items() if name.startswith(f"{prefix}.")}
    for name, tensor in network.state_dict(keep_vars=True).items() if under else ():
        tensor.data.copy_(like(under[name], tensor))


def moments(student: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimizer's state by parameter name: `{parameter}:{what}`."""
    return {
        f"{name}:{what}": value
        for name, parameter in student.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def restore_moments(student: nn.Module, optimizer: torch.optim.Optimizer, stored: Mapping[str, torch.Tensor]) -> None:
    """Put the optimizer's state back."""
    parameters = dict(student.named_parameters())
    for key, value in stored.items():
        name, _, what = key.rpartition(":")
        parameter = parameters[name]
        state = optimizer.state[parameter]
        state[what] = value.to(parameter.device) if what == "step" else like(value, parameter)


def like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor on the device of a parameter, shared among GPUs as that is."""
    value = value.to(parameter.device)
    if not hasattr(parameter, "device_mesh"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parameter.device_mesh, parameter.placements)  # type: ignore[attr-defined]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as one piece on the CPU; all processes must call this for what GPUs share."""
    full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().cpu()
