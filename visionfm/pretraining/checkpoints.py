"""The state of a training under way: saved atomically, the last two kept, refused where it is of another config.

They lie in `pretraining/{key}/` beside the encoder, with the list of images that the training began with; these are no
declared outputs. A damaged checkpoint is named in the log and the one before is used.
"""

import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionfm import artifacts
from visionfm.config.base import Statistics
from visionfm.errors import ArtifactError, DataError

if TYPE_CHECKING:
    import torch

SCHEMA, IMAGES_SCHEMA = "visionfm/pretraining-state/1", "visionfm/pretraining-images/1"
KEPT = 2
log = logging.getLogger("visionfm")


@dataclass
class State:
    """All that the steps still to come depend on, after `step` of them; random numbers come from (seed, step)."""

    step: int
    tensors: "dict[str, torch.Tensor]"  # student.*, moments.*, what the family moves beside, features
    rows: list[dict[str, Any]] = field(default_factory=list)  # of training.parquet
    interval: dict[str, float] = field(default_factory=dict)  # sums since the last row
    scaler: dict[str, Any] = field(default_factory=dict)


class Folder:
    """Where one training's state lies."""

    def __init__(self, out: Path, made_by: artifacts.Provenance, identity: Mapping[str, Any]) -> None:
        """`out` is the encoder's path, `identity` what decides which encoder it is; `made_by.key` names the folder."""
        self.path = out.parent / "pretraining" / made_by.key[:16]
        self.made_by, self.identity = made_by, dict(identity)

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted(self.path.glob("step-*.safetensors"), key=_step_of, reverse=True)

    def latest(self) -> State | None:
        """Return the newest state that is whole; None where there is none."""
        for path in self.checkpoints():
            try:
                return self.load(path)
            except ArtifactError as error:
                log.warning("pretrain: %s: %s; the one before is used", path.name, error.problem)
        return None

    def load(self, path: Path) -> State:
        """Return the state in a file; DataError where it is of another config, with what differs."""
        import torch

        arrays, metadata = artifacts.read_tensors(path)
        if metadata["schema"] != SCHEMA:
            raise DataError("not a checkpoint of pretraining", expected=SCHEMA, found=metadata["schema"], where=path)
        theirs = json.loads(metadata["identity"])
        if differing := differences(theirs, self.identity):
            raise DataError(
                "the checkpoint is of another config",
                expected="the same training",
                found="; ".join(differing),
                where=path,
                do="set these as they were, or leave the checkpoint out to begin anew",
            )
        progress = json.loads(metadata["progress"])
        return State(tensors={name: torch.from_numpy(array) for name, array in arrays.items()}, **progress)

    def save(self, state: State) -> Path:
        """Publish a state and drop all but the last two."""
        path = self.path / f"step-{state.step:09d}.safetensors"
        progress = {"step": state.step, "rows": state.rows, "interval": state.interval, "scaler": state.scaler}
        extra = {"identity": json.dumps(self.identity, sort_keys=True), "progress": json.dumps(progress)}
        arrays = {name: tensor.numpy() for name, tensor in state.tensors.items()}
        artifacts.write_tensors(path, arrays, self.made_by, schema=SCHEMA, extra=extra)
        self.keep(KEPT)
        return path

    def keep(self, count: int) -> None:
        """Drop all checkpoints but the newest `count`, and the links that `artifacts` keeps of them."""
        for path in self.checkpoints()[count:]:
            for place in (path, artifacts.kept_path(path)):
                if place is not None:
                    place.unlink(missing_ok=True)

    def mention_others(self) -> None:
        """Say in the log that trainings of other configs have checkpoints, and what differs: they are not used."""
        for path in sorted(self.path.parent.glob("*/step-*.safetensors")):
            if path.parent == self.path:
                continue
            try:
                theirs = json.loads(artifacts.read_metadata(path, verify=False).get("identity", "{}"))
            except ArtifactError as error:
                log.warning("pretrain: %s: %s", path, error.problem)
                continue
            differing = "; ".join(differences(theirs, self.identity))
            log.warning("pretrain: %s is of another config and is not used: %s", path, differing)

    def check_space(self, checkpoint_bytes: int) -> None:
        """Raise DataError unless the checkpoints to come have room: those kept and one being written."""
        there = next(folder for folder in [self.path, *self.path.absolute().parents] if folder.is_dir())
        free = shutil.disk_usage(there).free + sum(path.stat().st_size for path in self.checkpoints())
        needed = (KEPT + 1) * checkpoint_bytes
        if free < needed:
            raise DataError(
                "the disk has no room for the checkpoints of this training",
                expected=f"{needed / 1e6:,.0f} MB free: {KEPT + 1} checkpoints of {checkpoint_bytes / 1e6:,.0f} MB",
                found=f"{free / 1e6:,.0f} MB",
                where=self.path,
                do="free space, or let results/ lie on another disk; nothing was computed",
            )

    # --- the images it began with -----------------------------------------------------------------------------------

    def images(self) -> tuple[list[str], dict[str, Statistics]] | None:
        """Return the image_ids, in order, and the statistics that this training began with; None before it began."""
        path = self.path / "images.parquet"
        if not path.is_file():
            return None
        table = artifacts.read_table(path, schema=IMAGES_SCHEMA)
        stored = json.loads(table.schema.metadata[b"statistics"])
        return table["image_id"].to_pylist(), {name: Statistics(**values) for name, values in stored.items()}

    def begin(self, image_ids: list[str], statistics: Mapping[str, Statistics]) -> None:
        """Write down the images that this training sees, for when it goes on."""
        import pyarrow as pa

        said = json.dumps({name: one.model_dump() for name, one in statistics.items()}, sort_keys=True)
        table = pa.table({"image_id": pa.array(image_ids, pa.string())})
        artifacts.write_table(
            self.path / "images.parquet", table, self.made_by, schema=IMAGES_SCHEMA, extra={"statistics": said}
        )


def _step_of(path: Path) -> int:
    found = re.fullmatch(r"step-(\d+)", path.stem)
    return int(found[1]) if found else -1


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return what differs between two configs: `recipe.epochs was 100, is 200`."""
    found = []
    for name in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(name), ours.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            found.append(f"{prefix}{name} was {json.dumps(one)}, is {json.dumps(other)}")
    return found
