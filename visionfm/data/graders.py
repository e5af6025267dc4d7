"""Several graders of one image: their one answer as the config joins it, and how far they agree.

Grades that are unknown do not count. Two answers that are equally frequent have no majority: the image is unknown then.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from visionfm.data.layouts.columns import Columns, TargetColumn
from visionfm.data.layouts.rows import LabelRow, Value, comparable
from visionfm.data.tables.cells import is_number, nearest_number
from visionfm.errors import Problems

JOINING = ("majority", "max", "mean")


def join(grades: Sequence[Value], how: str, where: str, target: str, problems: Problems) -> Value:
    """Return the one answer of an image's graders; None where there is none."""
    known = [grade for grade in grades if grade is not None]
    if not known:
        return None
    if how == "majority":
        (first, times), *others = Counter(map(comparable, known)).most_common()
        return None if others and others[0][1] == times else next(g for g in known if comparable(g) == first)
    numbers = []
    for grade in known:
        if isinstance(grade, str) and not is_number(grade):
            said = f"{target}: aggregate {how} needs numbers, found {grade!r}{nearest_number(grade)}"
            problems.add(said, where)
            return None
        numbers.append(float(grade))
    return max(numbers) if how == "max" else sum(numbers) / len(numbers)


def join_rows(rows: list[LabelRow], columns: Columns, problems: Problems) -> list[LabelRow]:
    """Return one row per image of a table that has a row per grader; what no target joins must be the same in all."""
    joined = {name: one.aggregate for name, one in columns.targets.items()
              if isinstance(one, TargetColumn) and one.column and one.aggregate}  # fmt: skip
    if not joined:
        return rows
    by_path: dict[str, list[LabelRow]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    for path, same in by_path.items():
        first = same[0]
        for name in first.values:
            values = [row.values[name] for row in same]
            how = joined.get(name)
            if how is not None:
                first.grades[name] = [value for value in values if value is not None]
                first.values[name] = join(values, how, first.where, name, problems)
            elif len({comparable(value) for value in values}) > 1:
                where = " and ".join(row.where for row in same[:3])
                problems.add(f"{where}: {path} has several of {name}; join them by `aggregate`, or correct the rows")
        for what in ("subject", "eye", "visit", "split", "groups"):
            if any(getattr(row, what) != getattr(first, what) for row in same):
                problems.add(f"{first.where} and {same[1].where}: {path} has several of {what}")
    return [same[0] for same in by_path.values()]


def agreements(rows: Sequence[LabelRow], subjects: Sequence[str], columns: Columns) -> list[dict[str, Any]]:
    """Return, for each target that several have graded, how far they agree: pair by pair where they have columns."""
    found: list[tuple[str, str, list[list[Value]], bool]] = []
    for name, source in columns.targets.items():
        if not isinstance(source, TargetColumn) or source.aggregate is None:
            continue
        if source.columns:
            pairs = list(combinations(range(len(source.columns)), 2))
            for one, other in pairs:
                grades = [[row.grades[name][at] for at in (one, other)] for row in rows]
                both: list[list[Value]] = [[grade for grade in pair if grade is not None] for pair in grades]
                found.append((name, f"{source.columns[one]}, {source.columns[other]}", both, True))
        else:
            found.append((name, "rows of an image", [row.grades.get(name, []) for row in rows], False))
    return [said for one in found if (said := _agreement(*one, subjects))]


def _agreement(
    target: str, graders: str, grades: list[list[Value]], known: bool, subjects: Sequence[str]
) -> dict[str, Any] | None:
    from visionfm.metrics.agreement import agreement

    numeric = all(comparable(grade).__class__ is float for image in grades for grade in image)
    plain = [[comparable(grade) if numeric else str(grade) for grade in image] for image in grades]
    result = agreement(plain, subjects, known=known)
    if result is None:
        return None
    kappa = None if result.kappa != result.kappa else result.kappa
    return {"target": target, "graders": graders, **result._asdict(), "kappa": kappa}
