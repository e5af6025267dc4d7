"""What a package is asked: photos in a folder, in folders by modality, or in a table; as samples of its task's unit.

Invariant: nothing is guessed. Where a model knows several modalities, the folder, the table or the caller says which
one an image is of.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionfm.data.layouts.folders import files_below
from visionfm.errors import ConfigError, DataError, Problems, UsageError
from visionfm.images.reading import ALLOWED_SUFFIXES
from visionfm.modalities import canonical

SAMPLE, MODALITY, PATH = "sample", "modality", "path"


class Asked(NamedTuple):
    """One image of a sample; `name` is how the person who asks called it."""

    sample: str
    modality: str
    path: Path
    name: str


def from_table(path: Path, modalities: Sequence[str]) -> list[Asked]:
    """Return the rows of a CSV with the columns `path`, and where it has them `sample` and `modality`.

    Paths are relative to the table's folder. DataError listing every row that cannot be used.
    """
    import csv

    if not path.is_file():
        raise DataError("the table is missing", where=path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        rows = list(reader)
    if PATH not in columns:
        raise DataError(
            "the table does not say where the images lie",
            expected=f"columns {PATH}, {MODALITY}, {SAMPLE}",
            found=", ".join(sorted(columns)),
            where=path,
        )
    problems, found = Problems(DataError, f"images of {path}"), []
    for number, row in enumerate(rows, start=2):
        modality = _modality(row.get(MODALITY) or "", modalities)
        if modality is None:
            problems.add(
                f"line {number}: modality: expected {' or '.join(modalities)}, found {row.get(MODALITY) or '-'}"
            )
        elif not row[PATH]:
            problems.add(f"line {number}: {PATH} is empty")
        else:
            found.append(Asked(row.get(SAMPLE) or row[PATH], modality, path.parent / row[PATH], row[PATH]))
    problems.raise_if_any(do="correct the table")
    return _some(found, path)


def from_paths(
    given: Iterable[str | Path], modalities: Sequence[str], modality: str | None = None, *, joined: bool = False
) -> list[Asked]:
    """Return files, and all images below folders; `modality` says what they show.

    Where it is not said and the model knows several, the first folder below a given one is named by it
    (`photos/OCT/12.png`). `joined`: images of one name, whatever its suffix, in these folders are one sample.
    """
    found = []
    for path in map(Path, given):
        if path.is_dir():
            for listed in files_below(path):
                inside = Path(listed.path)
                of = _said(modality, inside.parts[0] if len(inside.parts) > 1 else "", modalities, path / inside)
                below = inside.relative_to(inside.parts[0]) if modality is None and len(modalities) > 1 else inside
                sample = below.with_suffix("").as_posix() if joined else inside.as_posix()
                found.append(Asked(sample, of, path / inside, inside.as_posix()))
        elif not path.exists():
            raise DataError("images are missing", expected="a folder or an image file", found="nothing", where=path)
        elif path.suffix.lower() not in ALLOWED_SUFFIXES:
            raise UsageError("not an image file", expected=" ".join(sorted(ALLOWED_SUFFIXES)), found=path.name)
        else:
            of = _said(modality, path.parent.name, modalities, path)
            found.append(Asked(path.stem if joined else str(path), of, path, str(path)))
    return _some(found, ", ".join(map(str, given)))


def from_samples(given: Mapping[str, Mapping[str, Any]], modalities: Sequence[str]) -> list[Asked]:
    """Return the images of `{sample: {modality: path}}`."""
    return _some(
        [
            Asked(sample, _said(modality, "", modalities, path), Path(path), str(path))
            for sample, images in given.items()
            for modality, path in images.items()
        ],
        "the mapping",
    )


def _said(modality: str | None, folder: str, modalities: Sequence[str], where: object) -> str:
    word = folder if modality is None and len(modalities) > 1 else modality or ""
    found = _modality(word, modalities)
    if found is None:
        raise UsageError(
            "what an image shows is not said",
            expected=f"--modality, or folders named {', '.join(modalities)}",
            found=word or "neither",
            where=where,
            do="lay the images into folders named by modality, or give a table with the column `modality`",
        )
    return found


def _modality(word: str, modalities: Sequence[str]) -> str | None:
    """Return the modality of the model that a word names; of a model with one alone, where nothing is said, that."""
    if not word:
        return modalities[0] if len(modalities) == 1 else None
    try:
        found = canonical(word, tuple(modalities))
    except ConfigError:
        return None
    return found if found in modalities else None


def _some(found: list[Asked], where: object) -> list[Asked]:
    if not found:
        raise DataError("no images", expected="image files", found="none", where=where)
    return found
