"""What a table says of a folder's images: which column names them, which are people, eyes, splits and labels."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from visionfm.data.layouts.folders import SPLIT_NAMES
from visionfm.data.layouts.rows import comparable
from visionfm.data.tables.block import TableFile
from visionfm.data.tables.cells import UNKNOWN, USUALLY_UNKNOWN, is_number, read_eye
from visionfm.data.tables.grid import Table
from visionfm.data.tables.paths import Files, filled
from visionfm.data.tables.reading import read_table
from visionfm.data.visits import moments
from visionfm.errors import DataError, Problems
from visionfm.project.init.masks import PARTNER, SECOND, glob_of, look_at
from visionfm.project.init.numbered import SIDES, glob_of_template, readings
from visionfm.project.init.seen import Seen, Target, as_name, common_folder, count, glob_below, split_of, words_of

SAMPLED = 400
MOST_CLASSES = 20
MOST_CODES = 4  # of eyes; more are no codes
HEADERS = (None, *range(2, 9))
PEOPLE = {"patient", "patientid", "subject", "subjectid", "person", "participant", "proband", "pid"}
EYES = {"eye", "laterality", "side"}
VISITS = {"visit", "date", "timepoint"}
SPLITS = {"split", "fold", "partition", "subset"}
BESIDE = {  # what is known of people and cameras, seldom asked of a picture
    *("age", "sex", "gender", "camera", "device", "quality", "birth", "comorbidities", "nationality", "duration"),
    *("width", "height", "orig", "insulin", "name", "date", "comment", "comments", "remark", "keywords", "url"),
}
IDS = (["id"], ["ids"], ["uid"])  # the last word of names of identifiers, which nobody predicts
MASKS = PARTNER | {"mask2", "vessels", "vessel"}
ANSWERS = {"r": "R", "right": "R", "od": "R", "l": "L", "left": "L", "os": "L"}


def open_table(root: Path, name: str) -> tuple[Table, dict[str, Any]] | str:
    """Return a table and how its block says it; or in words why it cannot be read."""
    first = ""
    for header in HEADERS:
        for encoding in (None, "cp1252"):
            problems = Problems(DataError, name)
            how = TableFile(file=name, header_row=header, encoding=encoding)
            table = read_table(root / name, how, [], problems)
            named = [] if table is None else [column for column in table.header if column]
            if table is not None and not problems and len(named) >= max(2, 0.6 * len(table.header)):
                if not table.header[0] and header is None and (better := _named_below(root, name)) is not None:
                    return better
                return table, {key: value for key, value in (("header_row", header), ("encoding", encoding)) if value}
            first = first or next(iter(problems), "")
    return first or f"{name}: has fewer than two columns with a name"


def _named_below(root: Path, name: str) -> tuple[Table, dict[str, Any]] | None:
    """Return a table whose first column has its name in a line below, as merged cells leave it; None otherwise."""
    for lines in ([2, 3], [1, 2], [1, 2, 3]):
        problems = Problems(DataError, name)
        table = read_table(root / name, TableFile(file=name, header_row=lines), [], problems)
        if table is not None and not problems and all(table.header) and table.header[0].isalpha():
            return table, {"header_row": lines}
    return None


def understand(root: Path, name: str, paths: Sequence[str]) -> list[Seen] | str:
    """Return what a table says of the images, datasets of them; a question where it could mean several."""
    found = open_table(root, name)
    if isinstance(found, str):
        return []
    table, how = found
    rows = list(table.rows())
    place = PurePosixPath(root.absolute().as_posix())
    named = _image_columns(table, Files(paths, place))
    folder = common_folder([path for ones in named.values() for path in ones])
    if not named:
        folder, named = _in_one_folder(table, name, paths, place)
        if not named:
            return folder or _by_number(table, how, name, paths)
    keys: dict[str, Any] = {"layout": "table", "table": {"file": name, **how} if how else name}
    used = {path for ones in named.values() for path in ones}
    seen = Seen(as_name(PurePosixPath(name).stem), keys)
    inside = [path for path in paths if path.startswith(f"{folder}/")] if folder else list(paths)
    if len(inside) < len(paths):
        keys["images"] = glob_below(folder)
        seen.facts.append(f"images: those below {folder}; {count(len(paths) - len(inside), 'image')} elsewhere")
    columns: dict[str, Any] = {}
    eyes = {ANSWERS[word]: column for column in named for word in words_of(column) if word in ANSWERS}
    if len(named) == 2 and len(eyes) == 2:
        columns["images"] = dict(sorted(eyes.items(), reverse=True))
        seen.facts.append(f"one row per person, with the images {eyes['R']!r} (right) and {eyes['L']!r} (left)")
    else:
        columns["image"] = max(named, key=lambda column: len(named[column]))
        seen.facts.append(f"column {columns['image']!r} names the images")
    if encoding := how.get("encoding"):
        seen.guesses.append(f"{name} is no UTF-8; it is read as {encoding}: look at a name with accents")
    others = [column for column in table.header if column and column not in named]
    others = _masks(root, seen, columns, others, rows, Files(sorted(set(paths) - used), place), inside)
    others = _roles(seen, columns, others, rows, wide="images" in columns)
    keys["columns"] = columns
    _targets(seen, columns, others, rows)
    _missing(seen, named, rows, inside, used, Files(inside, place))
    if "split" not in columns:
        seen.split = seen.split or split_of(PurePosixPath(name).stem)
    return [seen]


def _by_number(table: Table, how: dict[str, Any], name: str, paths: Sequence[str]) -> list[Seen] | str:
    """Return the datasets of a table whose numbers name files, folders of slices, or both; a question of several."""
    read = readings(table, name, paths)
    if read is None or isinstance(read, str):
        return read or []
    rows = list(table.rows())
    title = as_name(PurePosixPath(name).stem)
    several = len(read.files) + len(read.folders) > 1 or any(SIDES.search(one) for one in read.files.values())
    found = []
    for kind, templates in (("files", list(read.files.values())), ("folders", read.folders)):
        if not templates:
            continue
        keys: dict[str, Any] = {"layout": "table", "table": {"file": name, **how} if how else name}
        seen = Seen(title, keys)
        globs = sorted({SIDES.sub("*", glob_of_template(one)) for one in templates})
        columns: dict[str, Any] = {"image": templates[0]} if len(templates) == 1 else {"images": dict(read.files)}
        if kind == "folders":
            seen.name, seen.modality = f"{title}_volumes", ("OCT", "folders of numbered pictures")
            keys |= {"images": f"{globs[0]}/", "frames": "all"}
            seen.facts.append(f"each folder {templates[0]} is a volume, and the pictures in it are its slices")
            seen.guesses.append("`frames: {middle: 12}` would take twelve slices of each")
        else:
            others = [one for one in glob_of_template(templates[0]).split("*") if one]
            keys |= {"images": _narrow(templates, paths, rows)} if others and len(templates) == 1 else {}
            seen.facts.append(f"numbers of {read.column!r} name the images: {' and '.join(templates)}")
        others = [column for column in table.header if column and column != read.column]
        others = _roles(seen, columns, others, rows, wide="images" in columns)
        if "subject" not in columns and several:
            columns["subject"] = read.column
            seen.unknown = [line for line in seen.unknown if not line.startswith("who is whose")]
            seen.guesses.append(f"each number of {read.column!r} is a person")
        eye = re.search(SIDES, PurePosixPath(templates[0]).name) if len(templates) == 1 else None
        if eye is not None and "eye" not in columns:
            keys["path_pattern"] = f"(?P<eye>{eye[0]})[^/]*$"
            seen.facts.append(f"eyes: {eye[0]} in the names")
        keys["columns"] = columns
        _targets(seen, columns, others, rows)
        found.append(seen)
    return found


def _narrow(templates: Sequence[str], paths: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Return the narrowest glob of the files that a template names: in globs `*` crosses folders."""
    used = [filled(templates[0], dict(row)) for row in rows]
    named = sorted(set(used) & set(paths))
    loose = glob_of_template(templates[0])
    digits = re.sub(r"\{[^{}]*:0([0-9]+)d\}", lambda width: "[0-9]" * int(width[1]), templates[0])
    fitting = [one for one in (loose, digits) if set(fnmatch_all(paths, one)) == set(named)]
    return fitting[0] if fitting else digits if "{" not in digits else loose


