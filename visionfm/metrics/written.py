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


def p_value(p: float) -> str:
    """Return a p value with three decimals; below 0.001 it says so, and never 0 or 1."""
    return "<0.001" if p < 0.001 else ">0.999" if p > 0.999 else f"{p:.3f}"


def percent(share: float) -> str:
    """Return a share as a whole percent; 0% and 100% only where it is none and all: 299 of 300 is `>99%`."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def text_of(value: Any) -> str:
    """Return a cell of a text column; missing is empty."""
    return "" if missing(value) else str(value)
