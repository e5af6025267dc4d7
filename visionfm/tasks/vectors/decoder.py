"""The decoder as a network and as a file: `decoder.safetensors`, or a published `checkpoint_*_linear.pth`.

The file holds the head's tensors under their published names, `fusion.*`, `standardisation.{modality}.{mean,std}`, and
in regression `targets.{mean,std}`; its metadata say what it was trained for. Shapes: B batch, S streams, F features, K
outputs.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from visionfm import artifacts
from visionfm.encoders.checkpoints import read_checkpoint, told
from visionfm.errors import ArtifactError, DataError
from visionfm.tasks import kind_of
from visionfm.tasks.settings import PredictSettings, TargetSpec
from visionfm.tasks.slots import count_outputs, targets_from_json, targets_to_json
from visionfm.tasks.vectors.feature_arrays import Statistics
from visionfm.tasks.vectors.fusion import FUSIONS, Visits
from visionfm.tasks.vectors.heads import HEADS, ForecastHead, sinusoid
from visionfm.tasks.vectors.objective import Objective

SCHEMA = "visionfm/decoder/1"
Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Spec:
    """What a decoder is, apart from its numbers; `features` is None where a published file does not say."""

    kind: str
    targets: dict[str, TargetSpec]
    modalities: list[str]
    fusion: str
    head: str
    features: str | None
    widths: list[int]  # F of each modality's stream
    visits: int = 1  # progression: the baseline, and at most so many less one before it

    def metadata(self) -> dict[str, str]:
        """Return it as an artefact's metadata."""
        plain = {name: value for name, value in asdict(self).items() if name != "targets"}
        if self.visits == 1:
            del plain["visits"]
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in plain.items()}
        return {**texts, "targets": targets_to_json(self.targets)}


