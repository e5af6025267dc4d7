"""What the figures of a classification show: ROC and precision-recall curves, confusion and calibration.

Pure functions from predictions (rows of one split, run and subset) to `svg.Panel`s. N samples, K classes.
Invariant: a class without both positives and negatives gets no curve, and the legend says so; every panel names its n.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from visionfm.figures.svg import FAINT, INK, Panel, colour, label, legend_below
from visionfm.metrics.written import missing, number, percent, short, text_of
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.out_of_fold import wider
from visionfm.tasks.results import (
    TaskModel,
    by_dataset,
    calibrated,
    found_and_alarms,
    recipe,
    shown_run,
    weighted,
)
from visionfm.tasks.vectors import relevance

sections, trained_by = relevance.sections, recipe

CURVE_POINTS = 300  # more are not seen and make the page heavy
BINS = 10
LINES_AT_MOST = 5  # calibration: beyond, all classes together


def sentences(task: TaskBlock) -> list[str]:
    """Return what was done to probabilities."""
    return weighted(task) + calibrated(task)


def in_words(result: TaskModel, target: str) -> list[str]:
    """Return how many cases are found, with how many false alarms."""
    spec, rows = result.targets[target], shown_run(result)
    rows = rows[(rows["target"] == target) & ~rows["class"].map(text_of).isin(["macro"])]
    unit = result.block.unit
    if spec["type"] == "binary":
        return found_and_alarms(result, rows, f"{unit}s that are {text_of([*spec['classes'], 'positive'][:2][-1])!r}")
    if spec["type"] == "multilabel":
        return found_and_alarms(result, rows, f"findings ({len(spec['classes'])} asked of each {unit})")
    right = rows[rows["metric"] == "accuracy"]
    return [f"the most probable class is right for {percent(float(row['value']))} of {int(row['n']):,} {unit}s."
            for row in right.to_dict("records")[:1]]  # fmt: skip


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
        found[row["metric"], name] = short(value) + ("" if missing(low) else f" ({short(low)} to {short(high)})")
    return found


class Scored(NamedTuple):
    """One class's answers: truth_N in {0, 1}, score_N in [0, 1], and whose they are."""

    name: str
    truth_N: Any
    score_N: Any
    subject_N: Any
    wider: float = 1.0  # by how much errors are larger of answers of several folds

    @property
    def drawable(self) -> bool:
        """Return whether there are positives and negatives."""
        return 0 < int(self.truth_N.sum()) < len(self.truth_N)


def questions(rows: Any, target: Mapping[str, Any]) -> list[Scored]:
    """Return each class as a yes-or-no question answered by probabilities, from the predictions of one target."""
    import numpy as np

    known = rows[rows["truth"].notna() & rows["scores"].notna()]
    names = [str(name) for name in target["classes"]]
    if target["type"] == "multilabel":
        found = []
        for name in names:
            of_class = known[known["class"] == name]
            scores = np.array([score[0] for score in of_class["scores"]], dtype=np.float64)
            people, larger = of_class["subject_id"].to_numpy(object), wider(of_class)
            found.append(Scored(name, of_class["truth"].to_numpy(np.float64) > 0.5, scores, people, larger))
        return found
    larger = wider(known)
    truth_N, people = known["truth"].to_numpy(np.int64), known["subject_id"].to_numpy(object)
    if target["type"] == "binary":
        positive = names[1] if len(names) == 2 else "positive"
        scores = np.array([score[0] for score in known["scores"]], dtype=np.float64)
        return [Scored(positive, truth_N == 1, scores, people, larger)]
    scores_NK = np.array([list(score) for score in known["scores"]], dtype=np.float64).reshape(len(known), len(names))
    return [Scored(name, truth_N == index, scores_NK[:, index], people, larger) for index, name in enumerate(names)]


