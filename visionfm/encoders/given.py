"""An encoder that a person names on a command line or in Python: ours, a weights file, or one of timm's names.

What a config says of an encoder can be said here too. Invariant: an `encoder.safetensors` without further words is used
as it is; anything else goes through `import`, so that both ways give the same encoder.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from visionfm import artifacts
from visionfm.config.base import Statistics
from visionfm.encoders.checksum import check_present
from visionfm.encoders.file import SCHEMA, check_sense
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.errors import ArtifactError, UsageError
from visionfm.modalities import ANY, canonical

Interpolation = Literal["bilinear", "bicubic"]
WORDS = ("timm", "key", "arch", "statistics", "interpolation")


class Given(NamedTuple):
    """What a person says of an encoder; None where nothing is said."""

    path: Path | None
    modality: str | None = None
    timm: str | None = None
    key: str | None = None
    arch: str | None = None
    statistics: str | Statistics | None = None
    interpolation: Interpolation | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a config can say of an encoder."""
    parser.add_argument("--modality", help="what the images show, such as OCT; needed with a checkpoint")
    parser.add_argument("--timm", metavar="NAME", help="timm's name of the weights; without --encoder timm's download")
    parser.add_argument("--key", help="which entry or prefix of the checkpoint holds the weights, where several do")
    parser.add_argument("--arch", help="timm's name of the architecture, where the weights leave it open")
    parser.add_argument(
        "--statistics",
        metavar="WORD",
        help="input normalisation: modality, imagenet, or MEAN/STD such as 0.5,0.5,0.5/0.5,0.5,0.5",
    )
    parser.add_argument("--interpolation", choices=["bilinear", "bicubic"], help="how images are resized")


def from_arguments(args: argparse.Namespace) -> Given:
    """Return what the command line says."""
    statistics = None if args.statistics is None else statistics_of(args.statistics)
    return Given(
        args.encoder, args.modality, args.timm, args.key, args.arch, statistics, interpolation=args.interpolation
    )


def statistics_of(text: str) -> str | Statistics:
    """Return a word that the config knows, or mean and std from `r,g,b/r,g,b`; raises UsageError for anything else."""
    if text in ("weights", "modality", "imagenet"):
        return text
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in text.split("/"))
        return Statistics(mean=mean, std=std)
    except ValueError as error:  # also pydantic's
        raise UsageError(
            "statistics that cannot be used",
            expected="modality, imagenet, or three means and three standard deviations of R, G, B in [0, 1]",
            found=text,
            do="write them as 0.5,0.5,0.5/0.5,0.5,0.5; measured ones (`auto`) need a config",
        ) from error


def is_encoder(path: Path) -> bool:
    """Tell whether a file is an `encoder.safetensors`, by its header; raises ArtifactError for our other artefacts."""
    if path.suffix != ".safetensors":
        return False
    try:
        schema = artifacts.read_metadata(path, verify=False).get("schema")
    except ArtifactError:
        return False  # whatever else it is, `import` knows or says what is wrong
    if isinstance(schema, str) and schema.startswith("visionfm/") and schema != SCHEMA:
        raise ArtifactError("not an encoder", expected=SCHEMA, found=schema, where=path, do="name an encoder's file")
    return schema == SCHEMA


def import_settings(given: Given) -> ImportSettings | None:
    """Return how to import what is given; None where it is an encoder already, and nothing else is said of it.

    Raises UsageError where too little is said.
    """
    path = given.path
    if path is None and given.timm is None:
        raise UsageError("no encoder is given", expected="--encoder FILE, or --timm NAME", do="name one of them")
    if path is not None:
        check_present(path)
    modality = canonical(given.modality) if given.modality not in (None, ANY) else given.modality
    said = {name: getattr(given, name) for name in WORDS if getattr(given, name) is not None}
    if path is not None and is_encoder(path):
        metadata = artifacts.read_metadata(path)
        check_sense(metadata, path)
        own = str(metadata.get("modality"))
        if modality not in (None, own) and own != ANY:
            raise UsageError(
                "the encoder is for another modality", expected=own, found=modality, where=path, do="name its encoder"
            )
        if not said:
            return None
        if "statistics" in metadata:
            raise UsageError(
                "the encoder normalises each modality by its own statistics, and nothing else can be said of it",
                found=", ".join(f"--{name}" for name in said),
                where=path,
                do="leave them out",
            )
        modality = own
    if modality is None:
        raise UsageError(
            "weights do not say what their images show",
            expected="--modality (`modality=` in Python), such as Fundus or OCT; any for a network of natural images",
            where=path or given.timm,
            do="name it; or make an encoder.safetensors once, by `visionfm import` or a config, and give that",
        )
    chosen: dict[str, Any] = {"modality": modality, "weights": None if path is None else str(path), **_fed(given.timm)}
    return ImportSettings(**{**chosen, **said})


def _fed(timm: str | None) -> dict[str, Any]:
    """Return size and interpolation that timm feeds a network of stages with; columns have the project's defaults."""
    if timm is None:
        return {}
    from visionfm.encoders import architectures, timm_weights

    if architectures.is_column(timm.partition(".")[0]):
        return {}
    timms = timm_weights.data_config(timm)
    resized = {"interpolation": timms["interpolation"]} if timms["interpolation"] in ("bilinear", "bicubic") else {}
    return {"image_size": timms["px"], **resized}


@contextmanager
def encoder_file(given: Given) -> Iterator[Path]:
    """Give an `encoder.safetensors`: the one that is given, or one made of what is given, for as long as needed."""
    settings = import_settings(given)
    if settings is None:
        assert given.path is not None, "import_settings has checked it"
        yield given.path
        return
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / "encoder.safetensors"
        import_encoder(settings, encoder)
        yield encoder
