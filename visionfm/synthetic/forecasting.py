"""Eyes whose hazard of progression is known: two visits, a time to progression, and a follow-up that may end before it.

The hazard grows with two signs that the baseline shows, and again where one of them is new since the
visit a year before: what only the earlier image tells. Progression is Weibull, the end of follow-up uniform.
Invariant: an outcome depends on (seed, population, person, eye) only, and is the same in all modalities.
"""

import csv
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from visionfm.synthetic.findings import DISEASES, Findings

WORSE, ALSO = "Cataract", "Retinal Detachment"  # the signs that change an image most: some hundred eyes tell them
LOG_HAZARD = {"worse": 3.0, "also": 2.5, "new": 1.5}  # natural logarithms of hazard ratios
CHANCE_NEW = 0.5  # that the earlier visit did not show the sign yet
SCALE_DAYS, SHAPE = 10000.0, 1.3  # of the Weibull time of an eye with neither sign
FOLLOW_UP_DAYS = (400, 2400)
ASKED_DAYS = (180, 2200)  # the intervals of the published lines, which ask for the state on one day
VISIT_DAYS = 365
FIRST_DAY = date(2015, 1, 1)
COLUMNS = ("path", "subject", "eye", "visit", "split", "interval", "event")


class Outcome(NamedTuple):
    """What becomes of an eye after its baseline, in days; noise has no hazard and no time of progression."""

    log_hazard: float | None
    progression: int | None
    interval: int
    event: int
    asked: int
    label: int  # whether it has progressed by `asked`
    baseline: date


class Visit(NamedTuple):
    """What one image of an eye shows, how many days before the baseline."""

    name: str
    findings: Findings
    days_before: int


def draw_outcome(findings: Findings, entropy: Sequence[int]) -> tuple[Outcome, list[Visit]]:
    """Return an eye's outcome and its visits, the baseline last; `findings` are those of the baseline."""
    rng = np.random.default_rng([*entropy, zlib.crc32(b"outcome")])
    is_new = rng.random() < CHANCE_NEW and findings.has(WORSE)
    earlier = _without(findings, WORSE) if is_new else findings
    hazard = LOG_HAZARD["worse"] * findings.has(WORSE) + LOG_HAZARD["also"] * findings.has(ALSO)
    hazard += LOG_HAZARD["new"] * is_new
    days = math.ceil(SCALE_DAYS * (rng.exponential() * math.exp(-hazard)) ** (1 / SHAPE)) or 1
    followed, asked = int(rng.integers(*FOLLOW_UP_DAYS)), int(rng.integers(*ASKED_DAYS))
    outcome = Outcome(
        log_hazard=hazard,
        progression=days,
        interval=min(days, followed),
        event=int(days <= followed),
        asked=asked,
        label=int(days <= asked),
        baseline=FIRST_DAY + timedelta(days=VISIT_DAYS + int(rng.integers(VISIT_DAYS))),
    )
    return outcome, [Visit("v1", earlier, VISIT_DAYS), Visit("v2", findings, 0)]


def _without(findings: Findings, disease: str) -> Findings:
    diseases = list(findings.diseases)
    diseases[DISEASES.index(disease)] = 0
    diseases[0] = int(not any(diseases[1:]))
    return replace(findings, diseases=tuple(diseases))


def noise_outcome(rng: np.random.Generator) -> Outcome:
    """Return an outcome that depends on nothing."""
    days, event = int(rng.integers(*ASKED_DAYS)), int(rng.integers(2))
    return Outcome(None, None, days, event, days, event, FIRST_DAY)


def label_line(path: str, outcome: Outcome) -> str:
    """Return a line of the published label file; `path` is relative to it."""
    return f"{path}, {outcome.label}, {outcome.asked}"


def table(rows: Sequence[tuple[str, str, str, str, Outcome, int]]) -> str:
    """Return visits.csv from (path, subject, eye, split, outcome, days before the baseline): a row per image.

    Event and interval stand at the baseline; rows of earlier visits have none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, subject, eye, split, outcome, days_before in rows:
        known = (outcome.interval, outcome.event) if days_before == 0 else ("", "")
        writer.writerow([path, subject, eye, outcome.baseline - timedelta(days=days_before), split, *known])
    return text.getvalue()
