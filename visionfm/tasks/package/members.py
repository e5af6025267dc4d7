"""What of a results folder belongs to a model: its own decoders, their encoders, and the caches of their samples.

A decoder names its encoders by their digests, and its predictions name it; so no config is needed. Baselines are left
out: k-NN holds the features of its training samples, which are people's.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visionfm import artifacts
from visionfm.errors import DataError, UsageError
from visionfm.features.rows import RowIdentity
from visionfm.tasks import encodings, kind_of
from visionfm.tasks.encodings import Encoding
from visionfm.tasks.maps.spec import DenseSpec
from visionfm.tasks.prediction_arrays import natural
from visionfm.tasks.runs import GIVEN, fold_of, read_run
from visionfm.tasks.samples import Samples, read_samples
from visionfm.tasks.vectors.spec import TOKENS, Spec

FORECAST = "ForecastHead"


@dataclass(frozen=True)
class Member:
    """A run's decoder with what it needs; `identities` say how the images of each modality became features."""

    run: str
    decoder: Path
    spec: Spec
    predictions: Path
    samples_table: Path
    samples: Samples
    encoders: dict[str, Path]  # by modality
    identities: dict[str, RowIdentity]  # by modality
    caches: dict[str, list[Path]]  # by dataset


def members_of(folder: Path) -> list[Member]:
    """Return the decoders of `results/tasks/TASK/MODEL`: of all seeds and all folds.

    UsageError where the folder is none or holds a model that no package can hold, DataError where something is missing.
    """
    if folder.absolute().parent.parent.name != "tasks" or not folder.is_dir():
        raise UsageError("not a model's results", expected="a folder results/tasks/TASK/MODEL", found=folder)
    runs = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=natural)
    own = [run for run in runs if (about := read_run(run)).seed is not None and about.on_all and not about.baseline]
    if not own:
        given = (folder / GIVEN).is_dir()
        raise UsageError(
            "this model has no decoder of its own" if given else "no decoder was trained here",
            expected="runs seed0, seed1, ...",
            found=", ".join(runs) or "no run",
            where=folder,
            do="package a task that trains its decoder" if given else "run the pipeline to its end first",
        )
    return [_member(folder, run) for run in own]


def _member(folder: Path, run: str) -> Member:
    predictions = folder / run / "predictions.parquet"
    decoder = _decoder(folder / run, json.loads(artifacts.read_metadata(predictions)["inputs"])["decoder"])
    metadata = artifacts.read_metadata(decoder)
    _check_supported(decoder, metadata)
    spec = Spec.read(decoder)
    fold = fold_of(run)
    samples_table = folder / ("" if fold is None else fold.name) / "samples.parquet"
    samples = read_samples(samples_table, spec.targets, spec.modalities)
    known = encodings.recorded(metadata, decoder)
    datasets = {(str(m), d) for m, (d, _, _) in zip(samples.modality_I, samples.references, strict=True)}
    results = folder.absolute().parents[2]
    found = list(_caches(results, folder / run))
    caches: dict[str, list[Path]] = {}
    identities: dict[str, RowIdentity] = {}
    for modality, dataset in sorted(datasets):
        fitting = [(path, one) for path, one in found
                   if path.name.split(".")[0] == dataset and Encoding.of(one) in known.get(modality, [])]  # fmt: skip
        if not fitting:
            raise DataError(
                f"the features of {dataset} that {run} was trained on are not there",
                expected=f"a cache of {modality} images by {' or '.join(map(str, known.get(modality, [])))}",
                where=results / "features",
                do="run the pipeline to its end, then package again",
            )
        caches[dataset] = [path for path, _ in fitting]
        for _, identity in fitting:
            before = identities.setdefault(modality, identity)
            if before != identity:
                raise UsageError(
                    f"images of {modality} were read in several ways, and a package knows one",
                    expected=before,
                    found=identity,
                    do="give the datasets of a modality the same `frame` and `bits`",
                )
    encoders = {name: _encoder(results, folder / run, identity) for name, identity in identities.items()}
    return Member(run, decoder, spec, predictions, samples_table, samples, encoders, identities, caches)


def _check_supported(decoder: Path, metadata: dict[str, str]) -> None:
    if metadata.get("schema") == DenseSpec.SCHEMA or kind_of(metadata.get("kind")).family == "maps":
        raise UsageError(
            f"{metadata.get('kind')} is not packaged",
            expected="classification, regression, ordinal or progression",
            where=decoder,
            do="hand over encoder.safetensors and decoder.safetensors; `visionfm predict --images` applies them",
        )
    spec = Spec.read(decoder)
    reasons = {
        "it reads every patch token of the encoder": spec.features == TOKENS,
        "it is asked for the interval of each sample": spec.head == FORECAST,
        "it looks at earlier visits of an eye": spec.visits > 1,
    }
    if why := next((reason for reason, holds in reasons.items() if holds), None):
        raise UsageError(
            "such a decoder is not packaged",
            expected="one that answers from the images of one moment",
            found=why,
            where=decoder,
            do="score its images in a task of a config (`decoder: FILE`)",
        )


def _decoder(run: Path, digest: str) -> Path:
    """Return the decoder that the predictions are of: the calibrated one where there is one."""
    for name in ("calibrated.safetensors", "decoder.safetensors"):
        if (run / name).is_file() and artifacts.payload_digest(run / name) == digest:
            return run / name
    raise DataError("the decoder that predicted is not there", expected=digest, where=run, do="run the pipeline again")


def _caches(results: Path, run: Path) -> Iterator[tuple[Path, RowIdentity]]:
    """Yield the caches of the encoders, and those of a run that fine-tuned its own, with how their rows were made."""
    for path in sorted([*results.glob("features/*/*.cls*.h5"), *run.absolute().glob("features/*.cls*.h5")]):
        yield path, RowIdentity.of(artifacts.read_metadata(path, verify=False))


def _encoder(results: Path, run: Path, identity: RowIdentity) -> Path:
    for path in sorted([*run.absolute().glob("encoder.safetensors"), *results.glob("encoders/*/encoder.safetensors")]):
        if artifacts.read_metadata(path, verify=False).get("payload_sha256") == identity.encoder_sha256:
            return path
    raise DataError(
        "the encoder of the decoder is not there",
        expected=f"payload_sha256 {identity.encoder_sha256}",
        where=results / "encoders",
        do="run the pipeline again",
    )


def number_in(transform: str, word: str) -> int | None:
    """Return the number after a word in a transform's name (`square224-bilinear-fast-bits12`); None where it is not."""
    found = re.search(rf"(?:^|-){word}(\d+)(?=-|$)", transform)
    return None if found is None else int(found[1])
