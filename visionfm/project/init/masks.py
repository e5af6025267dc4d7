"""Masks that lie beside images: paired by what is left of a name without `manual`, `mask`, `1stHO` and the like."""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from visionfm.data.layouts.folders import SPLIT_NAMES
from visionfm.errors import DataError
from visionfm.images.masks import inspect_mask
from visionfm.images.regular import read_regular
from visionfm.project.init.seen import Seen, Target, as_name, common_folder, count, split_of, words_of

SECOND = {"2nd", "2ndho", "manual2", "vk", "observer2"}
FIRST = {
    *("1st", "1stho", "manual", "manual1", "ah", "gt", "groundtruth", "groundtruths", "label", "labels", "labelled"),
    *("seg", "segmentation", "segmentations", "annotation", "annotations", "masks", "mask"),
}
FOV = {"fov", "mask", "masks"}
PARTNER = SECOND | FIRST | FOV
LOOKED_AT = 12
Key = tuple[str | None, tuple[str, ...]]


def understand_masks(root: Path, paths: Sequence[str], wanted: str | None = None) -> Seen | str | None:
    """Return the pairs of images and masks; a question where there are several kinds; None where there are none."""
    above = len(common_folder(paths))  # `A. Segmentation` above all of them says nothing of one
    partners = [path for path in paths if _said(path[above:]) & PARTNER]
    images = sorted(set(paths) - set(partners))
    by_key: dict[Key, str] = {_key(path): path for path in images}
    found: dict[str, dict[str, str]] = defaultdict(dict)  # kind of mask -> image -> mask
    for path in partners:
        split, stem = _key(path)
        for end in range(len(stem), 0, -1):
            image = by_key.get((split, stem[:end])) or by_key.get((None, stem[:end]))
            if image is not None:
                found[_kind(path, stem[end:])][image] = path
                break
    kinds = {kind: pairs for kind, pairs in found.items() if len(pairs) >= max(2, len(images) // 4)}
    if "mask" not in kinds and "fov" in kinds:  # the only masks there are: no field of view, then
        kinds["mask"] = kinds.pop("fov")
    own = sorted(kind for kind in kinds if kind not in ("fov", "mask2"))
    if not own:
        return None
    if wanted is None and len(own) > 1:
        return f"each image has several masks: {', '.join(own)}; name one, --mask {own[0]}, or join them: --mask all"
    if wanted not in (None, "all", *own):
        return f"no masks are named {wanted!r}; found: {', '.join(own)}"
    beside: dict[str, dict[str, str]] = {role: kinds[role] for role in ("mask2", "fov") if role in kinds}
    if wanted == "all":
        return _joined({kind: kinds[kind] for kind in own}, images, beside)
    kind = wanted or own[0]
    return _seen(root, images, kind, {"mask": kinds[kind], **beside})


def _said(path: str) -> set[str]:
    folders = [word for part in PurePosixPath(path).parts[:-1] for word in words_of(part)]
    return {*folders, *words_of(PurePosixPath(path).stem)}


def _key(path: str) -> Key:
    """Return the split in an image's or mask's folders, and its name without the words for masks and splits."""
    stem = [word for word in words_of(PurePosixPath(path).stem) if word not in PARTNER and word not in SPLIT_NAMES]
    return split_of("/".join(PurePosixPath(path).parts[:-1])), tuple(stem)


def _kind(path: str, rest: tuple[str, ...]) -> str:
    """Return what a mask is of: the rest of its name (`ma`), a second observer's, the field of view, or just a mask."""
    stem, folders = set(words_of(PurePosixPath(path).stem)), PurePosixPath(path).parts[:-1]
    last = set(words_of(folders[-1])) if folders else set()
    if rest:
        return as_name("_".join(rest))
    if (stem | last) & SECOND:
        return "mask2"
    return "fov" if (last & FOV or stem & FOV) and not (stem | last) & (FIRST - FOV) else "mask"


def _joined(kinds: dict[str, dict[str, str]], images: Sequence[str], beside: dict[str, dict[str, str]]) -> Seen:
    """Return the masks of all structures as one."""
    seen = _paired(images, {**kinds, **{role: pairs for role, pairs in beside.items() if role == "fov"}})
    columns = {name: column for name, column in seen.keys["columns"].items() if name not in kinds}
    seen.keys["columns"] = {**columns, "masks": {kind: kind for kind in kinds}, "no_mask": "background"}
    seen.guesses.append("an image without a mask of some structure does not show it: `no_mask: background`")
    classes = {"background": 0, **{kind: value for value, kind in enumerate(kinds, 1)}}
    seen.targets.append(Target("structures", "mask", None, classes))
    return seen


def _seen(root: Path, images: Sequence[str], kind: str, roles: dict[str, dict[str, str]]) -> Seen:
    seen = _paired(images, roles)
    look_at(root, list(roles["mask"].values()), kind, seen)
    return seen


def look_at(root: Path, masks: Sequence[str], name: str, seen: Seen) -> None:
    """Add what the pixel values of a few masks say to what was understood: a target of two classes, or of several."""
    values: set[int] = set()
    problem = None
    for path in masks[:LOOKED_AT]:
        try:
            values |= set(inspect_mask(read_regular(root / path), 1, path).values)
        except (DataError, OSError) as error:
            problem = f"{path} cannot be used as a mask: {dict(getattr(error, 'details', [])).get('found', error)}"
    if problem is not None:
        seen.unknown.append(problem)
    if len(values) == 2:
        low, high = sorted(values)
        seen.targets.append(Target(name, "mask", None, {"background": low, "structure": high}))
        seen.guesses.append(f"pixels of {low} are background, of {high} what the masks show: give it its name")
    elif 2 < len(values) <= 20:
        classes = {f"class_{value}": value for value in sorted(values)}
        seen.targets.append(Target(name, "mask", None, classes))
        seen.unknown.append(f"what the pixel values {', '.join(map(str, sorted(values)))} mean: give them names")
    elif problem is None:
        seen.unknown.append(f"what the masks' {len(values)} pixel values mean")


def _paired(images: Sequence[str], roles: dict[str, dict[str, str]]) -> Seen:
    """Return the dataset of images and their masks by role, with the table that pairs them."""
    used = sorted({image for pairs in roles.values() for image in pairs})
    splits = {image: split_of("/".join(PurePosixPath(image).parts[:-1])) for image in used}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    divided = any(splits.values())
    writer.writerow(["image", *roles, *(["split"] if divided else [])])
    for image in used:
        row = [image, *(pairs.get(image, "") for pairs in roles.values())]
        writer.writerow([*row, *([splits[image] or ""] if divided else [])])
    columns: dict[str, object] = {"image": "image", **{role: role for role in roles}}
    columns |= {"split": "split"} if divided else {}
    seen = Seen("masks", {"layout": "table", "columns": columns}, table=file.getvalue())
    seen.keys["images"] = glob_of(images, [mask for pairs in roles.values() for mask in pairs.values()])
    counts = ", ".join(f"{role} {len(pairs)}" for role, pairs in roles.items())
    seen.facts.append(
        f"{count(len(images), 'image')} and masks of them, paired by their names ({counts}), written to a table"
    )
    if "fov" in roles:
        seen.guesses.append("masks named `mask` beside others show the field of view")
    return seen


def glob_of(images: Sequence[str], masks: Sequence[str]) -> str:
    """Return the narrowest glob that matches all images and no mask; by suffix where they lie in one folder."""
    folder = common_folder(images)
    last = {PurePosixPath(path).parent.name for path in images}
    suffixes = {os.path.splitext(path)[1] for path in images}  # noqa: PTH122 - of a plain text
    tried = [f"{folder}/*" if folder else "*", *(f"*{name}/*" for name in last), *(f"*{suffix}" for suffix in suffixes)]
    fitting = [
        glob
        for glob in tried
        if all(fnmatch(path, glob) for path in images) and not any(fnmatch(path, glob) for path in masks)
    ]
    return fitting[0] if fitting else "*"
