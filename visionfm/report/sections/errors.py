"""The report's errors to look at: the most confident errors and typical answers as pictures, and a map of the features.

Of each task's first model, on test samples. Reads the pictures that it shows below their datasets' roots, and nothing
else there. Invariant: without `report: {pictures: examples}` the section is not there; which cases are shown depends
on predictions alone, and neighbours are always training samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionfm.figures import svg as plots
from visionfm.figures.section import Section
from visionfm.figures.svg import FAINT, PALETTE, Figure, Panel, label, legend_below
from visionfm.images.identity import shown_as
from visionfm.metrics.written import missing, number
from visionfm.report.data import Located, Results
from visionfm.report.sections.datasets import Picture, thumbnail
from visionfm.report.words import SPLITS, count, listed
from visionfm.tasks.results import TaskModel
from visionfm.tasks.vectors.verdicts import Verdict, typical, verdicts, worst

MOST_ERRORS, MOST_TYPICAL = 6, 6
MOST_IMAGES = 3  # of a sample that joins several
MOST_NEIGHBOURS = 3
DOT_AREA, DOT_DPI = 9.0, 200
UNKNOWN = "not known"


@dataclass(frozen=True)
class CaseView:
    """One test sample: its own images, and of an error the nearest training samples."""

    says: str
    pictures: list[Picture]
    neighbours: list[Picture]


@dataclass(frozen=True)
class TargetView:
    """The cases of one target."""

    target: str
    heading: str
    errors: list[CaseView]
    typical: list[CaseView]
    says: str


@dataclass(frozen=True)
class ErrorsView:
    """One task's first model."""

    task: str
    model: str
    sentences: list[str]
    figures: list[Figure]
    targets: list[TargetView]


def sections(results: Results) -> list[Section]:
    """Return the section; none where no picture may be shown."""
    of = {(result.task, result.model): result for result in results.results}
    views = [
        errors_view(of[task, results.config.tasks[task].models[0]], located)
        for task, located in results.located.items()
    ]
    template, title = "report/sections/errors.html.j2", "Errors to look at"
    return [Section(template, views, title, "errors", "Errors", by_task=True)] if views else []


def errors_view(result: TaskModel, located: Located) -> ErrorsView:
    """Return the cases and the map of one model."""
    rows, kind = result.tested(), result.block.kind
    found = {name: verdicts(rows[rows["target"] == name], target, kind) for name, target in result.targets.items()}
    samples = {row["sample_id"]: row for row in result.samples.to_dict("records")}
    panels = _map(result, located, samples, found)
    shown = Cases(result, samples, _neighbours(located))
    return ErrorsView(
        task=result.task,
        model=result.model,
        sentences=_sentences(result, located),
        figures=[plots.drawn(one, f"{result.task}-map-{at}") for at, one in enumerate(panels)],
        targets=[shown.target(name, of_target) for name, of_target in found.items()],
    )


def _sentences(result: TaskModel, located: Located) -> list[str]:
    shares = located.variance_shares
    axes = (
        f"The two axes of the map are the first principal components of the training samples' features. They hold "
        f"{sum(shares):.0%} of the variance: what is far apart here is different, what is close need not be alike."
    )
    types = {target["type"] for target in result.targets.values()}
    called = (
        " A yes is called from 0.5 on, whatever thresholds the task has." if types & {"binary", "multilabel"} else ""
    )
    outside = ", external ones too" if result.external else ""
    found = [f"Test samples of all datasets{outside}; answers of {result.runs[0]}.{called}", axes]
    if result.decoders:
        found.append(f"The map and its splits are those of the first fold ({located.runs[0]}); neighbours are training "
                     "samples of the decoder that answered.")  # fmt: skip
    return found


