"""What a task kind is: one folder below `tasks/`, and one name in the list of `tasks/__init__.py`.

How to add a kind, say `ordinal`, on feature vectors:
1. `tasks/ordinal/__init__.py`: its block, a class below `LabelledTask` (or `VectorTask`; for masks and points
   `MapTask`) with `kind: Literal["ordinal"]`, its `targets`, its `training` (`training_block` makes the keys out of the
   recipe's model), `labels` (how `fuse` reads them), `specs` (how decoders see them), `recipe_file`, and what else of
   `TaskBlock` differs; then `KIND = TaskKind(...)` with the sections of docs/config.md. It is imported wherever a
   config is read: neither torch nor pandas.
2. `tasks/ordinal/fit.py`, imported inside stages only: `make` and `restored` return an `Objective` (losses, selection,
   predictions; see vectors/objective.py), `PUBLISHED_HEAD` is None.
3. One name in `KINDS`. Where a target has another number of outputs than its type says, give its spec a `form`, and
   `OUTPUTS` in slots.py a line for it. A metric's entry stands in metrics/catalogue.py. `make docs` writes its section.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

from visionfm.config.sections import Section
from visionfm.tasks.block import TaskBlock

Location = tuple[str | int, ...]
Raw = Mapping[str, Any]


class RawDataset(NamedTuple):
    """A dataset of a task as plain values, which may be invalid elsewhere; `place` is where the task names it."""

    place: Location
    name: str
    block: Raw


class TaskKind(NamedTuple):
    """A kind of task: light things; the heavy ones are modules of its folder."""

    name: str
    block: type[TaskBlock]  # its keys and no others
    family: Literal["vectors", "maps"]  # which cache it learns from, and by which training
    problems: Callable[[Raw, Sequence[RawDataset]], Iterator[tuple[Location, str]]]
    """What does not fit between a task of this kind and its datasets: places inside the task, and what is wrong."""
    sections: tuple[Section, ...]  # of docs/config.md

    def fit(self) -> Any:
        """Return the kind's heavy module `fit` (losses, predictions), imported now."""
        return self.part("fit")

    def part(self, name: str) -> Any:
        """Return another module of the kind's folder, imported now."""
        return import_module(f"visionfm.tasks.{self.name}.{name}")
