"""`visionfm embed`: features of a folder of images or of single files, without a config.

Reads images and an encoder (`encoder.safetensors`, or a checkpoint of any dialect that `import` knows); writes a
feature cache (.h5) or a flat table (.parquet). Rows of an earlier cache at the same place are reused.
"""

import argparse
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from visionfm import artifacts
from visionfm.data.layouts.folders import files_below
from visionfm.encoders import given
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError, UsageError
from visionfm.features import export
from visionfm.features.cache import read_cache
from visionfm.features.extract import IndexedImage, Source, extract, what_matters
from visionfm.features.settings import ExtractSettings
from visionfm.images.reading import ALLOWED_SUFFIXES, usable
from visionfm.images.settings import Reading
from visionfm.images.transforms import VIEWS
from visionfm.modalities import canonical

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    default = ExtractSettings()
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="a folder, or image files")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="encoder.safetensors or a checkpoint")
    given.add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="features.h5 or features.parquet")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the square input (default: the encoder's)")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=default.views, help="flips (default: identity)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default=default.precision)
    parser.add_argument("--dtype", choices=["float16", "float32"], default=default.dtype, help="of the stored numbers")
    parser.add_argument("--exact", action="store_true", help="decode large JPEGs at full size")
    parser.add_argument("--frame", type=int, help="which image of files that hold several")
    parser.add_argument("--bits", type=int, help="that 16-bit pixels use, where a camera has fewer")
    parser.add_argument("--max-megapixels", type=float, default=default.max_megapixels, help="refuse larger images")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out what cannot be read, and list it")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default=default.device)
    parser.add_argument("--batch-size", type=int, default=default.batch_size, help="images at a time on a GPU")
    parser.add_argument("--workers", type=int, default=default.workers, help="processes that decode images")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.out.suffix not in (".h5", ".parquet"):
        raise UsageError("unknown kind of output", expected="a name ending in .h5 or .parquet", found=args.out.name)
    root, paths = list_paths(args.images)
    do = "repair or remove these files, or leave them out with --skip-bad-images"
    found = usable(root, paths, Reading.of(args), skip=args.skip_bad_images, do=do)
    images = [IndexedImage(path, facts.image_id) for path, facts in found]
    with given.encoder_file(given.from_arguments(args)) as encoder:
        metadata = artifacts.read_metadata(encoder)
        settings = ExtractSettings(
            size=args.size or int(metadata["image_size"]),
            interpolation="bicubic" if metadata["interpolation"] == "bicubic" else "bilinear",
            exact_decode=args.exact,
            modality=canonical(args.modality) if "statistics" in metadata and args.modality else None,
            **dict(Reading.of(args)),
            **{name: getattr(args, name) for name in ("views", "precision", "dtype")},
            **{name: getattr(args, name) for name in ("device", "batch_size", "workers")},
        )
        source = Source(root, encoder, metadata["payload_sha256"])
        _embed(images, source, settings, args.out)
    log.info("wrote %s", args.out)


def embed(
    images: str | Path | Sequence[str | Path],
    encoder: str | Path,
    *,
    modality: str | None = None,
    size: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int = 0,
) -> "pd.DataFrame":
    """Return the features of a folder of images, or of image files, a row each: what `visionfm embed` writes.

    Columns `path` (below the folder they share), `image_id`, `view`, then float32 `cls_0`, ... (the CLS tokens of the
    last four blocks, shallow to deep) and `patch_mean_0`, ... `encoder` is an encoder.safetensors or a checkpoint
    (`modality` then says what the images show); `size` the side of its square input in px, None: its own. Raises
    DataError listing images that cannot be used. Nothing is left on the disk.

    >>> import visionfm
    >>> table = visionfm.embed("photos", "encoder.safetensors", device="cpu")
    >>> list(table.columns[:4]), len(table)
    (['path', 'image_id', 'view', 'cls_0'], 2)
    """
    root, paths = list_paths([Path(images)] if isinstance(images, str | Path) else [Path(one) for one in images])
    found = usable(root, paths, Reading(), skip=False, do="repair these files, or leave them out")
    with (
        given.encoder_file(given.Given(Path(encoder), modality)) as path,
        TemporaryDirectory(prefix="visionfm-") as made,
    ):
        file = read_encoder_file(path)
        settings = ExtractSettings(
            size=size or file.image_size,
            interpolation=file.interpolation,
            modality=canonical(modality) if file.is_mix and modality else None,
            device=device,
            workers=workers,
        )
        out = Path(made) / "features.h5"
        _embed(
            [IndexedImage(name, facts.image_id) for name, facts in found],
            Source(root, path, file.sha256),
            settings,
            out,
        )
        return export.flat_table(read_cache(out)).to_pandas()


def list_paths(given: Sequence[Path]) -> tuple[Path, list[str]]:
    """Return the folder that all images lie in, and their POSIX paths relative to it, sorted, each once.

    Raises DataError for what does not exist and for an empty list, UsageError for files that are no images by name.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += [path / listed.path for listed in files_below(path)]
        elif not path.exists():
            raise DataError("images are missing", expected="a folder or an image file", found="nothing", where=path)
        elif path.suffix.lower() not in ALLOWED_SUFFIXES:
            raise UsageError("not an image file", expected=" ".join(sorted(ALLOWED_SUFFIXES)), found=path.name)
        else:
            found.append(path)
    if not found:
        raise DataError("no images", expected="image files", found="none", where=", ".join(map(str, given)))
    alone = given[0] if len(given) == 1 and given[0].is_dir() else None
    root = alone or Path(os.path.commonpath([path.absolute().parent for path in found]))
    return root, sorted({path.absolute().relative_to(root.absolute()).as_posix() for path in found})


def _embed(images: list[IndexedImage], source: Source, settings: ExtractSettings, out: Path) -> None:
    listing = hashlib.sha256(json.dumps(images).encode()).hexdigest()
    inputs = {"images": listing, "encoder": source.encoder_sha256}
    made_by = artifacts.provenance("extract", what_matters(settings), inputs)
    cache = out if out.suffix == ".h5" else out.with_name(f".{out.stem}.h5")  # hidden: the table is what was asked for
    if not artifacts.recall(cache, made_by):
        extract(images, source, settings, cache, made_by)
    if cache != out and cache.exists():  # under torchrun one process writes
        export.export(
            read_cache(cache), out, artifacts.provenance("export", {}, {"features": artifacts.payload_digest(cache)})
        )
        cache.unlink()
