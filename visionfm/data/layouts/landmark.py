"""Layout `landmark`, the published system's: a tree of splits with images/ and, of the same names, arrays in labels/.

An array has a channel per point, in the order of the block's `labels`.
"""

from visionfm.data.layouts.layout import Block
from visionfm.data.layouts.partners import Pairing, paired
from visionfm.data.layouts.rows import LabelRow


def _unfit(block: Block) -> str | None:
    return (
        None
        if block.labels is not None
        else "layout landmark needs `labels`: names for the channels of its arrays, or `none`"
    )


def _put(row: LabelRow, array: str) -> None:
    row.array = array


LANDMARK = paired("landmark", "points", _unfit, Pairing("an array (.npy)", ".npy", frozenset({".npy"})), _put)
