"""What the figures of landmarks show: how far points lie from the truth, and on which side of it.

From predictions (rows of one split and run) to `svg.Panel`s. Invariant: every panel names its n.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionfm.figures.svg import FAINT, PALETTE, Panel, colour, legend_below
from visionfm.tasks.landmarks.cases import sections
from visionfm.tasks.landmarks.score import radial_errors
from visionfm.tasks.results import TaskModel, no_sentences, no_words, recipe

__all__ = ["panels", "sections", "sentences", "trained_by"]
trained_by, sentences, in_words = recipe, no_sentences, no_words


def panels(result: TaskModel) -> list[Panel]:
    """Return the figures of all points together."""
    return points(result.tested(), list(result.targets), result.block.evaluate_keys()["success_px"])


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
