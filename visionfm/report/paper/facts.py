"""What the texts say of a run, as plain values: data, encoders, decoders, statistics; sentences are in templates."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from visionfm.data.block import Dataset
from visionfm.metrics.calibration import BEFORE
from visionfm.metrics.catalogue import metric_name
from visionfm.metrics.written import percent, text_of
from visionfm.pretraining.recipe import FAMILIES
from visionfm.project.study import Study
from visionfm.report.data import DatasetTables, Results
from visionfm.report.headlines import Headline, all_headlines
from visionfm.report.paper.tables import candidates_of, recipe_of
from visionfm.report.sections.audit import CHECKS
from visionfm.report.sections.datasets import subjects_known
from visionfm.report.sections.encoders import PRETRAINED, is_untrained, source
from visionfm.report.sections.models import kind_of_report
from visionfm.report.sections.tasks import slices
from visionfm.report.words import BASELINES, FUSIONS, SPLITS, count, listed
from visionfm.tasks.maps.block import MapTask
from visionfm.tasks.results import TaskModel, calibrated
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
    folded: list[str]  # tasks that divide its people into folds
    tested: list[str]  # tasks of which all its images are test data
    divided: bool  # whether its own splits are used
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
    method: str  # by which family of recipes it was pretrained, in a sentence; empty: not known
    cited: str  # what the references call that family
    images_seen: int
    begun: str  # the weights from which its pretraining here began; empty: random ones
    like: str  # an encoder before it that was pretrained by the same values; empty
    models: list[str]
    network: str
    precision: str  # of the features of frozen encoders: fp32, bf16

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
    sentences: list[str]  # what only its kind and its samples say
    recipe: dict[str, Any]
    recipe_name: str
    cited: list[str]  # what the library of references may have of its recipe
    candidates: list[str]  # decoders of which validation chose one
    parts: list[str]  # of the training data, on which decoders were trained too
    decoders: int
    baselines: list[str]
    leaks: dict[str, int]  # what a written reason allowed -> how often it was found
    notes: dict[str, int]  # what else the audit found
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
    intervals: dict[str, list[str]]  # method, of folds too -> the metrics whose intervals it makes
    paired: list[str]  # methods of tests of decoders on the same samples
    between: list[str]  # and of one decoder on different ones
    pooled: list[str]  # tasks with numbers over all their datasets


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

    @property
    def developed(self) -> str:
        """Return what was done to this run's decoders: where they were trained, given, tested on external data."""
        trained = [task.name for task in self.tasks if not task.given]
        given = [task.name for task in self.tasks if task.given]
        outside = [task.name for task in self.tasks if task.block.external]
        said = [f"developed and tested in {listed(trained)}"] if trained else []
        said += [f"given and tested in {listed(given)}"] if given else []
        said += [f"tested on external data in {listed(outside)}"] if outside else []
        return "; ".join(said)


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
        tasks=[task_facts(results, result) for result in first.values()],
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
        **_uses(results, tables.name),
        agreement=[dict(one) for one in tables.agreement],
    )


def _uses(results: Results, dataset: str) -> dict[str, Any]:
    """Return in which tasks a dataset's own splits count for nothing, and whether they count anywhere."""
    tasks, plan = results.config.tasks, results.plan
    folded = [name for name in tasks if dataset in plan.folded_datasets(name)]
    tested = [name for name, block in tasks.items() if dataset in block.external]
    own = [name for name, block in tasks.items() if dataset in block.datasets and name not in folded]
    return {"folded": folded, "tested": tested, "divided": bool(own) or not (folded or tested)}


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
    family = FAMILIES.get(block.recipe if block else str(source(metadata).get("recipe")))
    seen = list(results.pretraining[name]["images"]) if here else []
    return EncoderFacts(
        name=name,
        metadata=metadata,
        origin=source(metadata),
        untrained=is_untrained(metadata),
        here=here or source(metadata).get("name") == PRETRAINED,
        recipe=block.recipe_values().model_dump(mode="json") if block else {},
        recipe_name=block.recipe if block else "",
        method="" if family is None else family.method,
        cited="" if family is None else f"pretraining {family.cited}",
        images_seen=int(seen[-1]) if seen else 0,
        begun=Path(block.init or block.timm or "").name if block else "",
        like="",
        models=[model for model, encoders in results.config.models.items() if name in encoders.values()],
        network="vit" if metadata["arch"].startswith(("vit", "deit", "beit", "eva")) else metadata["arch"],
        precision=results.config.encoders[name].precision,
    )


