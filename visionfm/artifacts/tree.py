"""Where each stage's artefacts lie below `results/`, and whether one that lies there belongs there.

A checksum says that a file is whole; that it is the right one is compared here and nowhere else: its schema and stage
with those of its place, its owner with the names in its path, itself with what was published here last, and the
digests of its inputs with the files that lie there now. Files of no known place belong to whoever put them there.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from visionfm.artifacts.files import KEPT, kept_path
from visionfm.errors import ArtifactError, OutOfDate

Metadata = Mapping[str, str]
NAME = r"[^/.]+"
PARTS = {"shard": r"(?:\.\d+)?", "size": r"\d+"}  # of file names, beside names


class Place(NamedTuple):
    """The artefacts of one kind; `inputs`: where the input of a name lies whose whole payload the digest is of."""

    path: str  # below results/, with {names}
    stages: tuple[str, ...]
    schemas: tuple[str, ...]
    inputs: Mapping[str, str] = {}


RUN = "tasks/{task}/{model}/{run}"
IMAGES = {"images": "datasets/{dataset}/images{shard}.parquet"}
ENCODED = {**IMAGES, "encoder": "encoders/{encoder}/encoder.safetensors"}
TUNED = {**IMAGES, "encoder": f"{RUN}/encoder.safetensors"}
FOLD = "tasks/{task}/{model}/{fold}"  # of a task that divides its people into folds: its samples are those of each
TRAINED = {"train": "tasks/{task}/{model}/**/train.parquet"}
APPLIED = {"decoder": f"{RUN}/[cd]*.safetensors", "samples": "tasks/{task}/{model}/**/samples.parquet"}
FUSED = {"labels/{dataset}": "datasets/{dataset}/labels.parquet", "audit": "tasks/{task}/audit.parquet"}
SHARDS, LABELS = "datasets/{dataset}/images*.parquet", "datasets/{dataset}/labels.parquet"
ALL_RUNS = "tasks/{task}/{model}/*/"
MEASURED = {f"{name}.{{number}}": f"{ALL_RUNS}{name}.zip" for name in ("masks", "probabilities")}
MEASURED["predictions.{number}"] = f"{ALL_RUNS}predictions.parquet"
DECODERS = ("decoder", "dense-decoder")
PLACES = (
    Place("datasets/{dataset}/images{shard}.parquet", ("index",), ("images",)),
    Place("datasets/{dataset}/labels.parquet", ("label",), ("labels",), {"images{number}": SHARDS}),
    Place(
        "tasks/{task}/audit.parquet",
        ("audit",),
        ("audit",),
        {"images/{dataset}/{number}": SHARDS, "labels/{dataset}/{number}": LABELS},
    ),
    Place("packs/{dataset}/{size}px{shard}.parquet", ("pack",), ("pack",)),
    Place("encoders/{encoder}/statistics.json", ("measure",), ("statistics",)),
    Place("encoders/{encoder}/weights.json", ("checksum",), ("checksum",)),
    Place("encoders/{encoder}/encoder.safetensors", ("import", "pretrain"), ("encoder",)),
    Place("encoders/{encoder}/training.parquet", ("pretrain",), ("pretraining",)),
    Place("features/{encoder}/{dataset}.cls{size}{shard}.h5", ("extract",), ("features",), ENCODED),
    Place("features/{encoder}/{dataset}.dense{size}{shard}.h5", ("dense",), ("dense",), ENCODED),
    Place(
        "features/{encoder}/{dataset}.cls{size}{shard}.parquet",
        ("export",),
        ("flat-features",),
        {"features": "features/{encoder}/{dataset}.cls{size}{shard}.h5"},
    ),
    Place("tasks/{task}/{model}/samples.parquet", ("fuse",), ("samples",), FUSED),
    Place("tasks/{task}/{model}/train.parquet", ("fuse",), ("samples",), FUSED),
    Place(f"{FOLD}/samples.parquet", ("fuse",), ("samples",), FUSED),
    Place(f"{FOLD}/train.parquet", ("fuse",), ("samples",), FUSED),
    Place(f"{RUN}/encoder.safetensors", ("finetune",), ("encoder",), TRAINED),
    Place(f"{RUN}/decoder.safetensors", ("train", "finetune"), DECODERS, TRAINED),
    Place(
        f"{RUN}/calibrated.safetensors",
        ("calibrate",),
        ("decoder",),
        {**TRAINED, "decoder": f"{RUN}/decoder.safetensors"},
    ),
    Place(f"{RUN}/training.parquet", ("train", "finetune"), ("training",), TRAINED),
    Place(f"{RUN}/features/{{dataset}}.cls{{size}}{{shard}}.h5", ("extract",), ("features",), TUNED),
    Place(f"{RUN}/predictions.parquet", ("predict",), ("predictions", "dense-predictions"), APPLIED),
    Place(f"{RUN}/locations.parquet", ("locate",), ("locations",)),
    Place("tasks/{task}/suspects.parquet", ("suspect",), ("suspects",)),
    Place(f"{RUN}/masks.zip", ("predict",), ("masks",), APPLIED),
    Place(f"{RUN}/probabilities.zip", ("predict",), ("probabilities",), APPLIED),
    Place("tasks/{task}/{model}/metrics.parquet", ("evaluate",), ("metrics",), MEASURED),
    Place("tasks/{task}/{model}/image_metrics.parquet", ("evaluate",), ("image-metrics",), MEASURED),
    Place(
        "tasks/{task}/comparison.parquet",
        ("compare",),
        ("comparison",),
        {"{model}.{number}": "tasks/{task}/{model}/**/*.parquet"},  # predictions; of masks image_metrics
    ),
    Place(
        "tasks/{task}/contrasts.parquet",
        ("contrast",),
        ("contrasts",),
        {
            "{model}.{number}": "tasks/{task}/{model}/**/*.parquet",
            "samples": "tasks/{task}/**/samples.parquet",
            "labels/{dataset}": LABELS,
        },
    ),
    Place(
        "tasks/{task}/recalibration.parquet",
        ("recalibrate",),
        ("recalibration",),
        {"{model}.{number}": "tasks/{task}/{model}/*/predictions.parquet"},
    ),
    Place("report/index.html", ("report",), ("report",)),
    Place("report/summary.md", ("report",), ("summary",)),
    Place("report/metrics.parquet", ("report",), ("metrics",)),
    Place("report/figures.zip", ("report",), ("figures",)),
    Place("report/tasks.zip", ("report",), ("task_pages",)),
    Place("report/paper.zip", ("paper",), ("paper",)),
)


# What stages keep beside an artefact, and which one: rows encoded so far, a training's state, its checkpoints, the
# copies of images that a search found.
BESIDE = (
    (re.compile(r"(datasets/[^/]+)/copies-[^/]+"), r"\1/labels.parquet"),
    (re.compile(r"(tasks/[^/]+)/copies-[^/]+"), r"\1/audit.parquet"),
    (re.compile(r"(features/.+)\.parts/[^/]+"), r"\1.h5"),
    (re.compile(r"(tasks/[^/]+/[^/]+/[^/]+/.+)\.parts/[^/]+"), r"\1.h5"),
    (re.compile(r"(tasks/[^/]+/[^/]+/[^/]+)/training-[0-9a-f]+/[^/]+"), r"\1/decoder.safetensors"),
    (re.compile(r"(encoders/[^/]+)/pretraining/.+"), r"\1/encoder.safetensors"),
)


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    texts = [re.escape(part) if n % 2 == 0 else f"(?P<{part}>{PARTS.get(part, NAME)})" for n, part in enumerate(parts)]
    return re.compile("".join(texts))


PATTERNS = [(_pattern(place.path), place) for place in PLACES]


def _found(path: Path) -> tuple[Path, Place, dict[str, str]] | None:
    """Return the results folder, the kind of place and the names in the path; None where the place is not known."""
    kept = kept_path(path)
    if kept is None:
        return None
    root = next(folder for folder in kept.parents if folder.name == KEPT).parent
    inside = kept.relative_to(root / KEPT).as_posix()
    for pattern, place in PATTERNS:
        if matched := pattern.fullmatch(inside):
            return root, place, matched.groupdict()
    return None


def artefact_of(inside: str) -> str:
    """Return the artefact that a file is, or stands beside; both as paths below results/."""
    for pattern, whose in BESIDE:
        if matched := pattern.fullmatch(inside):
            return matched.expand(whose)
    return inside


def is_place(inside: str) -> bool:
    """Tell whether a path below results/ is the place of an artefact."""
    return any(pattern.fullmatch(inside) for pattern, _ in PATTERNS)


def owner(path: str | Path) -> dict[str, str]:
    """Return the metadata that name an artefact's owner: what its path calls dataset, encoder, task, model and run."""
    found = _found(Path(path))
    if found is None:
        return {}
    names = {name: text for name, text in found[2].items() if name not in PARTS}
    return {"owner": json.dumps(names, sort_keys=True)} if names else {}


