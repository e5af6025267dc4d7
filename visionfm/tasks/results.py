"""What a finished task has with one model, as tables in memory, and what a kind makes of it for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from visionfm.figures.section import Section
from visionfm.figures.svg import Panel
from visionfm.images.settings import Reading
from visionfm.metrics.written import text_of
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.runs import MEAN

WHOLE = ("all", "", "macro")
MODE_NAMES = {"frozen": "frozen", "finetune": "fine-tuned"}
MODES = {"frozen": "Decoders on frozen features", "finetune": "Encoders fine-tuned with their decoders"}


class Folder(NamedTuple):
    """Where a dataset's images lie, and what decides which pixels they are."""

    root: Path
    reading: Reading


@dataclass(frozen=True)
class TaskModel:
    """Results of one task with one model; predictions and training by run, all tables as DataFrames.

    `runs` are those of its own decoder, of which figures show the first; `baselines` stand beside it. With folds a run
    is what all folds' decoders answered together (`decoders`: run -> theirs), and `samples` have their `fold`.
    """

    task: str
    model: str
    block: TaskBlock
    targets: Mapping[str, Mapping[str, Any]]
    runs: list[str]
    baselines: list[str]
    samples: Any
    metrics: Any
    predictions: Mapping[str, Any]
    training: Mapping[str, Any]
    folders: Mapping[str, Folder]  # dataset -> its images
    samples_file: Path
    image_metrics: Any = None  # of masks
    masks: Mapping[str, Path] = field(default_factory=dict)  # of the decoders of the first run
    pictures: bool = False  # whether images of patients may be shown
    ids: bool = False  # whether names of files may
    decoders: Mapping[str, list[str]] = field(default_factory=dict)  # none where a run is a decoder
    external: Sequence[str] = ()  # external data by the names that samples carry: of eyes that join, their cohort

    def decoders_of(self, runs: Sequence[str]) -> list[str]:
        """Return the decoders behind runs."""
        return [decoder for run in runs for decoder in self.decoders.get(run, [run])]

    def tested_on(self) -> list[str]:
        """Return the datasets that were tested, the task's own before the external ones."""
        test = self.metrics[self.metrics["split"] == "test"]
        found = [text_of(name) for name in dict.fromkeys(test["dataset"]) if text_of(name) not in WHOLE]
        order = [*self.block.datasets, *self.block.external, *self.external]
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))

    def of(self, dataset: str) -> "TaskModel":
        """Return the same with the test samples of one dataset alone; other splits stay whole, for they choose."""

        def kept(rows: Any) -> Any:
            return rows[(rows["split"] != "test") | (rows["dataset"] == dataset)]

        return replace(
            self,
            samples=kept(self.samples),
            metrics=self.metrics[self.metrics["dataset"] == dataset],
            predictions={run: kept(rows) for run, rows in self.predictions.items()},
            image_metrics=None if self.image_metrics is None else kept(self.image_metrics),
        )

    def tested(self) -> Any:
        """Return the first run's predictions of test samples, with all their modalities."""
        rows = self.predictions[self.runs[0]]
        rows = rows[rows["split"] == "test"]
        return rows[rows["subset"] == "all"] if "subset" in rows.columns else rows


def shown_run(result: TaskModel) -> Any:
    """Return the test metrics of the run that is shown: the mean over seeds where there are several."""
    rows = by_dataset(result.metrics)
    rows = rows[rows["split"] == "test"]
    return rows[rows["run"] == (MEAN if (rows["run"] == MEAN).any() else result.runs[0])]


def no_words(result: TaskModel, target: str) -> list[str]:
    """Return nothing: the headline says it all."""
    return []


def found_and_alarms(result: TaskModel, rows: Any, cases: str) -> list[str]:
    """Return a sentence of counts from a target's metrics: cases that are found, and false alarms.

    `cases`: what the sample is in the words of the target. At the threshold chosen on validation data, else at 0.5;
    means over runs are means of counts. `rows` of several classes are added up, at a threshold that all of them have.
    """
    for point, chosen in (("validation", "chosen on validation data"), ("0.5", "0.5")):
        at = rows[rows["operating_point"] == point]
        cases_without = at["value"].isna() & (at["metric"] == "sensitivity") & (at["n_positive"] > 0)
        if cases_without.any():  # a class without a threshold would drop out of the counts unsaid
            continue
        at = at[at["value"].notna()]
        hits, spared = (at[at["metric"] == name] for name in ("sensitivity", "specificity"))
        if len(hits) and len(spared):
            others = spared["n"] - spared["n_positive"]
            found, alarms = (hits["value"] * hits["n_positive"]).sum(), ((1 - spared["value"]) * others).sum()
            several = "s" if len(hits) > 1 or (point != "0.5" and hits["threshold"].isna().any()) else ""
            return [
                f"of {int(hits['n_positive'].sum()):,} {cases} it finds {_tally(found)}, with {_tally(alarms)} false "
                f"alarms among {int(others.sum()):,} others (threshold{several} {chosen})."
            ]
    return []


def _tally(value: float) -> str:
    return f"{value:,.0f}" if abs(value - round(value)) < 0.02 else f"{value:,.1f} on average"


class KindOfReport(Protocol):
    """What the module `figures` of a kind's folder has."""

    def panels(self, result: TaskModel) -> list[Panel]:
        """Return the figures of one model; none where no truth is known."""

    def sections(self, result: TaskModel) -> list[Section]:
        """Return what only this kind shows of one model."""

    def in_words(self, result: TaskModel, target: str) -> list[str]:
        """Return sentences that say what a model's answers on one dataset mean, in counts or units."""

    def trained_by(self, task: TaskBlock) -> str:
        """Return how decoders were trained, as the start of a sentence."""

    def sentences(self, task: TaskBlock) -> list[str]:
        """Return what only this kind says of a task."""


def whole(column: Any) -> Any:
    """Return a mask of the rows that say `all` (or nothing) in a column."""
    return column.map(lambda value: text_of(value) in WHOLE).astype(bool)


def by_dataset(metrics: Any) -> Any:
    """Return the rows of metrics of each dataset as a whole: pooled over none, no single modality or subset."""
    return metrics[~whole(metrics["dataset"]) & whole(metrics["modality"]) & whole(metrics["modalities"])]


def recipe(task: TaskBlock) -> str:
    """Return how decoders were trained: frozen or fine-tuned, and by which recipe."""
    return f"{MODES[task.training.mode]}, recipe {task.training.recipe}"


def weighted(task: TaskBlock) -> list[str]:
    """Return what weighting does to probabilities, where the task asks for it."""
    if getattr(task.training, "class_weighting", None) != "balanced":
        return []
    return [
        "`class_weighting: balanced` trains as if all classes were equally frequent: probabilities of rare classes are "
        "too high, so that Brier scores and calibration are worse than the order of the samples."
        + ("" if task.calibrated_by() == "none" else " Calibration takes this back as far as validation data show it.")
    ]


def calibrated(task: TaskBlock) -> list[str]:
    """Return how probabilities were calibrated, where the task asks for it."""
    if task.calibrated_by() == "none":
        return []
    return [
        f"Probabilities were calibrated on validation data ({task.calibrated_by()}); every threshold was chosen "
        "afterwards. The tables show calibration before and after."
    ]


def no_sentences(task: TaskBlock) -> list[str]:
    """Return nothing that only one kind says."""
    return []
