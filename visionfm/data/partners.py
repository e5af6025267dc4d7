"""Masks and points of images, read and checked once, each against its image; mistakes of a dataset come all at once.

Later stages find each file by its path and know by its sha256 that it is the same.
"""

import hashlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionfm.data.layouts import answers
from visionfm.data.layouts.rows import LabelRow, of_parts, parts_of
from visionfm.data.listing import list_partners, partner_names
from visionfm.data.settings import LabelSettings
from visionfm.errors import DataError, Problems, cannot_read_now, is_passing
from visionfm.images.containers import container_of
from visionfm.images.containers.container import Refused
from visionfm.images.geometry import inside, upright_point
from visionfm.images.guarded import guarded
from visionfm.images.identity import file_path, frame_of, image_id_of, named_frame, row_path
from visionfm.images.masks import Slice, compose, inspect_mask, mask_values
from visionfm.images.points import read_points
from visionfm.images.reading import StoredFile
from visionfm.images.whole import read_whole

MASKS = ("mask", "mask2", "fov")
MOST_OPEN = 4  # files of a volume's masks at once: one for each structure, say


def mask_roles(settings: LabelSettings) -> list[str]:
    """Return which of a mask, a second observer's and a field of view a dataset has."""
    if answers(settings.layout) == "masks":
        return ["mask"]
    named = settings.columns
    return [role for role in MASKS if getattr(named, role) or (role == "mask" and named.masks)]


def point_names(settings: LabelSettings) -> list[str]:
    """Return the names of a dataset's points."""
    if answers(settings.layout) == "points":
        return settings.labels if isinstance(settings.labels, list) else []
    return list(settings.columns.points)


def has_partners(settings: LabelSettings) -> bool:
    """Tell whether a dataset has masks or points."""
    return settings.labels != "none" and bool(mask_roles(settings) or point_names(settings))


def partner_digests(root: Path, settings: LabelSettings) -> dict[str, str]:
    """Return path -> sha256 of all files that may be masks or arrays of the dataset."""
    if not has_partners(settings):
        return {}
    listed = list_partners(root, settings.layout, settings.images)
    return {entry.path: hashlib.sha256(_bytes(root / entry.path)).hexdigest() for entry in listed}


def _bytes(path: Path) -> bytes:
    try:
        return read_whole(path)
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(path, error) from error
        raise DataError(
            "a mask or an array cannot be read",
            expected="a regular file",
            found=error.strerror,
            where=path,
            do="remove it from the dataset's folder, or correct its permissions",
        ) from error


def _decode_all(path: Path, where: str) -> None:
    """Read every mask of a file; in a process of its own."""
    file = StoredFile(_bytes(path), where)
    for number in range(file.frames):
        mask_values(Slice(file, number), 1, where)


def dense_columns(
    root: Path,
    rows: Sequence[LabelRow],
    images: Mapping[str, Mapping[str, Any]],
    digests: Mapping[str, str],
    settings: LabelSettings,
    problems: Problems,
    indexed: Set[str] = frozenset(),
) -> dict[str, list[Any]]:
    """Return the columns of labels.parquet that hold masks and points.

    `images` are the rows of images.parquet that have a label, `indexed` the files of all of them.
    """
    reader = _Reader(root, images, indexed, digests, problems, settings)
    columns: dict[str, list[Any]] = {}
    for role in mask_roles(settings):
        found = [reader.mask(row, role) for row in rows]
        columns[f"{role}_path"] = [mask.path for mask in found]
        columns[f"{role}_id"] = [mask.mask_id for mask in found]
        if role != "fov":
            columns[f"{role}_values"] = [mask.values for mask in found]
    if names := point_names(settings):
        columns["points"] = [reader.points(row, names) for row in rows]
    if columns:
        columns["mm_per_px"] = [_upright_size(row.mm_per_px, images[row.path]["orientation"]) for row in rows]
    return columns


