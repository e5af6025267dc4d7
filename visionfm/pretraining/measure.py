"""Stage `measure`: mean and standard deviation of an encoder's images (`statistics: auto`), once.

Reads images.parquet, the images, and the labels of datasets of which only the training split counts; writes
statistics.json. Like a pretrained encoder it is kept when images are added: statistics that move would make every
feature anew. `visionfm forget` measures again.
"""

import argparse
import logging
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.data.labels import SCHEMA as LABELS
from visionfm.encoders.settings import MEASURED as SCHEMA
from visionfm.errors import DataError
from visionfm.pretraining import source as sources
from visionfm.pretraining.measuring import measure
from visionfm.pretraining.settings import MeasureSettings
from visionfm.pretraining.source import ImageSource

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    sources.add_arguments(parser)
    parser.add_argument("--labels", nargs="*", default=[], help="DATASET=labels.parquet, where only training counts")
    parser.add_argument("--out", required=True, type=Path, help="statistics.json")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = MeasureSettings.model_validate_json(args.settings)
    # Whose images and how they are seen: which images there are by now is no part of the key.
    seen = settings.model_dump(mode="json", include={"every_split", "size", "interpolation", "exact_decode"})
    made_by = artifacts.provenance("measure", {**seen, "datasets": sorted(settings.datasets)}, {})
    if artifacts.recall(args.out, made_by):
        log.info("measured on %s images", f"{artifacts.read_json(args.out, SCHEMA)['images']:,}")
        return
    source = sources.from_arguments(args, settings.datasets, {})
    source = _training_images(source, settings, by_dataset(args.labels))
    found = measure(source, settings.size, settings.workers, settings.interpolation, settings.exact_decode)
    ((modality, said),) = found.items()
    content = {"modality": modality, "images": len(source), "mean": said.mean, "std": said.std}
    artifacts.write_json(args.out, content, made_by, schema=SCHEMA)


def _training_images(source: ImageSource, settings: MeasureSettings, labels: dict[str, list[Path]]) -> ImageSource:
    """Leave out images that are not trained on: those outside the training split, unless the weights have seen them."""
    by_split = sorted(set(settings.datasets) - set(settings.every_split))
    check_given("--labels", by_split, labels)
    train: set[tuple[str, str]] = set()
    for name in by_split:
        for path in labels[name]:
            columns = artifacts.read_table(path, schema=LABELS).select(["path", "split"]).to_pydict()
            pairs = zip(columns["path"], columns["split"], strict=True)
            train.update((name, file) for file, split in pairs if split == "train")
    whole = set(settings.every_split)
    kept = [item.image_id for item in source.items if item.dataset in whole or (item.dataset, item.path) in train]
    if not kept:
        raise DataError(
            "there are no images to measure statistics on",
            expected=f"training images in {', '.join(settings.datasets)}",
            found="none",
            do="name datasets in the encoder's `trained_on`, or give `statistics` as two triples",
        )
    return source.take(kept)
