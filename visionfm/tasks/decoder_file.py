"""A decoder as a file, of vectors and of maps alike: `decoder.safetensors`, or a published checkpoint.

`decoder.safetensors` holds tensors under their published names; its metadata are the decoder's spec, a dataclass that
says what the decoder is apart from its numbers. A spec is read without torch.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy.typing as npt
from pydantic import TypeAdapter

from visionfm import artifacts
from visionfm.config.settings import Settings
from visionfm.encoders.checkpoints import read_checkpoint, told
from visionfm.errors import ArtifactError, DataError
from visionfm.tasks.slots import targets_to_json

if TYPE_CHECKING:
    import torch
    from torch import nn

AS_TEXT = (str, str | None)  # types of the fields that stand in the metadata as they are; the others are JSON


def is_own(path: Path) -> bool:
    """Tell whether a decoder is of this project, and not a published one."""
    return path.suffix == ".safetensors"


def digest_of(path: Path) -> str:
    """Return what stands for a decoder in the keys of what it predicts."""
    return artifacts.payload_digest(path) if is_own(path) else hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class DecoderSpec:
    """What a decoder is; subclasses declare the fields, among them `targets`."""

    SCHEMA: ClassVar[str]
    WHAT: ClassVar[str]  # in messages
    TARGET: ClassVar[type[Settings]]

    def metadata(self) -> dict[str, str]:
        """Return it as an artefact's metadata."""
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in self._plain().items()}
        return {**texts, "targets": targets_to_json(vars(self)["targets"])}

    def _plain(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "targets"}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the spec of a decoder of this project; ArtifactError where the file holds none of this kind."""
        return cls._of(artifacts.read_metadata(path), path)

    @classmethod
    def load(cls, path: Path) -> tuple[Self, dict[str, npt.NDArray[Any]]]:
        """Return spec and tensors of a decoder of this project."""
        tensors, metadata = artifacts.read_tensors(path)
        return cls._of(metadata, path), tensors

    @classmethod
    def _of(cls, metadata: Mapping[str, str], path: Path) -> Self:
        artifacts.check_schema(metadata, cls.SCHEMA, cls.WHAT, path)
        with artifacts.understood(path):
            values: dict[str, Any] = {
                field.name: _value(field.type, field.name, metadata[field.name])
                for field in fields(cls)
                if field.name in metadata
            }
        try:
            targets = {name: cls.TARGET.model_validate(value) for name, value in values.pop("targets").items()}
            return cls(**{**values, "targets": targets})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"{path.name} does not say all that a decoder is",
                expected=", ".join(field.name for field in fields(cls)),
                found=", ".join(sorted(metadata)),
                where=path,
                do="train the decoder again",
            ) from error


def _value(kind: Any, name: str, text: str) -> Any:
    """Return a field's value from metadata; ValueError where it is of another type."""
    if kind in AS_TEXT:
        return text
    return json.loads(text) if name == "targets" else TypeAdapter(kind).validate_json(text, strict=True)


def arrays_of(state: "Mapping[str, torch.Tensor]") -> dict[str, npt.NDArray[Any]]:
    """Return a network's state as a file holds it."""
    return {name: value.contiguous().cpu().numpy() for name, value in state.items()}


def published_state(path: Path) -> "dict[str, torch.Tensor]":
    """Return a published head's tensors by their own names: of a decoder's file, or of a fine-tuned checkpoint.

    Published system, 2.4, 2.5: a dict with the head's state dict, or that itself; names may start with `module.`.
    """
    import torch

    content = read_checkpoint(path).content
    found = content.get("classifier_state_dict", content.get("state_dict", content))
    state = found if isinstance(found, dict) else {}
    return {
        str(name).removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


class Finetuned(NamedTuple):
    """The linear head of a network that RETFound's own script fine-tuned, and what it reads of that network."""

    weight_KD: "torch.Tensor"
    bias_K: "torch.Tensor"
    features: str  # `patch_mean`: the normed mean of the patches; `cls`: the CLS token after the last block


def finetuned_head(path: Path) -> Finetuned | None:
    """Return the head of a file `{model: encoder.*, head.*}`; None where it is no such file.

    A file that has `fc_norm` reads the mean of the patches, one that has `norm` the CLS token.
    """
    import torch

    model = read_checkpoint(path).content.get("model")
    if not isinstance(model, dict):
        return None
    state = {str(name).removeprefix("module."): value for name, value in model.items()}
    weight_KD, bias_K = state.get("head.weight"), state.get("head.bias")
    if not isinstance(weight_KD, torch.Tensor) or not isinstance(bias_K, torch.Tensor):
        return None
    if "blocks.0.norm1.weight" not in state or (weight_KD.ndim, bias_K.ndim) != (2, 1):
        return None
    pooled = [name for name in ("fc_norm", "norm") if f"{name}.weight" in state]
    if len(pooled) != 1:
        raise DataError(
            "what the head reads is not clear",
            expected="fc_norm.weight (the mean of the patches) or norm.weight (the CLS token)",
            found=" and ".join(pooled) or "neither",
            where=path,
            do="get the file as RETFound's script writes it",
        )
    return Finetuned(weight_KD.float(), bias_K.float(), "patch_mean" if pooled == ["fc_norm"] else "cls")


def not_published(path: Path, what: str, tensors: Iterable[str], expected: str, do: str) -> DataError:
    """Return the error of a file that holds no published decoder of some kind."""
    return DataError(
        f"{path.name} is no published decoder of {what}",
        expected=expected,
        found=", ".join(sorted(tensors)[:6]) or told(read_checkpoint(path).content),
        where=path,
        do=do,
    )


def fill(network: "nn.Module", state: "Mapping[str, torch.Tensor]", head: str, path: Path) -> None:
    """Load a file's tensors into its network, which then predicts; DataError where they do not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"the tensors of {path.name} do not fit its head {head}",
            found="; ".join(line.strip() for line in str(error).splitlines()[1:5]),
            where=path,
            do="get the file again, or train the decoder again",
        ) from error
    network.eval()