def _upright_size(stored: tuple[float, float] | None, orientation: int) -> list[float] | None:
    """Return the size of a pixel of the upright image, [across, down] in mm."""
    if stored is None:
        return None
    return list(stored[::-1] if orientation >= 5 else stored)


class _Mask(NamedTuple):
    """A mask as the tables have it: its path (of a slice `file#frame`), its digest, the values in it."""

    path: str | None = None
    mask_id: str | None = None
    values: list[int] | None = None


class _File(NamedTuple):
    """A file of masks that was read: its digest, and it itself where it holds a mask for each slice of a volume."""

    sha256: str
    opened: StoredFile


class _Reader:
    """Reads the partners of images; whatever is wrong goes to `problems`, with the file's name."""

    def __init__(
        self,
        root: Path,
        images: Mapping[str, Mapping[str, Any]],
        indexed: Set[str],
        digests: Mapping[str, str],
        problems: Problems,
        settings: LabelSettings,
    ) -> None:
        self.root, self.images, self.indexed, self.digests, self.problems = root, images, indexed, digests, problems
        self.classes = settings.mask_values
        self.names = frozenset(partner_names(digests, settings.layout, settings.images, settings.frames is not None))
        self.volumes: dict[str, _File | None] = {}  # the last few
        self.told: set[str] = set()

    def mask(self, row: LabelRow, role: str) -> _Mask:
        """Return an image's mask, an empty one where it has none."""
        path = row.partners.get(role)
        if path is None:
            if role == "mask" and row.split == "test":
                self.problems.add(f"{row.where}: {row.path}: a test image has no mask")
            return _Mask()
        if (parts := parts_of(path)) is not None:
            return self._composed(row, parts)
        image = self.images[row.path]
        if (found := self._found(row, role, path)) is None:
            return _Mask(path)
        path, mask_id, content = found
        try:
            facts = inspect_mask(content, image["orientation"], path)
        except DataError as error:
            details = dict(error.details)
            self.problems.add(f"{path}: expected {details.get('expected')}, found {details.get('found')}")
            return _Mask(path)
        if (facts.width, facts.height) != (image["width"], image["height"]):
            expected, seen = _stored(image, image), _stored(image, facts._asdict())
            self.problems.add(
                f"{path}: expected {expected[0]} x {expected[1]} pixels, as {row.path} stores them, "
                f"found {seen[0]} x {seen[1]}"
            )
        for task, known in self.classes.items() if role != "fov" else ():
            if strange := sorted(set(facts.values) - set(known)):
                self.problems.add(
                    f"{path}: expected pixel values {_listed(known)}, the classes of task {task}, "
                    f"found {_listed(strange)}"
                )
        return _Mask(path, mask_id, facts.values)

    def _found(self, row: LabelRow, role: str, path: str) -> tuple[str, str, bytes | Slice] | None:
        """Return path, digest and content of the mask that a row means; of a labelled volume its slice's own."""
        image = self.images[row.path]
        file, frame = named_frame(path, self.names)
        if file not in self.names:
            why = "it is indexed as an image too; let `images` leave it out" if path in self.indexed else "no such file"
            self.problems.add(f"{row.where}: {role} {path!r} of {row.path}: {why}")
            return None
        if frame is None and not row.of_volume:
            if file not in self.digests:
                self._tell(f"{row.where}: {role} {path!r} of {row.path} is a folder: name one of its slices")
                return None
            return path, self.digests[file], _bytes(self.root / file)
        if (read := self._volume(file)) is None:
            return None
        volume = file_path(row.path, image["image_id"])
        if row.of_volume and frame is None:
            frame = frame_of(image["image_id"])
            if read.opened.frames != image["frames"]:
                self._tell(
                    f"{row.where}: {role} {file!r}: expected {image['frames']} masks, one for each slice of {volume}, "
                    f"found {read.opened.frames}"
                )
                return None
        elif row.of_volume:
            self._tell(f"{row.where}: {role} {path!r} is one slice, and {volume} is labelled as a whole")
            return None
        if frame is None or frame >= read.opened.frames:
            self._tell(f"{row.where}: {role} {path!r}: expected one of {read.opened.frames} slices, from 0")
            return None
        return row_path(file, frame), image_id_of(read.sha256, frame), Slice(read.opened, frame)

    def _volume(self, file: str) -> _File | None:
        """Return a file, or a folder, of the masks of a volume's slices, opened; None with a problem.

        What other people's code parses is first decoded in a process of its own.
        """
        if file not in self.volumes:
            while len(self.volumes) >= MOST_OPEN:
                del self.volumes[next(iter(self.volumes))]
            self.volumes[file] = None
            try:
                data = _bytes(self.root / file)
                container = container_of(data)
                if container is not None and container.guarded:
                    container.require()
                    guarded(_decode_all, self.root / file, file, file_bytes=len(data))
                self.volumes[file] = _File(hashlib.sha256(data).hexdigest(), StoredFile(data, file))
            except Refused as refused:
                self._tell(f"{file}: expected masks of slices, found {refused}")
            except DataError as error:
                details = dict(error.details)
                self._tell(f"{file}: expected {details.get('expected')}, found {details.get('found')}")
        return self.volumes[file]

    def _tell(self, problem: str) -> None:
        """Note a problem once, though each slice of a volume has it."""
        if problem not in self.told:
            self.problems.add(problem)
        self.told.add(problem)

    def _composed(self, row: LabelRow, parts: list[tuple[int, str]]) -> _Mask:
        """Return a mask of a file per structure."""
        image = self.images[row.path]
        found = [(value, self._found(row, "mask", path)) for value, path in parts]
        there = [(value, *one) for value, one in found if one is not None]
        path = of_parts([(value, path) for value, path, _, _ in there])
        if len(there) < len(parts):
            return _Mask(path)
        try:
            files = [(value, content, path) for value, path, _, content in there]
            values_HW = compose(files, (image["height"], image["width"]), image["orientation"])
        except DataError as error:
            details = dict(error.details)
            where = details.get("where")
            self.problems.add(f"{where}: expected {details.get('expected')}, found {details.get('found')}")
            return _Mask(path)
        values = [int(value) for value in np.unique(values_HW)]
        for task, known in self.classes.items():
            if strange := sorted(set(values) - set(known)):
                self.problems.add(
                    f"{row.path}: expected the structures {_listed(known)} of task {task}, found {_listed(strange)}; "
                    "`masks` are 1, 2, ... in their order"
                )
        return _Mask(path, of_parts([(value, mask_id) for value, _, mask_id, _ in there]), values)

    def points(self, row: LabelRow, names: list[str]) -> dict[str, list[float] | None] | None:
        """Return an image's upright points, by name; None where it has none at all."""
        image = self.images[row.path]
        upright, stored = (image["width"], image["height"]), _stored(image, image)
        given = row.points
        if row.of_volume and any(given.values()):
            volume = file_path(row.path, image["image_id"])
            self._tell(f"{row.where}: points are of one slice: name it, as in `{volume}#12`, counted from 0")
            return None
        if row.array is not None:
            try:
                given = read_points(_bytes(self.root / row.array), names, stored, row.array)
            except DataError as error:
                details = dict(error.details)
                self.problems.add(f"{row.array}: expected {details.get('expected')}, found {details.get('found')}")
        found: dict[str, list[float] | None] = {}
        for name in names:
            at = given.get(name)
            if at is not None and not inside(*at, stored):
                self.problems.add(
                    f"{row.where}: {name} ({at[0]:g}, {at[1]:g}) lies outside {row.path}, "
                    f"which has {stored[0]} x {stored[1]} pixels"
                )
            found[name] = None if at is None else list(upright_point(*at, image["orientation"], upright))
        return found if any(at is not None for at in found.values()) else None


def _stored(image: Mapping[str, Any], upright: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height in the frame of an image's stored pixels."""
    size = (upright["width"], upright["height"])
    return size[::-1] if image["orientation"] >= 5 else size


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
