"""What the figures of a regression show: predicted against true, Bland-Altman.

Pure functions from predictions (rows of one split, run and subset) to `svg.Panel`s. N samples.
Invariant: every panel names its n, and how many points are drawn where they are too many.
"""

from collections.abc import Mapping
from typing import Any

from visionfm.figures.svg import FAINT, PALETTE, Panel, label
from visionfm.metrics.evidence import Interval
from visionfm.metrics.written import number, text_of
from visionfm.tasks.out_of_fold import wider
from visionfm.tasks.results import TaskModel, no_sentences, recipe, shown_run
from visionfm.tasks.vectors import relevance

SCATTER_POINTS = 1500
sections, trained_by, sentences = relevance.sections, recipe, no_sentences


def in_words(result: TaskModel, target: str) -> list[str]:
    """Return how far answers are off, in the target's unit."""
    rows = shown_run(result)
    rows = rows[(rows["target"] == target) & (rows["metric"] == "mae") & rows["value"].notna()]
    return [
        f"answers are off by {number(float(row['value']), 'mae')} {text_of(row['unit'])}".rstrip() + " on average."
        for row in rows.to_dict("records")
    ]


def panels(result: TaskModel) -> list[Panel]:
    """Return the figures of each target."""
    rows = result.tested()
    return [
        panel
        for name, target in result.targets.items()
        for panel in regression(rows[rows["target"] == name], name, target)
    ]


def regression(rows: Any, name: str, target: Mapping[str, Any]) -> list[Panel]:
    """Return predicted-against-true and Bland-Altman panels of one value; none where no truth is known."""
    import numpy as np

    from visionfm.metrics.limits_of_agreement import limits_of_agreement
    from visionfm.metrics.subjects import Subjects

    known = rows[rows["truth"].notna() & rows["value"].notna()]
    if not len(known):
        return []
    truth_N, said_N = known["truth"].to_numpy(np.float64), known["value"].to_numpy(np.float64)
    unit = f" ({label(target['unit'], 12)})" if target.get("unit") else ""
    keep = np.unique(np.linspace(0, len(truth_N) - 1, min(len(truth_N), SCATTER_POINTS)).round().astype(int))
    count = f"n = {len(truth_N)}" + (f", {len(keep)} drawn" if len(keep) < len(truth_N) else "")
    difference_N, middle_N = said_N - truth_N, (said_N + truth_N) / 2
    people = Subjects.of(known["subject_id"].to_numpy(dtype=object))
    agree = limits_of_agreement(difference_N, people, wider(known))
    bias, low, high = (_limit(found) for found in agree)
    dots = {"s": 14, "color": PALETTE[0], "alpha": 0.55, "linewidths": 0}

    def agreement(figure: Any) -> None:
        axes = figure.subplots()
        axes.scatter(truth_N[keep], said_N[keep], **dots)
        ends = [min(truth_N.min(), said_N.min()), max(truth_N.max(), said_N.max())]
        axes.axline((ends[0], ends[0]), slope=1, color=FAINT, linestyle=":", linewidth=1.2)
        axes.set(title=f"Predicted, true: {label(name, 22)}", xlabel=f"true{unit}, {count}", ylabel=f"predicted{unit}")

    def bland_altman(figure: Any) -> None:
        axes = figure.subplots()
        axes.scatter(middle_N[keep], difference_N[keep], **dots)
        axes.axhline(0, color=FAINT, linestyle=":", linewidth=1.2)
        axes.axhline(agree.bias.value, color=PALETTE[1], linewidth=1.4)
        for found in (agree.low, agree.high):
            axes.axhline(found.value, color=PALETTE[1], linestyle="--", linewidth=1.2)
        for found in agree:
            if found.low is not None and found.high is not None:
                axes.axhspan(found.low, found.high, color=PALETTE[1], alpha=0.12, linewidth=0)
        axes.set(title=f"Bland-Altman: {label(name, 22)}", xlabel=f"mean of predicted and true{unit}, {count}")
        axes.set_ylabel(f"predicted - true{unit}")
        figure.legend(
            axes.get_lines()[1:3],
            [f"mean difference {bias}", f"\u00b1 1.96 SD: {low} and {high}"],
            loc="outside lower left",
            borderaxespad=0.2,
        )

    agreeing = f"Predicted against true {name}{unit}, {count}; a dotted line where both are equal."
    differing = (
        f"Difference of predicted and true {name}{unit} against their mean, {count}. Mean difference {bias}; "
        f"95 % of differences lie about between {low} and {high}. In brackets, and as bands: 95 % intervals."
    )
    return [
        Panel("agreement", f"Predicted and true: {name}", agreeing, agreement, 2),
        Panel("bland_altman", f"Bland-Altman: {name}", differing, bland_altman, 2),
    ]


def _limit(found: Interval) -> str:
    """Return a value with its interval, where there is one."""
    if found.low is None or found.high is None:
        return f"{found.value:.3g}"
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"
