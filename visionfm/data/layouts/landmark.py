"""Layout `landmark`, the published system's: a tree of splits with images/ and, of the same names, arrays in labels/.

An array has a channel per point, in the order of the block's `labels`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm.data.layouts.folders import IMAGES, LABELS, vfm_parts, vfm_split
from visionfm.data.layouts.layout import Block, Layout, no_table
from visionfm.data.layouts.partners import Pairing, pairs
from visionfm.data.layouts.rows import LabelRow
from visionfm.errors import Problems

ARRAYS = Pairing("an array (.npy)", ".npy", frozenset({".npy"}))


def _problems(block: Block) -> Iterator[str]:
    if block.labels is None:
        yield "layout landmark needs `labels`: names for the channels of its arrays, or `none`"
    yield from no_table(block, frozenset({"mm_per_px"}))


def _rows(
    _root: Path, block: Block, listed: list[str], partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    for row, array in pairs(block, listed, partners, ARRAYS, problems):
        row.array = array
        yield row


LANDMARK = Layout(
    "landmark",
    _problems,
    _rows,
    answers="points",
    image_folders=lambda root: vfm_parts(root, IMAGES),
    partner_folders=lambda root: vfm_parts(root, LABELS),
    split_of=vfm_split,
)
