"""The eight imaging modalities of the published system: names, aliases, and what its weights were trained with.

Means and standard deviations are RGB in [0, 1] (VisionFM, modality statistics). A new modality comes from the
config's `modalities` block, not from here.
"""

from functools import lru_cache
from typing import NamedTuple

from visionfm.errors import ConfigError

RGB = tuple[float, float, float]


class Modality(NamedTuple):
    """A modality: `mean` and `std` are RGB in [0, 1]."""

    name: str
    mean: RGB
    std: RGB
    aliases: tuple[str, ...] = ()


IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
ANY = "any"

MODALITIES = {
    modality.name: modality
    for modality in (
        Modality(
            "Fundus",
            (0.423737496137619, 0.2609460651874542, 0.128403902053833),
            (0.29482534527778625, 0.20167365670204163, 0.13668020069599152),
            ("cfp", "colour fundus", "color fundus"),
        ),
        Modality("OCT", (0.21091926, 0.21091926, 0.21091919), (0.17598894, 0.17598891, 0.17598893)),
        Modality("FFA", (0.2020487, 0.20205145, 0.20201068), (0.17406046, 0.17404206, 0.17401208), ("fa",)),
        Modality(
            "SlitLamp",
            (0.5556667, 0.40288574, 0.38857886),
            (0.26516676, 0.23311588, 0.23903583),
            ("silt lamp", "slit"),
        ),
        Modality(
            "Ultrasound",
            (0.05989236, 0.05978666, 0.056694973),
            (0.154277, 0.15504874, 0.14464583),
            ("b scan", "us", "b ultrasound"),
        ),
        Modality("External", (0.4936253, 0.36324808, 0.25956994), (0.32001, 0.27109432, 0.21991591), ("external eye",)),
        Modality("MRI", (0.17368862,) * 3, (0.16198656,) * 3),
        Modality("UBM", (0.096110865,) * 3, (0.20977867,) * 3),
    )
}


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:  # planning asks hundreds of thousands of times for a few names
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_NAMES = {_plain(spelling): m.name for m in MODALITIES.values() for spelling in (m.name, *m.aliases)}


def canonical(name: str, known: tuple[str, ...] = ()) -> str:
    """Return the published spelling of a modality or alias, in any case; `known` are names that the config adds.

    >>> canonical("silt-lamp"), canonical("UltraSound")
    ('SlitLamp', 'Ultrasound')
    """
    plain = _plain(name)
    found = next((extra for extra in reversed(known) if _plain(extra) == plain), None) or _NAMES.get(plain)
    if found is not None:
        return found
    raise ConfigError(
        f"unknown modality {name!r}",
        expected=", ".join([*MODALITIES, *known]),
        do="correct the name, or add it to the config's `modalities`",
    )
