"""Synthetic eyes: drawings of all eight modalities whose disease signs and measured values are known.

`draw` and `render` make one image, `write_dataset` a dataset in a published layout, `visionfm synth` the same from the
shell. numpy and PIL only; equal seeds give equal bytes.
"""

from visionfm.synthetic.command import add_arguments, main
from visionfm.synthetic.dataset import write_dataset
from visionfm.synthetic.drawing import draw, render
from visionfm.synthetic.findings import (
    BIOMARKERS,
    DISEASES,
    PLANTED,
    Biomarker,
    Findings,
    disease_vector,
    draw_findings,
)
from visionfm.synthetic.items import column
from visionfm.synthetic.partners import MASKS, POINTS
from visionfm.synthetic.scene import DIFFICULTIES, Geometry

__all__ = [
    "BIOMARKERS",
    "DIFFICULTIES",
    "DISEASES",
    "MASKS",
    "PLANTED",
    "POINTS",
    "Biomarker",
    "Findings",
    "Geometry",
    "add_arguments",
    "column",
    "disease_vector",
    "draw",
    "draw_findings",
    "main",
    "render",
    "write_dataset",
]
