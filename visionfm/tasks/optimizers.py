"""AdamW and SGD of heads, on torch's functional forms, whose bits they have.

torch's own classes load its compiler, which takes as long as a short training of a head.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

Entry = dict[str, torch.Tensor]  # what is remembered of one parameter, by torch's names
BETAS, EPS = (0.9, 0.999), 1e-8


class Optimizer(Protocol):
    """What a training needs of an optimizer; torch's have it, too."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Change the parameters by their gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Return under `state` what is remembered of each parameter, by its number."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class _OfHeads(ABC):
    def __init__(self, groups: Sequence[dict[str, Any]], lr: float, weight_decay: float) -> None:
        """`groups` have `params`, and may have a `weight_decay` of their own."""
        self.param_groups = [{"lr": lr, "weight_decay": weight_decay, **group} for group in groups]
        self.state: dict[int, Entry] = {}

    def zero_grad(self) -> None:
        for parameter in self._parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        number = 0
        for group in self.param_groups:
            with_gradient = [
                (at, parameter) for at, parameter in enumerate(group["params"], number) if parameter.grad is not None
            ]
            number += len(group["params"])
            if with_gradient:
                numbers, parameters = zip(*with_gradient, strict=True)
                gradients = [parameter.grad for parameter in parameters]
                self._step(group, list(parameters), gradients, [self.state.setdefault(at, {}) for at in numbers])

    @abstractmethod
    def _step(
        self, group: dict[str, Any], parameters: list[Any], gradients: list[torch.Tensor], entries: list[Entry]
    ) -> None:
        """Change the parameters of a group, and what is remembered of them."""

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        parameters = list(self._parameters())
        self.state = {
            at: {name: value if name == "step" else value.to(parameters[at]) for name, value in entry.items()}
            for at, entry in state_dict["state"].items()
        }

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


class AdamW(_OfHeads):
    """`torch.optim.AdamW` with its defaults."""

    def _step(
        self, group: dict[str, Any], parameters: list[Any], gradients: list[torch.Tensor], entries: list[Entry]
    ) -> None:
        from torch.optim.adamw import adamw

        for parameter, entry in zip(parameters, entries, strict=True):
            entry.setdefault("step", torch.tensor(0.0))
            for name in ("exp_avg", "exp_avg_sq"):
                if name not in entry:
                    entry[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        steps, means, squares = ([entry[name] for entry in entries] for name in ("step", "exp_avg", "exp_avg_sq"))
        settings = {"lr": group["lr"], "weight_decay": group["weight_decay"], "eps": EPS, "maximize": False}
        beta1, beta2 = BETAS
        adamw(parameters, gradients, means, squares, [], steps, amsgrad=False, beta1=beta1, beta2=beta2, **settings)


class Sgd(_OfHeads):
    """`torch.optim.SGD` with a momentum."""

    def __init__(self, groups: Sequence[dict[str, Any]], lr: float, momentum: float, weight_decay: float) -> None:
        """`groups` as of AdamW."""
        super().__init__(groups, lr, weight_decay)
        self.momentum = momentum

    def _step(
        self, group: dict[str, Any], parameters: list[Any], gradients: list[torch.Tensor], entries: list[Entry]
    ) -> None:
        from torch.optim.sgd import sgd

        buffers = [entry.get("momentum_buffer") for entry in entries]
        settings = {"lr": group["lr"], "weight_decay": group["weight_decay"], "momentum": self.momentum}
        sgd(parameters, gradients, buffers, dampening=0.0, nesterov=False, maximize=False, **settings)
        for entry, buffer in zip(entries, buffers, strict=True):
            if buffer is not None:
                entry["momentum_buffer"] = buffer