def _neighbours(located: Located) -> dict[str, list[tuple[str, float]]]:
    """Return test sample -> (training sample, distance), nearest first; of external data those of the first fold."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in located.table.to_dict("records"):
        if row["split"] == "test":
            near = list(zip(row["neighbours"], row["distances"], strict=True))[:MOST_NEIGHBOURS]
            found.setdefault(row["sample_id"], near)
    return found


class Cases:
    """Turns answers into pictures and words."""

    def __init__(
        self, result: TaskModel, samples: Mapping[str, Any], neighbours: Mapping[str, list[tuple[str, float]]]
    ) -> None:
        """Read pictures of `samples` below their folders; `neighbours` are those of test samples."""
        self.result, self.samples, self.neighbours = result, samples, neighbours

    def target(self, name: str, found: list[Verdict]) -> TargetView:
        """Return the cases of one target."""
        values = self.result.targets[name]["type"] == "value"
        wrong = sum(one.wrong for one in found)
        says = f"{len(found):,} test answers" if values else f"{wrong:,} of {len(found):,} test answers are wrong"
        return TargetView(
            target=name,
            heading="Largest errors" if values or self.result.block.kind == "ordinal" else "Most confident errors",
            errors=[self._case(one, name, near=True) for one in worst(found, MOST_ERRORS)],
            typical=[self._case(one, name, near=False) for one in typical(found, MOST_TYPICAL)],
            says=says,
        )

    def _case(self, one: Verdict, target: str, near: bool) -> CaseView:
        neighbours = [
            self.pictures(name, f"{self._truth(name, target)}; distance {distance:.2f}")[0]
            for name, distance in self.neighbours.get(one.sample_id, [])
            if near and name in self.samples
        ]
        outside = ", external" if one.dataset in self.result.external else ""
        return CaseView(
            one.says, self.pictures(one.sample_id, f"test, {one.dataset}{outside}")[:MOST_IMAGES], neighbours
        )

    def pictures(self, sample_id: str, says: str) -> list[Picture]:
        """Return all images of a sample."""
        found = []
        for image in self.samples[sample_id]["images"]:
            folder = self.result.folders[image["dataset"]]
            uri = thumbnail(folder.root, image["path"], image["image_id"], folder.reading)
            found.append(Picture(uri, says, shown_as(image["path"], image["image_id"], self.result.ids)))
        return found

    def _truth(self, sample_id: str, target: str) -> str:
        """Return the label of a training sample as words."""
        text = truth_text(self.samples[sample_id][target], self.result.targets[target])
        return f"training, {text}"


def truth_text(truth: Any, target: Mapping[str, Any]) -> str:
    """Return a sample's label as words."""
    if target["type"] == "multilabel":
        pairs = [] if truth is None else zip(target["classes"], truth, strict=True)
        return listed([name for name, value in pairs if value == 1])
    if missing(truth):
        return UNKNOWN
    if target["type"] == "value":
        return f"{number(float(truth))}{' ' + target['unit'] if target.get('unit') else ''}"
    names = target["classes"] or ["no", "yes"]
    return str(names[int(truth)])


# --- the map --------------------------------------------------------------------------------------------------------


def _map(
    result: TaskModel, located: Located, samples: Mapping[str, Any], found: Mapping[str, list[Verdict]]
) -> list[Panel]:
    """Return the map by split, by dataset where there are several, and by label and error of each target."""
    table = located.table[located.table["run"] == located.runs[0]]
    xy_N2, names = table[["x", "y"]].to_numpy(np.float64), list(table["sample_id"])
    splits = [SPLITS[split] for split in table["split"]]
    panels = [_by_name("split", splits, xy_N2, [name for name in SPLITS.values() if name in splits])]
    datasets = list(table["dataset"])
    if len(set(datasets)) > 1:
        panels.append(_by_name("dataset", datasets, xy_N2, sorted(set(datasets))))
    for target, spec in result.targets.items():
        truths = [samples[name][target] if name in samples else None for name in names]
        if spec["type"] == "value":
            numbers = [np.nan if truth is None else float(truth) for truth in truths]
            panels.append(_by_number(f"label of {target}", spec.get("unit") or "value", numbers, xy_N2))
        else:
            several = spec["type"] == "multilabel"
            texts = [_findings(truth) if several else truth_text(truth, spec) for truth in truths]
            classes = sorted(set(texts) - {UNKNOWN}) if several else spec["classes"] or ["no", "yes"]
            order = [*(str(name) for name in classes), UNKNOWN]
            panels.append(_by_name(f"label of {target}", texts, xy_N2, [name for name in order if name in texts]))
        panels.append(_by_error(target, spec, table, found[target], xy_N2, bool(result.decoders)))
    return panels


