"""Layout `segmentation`, the published system's: a tree of splits; images/ and, of the same names, masks in labels/.

A mask's pixel values are classes; which ones stands in the task's target.
"""

from visionfm.data.layouts.layout import Block
from visionfm.data.layouts.partners import Pairing, paired
from visionfm.data.layouts.rows import LabelRow


def _unfit(block: Block) -> str | None:
    is_list = isinstance(block.labels, list)
    return "layout segmentation has masks as labels; their classes stand in the task's target" if is_list else None


def _put(row: LabelRow, mask: str) -> None:
    row.partners["mask"] = mask


SEGMENTATION = paired("segmentation", "masks", _unfit, Pairing("a mask", ".png", None), _put)