def fnmatch_all(paths: Sequence[str], glob: str) -> list[str]:
    """Return the paths that a glob matches."""
    return [path for path in paths if fnmatch(path, glob)]


def _masks(
    root: Path, seen: Seen, columns: dict[str, Any], others: list[str], rows: Sequence[Mapping[str, str]], files: Files,
    inside: list[str],
) -> list[str]:  # fmt: skip
    """Take columns that name masks out of the columns; return the others."""
    masks: dict[str, list[str]] = {}
    for column in others:
        texts = _known(rows[:SAMPLED], column)
        hits = [hit for text in texts if isinstance(hit := files.find(text), str)]
        if texts and len(hits) > len(texts) / 2 and not all(map(is_number, texts)):
            masks[column] = hits
    for column, hits in masks.items():
        words = set(words_of(column))
        role = "fov" if "fov" in words else "mask2" if words & SECOND or column.endswith("2") else "mask"
        if role in columns:
            seen.unknown.append(f"what the files of {column!r} are")
            continue
        columns[role] = column
        seen.facts.append(f"{role}: {column!r}")
        if role == "mask":
            look_at(root, list(dict.fromkeys(hits)), as_name(column), seen)
    named = {hit for hits in masks.values() for hit in hits}
    if masks and ("images" not in seen.keys or named & set(inside)):
        seen.keys["images"] = glob_of([path for path in inside if path not in named], sorted(named))
    return [column for column in others if column not in masks]


