"""Stage `predict` for dense tasks: masks or points of each image, one image at a time, whatever their number.

Writes predictions.parquet (a row per image; of landmarks a row per image and point), and for segmentation an archive
of masks at the original size, under the originals' names, and one of probability maps where they are asked for.
Nothing is measured here: `evaluate` does that, so that a new metric predicts nothing again.
Shapes: K outputs, S px of the square input, H/W px of the original.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from visionfm import artifacts
from visionfm.artifacts import archive as artifact_archive
from visionfm.data.columns import DenseSample, column_type
from visionfm.errors import ArtifactError
from visionfm.features.token_cache import DenseStore
from visionfm.runtime.progress import track
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks import encodings, kind_of
from visionfm.tasks.decoder_file import digest_of, is_own
from visionfm.tasks.maps.archive import mask_names
from visionfm.tasks.maps.settings import DensePredictSettings
from visionfm.tasks.maps.spec import DenseSpec
from visionfm.tasks.maps.train import DenseFiles, encodings_of, token_inputs
from visionfm.tasks.samples import check_some
from visionfm.tasks.slots import targets_to_json

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


class Image(NamedTuple):
    """An image to predict: the name that its mask has in an archive, and the folder that it lies in."""

    sample: DenseSample
    name: str
    root: Path


class Archives(NamedTuple):
    """Open archives of masks and of probability maps; None where there are none."""

    masks: artifact_archive.ArchiveWriter | None
    maps: artifact_archive.ArchiveWriter | None


def predict_dense(
    decoder: Path,
    samples: Sequence[DenseSample],
    samples_digest: str,
    files: DenseFiles,
    outputs: Outputs,
    settings: DensePredictSettings,
) -> None:
    """Predict the samples of the settings' splits; see the module."""
    if outputs.masks is not None:
        artifact_archive.check_folder(outputs.masks)
    if is_own(decoder):  # it says of itself what it was trained for
        spec = DenseSpec.read(decoder)
        if spec.kind != settings.kind:
            raise ArtifactError(
                f"{decoder.name} is for another kind of task",
                expected=settings.kind,
                found=spec.kind,
                where=decoder,
                do="name its kind, or another decoder",
            )
        names = ("targets", "size", "tile_overlap", "swaps", "modalities")
        settings = settings.model_copy(update={name: getattr(spec, name) for name in names})
    samples = [sample for sample in samples if sample.split in settings.splits]
    check_some(len(samples), settings.splits, None)
    datasets = list(dict.fromkeys(sample.dataset for sample in samples))
    files.check(datasets)
    encodings.check(decoder, encodings_of(samples, files, settings))
    inputs = {
        "decoder": digest_of(decoder),
        "samples": samples_digest,
        **token_inputs(files, datasets, settings),
    }
    what = {**settings.model_dump(mode="json"), "order": list(settings.targets), "outputs": len(outputs.all())}
    made_by = artifacts.provenance("predict", what, inputs)
    if not all([artifacts.recall(path, made_by) for path in outputs.all()]):
        _predict(decoder, samples, datasets, files, outputs, settings, made_by)
    if outputs.masks is not None:
        artifact_archive.unpack(outputs.masks, outputs.masks.with_suffix(""))


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

    caches = {name: files.caches[name] for name in datasets if name in files.caches}
    store = DenseStore(caches) if caches else None
    if store is not None:
        store.locate((s.dataset, s.path, s.image_id) for s in samples if not store.streamed(s.dataset))
    applied = Applied(decoder, {name: files.encoders[name] for name in datasets}, store, settings)
    predicted = kind_of(settings.kind).part("predicted")
    extra = {
        "targets": targets_to_json(settings.targets),
        "task": settings.task,
        "model": settings.model,
        "kind": settings.kind,
    }
    with reproducible(settings.threads), ExitStack() as stack:

        def archive(path: Path | None, schema: str, more: dict[str, str] | None = None) -> Any:
            if path is None:
                return None
            return stack.enter_context(artifact_archive.writing(path, made_by, schema=schema, extra=more))

        # In the pipeline the archive of maps is always there, and empty where none are asked for.
        archives = Archives(
            archive(outputs.masks, MASKS, {"targets": extra["targets"]}), archive(outputs.probabilities, PROBABILITIES)
        )
        names = mask_names(samples)
        rows = []
        for sample in track(samples, total=len(samples), what="predict"):
            image = Image(sample, names[sample.sample_id], files.roots[sample.dataset])
            same = _ids(sample, settings)
            rows += [{**same, **row} for row in predicted.rows(applied, image, archives, settings)]
    artifacts.write_table(outputs.table, _table(rows, predicted.COLUMNS), made_by, schema=SCHEMA, extra=extra)
    log.info("predict: %d images; %s", len(samples), outputs.table)


# --- the table ------------------------------------------------------------------------------------------------------


def _ids(sample: DenseSample, settings: DensePredictSettings) -> dict[str, Any]:
    names = ("sample_id", "subject_id", "dataset", "split", "path", "image_id", "width", "height", "orientation")
    known = {name: getattr(sample, name) for name in (*names, "mm_per_px")}
    return {**known, "modalities": sample.modality, "run": settings.run}


IDS = (
    *("sample_id", "subject_id", "dataset", "modalities", "split", "run", "target", "path", "image_id"),
    *("width", "height", "orientation", "mm_per_px"),
)


def _table(rows: Sequence[dict[str, Any]], own: Mapping[str, str]) -> Any:
    """Return the rows as a table; `own` are the kind's columns, Arrow's types by name."""
    import pyarrow as pa

    types = {**dict.fromkeys(("width", "height", "orientation"), "int32"), **own}
    names = [*IDS, *own]
    fields = [(name, pa.type_for_alias(types.get(name, "string"))) for name in names]
    fields[names.index("mm_per_px")] = ("mm_per_px", column_type("mm_per_px", []))
    return pa.Table.from_pylist([{name: row[name] for name in names} for row in rows], schema=pa.schema(fields))
