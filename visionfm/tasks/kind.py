"""What a task kind is: one folder below `tasks/`, and one name in the list of `tasks/__init__.py`.

How to add a kind, say `ordinal`, on feature vectors:
1. `tasks/ordinal/__init__.py`: its block, a class below `LabelledTask` (or `VectorTask`; for masks and points
   `MapTask`) with `kind: Literal["ordinal"]`, its `targets`, its `training` (`training_block` makes the keys out of the
   recipe's model), `labels` (how `fuse` reads them), `specs` (how decoders see them), `recipe_file`, and what else of
   `TaskBlock` differs; then `KIND = TaskKind(...)` with the sections of docs/config.md. It is imported wherever a
   config is read: neither torch nor pandas.
2. `tasks/ordinal/fit.py`, imported inside stages only: `make` and `restored` return an `Objective` (losses, selection,
   predictions; see vectors/objective.py), `PUBLISHED_HEAD` is None. Where its decoder is no head of vectors/heads.py:
   `HEADS`, by the name that its recipes say; where its baselines are others: `BASELINE_HEADS` and `Logistic`.
3. `tasks/ordinal/figures.py`: what the report shows (`KindOfReport` in results.py). Where its questions are others than
   its target's type has: a module of `thresholds` and `scorers` (see vectors/score.py), named in `KIND` as `scoring`.
4. One name in `KINDS`, and in metrics/catalogue.py its headline. Where a target differs from its type, give its spec a
   `form`: `OUTPUTS` in slots.py has a line for another number of outputs, `TYPES` in target_types.py for other words
   and another headline. A metric's entry stands in metrics/catalogue.py. `make docs` writes its section.
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
    scoring: str = "visionfm.tasks.vectors.score"  # of vectors: the module of `thresholds` and `scorers`
    timed: bool = False  # a sample's truth is an outcome and the days until then or so far

    def fit(self) -> Any:
        """Return the kind's heavy module `fit` (losses, predictions), imported now."""
        return self.part("fit")

    def part(self, name: str) -> Any:
        """Return another module of the kind's folder, imported now."""
        return import_module(f"visionfm.tasks.{self.name}.{name}")