def classification(
    rows: Any, name: str, target: Mapping[str, Any], areas: Mapping[tuple[str, str], str] | None = None
) -> list[Panel]:
    """Return ROC, precision-recall, confusion and calibration panels of one target; none where no truth is known.

    `areas` maps ("auroc" | "average_precision", class) to the text of its value and interval, for the legends.
    """
    classes = questions(rows, target)
    if not any(len(scored.truth_N) for scored in classes):
        return []
    panels = [
        curves("roc", name, classes, areas or {}),
        curves("precision_recall", name, classes, areas or {}),
        _confusion_by_class(name, classes) if target["type"] == "multilabel" else _confusion(rows, name, target),
        calibration(name, classes),
        *benefit(name, classes),
        *selective(rows, name, target, classes),
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


class Line(NamedTuple):
    """One model's answers to a question, and how its curve is drawn: name, colour, and its area in words."""

    scored: Scored
    name: str
    colour: str
    area: str


def roc_of_models(question: str, lines: Sequence[Line]) -> Panel:
    """Return the ROC curves of all models that answered the same question, each with its band."""
    import numpy as np

    from visionfm.metrics.roc import roc_band

    at_F = np.linspace(0, 1, 101)
    found = [roc_band(one.truth_N, one.score_N, one.subject_N, at_F, one.wider) for one, *_ in lines]
    counts = f"{int(lines[0].scored.truth_N.sum())} of {len(lines[0].scored.truth_N)}"
    legend = [f"{line.name}: {line.area}" for line in lines]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles = []
        for line, band in zip(lines, found, strict=True):
            handles += axes.plot(at_F, band.value_X, color=line.colour)
            axes.fill_between(at_F, band.low_X, band.high_X, color=line.colour, alpha=0.12, linewidth=0)
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"ROC: {label(question, 34)}")
        axes.set_xlabel(f"1 - specificity (false alarms); cases: {counts}")
        axes.set_ylabel("sensitivity (found)")
        legend_below(figure, handles, legend)

    alt = f"ROC curves of {question} with pointwise 95 % bands, a line per model; cases: {counts}. " + "; ".join(
        f"{text}, sensitivity {short(band.value_X[20])} at specificity 0.80"
        for text, band in zip(legend, found, strict=True)
    )
    return Panel("roc_of_models", f"ROC of all models: {question}", alt, draw, len(legend))


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
            for _, t, s, *_ in classes
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


def calibration(name: str, classes: Sequence[Scored]) -> Panel:
    """Return a panel of observed shares by predicted probability: a smooth curve with its band for each class.

    Points are means of ten bins of equally many answers; below stand the probabilities of cases (up) and others (down).
    """
    import numpy as np

    from visionfm.metrics.calibration import curve

    answered = [scored for scored in classes if len(scored.truth_N)]
    together = Scored(
        "all classes together",
        np.concatenate([one.truth_N for one in answered]),
        np.concatenate([one.score_N for one in answered]),
        np.concatenate([one.subject_N for one in answered]),
        max(one.wider for one in answered),
    )
    lines = answered if len(answered) <= LINES_AT_MOST else [together]
    title = f"Calibration: {label(name, 22)}"
    curves_of = [curve(one.truth_N.astype(float), one.score_N, one.subject_N, one.wider) for one in lines]
    legend = [
        label(scored.name) + ("" if found is not None else ": too few for a curve")
        for scored, found in zip(lines, curves_of, strict=True)
    ]

    def draw(figure: Any) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        handles = []
        for index, (scored, found) in enumerate(zip(lines, curves_of, strict=True)):
            style = colour(index)
            x, y = ([], []) if found is None else (found.said_G, found.observed_G)
            handles += axes.plot(x, y, linewidth=1.6, **style)
            if found is not None:
                axes.fill_between(x, found.low_G, found.high_G, color=style["color"], alpha=0.15, linewidth=0)
            mean, observed = reliability(scored.truth_N, scored.score_N)
            axes.plot(mean, observed, "o", color=style["color"], markersize=3, markerfacecolor="white")
        edges = np.linspace(0, 1, 2 * BINS + 1)
        cases, others = (
            np.histogram(together.score_N[mask], edges)[0] for mask in (together.truth_N, ~together.truth_N)
        )
        middle = (edges[1:] + edges[:-1]) / 2
        below.bar(middle, cases, width=0.9 / (2 * BINS), color="#5a6b7c")
        below.bar(middle, -others, width=0.9 / (2 * BINS), color="#b8c2cc")
        below.axhline(0, color=INK, linewidth=0.6)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title, ylabel="observed share")
        below.set(yticks=[], xlabel="predicted probability (cases up, others down)", ylabel="answers")
        below.grid(False)
        legend_below(figure, handles, legend)

    mean, observed = reliability(together.truth_N, together.score_N)
    alt = (
        f"Calibration curve of {name} with its 95 % band, {len(together.truth_N)} answers of all classes in bins of "
        "equally many. "
        + "; ".join(
            f"predicted {short(said)}, observed {short(seen)}" for said, seen in zip(mean, observed, strict=True)
        )
    )
    return Panel("calibration", title, alt, draw, len(legend))