def _findings(truth: Any) -> str:
    """Return how many findings a sample has; those that nobody looked for do not count."""
    known = [] if truth is None else [value for value in truth if not missing(value)]
    return count(int(sum(known)), "finding") if known else UNKNOWN


def _by_error(
    target: str, spec: Mapping[str, Any], table: Any, found: list[Verdict], xy_N2: Any, folded: bool
) -> Panel:
    """Return the map of the test samples by whether (of values: by how much) the answer was wrong; others are grey.

    With folds the map is of the first fold, and so are its test samples.
    """
    names, test = list(table["sample_id"]), set(table["sample_id"][table["split"] == "test"])
    if spec["type"] == "value":
        missed = {one.sample_id: one.size for one in found if one.sample_id in test}
        numbers = [missed.get(name, float("nan")) for name in names]
        return _by_number(f"error of {target}", spec.get("unit") or "value", numbers, xy_N2)
    wrong: dict[str, bool] = {}
    for one in found:
        if one.sample_id in test:
            wrong[one.sample_id] = wrong.get(one.sample_id, False) or one.wrong
    untested = "not tested in this fold, or not known" if folded else "not tested, or not known"
    words = {None: untested, False: "right", True: "wrong"}
    texts = [words[wrong.get(name)] for name in names]
    return _by_name(f"error of {target}", texts, xy_N2, [text for text in words.values() if text in texts])


def _axes(figure: Any, title: str) -> Any:
    figure.set_dpi(DOT_DPI)  # dots are pixels: thousands of them as vectors would make the page heavy
    axes = figure.subplots()
    axes.set(title=label(title, 40), xlabel="first component", ylabel="second component")
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _by_name(what: str, texts: list[str], xy_N2: Any, order: list[str]) -> Panel:
    shown = {text: np.array([one == text for one in texts], bool) for text in order}
    counts = [f"{text} (n = {int(mask.sum())})" for text, mask in shown.items()]
    grey = [name for name in order if name.startswith("not ")]

    def draw(figure: Any) -> None:
        axes = _axes(figure, f"Features by {what}")
        colours = iter(PALETTE * (1 + len(order) // len(PALETTE)))
        handles = [
            axes.scatter(*xy_N2[mask].T, s=DOT_AREA, color=FAINT if text in grey else next(colours), alpha=0.7,
                         linewidths=0, rasterized=True)
            for text, mask in shown.items()
        ]  # fmt: skip
        legend_below(figure, handles, counts)

    alt = f"Map of {count(len(texts), 'sample')}, coloured by {what}: {', '.join(counts)}."
    return Panel("map", f"Features by {what}", alt, draw, len(order))


def _by_number(what: str, unit: str, values: list[float], xy_N2: Any) -> Panel:
    value_N = np.array(values, np.float64)
    known_N = np.isfinite(value_N)
    of = f"{int(known_N.sum())} of {len(values)} samples"

    def draw(figure: Any) -> None:
        axes = _axes(figure, f"Features by {what}")
        if (~known_N).any():
            axes.scatter(*xy_N2[~known_N].T, s=DOT_AREA, color=FAINT, alpha=0.3, linewidths=0, rasterized=True)
        if known_N.any():
            dots = axes.scatter(*xy_N2[known_N].T, c=value_N[known_N], s=DOT_AREA, cmap="viridis", linewidths=0,
                                rasterized=True)  # fmt: skip
            figure.colorbar(dots, ax=axes, label=label(unit), aspect=30)

    spread = f", {value_N[known_N].min():.3g} to {value_N[known_N].max():.3g}" if known_N.any() else ""
    alt = f"Map of {count(len(values), 'sample')}, coloured by {what} ({unit}{spread}; known of {of}; others are grey)."
    return Panel("map", f"Features by {what}", alt, draw)
