"""Outcomes of progression: whether an eye got worse (event), and after how many days, or until when it had not.

In tables, `interval` is a number of days, or the date of the follow-up where `visit` is a date.
"""

from datetime import date

from visionfm.data.layouts.columns import Columns, EventColumn
from visionfm.data.tables.block import TableFile
from visionfm.data.tables.cells import coded, is_number, is_unknown, plain_number
from visionfm.data.visits import written

EVENT, INTERVAL = "event", "interval_days"
LONGEST_DAYS = 200 * 365.25
EVENTS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "False": 0.0, "True": 1.0}


def read_event(text: str) -> float | str:
    """Return 0 or 1, or what is wrong."""
    return EVENTS.get(text, f"expected 0 or 1, found {text!r}")


def read_days(text: str) -> float | str:
    """Return an interval, or what is wrong."""
    if not is_number(text):
        return f"expected a number of days, found {text!r}"
    days = float(text)
    if days > LONGEST_DAYS:
        return f"expected a number of days, found {text}, more than 200 years; a date is written YYYY-MM-DD"
    return days if days >= 0 else f"expected a number of days from 0 on, found {text}: before the baseline"


def read_outcome(
    event: str, interval: str, visit: str | None, columns: Columns, how: TableFile
) -> tuple[tuple[float | None, float | None], list[str]]:
    """Return event and interval of a table's cells, and what is wrong with them; both, or neither is known."""
    names, nothing = (columns.event_column, columns.interval), (None, None)
    unknown = [is_unknown(text, how) for text in (event, interval)]
    if all(unknown):
        return nothing, []
    if any(unknown):
        missing, there = names if unknown[0] else names[::-1]
        return nothing, [
            f"{there} without {missing}: expected both, or neither (an eye that stayed as it was has event 0 and the "
            "days for which it is known)"
        ]
    if isinstance(columns.event, EventColumn):
        event = coded(event, columns.event.values)[1] or event
    seen, days = read_event(event), _until(_in_form(plain_number(interval, how), columns), visit)
    if not isinstance(seen, str) and not isinstance(days, str):
        return (seen, days), []
    return nothing, [f"{name}: {said}" for name, said in zip(names, (seen, days), strict=True) if isinstance(said, str)]


def _in_form(text: str, columns: Columns) -> str:
    """Return a follow-up's date in ISO's form where it is written as visits are; any other text as it is."""
    visit = columns.visit_column
    try:
        return text if visit is None or visit.format is None else written(text, visit.format)
    except ValueError:
        return text


def _until(text: str, visit: str | None) -> float | str:
    """Return the days from a visit to the follow-up: a number of them, or its date; or what is wrong."""
    follow_up = _date(text)
    if follow_up is None:
        return read_days(text)
    baseline = _date(visit or "")
    if baseline is None:
        return f"a date needs a date in the column of `visit`, found {visit!r}"
    days = (follow_up - baseline).days
    return float(days) if days >= 0 else f"the follow-up {text} lies before its baseline {visit}"


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if "-" in text[1:] else None
    except ValueError:
        return None
