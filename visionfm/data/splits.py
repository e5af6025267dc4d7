"""Splits that hold still: by group, stratified, seeded, and stable when the data grow.

Groups are the connected components of subject and copies (equal bytes are such). Inside a stratum they are ordered by
sha256(seed, group) and cut by fraction. So one more subject moves at most one other group of its stratum into or out of
test, and one between train and validation; a corrected label does so once in the stratum it leaves and once in the one
it enters.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

from visionfm.images.identity import file_id

TRAIN = frozenset({"train"})


def connected(keys_of_rows: Sequence[Sequence[Hashable]]) -> list[int]:
    """Return a component number for each row; rows that share any key share a component."""
    parent = list(range(len(keys_of_rows)))

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[Hashable, int] = {}
    for row, keys in enumerate(keys_of_rows):
        for key in keys:
            parent[find(row)] = find(first.setdefault(key, row))
    return [find(row) for row in range(len(keys_of_rows))]


def people(subjects: Sequence[str], image_ids: Sequence[str]) -> list[str]:
    """Return each row's person as statistics count them: subjects that share an equal file are one, the first by name.

    Two images of one file are one observation, whoever they are said to show; n and intervals would be too sure else.
    """
    # Few files have two subjects: only their rows can join anybody, and only they are looked at one by one.
    files = list(map(file_id, image_ids))
    owner = dict(zip(files, subjects, strict=True))
    shared = {file for file, subject in zip(files, subjects, strict=True) if owner[file] != subject}
    if not shared:
        return list(subjects)
    joined = sorted({(subject, file) for subject, file in zip(subjects, files, strict=True) if file in shared})
    component = connected(joined)
    first: dict[int, str] = {}
    for number, (subject, _) in zip(component, joined, strict=True):
        first.setdefault(number, subject)  # in order of the names
    person = {subject: first[number] for number, (subject, _) in zip(component, joined, strict=True)}
    return [person.get(subject, subject) for subject in subjects]


def cut(groups: Mapping[str, Hashable], fraction: float, seed: int | str) -> set[str]:
    """Return the groups drawn, `fraction` of each stratum; `groups` maps a group's name to its stratum.

    A stratum of two or more groups gives at least one and keeps at least one.
    """
    strata: dict[Hashable, list[str]] = defaultdict(list)
    for group, stratum in groups.items():
        strata[stratum].append(group)
    drawn: set[str] = set()
    for members in strata.values():
        members.sort(key=lambda group: _hash(seed, group))
        count = int(fraction * len(members) + 0.5)
        if len(members) >= 2:
            count = min(max(count, 1), len(members) - 1)
        drawn.update(members[:count])
    return drawn


def folds(groups: Mapping[str, Hashable], count: int, seed: int | str) -> dict[str, int]:
    """Return each group's fold, 0 to `count` - 1; `groups` maps a group's name to its stratum.

    Inside a stratum groups are ordered by hash and cut into parts of equal size (but for one), so that a further group
    moves at most one other over each of the `count` - 1 cuts. Each stratum begins at a fold of its own, drawn too: else
    rare ones would all fill the same fold.
    """
    strata: dict[Hashable, list[str]] = defaultdict(list)
    for group, stratum in groups.items():
        strata[stratum].append(group)
    found: dict[str, int] = {}
    for stratum, members in strata.items():
        members.sort(key=lambda group: _hash(seed, group))
        first = by_hash(f"stratum {stratum}", count, seed)
        found |= {group: (first + rank * count // len(members)) % count for rank, group in enumerate(members)}
    return found


def by_hash(group: str, count: int, seed: int | str) -> int:
    """Return the fold of a group that depends on nothing but the group: no other one can move it, or be moved."""
    return int.from_bytes(_hash(seed, group)) % count


def rarest(group: Sequence[str], values_of_rows: Sequence[Collection[Hashable]]) -> dict[str, Hashable]:
    """Return each group's stratum: of the values that its rows have, the one that the fewest groups have."""
    values: dict[str, set[Hashable]] = {name: set() for name in group}
    for name, of_row in zip(group, values_of_rows, strict=True):
        values[name].update(of_row)
    common = Counter(value for of_group in values.values() for value in of_group)
    return {
        name: min(of_group, key=lambda value: (common[value], str(value))) if of_group else None
        for name, of_group in values.items()
    }


def _hash(seed: int | str, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{group}".encode()).digest()


def draw(
    keys_of_rows: Sequence[Sequence[str]],
    given: Sequence[str | None],
    strata_of_rows: Sequence[Hashable],
    *,
    validation: float,
    test: float | None,
    seed: int,
) -> list[str]:
    """Return a split (train, validation, test) for each row.

    `keys_of_rows` are what may not be divided: first the subject (or eye, or image), then the image's bytes. Rows with
    a given split keep it, and take those of their group without one along; rows given as train are divided into train
    and validation unless some row is given as validation; groups without any are drawn: `test` of all groups first,
    then `validation` of the rest.
    """
    # Named by its subjects alone: one more image of a subject must not rename, and so move, the group.
    group = people([keys[0] for keys in keys_of_rows], [keys[1] for keys in keys_of_rows])
    strata = _strata(group, strata_of_rows)
    fixed: dict[str, set[str]] = {}
    for name, split in zip(group, given, strict=True):
        if split is not None:
            fixed.setdefault(name, set()).add(split)
    free = {name: stratum for name, stratum in strata.items() if name not in fixed}
    tested = cut(free, test, seed) if test is not None else set()
    trainable = {
        name: stratum for name, stratum in strata.items() if name not in tested and fixed.get(name, TRAIN) <= TRAIN
    }
    has_validation = any(split == "validation" for split in given)
    # Another seed than the test draw's: one hash order for both would put the same groups next to each other.
    validated = set() if has_validation else cut(trainable, validation, seed + 1)

    def place(name: str, own: str | None) -> str:
        if own is not None and not (own == "train" and name in validated):
            return own
        if name in validated:
            return "validation"
        # A row without a split stays with its group: it must not divide what the data keep together.
        return "test" if name in tested else min(fixed.get(name, TRAIN))

    rows = list(zip(group, given, strict=True))
    placed = {row: place(*row) for row in dict.fromkeys(rows)}  # a person has many images
    return [placed[row] for row in rows]


def _strata(group: Sequence[str], strata_of_rows: Sequence[Hashable]) -> dict[str, Hashable]:
    """Return each group's most frequent stratum (the smallest by text among equals)."""
    best: dict[str, tuple[int, str, Hashable]] = {}
    for (name, stratum), count in Counter(zip(group, strata_of_rows, strict=True)).items():
        found = (-count, str(stratum), stratum)
        if name not in best or found[:2] < best[name][:2]:
            best[name] = found
    return {name: stratum for name, (_, _, stratum) in best.items()}
