"""How the targets of a task lie in a decoder's outputs and in the matrix of its labels.

Both follow the order of the targets: the published 13 outputs are five grade logits, then eight logits of diseases.
Shapes: N samples, K outputs (binary 1, multiclass and multilabel one per class, value 1, event one per interval or, in
`cox`, 1), T label columns (multiclass 1, event 2: whether it was seen, and the days until then or so far).
"""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from visionfm.config.settings import Settings
from visionfm.tasks.settings import TargetSpec

# How many outputs a target has whose form codes it otherwise than its type says.
OUTPUTS: dict[str | None, Callable[[TargetSpec], int]] = {
    "hazard": lambda target: len(target.intervals),
}


class Slot(NamedTuple):
    """One target's place: `outputs` among a decoder's K outputs, `labels` among the T label columns."""

    name: str
    target: TargetSpec
    outputs: slice
    labels: slice


def slots(targets: Mapping[str, TargetSpec]) -> list[Slot]:
    """Return the targets' places, in their order."""
    found: list[Slot] = []
    output = label = 0
    for name, target in targets.items():
        outputs = len(target.classes) if target.type in ("multiclass", "multilabel") else 1
        if target.form in OUTPUTS:
            outputs = OUTPUTS[target.form](target)
        labels = len(target.classes) if target.type == "multilabel" else 1 + (target.type == "event")
        found.append(Slot(name, target, slice(output, output + outputs), slice(label, label + labels)))
        output, label = output + outputs, label + labels
    return found


def count_outputs(targets: Mapping[str, TargetSpec]) -> int:
    """Return K."""
    return slots(targets)[-1].outputs.stop if targets else 0


def targets_to_json(targets: Mapping[str, Settings]) -> str:
    """Return the targets as metadata hold them: JSON whose order is the outputs' order."""
    return json.dumps({name: target.model_dump(mode="json") for name, target in targets.items()})
