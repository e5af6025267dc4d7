"""What people and images are told apart by: the group of each sample in each grouping.

`eye` and `modality` come by themselves, others from the columns `group:NAME` of labels.parquet, which no decoder reads.
Invariant: who has no value is `unknown`, and is counted; a sample of several images that differ is of `several`.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.data.block import GROUP
from visionfm.data.labels import SCHEMA as LABELS
from visionfm.errors import ArtifactError
from visionfm.tasks.samples import SCHEMA as SAMPLES

UNKNOWN, SEVERAL = "unknown", "several"
EYE, MODALITY, DATASET = "eye", "modality", "dataset"
EYES = {"R": "right", "L": "left"}
Groups = dict[str, dict[str, str]]  # grouping -> sample id -> group
Cuts = Mapping[str, Sequence[float]]  # grouping -> where its numbers are cut; none: its values are names


def group_name(value: Any, cut: Sequence[float]) -> str:
    """Return the group of a value: its own name, or `50 to under 65` of a number that is cut."""
    if value is None or value != value:
        return UNKNOWN
    if not cut:
        return str(value)
    return cut_names(cut)[bisect_right(cut, float(value))]


def cut_names(cut: Sequence[float]) -> list[str]:
    """Return the names of the groups that numbers are cut into, in their order."""
    between = [f"{low:g} to under {high:g}" for low, high in pairwise(cut)]
    return [f"under {cut[0]:g}", *between, f"{cut[-1]:g} and over"]


def ordered(groups: Sequence[str], cut: Sequence[float]) -> list[str]:
    """Return the different groups in the order of their cuts, or of their names; what is not known comes last."""
    known = cut_names(cut) if cut else sorted(set(groups) - {SEVERAL, UNKNOWN})
    return [name for name in (*known, SEVERAL, UNKNOWN) if name in set(groups)]


def read_groups(samples: Path, labels: Mapping[str, Path], cuts: Mapping[str, Cuts]) -> Groups:
    """Return the groups of all samples; `labels` and `cuts` are of the datasets that have groups.

    A sample whose dataset lacks a grouping that another one has is `unknown` there.
    """
    rows = artifacts.read_table(samples, ("sample_id", "eye", "images"), schema=SAMPLES)
    images = rows["images"].combine_chunks()
    of_sample = np.cumsum([0, *images.value_lengths().to_pylist()])
    modality, dataset, path = (images.flatten().field(name).to_pylist() for name in ("modality", "dataset", "path"))
    of_image = {(name, path): of for name, file in labels.items() for path, of in _of_images(file, cuts[name]).items()}
    names = dict.fromkeys(name for of_dataset in cuts.values() for name in of_dataset)
    found: Groups = {EYE: {}, MODALITY: {}, **{name: {} for name in names}}
    for sample, eye, (first, end) in zip(
        rows["sample_id"].to_pylist(), rows["eye"].to_pylist(), pairwise(of_sample), strict=True
    ):
        found[EYE][sample] = EYES.get(eye, UNKNOWN)
        found[MODALITY][sample] = " and ".join(sorted(set(modality[first:end])))
        own = [of_image.get((dataset[at], path[at]), {}) for at in range(first, end)] if names else []
        for name in names:
            known = {of[name] for of in own if of.get(name, UNKNOWN) != UNKNOWN}
            found[name][sample] = SEVERAL if len(known) > 1 else known.pop() if known else UNKNOWN
    return found


def _of_images(labels: Path, cuts: Cuts) -> dict[str, dict[str, str]]:
    """Return path -> grouping -> group of a dataset's labelled images."""
    table = artifacts.read_table(labels, schema=LABELS)
    if missing := [name for name in cuts if f"{GROUP}{name}" not in table.column_names]:
        raise ArtifactError(
            "labels.parquet lacks groups of the config",
            expected=", ".join(cuts),
            found=f"no {', '.join(missing)}",
            where=labels,
            do="run `visionfm label` again",
        )
    columns = {name: [group_name(value, cut) for value in table[f"{GROUP}{name}"].to_pylist()]
               for name, cut in cuts.items()}  # fmt: skip
    paths = table["path"].to_pylist()
    return {path: {name: columns[name][at] for name in cuts} for at, path in enumerate(paths)}
