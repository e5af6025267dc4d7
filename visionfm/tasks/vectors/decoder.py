"""The decoder as a network and as a file: `decoder.safetensors`, or a published `checkpoint_*_linear.pth`.

The file holds the head's tensors under their published names, `slices.*`, `fusion.*`,
`standardisation.{modality}.{mean,std}`, in regression `targets.{mean,std}`, of k-NN `neighbours`, where it was
calibrated `calibration.*`; its metadata say what it was trained for.
Shapes: B batch, S streams, N training samples, F features, K outputs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from visionfm.encoders.file import TAPS
from visionfm.errors import ArtifactError, DataError
from visionfm.tasks import kind_of
from visionfm.tasks.decoder_file import (
    Finetuned,
    arrays_of,
    fill,
    finetuned_head,
    is_own,
    not_published,
    published_state,
)
from visionfm.tasks.settings import PredictSettings
from visionfm.tasks.slots import count_outputs
from visionfm.tasks.vectors.calibration import PREFIX, Calibrator
from visionfm.tasks.vectors.feature_arrays import ATTENTION, Statistics
from visionfm.tasks.vectors.fusion import FUSIONS, Visits
from visionfm.tasks.vectors.heads import HEADS, AttentiveHead, ForecastHead, KnnHead, sinusoid
from visionfm.tasks.vectors.objective import Objective, Prediction
from visionfm.tasks.vectors.slices import SlicePooling, Slices
from visionfm.tasks.vectors.spec import ATTENTIVE, HELD, NAMED, Spec


class Decoder(nn.Module):
    """Pooling of slices where it is learned, fusion, then head."""

    def __init__(self, spec: Spec) -> None:
        """Random weights from torch's global generator."""
        super().__init__()
        self.spec = spec
        self.slices = SlicePooling(spec.widths) if spec.slices == ATTENTION else None
        self.fusion = FUSIONS[spec.fusion](spec.widths if self.slices is None else self.slices.widths)
        self.head = _head(spec, self.fusion.width)

    def forward(
        self,
        streams: list[torch.Tensor],
        present_BS: torch.Tensor,
        times_BX: torch.Tensor | None = None,
        slices: Slices | None = None,
    ) -> torch.Tensor:
        """Return outputs_BK of standardised features, S tensors (B, F), which are there, and `streams.times`.

        A decoder that pools slices gets S tensors (B, I, F), and which of them are a sample's own; in training it
        answers once for each of its attentions, (K * B, outputs).
        """
        if self.slices is not None:
            assert slices is not None
            streams = self.slices(streams, slices)
            present_BS = present_BS.repeat(len(streams[0]) // len(present_BS), 1)
        if isinstance(self.fusion, Visits):
            fused_BW = self.fusion(streams, present_BS, times_BX)
        else:
            fused_BW = self.fusion(streams, present_BS)
        if isinstance(self.head, ForecastHead) and times_BX is not None:
            outputs_BK: torch.Tensor = self.head(fused_BW, times_BX[:, 0])
        else:
            outputs_BK = self.head(fused_BW)
        return outputs_BK


def _head(spec: Spec, width: int) -> nn.Module:
    if spec.head == ATTENTIVE:
        return AttentiveHead(spec.tokens, count_outputs(spec.targets))
    own = getattr(kind_of(spec.kind).fit(), "HEADS", {})
    if spec.head in own:
        head: nn.Module = own[spec.head](width, spec.targets)
        return head
    return HEADS[spec.head](width, count_outputs(spec.targets))


@dataclass(frozen=True)
class Loaded:
    """A decoder ready to predict."""

    spec: Spec
    network: Decoder
    objective: Objective
    standardisation: Statistics
    calibrator: Calibrator | None = None

    def calibrated(self, prediction: Prediction) -> Prediction:
        """Return a prediction with calibrated probabilities, and an expected grade that is theirs."""
        if self.calibrator is None:
            return prediction
        numbers_NK, score_NK = np.split(prediction.values, [prediction.numbers], axis=1)
        score_NK = self.calibrator(prediction.slot, prediction.class_name, score_NK)
        if prediction.numbers:
            numbers_NK = score_NK @ np.arange(score_NK.shape[1])[:, None]
        return prediction._replace(values=np.concatenate([numbers_NK, score_NK], axis=1))


def file_tensors(
    network_state: dict[str, torch.Tensor], objective: Objective, standardisation: Statistics
) -> dict[str, npt.NDArray[Any]]:
    """Return what decoder.safetensors holds."""
    tensors = {name.removeprefix("head."): value for name, value in arrays_of(network_state).items()}
    for modality, (mean_F, std_F) in standardisation.items():
        tensors[f"standardisation.{modality}.mean"] = mean_F
        tensors[f"standardisation.{modality}.std"] = std_F
    return {**tensors, **objective.constants()}


def load_decoder(path: Path, settings: PredictSettings) -> Loaded:
    """Return a decoder of this project, or a published one, whose targets and modalities the settings name."""
    return load_own(path) if is_own(path) else _load_published(path, settings)


def load_own(path: Path) -> Loaded:
    """Return a decoder of this project; ArtifactError where a k-NN's training samples are not to be had."""
    spec, tensors = Spec.load(path)
    standardisation = {
        name: (tensors.pop(f"standardisation.{name}.mean"), tensors.pop(f"standardisation.{name}.std"))
        for name in spec.modalities
        if f"standardisation.{name}.mean" in tensors
    }
    constants = {name: tensors.pop(name) for name in list(tensors) if name.startswith(("targets.", "baseline."))}
    maps = {name: tensors.pop(name) for name in list(tensors) if name.startswith(PREFIX)}
    named, rows_NF = tensors.pop(NAMED, None), tensors.pop(HELD, None)
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    loaded = _loaded(spec, state, constants, standardisation, path)
    if isinstance(head := loaded.network.head, KnnHead):
        head.remember(_rows(named, rows_NF, loaded, path), head.truth_NK)
    return replace(loaded, calibrator=Calibrator(spec.calibrate, maps)) if maps else loaded


def _rows(named: npt.NDArray[Any] | None, rows_NF: npt.NDArray[Any] | None, loaded: Loaded, path: Path) -> torch.Tensor:
    """Return the features of a k-NN decoder's training samples, which its file holds or names."""
    if rows_NF is not None:
        return torch.from_numpy(rows_NF)
    if named is None:
        raise ArtifactError(f"{path.name} names no training samples", where=path, do="train the decoder again")
    from visionfm.tasks.vectors.neighbours import Neighbours  # which needs this module

    return Neighbours.read(named).rows(loaded.network, loaded.standardisation, path)


def _load_published(path: Path, settings: PredictSettings) -> Loaded:
    if settings.kind == "classification" and (finetuned := finetuned_head(path)) is not None:
        return _load_finetuned(path, finetuned, settings)
    tensors = published_state(path)
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
        raise not_published(
            path,
            f"kind {settings.kind}",
            tensors,
            expected=f"channel_bn.* and classifier.* up to {heads[expected]} ({expected})",
            do="name a decoder written by train_cls_decoder, train_cls_multi_decoder, "
            "train_metric_reg_multi_decoder or fine-tuning",
        )
    outputs, wanted = len(tensors[f"{last}.weight"]), count_outputs(settings.targets)
    _check_outputs(path, outputs, wanted, settings)
    constants = {"targets.mean": np.zeros(wanted), "targets.std": np.ones(wanted)}
    return _published(settings, expected, len(tensors["channel_bn.weight"]), tensors, constants, path)


def _check_outputs(path: Path, outputs: int, wanted: int, settings: PredictSettings) -> None:
    if outputs != wanted:
        raise DataError(
            "the decoder's outputs do not fit the targets",
            expected=f"{wanted} outputs: {', '.join(settings.targets)}",
            found=f"{outputs}",
            where=path,
            do="list the targets in the order of the decoder's outputs (multiclass: one output per class)",
        )


def _load_finetuned(path: Path, head: Finetuned, settings: PredictSettings) -> Loaded:
    """Return the head of a file that RETFound's own script fine-tuned: one softmax over its classes.

    Of two classes, a binary target's one output is the difference of the two. Where the head reads the CLS token after
    the last block, the other blocks' have weight zero.
    """
    wanted, weight_KD, bias_K = count_outputs(settings.targets), head.weight_KD, head.bias_K
    if wanted == 1 and len(bias_K) == 2:
        weight_KD, bias_K = weight_KD[1:] - weight_KD[:1], bias_K[1:] - bias_K[:1]
    _check_outputs(path, len(bias_K), wanted, settings)
    if len(settings.targets) != 1 or next(iter(settings.targets.values())).type not in ("binary", "multiclass"):
        raise DataError(
            f"{path.name} was fine-tuned on one question whose classes exclude each other",
            expected="one target, binary or multiclass",
            found=", ".join(f"{name} ({target.type})" for name, target in settings.targets.items()),
            where=path,
            do="write its classes, in their order, as one multiclass target",
        )
    if head.features == "cls":
        weight_KD = torch.cat([torch.zeros(len(weight_KD), (TAPS - 1) * weight_KD.shape[1]), weight_KD], dim=1)
    state = {"linear.weight": weight_KD, "linear.bias": bias_K}
    return _published(settings, "linear", weight_KD.shape[1], state, {}, path, head.features)


def _load_forecast(path: Path, tensors: dict[str, torch.Tensor], settings: PredictSettings) -> Loaded:
    """Published system, 6.6: `fc_1.*` and `pe`, the table of encoded intervals, which must equal that computed here."""
    table = tensors.pop("pe", torch.zeros(0, 1, 1))
    shape = tensors["fc_1.weight"].shape if "fc_1.weight" in tensors else ()
    width = shape[-1] if len(shape) == 2 else 0
    if set(tensors) != {"fc_1.weight", "fc_1.bias"} or shape != (1, width) or table.shape[1:] != (1, width):
        raise not_published(
            path,
            "kind progression",
            tensors,
            expected="fc_1.weight, fc_1.bias and pe (ForecastHead)",
            do="name a decoder written by train_forecasting_decoder, and `head: published`",
        )
    if not torch.allclose(table[:, 0], sinusoid(torch.arange(len(table)), width), atol=1e-4):
        raise DataError(
            f"the encoded intervals of {path.name} are not the published ones",
            expected="sines and cosines of days over powers of 10,000",
            where=path,
            do="get the file again, or train the decoder again",
        )
    return _published(settings, "ForecastHead", width, tensors, {}, path)


def _published(
    settings: PredictSettings,
    head: str,
    width: int,
    state: Mapping[str, torch.Tensor],
    constants: dict[str, npt.NDArray[Any]],
    path: Path,
    features: str | None = None,
) -> Loaded:
    """Return a published decoder, which reads features as they are; `features` where its file says which."""
    spec = Spec(settings.kind, settings.targets, settings.modalities, "pooled", head, features, [width])
    identity = {name: (np.zeros(width, np.float32), np.ones(width, np.float32)) for name in settings.modalities}
    return _loaded(spec, state, constants, identity, path)


def _loaded(
    spec: Spec,
    state: Mapping[str, torch.Tensor],
    constants: dict[str, npt.NDArray[Any]],
    standardisation: Statistics,
    path: Path,
) -> Loaded:
    """Return the decoder with its objective as predictions need it: what concerns losses alone is at its defaults."""
    network = Decoder(spec)
    named = {
        name if name.startswith(("slices.", "fusion.")) else f"head.{name}": value for name, value in state.items()
    }
    fill(network, named, spec.head, path)
    return Loaded(spec, network, kind_of(spec.kind).fit().restored(spec.targets, constants), standardisation)
