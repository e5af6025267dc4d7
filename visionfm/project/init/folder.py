"""What a folder seems to be: tables that name its images, masks beside them, class folders, a published tree, or bare.

Names, tables and a few images are read; the folder is left as it is.
"""

import os
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from visionfm.data.layouts import LAYOUTS
from visionfm.data.layouts.folders import SPLIT_NAMES, VFM_SPLITS, files_below, folders_below, vfm_folders
from visionfm.data.listing import other_files
from visionfm.errors import DataError
from visionfm.images.reading import decode
from visionfm.images.regular import read_regular
from visionfm.images.settings import Reading
from visionfm.modalities import MODALITIES
from visionfm.project.init.masks import understand_masks
from visionfm.project.init.seen import Seen, Target, as_name, count, words_of
from visionfm.project.init.tables import from_folders, from_names, understand

TABLES = frozenset({".csv", ".tsv", ".xlsx", ".xls", ".ods", ".parquet"})
MOST_TABLES, MOST_CLASSES, MOST_BYTES, LOOKED_AT = 40, 60, 200_000_000, 6
SAYING = {
    "OCT": {"oct", "octid", "bscan", "bscans", "macular"},
    "Fundus": {"fundus", "cfp", "color", "colour", "retinography", "photograph", "photographs"},
    "FFA": {"ffa", "angiography", "fluorescein"},
    "SlitLamp": {"slitlamp", "slit"},
    "Ultrasound": {"ultrasound"},
    "UBM": {"ubm"},
    "MRI": {"mri"},
}


def understand_folder(root: Path, table: Path | None, mask: str | None) -> list[Seen]:
    """Return the datasets that a folder seems to hold; DataError with what to say where that cannot be told."""
    paths = [entry.path for entry in files_below(root)]
    if not paths:
        raise DataError("the folder has no images", found=other_files(root), where=root, do="name the images' folder")
    by_tables = [] if mask is not None and table is None else _by_tables(root, paths, table)
    if by_tables and table is None:
        _only_reading(root, paths, by_tables)
    found = by_tables or _by_masks(root, paths, mask) or _by_folders(root, paths)
    for seen in found:
        if seen.keys.get("labels") != "none" and seen.keys["layout"] in ("table", "imagefolder") and seen.table is None:
            from_names(seen, _own(seen, paths))
            from_folders(seen, _own(seen, paths))
    return found


def _own(seen: Seen, paths: list[str]) -> list[str]:
    """Return the images of a dataset among all that were found; of volumes their slices."""
    glob = seen.keys.get("images")
    if glob is None:
        return paths
    if glob.endswith("/"):
        return [path for path in paths if fnmatch(f"{PurePosixPath(path).parent}/", glob)]
    return [path for path in paths if fnmatch(path, glob)]


def _only_reading(root: Path, paths: list[str], by_tables: list[Seen]) -> None:
    """Raise DataError with flags where images have labels in a table and masks that no table names."""
    if any({"mask", "masks"} & seen.keys["columns"].keys() for seen in by_tables):
        return
    masks = understand_masks(root, paths)
    if masks is None or not any(seen.targets for seen in by_tables):
        return
    names = list(dict.fromkeys(_table_of(seen) for seen in by_tables))
    kinds = masks if isinstance(masks, str) else f"masks of {masks.targets[0].name if masks.targets else 'them'}"
    flag = "--mask all" if isinstance(masks, str) or not masks.targets else f"--mask {masks.targets[0].name}"
    raise DataError("the images have labels in a table, and masks", found=f"{', '.join(names)}; {kinds}", where=root,
                    do=f"name one: {' or '.join(f'--table {name!r}' for name in names)} or {flag}")  # fmt: skip


def _table_of(seen: Seen) -> str:
    table = seen.keys["table"]
    return str(table if isinstance(table, str) else table["file"])


def _by_tables(root: Path, paths: list[str], given: Path | None) -> list[Seen]:
    """Return a dataset for each table that names images, those with something to predict first."""
    if given is not None:
        names = [_relative(root, given)]
    else:
        files = [file for folder in folders_below(root) for file in sorted(folder.iterdir())]
        names = [
            file.relative_to(root).as_posix()
            for file in files
            if file.suffix.lower() in TABLES and file.is_file() and file.stat().st_size <= MOST_BYTES
        ][:MOST_TABLES]
    found: list[Seen] = []
    questions = []
    for name in names:
        of_table = understand(root, name, paths)
        if isinstance(of_table, str):
            questions.append(of_table)
        else:
            found += of_table
    if questions:
        raise DataError("a table could mean several folders", found="; ".join(questions), where=root,
                        do="name one table by --table, or run on one folder of images")  # fmt: skip
    if given is not None and not found:
        raise DataError("no column of the table names images of the folder", found=str(given), where=root,
                        do="name the folder that the table's paths are relative to")  # fmt: skip
    labelled = [seen for seen in found if seen.targets]
    if len(labelled) > 1:
        splits = [seen.split for seen in labelled]
        same = {tuple(target.name for target in seen.targets) for seen in labelled}
        apart = None not in splits and len(set(splits)) == len(splits)
        tables = list(dict.fromkeys(map(_table_of, labelled)))
        if (not apart and not _one_cohort(labelled, paths, root)) or len(same) > 1:
            raise DataError("several tables have labels of these images", found=", ".join(tables), where=root,
                            do="name one: " + " or ".join(f"--table {table!r}" for table in tables))  # fmt: skip
    return labelled or found[:1]