def task_facts(results: Results, result: TaskModel) -> TaskFacts:
    """Return what is said of a task, of whose models `result` is the first."""
    plan, block, task = results.plan, result.block, result.task
    rows, kind = results.audits[task], kind_of_report(result.block.kind)
    leaks, notes = Counter[str](), Counter[str]()
    for check, severity in zip(rows["check"], rows["severity"], strict=True):
        (leaks if severity == "allowed" else notes)[CHECKS.get(check, check)] += 1
    given = plan.is_given(task)
    points = sorted({text_of(point) for point in result.metrics["operating_point"]} - {"", "0.5", BEFORE})
    calls = [LARGEST if point == "validation" else point for point in points if not point.startswith(SETS)]
    recipe = None if given else recipe_of(results, result)
    fractions, shots = block.parts_of_data()
    parts = [percent(one) for one in fractions if one < 1] + [count(one, "sample") + " per class" for one in shots]
    said = [one for one in kind.sentences(block) if one not in calibrated(block)]
    return TaskFacts(
        name=task,
        result=result,
        modalities=plan.task_modalities(task),
        targets=[
            (name, type_of(target.type, target.form).asks, answers(target.model_dump()))
            for name, target in plan.tasks.targets(task).items()
        ],
        fusion=_fusion(block),
        trained_by="" if given else kind.trained_by(block),
        sentences=slices(results, task, block) + _seen(results, block) + said,
        recipe={} if recipe is None else recipe.model_dump(mode="json"),
        recipe_name="" if given else block.training.recipe,
        cited=[] if recipe is None else _cited(block, recipe),
        candidates=list(candidates_of(results, result)),
        parts=parts,
        decoders=len(block.seeds) * (len(plan.folds(task)) or 1),
        baselines=[BASELINES[name] for name in plan.baseline_runs(task) if name in BASELINES],
        leaks=dict(leaks),
        notes=dict(notes),
        reasons=sorted({text_of(reason) for reason in rows["reason"]} - {""}),
        given=given,
        folds=len(plan.folds(task)),
        points=calls,
        sets=next((point.removeprefix(SETS) for point in points if point.startswith(SETS)), ""),
    )


def _cited(block: Any, recipe: Any) -> list[str]:
    """Return what a recipe rests on; decoders of maps are trained by AdamW, which their recipes need not say."""
    names = [f"recipe {block.training.recipe}", f"optimizer {getattr(recipe, 'optimizer', 'adamw')}"]
    return [*names, *dict.fromkeys(f"head {name}" for name in (recipe.head, block.head_name()))]


def _fusion(block: Any) -> str:
    """Return what is joined, and how; what a sample is, the block's unit says."""
    if block.kind == "progression" and block.fusion == "attention":
        return "the features of an eye's visits are weighed by attention"
    return FUSIONS[block.fusion].split(";")[0]


def _seen(results: Results, block: Any) -> list[str]:
    """Return how images reach the encoder where a task does not resize them as the encoder's own text says."""
    if isinstance(block, MapTask):
        size = f"{block.image_size} x {block.image_size} pixels"
        if block.overlap() is None:
            return [f"Images were resized to {size} as a whole, and what was predicted back to their own size."]
        return [f"Images were cut at their own resolution into tiles of {size}, overlapping by {block.overlap():g}."]
    if block.training.mode == "finetune":
        return ["In training the encoder saw random crops and flips."]
    views = {results.config.datasets[name].trained_views() for name in block.datasets}
    flipped = views == {"flips"} and not block.reads_tokens() and block.given_decoder() is None
    return ["In training an image was seen in its flipped views too, but by baselines."] if flipped else []


def _statistics(results: Results) -> StatisticsFacts:
    names: dict[str, dict[str, str]] = {}
    intervals: dict[str, list[str]] = {}
    for result in results.results:
        test = result.metrics[result.metrics["split"] == "test"]
        names.setdefault(result.block.kind, {}).update({key: metric_name(key) for key in test["metric"]})
        for method, metric in dict.fromkeys(zip(test["interval"].map(text_of), test["metric"], strict=True)):
            found = intervals.setdefault(plain_method(method), [])
            found += [metric_name(metric)] if metric_name(metric) not in found else []
    intervals.pop("", None)
    return StatisticsFacts(
        metrics=names,
        intervals=dict(sorted(intervals.items())),
        paired=_methods(results.comparisons.values()),
        between=_methods(results.contrasts.values()),
        pooled=[name for name, block in results.config.tasks.items() if block.pool],
    )


def plain_method(interval: str) -> str:
    """Return how an interval is made, without what its name says of folds: that is one sentence for all of them."""
    return interval.removesuffix(", moved").removesuffix(", folds")


def _methods(tables: Iterable[Any]) -> list[str]:
    return sorted({text_of(name) for table in tables for name in table["method"]} - {""})


def mean_and_std(encoder: EncoderFacts) -> tuple[str, str]:
    """Return an encoder's input statistics as text; `by modality` where each has its own."""
    said = []
    for name in ("mean", "std"):
        values = json.loads(encoder.metadata[name])
        said.append("of the image's modality" if values is None else ", ".join(f"{value:.3f}" for value in values))
    return said[0], said[1]
