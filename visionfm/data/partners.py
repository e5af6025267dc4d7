"""Masks and points of images, read and checked once, each against its image; mistakes of a dataset come all at once.

Later stages find each file by its path and know by its sha256 that it is the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionfm.data.layouts import answers
from visionfm.data.layouts.rows import LabelRow, of_parts, parts_of
from visionfm.data.listing import list_partners
from visionfm.data.settings import LabelSettings
from visionfm.errors import DataError, Problems, cannot_read_now, is_passing
from visionfm.images.geometry import inside, upright_point
from visionfm.images.masks import compose, inspect_mask
from visionfm.images.points import read_points
from visionfm.images.regular import read_regular

MASKS = ("mask", "mask2", "fov")


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
        return read_regular(path)
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


def dense_columns(
    root: Path,
    rows: Sequence[LabelRow],
    images: Mapping[str, Mapping[str, Any]],
    digests: Mapping[str, str],
    settings: LabelSettings,
    problems: Problems,
) -> dict[str, list[Any]]:
    """Return the columns of labels.parquet that hold masks and points; `images` are the rows of images.parquet."""
    reader = _Reader(root, images, digests, problems, settings.mask_values)
    columns: dict[str, list[Any]] = {}
    for role in mask_roles(settings):
        facts = [reader.mask(row, role) for row in rows]
        columns[f"{role}_path"] = [row.partners.get(role) for row in rows]
        columns[f"{role}_id"] = [None if values is None else _identity(row.partners[role], digests)
                                 for row, values in zip(rows, facts, strict=True)]  # fmt: skip
        if role != "fov":
            columns[f"{role}_values"] = facts
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


def _identity(path: str, digests: Mapping[str, str]) -> str:
    """Return the sha256 of a mask's file, or of each structure's."""
    parts = parts_of(path)
    return digests[path] if parts is None else of_parts([(value, digests[one]) for value, one in parts])


class _Reader:
    """Reads the partners of images; whatever is wrong goes to `problems`, with the file's name."""

    def __init__(
        self,
        root: Path,
        images: Mapping[str, Mapping[str, Any]],
        digests: Mapping[str, str],
        problems: Problems,
        classes: Mapping[str, list[int]],
    ) -> None:
        self.root, self.images, self.digests, self.problems = root, images, digests, problems
        self.classes = classes

    def mask(self, row: LabelRow, role: str) -> list[int] | None:
        """Return the values in an image's mask, None where it has none."""
        path = row.partners.get(role)
        if path is None:
            if role == "mask" and row.split == "test":
                self.problems.add(f"{row.where}: {row.path}: a test image has no mask")
            return None
        if (parts := parts_of(path)) is not None:
            return self._composed(row, parts)
        if path not in self.digests:
            why = "it is indexed as an image too; let `images` leave it out" if path in self.images else "no such file"
            self.problems.add(f"{row.where}: {role} {path!r} of {row.path}: {why}")
            return None
        image = self.images[row.path]
        try:
            facts = inspect_mask(_bytes(self.root / path), image["orientation"], path)
        except DataError as error:
            details = dict(error.details)
            self.problems.add(f"{path}: expected {details.get('expected')}, found {details.get('found')}")
            return None
        if (facts.width, facts.height) != (image["width"], image["height"]):
            expected, found = _stored(image, image), _stored(image, facts._asdict())
            self.problems.add(
                f"{path}: expected {expected[0]} x {expected[1]} pixels, as {row.path} stores them, "
                f"found {found[0]} x {found[1]}"
            )
        for task, known in self.classes.items() if role != "fov" else ():
            if strange := sorted(set(facts.values) - set(known)):
                self.problems.add(
                    f"{path}: expected pixel values {_listed(known)}, the classes of task {task}, "
                    f"found {_listed(strange)}"
                )
        return facts.values

    def _composed(self, row: LabelRow, parts: list[tuple[int, str]]) -> list[int] | None:
        """Return the values in a mask of a file per structure."""
        image = self.images[row.path]
        if missing := [path for _, path in parts if path not in self.digests]:
            self.problems.add(f"{row.where}: mask {missing[0]!r} of {row.path}: no such file")
            return None
        try:
            files = [(value, _bytes(self.root / path), path) for value, path in parts]
            values_HW = compose(files, (image["height"], image["width"]), image["orientation"])
        except DataError as error:
            details = dict(error.details)
            where = details.get("where")
            self.problems.add(f"{where}: expected {details.get('expected')}, found {details.get('found')}")
            return None
        values = [int(value) for value in np.unique(values_HW)]
        for task, known in self.classes.items():
            if strange := sorted(set(values) - set(known)):
                self.problems.add(
                    f"{row.path}: expected the structures {_listed(known)} of task {task}, found {_listed(strange)}; "
                    "`masks` are 1, 2, ... in their order"
                )
        return values

    def points(self, row: LabelRow, names: list[str]) -> dict[str, list[float] | None] | None:
        """Return an image's upright points, by name; None where it has none at all."""
        image = self.images[row.path]
        upright, stored = (image["width"], image["height"]), _stored(image, image)
        given = row.points
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