def check(path: Path, metadata: Metadata, sealed: Callable[[Path], Metadata], head: Callable[[Path], Metadata]) -> None:
    """Raise ArtifactError where an artefact of a known place does not belong there.

    `sealed` and `head` return the metadata of another file, checked against its checksum or as they stand.
    """
    found = _found(path)
    if found is None:
        return
    root, place, names = found
    schemas = [f"visionfm/{name}/" for name in place.schemas]
    schema, stage = str(metadata.get("schema")), str(metadata.get("stage"))
    if schema.rstrip("0123456789") not in schemas or stage not in place.stages:
        raise _foreign(
            path,
            "is another kind of artefact than its name says",
            f"{' or '.join(place.schemas)}, by {' or '.join(place.stages)}",
            f"{schema}, by {stage}",
        )
    own = owner(path).get("owner")
    if metadata.get("owner") != own:
        found_owner = metadata.get("owner", "no owner")
        raise _foreign(path, "belongs elsewhere: it was copied here", own or "no owner", found_owner)
    kept = kept_path(path)
    if kept is not None and kept.is_file() and not kept.samefile(path):
        last = _or_none(sealed, kept)
        if last is not None and last.get("file_sha256") != metadata.get("file_sha256"):
            raise _foreign(
                path,
                "is not what was written here last: an older or another file was put in its place",
                f"file_sha256 {last.get('file_sha256')}",
                metadata.get("file_sha256"),
            )
    for name, digest in _inputs(path, metadata).items():
        now = _digests_now(root, place, names, name, head)
        if now and digest not in now:
            raise OutOfDate(
                f"{path.name} is out of date: it was made from another `{name}` than lies there now",
                expected=" or ".join(now),
                found=digest,
                where=path,
                do="run again; where the config no longer has it, `visionfm forget` it",
            )


