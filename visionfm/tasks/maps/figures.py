"""What the figures of dense tasks show: metrics by image, errors of points; pure functions to `plots.Panel`s.

N images. Invariant: every panel names its n.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visionfm.figures.svg import FAINT, INK, PALETTE, Panel, colour, label
from visionfm.report.words import metric_name
from visionfm.tasks.classification.figures import legend_below
from visionfm.tasks.maps.score import radial_errors

SHOWN = ("dice", "hd95", "cldice", "auroc")


def values_by_class(cells: Any, metric: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return class -> values of a metric over images, from the `metrics` (or `observer2`) column."""
    found: dict[str, list[float]] = {name: [] for name in classes}
    for rows in cells.dropna():
        for row in rows:
            if row["metric"] == metric and row["class"] in found and row["value"] is not None:
                found[row["class"]].append(row["value"])
    arrays = {name: np.array(values, np.float64) for name, values in found.items()}
    return {name: values[~np.isnan(values)] for name, values in arrays.items()}


def masks(rows: Any, name: str, classes: Sequence[str]) -> list[Panel]:
    """Return a distribution over test images for each metric that has values, the second observer's beside ours."""
    panels = []
    for metric in SHOWN:
        ours = values_by_class(rows["metrics"], metric, classes[1:])
        theirs = values_by_class(rows["observer2"], metric, classes[1:])
        if any(len(values) for values in ours.values()):
            panels.append(_distribution(name, metric, ours, theirs))
    return panels


def _distribution(name: str, metric: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Panel:
    human = any(len(values) for values in theirs.values())
    unit = " (px)" if metric == "hd95" else ""
    title = f"{metric_name(metric)} by image: {label(name, 18)}"
    texts = [
        f"{text}: n = {len(values)}, median {np.median(values):.3g}, {values.min():.3g} to {values.max():.3g}"
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
        if metric != "hd95":
            axes.set_ylim(min(0.0, *axes.get_ylim()), 1.02)
        if human:
            legend_below(figure, handles, ["ours", "second observer, against the first"])

    return Panel("distribution", title, alt, draw, 2 if human else 0)


def points(rows: Any, names: Sequence[str], within_px: Sequence[float]) -> list[Panel]:
    """Return how often points lie within a distance, and where predictions lie around the truth."""
    by_point = {name: rows[rows["target"] == name] for name in names}
    errors = {name: radial_errors(of_point) for name, of_point in by_point.items()}
    known = {name: np.sort(values[~np.isnan(values)]) for name, values in errors.items()}
    known = {name: values for name, values in known.items() if len(values)}
    if not known:
        return []
    legend = [f"{name}: n = {len(values)}, median {np.median(values):.3g} px" for name, values in known.items()]
    furthest = max(float(np.quantile(values, 0.98)) for values in known.values())
    reach = max(furthest, *within_px, 1.0) if within_px else max(furthest, 1.0)

    def cumulative(figure: Any) -> None:
        axes = figure.subplots()
        handles: list[Any] = []
        for index, values in enumerate(known.values()):
            x = np.concatenate([[0.0], values])
            y = np.arange(len(values) + 1) / len(values)
            handles += axes.plot(x, y, drawstyle="steps-post", **colour(index))
        for limit in within_px:
            axes.axvline(limit, color=FAINT, linestyle=":", linewidth=1)
        axes.set(xlim=(0, 1.05 * reach), ylim=(0, 1.02), title="Error of points")
        axes.set(xlabel="distance to the truth (px of the image)", ylabel="share of images within it")
        legend_below(figure, handles, legend)

    def around(figure: Any) -> None:
        axes = figure.subplots()
        handles = []
        for index, name in enumerate(known):
            of_point = by_point[name]
            handles.append(axes.scatter(
                of_point["x"] - of_point["truth_x"], of_point["y"] - of_point["truth_y"],
                s=16, alpha=0.7, linewidths=0, color=PALETTE[index % len(PALETTE)],
            ))  # fmt: skip
        turn = np.linspace(0, 2 * np.pi, 90)
        for limit in within_px:
            axes.plot(limit * np.cos(turn), limit * np.sin(turn), color=FAINT, linestyle=":", linewidth=1)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set(xlim=(-1.05 * reach, 1.05 * reach), ylim=(1.05 * reach, -1.05 * reach), aspect="equal")
        axes.set(title="Predicted around true", xlabel="to the right (px)", ylabel="down (px)")
        legend_below(figure, handles, list(known))

    said = "; ".join(legend)
    within = f"Share of test images within a distance of the truth. {said}."
    apart = f"Predicted minus true places on test images. {said}."
    return [
        Panel("error", "Error of points", within, cumulative, len(known)),
        Panel("offset", "Predicted around true", apart, around, len(known)),
    ]
