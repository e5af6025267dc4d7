"""`visionfm publish`: a checkpoint of pretraining in the published key naming, so that other tools read it.

Reads the newest checkpoint of an encoder (or the one named); writes what the published code saves: `student` (`module.`
before each name), `teacher`, `epoch` and `ibot_loss`, tensors and plain values only. A recipe without a teacher that
moves has neither `teacher` nor `ibot_loss`; adapters are merged. Imports torch in functions.
"""

import argparse
import io
import json
import logging
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.encoders import adapters
from visionfm.encoders.adapters import Lora
from visionfm.errors import DataError, UsageError
from visionfm.pretraining.checkpoints import SCHEMA

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="step-*.safetensors, or the encoder's folder: its newest one")
    parser.add_argument("--out", type=Path, required=True, help="the file to write (.pth)")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    path = newest(args.checkpoint)
    publish(path, args.out)
    log.info("published: %s as %s", path, args.out)


def newest(place: Path) -> Path:
    """Return a checkpoint, the newest one where a folder is given."""
    if not place.is_dir():
        return place
    found = sorted(place.rglob("step-*.safetensors"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not found:
        raise UsageError("there is no checkpoint", expected="step-*.safetensors", where=place, do="pretrain it first")
    return found[-1]


def publish(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint in the published naming."""
    import torch

    arrays, metadata = artifacts.read_tensors(checkpoint)
    if metadata.get("schema") != SCHEMA:
        raise DataError(
            "not a checkpoint of pretraining", expected=SCHEMA, found=metadata.get("schema"), where=checkpoint
        )
    progress, content = json.loads(metadata["progress"]), io.BytesIO()
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    lora = json.loads(metadata["identity"])["recipe"].get("lora")
    student = adapters.merged(_of("student", tensors), lora and Lora(**lora))
    file: dict[str, Any] = {
        "student": {f"module.{name}": value for name, value in student.items()},
        "epoch": progress["rows"][-1]["epoch"] if progress["rows"] else 0,
    }
    if "centre.cls" in tensors:
        file["teacher"] = _of("teacher", tensors)
        file["ibot_loss"] = {"center": tensors["centre.cls"][None], "center2": tensors["centre.patch"][None, None]}
    torch.save(file, content)
    artifacts.publish(out, content.getvalue())


def _of(network: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return a network's tensors in the published naming: `backbone.*` and `head.*`."""
    found = {}
    for name, value in tensors.items():
        if name.startswith(f"{network}."):
            found[name.removeprefix(f"{network}.").replace("backbone.vit.", "backbone.", 1)] = value
    return found