def _inputs(path: Path, metadata: Metadata) -> dict[str, str]:
    try:
        inputs = json.loads(metadata["inputs"])
        return {str(name): str(digest) for name, digest in inputs.items()}
    except (LookupError, ValueError, AttributeError, RecursionError) as error:
        raise _foreign(path, "does not say what it was made from", "metadata `inputs`", repr(error)) from error


def _digests_now(
    root: Path, place: Place, names: Mapping[str, str], input_name: str, head: Callable[[Path], Metadata]
) -> list[str]:
    """Return the payload digests of the files that an input may be; none where they are not there or not known."""
    for template, where in place.inputs.items():
        if matched := _pattern(template).fullmatch(input_name):
            of = {**names, **matched.groupdict()}
            files = sorted(root.glob(where.format(**of)))
            return [said["payload_sha256"] for said in _heads(files, head) if "payload_sha256" in said]
    return []


def _heads(files: list[Path], head: Callable[[Path], Metadata]) -> Iterator[Metadata]:
    for file in files:
        if (said := _or_none(head, file)) is not None:
            yield said


def _or_none(read: Callable[[Path], Metadata], path: Path) -> Metadata | None:
    """Return another file's metadata; None where it is damaged, which is for its own readers to say."""
    try:
        return read(path)
    except ArtifactError:
        return None


def _foreign(path: Path, what: str, expected: object, found: object) -> ArtifactError:
    return ArtifactError(
        f"{path.name} {what}",
        expected=expected,
        found=found,
        where=path,
        do="delete it and run again: its kept copy is put back, or it is made anew",
    )
