"""What was understood of a dataset, in the terms of its block."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from visionfm.data.layouts.folders import SPLIT_NAMES

Type = Literal["binary", "multiclass", "multilabel", "value", "mask", "points"]


@dataclass
class Target:
    """Something that could be predicted: `source` as `columns.targets` has it, the classes in order, cases by class."""

    name: str
    type: Type
    source: Any
    classes: Any = None
    cases: Counter[str] = field(default_factory=Counter)


@dataclass
class Seen:
    """A dataset: `keys` of its block, what could be predicted, and in words what is known, guessed and not known."""

    name: str
    keys: dict[str, Any]
    targets: list[Target] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    split: str | None = None  # the one split that all its images are of
    table: str | None = None  # a table that has to be written for it
    modality: tuple[str, str] | None = None  # and why it was guessed; None: not known from the shape


def count(number: int, what: str) -> str:
    """Return a number of things in words: 1 image, 2 images."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def words_of(text: str) -> list[str]:
    """Return the words of a name, small: `b. Testing Set` is b, testing, set; `1st_manual` is 1st, manual."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return [word for word in re.split(r"[^a-z0-9]+", plain.lower()) if word]


def split_of(text: str) -> str | None:
    """Return the split whose name is among the words of a name; None where none, or several, are."""
    found = {SPLIT_NAMES[word] for word in words_of(text) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def as_name(text: str, taken: Iterable[str] = ()) -> str:
    """Return a text as a name of the config (small letters, digits, _), one that is not taken."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "data"
    name = name if name[0].isalpha() else f"d_{name}"
    others = set(taken)
    numbered = (f"{name}_{number}" for number in range(2, len(others) + 3))
    return name if name not in others else next(one for one in numbered if one not in others)


def common_folder(paths: Sequence[str]) -> str:
    """Return the deepest folder that holds all of these paths; empty for the root."""
    parts = [PurePosixPath(path).parent.parts for path in paths]
    kept = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        kept.append(level[0])
    return "/".join(kept)


def glob_below(folder: str) -> str:
    """Return the glob of all that lies below a folder, whatever signs are in its name."""
    return re.sub(r"([\[*?])", r"[\1]", folder) + "/*"
