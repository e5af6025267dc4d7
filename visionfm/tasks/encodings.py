"""How the images that a decoder learned from were encoded: it carries this, and is applied to nothing else.

Features of another encoder, or of the same one at another size, often have the right shape, and always another meaning.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from visionfm import artifacts
from visionfm.errors import ArtifactError
from visionfm.features.cache import FeatureStore
from visionfm.features.rows import RowIdentity
from visionfm.images.settings import Resizing
from visionfm.tasks.decoder_file import is_own
from visionfm.tasks.samples import Samples

NAME = "encodings"  # in a decoder's metadata
OF_FILES = re.compile(r"-(?:frame|bits)\d+")  # of a transform's name: how a dataset's files hold pixels, no more
SHOWN_SHA = 12
log = logging.getLogger("visionfm")


class Encoding(NamedTuple):
    """What features depend on beside the pixels; the digest covers the encoder's normalisation."""

    encoder_sha256: str
    transform: str  # size, interpolation, decoding; of an encoder of several modalities, whose normalisation
    blocks: str
    precision: str

    @classmethod
    def of(cls, identity: RowIdentity | Mapping[str, str]) -> "Encoding":
        """Return it from what a cache says of its rows."""
        said = identity if isinstance(identity, Mapping) else identity.attributes()
        found = {name: said[name] for name in cls._fields}
        return cls(**{**found, "transform": OF_FILES.sub("", found["transform"])})

    def resizing(self) -> Resizing:
        """Return how files became the squares that the encoder saw, as `transform_name` wrote it."""
        _, interpolation, decoding = self.transform.split("-")[:3]
        return Resizing.model_validate({"interpolation": interpolation, "exact_decode": decoding == "exact"})

    def __str__(self) -> str:
        """Return it for people."""
        return f"encoder {self.encoder_sha256[:SHOWN_SHA]}, {self.transform}, blocks {self.blocks}, {self.precision}"


Encodings = dict[str, list[Encoding]]  # by modality (empty: not said): each way that its images were encoded


def of_vectors(samples: Samples, store: FeatureStore) -> Encodings:
    """Return how the images of samples were encoded."""
    images = zip(samples.modality_I, samples.references, strict=True)
    pairs = {(str(modality), dataset) for modality, (dataset, _, _) in images}
    return joined((modality, Encoding.of(file.metadata)) for modality, dataset in pairs for file in store.of(dataset))


def joined(found: Iterable[tuple[str, Encoding]]) -> Encodings:
    """Return (modality, encoding) pairs by modality, each once, in order."""
    by_modality: dict[str, set[Encoding]] = {}
    for modality, encoding in found:
        by_modality.setdefault(modality, set()).add(encoding)
    return {modality: sorted(by_modality[modality]) for modality in sorted(by_modality)}


def to_json(encodings: Mapping[str, Sequence[Encoding]]) -> str:
    """Return encodings as metadata hold them."""
    return json.dumps({modality: [one._asdict() for one in several] for modality, several in encodings.items()})


def origin(encodings: Mapping[str, Sequence[Encoding]], views: Sequence[str]) -> dict[str, str]:
    """Return the metadata of a decoder that learned from images so encoded, in these views."""
    return {NAME: to_json(encodings), "views": json.dumps(list(views))}


def recorded(metadata: Mapping[str, str], decoder: Path) -> Encodings:
    """Return what a decoder's metadata say; ArtifactError where they say nothing."""
    try:
        said = json.loads(metadata[NAME])
        return {modality: [Encoding(**one) for one in several] for modality, several in said.items()}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{decoder.name} does not say how the images were encoded that it learned from",
            expected=f"metadata `{NAME}`",
            found="none, or none that can be read",
            where=decoder,
            do="train the decoder again",
        ) from error


def check(decoder: Path, given: Encodings) -> None:
    """Raise ArtifactError unless images were encoded as those that a decoder learned from.

    A published file does not say how; the log tells so.
    """
    if not is_own(decoder):
        log.warning("%s does not say which encoder its features are of: that they fit is up to you", decoder.name)
        return
    wanted = recorded(artifacts.read_metadata(decoder), decoder)
    for modality, encodings in given.items():
        known = wanted.get(modality, []) if modality else [one for several in wanted.values() for one in several]
        if not known:
            raise ArtifactError(
                f"{decoder.name} has learned from no {modality} image",
                expected=f"images of {', '.join(wanted)}",
                found=modality,
                where=decoder,
                do="name a decoder of that modality, or train one",
            )
        for encoding in encodings:
            if encoding not in known:
                raise ArtifactError(
                    f"{decoder.name} learned from other features of {modality} images than these",
                    expected=" or ".join(map(str, known)),
                    found=encoding,
                    where=decoder,
                    do="encode the images with the encoder, size and options of the decoder's own training; "
                    "`visionfm verify --show encoder.safetensors` prints an encoder's digest as payload_sha256",
                )
