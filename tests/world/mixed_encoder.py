"""An encoder of several modalities (`scheme: mix`) with the weights of another one, whose statistics are one of its."""

import json
from pathlib import Path

from visionfm import artifacts
from visionfm.encoders.file import SCHEMA, read_encoder_file

OCT = {"mean": [0.9, 0.8, 0.7], "std": [0.9, 0.8, 0.7]}


def write_mix(plain: Path, out: Path) -> Path:
    """Write `plain` again as an encoder of its own modality and of scans, each normalised by its own statistics."""
    file = read_encoder_file(plain)
    own = file.statistics()
    several = {file.modality: {"mean": list(own.mean), "std": list(own.std)}, "OCT": OCT}
    names = ("arch", "image_size", "patch", "interpolation", "source", "renamed", "dropped")
    same = {name: file.metadata[name] for name in names}
    extra = {**same, "modality": "any", "mean": "null", "std": "null", "statistics": json.dumps(several)}
    made_by = artifacts.provenance("pretrain", several, {})
    artifacts.write_tensors(out, artifacts.read_tensors(plain)[0], made_by, schema=SCHEMA, extra=extra)
    return out
