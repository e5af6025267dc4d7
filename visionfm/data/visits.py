"""When a visit was: a date or a number of days. What depends on the order of visits refuses anything else.

Texts have no order in time: of `01/12/2018` and `05/03/2019` the first sorts last, of V2 and V10 too.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from visionfm.data.tables.cells import number

EXPECTED = "a date YYYY-MM-DD or a number"
MEND = (
    "name the dates' form, as in `columns: {visit: {column: date, format: '%d/%m/%Y'}}`, or, where the numbers in names"
    " such as V2 and V10 tell the order, `order: natural`"
)
Moment = tuple[float | str, ...]
Form = Literal["date", "number", "name"]


def written(text: str, form: str) -> str:
    """Return a visit's date as ISO 8601 text, given its `strptime` form; ValueError where it has another."""
    moment = datetime.strptime(text, form)
    return moment.date().isoformat() if moment.time().isoformat() == "00:00:00" else moment.isoformat(sep=" ")


def day(visit: str | None) -> float:
    """Return a date's ordinal, or a number of days; ValueError for anything else."""
    date = _date(visit)
    return number(visit or "") if date is None else float(date.toordinal())


def moments(visits: Iterable[str | None], *, natural: bool = False) -> list[Moment] | str:
    """Return what orders visits in time, or in words why they have no order; `natural` takes names with numbers too."""
    read = [_moment(visit, natural) for visit in visits]
    if None in read:
        return f"expected {EXPECTED}"
    forms = {form for form, _ in (one for one in read if one is not None)}
    if len(forms) > 1:
        return f"expected dates, or numbers, found {' and '.join(sorted(f'{form}s' for form in forms))}"
    return [moment for _, moment in (one for one in read if one is not None)]


def _moment(visit: str | None, natural: bool) -> tuple[Form, Moment] | None:
    date = _date(visit)
    if date is not None:
        return "date", (date.toordinal() + (date.hour * 60 + date.minute) / 1440 + date.second / 86400,)
    try:
        return "number", (number(visit or ""),)
    except ValueError:
        parts = re.split(r"([0-9]+)", visit or "")
        if not natural or len(parts) < 3:
            return None
        return "name", tuple(float(part) if index % 2 else part for index, part in enumerate(parts))


def _date(visit: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(visit or "")
    except ValueError:
        return None
