"""The report's tasks: what was asked of which data, what the audit found, and each model's answers."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from visionfm.figures import svg as plots
from visionfm.figures.section import Section
from visionfm.figures.svg import PALETTE, Figure
from visionfm.figures.tables import Cell, Table, counted
from visionfm.report.data import Results
from visionfm.report.sections.audit import AuditView, audit_view
from visionfm.report.sections.models import ModelView, chosen_rows, kind_of_report, model_view
from visionfm.report.words import BASELINES, FUSIONS, SLICES, SPLITS, count, listed
from visionfm.runtime.progress import track
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.classification.figures import Line, areas, roc_of_models
from visionfm.tasks.results import TaskModel
from visionfm.tasks.target_types import answers, counts, type_of

MOST_QUESTIONS = 6  # of a target with many classes or grades


@dataclass(frozen=True)
class TaskView:
    """One task: what was asked, on what, and each model's answers."""

    name: str
    sentences: list[str]
    targets: Table
    samples: Table
    audit: AuditView
    together: list[Figure]  # all models
    models: list[ModelView]


def sections(results: Results) -> list[Section]:
    """Return a section for each task; its figures are drawn here."""
    drawn = {
        (result.task, result.model): model_view(results.plan, result)
        for result in track(results.results, total=len(results.results), what="figures", unit="models")
    }
    views = [
        TaskView(
            name=task,
            sentences=_task_sentences(results, task, block),
            targets=_targets(results, task),
            samples=_samples(results, next(result for result in results.results if result.task == task)),
            audit=audit_view(results, task),
            together=_together(results, [one for one in results.results if one.task == task]),
            models=[drawn[task, model] for model in block.models],
        )
        for task, block in results.config.tasks.items()
    ]
    template = "report/sections/tasks.html.j2"
    return [
        Section(template, view, f"Task {results.title(view.name)}", f"task-{view.name}", task=view.name)
        for view in views
    ]


def _together(results: Results, models: list[TaskModel]) -> list[Figure]:
    """Return the ROC curves of all models, a figure for each question and dataset; none of one model alone."""
    asks = getattr(kind_of_report(models[0].block.kind), "questions", None)
    if asks is None or len(models) < 2:
        return []
    panels = []
    for dataset in models[0].tested_on():
        of_models = [one.of(dataset) for one in models]
        for name, target in models[0].targets.items():
            lines: dict[str, list[Line]] = {}
            for one in of_models:
                rows, run = one.tested(), one.runs[0]
                known = areas(one, name, run)
                colour = PALETTE[list(results.config.models).index(one.model) % len(PALETTE)]
                for asked in asks(rows[rows["target"] == name], target):
                    if asked.drawable:
                        area = known.get(("auroc", asked.name), "")
                        said = Line(
                            asked, results.title(one.model), colour, area + (f" ({run})" if one.runs[1:] else "")
                        )
                        lines.setdefault(asked.name, []).append(said)
            title = results.title(name) + (f", {results.title(dataset)}" if len(models[0].tested_on()) > 1 else "")
            panels += [
                roc_of_models(title if target["type"] == "binary" else f"{title}, {question}", found)
                for question, found in list(lines.items())[:MOST_QUESTIONS]
            ]
    return [plots.drawn(panel, f"{models[0].task}-models-{at}") for at, panel in enumerate(panels)]


def _task_sentences(results: Results, task: str, block: TaskBlock) -> list[str]:
    kind, folds = kind_of_report(block.kind), results.plan.folds(task)
    decoders = len(block.seeds) * (len(folds) or 1)
    found = [
        f"{block.kind.capitalize()} on {listed(block.datasets or block.external)} "
        f"({listed(results.plan.task_modalities(task))}); a sample is one {block.unit}, so n counts {block.unit}s.",
        f"Fusion {block.fusion}: {FUSIONS[block.fusion]}.",
        f"The decoder was given: {block.given_decoder()}. Nothing was trained here."
        if block.given_decoder() is not None
        else f"{kind.trained_by(block)}; {count(decoders, 'decoder')} per model (seed {listed(block.seeds)}"
        f"{', one per fold' if folds else ''}).",
    ]
    found += slices(results, task, block)
    found += _folds(results, task, block)
    found += kind.sentences(block)
    if beside := [BASELINES[name] for name in block.baseline_names()]:  # once, however often people are divided
        found.append(f"Beside it, on the features of the frozen encoder: {listed(beside)}.")
    if block.external:
        of_folds = " Each fold's decoder is tested there, and the values are means over these." if folds else ""
        found.append(f"Tested also on {listed(block.external)}, which no decoder has seen.{of_folds}")
    found += _best_sizes(results, task, block)
    if block.tta != "none":
        found.append("Test images were scored in four flipped views, whose answers are averaged.")
    return found


def _best_sizes(results: Results, task: str, block: TaskBlock) -> list[str]:
    """Return, of models whose encoders differ in the size of their input alone, which is best on validation."""
    groups: dict[str, dict[str, float]] = {}
    sizes: dict[str, list[int]] = {}
    for result in results.results if block.given_decoder() is None else []:
        if result.task != task:
            continue
        named = results.config.models[result.model]
        encoders = {
            modality: results.config.encoders[name].model_dump(mode="json", exclude={"image_size"})
            for modality, name in named.items()
        }
        means = [_validation_loss(result.training[run]) for run in result.decoders_of(result.runs)]
        groups.setdefault(json.dumps(encoders, sort_keys=True), {})[result.model] = sum(means) / len(means)
        sizes[result.model] = [results.config.encoders[name].image_size for name in named.values()]
    return [
        f"Of one encoder at several sizes {min(of, key=lambda name: of[name])} has the lowest loss on validation "
        f"({', '.join(f'{name} {loss:.4g}' for name, loss in of.items())}); "
        + (
            "people who are validation in one fold are tested in another, so that its own numbers here are a little "
            "too good."
            if results.plan.folds(task)
            else "no test data chose it."
        )
        for of in groups.values()
        if len({str(sizes[name]) for name in of}) > 1
    ]


