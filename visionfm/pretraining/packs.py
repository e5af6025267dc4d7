"""Stage `pack`: a dataset's images, pre-shrunk, in few large files with one index.

Parallel file systems hate a million small files, and decoding large JPEGs for every epoch is most of the work. Reads
images.parquet and the images; writes the index `{size}px.parquet` and data files beside it. Images that an earlier
pack of this size holds are copied, not decoded. Invariant: training sees equal pixels with and without a pack.
"""

import argparse
import logging
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from visionfm import artifacts
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.errors import ArtifactError, Stopped
from visionfm.images.parallel import in_order
from visionfm.images.settings import DatasetReading
from visionfm.pretraining import pack_files
from visionfm.pretraining.pack_files import Bucket, Row, Wanted
from visionfm.pretraining.reading import Files, Item, read_pixels
from visionfm.pretraining.settings import ImageSetSettings, PackSettings
from visionfm.pretraining.shrinking import packed
from visionfm.pretraining.source import open_source
from visionfm.runtime.interruption import stop_on_signal
from visionfm.runtime.progress import track

log = logging.getLogger("visionfm")
DATASET = "pack"  # the only dataset of the source that the stage opens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--images", required=True, type=Path, help="images.parquet of the dataset, or of one shard")
    parser.add_argument("--root", required=True, type=Path, help="the folder that its paths start from")
    parser.add_argument("--out", required=True, type=Path, help="the index to write; data files go beside it")
    parser.add_argument("--jobs", type=int, default=1, help="processes that read images")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    pack(args.images, args.root, args.out, PackSettings.model_validate_json(args.settings), args.jobs)


def pack(images: Path, root: Path, out: Path, settings: PackSettings, jobs: int = 1) -> None:
    """Write the pack of one dataset (or of one shard of it), whose index is `out`."""
    modality = artifacts.read_metadata(images, IMAGES).get("modality", "")
    one_set = ImageSetSettings(modality=modality, pack_px=settings.size, **dict(DatasetReading.of(settings)))
    source = open_source({DATASET: one_set}, {DATASET: [images]}, {DATASET: root}, {}, {}, may_be_empty=True)
    items = {item.image_id: item for item in source.items}
    wanted = [Wanted(item.image_id, item.path, item.width, item.height) for item in items.values()]
    identity = settings.model_dump(mode="json", include={"size", "frame", "bits"})
    reading = artifacts.provenance("pack", identity, {}).key
    made_by = artifacts.provenance("pack", identity, {"images": pack_files.digest_of(wanted)})
    buckets = pack_files.buckets_of(wanted, out.stem, reading)
    names = [bucket.name for bucket in buckets]
    missing = [bucket for bucket in buckets if not pack_files.is_there(out.parent / bucket.name)]
    if missing or not artifacts.recall(out, made_by):
        decoded = _write(missing, source.files, items, out.parent, reading, jobs)
        rows = [row for name in names for row in pack_files.rows_of(out.parent / name)]
        pack_files.write_index(out, rows, made_by, {"size": str(settings.size), "reading": reading})
        size_mb = sum(row["bytes"] for row in rows) / 1e6
        log.info(
            "pack: read %d, reused %d images; %.1f MB, files: %d", decoded, len(rows) - decoded, size_mb, len(names)
        )
    pack_files.remove_others(out.parent, out.stem, names)


def _old_rows(folder: Path, reading: str) -> dict[str, Row]:
    """Return where earlier packs of this dataset, whatever its shards were, hold images read the same way."""
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            if artifacts.read_metadata(path, verify=False).get("reading") == reading:
                rows.update((row["image_id"], row) for row in pack_files.rows_of(path))
        except ArtifactError as error:
            log.warning("%s; its images are read again", error.problem)
    return rows


def _write(
    missing: list[Bucket],
    files: Mapping[str, Files],
    items: Mapping[str, Item],
    folder: Path,
    reading: str,
    jobs: int,
) -> int:
    """Write the data files that are not there yet; return how many images were decoded for them."""
    old = _old_rows(folder, reading) if missing else {}
    work = [(items[image.image_id], old.get(image.image_id)) for bucket in missing for image in bucket.images]
    fresh = sum(row is None for _, row in work)
    log.info("to pack %d images: read %d, copy %d", len(work), fresh, len(work) - fresh)
    make = partial(_content, files=files, folder=folder)
    with stop_on_signal() as stop, closing(in_order(work, make, jobs if len(work) > 1 else 0)) as made:
        shown = track(made, total=len(work), what="pack")
        for number, bucket in enumerate(missing):
            contents = []
            for _ in bucket.images:
                contents.append(next(shown)[1])
                if stop():
                    raise Stopped(
                        f"stopped by {stop.signal_name}, finished files saved",
                        found=f"{number} of {len(missing)} files",
                        do="run the same command again: it goes on from there",
                    )
            pack_files.write_data(folder / bucket.name, contents, bucket, reading)
    return fresh


def _content(work: tuple[Item, Row | None], files: Mapping[str, Files], folder: Path) -> bytes:
    """Return what a data file holds of one image: copied from an earlier one, or made from its file."""
    item, row = work
    return pack_files.read_content(folder, row) if row is not None else packed(read_pixels(item, files, None))