def _known(rows: Sequence[Mapping[str, str]], column: str) -> list[str]:
    texts = [row[column].strip() for row in rows]
    return [text for text in texts if text not in UNKNOWN and text.casefold() not in USUALLY_UNKNOWN]


def _image_columns(table: Table, files: Files) -> dict[str, list[str]]:
    """Return the columns most of whose cells name one file each, with the files; two where each eye has its own."""
    rows = list(table.rows(max(1, len(table.where) // SAMPLED)))
    found: dict[str, list[str]] = {}
    for column in dict.fromkeys(filter(None, table.header)):
        texts = _known(rows, column)
        hits = list(dict.fromkeys(hit for text in texts if isinstance(hit := files.find(text), str)))
        if texts and len(hits) >= max(1, len(set(texts)) // 2):
            found[column] = hits
    if not found:
        return {}
    sides = {side: column for column in found for word in words_of(column) if (side := ANSWERS.get(word))}
    best = max(found, key=lambda column: (not set(words_of(column)) & MASKS, len(found[column])))
    if len(sides) == 2 and best in sides.values():
        return {column: found[column] for column in sides.values()}
    return {best: found[best]}


def _in_one_folder(
    table: Table, name: str, paths: Sequence[str], place: PurePosixPath
) -> tuple[str, dict[str, list[str]]]:
    """Return the folder whose files a table names, where several have files of these names; or a question."""
    folders = sorted({PurePosixPath(path).parent.as_posix() for path in paths} - {"."})
    fitting = {}
    for folder in folders:
        if named := _image_columns(table, Files([path for path in paths if path.startswith(f"{folder}/")], place)):
            fitting[folder] = named
    most = max((sum(map(len, named.values())) for named in fitting.values()), default=0)
    fitting = {one: named for one, named in fitting.items() if sum(map(len, named.values())) >= 0.9 * most}
    meant = [one for one in fitting if split_of(one) is not None and split_of(one) == split_of(name)]
    chosen = meant if len(meant) == 1 else list(fitting)
    if len(chosen) == 1:
        return chosen[0], fitting[chosen[0]]
    if not chosen:
        return "", {}
    return (
        f"{name} fits the images of {', '.join(map(repr, chosen))}: run init on one of these folders, with --table",
        {},
    )


def _roles(
    seen: Seen, columns: dict[str, Any], others: list[str], rows: Sequence[Mapping[str, str]], *, wide: bool
) -> list[str]:
    """Take people, eyes, visits and splits out of the columns by name and content; return the others."""
    left = []
    for column in others:
        words, texts = {*words_of(column), "".join(words_of(column))}, _known(rows, column)
        if not texts:
            continue
        is_id = words & PEOPLE or (wide and words == {"id"})
        if "subject" not in columns and is_id and not words & BESIDE:
            columns["subject"] = column
            seen.facts.append(f"people: {column!r}, {len(set(texts))} of them")
        elif "eye" not in columns and not wide and words & EYES and not words & BESIDE:
            if all(map(read_eye, texts)):
                columns["eye"] = column
                seen.facts.append(f"eyes: {column!r}")
            elif len(set(texts)) > MOST_CODES:
                left.append(column)
            else:
                codes = sorted(set(texts))[:4]
                hint = f"`eye: {{column: {column}, values: {{{codes[0]}: R, ...}}}}`"
                seen.unknown.append(f"which eye the codes {', '.join(codes)} of {column!r} mean; say so by {hint}")
        elif "split" not in columns and words & SPLITS:
            named = {SPLIT_NAMES.get(text.lower()) for text in texts}
            if None not in named and len(named) > 1:
                columns["split"] = column
                seen.facts.append(f"splits: {column!r}")
            elif None not in named:
                (seen.split,) = named
                seen.facts.append(f"not used: {column!r}, which says {texts[0]!r} of every image")
            else:
                seen.unknown.append(
                    f"what {column!r} ({', '.join(sorted(set(texts))[:4])}) divides; folds are "
                    f"`split: {{column: {column}, values: {{0: test}}}}`"
                )
        elif "visit" not in columns and words & VISITS and "birth" not in words:
            if isinstance(moments(texts), str):
                seen.unknown.append(
                    f"the form of {column!r}, as in {texts[0]!r}: `visit: {{column: ..., format: ...}}`"
                )
            else:
                columns["visit"] = column
                seen.facts.append(f"visits: {column!r}")
        else:
            left.append(column)
    if "subject" not in columns:
        seen.unknown.append("who is whose: no column names people, so that each image would count as a person")
    return left


def _targets(seen: Seen, columns: dict[str, Any], others: list[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Find what could be predicted: few values are classes, many numbers a value; texts that all differ are neither."""
    beside, skipped = [], []
    taken: list[str] = []
    others = _points(seen, columns, others, rows, taken)
    for column in others:
        texts = _known(rows, column)
        target = None if words_of(column)[-1:] in IDS else _target(as_name(column, taken), column, texts)
        if target is None:
            skipped.append(column)
        elif set(words_of(column)) & BESIDE:
            beside.append(column)
        else:
            taken.append(target.name)
            seen.targets.append(target)
    if beside:
        seen.facts.append(f"of people and cameras, taken for no target: {', '.join(beside)}")
    if skipped:
        seen.facts.append(f"not used: {', '.join(skipped)}")
    doubtful = [t.name for t in seen.targets if t.type == "multiclass" and t.cases and min(t.cases.values()) < 5]
    if doubtful:
        seen.guesses.append(
            f"classes with fewer than five cases are rather mistakes, or too rare: {', '.join(doubtful)}"
        )
    if (together := _one_hot(seen.targets, rows)) is not None:
        seen.targets.append(together)
        seen.facts.append(f"in each row exactly one of {', '.join(together.source)} is 1: classes, as {together.name}")
    columns["targets"] = {}


def _points(
    seen: Seen, columns: dict[str, Any], others: list[str], rows: Sequence[Mapping[str, str]], taken: list[str]
) -> list[str]:
    """Take pairs of columns of numbers that differ in x and y alone out of the columns: points; return the others."""
    pairs: dict[tuple[str, ...], dict[str, str]] = {}
    for column in others:
        words = words_of(column)
        axis = [word for word in words if word in ("x", "y")]
        texts = _known(rows, column)
        if len(axis) == 1 and texts and all(map(is_number, texts)):
            rest = tuple(word for word in words if word not in ("x", "y", "coordinate", "coordinates", "position"))
            pairs.setdefault(rest, {})[axis[0]] = column
    points = {rest: pair for rest, pair in pairs.items() if len(pair) == 2}
    for rest, pair in points.items():
        name = as_name("_".join(rest) or "point", taken)
        taken.append(name)
        columns.setdefault("points", {})[name] = [pair["x"], pair["y"]]
        seen.targets.append(Target(name, "points", None))
    used = {column for pair in points.values() for column in pair.values()}
    return [column for column in others if column not in used]


def _one_hot(targets: Sequence[Target], rows: Sequence[Mapping[str, str]]) -> Target | None:
    """Return the classes that columns of 0 and 1 are, where each row has exactly one of all of them."""
    signs = [target.source for target in targets if target.type == "binary"]
    if len(signs) < 3:
        return None
    cases = Counter("/".join(one for one in signs if comparable(row[one].strip()) == 1.0) for row in rows)
    if not set(cases) <= set(signs):
        return None
    return Target(as_name("_or_".join(signs)), "multiclass", signs, signs, cases)


def _target(name: str, column: str, texts: list[str]) -> Target | None:
    cases = Counter(texts)
    numeric = all(map(is_number, texts))
    if len(cases) < 2:
        return None
    if numeric and {comparable(text) for text in cases} == {0.0, 1.0}:
        return Target(name, "binary", column, None, cases)
    if len(cases) <= MOST_CLASSES and len(cases) <= len(texts) / 2:
        return Target(name, "multiclass", column, _in_order(cases, numeric=numeric), cases)
    return Target(name, "value", column, None, Counter()) if numeric else None


def _in_order(cases: Counter[str], *, numeric: bool) -> Any:
    if not numeric:
        return sorted(cases)
    numbers = sorted({float(text) for text in cases})
    whole = [int(value) if value.is_integer() else value for value in numbers]
    return len(whole) if whole == list(range(len(whole))) else whole


def _missing(
    seen: Seen,
    named: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    inside: list[str],
    used: set[str],
    files: Files,
) -> None:
    texts = [text for column in named for text in _known(rows, column)]
    found = [files.find(text) for text in texts]
    lost = [text for text, path in zip(texts, found, strict=True) if not isinstance(path, str)]
    used = {path for path in found if isinstance(path, str)}
    seen.facts.append(
        f"{count(len(rows), 'row')}, {count(len(used), 'image')} with a row, {len(inside) - len(used):,} without one"
    )
    if lost:
        seen.keys["missing"] = "skip"
        seen.guesses.append(
            f"{count(len(lost), 'name')} of no image that is there, as {lost[0]!r}: `missing: skip` leaves them out"
        )


def from_folders(seen: Seen, paths: Sequence[str]) -> None:
    """Find visits and eyes in folders such as `V1/OD`, where every image lies below such folders."""
    known = {"eye", "visit", "images"} & seen.keys.get("columns", {}).keys()
    pattern = "(^|/)(?P<visit>[VWM][0-9]+)/(?P<eye>OD|OS)/"
    if known or "path_pattern" in seen.keys or not all(re.search(pattern, path) for path in paths):
        return
    seen.keys["path_pattern"] = pattern
    seen.guesses.append(f"visits and eyes stand in the folders, as in {PurePosixPath(paths[0]).parent}")


def from_names(seen: Seen, paths: Sequence[str]) -> None:
    """Find people and eyes in file names such as 10_left.jpeg, where each person has at most two images an eye."""
    if "subject" in seen.keys.get("columns", {}) or "images" in seen.keys.get("columns", {}):
        return
    pattern = re.compile(r"(?P<subject>[A-Za-z]*[0-9]+)[_-](?P<eye>left|right|OD|OS|L|R)(?=[_.-])", re.IGNORECASE)
    found = [pattern.search(PurePosixPath(path).name) for path in paths]
    people = {match["subject"] for match in found if match}
    if len(paths) < 4 or not all(found) or len({match["eye"].lower() for match in found if match}) != 2:
        return
    if len(people) < len(paths):
        seen.keys["path_pattern"] = f"(?i){pattern.pattern}"
        seen.unknown = [line for line in seen.unknown if not line.startswith("who is whose")]
        seen.guesses.append(f"people and eyes stand in the file names, as in {PurePosixPath(paths[0]).name}")