def _validation_loss(table: Any) -> float:
    """Return a run's loss on validation; where it chose among candidates, the one by which it chose: of all targets.

    The rows of a logistic regression have a loss for each class, which is another quantity.
    """
    rows = chosen_rows(table)
    if "candidate_loss" in rows.columns:
        return float(rows["candidate_loss"].iloc[0])
    return float(rows[rows["best"]]["validation_loss"].mean())


def slices(results: Results, task: str, block: TaskBlock) -> list[str]:
    """Return what became of several images of one modality, where a sample has some."""
    samples = next(result.samples for result in results.results if result.task == task)
    most = max((max(Counter(one["modality"] for one in of).values()) for of in samples["images"]), default=0)
    how = getattr(block, "slices", None)
    return [f"Up to {most} images of one modality in a sample are {SLICES[how]}."] if how and most > 1 else []


def _folds(results: Results, task: str, block: TaskBlock) -> list[str]:
    """Return how people were divided into folds, and who was tested how often, as the samples say it."""
    split = block.split
    if split is None:
        return []
    samples = next(result.samples for result in results.results if result.task == task)
    inside = samples[samples["fold"].notna()]
    name, target = next(iter(block.labels().items()))
    how = f"stratified by {name}" if target.type not in ("value", "point") else "of equal size"
    how = how if split.stratify else "by a hash of the person alone"
    again = f", {split.repeats} times anew" if split.repeats > 1 else ""
    tested = f"{count(inside['subject_id'].nunique(), 'subject')} ({count(len(inside), block.unit)})"
    return [
        f"Cross-validation: the people of {listed(results.plan.folded_datasets(task))} in {split.folds} folds{again} "
        f"({how}); the splits of these datasets play no part. {tested} were tested, each once"
        f"{' in each division' if again else ''}, by the decoder that never saw them. No person and no file stands on "
        "two sides of a fold.",
        f"In each fold {100 * split.validation:g} % of the training people chose the epoch and the thresholds. Numbers "
        "of a run without a fold in its name are of all folds' answers together, each person called at the threshold "
        "of the decoder that was asked; `foldmean` is the mean of the folds' values, which compares no two decoders' "
        "scores. Intervals are about other people, for the decoders as they were trained. Answers of folds depend on "
        "each other: errors of values, differences and bands are larger by the square root of 1 + 16 / people, an "
        "empirical correction chosen with small decoders (survival curves have none).",
    ]


def _targets(results: Results, task: str) -> Table:
    rows = []
    for name, target in results.plan.tasks.targets(task).items():
        ordered = ", ordered" if target.ordered else ""
        rows.append(
            [
                Cell(name),
                Cell(type_of(target.type, target.form).asks + ordered),
                Cell(answers(target.model_dump())),
                Cell(f"{target.weight:g}", numeric=True),
            ]
        )
    return Table(f"{task}: targets", ["target", "asks for", "classes or unit", "loss weight"], rows)


def _samples(results: Results, result: TaskModel) -> Table:
    """Return the samples by split, and how many labelled images were left out before, for no target of the task."""
    samples = result.samples
    if "fold" in samples.columns:
        parts = {f"Fold {fold}": rows for fold, rows in samples.groupby("fold")}
        outside = samples[samples["fold"].isna()]
        parts |= {"Test only": outside} if len(outside) else {}
    else:
        splits = [split for split in SPLITS if (samples["split"] == split).any()]
        parts = {SPLITS[split]: samples[samples["split"] == split] for split in splits}
    parts["All"] = samples
    rows: list[tuple[str, list[int]]] = [
        ("samples", [len(part) for part in parts.values()]),
        ("subjects", [part["subject_id"].nunique() for part in parts.values()]),
    ]
    shown = {
        dataset: [int((part["dataset"] == dataset).sum()) for part in parts.values()]
        for dataset in sorted(set(samples["dataset"]))
    }
    rows += [(f"from {dataset}", of_parts) for dataset, of_parts in shown.items() if len(shown) > 1]
    for name, target in result.targets.items():
        if name not in samples.columns:
            continue
        of_parts = [counts(target, part[name]) for part in parts.values()]
        rows += [(f"{name}: {what}", [found[what] for found in of_parts]) for what in of_parts[0]]
    left = _left_out(results, result)
    if sum(left.values()) and "fold" not in samples.columns:  # what is in no sample is in no fold
        by_part = [left[name] for name in list(parts)[:-1]]
        rows.append(("labelled images left out: no target is known", [*by_part, sum(left.values())]))
    by = "the fold that tests them" if "fold" in samples.columns else "split"
    return counted(f"{result.task}: samples by {by}", "", list(parts), rows)


def _left_out(results: Results, result: TaskModel) -> Counter[str]:
    """Return how many labelled images of each split are in no sample."""
    used = {(image["dataset"], image["path"]) for images in result.samples["images"] for image in images}
    found: Counter[str] = Counter()
    for tables in results.datasets:
        if tables.name in result.block.datasets or tables.name in result.block.external:
            outside = tables.name in result.block.external
            for path, split in zip(tables.labels["path"], tables.labels["split"], strict=True):
                found[SPLITS["test" if outside else split]] += (tables.name, path) not in used
    return found
