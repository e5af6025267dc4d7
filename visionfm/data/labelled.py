"""The labelled images of a dataset as columns, and those of them that a check has to look at, as objects.

Leaks and contradictions are few, images may be millions: they are sought in columns, and only what is found becomes an
object of Python. Invariant: what is found does not depend on the order of the datasets.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.data.labels import SCHEMA as LABELS
from visionfm.data.labels import UNLABELLED
from visionfm.images.identity import file_ids, file_paths

KEYS = ("path", "image_id", "copy_id", "subject_id", "split")
Bools = npt.NDArray[np.bool_]


class Image(NamedTuple):
    """A labelled image; `person` is None where subjects are not known and the image stands for itself."""

    dataset: str
    path: str
    image_id: str
    copy_id: str
    file_id: str
    subject_id: str
    split: str
    person: str | None
    labels: dict[str, Any]

    @property
    def place(self) -> tuple[str, str]:
        """What images are ordered by."""
        return self.dataset, self.path


@dataclass(frozen=True)
class Labelled:
    """The labelled images of a dataset: an Arrow table with the texts of an `Image`, and one of its labels."""

    dataset: str
    columns: Any
    labels: Any
    unlabelled: Mapping[str, str] = field(default_factory=dict)  # files without a label -> `copy_id` of their copies

    @classmethod
    def read(cls, dataset: str, path: Path, labels: Sequence[str], *, split: str | None) -> "Labelled":
        """Read labels.parquet; `labels` are the columns that will be asked for, `split` that of all rows if given."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table = artifacts.read_table(path, schema=LABELS, columns=tuple(dict.fromkeys((*KEYS, *labels))))
        columns = table.select([name for name in KEYS if name != "split" or split is None])
        if split is not None:
            columns = columns.append_column("split", pa.repeat(split, table.num_rows))
        stands_for = pc.binary_join_element_wise(dataset, file_paths(table["path"], table["image_id"]), "/")
        own = pc.equal(table["subject_id"], stands_for)
        person = pc.if_else(own, pa.scalar(None, pa.string()), table["subject_id"])
        columns = columns.append_column("file_id", file_ids(table["image_id"])).append_column("person", person)
        known = [name for name in dict.fromkeys(labels) if name in table.column_names]
        unlabelled = json.loads(artifacts.read_metadata(path, LABELS, verify=False).get(UNLABELLED, "{}"))
        return cls(dataset, columns, table.select(known), unlabelled)

    def named(self, names: Mapping[str, str]) -> "Labelled":
        """Return the same images, what copies share (`copy_id`) replaced by its name where it has one."""
        import pyarrow as pa

        at = self.columns.column_names.index("copy_id")
        copy_ids = [names.get(one, one) for one in self.columns["copy_id"].to_pylist()]
        columns = self.columns.set_column(at, "copy_id", pa.chunked_array([copy_ids], pa.string()))
        return Labelled(self.dataset, columns, self.labels, self.unlabelled)

    def images(self, wanted: Any) -> list[Image]:
        """Return the images of a mask as objects."""
        rows = self.columns.filter(wanted).to_pylist()
        labels = self.labels.filter(wanted).to_pylist() if self.labels.num_columns else [{}] * len(rows)
        return [Image(self.dataset, **row, labels=of_row) for row, of_row in zip(rows, labels, strict=True)]

    def among(self, column: str, values: Any) -> Any:
        """Return a mask of the images whose value in a column is one of `values`."""
        import pyarrow.compute as pc

        return pc.is_in(self.columns[column], value_set=values)

    @property
    def people(self) -> Any:
        """Return each person once, as their subject ids."""
        import pyarrow.compute as pc

        return pc.unique(self.columns["person"].drop_null())


def of_people(datasets: Iterable[Labelled], subject_ids: Sequence[str]) -> list[Image]:
    """Return the images of some people."""
    import pyarrow as pa

    values = pa.array(subject_ids, pa.string())
    return [image for one in datasets for image in one.images(one.among("person", values))]


def in_several_splits(datasets: Sequence[Labelled], column: str) -> list[Image]:
    """Return the images that share their value in a column with an image of another split."""

    def mixed(codes_N: npt.NDArray[np.intp]) -> Bools:
        split_N = _codes(datasets, "split")
        splits = np.zeros(codes_N.max(initial=-1) + 1, np.intp)
        for split in range(split_N.max(initial=-1) + 1):
            is_there = np.zeros(len(splits), bool)
            is_there[codes_N[split_N == split]] = True
            splits += is_there
        return splits[codes_N] > 1

    return _found(datasets, column, mixed)


def several(datasets: Sequence[Labelled], column: str) -> list[Image]:
    """Return the images that share their value in a column with another one."""
    return _found(datasets, column, lambda codes_N: np.bincount(codes_N)[codes_N] > 1)


def _found(datasets: Sequence[Labelled], column: str, wanted: Callable[[npt.NDArray[np.intp]], Bools]) -> list[Image]:
    import pyarrow as pa

    wanted_N = wanted(_codes(datasets, column)) if datasets else np.zeros(0, bool)
    images, start = [], 0
    for one in datasets:
        end = start + one.columns.num_rows
        images += one.images(pa.array(wanted_N[start:end]))
        start = end
    return images


def _codes(datasets: Sequence[Labelled], column: str) -> npt.NDArray[np.intp]:
    """Return a number for each image, equal where the texts of a column are."""
    import pyarrow as pa

    chunks = [chunk for one in datasets for chunk in one.columns[column].chunks]
    coded = pa.chunked_array(chunks, pa.string()).dictionary_encode()
    return np.concatenate([np.zeros(0, np.intp), *(chunk.indices.to_numpy() for chunk in coded.chunks)]).astype(np.intp)
