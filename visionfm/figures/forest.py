"""The forest plot of differences: a row per comparison, its interval, and the line at no difference."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from visionfm.figures.svg import FAINT, INK, PALETTE, Panel, label

ROW_IN, MARGIN_IN = 0.42, 1.15  # height of a row; of title and axis together
LONGEST = 58  # characters of a row's name


class Effect(NamedTuple):
    """One difference with its 95 % interval, None where there is none; `clear`: the test tells the two apart."""

    name: str
    difference: float
    low: float | None
    high: float | None
    clear: bool


def forest(effects: Sequence[Effect], title: str, axis: str) -> Panel:
    """Return the panel; filled points are told apart, open ones are not, grey ones have no interval."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        for place, one in enumerate(effects):
            shade = PALETTE[0] if one.low is not None else FAINT
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [-place, -place], color=shade, linewidth=2.2, solid_capstyle="butt")
            fill = shade if one.clear else "white"
            axes.plot(one.difference, -place, "o", color=shade, markerfacecolor=fill, markersize=6)
            named = axes.text(
                0, 0.3 - place, label(one.name, LONGEST), transform=axes.get_yaxis_transform(), fontsize=9
            )
            named.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # over the line at 0
        widest = max(
            abs(limit) for one in effects for limit in (one.difference, one.low, one.high) if limit is not None
        )
        axes.set(title=title, xlabel=axis, yticks=[], ylim=(0.6 - len(effects), 0.75))
        axes.set_xlim(*(np.array([-1.08, 1.08]) * (widest or 1.0)))
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)

    alt = f"{title}. {axis}. " + "; ".join(_said(one) for one in effects)
    return Panel("forest", title, alt, draw, body_in=MARGIN_IN + ROW_IN * len(effects))


def _said(one: Effect) -> str:
    if one.low is None or one.high is None:
        return f"{one.name}: {one.difference:.3g}, no interval"
    return f"{one.name}: {one.difference:.3g} ({one.low:.3g} to {one.high:.3g})"
