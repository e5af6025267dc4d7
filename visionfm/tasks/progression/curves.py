"""The curves of progression: Kaplan-Meier by predicted risk, and calibration at the horizons.

From predictions (rows of one run and target) to `svg.Panel`s. N samples, T times, G risk groups.
Invariant: risk groups are cut on validation risks, calibration groups on predicted probabilities: neither looks at what
became of the test samples; every panel names its n, and what has no estimate is left out and said.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from visionfm.figures.svg import FAINT, INK, PALETTE, Panel, label, legend_below
from visionfm.metrics.written import percent, short

NAMES = ("low", "middle", "high")
CURVE_POINTS = 200
FIFTH_FROM = 20  # samples in a calibration group at least
GROUPS_AT_MOST = 5


class Followed(NamedTuple):
    """Samples with known outcomes: risk_N, probabilities by_NE, time_N in days, event_N, subject_N."""

    risk_N: Any
    by_NE: Any
    time_N: Any
    event_N: Any
    subject_N: Any

    def take(self, keep_N: Any) -> "Followed":
        """Return some of the samples."""
        return Followed(*(values[keep_N] for values in self))


def joined(parts: Sequence[Followed]) -> Followed:
    """Return the samples of all parts."""
    import numpy as np

    return Followed(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def followed(rows: Any) -> Followed:
    """Return the arrays of predictions (a DataFrame of one target)."""
    import numpy as np

    known = rows[rows["truth"].notna() & rows["interval_days"].notna()].sort_values("sample_id", kind="stable")
    by_NE = np.array([list(scores) for scores in known["scores"]], dtype=np.float64)
    return Followed(
        known["value"].to_numpy(np.float64),
        by_NE,
        known["interval_days"].to_numpy(np.float64),
        known["truth"].to_numpy(np.float64) == 1,
        known["subject_id"].to_numpy(dtype=object),
    )


def risk_groups(validation: Followed, test: Followed) -> Any:
    """Return group_N (0 low, 1 middle, 2 high) of the test samples, by the thirds of the validation samples' risk."""
    import numpy as np

    cuts = np.quantile(validation.risk_N, [1 / 3, 2 / 3])
    return np.searchsorted(cuts, test.risk_N, side="left")


# --- Kaplan-Meier ---------------------------------------------------------------------------------------------------


def kaplan_meier(name: str, test: Followed, group_N: Any, times: Sequence[float], says: str) -> Panel:
    """Return the curves of all risk groups that have samples; `says` is the log-rank test in words."""
    import numpy as np

    from visionfm.metrics.kaplan_meier import curve

    end = min(float(test.time_N.max()), times[-1])
    at_T = np.linspace(0, end, CURVE_POINTS)
    ticks = [0.0, *[time for time in times if time <= end]][:: max(1, len(times) // 5)]
    parts = {group: test.take(group_N == group) for group in np.unique(group_N)}
    curves = {group: curve(part.time_N, part.event_N, part.subject_N, at_T) for group, part in parts.items()}
    legend = [
        f"{NAMES[group]} risk: {int(part.event_N.sum())} of {len(part.time_N)} progressed"
        for group, part in parts.items()
    ]
    count = f"n = {len(test.time_N)}, {int(test.event_N.sum())} events, {len(set(test.subject_N))} subjects"

    def draw(figure: Any) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        handles = []
        for group, found in curves.items():
            colour = PALETTE[(2, 0, 1)[group]]
            axes.fill_between(at_T, found.low_T, found.high_T, step="post", color=colour, alpha=0.15, linewidth=0)
            handles += axes.step(at_T, found.free_T, where="post", color=colour)
        axes.set(ylim=(-0.02, 1.02), title=f"Free of it by risk: {label(name, 20)}", ylabel="share free of it")
        for row, part in enumerate(parts.values()):
            for tick in ticks:
                text = f"{int((part.time_N >= tick).sum())}"
                below.text(tick, -row, text, ha="center", va="center", fontsize=8, color=INK)
        below.set(ylim=(0.6 - len(parts), 0.6), yticks=[-row for row in range(len(parts))], xticks=ticks)
        below.set_yticklabels([NAMES[group] for group in parts])
        below.set_xlabel(f"days; above: how many are still followed\n{count}")
        below.grid(False)
        below.tick_params(left=False)
        below.spines["left"].set_visible(False)
        legend_below(figure, handles, [*legend])

    last = [f"{text}, {percent(1 - found.free_T[-1])} by day {end:g}" if not np.isnan(found.free_T[-1]) else text
            for text, found in zip(legend, curves.values(), strict=True)]  # fmt: skip
    alt = f"Kaplan-Meier curves of {name} by predicted risk, {count}. " + "; ".join(last) + f". {says}"
    return Panel("kaplan_meier", f"Kaplan-Meier by risk: {name}", alt, draw, len(legend) + 1)


# --- calibration ----------------------------------------------------------------------------------------------------


class Observed(NamedTuple):
    """A group of similar predictions: the mean predicted and the observed share with the event, and its interval."""

    predicted: float
    observed: float
    low: float
    high: float


def observed_by(test: Followed, column: int, days: float) -> tuple[list[Observed], int]:
    """Return the groups with an estimate at a horizon, and how many have none; observed is 1 - Kaplan-Meier."""
    import numpy as np

    from visionfm.metrics.kaplan_meier import curve

    count = max(1, min(GROUPS_AT_MOST, len(test.time_N) // FIFTH_FROM))
    predicted_N = test.by_NE[:, column]
    order = np.argsort(predicted_N, kind="stable")
    found, without = [], 0
    for members in np.array_split(order, count):
        part = test.take(members)
        curved = curve(part.time_N, part.event_N, part.subject_N, np.array([days]))
        free, low, high = (float(values[0]) for values in (curved.free_T, curved.low_T, curved.high_T))
        if np.isnan(free):
            without += 1
        else:
            found.append(Observed(float(predicted_N[members].mean()), 1 - free, 1 - high, 1 - low))
    return found, without


def calibration(name: str, test: Followed, target: Mapping[str, Any]) -> Panel | None:
    """Return predicted against observed at every horizon; None where follow-up reaches none of them."""
    horizons = [(days, target["intervals"].index(days)) for days in target["horizons"]]
    found = {days: observed_by(test, column, days) for days, column in horizons}
    legend = []
    for days, (groups, without) in found.items():
        left_out = f", {without} without follow-up" if without else ""
        legend.append(f"by {days:g} days: {len(groups)} groups{left_out}")
    if not any(groups for groups, _ in found.values()):
        return None

    def draw(figure: Any) -> None:
        import numpy as np

        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        handles = []
        for index, (groups, _) in enumerate(found.values()):
            x, y, low, high = np.array(groups, dtype=np.float64).reshape(-1, 4).T
            colour = PALETTE[index % len(PALETTE)]
            axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.7)
            handles += axes.plot(x, y, marker="o", markersize=4, linewidth=1.4, color=colour)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"Calibration: {label(name, 22)}")
        axes.set_xlabel(f"predicted probability (n = {len(test.time_N)})")
        axes.set_ylabel("observed (1 - Kaplan-Meier)")
        legend_below(figure, handles, legend)

    alt = f"Calibration of {name}, {len(test.time_N)} samples in groups of similar predictions. " + "; ".join(
        f"by {days:g} days: "
        + ", ".join(f"predicted {short(group.predicted)}, observed {short(group.observed)}" for group in groups)
        for days, (groups, _) in found.items()
    )
    return Panel("survival_calibration", f"Calibration at the horizons: {name}", alt, draw, len(legend))
