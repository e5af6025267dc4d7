"""What the figures of a classification show: ROC and precision-recall curves, confusion and calibration.

Pure functions from predictions (rows of one split, run and subset) to `svg.Panel`s. N samples, K classes.
Invariant: a class without both positives and negatives gets no curve, and the legend says so; every panel names its n.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from visionfm.figures.svg import FAINT, INK, Panel, colour, label, legend_below
from visionfm.metrics.written import missing, percent, text_of
from visionfm.tasks.results import TaskModel, by_dataset, no_sections, recipe, weighted

sections, trained_by, sentences = no_sections, recipe, weighted

CURVE_POINTS = 300  # more are not seen and make the page heavy
BINS = 10
LINES_AT_MOST = 5  # calibration: beyond, all classes together


def panels(result: TaskModel) -> list[Panel]:
    """Return the figures of each target."""
    rows = result.tested()
    return [
        panel
        for name, target in result.targets.items()
        for panel in classification(rows[rows["target"] == name], name, target, areas(result, name, result.runs[0]))
    ]


def areas(result: TaskModel, target: str, run: str) -> dict[tuple[str, str], str]:
    """Return `(metric, class) -> "0.91 (0.85 to 0.95)"` of a target's test results on one dataset."""
    rows = by_dataset(result.metrics)
    rows = rows[(rows["target"] == target) & (rows["run"] == run) & (rows["split"] == "test")]
    rows = rows[rows["metric"].isin(["auroc", "average_precision"]) & rows["value"].notna()]
    names = result.targets[target]["classes"]
    found = {}
    for row in rows.to_dict("records"):
        name = text_of(row["class"])
        if result.targets[target]["type"] == "binary":
            name = names[1] if len(names) == 2 else "positive"
        value, low, high = row["value"], row["ci_low"], row["ci_high"]
        found[row["metric"], name] = f"{value:.2f}" + ("" if missing(low) else f" ({low:.2f}-{high:.2f})")
    return found


class Scored(NamedTuple):
    """One class's answers: truth_N in {0, 1}, score_N in [0, 1]."""

    name: str
    truth_N: Any
    score_N: Any

    @property
    def drawable(self) -> bool:
        """Return whether there are positives and negatives."""
        return 0 < int(self.truth_N.sum()) < len(self.truth_N)


def scored_classes(rows: Any, target: Mapping[str, Any]) -> list[Scored]:
    """Return each class's truth and score from the predictions of one classification target (a DataFrame)."""
    import numpy as np

    known = rows[rows["truth"].notna() & rows["scores"].notna()]
    names = [str(name) for name in target["classes"]]
    if target["type"] == "multilabel":
        found = []
        for name in names:
            of_class = known[known["class"] == name]
            scores = np.array([score[0] for score in of_class["scores"]], dtype=np.float64)
            found.append(Scored(name, of_class["truth"].to_numpy(np.float64) > 0.5, scores))
        return found
    truth_N = known["truth"].to_numpy(np.int64)
    if target["type"] == "binary":
        positive = names[1] if len(names) == 2 else "positive"
        return [Scored(positive, truth_N == 1, np.array([score[0] for score in known["scores"]], dtype=np.float64))]
    scores_NK = np.array([list(score) for score in known["scores"]], dtype=np.float64).reshape(len(known), len(names))
    return [Scored(name, truth_N == index, scores_NK[:, index]) for index, name in enumerate(names)]


def classification(
    rows: Any, name: str, target: Mapping[str, Any], areas: Mapping[tuple[str, str], str] | None = None
) -> list[Panel]:
    """Return ROC, precision-recall, confusion and calibration panels of one target; none where no truth is known.

    `areas` maps ("auroc" | "average_precision", class) to the text of its value and interval, for the legends.
    """
    classes = scored_classes(rows, target)
    if not any(len(scored.truth_N) for scored in classes):
        return []
    panels = [
        curves("roc", name, classes, areas or {}),
        curves("precision_recall", name, classes, areas or {}),
        _confusion_by_class(name, classes) if target["type"] == "multilabel" else _confusion(rows, name, target),
        calibration(name, classes),
    ]
    return panels


