"""Stage `extract`: images.parquet and an encoder to the feature cache of one dataset (or shard).

Rows that any kept file holds are reused; the rest is encoded. When nothing is left to encode, torch is not imported.
Rows are in path order. Invariant: the file is the same whether its rows were reused or encoded, by one process or more.
"""

import argparse
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionfm import artifacts
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError, Problems, UsageError
from visionfm.features.cache import write_cache
from visionfm.features.row_bank import RowBank, VectorParts
from visionfm.features.rows import Names, RowIdentity
from visionfm.features.settings import DenseSettings, ExtractSettings
from visionfm.images.transforms import VIEWS, transform_name
from visionfm.runtime.interruption import stop_on_signal

log = logging.getLogger("visionfm")
SHOWN_SKIPPED = 20


class IndexedImage(NamedTuple):
    """A row of images.parquet, as far as extraction needs it."""

    path: str  # POSIX, relative to the root
    image_id: str


class Source(NamedTuple):
    """What the rows are made with."""

    root: Path
    encoder_path: Path
    encoder_sha256: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument("--images", type=Path, required=True, metavar="FILE", help="images.parquet of the dataset")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder that its paths start from")
    parser.add_argument("--encoder", type=Path, required=True, metavar="FILE", help="encoder.safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the cache to write (.h5)")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = ExtractSettings.model_validate_json(args.settings)
    images = read_index(args.images, settings)  # first: bad images fail, whatever an earlier run was allowed to skip
    source = Source(args.root, args.encoder, artifacts.payload_digest(args.encoder))
    inputs = {"images": artifacts.payload_digest(args.images), "encoder": source.encoder_sha256}
    made_by = artifacts.provenance("extract", what_matters(settings), inputs)
    if artifacts.recall(args.out, made_by):
        return
    extract(images, source, settings, args.out, made_by)


def what_matters(settings: ExtractSettings) -> dict[str, Any]:
    """Return the settings that a row depends on; machine, batch size and limits are not among them."""
    matter = {"size", "interpolation", "exact_decode", "precision", "dtype", "frame", "bits"}
    own = {} if settings.modality is None else {"modality": settings.modality}
    return {**settings.model_dump(include=matter), **own, "views": _views(settings)}


def read_index(path: Path, settings: ExtractSettings | DenseSettings) -> list[IndexedImage]:
    """Return the usable images of images.parquet in path order.

    Raises DataError listing the bad ones, unless they are to be skipped, and when there are more than `max_rows`.
    """
    columns = artifacts.read_table(path, schema=IMAGES).select(["path", "image_id", "status"]).to_pydict()
    listed = sorted(zip(columns["path"], columns["image_id"], columns["status"], strict=True))
    problems = Problems(DataError, f"images of {path}")
    for name, _, status in listed:
        if status != "ok":
            problems.add(f"{name}: {status}")
    if settings.bad_images == "fail":
        problems.raise_if_any(do="repair or remove these files, or leave them out with `bad_images: skip`")
    elif len(problems):
        shown = "".join(f"\n  {problem}" for problem in list(problems)[:SHOWN_SKIPPED])
        log.warning("left out %d images that cannot be used:%s", len(problems), shown)
    images = [IndexedImage(name, image_id) for name, image_id, status in listed if status == "ok"]
    if not images:
        log.warning("no usable image in %s: the features are an empty file", path)  # rightly so for a small shard
    if len(images) > settings.max_rows:
        times = math.ceil(1.1 * len(images) / settings.max_rows)  # shards are cut by hash: not quite equal
        raise DataError(
            "too many images for one file",
            expected=f"at most {settings.max_rows} (`max_rows`)",
            found=f"{len(images)}",
            where=path,
            do=f"set `shards: {times}` on the dataset ({times} times its present `shards`), or raise `max_rows`",
        )
    return images


def names_of(images: Sequence[IndexedImage], views: tuple[str, ...]) -> Names:
    """Return what the rows of a cache of these images are called."""
    return Names([image.path for image in images], [image.image_id for image in images], views)


def extract(
    images: Sequence[IndexedImage], source: Source, settings: ExtractSettings, out: Path, made_by: artifacts.Provenance
) -> None:
    """Publish the features of `images` at `out`, encoding only those that no kept file holds.

    Under torchrun every process calls this; the first one writes.
    """
    views = _views(settings)
    transform = transform_name(settings.size, settings.interpolation, settings.exact_decode) + settings.suffix
    encoder = read_encoder_file(source.encoder_path)
    blocks, seen_as = encoder.vector_blocks, encoder.seen_as(settings.modality)
    identity = RowIdentity(
        source.encoder_sha256,
        transform + seen_as,
        json.dumps(blocks),
        settings.precision,
        settings.dtype,
    )
    parts = VectorParts(out, identity)
    ids = (image.image_id for image in images)
    bank = RowBank(ids, views, settings.dtype, *encoder.vector_shape, encoder.mean_width)
    bank.fill_from(parts.reusable(), identity)
    missing = bank.missing()
    encoded = sum(len(image_ids) for image_ids in missing.values())
    log.info("to encode %d, to reuse %d of %d images", encoded, len(images) - encoded, len(images))
    if missing and not _encode(images, missing, source, settings, parts, bank):
        return
    names = names_of(images, views)
    write_cache(out, names, bank.take(names.image_ids), identity, made_by)
    parts.remove()
    log.info("encoded %d, reused %d", encoded, len(images) - encoded)


def _encode(
    images: Sequence[IndexedImage],
    missing: dict[tuple[str, ...], list[str]],
    source: Source,
    settings: ExtractSettings,
    parts: VectorParts,
    bank: RowBank,
) -> bool:
    """Fill the bank; return whether this is the process that writes the file."""
    from visionfm.features import encode

    path_of = {image.image_id: image.path for image in reversed(images)}
    with stop_on_signal() as stop, encode.together(stop) as meet:
        encoding = encode.Encoding(source.encoder_path, settings, source.root, parts.publish, stop)
        for views, image_ids in missing.items():
            work = [(path_of[image_id], image_id) for image_id in image_ids]
            for done_ids, rows in encoding.run(work, views):
                bank.put(done_ids, views, rows)
        meet()
    if encoding.process.rank:
        return False
    if encoding.process.world > 1:
        bank.fill_from(parts.reusable(), parts.identity)
    return True


def _views(settings: ExtractSettings) -> tuple[str, ...]:
    if unknown := set(settings.views) - set(VIEWS):
        raise UsageError("unknown views", expected=", ".join(VIEWS), found=", ".join(sorted(unknown)))
    return tuple(view for view in VIEWS if view in settings.views)
