"""The images that pretraining sees: those of one or more datasets, each different image once, by `images.parquet`.

Invariant: the list is in order of image_id, so that neither names of datasets nor of files decide what is trained on
when. Imports no torch.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.config.base import Statistics
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.errors import ArtifactError, DataError, Problems
from visionfm.pretraining.pack_files import SCHEMA as PACK
from visionfm.pretraining.reading import Files, Item, Place
from visionfm.pretraining.settings import ImageSetSettings
from visionfm.pretraining.shrinking import shrunk_size

SHOWN = 10
READ = ("path", "image_id", "modality", "width", "height", "status")  # of images.parquet
log = logging.getLogger("visionfm")
Columns = dict[str, list[Any]]


class Images(Sequence[Item]):
    """A list of items, packed as Arrow's columns: less than 200 bytes for an image, and no object of Python.

    Each process of a training holds one, and its workers share its pages.
    """

    def __init__(self, packed: dict[str, Any]) -> None:
        """`packed` are the columns of Item as Arrow arrays, of one length."""
        self._packed = packed

    @classmethod
    def of(cls, columns: Columns) -> "Images":
        """Pack the columns of Item, which are of one length."""
        return cls({name: _packed(name, values) for name, values in columns.items()})

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._packed["image_id"])

    def __getitem__(self, at: Any) -> Any:
        """Return one item, or a list of those of a slice."""
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        said = {name: self._packed[name][at].as_py() for name in Item._fields}
        return Item(**{**said, "place": None if said["place"] is None else Place(**said["place"])})

    def column(self, name: str) -> list[Any]:
        """Return one of the columns of Item."""
        values: list[Any] = self._packed[name].to_pylist()
        return values if name != "place" else [None if place is None else Place(**place) for place in values]

    def take(self, order: Sequence[int]) -> "Images":
        """Return some of them, in this order."""
        import pyarrow as pa

        return Images({name: column.take(pa.array(order, pa.int64())) for name, column in self._packed.items()})

    def at_places(self, places: Sequence[Place | None]) -> "Images":
        """Return the same images in other packs."""
        return Images({**self._packed, "place": _packed("place", places)})

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return sum(int(column.nbytes) for column in self._packed.values())


def _packed(name: str, values: Sequence[Any]) -> Any:
    """Return a column of Item as an Arrow array."""
    import pyarrow as pa

    if name == "place":
        parts = {
            part: pa.array(
                [None if one is None else getattr(one, part) for one in values],
                pa.string() if part == "file" else pa.int64(),
            )
            for part in Place._fields
        }
        parts["file"] = parts["file"].dictionary_encode()
        is_none = pa.array([one is None for one in values], pa.bool_())
        return pa.StructArray.from_arrays(list(parts.values()), list(parts), mask=is_none)
    array = pa.array(values, pa.int32() if name in ("width", "height") else pa.string())
    return array.dictionary_encode() if name in ("dataset", "modality") else array


class ImageSource:
    """Images of one or more datasets, in a fixed order, with the statistics that normalise each modality."""

    def __init__(self, items: Images, files: Mapping[str, Files], statistics: Mapping[str, Statistics]) -> None:
        """`files` are by dataset, `statistics` by modality."""
        self.items, self.files, self.statistics = items, dict(files), dict(statistics)

    def __len__(self) -> int:
        """Return the number of different images."""
        return len(self.items)

    @property
    def image_ids(self) -> list[str]:
        """The images' ids, in order."""
        return self.items.column("image_id")

    @property
    def by_modality(self) -> dict[str, int]:
        """How many images there are of each modality."""
        return dict(sorted(Counter(self.items.column("modality")).items()))

    def names(self, at_B: Sequence[int]) -> list[str]:
        """Return what people call these images: `dataset/path`."""
        return [f"{self.items[at].dataset}/{self.items[at].path}" for at in at_B]

    def take(self, image_ids: Sequence[str]) -> "ImageSource":
        """Return a source of these images in this order; DataError naming those that are gone."""
        place = {image_id: at for at, image_id in enumerate(self.image_ids)}
        if gone := [image_id for image_id in image_ids if image_id not in place]:
            raise DataError(
                "images that the training began with are gone",
                expected=f"all {len(image_ids)} images",
                found=f"{len(gone)} missing, by sha256: {', '.join(one[:12] for one in gone[:SHOWN])}",
                do="restore the files and index again, or `visionfm forget` the encoder to begin anew",
            )
        return ImageSource(self.items.take([place[image_id] for image_id in image_ids]), self.files, self.statistics)

    def with_statistics(self, statistics: Mapping[str, Statistics]) -> "ImageSource":
        """Return the same images with other statistics."""
        return ImageSource(self.items, self.files, statistics)


