"""Layouts of the published trees whose images have partners: files that are no images, paired by their names."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from visionfm.data.layouts.folders import IMAGES, LABELS, VFM_SPLITS, vfm_parts, vfm_split
from visionfm.data.layouts.layout import Block, Layout, no_table
from visionfm.data.layouts.rows import LabelRow
from visionfm.errors import Problems


class Pairing(NamedTuple):
    """What belongs to an image: in words, with the suffix that messages name, and the suffixes that count."""

    what: str
    suffix: str
    suffixes: frozenset[str] | None  # None: all that were listed


def paired(
    name: str,
    answers: Literal["masks", "points"],
    unfit: Callable[[Block], str | None],
    pairing: Pairing,
    put: Callable[[LabelRow, str], None],
) -> Layout:
    """Return a layout: a tree of splits with images/ and, of the same names, partners in labels/.

    `unfit` says what is wrong with a block's labels; `put` notes an image's partner in its row.
    """

    def problems(block: Block) -> Iterator[str]:
        if (problem := unfit(block)) is not None:
            yield problem
        yield from no_table(block, frozenset({"mm_per_px"}))

    def rows(
        _root: Path, block: Block, listed: list[str], partners: Sequence[str], problems: Problems
    ) -> Iterator[LabelRow]:
        for row, partner in pairs(block, listed, partners, pairing, problems):
            put(row, partner)
            yield row

    return Layout(
        name,
        problems,
        rows,
        answers=answers,
        image_folders=lambda root: vfm_parts(root, IMAGES),
        partner_folders=lambda root: vfm_parts(root, LABELS),
        split_of=vfm_split,
    )


def pairs(
    block: Block, listed: Sequence[str], partners: Sequence[str], pairing: Pairing, problems: Problems
) -> Iterator[tuple[LabelRow, str]]:
    """Yield each image's row and its partner: the file of the same name below labels/."""
    by_stem: dict[str, list[str]] = {}
    for path in partners:
        if pairing.suffixes is None or PurePosixPath(path).suffix.lower() in pairing.suffixes:
            by_stem.setdefault(str(PurePosixPath(path).with_suffix("")), []).append(path)
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
        yield LabelRow(path, path, split=split, mm_per_px=block.columns.mm_numbers), chosen[0]
    for path in sorted({path for paths in by_stem.values() for path in paths} - taken):
        problems.add(f"{path}: expected an image of the same name below {IMAGES}/, found nothing")


def _label_place(path: str) -> str:
    """Return where the partner of `SET/training/images/name` lies; only that one folder's name changes."""
    parts = path.split("/")
    at = next(i for i, part in enumerate(parts) if part in VFM_SPLITS and parts[i + 1] == IMAGES)
    return "/".join([*parts[: at + 1], LABELS, *parts[at + 2 :]])
