"""Tasks: from labelled images and cached features to decoders, predictions and metrics.

`KINDS` is the one list of the kinds of tasks; kind.py says how to add one.
"""

import json
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from visionfm.errors import UsageError
from visionfm.tasks import classification, landmarks, ordinal, progression, regression, segmentation
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.kind import TaskKind

KINDS: dict[str, TaskKind] = {
    room.KIND.name: room.KIND for room in (classification, regression, ordinal, progression, segmentation, landmarks)
}
if TYPE_CHECKING:
    Task = TaskBlock
else:
    Task = Annotated[Union[tuple(kind.block for kind in KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


def kind_in(settings: str) -> TaskKind | None:
    """Return the kind in the JSON of a stage's settings; None where it holds none: the stage says what is wrong."""
    try:
        content = json.loads(settings)
    except ValueError:
        return None
    name = content.get("kind") if isinstance(content, dict) else None
    return kind_of(name) if isinstance(name, str) else None


def kind_of(name: Any) -> TaskKind:
    """Return the kind of this name; UsageError where there is none."""
    if name not in KINDS:
        raise UsageError(f"there is no task kind {name!r}", expected=", ".join(KINDS), do="see docs/config.md")
    return KINDS[name]
