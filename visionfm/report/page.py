"""The whole report as one tree of plain values, ready for the template: cautions, summary, tasks, data, encoders.

Invariant: nothing here depends on time, host or place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionfm.report.data import Results, TaskModel
from visionfm.report.models import ModelView, model_view
from visionfm.report.sections.datasets import AuditView, DatasetView, audit_view, dataset_view
from visionfm.report.sections.encoders import encoders_table, import_notes, is_untrained
from visionfm.report.sections.pretraining import PretrainingView, pretraining_views
from visionfm.report.tables import Cell, Headline, Table, counted, headlines
from visionfm.report.words import BASELINES, FUSIONS, MODES, SPLITS, TARGET_TYPES, count, listed
from visionfm.runtime.progress import track
from visionfm.tasks.block import Task

FEW_SUBJECTS = 30
FEW_SEEN = 100_000  # images; published pretrainings saw hundreds of millions


@dataclass(frozen=True)
class TaskView:
    """One task: what was asked, on what, and each model's answers."""

    name: str
    sentences: list[str]
    targets: Table
    samples: Table
    audit: AuditView
    models: list[ModelView]


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    title: str
    version: str
    ran: str
    cautions: list[str]
    summary: list[Headline]
    metrics: list[str]
    tasks: list[TaskView]
    datasets: list[DatasetView]
    encoders: Table
    encoder_notes: list[str]
    pretraining: list[PretrainingView]
    config_yaml: str
    stages: Table


def page(results: Results, config: Mapping[str, Any]) -> Page:
    """Return the report's content; `config` is printed as it was given."""
    import yaml

    from visionfm import __version__
    from visionfm.artifacts.versions import VERSIONS

    plan = results.plan
    summary = [
        line
        for result in results.results
        for line in headlines(
            result,
            results.config.tasks[result.task].kind,
            plan.seed_runs(result.task),
            _tested_on(results, result.task),
        )
    ]
    datasets = [dataset_view(plan, tables) for tables in results.datasets]
    drawn = {
        (result.task, result.model): model_view(results, result)
        for result in track(results.results, total=len(results.results), what="figures", unit="models")
    }
    tasks = [
        TaskView(
            name=task,
            sentences=_task_sentences(results, task, block),
            targets=_targets(results, task),
            samples=_samples(next(result for result in results.results if result.task == task)),
            audit=audit_view(task, results.audits[task]),
            models=[drawn[task, model] for model in block.models],
        )
        for task, block in results.config.tasks.items()
    ]
    return Page(
        title=results.config.title,
        version=__version__,
        ran=_what_ran(results),
        cautions=_cautions(results, summary, datasets, tasks),
        summary=summary,
        metrics=sorted({name for result in results.results for name in result.metrics["metric"]}),
        tasks=tasks,
        datasets=datasets,
        encoders=encoders_table(results),
        encoder_notes=import_notes(results),
        pretraining=pretraining_views(results),
        config_yaml=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        stages=Table(
            "Versions of the stages",
            ["stage", "version"],
            [[Cell(s), Cell(str(v), numeric=True)] for s, v in VERSIONS.items()],
        ),
    )


def _what_ran(results: Results) -> str:
    images = sum(len(tables.images) for tables in results.datasets)
    parts = [
        count(len(results.config.tasks), "task"),
        count(len({result.model for result in results.results}), "model"),
        count(len(results.encoders), "encoder"),
        count(len(results.datasets), "dataset") + f" with {count(images, 'image')}",
    ]
    return listed(parts)


def _cautions(
    results: Results, summary: list[Headline], datasets: list[DatasetView], tasks: list[TaskView]
) -> list[str]:
    found = []
    untrained = [name for name, metadata in results.encoders.items() if is_untrained(metadata)]
    if untrained:
        found.append(
            f"Untrained encoders (random weights): {listed(untrained)}. Their results are a floor, not the system's."
        )
    barely = [
        name
        for name, curves in results.pretraining.items()
        if results.plan.pretraining.block(name).from_nothing and curves["images"].iloc[-1] < FEW_SEEN
    ]
    if barely:
        found.append(
            f"Encoders whose pretraining saw fewer than {FEW_SEEN:,} images: {listed(barely)}. They may be no better "
            "than untrained ones."
        )
    if frozen := _not_moved(results):
        found.append(
            f"Fine-tuning made nothing better on validation, so the result is the frozen encoder with its head: "
            f"{listed(frozen)}."
        )
    unknown = [view.name for view in datasets if not view.subjects_known]
    if unknown:
        found.append(
            f"No subject ids in {listed(unknown)}: each image counts as a person of its own, so intervals there may "
            f"be too narrow "
            "and one person's images may lie in two splits."
        )
    few = sorted(
        {f"{line.task} / {line.target} ({line.subjects})" for line in summary if 0 < line.subjects < FEW_SUBJECTS}
    )
    if few:
        found.append(f"Fewer than {FEW_SUBJECTS} test subjects: {listed(few)}. Read the intervals, not the values.")
    left_out = [f"{view.name} ({len(view.left_out.rows)})" for view in datasets if view.left_out]
    if left_out:
        found.append(
            f"Images were left out because they cannot be read: {listed(left_out)}. They are listed under Data."
        )
    found += [f"Allowed overlap in task {task.name}, {reason}" for task in tasks for reason in task.audit.reasons]
    return found


