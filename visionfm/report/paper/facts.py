"""What the texts say of a run, as plain values: data, encoders, decoders, statistics; sentences are in templates."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from visionfm.data.block import Dataset
from visionfm.metrics.calibration import BEFORE
from visionfm.metrics.catalogue import metric_name
from visionfm.metrics.written import text_of
from visionfm.project.study import Study
from visionfm.report.data import DatasetTables, Results
from visionfm.report.headlines import Headline, all_headlines
from visionfm.report.paper.tables import recipe_of
from visionfm.report.sections.audit import CHECKS
from visionfm.report.sections.datasets import subjects_known
from visionfm.report.sections.encoders import PRETRAINED, is_untrained, source
from visionfm.report.sections.models import kind_of_report
from visionfm.report.words import BASELINES, FUSIONS, SPLITS
from visionfm.tasks.results import TaskModel
from visionfm.tasks.target_types import answers, type_of

SETS, LARGEST = "conformal ", "largest sum of sensitivity and specificity"


@dataclass(frozen=True)
class DatasetFacts:
    """One dataset."""

    name: str
    modality: str
    files: int
    readable: int
    unreadable: dict[str, int]
    repeated: int  # files with the bytes of another one
    subjects: int | None  # None: they are not known
    eyes: int | None
    splits: dict[str, tuple[int, int]]  # split -> images, subjects
    smallest: tuple[int, int] | None  # px
    largest: tuple[int, int] | None
    block: Dataset
    trains: list[str]  # encoders that are trained on it here
    agreement: list[dict[str, Any]] = field(default_factory=list)

    @property
    def labelled(self) -> bool:
        """Tell whether it has labels."""
        return self.block.labels != "none"


@dataclass(frozen=True)
class EncoderFacts:
    """One encoder."""

    name: str
    metadata: dict[str, str]
    origin: dict[str, Any]
    untrained: bool
    here: bool  # pretrained in this run
    recipe: dict[str, Any]  # of its pretraining here
    recipe_name: str
    images_seen: int
    like: str  # an encoder before it that was pretrained by the same values; empty
    models: list[str]
    network: str

    @property
    def licence(self) -> str:
        """Return the licence of its weights, as far as it is known."""
        found = str(self.origin.get("licence") or "")
        return "" if found in ("", "unknown", "none") else found


@dataclass(frozen=True)
class TaskFacts:
    """One task; `result` is that of its first model."""

    name: str
    result: TaskModel
    modalities: list[str]
    targets: list[tuple[str, str, str]]  # name, what it asks for, what an answer can be
    fusion: str
    trained_by: str
    sentences: list[str]
    recipe: dict[str, Any]
    recipe_name: str
    decoders: int
    baselines: list[str]
    audit: dict[str, tuple[int, bool]]  # what was found -> how often, whether a reason allowed it
    reasons: list[str]  # of what was allowed
    given: bool
    folds: int
    points: list[str]  # at which calls are made, beside 0.5
    sets: str  # how often sets of classes shall hold the true one; empty where there are none

    @property
    def block(self) -> Any:
        """Return the config's block."""
        return self.result.block


@dataclass(frozen=True)
class StatisticsFacts:
    """How the numbers were made, by the words of the tables themselves."""

    metrics: dict[str, dict[str, str]]  # kind of task -> metric -> its name
    intervals: dict[str, list[str]]  # method -> the metrics whose intervals it makes
    tests: list[str]
    calibrated: bool


@dataclass(frozen=True)
class Facts:
    """All of it."""

    study: dict[str, Any]
    title: str
    datasets: list[DatasetFacts]
    encoders: list[EncoderFacts]
    tasks: list[TaskFacts]
    statistics: StatisticsFacts
    headlines: list[Headline]
    versions: dict[str, str]


def facts(results: Results, versions: dict[str, str]) -> Facts:
    """Return what the texts say."""
    first: dict[str, TaskModel] = {}
    for result in results.results:
        first.setdefault(result.task, result)
    study = results.config.study or Study()
    return Facts(
        study=study.model_dump(),
        title=study.title or results.config.title,
        datasets=[_dataset(results, tables) for tables in results.datasets],
        encoders=_encoders(results),
        tasks=[_task(results, result) for result in first.values()],
        statistics=_statistics(results),
        headlines=all_headlines(results),
        versions=versions,
    )


