"""What the figures of a segmentation show: the metrics of each image, the second observer's beside ours.

From image_metrics.parquet (a DataFrame) to `svg.Panel`s. Invariant: every panel names its n.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visionfm.figures.svg import INK, PALETTE, Panel, label, legend_below
from visionfm.metrics.catalogue import METRICS, metric_name
from visionfm.metrics.written import interval, number
from visionfm.tasks.results import TaskModel, no_sentences, no_words, recipe
from visionfm.tasks.runs import OBSERVER
from visionfm.tasks.segmentation.cases import sections

__all__ = ["panels", "sections", "sentences", "trained_by"]

SHOWN = ("dice", "hd95", "cldice", "auroc")
trained_by, sentences, in_words = recipe, no_sentences, no_words


def panels(result: TaskModel) -> list[Panel]:
    """Return the figures of the one target."""
    ((name, target),) = result.targets.items()
    return masks(result.image_metrics, result.runs[0], name, target["classes"])


def values_by_class(rows: Any, metric: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return class -> the values of a metric over images, where it exists."""
    known = rows[(rows["metric"] == metric) & rows["value"].notna()]
    return {name: known[known["class"] == name]["value"].to_numpy(np.float64) for name in classes}


def masks(measured: Any, run: str, name: str, classes: Sequence[str]) -> list[Panel]:
    """Return a distribution over test images for each metric that has values; `measured` has all runs."""
    test = measured[measured["split"] == "test"]
    panels = []
    for metric in SHOWN:
        ours, theirs = (values_by_class(test[test["run"] == one], metric, classes[1:]) for one in (run, OBSERVER))
        if any(len(values) for values in ours.values()):
            panels.append(_distribution(name, metric, ours, theirs))
    return panels


def _distribution(name: str, metric: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Panel:
    human = any(len(values) for values in theirs.values())
    unit = f" ({METRICS[metric].unit})" if METRICS[metric].unit else ""
    title = f"{metric_name(metric)} by image: {label(name, 18)}"
    texts = [
        f"{text}: n = {len(values)}, median {number(np.median(values), metric)}, "
        f"{interval(values.min(), values.max(), metric)}"
        for text, values in ours.items()
        if len(values)
    ]
    alt = f"{metric_name(metric)}{unit} of each test image, by class. " + "; ".join(texts)
    alt += "; the second observer's beside ours." if human else "."

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles: list[Any] = []
        groups = [(ours, PALETTE[0], -0.16 if human else 0.0)] + ([(theirs, PALETTE[1], 0.16)] if human else [])
        for values_of, ink, offset in groups:
            for place, values in enumerate(values_of.values()):
                if not len(values):
                    continue
                spread = np.linspace(-0.09, 0.09, len(values)) if len(values) > 1 else np.zeros(1)
                drawn = axes.scatter(place + offset + spread, np.sort(values), s=16, color=ink, alpha=0.7, linewidths=0)
                middle = float(np.median(values))
                axes.plot([place + offset - 0.13, place + offset + 0.13], [middle, middle], color=INK, linewidth=1.6)
            handles.append(drawn)
        axes.set_xticks(range(len(ours)), [f"{label(text, 12)}\nn = {len(v)}" for text, v in ours.items()])
        axes.set_xlim(-0.5, len(ours) - 0.5)
        axes.set(title=title, ylabel=metric_name(metric) + unit)
        if METRICS[metric].bounded:
            axes.set_ylim(min(0.0, *axes.get_ylim()), 1.02)
        if human:
            legend_below(figure, handles, ["ours", "second observer, against the first"])

    return Panel("distribution", title, alt, draw, 2 if human else 0)
