"""`visionfm predict --decoder FILE --features DATASET=CACHE`: any decoder on any images, without a task.

Every image of the caches (of `visionfm embed`, or of a run) is scored; probabilities of an image stand in one row, one
column per class. The decoder is this project's or a published one, pooled (a sample is an image).
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.errors import DataError, UsageError
from visionfm.features.cache import FeatureStore
from visionfm.features.token_cache import TokenStore
from visionfm.figures.tables import harmless
from visionfm.tasks import encodings
from visionfm.tasks.decoder_file import digest_of, finetuned_head, is_own, published_state
from visionfm.tasks.predict import features_read, scored
from visionfm.tasks.samples import Samples
from visionfm.tasks.settings import PredictSettings, TargetSpec
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.spec import TOKENS

SCHEMA = "visionfm/image-predictions/1"
RUN = "given"
log = logging.getLogger("visionfm")


def predict_images(decoder: Path, files: dict[str, list[Path]], out: Path, classes: list[str] | None) -> None:
    """Write `dataset, path, image_id` and the answers of every image to `out` (.parquet or .csv)."""
    from visionfm.tasks.vectors.decoder import load_decoder

    if out.suffix not in (".parquet", ".csv"):
        raise UsageError("unknown kind of output", expected="a name ending in .parquet or .csv", found=out.name)
    settings = _settings(decoder, classes)
    loaded = load_decoder(decoder, settings)
    if loaded.spec.fusion != "pooled" or len(loaded.spec.modalities) != 1:
        raise UsageError(
            "without samples a decoder of one modality is needed",
            expected="a pooled decoder of one modality",
            found=f"{loaded.spec.fusion} of {', '.join(loaded.spec.modalities)}",
            where=decoder,
            do="score it in a task of a config, which says whose images belong together",
        )
    modality = loaded.spec.modalities[0]
    store: Any = (TokenStore if loaded.spec.features == TOKENS else FeatureStore)(files)
    given = ((modality, encodings.Encoding.of(file.metadata)) for name in files for file in store.of(name))
    encodings.check(decoder, encodings.joined(given))
    references = [
        (dataset, name, image_id)
        for dataset in files
        for cache in store.of(dataset)
        for name, image_id in zip(cache.paths, cache.image_ids, strict=True)
    ]
    if not references:
        raise DataError("there is no image to score", found="empty caches", where=", ".join(files))
    samples = _samples(references, modality, loaded)
    features = features_read(loaded.spec, store)
    streams = streams_of.gather(samples, store, loaded.spec.modalities, "pooled", features, ["identity"])
    table = _wide(scored(samples, streams, loaded, settings), references, loaded.spec.targets)
    _write(out, table, decoder, streams)
    log.info("predict: %d images; %s", len(references), out)


def _settings(decoder: Path, classes: list[str] | None) -> PredictSettings:
    same: dict[str, Any] = {"task": RUN, "model": RUN, "run": RUN, "splits": ["test"]}
    if is_own(decoder):
        if classes is not None:
            raise UsageError("--classes is for published decoders; this one knows its classes", where=decoder)
        return PredictSettings(kind="classification", targets={}, modalities=[], **same)
    finetuned = finetuned_head(decoder)
    last = finetuned.bias_K if finetuned else published_state(decoder).get("classifier.6.weight")
    # Of another head load_decoder says what it is.
    count = len(last) if last is not None and last.ndim else len(classes or ["positive"])
    names = classes or (["positive"] if count == 1 else [str(index) for index in range(count)])
    wanted = 1 if len(names) <= 2 and count == 1 else count
    if len(names) not in ({1, 2} if wanted == 1 else {count}):
        raise UsageError("--classes does not fit the decoder", expected=f"{count} names", found=", ".join(names))
    target = TargetSpec(type="binary") if count == 1 else TargetSpec(type="multiclass", classes=names)
    return PredictSettings(kind="classification", targets={"label": target}, modalities=["any"], **same)


def _samples(references: list[tuple[str, str, str]], modality: str, loaded: Any) -> Samples:
    names = np.array([f"{dataset}/{path}" for dataset, path, _ in references], dtype=object)
    datasets = np.array([dataset for dataset, _, _ in references], dtype=object)
    ids = {"sample_id": names, "subject_id": names, "dataset": datasets}
    ids["split"] = np.full(len(names), "test", dtype=object)
    labels = sum(len(t.classes) if t.type == "multilabel" else 1 for t in loaded.spec.targets.values())
    truth_NT = np.full((len(names), labels), np.nan)
    return Samples(ids, truth_NT, np.arange(len(names)), np.full(len(names), modality, dtype=object), references)


def _wide(table: Any, references: list[tuple[str, str, str]], targets: dict[str, TargetSpec]) -> Any:
    """Return a row per image: a value, or the probability of each class, in columns `target` or `target.class`."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        name: pa.array([reference[at] for reference in references])
        for at, name in enumerate(("dataset", "path", "image_id"))
    }
    rows = table.to_pandas()
    for name, target in targets.items():
        of_target = rows[rows["target"] == name]
        if target.type == "value":
            columns[name] = pa.array(of_target["value"].to_numpy(np.float64))
        elif target.type == "multiclass":
            scores_NK = np.stack(of_target["scores"])
            columns.update({f"{name}.{label}": pa.array(scores_NK[:, at]) for at, label in enumerate(target.classes)})
        elif target.type == "multilabel":
            for label in target.classes:
                scores = of_target[of_target["class"] == label]["scores"]
                columns[f"{name}.{label}"] = pa.array(scores.str[0].to_numpy(np.float64))
        else:
            columns[name] = pa.array(of_target["scores"].str[0].to_numpy(np.float64))
    return pa.table(columns)


def write_csv(out: Path, rows: Any) -> None:
    """Publish a DataFrame whose texts no spreadsheet computes."""
    rows = rows.copy()
    for name in rows.select_dtypes(include=["object", "string"]):
        rows[name] = [harmless(cell) if isinstance(cell, str) else cell for cell in rows[name]]
    artifacts.publish(out, rows.to_csv(index=False).encode())


def _write(out: Path, table: Any, decoder: Path, streams: list[streams_of.Stream]) -> None:
    if out.suffix == ".csv":
        write_csv(out, table.to_pandas())
        return
    inputs = {"decoder": digest_of(decoder), "features": streams_of.digest(streams)}
    artifacts.write_table(out, table, artifacts.provenance("predict", {}, inputs), schema=SCHEMA)