def _one_cohort(labelled: list[Seen], paths: list[str], root: Path) -> bool:
    """Join datasets of the same people with images of their own: an eye each, or photographs and volumes."""
    images = [set(_own(seen, paths)) for seen in labelled]
    people = {seen.keys["columns"].get("subject") for seen in labelled}
    disjoint = all(not one & other for at, one in enumerate(images) for other in images[:at])
    if not disjoint or len(people) > 1 or None in people:
        return False
    for seen in labelled:
        seen.keys["cohort"] = as_name(root.resolve().name)
        seen.guesses.append(f"ids of {people.copy().pop()!r} mean the same people in each dataset: `cohort`")
    return True


def _relative(root: Path, table: Path) -> str:
    """Return a table's path from the root, given from here or from there."""
    if not table.is_file() and (root / table).is_file():
        return table.as_posix()
    return Path(os.path.relpath(table, root)).as_posix()


def _by_masks(root: Path, paths: list[str], mask: str | None) -> list[Seen]:
    found = understand_masks(root, paths, mask)
    if isinstance(found, str):
        raise DataError("the masks have several readings", found=found, where=root, do="name one by --mask")
    return [] if found is None else [found]


def _by_folders(root: Path, paths: list[str]) -> list[Seen]:
    """Return what the folders' names say: the published tree, classes, or nothing."""
    files = [file for file in LAYOUTS["vfm"].label_files(root, None) if file.is_file()]
    if files and all(part.is_dir() for folder in vfm_folders(root) for part in [folder / name for name in VFM_SPLITS]):
        return [_published(root, files[0])]
    parts = [PurePosixPath(path).parts for path in paths]
    tops = {one[0] for one in parts if len(one) > 1}
    divided = bool(tops) and all(top.lower() in SPLIT_NAMES for top in tops)
    level = 1 if divided else 0
    classes = Counter(one[level] for one in parts if len(one) == level + 2)
    if 2 <= len(classes) <= MOST_CLASSES and sum(classes.values()) == len(paths):
        seen = Seen(as_name(root.resolve().name), {"layout": "imagefolder", "labels": ["label"]})
        seen.targets.append(Target("label", "multiclass", None, sorted(classes), classes))
        above = f", below the splits {', '.join(sorted(tops))}" if divided else ""
        seen.facts.append(f"a folder for each of {len(classes)} classes{above}")
        seen.unknown.append("who is whose: folders name no people, so that each image would count as a person")
        seen.keys |= {} if divided else {"split": {"test": 0.2, "stratify": "label"}}
        return [seen]
    seen = Seen(as_name(root.resolve().name), {"layout": "table", "labels": "none"})
    seen.facts.append(f"{count(len(paths), 'image')}, without a table, masks, or a folder for each class")
    seen.unknown.append("labels: give a table by --table; without labels the images can be encoded, and pretrained on")
    return [seen]


def _published(root: Path, file: Path) -> Seen:
    """Return the published tree of splits with its label lines."""
    line = file.read_text(encoding="utf-8-sig").partition("\n")[0]
    names = [f"label_{number}" for number in range(1, line.partition(";")[2].count(",") + 2)]
    seen = Seen(as_name(root.resolve().name), {"layout": "vfm", "labels": names})
    seen.facts.append(f"the published tree: training/ and test/, and label lines of {len(names)} values")
    seen.unknown.append("what the values of a label line mean: name them in `labels`")
    return seen


def guess_modality(root: Path, seen: Seen) -> tuple[str, str]:
    """Return a modality and why it was guessed: by words in names, else by whether a few images have colours."""
    paths = _own(seen, [entry.path for entry in files_below(root)])
    said = Counter(word for path in [root.resolve().name, *paths[:2000]] for word in set(words_of(path)))
    votes = {modality: sum(said[word] for word in words) for modality, words in SAYING.items()}
    best = max(votes, key=lambda modality: votes[modality])
    if votes[best] and sum(times > 0 for times in votes.values()) == 1:
        return best, "by words in the names"
    coloured = 0
    looked = paths[:: max(1, len(paths) // LOOKED_AT)][:LOOKED_AT]
    for path in looked:
        try:
            data = read_regular(root / path)
            rgb_HWC = decode(data, Reading(frame=0), target_px=64, exact=False, where=path).astype(int)
        except (DataError, OSError):
            continue  # `index` says what is wrong with an image; here others are looked at
        coloured += int((rgb_HWC.max(axis=-1) - rgb_HWC.min(axis=-1)).mean() > 8)
    assert best in MODALITIES
    return ("Fundus", "a few images have colours") if 2 * coloured >= len(looked) else ("OCT", "a few images are grey")
