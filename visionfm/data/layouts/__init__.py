"""How datasets lie on disk: a file per layout, with its images, its label files, its rows, and what of a block fits it.

A further layout is its file and its line in LAYOUTS.
"""

from visionfm.data.layouts.forecasting import FORECASTING
from visionfm.data.layouts.imagefolder import IMAGEFOLDER
from visionfm.data.layouts.landmark import LANDMARK
from visionfm.data.layouts.segmentation import SEGMENTATION
from visionfm.data.layouts.table import TABLE
from visionfm.data.layouts.vfm import VFM

LAYOUTS = {layout.name: layout for layout in (VFM, IMAGEFOLDER, TABLE, SEGMENTATION, LANDMARK, FORECASTING)}


def answers(name: object) -> str | None:
    """Return what the label files of a layout tell (values, masks, points, outcomes); None for no layout's name."""
    layout = LAYOUTS.get(name) if isinstance(name, str) else None
    return None if layout is None else layout.answers
