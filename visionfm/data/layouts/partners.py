"""Partners in the published trees: files that belong to images without being one, paired by their names."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from visionfm.data.layouts.folders import IMAGES, LABELS, VFM_SPLITS
from visionfm.data.layouts.layout import Block
from visionfm.data.layouts.rows import LabelRow
from visionfm.errors import Problems


class Pairing(NamedTuple):
    """What belongs to an image: in words, with the suffix that messages name, and the suffixes that count."""

    what: str
    suffix: str
    suffixes: frozenset[str] | None  # None: all that were listed


def pairs(
    block: Block, listed: Sequence[str], partners: Sequence[str], pairing: Pairing, problems: Problems
) -> Iterator[tuple[LabelRow, str]]:
    """Yield each image's row and its partner: the file of the same name below labels/."""
    by_stem: dict[str, list[str]] = {}
    for path in partners:
        if pairing.suffixes is None or PurePosixPath(path).suffix.lower() in pairing.suffixes:
            by_stem.setdefault(str(PurePosixPath(path).with_suffix("")), []).append(path)
    size = block.columns.mm_per_px
    taken: set[str] = set()
    for path in listed:
        wanted = _label_place(path)
        found = by_stem.get(str(PurePosixPath(wanted).with_suffix("")), [])
        taken |= set(found)
        chosen = [wanted] if wanted in found else found
        if len(chosen) != 1:
            seen = "nothing" if not chosen else ", ".join(chosen)
            stem = PurePosixPath(wanted).with_suffix(pairing.suffix)
            problems.add(f"{path}: expected {pairing.what} of the same name, {stem}; found {seen}")
            continue
        split = next(VFM_SPLITS[part] for part in path.split("/") if part in VFM_SPLITS)
        yield LabelRow(path, path, split=split, mm_per_px=size if isinstance(size, float) else None), chosen[0]
    for path in sorted({path for paths in by_stem.values() for path in paths} - taken):
        problems.add(f"{path}: expected an image of the same name below {IMAGES}/, found nothing")


def _label_place(path: str) -> str:
    """Return where the partner of `SET/training/images/name` lies; only that one folder's name changes."""
    parts = path.split("/")
    at = next(i for i, part in enumerate(parts) if part in VFM_SPLITS and parts[i + 1] == IMAGES)
    return "/".join([*parts[: at + 1], LABELS, *parts[at + 2 :]])