def _dataset(results: Results, tables: DatasetTables) -> DatasetFacts:
    images, labels = tables.images, tables.labels
    good = images[images["status"] == "ok"]
    eyes = labels[labels["eye"].notna()]
    splits = {
        SPLITS[split].lower(): (len(rows), int(rows["group_id"].nunique()))
        for split in SPLITS
        if len(rows := labels[labels["split"] == split])
    }
    sizes = [(int(width), int(height)) for width, height in zip(good["width"], good["height"], strict=True)]
    return DatasetFacts(
        name=tables.name,
        modality=tables.modality,
        files=len(images),
        readable=len(good),
        unreadable={str(k): int(v) for k, v in images.loc[images["status"] != "ok", "status"].value_counts().items()},
        repeated=len(good) - int(good["image_id"].nunique()),
        subjects=int(labels["group_id"].nunique()) if subjects_known(tables) else None,
        eyes=len(eyes.drop_duplicates(["group_id", "eye"])) if len(eyes) else None,
        splits=splits,
        smallest=min(sizes, key=lambda size: size[0] * size[1]) if sizes else None,
        largest=max(sizes, key=lambda size: size[0] * size[1]) if sizes else None,
        block=results.config.datasets[tables.name],
        trains=[name for name in results.encoders if tables.name in results.plan.pretraining_sets(name)],
        agreement=[dict(one) for one in tables.agreement],
    )


def _encoders(results: Results) -> list[EncoderFacts]:
    found: list[EncoderFacts] = []
    for name in results.encoders:
        one = _encoder(results, name)
        like = next((other.name for other in found if one.recipe and other.recipe == one.recipe), "")
        found.append(replace(one, like=like))
    return found


def _encoder(results: Results, name: str) -> EncoderFacts:
    metadata, plan = dict(results.encoders[name]), results.plan
    here = name in results.pretraining
    block = plan.pretraining.block(name) if here else None
    seen = list(results.pretraining[name]["images"]) if here else []
    return EncoderFacts(
        name=name,
        metadata=metadata,
        origin=source(metadata),
        untrained=is_untrained(metadata),
        here=here or source(metadata).get("name") == PRETRAINED,
        recipe=block.recipe_values().model_dump(mode="json") if block else {},
        recipe_name=block.recipe if block else "",
        images_seen=int(seen[-1]) if seen else 0,
        like="",
        models=[model for model, encoders in results.config.models.items() if name in encoders.values()],
        network="vit" if metadata["arch"].startswith(("vit", "deit", "beit", "eva")) else metadata["arch"],
    )


def _task(results: Results, result: TaskModel) -> TaskFacts:
    plan, block, task = results.plan, result.block, result.task
    rows, kind = results.audits[task], kind_of_report(result.block.kind)
    found: dict[str, tuple[int, bool]] = {}
    for check, severity in zip(rows["check"], rows["severity"], strict=True):
        name = CHECKS.get(check, check)
        found[name] = (found.get(name, (0, False))[0] + 1, severity == "allowed")
    given = plan.is_given(task)
    points = sorted({text_of(point) for point in result.metrics["operating_point"]} - {"", "0.5", BEFORE})
    calls = [LARGEST if point == "validation" else point for point in points if not point.startswith(SETS)]
    return TaskFacts(
        name=task,
        result=result,
        modalities=plan.task_modalities(task),
        targets=[
            (name, type_of(target.type, target.form).asks, answers(target.model_dump()))
            for name, target in plan.tasks.targets(task).items()
        ],
        fusion=FUSIONS[block.fusion],
        trained_by="" if given else kind.trained_by(block),
        sentences=kind.sentences(block),
        recipe={} if given else recipe_of(results, result).model_dump(mode="json"),
        recipe_name="" if given else block.training.recipe,
        decoders=len(block.seeds) * (len(plan.folds(task)) or 1),
        baselines=[BASELINES[name] for name in plan.baseline_runs(task) if name in BASELINES],
        audit=found,
        reasons=sorted({text_of(reason) for reason in rows["reason"]} - {""}),
        given=given,
        folds=len(plan.folds(task)),
        points=calls,
        sets=next((point.removeprefix(SETS) for point in points if point.startswith(SETS)), ""),
    )


def _statistics(results: Results) -> StatisticsFacts:
    names: dict[str, dict[str, str]] = {}
    intervals: dict[str, list[str]] = {}
    for result in results.results:
        test = result.metrics[result.metrics["split"] == "test"]
        names.setdefault(result.block.kind, {}).update({key: metric_name(key) for key in test["metric"]})
        for method, metric in dict.fromkeys(zip(test["interval"].map(text_of), test["metric"], strict=True)):
            found = intervals.setdefault(method, [])
            found += [metric_name(metric)] if metric_name(metric) not in found else []
    intervals.pop("", None)
    tables = [*results.comparisons.values(), *results.contrasts.values()]
    tests = {text_of(name) for table in tables for name in table["method"]} - {""}
    calibrated = any(block.calibrated_by() != "none" for block in results.config.tasks.values())
    return StatisticsFacts(names, dict(sorted(intervals.items())), sorted(tests), calibrated)


def mean_and_std(encoder: EncoderFacts) -> tuple[str, str]:
    """Return an encoder's input statistics as text; `by modality` where each has its own."""
    said = []
    for name in ("mean", "std"):
        values = json.loads(encoder.metadata[name])
        said.append("of the image's modality" if values is None else ", ".join(f"{value:.3f}" for value in values))
    return said[0], said[1]