def reliability(truth_N: Any, score_N: Any) -> tuple[Any, Any]:
    """Return mean probability and observed share of up to ten bins of equally many answers."""
    import numpy as np

    parts = np.array_split(np.argsort(score_N, kind="stable"), max(1, min(BINS, len(score_N) // BINS)))
    return np.array([score_N[part].mean() for part in parts]), np.array([truth_N[part].mean() for part in parts])


# --- decisions --------------------------------------------------------------------------------------------------------


def benefit(name: str, classes: Sequence[Scored]) -> list[Panel]:
    """Return the panel of net benefit by the probability from which somebody is treated; none without both kinds.

    Of more classes than can be told apart the most frequent ones.
    """
    import numpy as np

    from visionfm.metrics.decisions import net_benefit, treat_all

    drawable = [(at, one) for at, one in enumerate(classes) if one.drawable]
    frequent = sorted(drawable, key=lambda pair: -pair[1].truth_N.mean())[:LINES_AT_MOST]
    places = sorted(at for at, _ in frequent)
    lines = [classes[at] for at in places]
    if not lines:
        return []
    at_T = np.linspace(0.01, 0.9, 90)
    found = [net_benefit(one.truth_N.astype(float), one.score_N, one.subject_N, at_T, one.wider) for one in lines]
    title, few = f"Net benefit: {label(name, 22)}", len(lines) < len(classes)
    legend = [label(one.name) for one in lines] + ["dotted: treat all; grey: treat none"]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles = []
        for index, one, band in zip(places, lines, found, strict=True):
            style = colour(index)  # that of the class in the other figures
            handles += axes.plot(at_T, band.value_X, linewidth=1.6, **style)
            axes.fill_between(at_T, band.low_X, band.high_X, color=style["color"], alpha=0.15, linewidth=0)
            axes.plot(at_T, treat_all(float(one.truth_N.mean()), at_T), ":", color=style["color"], linewidth=1)
        handles.append(axes.axhline(0, color=FAINT, linewidth=1))
        highest = max(float(one.truth_N.mean()) for one in lines)
        axes.set(xlim=(0, 0.9), ylim=(-0.25 * highest, 1.1 * highest), title=title)
        axes.set(xlabel="treated from this probability on", ylabel="net benefit")
        legend_below(figure, handles, legend)

    middle = [
        f"{one.name}: {number(band.value_X[at])} from {at_T[at]:.2f} on"
        for one, band in zip(lines, found, strict=True)
        for at in (9, 29)
    ]
    alt = f"Net benefit of {name}{', the most frequent classes' if few else ''}, with 95 % bands. " + "; ".join(middle)
    return [Panel("net_benefit", title, alt, draw, len(legend))]


def selective(rows: Any, name: str, target: Mapping[str, Any], classes: Sequence[Scored]) -> list[Panel]:
    """Return the panel of the share of wrong calls where the least certain samples are left to a person."""
    import numpy as np

    from visionfm.metrics.decisions import risk_by_coverage

    lines = []
    if target["type"] == "multiclass":
        known = rows[rows["truth"].notna() & rows["scores"].notna()]
        score_NK = np.array([list(score) for score in known["scores"]], dtype=np.float64)
        wrong_N = score_NK.argmax(axis=1) != known["truth"].to_numpy(np.int64)
        people = known["subject_id"].to_numpy(object)
        lines.append(("the most probable class", wrong_N, score_NK.max(axis=1), people, wider(known)))
    else:
        answered = [one for one in classes if len(one.truth_N)][:LINES_AT_MOST]
        for one in answered:
            confidence_N = np.maximum(one.score_N, 1 - one.score_N)
            lines.append((one.name, (one.score_N >= 0.5) != one.truth_N, confidence_N, one.subject_N, one.wider))
    share_C = np.linspace(0.05, 1, 96)
    found = [risk_by_coverage(*line[1:4], share_C, line[4]) for line in lines]
    title, legend = f"Selective prediction: {label(name, 16)}", [label(line[0]) for line in lines]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles = []
        for index, band in enumerate(found):
            style = colour(index)
            handles += axes.plot(share_C, band.value_X, linewidth=1.6, **style)
            axes.fill_between(share_C, band.low_X, band.high_X, color=style["color"], alpha=0.15, linewidth=0)
        axes.set(
            xlim=(0, 1.02), title=title, xlabel="share answered, the most certain first", ylabel="share of wrong calls"
        )
        axes.set_ylim(bottom=0)
        legend_below(figure, handles, legend)

    said = "; ".join(
        f"{line[0]}: {number(band.value_X[-1])} of all wrong, {number(band.value_X[47])} of the most certain "
        f"{share_C[47]:.0%}"
        for line, band in zip(lines, found, strict=True)
    )
    return [
        Panel(
            "selective",
            title,
            f"Share of wrong calls of {name} by share answered, with 95 % bands. {said}",
            draw,
            len(legend),
        )
    ]
