"""What docs/config.md says of progression."""

from visionfm.tasks.progression.block import Survival

SECTION = (
    Survival,
    "tasks.NAME.survival",
    "Of `kind: progression` with head hazard or cox. Its datasets say when an eye got worse: layout forecasting "
    "or a table with columns `interval` and `event`. Of an eye (`unit: eye`) the last visit with an outcome is the "
    "baseline; visits before it join by attention. A dataset of layout forecasting tells such a head when "
    "progression was first seen; where it was merely known on one day, head published is the right one.",
    """
datasets:
  followed:
    modality: Fundus
    root: data/followed
    layout: table
    table: visits.csv
    columns: {image: file, subject: patient, eye: eye, visit: date, interval: days, event: worse}
tasks:
  glaucoma:
    kind: progression
    datasets: [followed]
    models: [visionfm]
    unit: eye
    fusion: attention
    head: hazard
    survival: {intervals: [365, 730, 1095, 1460], horizons: [730, 1460], visits: 3}
    targets: {progressed: {}}
""",
)
