"""What the report reads: every artefact that the config implies, checked, as tables in memory.

Invariant: `inputs` is the one list of what is read here: the workflow waits for it, and the report's key depends on it.
It needs neither torch nor pandas.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.data.block import DENSE_COLUMNS, GROUP, LABEL_COLUMNS
from visionfm.encoders.file import SCHEMA as ENCODER
from visionfm.images.settings import Reading
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.report.words import title_of
from visionfm.tasks.out_of_fold import shown
from visionfm.tasks.results import Folder, TaskModel

LABEL_KEYS = (*LABEL_COLUMNS, *DENSE_COLUMNS)


@dataclass(frozen=True)
class DatasetTables:
    """A dataset's index and labels (DataFrames)."""

    name: str
    modality: str
    root: str
    images: Any
    labels: Any
    agreement: Sequence[Mapping[str, Any]] = ()  # of graders, as `label` measured it

    @property
    def label_columns(self) -> list[str]:
        """Return the names of the labels."""
        return [name for name in self.labels.columns if name not in LABEL_KEYS and not name.startswith(GROUP)]


@dataclass(frozen=True)
class Located:
    """Where the samples of a task's first model lie among the features: a DataFrame with the rows of all runs."""

    runs: list[str]
    table: Any
    variance_shares: list[float]  # of the map of the first run


@dataclass(frozen=True)
class Suspects:
    """A task's labels that look wrong: a DataFrame, and what is known of each target's list."""

    table: Any
    about: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Results:
    """All that the report says, before it is put into words."""

    config: Config
    given: Mapping[str, Any]  # the config as it was given
    plan: Plan
    results: list[TaskModel]
    datasets: list[DatasetTables]
    audits: Mapping[str, Any]  # task -> DataFrame
    comparisons: Mapping[str, Any]  # task with something to compare -> DataFrame
    contrasts: Mapping[str, Any]  # task with groups or external data -> DataFrame
    recalibrations: Mapping[str, Any]  # task with external data and probabilities -> DataFrame
    located: Mapping[str, Located]  # task whose errors may be shown
    suspects: Mapping[str, Suspects]  # task whose labels may be shown
    encoders: Mapping[str, Mapping[str, str]]  # encoder -> metadata
    pretraining: Mapping[str, Any]  # encoder pretrained here -> DataFrame, a row per interval

    def title(self, name: str) -> str:
        """Return the name of a task, target, model or dataset as people write it."""
        return title_of(name, self.config.report.titles)


def used_encoders(plan: Plan) -> list[str]:
    """Return the encoders that some task uses or that are pretrained here, in the config's order."""
    used = plan.encoders()
    return [name for name in plan.config.encoders if name in used]


def inputs(plan: Plan) -> list[str]:
    """Return the paths of all artefacts that the report reads, sorted."""
    paths = [plan.encoder(encoder) for encoder in used_encoders(plan)]
    paths += [plan.pretraining_curves(encoder) for encoder in plan.pretrained()]
    for dataset in plan.config.datasets:
        paths += [*plan.images(dataset), plan.labels(dataset)]
    for task in plan.config.tasks:
        paths += [plan.audit(task), *plan.comparison(task), *plan.contrasts(task), *plan.recalibrations(task)]
        paths += [*plan.locations(task).values(), *plan.suspects(task)]
    for task, model in plan.task_models():
        paths += [*plan.all_samples(task, model), plan.metrics(task, model), *plan.image_metrics(task, model)]
        for run in plan.runs(task):
            paths.append(plan.predictions(task, model, run))
            paths += [] if plan.is_given(task) else [plan.training(task, model, run)]
        paths += _masks(plan, task, model).values()
    return sorted(set(paths))


def load(plan: Plan, given: Mapping[str, Any] | None = None) -> Results:
    """Read everything; ArtifactError where a file is missing or damaged. `given` is the config as it was given."""
    config = plan.config
    return Results(
        config=config,
        given=given or {},
        plan=plan,
        results=[_task_model(plan, task, model) for task, model in plan.task_models()],
        datasets=[_dataset(plan, name) for name in config.datasets],
        audits={task: _frame(plan.audit(task)) for task in config.tasks},
        comparisons={task: _frame(path) for task in config.tasks for path in plan.comparison(task)},
        contrasts={task: _frame(path) for task in config.tasks for path in plan.contrasts(task)},
        recalibrations={task: _frame(path) for task in config.tasks for path in plan.recalibrations(task)},
        located={task: _located(plan.locations(task)) for task in config.tasks if plan.locations(task)},
        suspects={task: _suspects(path) for task in config.tasks for path in plan.suspects(task)},
        encoders={name: artifacts.read_metadata(plan.encoder(name), ENCODER) for name in used_encoders(plan)},
        pretraining={name: _frame(plan.pretraining_curves(name)) for name in plan.pretrained()},
    )


