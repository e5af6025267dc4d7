"""Stage `dense`: images.parquet and an encoder to the patch tokens of one dataset (or shard), for dense decoders.

Rows that any kept file holds are reused; the rest is encoded. Over the budget `max_gb` the file has no rows and says
`streamed`. Rows are in path order. Invariant: the file is the same whether its rows were reused or encoded.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm import artifacts
from visionfm.encoders.file import EncoderFile, read_encoder_file
from visionfm.encoders.sizes import check_size
from visionfm.features.extract import IndexedImage, names_of, read_index
from visionfm.features.extract import add_arguments as add_arguments
from visionfm.features.rows import Names, RowIdentity
from visionfm.features.settings import DenseSettings, TokenReading
from visionfm.features.token_cache import Tokens, in_order, write_dense
from visionfm.features.token_parts import TokenParts, find_rows
from visionfm.images.transforms import transform_name
from visionfm.runtime.interruption import stop_on_signal

GB = 1e9
log = logging.getLogger("visionfm")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    dense(args.images, args.root, args.encoder, args.out, DenseSettings.model_validate_json(args.settings))


def dense(index: Path, root: Path, encoder: Path, out: Path, settings: DenseSettings) -> None:
    """Publish the patch tokens of a dataset's images at `out`; see the module."""
    images = read_index(index, settings)
    facts = read_encoder_file(encoder)
    check_size(settings.size, facts.step, encoder.name)
    identity, views = identity_of(facts, settings.size, settings), in_order(settings.views)
    levels, width = facts.token_shape
    shape_LPD = (levels, (settings.size // facts.patch) ** 2, width)
    needed_gb = size_gb(len(images), len(views), shape_LPD, settings.dtype)
    streamed = settings.never or needed_gb > settings.max_gb
    # The budget decides only whether the file has rows.
    slice_ = {**identity._asdict(), "views": views, "streamed": streamed}
    inputs = {"images": artifacts.payload_digest(index), "encoder": facts.sha256}
    made_by = artifacts.provenance("dense", slice_, inputs)
    if artifacts.recall(out, made_by):
        return
    if streamed:
        why = "tiles are never cached" if settings.never else f"{needed_gb:.1f} GB are over the budget"
        write_dense(out, Names([], [], views), shape_LPD, [], identity, made_by, streamed=True)
        log.info("dense: streamed (%s of %g GB); %s", why, settings.max_gb, out)
        return
    _fill(images, views, shape_LPD, root, encoder, settings, identity, out, made_by)


def size_gb(images: int, views: int, shape_LPD: tuple[int, int, int], dtype: str) -> float:
    """Return how much disk the tokens take."""
    levels, patches, width = shape_LPD
    return images * views * levels * patches * width * (2 if dtype == "float16" else 4) / GB


def identity_of(facts: EncoderFile, size: int, reading: TokenReading) -> RowIdentity:
    """Return what a row of tokens depends on beside the image's bytes and the view."""
    transform = transform_name(size, reading.interpolation, reading.exact_decode) + reading.suffix
    transform += facts.seen_as(reading.modality)
    return RowIdentity(facts.sha256, transform, json.dumps(facts.token_blocks), reading.precision, reading.dtype)


def _fill(
    images: Sequence[IndexedImage],
    views: tuple[str, ...],
    shape_LPD: tuple[int, int, int],
    root: Path,
    encoder: Path,
    settings: DenseSettings,
    identity: RowIdentity,
    out: Path,
    made_by: artifacts.Provenance,
) -> None:
    """Encode what is missing, part by part, then put the file together from all rows."""
    parts = TokenParts(out, identity, shape_LPD)
    path_of = {image.image_id: image.path for image in reversed(images)}
    found = find_rows(parts.reusable(), path_of, views, identity)
    missing = [
        (path_of[image_id], image_id) for image_id in path_of if any((image_id, view) not in found for view in views)
    ]
    log.info("dense: to encode %d, to reuse %d of %d images", len(missing), len(path_of) - len(missing), len(path_of))
    if missing:
        from visionfm.features.token_encode import encode_images

        with stop_on_signal() as stop:
            encode_images(missing, views, root, encoder, settings, parts, stop)
        found = find_rows([*parts.files(), *parts.reusable()], path_of, views, identity)

    def rows() -> Iterator[tuple[int, int, Tokens]]:
        for n, image in enumerate(images):
            for v, view in enumerate(views):
                if (held := parts.held.get((image.image_id, view))) is not None:
                    yield n, v, held
                else:
                    cache, row = found[image.image_id, view]
                    yield n, v, cache.row(row, view)

    write_dense(out, names_of(images, views), shape_LPD, rows(), identity, made_by)
    parts.remove()
    log.info("encoded %d, reused %d", len(missing), len(path_of) - len(missing))
