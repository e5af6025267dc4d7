"""`visionfm package ... --onnx FILE`: encoders and decoders as one ONNX graph, for runtimes without Python.

Input, for each modality: `images_MODALITY`, uint8 RGB (B, 3, S, S) in [0, 255], already resized to the square as the
metadata say (`size_px`, `interpolation`: PIL's antialiased filters); normalisation is in the graph. Output, for each
target: `TARGET` (B, K), probabilities after calibration, or a value in its unit; an ensemble's mean. Of a model that
joins modalities every sample needs all of them. What is missing beside the package: reading of files, doubts, sets.
Shapes: B batch, S px, F features, K outputs.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionfm.errors import UsageError
from visionfm.images.transforms import VIEWS
from visionfm.tasks.package.model import Model
from visionfm.tasks.slots import slots
from visionfm.tasks.vectors.calibration import LEAST, name_of

KINDS = ("classification", "regression", "ordinal")
OPSET = 18
FLIPS: dict[str, list[int]] = {"identity": [], "h": [3], "v": [2], "hv": [2, 3]}  # axes of (B, C, H, W)


class Graph(nn.Module):
    """Images to answers, of all members."""

    def __init__(self, model: Model) -> None:
        """Share the model's networks."""
        super().__init__()
        self.said, self.views = model.contents, model.views
        self.eyes = [one.encoder for one in model.encodings]
        self.encoders = nn.ModuleList(self.eyes)
        self.decoders = nn.ModuleList([loaded.network for loaded in model.decoders])
        self.loaded = model.decoders
        for place, loaded in enumerate(model.decoders):
            for name, (mean_F, std_F) in loaded.standardisation.items():
                self.register_buffer(f"mean_{place}_{name}", torch.from_numpy(mean_F))
                self.register_buffer(f"std_{place}_{name}", torch.from_numpy(std_F))

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return a tensor (B, K) for each target, of images_BCHW of each modality in the package's order."""
        vectors = [self._vectors([torch.flip(one, FLIPS[view]) if FLIPS[view] else one for one in images])
                   for view in self.views]  # fmt: skip
        found = [self._member(place, vectors) for place in range(len(self.said.members))]
        return tuple(torch.stack(same).mean(dim=0) for same in zip(*found, strict=True))

    def _member(self, place: int, by_view: list[list[tuple[torch.Tensor, torch.Tensor]]]) -> list[torch.Tensor]:
        """Return one member's answers: the mean over the views, then calibrated, as `predict` does it."""
        answers = [self._answers(place, vectors) for vectors in by_view]
        means = [torch.stack(same).mean(dim=0) for same in zip(*answers, strict=True)]
        return [self._calibrated(self.loaded[place].calibrator, slot, p_BK)
                for slot, p_BK in zip(slots(self.said.targets), means, strict=True)]  # fmt: skip

    def _vectors(self, images: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return cls (B, L*D) and patch mean (B, D) of each encoder, rounded as a cache holds them."""
        found = []
        for entry, encoder in zip(self.said.encoders, self.eyes, strict=True):
            cls_BLD, mean_BD = encoder.trainable_features(images[self.said.modalities.index(entry.modality)])
            kind = torch.float16 if entry.dtype == "float16" else torch.float32
            found.append((cls_BLD.flatten(1).to(kind).float(), mean_BD.to(kind).float()))
        return found

    def _answers(self, place: int, vectors: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
        member, loaded = self.said.members[place], self.loaded[place]
        streams = []
        for name in loaded.spec.modalities:
            cls_BF, mean_BD = vectors[member.encoders[name]]
            features_BF = {"cls": cls_BF, "patch_mean": mean_BD, "both": torch.cat([cls_BF, mean_BD], dim=1)}
            known = getattr(self, f"mean_{place}_{name}"), getattr(self, f"std_{place}_{name}")
            streams.append((features_BF[str(loaded.spec.features)] - known[0]) / known[1])
        there_BS = torch.ones(streams[0].shape[0], len(streams), dtype=torch.bool)
        outputs_BK = self.decoders[place](streams, there_BS)
        return [self._meant(loaded, slot, outputs_BK[:, slot.outputs]) for slot in slots(self.said.targets)]

    def _meant(self, loaded: Any, slot: Any, outputs_BK: torch.Tensor) -> torch.Tensor:
        """Return what the outputs of one target mean, as its objective has it."""
        if slot.target.type == "value":
            std, mean = (torch.tensor(values[slot.outputs], dtype=torch.float32)
                         for values in (loaded.objective.std_T, loaded.objective.mean_T))  # fmt: skip
            return outputs_BK * std + mean
        return outputs_BK.softmax(dim=1) if slot.target.type == "multiclass" else outputs_BK.sigmoid()

    def _calibrated(self, calibrator: Any, slot: Any, p_BK: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of one target after calibration; a value as it is."""
        if calibrator is None or slot.target.type == "value":
            return p_BK
        several = slot.target.type == "multiclass"
        if several:
            return _by_line(calibrator.tensors[name_of(slot, None)], p_BK, several)
        labels = slot.target.classes if slot.target.type == "multilabel" else [None]
        columns = [_by_line(calibrator.tensors[name_of(slot, label)], p_BK[:, [k]], several)
                   for k, label in enumerate(labels)]  # fmt: skip
        return torch.cat(columns, dim=1)


def _by_line(values_P: Any, p_BK: torch.Tensor, several: bool) -> torch.Tensor:
    """Do what `calibration` does for temperature and platt."""
    values = torch.tensor(values_P, dtype=torch.float32)
    logs_BK = torch.log(p_BK.clamp_min(LEAST))
    if not several:
        logs_BK = logs_BK - torch.log((1 - p_BK).clamp_min(LEAST))
    odds_BK = values[0] * logs_BK + (values[1:] if len(values) > 1 else 0.0)
    return odds_BK.softmax(dim=1) if several else odds_BK.sigmoid()


def write(model: Model, out: Path) -> None:
    """Write the graph of a model; UsageError for what has none."""
    said = model.contents
    reasons = {
        f"kind {said.kind}": said.kind not in KINDS,
        "images of several modalities, each alone": said.fusion == "pooled" and len(said.modalities) > 1,
        "calibrate: isotonic": any(one.calibrator and one.calibrator.how == "isotonic" for one in model.decoders),
        "slices: attention": any(one.network.slices is not None for one in model.decoders),
        "precision bf16": any(entry.precision != "fp32" for entry in said.encoders),
    }  # fmt: skip
    if why := next((reason for reason, holds in reasons.items() if holds), None):
        raise UsageError(
            "this model is not written as ONNX", found=why, do="use the package: `visionfm predict --model`"
        )
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch needs it
    except ImportError as error:
        raise UsageError("ONNX is not installed", do="pip install 'visionfm[onnx]'") from error
    sizes = {entry.modality: entry for entry in said.encoders}
    images = tuple(torch.zeros(2, 3, sizes[name].size_px, sizes[name].size_px, dtype=torch.uint8)
                   for name in said.modalities)  # fmt: skip
    batch = torch.export.Dim("batch", min=1, max=4096)
    with torch.no_grad():
        program = torch.onnx.export(
            Graph(model).eval(), images, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=[f"images_{name}" for name in said.modalities], output_names=list(said.targets),
            dynamic_shapes=(tuple({0: batch} for _ in images),),
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    facts = {
        "task": f"{said.task} by {said.model}",
        "intended_use": said.intended_use,
        "licence": said.licence or "not said",
        "targets": json.dumps({name: target.model_dump(mode="json") for name, target in said.targets.items()}),
        "thresholds": json.dumps([question.model_dump(mode="json") for question in said.questions]),
        "size_px": json.dumps({name: entry.size_px for name, entry in sizes.items()}),
        "interpolation": json.dumps({name: entry.interpolation for name, entry in sizes.items()}),
    }
    onnx.helper.set_model_props(proto, facts)
    out.write_bytes(proto.SerializeToString())


assert set(FLIPS) == set(VIEWS)
