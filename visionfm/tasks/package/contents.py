"""The file of a model that is handed over, `NAME.vfm`: a ZIP artefact whose `model.json` says what all else in it is.

Nothing in it is executed: tensors are safetensors, the rest is JSON, Markdown and PNG. Files are looked up by names
that are made here, never by those that an archive claims, so that no path in it leads anywhere.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from visionfm import artifacts
from visionfm.artifacts.archive import Archive, writing
from visionfm.config.base import Natural, Positive, Strict
from visionfm.errors import ArtifactError
from visionfm.images.transforms import Interpolation
from visionfm.tasks.settings import TargetSpec

SCHEMA, SUFFIX = "visionfm/package/1", ".vfm"
MODEL, CARD, NOVELTY = "model.json", "card.md", "novelty.safetensors"
MOST_BYTES = {MODEL: 4 << 20, CARD: 1 << 20, NOVELTY: 1 << 30}
MOST_PICTURE_BYTES, MOST_TENSOR_BYTES, MOST_FILES = 8 << 20, 16 << 30, 1000
Place = Annotated[int, Field(ge=0, lt=MOST_FILES)]


class EncoderEntry(Strict):
    """One encoder, and how images become its input; what `extract` read of the training images."""

    modality: str
    mixed: bool  # it normalises several modalities, each by its own statistics
    arch: str
    source: str
    licence: str | None
    size_px: Positive
    interpolation: Interpolation
    exact_decode: bool
    precision: Literal["fp32", "bf16"]
    dtype: Literal["float16", "float32"]
    frame: Natural | None = None
    bits: Positive | None = None


class MemberEntry(Strict):
    """One decoder; `encoders`: modality -> place in the list of encoders."""

    run: str
    encoders: dict[str, Place]


class Question(Strict):
    """What is decided by an answer: thresholds by operating point, and the least probability of a conformal set."""

    target: str
    label: str | None  # a class of a multilabel target, a cut of grades
    points: dict[str, float] = Field({})
    limit: float | Literal["every class"] | None = None  # None: no set is made


class Machine(Strict):
    """What bits depend on."""

    processor: str
    torch: str
    threads: int
    device: str


class Golden(Strict):
    """Drawn images, each with its modality, and what every member answered, number by number."""

    modalities: list[str]
    answers: list[list[float]]
    machine: Machine


class Contents(Strict):
    """`model.json`."""

    task: str
    model: str
    kind: str
    unit: str  # what a sample is: image, eye, visit, subject
    fusion: str
    modalities: list[str]
    targets: dict[str, TargetSpec]
    tta: Literal["none", "flips"]
    encoders: list[EncoderEntry] = Field(min_length=1)
    members: list[MemberEntry] = Field(min_length=1)
    questions: list[Question]
    conformal: float | None  # how often sets hold the true class
    intended_use: str
    licence: str | None
    trained_on: dict[str, int]  # samples by split
    golden: Golden | None = None


def encoder_name(place: int) -> str:
    """Return the name of an encoder in the archive."""
    return f"encoders/{place}.safetensors"


def decoder_name(place: int) -> str:
    """Return the name of a member's decoder."""
    return f"decoders/{place}.safetensors"


def picture_name(place: int) -> str:
    """Return the name of a golden image."""
    return f"golden/{place}.png"


def files_of(contents: Contents) -> dict[str, int]:
    """Return the names of all files of such a package, and how many bytes each may have."""
    tensors = [encoder_name(place) for place in range(len(contents.encoders))]
    tensors += [decoder_name(place) for place in range(len(contents.members))]
    pictures = [picture_name(place) for place in range(len(contents.golden.modalities) if contents.golden else 0)]
    return MOST_BYTES | dict.fromkeys(tensors, MOST_TENSOR_BYTES) | dict.fromkeys(pictures, MOST_PICTURE_BYTES)


def write(out: Path, contents: Contents, folder: Path, card: str, inputs: Mapping[str, str]) -> None:
    """Publish a package of the files below `folder`, which have the names of the archive."""
    made_by = artifacts.Provenance("package", 1, artifacts.provenance("predict", {}, inputs).key, inputs)
    text = {MODEL: contents.model_dump_json(indent=1), CARD: card}
    with writing(out, made_by, schema=SCHEMA) as archive:
        for name in files_of(contents):
            archive.add(name, text[name].encode() if name in text else (folder / name).read_bytes())


@contextmanager
def opened(path: Path) -> Iterator[tuple[Contents, Path]]:
    """Yield what a package says, and a folder with its files, which is gone afterwards.

    ArtifactError where the file is damaged or no package, or holds other files than it says, or larger ones.
    """
    if path.suffix != SUFFIX:
        raise ArtifactError("not a packaged model", expected=f"a file that ends in {SUFFIX}", found=path.name)
    if not path.is_file():
        raise ArtifactError("no such packaged model", where=path, do="`visionfm package` writes one, of a finished run")
    artifacts.read_metadata(path, SCHEMA)
    archive = Archive(path, verify=False)
    contents = read_contents(archive)
    with TemporaryDirectory(prefix="visionfm-") as made:
        for name, most in files_of(contents).items():
            (Path(made) / name).parent.mkdir(exist_ok=True)
            (Path(made) / name).write_bytes(archive.read(name, most))
        yield contents, Path(made)


def read_contents(archive: Archive) -> Contents:
    """Return the `model.json` of a checked archive; ArtifactError unless it and the archive's files fit each other."""
    try:
        contents = Contents.model_validate_json(archive.read(MODEL, MOST_BYTES[MODEL]))
    except (ValidationError, ValueError) as error:
        raise _senseless(archive.path, f"{MODEL}: {str(error).splitlines()[0]}") from error
    if archive.names != sorted(files_of(contents)):
        raise _senseless(archive.path, f"{len(archive.names)} files, which are not those that {MODEL} names")
    places = [place for member in contents.members for place in member.encoders.values()]
    if max(places, default=0) >= len(contents.encoders):
        raise _senseless(archive.path, "a member names an encoder that is not there")
    return contents


def _senseless(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} holds no model that can be used",
        expected="what `visionfm package` writes",
        found=found,
        where=path,
        do="get the file again from whoever made it",
    )
