"""How values are written for people: three decimals or three digits, a dash for what is not there.

Invariant: rounding makes no certainty: `0.000 (0.000 to 0.000)` and `100%` stand for none and all alone.
"""

import math
from typing import Any

from visionfm.metrics.catalogue import METRICS

MINUS = "\u2212"
NO_VALUE = "\u2013"


def missing(value: Any) -> bool:
    """Return whether a cell of a table holds nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value != value


def number(value: float, metric: str = "") -> str:
    """Return a value with three decimals (bounded metrics) or three significant digits.

    Nothing is rounded to certainty: what is not 0 or 1 gets as many decimals as tell it from them (at most eight).
    """
    if missing(value):
        return NO_VALUE
    if math.isinf(value):
        return "infinite" if value > 0 else f"{MINUS}infinite"
    if abs(value - round(value)) < 1e-8:
        value = float(round(value)) + 0.0  # rounding of the arithmetic; and no minus zero
    if metric in METRICS and METRICS[metric].bounded:
        told = (decimals for decimals in range(3, 8) if value.is_integer() or not _certain(value, decimals))
        text = f"{value:.{next(told, 8)}f}"
    elif value == 0:
        text = "0"
    else:
        decimals = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(decimals, 8)}f}"
    return text.replace("-", MINUS)


def short(share: float) -> str:
    """Return a share with the two decimals that a figure has room for; 0.00 and 1.00 only where it is none and all."""
    if _certain(share, 2) and share not in (0, 1):
        return "<0.01" if share < 0.5 else ">0.99"
    return f"{share:.2f}"


def _certain(value: float, decimals: int) -> bool:
    """Return whether so many decimals make a whole number of it."""
    return float(f"{value:.{decimals}f}").is_integer()


def interval(low: Any, high: Any, metric: str = "") -> str:
    """Return `low to high`; empty where there is no interval."""
    return "" if missing(low) or missing(high) else f"{number(low, metric)} to {number(high, metric)}"


def at_point(metric: str, point: str) -> str:
    """Return at which operating point a metric stands, to follow its name: ` at the threshold chosen on validation`."""
    from visionfm.metrics.binary import HALF, VALIDATION
    from visionfm.metrics.calibration import BEFORE
    from visionfm.metrics.decisions import CONFORMAL

    if not point:
        return ""
    if point == BEFORE:
        return f" {point}"
    if metric in CONFORMAL:
        return f", {point}"
    if metric == "success_rate":
        return f" within {point}"
    if point == HALF:
        return f" at {point}"
    return " at the threshold chosen on validation" + ("" if point == VALIDATION else f" for {point}")


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
