"""What `audit` finds of copies across a task's datasets: whose images are held against each other, and who is joined.

`fuse` counts each two that are listed here as one person.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product
from pathlib import Path

from visionfm.data import copied
from visionfm.data.copied import Indexed, Pair, not_sought
from visionfm.data.findings import COPY, PLACE, Finding
from visionfm.data.labelled import Image, Labelled

Between = tuple[str, str]  # two datasets


def meeting(
    images: dict[str, list[Path]], datasets: list[str], pretraining: dict[str, list[str]]
) -> list[tuple[Indexed, Indexed | None]]:
    """Return whose images are held against each other: each dataset's own, each two's, and those of pretraining."""
    seen = sorted({name for names in pretraining.values() for name in names} - set(datasets))
    indexed = {name: copied.index_of(name, images[name]) for name in {*datasets, *seen}}
    own = [(indexed[name], None) for name in sorted(datasets)]
    two = [*combinations(sorted(datasets), 2), *product(sorted(datasets), seen)]
    return [*own, *((indexed[one], indexed[other]) for one, other in two)]


def unsought(meeting: list[tuple[Indexed, Indexed | None]]) -> Iterator[Finding]:
    """Yield the datasets that are too large to seek copies in."""
    for one, other in meeting:
        if copied.too_many(one, other):
            name = None if other is None else other.dataset
            yield Finding("not_sought", "note", one.dataset, "", None, name, None, None, not_sought(one.dataset, name))


def shared_names(copies: dict[Between, list[Pair]], known: dict[str, Labelled]) -> dict[str, str]:
    """Return what files that have copies are called, over all datasets."""
    import pyarrow.compute as pc

    joined = [(pair.file, pair.other_file) for found in copies.values() for pair in found]
    if not joined:
        return {}
    for one in known.values():  # what is one inside of a dataset stays one
        rows = one.columns.filter(pc.not_equal(one.columns["copy_id"], one.columns["file_id"]))
        joined += zip(rows["file_id"].to_pylist(), rows["copy_id"].to_pylist(), strict=True)
        joined += one.unlabelled.items()  # through which a labelled image may meet another dataset's
    return copied.names(joined)


def copied_between(
    copies: dict[Between, list[Pair]], labelled: list[Labelled], listed: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield the copies across datasets of the task that are not listed yet: `fuse` counts each two as one person.

    In one split they are a note. In two they are leaks, of which the first of each split and dataset are listed.
    """
    by_name = {one.dataset: one for one in labelled}
    known = {frozenset([(one.dataset, one.path), (one.other_dataset, one.other_path)]) for one in listed}
    for (name, other_name), found in sorted(copies.items()):
        if not found or other_name not in by_name:
            continue
        images = _labelled_as(by_name[name], [(pair.path, pair.file) for pair in found])
        others = _labelled_as(by_name[other_name], [(pair.other_path, pair.other_file) for pair in found])
        for pair, one, other in zip(found, images, others, strict=True):
            if one is None or other is None or frozenset([one.place, other.place]) in known:
                continue
            detail = f"{COPY}, correlation {pair.score:.2f}" + (", mirrored" if pair.mirrored else "")
            severity = "note" if one.split == other.split else "leak"
            yield Finding("copy", severity, name, one.path, one.split, other_name, other.path, other.split, detail)


def still_to_join(images: list[Image], own: list[Labelled], direct: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what is still to be joined of copies: those that meet only in an image without a label, in a chain.

    `images` share a `copy_id` with others; `own` has the labels as `fuse` reads them: `copy_id` is of one dataset.
    """
    import pyarrow as pa

    copy_id: dict[tuple[str, str], str] = {}
    for one in own:
        paths = pa.array([image.path for image in images if image.dataset == one.dataset], pa.string())
        copy_id |= {image.place: image.copy_id for image in one.images(one.among("path", paths))}
    links = [
        (copy_id[found.dataset, found.path], copy_id[found.other_dataset, found.other_path])
        for found in direct
        if found.check == "copy" and found.other_dataset is not None and found.other_path is not None
    ]
    name = copied.names(links)
    groups: dict[str, dict[str, Image]] = defaultdict(dict)
    for image in sorted(images, key=PLACE):
        of_dataset = copy_id[image.place]
        groups[image.copy_id].setdefault(name.get(of_dataset, of_dataset), image)
    for _, members in sorted(groups.items()):
        for image, other in pairwise(members.values()):
            severity = "note" if image.split == other.split else "leak"
            detail = f"{COPY}, as copies of a further image show"
            places = image.dataset, image.path, image.split, other.dataset, other.path, other.split
            yield Finding("copy", severity, *places, detail)


def _labelled_as(one: Labelled, places: list[tuple[str, str]]) -> list[Image | None]:
    """Return the labelled image of each path and file: where the path has no label, another of the same bytes."""
    import pyarrow as pa

    files = pa.array([file for _, file in places], pa.string())
    images = sorted(one.images(one.among("file_id", files)), key=PLACE, reverse=True)
    by_path, by_file = {image.path: image for image in images}, {image.file_id: image for image in images}
    return [by_path.get(path) or by_file.get(file) for path, file in places]