# --- curves ---------------------------------------------------------------------------------------------------------


def _thin(*arrays: Any) -> list[Any]:
    import numpy as np

    keep = np.unique(np.linspace(0, len(arrays[0]) - 1, min(CURVE_POINTS, len(arrays[0]))).round().astype(int))
    return [array[keep] for array in arrays]


def curves(kind: str, target: str, classes: Sequence[Scored], areas: Mapping[tuple[str, str], str]) -> Panel:
    """Return a panel of `kind` roc or precision_recall, a line per class."""
    roc = kind == "roc"
    metric = "auroc" if roc else "average_precision"
    legend = []
    for scored in classes:
        counts = f"{int(scored.truth_N.sum())} of {len(scored.truth_N)}"
        area = areas.get((metric, scored.name), "")
        legend.append(
            f"{label(scored.name)}: {area + ', ' if area else ''}{counts if scored.drawable else counts + ', no curve'}"
        )

    def draw(figure: Any) -> None:
        from sklearn.metrics import precision_recall_curve, roc_curve

        axes = figure.subplots()
        handles = []
        for index, scored in enumerate(classes):
            x, y = [], []
            if scored.drawable and roc:
                x, y = _thin(*roc_curve(scored.truth_N, scored.score_N)[:2])
            elif scored.drawable:
                y, x = _thin(*precision_recall_curve(scored.truth_N, scored.score_N)[:2])
            handles += axes.plot(x, y, drawstyle="default" if roc else "steps-post", **colour(index))
            if not roc and scored.drawable and len(classes) == 1:
                axes.axhline(scored.truth_N.mean(), color=FAINT, linestyle=":", linewidth=1)
        if roc:
            axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            title=f"{'ROC' if roc else 'Precision, recall'}: {label(target, 22)}",
        )
        axes.set_xlabel("1 - specificity (false alarms)" if roc else "recall (sensitivity)")
        axes.set_ylabel("sensitivity (found)" if roc else "precision")
        legend_below(figure, handles, legend)

    words = "ROC curve" if roc else "Precision-recall curve"
    return Panel(
        kind, f"{words}: {target}", f"{words} of {target}, one line per class. " + "; ".join(legend), draw, len(legend)
    )


# --- confusion ------------------------------------------------------------------------------------------------------


def _confusion(rows: Any, name: str, target: Mapping[str, Any]) -> Panel:
    import numpy as np

    known = rows[rows["truth"].notna() & rows["scores"].notna()]
    binary = target["type"] == "binary"
    classes = [str(text) for text in target["classes"]] or ["negative", "positive"]
    truth_N = known["truth"].to_numpy(np.int64)
    said_N = np.array(
        [int(score[0] >= 0.5) if binary else int(np.argmax(score)) for score in known["scores"]], dtype=np.int64
    )
    counts_KK = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts_KK, (truth_N, said_N), 1)
    shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    rule = "positive from 0.5" if binary else "the most probable"
    title = f"Confusion: {label(name, 22)}"
    alt = f"Confusion matrix of {name} ({rule}, n = {len(known)}). " + "; ".join(
        f"true {classes[row]}: "
        + ", ".join(f"{counts_KK[row, column]} called {classes[column]}" for column in range(len(classes)))
        for row in range(len(classes))
    )
    return Panel(
        "confusion",
        title,
        alt,
        lambda figure: matrix(
            figure, title, counts_KK, shares_KK, classes, classes, f"predicted: {rule}\n(n = {len(known)})", "true"
        ),
    )


