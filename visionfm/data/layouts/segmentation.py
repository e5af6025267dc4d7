"""Layout `segmentation`, the published system's: a tree of splits; images/ and, of the same names, masks in labels/.

A mask's pixel values are classes; which ones stands in the task's target.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm.data.layouts.folders import IMAGES, LABELS, vfm_parts, vfm_split
from visionfm.data.layouts.layout import Block, Layout, no_table
from visionfm.data.layouts.partners import Pairing, pairs
from visionfm.data.layouts.rows import LabelRow
from visionfm.errors import Problems

MASKS = Pairing("a mask", ".png", None)


def _problems(block: Block) -> Iterator[str]:
    if isinstance(block.labels, list):
        yield "layout segmentation has masks as labels; their classes stand in the task's target"
    yield from no_table(block, frozenset({"mm_per_px"}))


def _rows(
    _root: Path, block: Block, listed: list[str], partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    for row, mask in pairs(block, listed, partners, MASKS, problems):
        row.partners["mask"] = mask
        yield row


SEGMENTATION = Layout(
    "segmentation",
    _problems,
    _rows,
    answers="masks",
    image_folders=lambda root: vfm_parts(root, IMAGES),
    partner_folders=lambda root: vfm_parts(root, LABELS),
    split_of=vfm_split,
)
