"""Stage `predict` for dense tasks: masks or points of each image, one image at a time, whatever their number.

Writes predictions.parquet (a row per image; of landmarks a row per image and point), and for segmentation an archive
of masks at the original size, under the originals' names, and one of probability maps where they are asked for.
Nothing is measured here: `evaluate` does that, so that a new metric predicts nothing again.
Shapes: K outputs, S px of the square input, H/W px of the original.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm import artifacts
from visionfm.artifacts import archive as artifact_archive
from visionfm.data.columns import DenseSample
from visionfm.errors import DataError
from visionfm.features.settings import TokenReading
from visionfm.features.token_cache import DenseStore
from visionfm.images.geometry import resize_points
from visionfm.images.masks import encode_mask
from visionfm.runtime.progress import track
from visionfm.tasks.maps.archive import encode_map, map_names, mask_names
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTarget
from visionfm.tasks.maps.train import DenseFiles, token_inputs

if TYPE_CHECKING:
    from visionfm.tasks.maps.applied import Applied

SCHEMA, MASKS, PROBABILITIES = "visionfm/dense-predictions/1", "visionfm/masks/1", "visionfm/probabilities/1"
log = logging.getLogger("visionfm")


class Outputs(NamedTuple):
    """Where predictions go; archives are for segmentation alone."""

    table: Path
    masks: Path | None
    probabilities: Path | None

    def all(self) -> list[Path]:
        """Return those that are asked for."""
        return [path for path in self if path is not None]


def predict_dense(
    decoder: Path,
    samples: Sequence[DenseSample],
    samples_digest: str,
    files: DenseFiles,
    outputs: Outputs,
    settings: DensePredictSettings,
) -> None:
    """Predict the samples of the settings' splits; see the module."""
    own = decoder.suffix == ".safetensors"
    if own:
        settings = _as_trained(decoder, settings)
    samples = [sample for sample in samples if sample.split in settings.splits]
    if not samples:
        raise DataError(
            "there is no image to predict",
            expected=f"images of split {' or '.join(settings.splits)}",
            found="none",
            do="give the datasets a test split, or name other splits",
        )
    datasets = list(dict.fromkeys(sample.dataset for sample in samples))
    files.check(datasets)
    inputs = {
        "decoder": artifacts.payload_digest(decoder) if own else hashlib.sha256(decoder.read_bytes()).hexdigest(),
        "samples": samples_digest,
        **token_inputs(files, datasets, settings),
    }
    what = {**settings.model_dump(mode="json"), "order": list(settings.targets), "outputs": len(outputs.all())}
    made_by = artifacts.provenance("predict", what, inputs)
    if not all([artifacts.recall(path, made_by) for path in outputs.all()]):
        _predict(decoder, samples, datasets, files, outputs, settings, made_by)
    if outputs.masks is not None:
        artifact_archive.unpack(outputs.masks, outputs.masks.with_suffix(""))


def _as_trained(decoder: Path, settings: DensePredictSettings) -> DensePredictSettings:
    """Return the settings with what a decoder of this project says of itself."""
    metadata = artifacts.read_metadata(decoder)
    names = [name for name in ("size", "tile_overlap", "swaps", "modalities") if name in metadata]
    known: dict[str, Any] = {name: json.loads(metadata[name]) for name in names}
    if "targets" in metadata:
        targets = json.loads(metadata["targets"])
        known["targets"] = {name: DenseTarget.model_validate(value) for name, value in targets.items()}
    return settings.model_copy(update=known)


def _predict(
    decoder: Path,
    samples: Sequence[DenseSample],
    datasets: Sequence[str],
    files: DenseFiles,
    outputs: Outputs,
    settings: DensePredictSettings,
    made_by: artifacts.Provenance,
) -> None:
    from visionfm.tasks.maps.applied import Applied
    from visionfm.tasks.vectors.training import reproducible

    caches = {name: files.caches[name] for name in datasets if name in files.caches}
    store = DenseStore(caches) if caches else None
    if store is not None:
        store.check((s.dataset, s.path, s.image_id) for s in samples if not store.streamed(s.dataset))
    applied = Applied(decoder, {name: files.encoders[name] for name in datasets}, store, settings)
    extra = {
        "targets": json.dumps({name: target.model_dump(mode="json") for name, target in settings.targets.items()}),
        "task": settings.task,
        "model": settings.model,
        "kind": settings.kind,
    }
    with reproducible(settings.threads), ExitStack() as stack:
        shown = track(samples, total=len(samples), what="predict")
        if settings.kind == "landmarks":
            rows = [row for sample in shown for row in _points(applied, sample, files, settings)]
        else:
            assert outputs.masks is not None
            masks = stack.enter_context(
                artifact_archive.writing(outputs.masks, made_by, schema=MASKS, extra={"targets": extra["targets"]})
            )
            maps = None
            if outputs.probabilities is not None:
                # In the pipeline this archive is always there, and empty where no maps are asked for.
                maps = stack.enter_context(
                    artifact_archive.writing(outputs.probabilities, made_by, schema=PROBABILITIES)
                )
            names = mask_names(samples)
            rows = [_mask(applied, sample, names[sample.sample_id], masks, maps, files, settings) for sample in shown]
    artifacts.write_table(outputs.table, _table(rows, settings), made_by, schema=SCHEMA, extra=extra)
    log.info("predict: %d images; %s", len(samples), outputs.table)


