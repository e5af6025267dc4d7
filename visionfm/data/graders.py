"""Several graders of one image: their one answer as the config joins it, and how far they agree.

Grades that are unknown do not count. Two answers that are equally frequent have no majority: the image is unknown then.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from visionfm.data.layouts.columns import Columns, TargetColumn
from visionfm.data.layouts.rows import LabelColumns, Value, comparable
from visionfm.data.tables.cells import is_number, nearest_number
from visionfm.errors import Problems

JOINING = ("majority", "max", "mean")


def join(grades: Sequence[Value], how: str, target: str) -> Value:
    """Return the one answer of an image's graders; None where there is none, ValueError where they cannot be joined."""
    known = [grade for grade in grades if grade is not None]
    if not known:
        return None
    if how == "majority":
        (first, times), *others = Counter(map(comparable, known)).most_common()
        return None if others and others[0][1] == times else next(g for g in known if comparable(g) == first)
    numbers = []
    for grade in known:
        if isinstance(grade, str) and not is_number(grade):
            raise ValueError(f"{target}: aggregate {how} needs numbers, found {grade!r}{nearest_number(grade)}")
        numbers.append(float(grade))
    return max(numbers) if how == "max" else sum(numbers) / len(numbers)


def join_rows(labels: LabelColumns, columns: Columns, problems: Problems) -> LabelColumns:
    """Return one row per image of a table that has a row per grader; what no target joins must be the same in all."""
    joined = {name: one.aggregate for name, one in columns.targets.items()
              if isinstance(one, TargetColumn) and one.column and one.aggregate}  # fmt: skip
    if not joined:
        return labels
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(labels.path):
        rows_of.setdefault(path, []).append(row)
    beside = {name: getattr(labels, name) for name in ("subject", "eye", "visit", "split")}
    groups = list(labels.groups.values())
    images = labels.take([rows[0] for rows in rows_of.values()])
    for name in joined:
        images.grades[name] = [[] for _ in rows_of]
    for image, (path, rows) in enumerate(rows_of.items()):
        where = labels.where[rows[0]]
        for name, column in labels.values.items():
            values = [column[row] for row in rows]
            if (how := joined.get(name)) is not None:
                images.grades[name][image] = [value for value in values if value is not None]
                try:
                    images.values[name][image] = join(values, how, name)
                except ValueError as error:
                    images.values[name][image] = None
                    problems.add(str(error), where)
            elif len(rows) > 1 and len({comparable(value) for value in values}) > 1:
                places = " and ".join(labels.where[row] for row in rows[:3])
                problems.add(f"{places}: {path} has several of {name}; join them by `aggregate`, or correct the rows")
        for what, column in beside.items():
            if any(column[row] != column[rows[0]] for row in rows[1:]):
                problems.add(f"{where} and {labels.where[rows[1]]}: {path} has several of {what}")
        if any(column[row] != column[rows[0]] for column in groups for row in rows[1:]):
            problems.add(f"{where} and {labels.where[rows[1]]}: {path} has several of groups")
    return images


def agreements(labels: LabelColumns, subjects: Sequence[str], columns: Columns) -> list[dict[str, Any]]:
    """Return, for each target that several have graded, how far they agree: pair by pair where they have columns."""
    found: list[tuple[str, str, list[list[Value]], bool]] = []
    for name, source in columns.targets.items():
        if not isinstance(source, TargetColumn) or source.aggregate is None:
            continue
        said = labels.grades.get(name, [[] for _ in labels.path])
        if source.columns:
            pairs = list(combinations(range(len(source.columns)), 2))
            for one, other in pairs:
                grades = [[of_image[at] for at in (one, other)] for of_image in said]
                both: list[list[Value]] = [[grade for grade in pair if grade is not None] for pair in grades]
                found.append((name, f"{source.columns[one]}, {source.columns[other]}", both, True))
        else:
            found.append((name, "rows of an image", said, False))
    return [agreed for one in found if (agreed := _agreement(*one, subjects))]


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
