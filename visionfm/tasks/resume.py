"""The state of a training run cut short: saved atomically, found by its key, removed once the decoder is there.

It lies in `training-{key}/` beside the decoder's kept copy (outside a results folder: in `.training/` beside the
output), as safetensors with a checksum. Random numbers need no saving: each epoch's come from (seed, epoch).
"""

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from visionfm import artifacts
from visionfm.errors import ArtifactError

SCHEMA = "visionfm/training-state/2"
PARTS = ("model", "best", "optimizer", "average")
log = logging.getLogger("visionfm")
Tensors = dict[str, torch.Tensor]


@dataclass
class State:
    """All that the epochs still to come depend on, after `len(history)` of them."""

    model: Tensors
    best: Tensors
    optimizer: Tensors  # "{parameter}.{name}"
    history: list[dict[str, Any]] = field(default_factory=list)  # rows of training.parquet
    average: Tensors = field(default_factory=dict)  # the weights' moving average, where there is one
    progress: dict[str, Any] = field(default_factory=dict)  # inside an epoch

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.history)


class StateFile:
    """Where one run's state lies."""

    def __init__(self, out: Path, made_by: artifacts.Provenance, name: str = "state") -> None:
        """`out` is the decoder's path, `made_by` its provenance: a state of another key is never read.

        `name`: of one of several states that become one decoder.
        """
        kept = artifacts.kept_path(out)
        self.path = (
            (kept.parent if kept else out.parent / ".training") / f"training-{made_by.key[:16]}" / f"{name}.safetensors"
        )
        self.out, self.made_by = out, made_by

    def of(self, name: str) -> "StateFile":
        """Return where the state of a candidate lies; `remove` drops them all."""
        return StateFile(self.out, self.made_by, name) if name else self

    def load(self, device: str) -> State | None:
        """Return the state that was saved, or None; a damaged one is named in the log and training starts anew."""
        if not self.path.is_file():
            return None
        try:
            tensors, metadata = artifacts.read_tensors(self.path)
        except ArtifactError as error:
            log.warning("train: starts anew: %s", error.problem)
            return None
        if metadata["key"] != self.made_by.key or metadata["schema"] != SCHEMA:
            return None
        parts: dict[str, Tensors] = {part: {} for part in PARTS}
        for name, array in tensors.items():
            part, _, rest = name.partition(".")
            # Step counts stay where the optimizer keeps them, on the CPU.
            where = "cpu" if rest.endswith(".step") else device
            parts[part][rest] = torch.from_numpy(array).to(where)
        progress = json.loads(metadata["progress"])
        return State(history=json.loads(metadata["history"]), progress=progress, **parts)

    def save(self, state: State) -> None:
        """Publish the state."""
        tensors = {
            f"{part}.{name}": value.cpu().numpy() for part in PARTS for name, value in getattr(state, part).items()
        }
        extra = {"history": json.dumps(state.history), "progress": json.dumps(state.progress)}
        artifacts.write_tensors(self.path, tensors, self.made_by, schema=SCHEMA, extra=extra)

    def remove(self) -> None:
        """Drop the state, and the copy that `artifacts` keeps of whatever it writes below a results folder."""
        for place in (self.path, artifacts.kept_path(self.path)):
            if place is None or not place.parent.is_dir():
                continue
            shutil.rmtree(place.parent)
            for folder in place.parent.parents:
                if folder.name == artifacts.RESULTS or any(folder.iterdir()):
                    break
                folder.rmdir()