def union_of_metrics(plan: Plan) -> Any:
    """Return the rows of all metrics.parquet files as one `pyarrow.Table`, in the config's order."""
    import pyarrow as pa

    tables = [artifacts.read_table(plan.metrics(task, model)) for task, model in plan.task_models()]
    if not tables:  # a config that only pretrains
        return pa.table({"task": pa.array([], pa.string())})
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables], promote_options="permissive")


def _frame(path: str | Path) -> Any:
    return artifacts.read_table(path).to_pandas()


def _masks(plan: Plan, task: str, model: str) -> dict[str, str]:
    """Return the archives of the masks of a task's first run: decoder -> path; none where it predicts none."""
    first = plan.seed_runs(task)[0]
    found = {run: plan.masks(task, model, run)[:1] for run in plan.decoders(task).get(first, [first])}
    return {run: path for run, paths in found.items() for path in paths}


def _samples(plan: Plan, task: str, model: str) -> Any:
    """Return a task's samples; with folds each once, in its `fold` of the first division (external data in none)."""
    import pandas as pd

    first = [fold for fold in plan.folds(task) if not fold.repeat]
    if not first:
        return _frame(plan.samples(task, model))
    parts = [_frame(plan.samples(task, model, fold)).assign(fold=fold.number) for fold in first]
    tested = pd.concat([part[part["split"] == "test"] for part in parts], ignore_index=True)
    asked_by_all = tested["sample_id"].duplicated(keep=False)
    tested["fold"] = tested["fold"].astype("Int64").mask(asked_by_all)
    return tested.drop_duplicates("sample_id").sort_values("sample_id", ignore_index=True)


def _with_folds(measured: Any) -> Any:
    """Return the metrics of images with those of the pooled runs of folds."""
    import pandas as pd

    frames = shown(dict(list(measured.groupby("run"))))
    return pd.concat([measured, *(rows.assign(run=run) for run, rows in frames.items())], ignore_index=True)


def _located(files: Mapping[str, str]) -> Located:
    import pandas as pd

    table = pd.concat([_frame(path).assign(run=run) for run, path in files.items()], ignore_index=True)
    shares = json.loads(artifacts.read_metadata(next(iter(files.values())))["variance_shares"])
    return Located(list(files), table, shares)


def _suspects(path: str) -> Suspects:
    return Suspects(_frame(path), json.loads(artifacts.read_metadata(path)["about"]))


def _task_model(plan: Plan, task: str, model: str) -> TaskModel:
    runs, datasets = plan.runs(task), {name: plan.config.datasets[name] for name in plan.task_datasets(task)}
    predictions = {run: _frame(plan.predictions(task, model, run)) for run in runs}
    return TaskModel(
        task=task,
        model=model,
        block=plan.config.tasks[task],
        targets={name: target.model_dump(mode="json") for name, target in plan.tasks.targets(task).items()},
        runs=plan.seed_runs(task),
        baselines=plan.baseline_runs(task),
        samples=_samples(plan, task, model),
        metrics=_frame(plan.metrics(task, model)),
        predictions=predictions | shown(predictions),
        training={} if plan.is_given(task) else {run: _frame(plan.training(task, model, run)) for run in runs},
        folders={name: Folder(Path(one.root), Reading.of(one)) for name, one in datasets.items()},
        samples_file=Path(plan.all_samples(task, model)[0]),
        image_metrics=next((_with_folds(_frame(path)) for path in plan.image_metrics(task, model)), None),
        masks={run: Path(path) for run, path in _masks(plan, task, model).items()},
        pictures=plan.config.report.pictures == "examples",
        ids=plan.config.report.ids == "shown",
        decoders=plan.decoders(task),
        external=plan.tasks.evaluate_settings(task, model).external,
    )


def _dataset(plan: Plan, name: str) -> DatasetTables:
    import pandas as pd

    shards = [_frame(path) for path in plan.images(name)]
    images = pd.concat(shards, ignore_index=True).sort_values("path", ignore_index=True)
    return DatasetTables(
        name=name,
        modality=plan.modality(name),
        root=plan.config.datasets[name].root,
        images=images,
        labels=_frame(plan.labels(name)),
        agreement=json.loads(artifacts.read_metadata(plan.labels(name)).get("agreement", "[]")),
    )