class Decoder(nn.Module):
    """Fusion, then head."""

    def __init__(self, spec: Spec) -> None:
        """Random weights from torch's global generator."""
        super().__init__()
        self.spec = spec
        self.fusion = FUSIONS[spec.fusion](spec.widths)
        own = getattr(kind_of(spec.kind).fit(), "HEADS", {})
        self.head = (
            own[spec.head](self.fusion.width, spec.targets)
            if spec.head in own
            else HEADS[spec.head](self.fusion.width, count_outputs(spec.targets))
        )

    def forward(
        self, streams: list[torch.Tensor], present_BS: torch.Tensor, times_BX: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return outputs_BK of standardised features, S tensors (B, F), which are there, and `streams.times`."""
        if isinstance(self.fusion, Visits):
            fused_BW = self.fusion(streams, present_BS, times_BX)
        else:
            fused_BW = self.fusion(streams, present_BS)
        if isinstance(self.head, ForecastHead) and times_BX is not None:
            outputs_BK: torch.Tensor = self.head(fused_BW, times_BX[:, 0])
        else:
            outputs_BK = self.head(fused_BW)
        return outputs_BK


@dataclass(frozen=True)
class Loaded:
    """A decoder ready to predict."""

    spec: Spec
    network: Decoder
    objective: Objective
    standardisation: Statistics


def file_tensors(network_state: dict[str, torch.Tensor], objective: Objective, standardisation: Statistics) -> Tensors:
    """Return what decoder.safetensors holds."""
    tensors = {name.removeprefix("head."): value.cpu().numpy() for name, value in network_state.items()}
    for modality, (mean_F, std_F) in standardisation.items():
        tensors[f"standardisation.{modality}.mean"] = mean_F
        tensors[f"standardisation.{modality}.std"] = std_F
    return {**tensors, **objective.constants()}


def load_decoder(path: Path, settings: PredictSettings) -> Loaded:
    """Return a decoder of this project, or a published one, whose targets and modalities the settings name."""
    return _load_published(path, settings) if path.suffix != ".safetensors" else _load_own(path)


def _load_own(path: Path) -> Loaded:
    tensors, metadata = artifacts.read_tensors(path)
    if metadata.get("schema") != SCHEMA:
        raise ArtifactError(f"{path.name} is no decoder", expected=SCHEMA, found=metadata.get("schema"), where=path)
    spec = Spec(
        kind=metadata["kind"],
        targets=targets_from_json(metadata.get("targets"), path),
        modalities=json.loads(metadata["modalities"]),
        fusion=metadata["fusion"],
        head=metadata["head"],
        features=metadata["features"],
        widths=json.loads(metadata["widths"]),
        visits=int(metadata.get("visits", 1)),
    )
    standardisation = {
        name: (tensors.pop(f"standardisation.{name}.mean"), tensors.pop(f"standardisation.{name}.std"))
        for name in spec.modalities
        if f"standardisation.{name}.mean" in tensors
    }
    constants = {name: tensors.pop(name) for name in list(tensors) if name.startswith(("targets.", "baseline."))}
    return Loaded(spec, _network(spec, tensors, path), _objective(spec, constants), standardisation)


def _load_published(path: Path, settings: PredictSettings) -> Loaded:
    """Published system, 2.4, 2.5: a dict with the head's state dict, or that itself; names may start with `module.`."""
    tensors = published_tensors(path)
    expected = kind_of(settings.kind).fit().PUBLISHED_HEAD
    if expected is None:
        raise DataError(f"{settings.kind} has no published decoders", found=path.name, do="name a decoder.safetensors")
    if expected == "ForecastHead":
        return _load_forecast(path, tensors, settings)
    heads = {"RegHead": "classifier.3", "ClsHead": "classifier.6"}
    layers = [int(found[1]) for name in tensors if (found := re.match(r"classifier\.(\d+)\.", name))]
    last = f"classifier.{max(layers, default=0)}"
    axes = {name: tensors[name].ndim for name in (f"{last}.weight", "channel_bn.weight") if name in tensors}
    if heads[expected] != last or axes != {f"{last}.weight": 2, "channel_bn.weight": 1}:
        raise DataError(
            f"{path.name} is no published decoder of kind {settings.kind}",
            expected=f"channel_bn.* and classifier.* up to {heads[expected]} ({expected})",
            found=", ".join(sorted(tensors)[:6]) or told(read_checkpoint(path).content),
            where=path,
            do="name a decoder written by train_cls_decoder, train_cls_multi_decoder, "
            "train_metric_reg_multi_decoder or fine-tuning",
        )
    outputs, wanted = len(tensors[f"{last}.weight"]), count_outputs(settings.targets)
    if outputs != wanted:
        raise DataError(
            "the decoder's outputs do not fit the targets",
            expected=f"{wanted} outputs: {', '.join(settings.targets)}",
            found=f"{outputs}",
            where=path,
            do="list the targets in the order of the decoder's outputs (multiclass: one output per class)",
        )
    width = len(tensors["channel_bn.weight"])
    spec = Spec(settings.kind, settings.targets, settings.modalities, "pooled", expected, None, [width])
    constants = {"targets.mean": np.zeros(wanted), "targets.std": np.ones(wanted)}
    identity = {name: (np.zeros(width, np.float32), np.ones(width, np.float32)) for name in settings.modalities}
    return Loaded(spec, _network(spec, tensors, path), _objective(spec, constants), identity)


def _load_forecast(path: Path, tensors: Tensors, settings: PredictSettings) -> Loaded:
    """Published system, 6.6: `fc_1.*` and `pe`, the table of encoded intervals, which must equal that computed here."""
    table = tensors.pop("pe", np.zeros((0, 1, 1), np.float32))
    shape = tensors["fc_1.weight"].shape if "fc_1.weight" in tensors else ()
    width = shape[-1] if len(shape) == 2 else 0
    if set(tensors) != {"fc_1.weight", "fc_1.bias"} or shape != (1, width) or table.shape[1:] != (1, width):
        raise DataError(
            f"{path.name} is no published decoder of kind progression",
            expected="fc_1.weight, fc_1.bias and pe (ForecastHead)",
            found=", ".join(sorted(tensors)[:6]) or told(read_checkpoint(path).content),
            where=path,
            do="name a decoder written by train_forecasting_decoder, and `head: published`",
        )
    known = sinusoid(torch.arange(len(table)), width).numpy()
    if not np.allclose(table[:, 0], known, atol=1e-4):
        raise DataError(
            f"the encoded intervals of {path.name} are not the published ones",
            expected="sines and cosines of days over powers of 10,000",
            where=path,
            do="get the file again, or train the decoder again",
        )
    spec = Spec(settings.kind, settings.targets, settings.modalities, "pooled", "ForecastHead", None, [width])
    identity = {name: (np.zeros(width, np.float32), np.ones(width, np.float32)) for name in settings.modalities}
    return Loaded(spec, _network(spec, tensors, path), _objective(spec, {}), identity)


def published_tensors(path: Path) -> Tensors:
    """Return a published head's tensors by their own names: of a decoder's file, or of a fine-tuned checkpoint."""
    content = read_checkpoint(path).content
    found = content.get("classifier_state_dict", content.get("state_dict", content))
    state = found if isinstance(found, dict) else {}
    return {
        str(name).removeprefix("module."): value.float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def _network(spec: Spec, tensors: Tensors, path: Path) -> Decoder:
    network = Decoder(spec)
    state = {name if name.startswith("fusion.") else f"head.{name}": torch.from_numpy(v) for name, v in tensors.items()}
    fill(network, state, spec.head, path)
    return network


def fill(network: nn.Module, state: dict[str, torch.Tensor], head: str, path: Path) -> None:
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


def _objective(spec: Spec, constants: Tensors) -> Objective:
    """Return the objective as predictions need it: what concerns losses alone is left at its defaults."""
    restored: Objective = kind_of(spec.kind).fit().restored(spec.targets, constants)
    return restored
