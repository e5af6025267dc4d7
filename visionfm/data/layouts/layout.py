"""What a layout is: how one kind of dataset lies on disk, said once.

Light: planning imports it. Nothing here reads an image; what a layout does with a folder are the functions it gives.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import LabelRow
from visionfm.data.tables.block import TableFile
from visionfm.errors import Problems


class Block(Protocol):
    """What a layout reads of a dataset's block, or of the settings of `label`."""

    @property
    def images(self) -> str | None:
        """Return the glob that limits what counts as an image."""

    @property
    def table(self) -> str | TableFile | None:
        """Return the table: its path, relative to the root, or that and how it is read."""

    @property
    def labels(self) -> list[str] | Literal["none"] | None:
        """Return the names of the labels."""

    @property
    def columns(self) -> Columns:
        """Return what the columns mean."""


def _no_files(_root: Path, _table: str | TableFile | None) -> list[Path]:
    return []


def _no_split(_path: str) -> str | None:
    return None


class Layout(NamedTuple):
    """How datasets of one kind lie on disk; adding one is its file and its line in LAYOUTS."""

    name: str
    problems: Callable[[Block], Iterator[str]]  # what of a dataset's block does not fit it
    rows: Callable[[Path, Block, list[str], Sequence[str], Problems], Iterable[LabelRow]]  # of images, given partners
    answers: Literal["values", "masks", "points", "outcomes"] = "values"  # what its label files tell
    image_folders: Callable[[Path], list[Path]] = lambda root: [root]
    label_files: Callable[[Path, str | TableFile | None], list[Path]] = _no_files  # whether they exist or not
    partner_folders: Callable[[Path], list[Path]] | None = None  # None: masks lie among the images, spared by `images`
    split_of: Callable[[str], str | None] = _no_split  # what the folders of an unlabelled image say
    default_labels: tuple[str, ...] = ()  # where the block names neither labels nor targets
    repeats: bool = False  # whether an image may stand in several rows


def no_table(block: Block, allowed: frozenset[str] = frozenset({"targets"})) -> Iterator[str]:
    """Yield what belongs to layout table only; `allowed` are columns that have a meaning elsewhere too."""
    if block.table is not None:
        yield "`table` belongs to layout table"
    allowed = allowed | block.columns.of_files().keys()
    if block.columns.subject_column is None:
        allowed = allowed | {"subject"}  # how ids are spelled, which a path_pattern finds
    if block.columns.model_fields_set - allowed:
        yield "only layout table has columns; take subject, eye and visit by `path_pattern`"
    if block.columns.mm_columns is not None and "mm_per_px" not in allowed:
        yield "only layout table has a column of `mm_per_px`; elsewhere it is a number, or two"