# --- segmentation ---------------------------------------------------------------------------------------------------


def _mask(
    applied: "Applied",
    sample: DenseSample,
    name: str,
    masks: artifact_archive.ArchiveWriter,
    maps: artifact_archive.ArchiveWriter | None,
    files: DenseFiles,
    settings: DensePredictSettings,
) -> dict[str, Any]:
    root = files.roots[sample.dataset]
    p_KHW = applied.probabilities(sample, root, reading_of(settings, sample.dataset))
    classes_HW = applied.segmentation.classes(p_KHW).cpu().numpy()
    ((target_name, target),) = settings.targets.items()
    masks.add(name, encode_mask(classes_HW, target.values, orientation=sample.orientation))
    if maps is not None and settings.probabilities:
        classes = len(target.classes)
        for index, map_name in map_names(name, classes).items():
            # From the end: of two classes there may be the second's map alone.
            maps.add(map_name, encode_map(p_KHW[index - classes].double().cpu().numpy()))
    return {**_ids(sample, settings), "target": target_name, "mask": name} | {
        column: getattr(sample, column) for column in OF_MASKS[1:]
    }


# --- landmarks ------------------------------------------------------------------------------------------------------


def _points(
    applied: "Applied", sample: DenseSample, files: DenseFiles, settings: DensePredictSettings
) -> Iterator[dict[str, Any]]:
    points_K2, score_K = applied.points(sample, files.roots[sample.dataset], reading_of(settings, sample.dataset))
    size = (applied.spec.size, applied.spec.size)
    points_K2 = resize_points(points_K2, size, (sample.width, sample.height))
    for name, (x, y), score in zip(settings.targets, points_K2.tolist(), score_K.tolist(), strict=True):
        truth = sample.points.get(name)
        truth_x, truth_y = (None, None) if truth is None else truth
        found = {"x": x, "y": y, "score": score, "truth_x": truth_x, "truth_y": truth_y}
        yield {**_ids(sample, settings), "target": name, **found}


# --- the table ------------------------------------------------------------------------------------------------------


def reading_of(settings: DensePredictSettings, dataset: str) -> TokenReading:
    """Return how a dataset's images are read; those of no config by default."""
    return settings.datasets.get(dataset, TokenReading())


def _ids(sample: DenseSample, settings: DensePredictSettings) -> dict[str, Any]:
    names = ("sample_id", "subject_id", "dataset", "split", "path", "image_id", "width", "height", "orientation")
    known = {name: getattr(sample, name) for name in (*names, "mm_per_px")}
    return {**known, "modalities": sample.modality, "run": settings.run}


IDS = (
    *("sample_id", "subject_id", "dataset", "modalities", "split", "run", "target", "path", "image_id"),
    *("width", "height", "orientation", "mm_per_px"),
)
OF_MASKS = ("mask", "mask_path", "mask_id", "mask2_path", "mask2_id", "fov_path", "fov_id")
OF_POINTS = ("x", "y", "score", "truth_x", "truth_y")


def _table(rows: Sequence[dict[str, Any]], settings: DensePredictSettings) -> Any:
    import pyarrow as pa

    numbers = {name: pa.float64() for name in ("mm_per_px", *OF_POINTS)}
    types = {**numbers, **{name: pa.int32() for name in ("width", "height", "orientation")}}
    names = [*IDS, *(OF_POINTS if settings.kind == "landmarks" else OF_MASKS)]
    fields = [(name, types.get(name, pa.string())) for name in names]
    return pa.Table.from_pylist([{name: row[name] for name in names} for row in rows], schema=pa.schema(fields))