# --- from the files of the stages before ----------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say where images are."""
    parser.add_argument("--images", required=True, nargs="+", help="DATASET=images.parquet, each shard")
    parser.add_argument("--root", required=True, nargs="+", help="DATASET=FOLDER that its paths start from")
    parser.add_argument("--pack", nargs="*", default=[], help="DATASET=the index of its pack, each shard")


def from_arguments(
    args: argparse.Namespace, sets: Mapping[str, ImageSetSettings], statistics: Mapping[str, Statistics]
) -> ImageSource:
    """Return the source that the flags of `add_arguments` describe."""
    roots = {dataset: folders[-1] for dataset, folders in by_dataset(args.root).items()}
    return open_source(sets, by_dataset(args.images), roots, by_dataset(args.pack), statistics)


def open_source(
    sets: Mapping[str, ImageSetSettings],
    images: Mapping[str, Sequence[Path]],
    roots: Mapping[str, Path],
    packs: Mapping[str, Sequence[Path]],
    statistics: Mapping[str, Statistics],
    *,
    may_be_empty: bool = False,
) -> ImageSource:
    """Return the usable images of all `sets`, each different one once; a dataset without a pack is read as it lies.

    Raises DataError listing unreadable images (unless they are to be skipped), datasets of another modality than
    the settings say, and modalities without any image.
    """
    for option, given in (("--images", images), ("--root", roots)):
        check_given(option, sets, given)
    problems = Problems(DataError, "images to pretrain on")
    rows: dict[str, Item] = {}
    total = 0
    for dataset, settings in sets.items():
        places = _places(packs.get(dataset, ()), settings)
        for item in _items(dataset, settings, images[dataset], problems):
            total += 1
            held = rows.get(item.image_id)
            if held is not None and held.modality != item.modality:
                problems.add(
                    f"{dataset}/{item.path} ({item.modality}) is also {held.dataset}/{held.path} ({held.modality})"
                )
            if held is None:
                rows[item.image_id] = item._replace(place=_placed(item, places)) if packs.get(dataset) else item
    for modality in sorted(
        {settings.modality for settings in sets.values()} - {item.modality for item in rows.values()}
    ):
        named = ", ".join(dataset for dataset, settings in sets.items() if settings.modality == modality)
        problems.add(f"{modality}: expected images, found none that can be used in {named}")
    problems.raise_if_any(
        do="repair or remove unreadable files (or `bad_images: skip`), and check `root` and `modality` of the datasets"
    )
    if total > len(rows):
        log.info("%d of %d images have the same bytes as another: each counts once", total - len(rows), total)
    ordered = [rows[image_id] for image_id in sorted(rows)]
    columns = {name: [getattr(item, name) for item in ordered] for name in Item._fields}
    files = {dataset: Files(roots[dataset], settings) for dataset, settings in sets.items()}
    return ImageSource(Images.of(columns), files, statistics)


def _items(dataset: str, settings: ImageSetSettings, paths: Sequence[Path], problems: Problems) -> "list[Item]":
    items = []
    for table_path in paths:
        table = artifacts.read_table(table_path, READ, schema=IMAGES).to_pydict()
        for path, image_id, modality, width, height, status in zip(*(table[name] for name in READ), strict=True):
            if status != "ok":
                if settings.bad_images == "fail":
                    problems.add(f"{dataset}/{path}: {status}")
                continue
            if modality != settings.modality:
                problems.add(f"{dataset}/{path}: expected {settings.modality}, found {modality}: index it again")
                continue
            size = shrunk_size(width, height, settings.pack_px)
            items.append(Item(dataset, path, image_id, settings.modality, *size, None))  # one text for all rows
    return sorted(items, key=lambda item: item.path)


def _places(paths: Sequence[Path], settings: ImageSetSettings) -> dict[str, tuple[Place, int, int]]:
    """Return where packs hold images, by image_id, with the size there."""
    found = {}
    for index in paths:
        table = artifacts.read_table(index, schema=PACK)
        said = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
        if said.get("size") != str(settings.pack_px):
            raise ArtifactError(
                "a pack of another size",
                expected=settings.pack_px,
                found=said.get("size"),
                where=index,
                do="run `pack`",
            )
        columns = table.to_pydict()
        files = {file: str(index.parent / file) for file in set(columns["file"])}
        for image_id, file, at, count, crc32, width, height in zip(
            *(columns[name] for name in ("image_id", "file", "at", "bytes", "crc32", "width", "height")), strict=True
        ):
            found[image_id] = (Place(files[file], at, count, crc32), width, height)
    return found


def _placed(item: Item, places: Mapping[str, tuple[Place, int, int]]) -> Place:
    held = places.get(item.image_id)
    if held is None or held[1:] != (item.width, item.height):
        raise ArtifactError(
            "a pack does not fit its dataset",
            expected=f"{item.path} at {item.width} x {item.height} px",
            found="nothing" if held is None else f"{held[1]} x {held[2]} px",
            where=item.dataset,
            do="run `visionfm pack` for the dataset again",
        )
    return held[0]
