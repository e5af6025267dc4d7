"""How values are written for people: three decimals or three digits, a dash for what is not there."""

import math
from typing import Any

from visionfm.metrics.catalogue import METRICS

MINUS = "\u2212"
NO_VALUE = "\u2013"


def missing(value: Any) -> bool:
    """Return whether a cell of a table holds nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value != value


def number(value: float, metric: str = "") -> str:
    """Return a value with three decimals (bounded metrics) or three significant digits."""
    if metric in METRICS and METRICS[metric].bounded:
        text = f"{value:.3f}"
    elif value == 0:
        text = "0"
    else:
        decimals = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(decimals, 8)}f}"
    return text.replace("-", MINUS)


def interval(low: Any, high: Any, metric: str = "") -> str:
    """Return `low to high`; empty where there is no interval."""
    return "" if missing(low) or missing(high) else f"{number(low, metric)} to {number(high, metric)}"


def text_of(value: Any) -> str:
    """Return a cell of a text column; missing is empty."""
    return "" if missing(value) else str(value)