def _confusion_by_class(name: str, classes: Sequence[Scored]) -> Panel:
    import numpy as np

    columns = ["found", "missed", "false alarm", "rightly not"]
    counts_K4 = np.array(
        [
            [np.sum(t & (s >= 0.5)), np.sum(t & (s < 0.5)), np.sum(~t & (s >= 0.5)), np.sum(~t & (s < 0.5))]
            for _, t, s in classes
        ],
        dtype=np.int64,
    )
    totals_K4 = np.repeat(counts_K4.reshape(-1, 2, 2).sum(axis=2), 2, axis=1)
    title = f"Right and wrong: {label(name, 22)}"
    alt = f"Counts of {name} at probability 0.5. " + "; ".join(
        f"{scored.name}: " + ", ".join(f"{count} {column}" for count, column in zip(row, columns, strict=True))
        for scored, row in zip(classes, counts_K4.tolist(), strict=True)
    )
    rows = [scored.name for scored in classes]
    shares_K4 = counts_K4 / np.maximum(totals_K4, 1)
    return Panel(
        "confusion",
        title,
        alt,
        lambda figure: matrix(figure, title, counts_K4, shares_K4, rows, columns, "at probability 0.5", ""),
        max(0, len(rows) - 6),
    )


def matrix(
    figure: Any,
    title: str,
    counts: Any,
    shares: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    below: str,
    left: str,
) -> None:
    """Draw counts and their shares, true classes in `rows`, calls in `columns`."""
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    axes.grid(False)
    size = 9 if max(len(rows), len(columns)) <= 8 else 7
    with_share = len(rows) <= 6
    for row in range(len(rows)):
        for column in range(len(columns)):
            text = f"{counts[row, column]}" + (f"\n{percent(shares[row, column])}" if with_share else "")
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=size,
                color="white" if shares[row, column] > 0.6 else INK,
            )
    axes.set_xticks(range(len(columns)), [label(text, 14) for text in columns], rotation=0 if len(columns) <= 4 else 40)
    if len(columns) > 4:
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
            tick.set_rotation_mode("anchor")
    axes.set_yticks(range(len(rows)), [label(text, 18) for text in rows])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set(title=title, xlabel=below, ylabel=left)


# --- calibration ----------------------------------------------------------------------------------------------------


def reliability(truth_N: Any, score_N: Any) -> tuple[Any, Any, Any]:
    """Return mean score, observed fraction and count of each of ten equal bins of the score that are not empty."""
    import numpy as np

    place_N = np.clip((score_N * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(place_N, minlength=BINS)
    filled = counts > 0
    mean = np.bincount(place_N, weights=score_N, minlength=BINS)[filled] / counts[filled]
    observed = np.bincount(place_N, weights=truth_N.astype(float), minlength=BINS)[filled] / counts[filled]
    return mean, observed, counts


def calibration(name: str, classes: Sequence[Scored]) -> Panel:
    """Return a panel of observed fractions by predicted probability, a line per class."""
    import numpy as np

    answered = [scored for scored in classes if len(scored.truth_N)]
    truth_M = np.concatenate([scored.truth_N for scored in answered])
    score_M = np.concatenate([scored.score_N for scored in answered])
    lines = answered if len(answered) <= LINES_AT_MOST else [Scored("all classes together", truth_M, score_M)]
    title = f"Calibration: {label(name, 22)}"
    legend = [label(scored.name) for scored in lines]

    def draw(figure: Any) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        handles = []
        for index, scored in enumerate(lines):
            mean, observed, _ = reliability(scored.truth_N, scored.score_N)
            handles += axes.plot(mean, observed, marker="o", markersize=4, linewidth=1.4, **{**colour(index)})
        counts = reliability(truth_M, score_M)[2]
        below.bar((np.arange(BINS) + 0.5) / BINS, counts, width=0.9 / BINS, color="#b8c2cc")
        for place, count in enumerate(counts):
            below.text((place + 0.5) / BINS, count, f"{count}", ha="center", va="bottom", fontsize=7.5, color=INK)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title, ylabel="observed fraction")
        below.set(ylim=(0, max(1, counts.max()) * 1.3), yticks=[], xlabel="predicted probability", ylabel="answers")
        below.grid(False)
        legend_below(figure, handles, legend)

    mean, observed, _ = reliability(truth_M, score_M)
    alt = (
        f"Reliability curve of {name}, {len(truth_M)} answers of all classes in ten bins of predicted probability. "
        + "; ".join(
            f"predicted {expected:.2f}, observed {seen:.2f}" for expected, seen in zip(mean, observed, strict=True)
        )
    )
    return Panel("calibration", title, alt, draw, len(legend))