def _not_moved(results: Results) -> list[str]:
    """Return the fine-tuned decoders whose best epoch is 0, before any encoder moved."""
    found = []
    for result in results.results:
        if results.config.tasks[result.task].training.mode != "finetune":
            continue
        for run, table in result.training.items():
            best = table[table["best"]]
            if "epoch" in table.columns and len(best) and int(best.iloc[-1]["epoch"]) == 0:
                found.append(f"{result.task} / {result.model} ({run})")
    return found


# --- tasks ----------------------------------------------------------------------------------------------------------


def _tested_on(results: Results, task: str) -> str:
    return "test split of " + listed(results.plan.task_datasets(task))


def _task_sentences(results: Results, task: str, block: Task) -> list[str]:
    how = f"{MODES[block.training.mode]}, recipe {block.training.recipe_name}"
    if block.kind == "progression":
        how = f"Head {block.head}"
    found = [
        f"{block.kind.capitalize()} on {listed(block.datasets or block.external)} "
        f"({listed(results.plan.task_modalities(task))}); a sample is one {block.unit}, so n counts {block.unit}s.",
        f"Fusion {block.fusion}: {FUSIONS[block.fusion]}{_visits(block)}.",
        f"The decoder was given: {block.decoder}. Nothing was trained here."
        if block.decoder is not None
        else f"{how}; {count(len(block.seeds), 'decoder')} per model (seed {listed(block.seeds)}).",
    ]
    if block.kind == "progression" and block.head == "published":
        found.append(
            "It answers for each sample's own interval. The published loss weighs progression ten times, so its "
            "probabilities are too high; the order of the samples does not suffer."
        )
    if beside := results.plan.baseline_runs(task):
        found.append(f"Beside it, on the features of the frozen encoder: {listed(BASELINES[name] for name in beside)}.")
    if block.external:
        found.append(f"Tested also on {listed(block.external)}, which no decoder has seen.")
    if block.tta != "none":
        found.append("Test images were scored in four flipped views, whose answers are averaged.")
    return found


def _visits(block: Task) -> str:
    if block.kind != "progression" or block.unit != "eye" or block.survival.visits == 1:
        return ""
    return f", over the baseline and up to {count(block.survival.visits - 1, 'visit')} before it"


def _targets(results: Results, task: str) -> Table:
    rows = []
    for name, target in results.plan.tasks.targets(task).items():
        what = target.unit or "no unit" if target.type == "value" else ", ".join(target.classes)
        if target.type == "event":
            what = f"intervals that end after {listed([f'{days:g}' for days in target.intervals])} days"
        ordered = ", ordered" if target.ordered else ""
        rows.append(
            [
                Cell(name),
                Cell(TARGET_TYPES[target.type] + ordered),
                Cell(what),
                Cell(f"{target.weight:g}", numeric=True),
            ]
        )
    return Table(f"{task}: targets", ["target", "asks for", "classes or unit", "loss weight"], rows)


def _samples(result: TaskModel) -> Table:
    samples = result.samples
    splits = [split for split in SPLITS if (samples["split"] == split).any()]
    parts = {SPLITS[split]: samples[samples["split"] == split] for split in splits} | {"All": samples}
    rows: list[tuple[str, list[int]]] = [
        ("samples", [len(part) for part in parts.values()]),
        ("subjects", [part["subject_id"].nunique() for part in parts.values()]),
    ]
    shown = {
        dataset: [int((part["dataset"] == dataset).sum()) for part in parts.values()]
        for dataset in sorted(set(samples["dataset"]))
    }
    rows += [(f"from {dataset}", counts) for dataset, counts in shown.items() if len(shown) > 1]
    for name, target in result.targets.items():
        if name not in samples.columns:
            continue
        rows += [(f"{name}: {text}", [_with(part[name], index, target["type"]) for part in parts.values()])
                 for index, text in enumerate(target["classes"])]  # fmt: skip
        if target["type"] == "event":
            rows.append((f"{name}: events", [int((part[name] == 1).sum()) for part in parts.values()]))
        rows.append((f"{name}: known", [int(part[name].notna().sum()) for part in parts.values()]))
    return counted(f"{result.task}: samples by split", "", list(parts), rows)


def _with(column: Any, index: int, kind: str) -> int:
    if kind == "multilabel":
        return sum(1 for values in column if values is not None and values[index] == 1)
    return int((column == index).sum())
