"""Public data sets and public encoders: what an encoder has seen of a set, as far as `public.yaml` knows.

Invariant: a verdict names its source; without a fact it is `unknown`. `not seen` is said only where all is known that
an encoder was trained on, and what it started from, and so on back to nothing.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from visionfm.config.base import Strict
from visionfm.config.nearest import unknown
from visionfm.config.yaml_files import read_yaml

FILE = Path(__file__).with_name("public.yaml")
Status = Literal["seen", "seen in part", "related set seen", "unknown", "not seen"]  # what tells more comes first


class PublicSet(Strict):
    """A public data set."""

    title: str


class Overlap(Strict):
    """Two public sets that have images, or perhaps people, in common."""

    one: str
    other: str
    shares: Literal["copies", "people"]
    source: str
    read: date | None = Field(None, strict=False)
    note: str


class Part(Strict):
    """How much of a set was trained on; all of it where nothing is said."""

    part: str | None = None


class PublicEncoder(Strict):
    """What is known of the data that an encoder was trained on; `starts_from` is another encoder."""

    title: str
    source: str | None = None
    read: date | None = Field(None, strict=False)
    complete: bool = False
    starts_from: str | None = None
    start: str | None = None  # how that is known
    from_nothing: bool = False  # it started from random weights
    trained_on: dict[str, Part] = Field({})
    note: str | None = None


class Registry(Strict):
    """All that `public.yaml` says."""

    sets: dict[str, PublicSet]
    overlaps: list[Overlap]
    encoders: dict[str, PublicEncoder]


class Verdict(NamedTuple):
    """What an encoder has seen of a public set, and a sentence with its source."""

    status: Status
    detail: str


@functools.cache
def registry() -> Registry:
    """Return what is known of public sets and encoders."""
    return Registry.model_validate(dict(read_yaml(FILE).values))


def check_known(kind: Literal["sets", "encoders"], name: str | None) -> str | None:
    """Return the name of a public set or encoder; ValueError where the registry has none of this name."""
    problem = None if name is None else unknown(name, sorted(getattr(registry(), kind)), f"public {kind[:-1]}")
    if problem is not None:
        raise ValueError(problem)
    return name


def verdicts(
    encoder: str, public: str, names: Mapping[str, str | None], trained_here: Mapping[str, Sequence[str]]
) -> tuple[Verdict | None, Verdict | None]:
    """Return what an encoder of the config has seen of a public set: by the config, and by the registry.

    `names` are what encoders with weights of others are called in public, `trained_here` the public sets among the
    datasets that encoders were trained on. None where there is nothing of the kind.
    """
    here = in_config(trained_here.get(encoder, ()), public)
    return here, verdict(names[encoder], public) if encoder in names else None


def in_config(trained_on: Iterable[str], public: str) -> Verdict | None:
    """Return what an encoder has seen of a public set by the config, which trains it on images of public sets."""
    return _among("it", dict.fromkeys(trained_on, Part()), public, " (by this config)")


def verdict(encoder: str | None, public: str) -> Verdict:
    """Return what an encoder, by its name in the registry, has seen of a public set; None is an encoder not named."""
    title = registry().sets[public].title
    if encoder is None:
        return Verdict("unknown", f"what the weights were trained on is not said, so {title} may be among it")
    known = registry().encoders[encoder]
    said = _said(known.source, known.read)
    if found := _among(known.title, known.trained_on, public, said):
        return found
    if not known.complete:
        note = f": {known.note}" if known.note else ""
        return Verdict("unknown", f"whether {known.title} was trained on {title} is not known{note}{said}")
    own = f"{title} is not among the sets that {known.title} was trained on{said}"
    if known.from_nothing:
        return Verdict("not seen", own)
    if known.starts_from is None:
        return Verdict("unknown", f"{own}; what it started from is not known")
    before = verdict(known.starts_from, public)
    start = f"it starts from {registry().encoders[known.starts_from].title}{f' ({known.start})' if known.start else ''}"
    return Verdict(before.status, f"{own}; {start}, and {before.detail}")


def _among(who: str, trained_on: Mapping[str, Part], public: str, said: str) -> Verdict | None:
    """Return what was seen of a public set by training on some; None where neither it nor a related one is of them."""
    title = registry().sets[public].title
    if public in trained_on:
        part = trained_on[public].part
        which = f"{part} of {title}" if part else title
        return Verdict("seen in part" if part else "seen", f"{who} was trained on {which}{said}")
    for one in registry().overlaps:
        other = {one.one: one.other, one.other: one.one}.get(public)
        if other is not None and other in trained_on:
            what = "shares images with" if one.shares == "copies" else "may show people of"
            detail = f"{who} was trained on {registry().sets[other].title}, which {what} {title}: {one.note}"
            return Verdict("related set seen", detail + _said(one.source, one.read))
    return None


def _said(source: str | None, read: date | None) -> str:
    if source is None:
        return ""
    return f" ({source}{f', read {read}' if read else ''})"
