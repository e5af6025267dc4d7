"""From raw labels to what decoders learn: class indices, 0/1 lists, values; null where unknown."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from visionfm.config.nearest import nearest
from visionfm.data.layouts.rows import comparable
from visionfm.data.tables.cells import nearest_number
from visionfm.data.visits import MEND, moments
from visionfm.errors import Problems
from visionfm.tasks.settings import LabelledTarget

Encoded = float | list[float | None] | None


def encode(target: LabelledTarget, row: Mapping[str, Any], where: str, problems: Problems) -> Encoded:
    """Return one image's encoded target: a class index, a list of 0/1/None, or a value; None is unknown."""
    unknown = {comparable(value) for value in target.unknown}
    if target.type == "multilabel":
        return [_binary(row.get(name), name, unknown, where, problems) for name in target.classes]
    raw = row.get(target.column)
    if raw is None or comparable(raw) in unknown:
        return None
    if target.type == "value":
        same = comparable(raw)
        if isinstance(same, float):
            return same
        problems.add(f"{target.column}: expected a number, found {raw!r}{nearest_number(str(raw))}", where)
        return None
    for index, values in enumerate(target.values):
        if comparable(raw) in {comparable(value) for value in values}:
            return float(index)
    expected = ", ".join(str(value) for values in target.values for value in values)
    near = (
        nearest(raw, [str(value) for values in target.values for value in values], 0.6)
        if isinstance(raw, str)
        else None
    )
    hint = "" if near is None else f"; did you mean {near!r}?"
    problems.add(f"{target.column}: expected one of {expected}, found {raw!r}{hint}", where)
    return None


def _binary(raw: Any, name: str, unknown: set[float | str], where: str, problems: Problems) -> float | None:
    if raw is None or comparable(raw) in unknown:
        return None
    if comparable(raw) not in (0.0, 1.0):
        problems.add(f"{name}: expected 0 or 1, found {raw!r}", where)
        return None
    return float(comparable(raw))


def encode_columns(target: LabelledTarget, table: Any, problems: Problems) -> list[Any]:
    """Return `encode` of all rows of labels.parquet as Arrow arrays: one, of multilabel one for each class.

    Each label that occurs is encoded once, so a problem is said once and without its place.
    """
    unknown = {comparable(value) for value in target.unknown}

    def encode_one(column: str, raw: Any) -> Encoded:
        if target.type == "multilabel":
            return _binary(raw, column, unknown, "", problems)
        return encode(target, {column: raw}, "", problems)

    return [_encoded(table, column, functools.partial(encode_one, column)) for column in target.columns()]


def _encoded(table: Any, column: str, encode_one: Callable[[Any], Encoded]) -> Any:
    import pyarrow as pa

    if column not in table.column_names or pa.types.is_null(table[column].type):
        return pa.nulls(table.num_rows, pa.float64())
    coded = table[column].combine_chunks().dictionary_encode()
    return pa.array(map(encode_one, coded.dictionary.to_pylist()), pa.float64()).take(coded.indices)


def side_by_side(columns: Sequence[Any]) -> Any:
    """Return Arrow arrays of numbers as one array of lists."""
    import numpy as np
    import pyarrow as pa

    values_NC = np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)
    absent_NC = np.stack([column.is_null().to_numpy(zero_copy_only=False) for column in columns], axis=1)
    offsets = np.arange(0, values_NC.size + 1, len(columns), dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values_NC.ravel(), pa.float64(), mask=absent_NC.ravel()))


class Visits(NamedTuple):
    """When each image of a unit was taken, as its table says; `natural`: names such as V2 and V10 tell the order."""

    texts: list[str | None]
    natural: bool = False


def joined(
    target: LabelledTarget, values: Sequence[Encoded], visits: Visits, where: str, problems: Problems
) -> Encoded:
    """Return the one target of a unit from those of its images; disagreement needs `aggregate`.

    `latest` and `first` need visits that have an order in time, and one answer at that visit.
    """
    if target.type == "multilabel":
        columns = zip(*(value for value in values if isinstance(value, list)), strict=True)
        return [_one(target, list(column), visits, where, problems) for column in columns]
    return _one(target, [value for value in values if not isinstance(value, list)], visits, where, problems)


def _one(
    target: LabelledTarget, values: list[float | None], visits: Visits, where: str, problems: Problems
) -> float | None:
    known = [value for value in values if value is not None]
    if len(set(known)) <= 1:
        return known[0] if known else None
    if target.aggregate == "mean" and target.type == "value":
        return sum(known) / len(known)
    if target.aggregate == "max":
        return max(known)
    found = known
    if target.aggregate in ("latest", "first"):
        dated = [(visit, value) for visit, value in zip(visits.texts, values, strict=True) if value is not None]
        order = moments([visit for visit, _ in dated], natural=visits.natural)
        if isinstance(order, str):
            texts = " and ".join(repr(visit) for visit in dict.fromkeys(visit for visit, _ in dated))
            problems.add(f"{where}: aggregate {target.aggregate}: visits: {order}, found {texts}; {MEND}")
            return None
        chosen = max(order) if target.aggregate == "latest" else min(order)
        found = [value for moment, (_, value) in zip(order, dated, strict=True) if moment == chosen]
        if len(set(found)) == 1:
            return found[0]
    problems.add(f"{where}: its images disagree: {', '.join(f'{value:g}' for value in sorted(set(found)))}")
    return None


def absent_classes(target: LabelledTarget, values: Sequence[Encoded]) -> list[str]:
    """Return, in words, which classes no sample has."""
    if target.type == "value":
        return [] if any(value is not None for value in values) else ["no known value"]
    if target.type == "multilabel":
        lists = [value for value in values if isinstance(value, list)]
        wanted = [(index, state) for index in range(len(target.classes)) for state in (1.0, 0.0)]
        return [
            f"no {'positive' if state else 'negative'} case of {target.classes[index]}"
            for index, state in wanted
            if all(value[index] != state for value in lists)
        ]
    return [f"no case of class {name}" for index, name in enumerate(target.classes) if float(index) not in values]
