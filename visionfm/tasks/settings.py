"""The settings of the stages of tasks on feature vectors, and of `evaluate`: their slices of the config."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from visionfm.config.base import Scalar
from visionfm.config.settings import Settings
from visionfm.tasks.vectors.recipe import Recipe


class LabelledTarget(Settings):
    """A target with its classes spelled out: `values[i]` are the labels that mean class i."""

    type: Literal["binary", "multiclass", "multilabel", "value", "mask", "point"]
    column: str
    classes: list[str] = []
    values: list[list[Scalar]] = []
    ordered: bool = False
    weight: float = 1.0
    unit: str | None = None
    unknown: list[Scalar] = []
    aggregate: Literal["max", "mean", "latest", "first"] | None = None

    def columns(self) -> list[str]:
        """Return the columns of labels.parquet it is made from."""
        if self.type in ("mask", "point"):
            return ["mask_id" if self.type == "mask" else "points"]
        return self.classes if self.type == "multilabel" else [self.column]


class FoldSettings(Settings):
    """Which fold is tested, of how many, and how they are drawn."""

    number: int
    repeat: int
    folds: int
    validation: float
    stratify: bool
    seed: int


class FuseSettings(Settings):
    """Of `fuse`."""

    kind: str
    datasets: dict[str, str]  # dataset -> modality
    external: list[str] = []
    modalities: list[str]
    targets: dict[str, LabelledTarget]
    unit: Literal["image", "volume", "eye", "visit", "subject"] = "image"
    max_days: int | None = None
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    progression: str | None = None  # the head of a task of that kind
    natural_visits: list[str] = []  # datasets whose visits are ordered by the numbers in their names
    trains: bool = True  # False: a given decoder is scored, so that no training sample is needed
    fold: FoldSettings | None = None  # None: the datasets' own splits


class TargetSpec(Settings):
    """A target as decoders and metrics see it; an `event` has the ends of its intervals and its horizons, in days."""

    type: Literal["binary", "multiclass", "multilabel", "value", "mask", "point", "event"]
    classes: list[str] = []
    ordered: bool = False
    weight: float = 1.0
    unit: str | None = None
    form: str | None = None  # how its outputs code it, where not as its type says
    intervals: list[float] = []
    horizons: list[float] = []


class FitSettings(Settings):
    """What all stages that fit a decoder have in common; `targets` are declared by each."""

    kind: str
    targets: Any
    modalities: list[str]
    seed: int = 0
    recipe_name: str
    device: Literal["cpu", "cuda"] = "cpu"
    checkpoint_minutes: float = 10

    ignored: ClassVar[set[str]] = {"checkpoint_minutes"}

    def what_matters(self) -> dict[str, Any]:
        """Return the settings that the weights depend on: not how often they are saved."""
        return self.model_dump(mode="json", exclude=self.ignored)

    @property
    def fitted_by(self) -> str:
        """The recipe's name, or the baseline's."""
        return self.recipe_name


class VectorFitSettings(FitSettings):
    """On feature vectors; None is, of the two that choose a part of the training data, all."""

    targets: dict[str, TargetSpec]
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    baseline: Literal["knn", "logreg"] | None = None  # None: the recipe's head
    train_fraction: float | None = None
    shots: int | None = None
    head: str | None = None  # of kinds that have several
    slices: Literal["mean", "max", "attention"] = "mean"
    visits: int | None = None  # of an eye, that it looks at together; None: a sample is of one visit

    left_out: ClassVar[tuple[str, ...]] = ("slices",)

    @property
    def pooling(self) -> str:
        """How slices are pooled: nothing in a baseline could learn which of them matter, so that it sees their mean."""
        return "mean" if self.baseline and self.slices == "attention" else self.slices

    @property
    def fitted_by(self) -> str:
        """The baseline's name where there is one."""
        return self.baseline or self.recipe_name


class Candidate(Settings):
    """One of the decoders that `auto` tries: a head on some of the features, or a baseline."""

    recipe: Recipe
    baseline: Literal["logreg"] | None = None


class TrainSettings(VectorFitSettings):
    """Of `train`; of several `candidates` validation chooses one, none: `recipe` says what is trained."""

    recipe: Recipe
    candidates: dict[str, Candidate] = {}

    def what_matters(self) -> dict[str, Any]:
        """Return the settings that the weights depend on."""
        found = super().what_matters()
        if not self.candidates:
            del found["candidates"]
        return found

    def ways(self) -> dict[str, "TrainSettings"]:
        """Return the settings of each candidate by its name; these ones, without a name, where there are none."""
        return {
            name: self.model_copy(
                update={**dict(one), "candidates": {}, "device": "cpu" if one.baseline else self.device}
            )
            for name, one in self.candidates.items()
        } or {"": self}


class PredictSettings(Settings):
    """Of `predict`; `targets` name the outputs of a published decoder file, which carries none."""

    task: str
    model: str
    run: str
    kind: str
    targets: dict[str, TargetSpec]
    modalities: list[str]
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    tta: Literal["none", "flips"] = "none"
    splits: list[str] = ["validation", "test"]
    device: Literal["cpu", "cuda"] = "cpu"


class CalibrateSettings(Settings):
    """Of `calibrate`; images are seen in the views in which `predict` sees them."""

    method: Literal["temperature", "platt", "isotonic"]
    kind: str
    modalities: list[str]
    tta: Literal["none", "flips"] = "none"


class LocateSettings(Settings):
    """Of `locate`; `neighbours`: how many training samples are named of each sample."""

    targets: dict[str, TargetSpec]
    modalities: list[str]
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    features: Literal["cls", "last_cls", "patch_mean", "both"]
    neighbours: int = 20


class SuspectSettings(Settings):
    """Of `suspect`; `external` are datasets as samples name them, whose labels are not judged."""

    targets: dict[str, TargetSpec]
    modalities: list[str]
    external: list[str] = []
    listed: int = 100  # labels of a target at most
    shown: int = 10  # on the page
    planted_shares: list[float] = [0.01, 0.05]  # of the training labels, changed on purpose
    draws: int = 100
    fewest: int = 50  # training labels, to plant errors among
    seed: int = 0


class EvaluateSettings(Settings):
    """Of `evaluate`."""

    task: str
    model: str
    head: str
    fusion: str
    kind: str
    targets: dict[str, TargetSpec]
    tubular: list[str] = []  # masks of vessels: measured by their centre lines too
    success_px: list[float] = []
    success_mm: list[float] = []
    operating_points: dict[str, tuple[Literal["sensitivity", "specificity"], float]] = {}  # what validation shall reach
    conformal: float | None = None  # how often sets of classes shall hold the true one
    external: list[str] = []  # as predictions name them: datasets, or cohorts where samples join several datasets
    pool: bool = False


class ModelsSettings(Settings):
    """Of what reads all models of a task; `runs` are those of a model's own decoder, whose mean stands for it."""

    models: list[str]
    runs: list[str]
    evaluate: EvaluateSettings  # of the first model

    def of(self, model: str) -> EvaluateSettings:
        """Return how a model's answers are scored."""
        return self.evaluate.model_copy(update={"model": model})


class CompareSettings(ModelsSettings):
    """Of `compare`."""

    baselines: list[str] = []
    pairs: Literal["headline", "all"] = "headline"

    def beside_runs(self, baseline: str) -> list[str]:
        """Return the runs of a baseline, or of the second observer: itself, and those of further divisions into folds.

        `baselines` names them all, the first division's by the baseline alone.
        """
        further = [name for name in self.baselines if name.startswith(f"{baseline}-")]
        return [baseline, *further]


class ContrastSettings(ModelsSettings):
    """Of `contrast`; `groups`: dataset -> grouping -> where its numbers are cut (none: its values are names)."""

    groups: dict[str, dict[str, list[float]]] = {}
    smallest_group: int = 10

    def cut(self, dataset: str, grouping: str) -> list[float]:
        """Return where a grouping is cut; of samples that join datasets (by cohort) as the first that has it says."""
        of_datasets = [self.groups.get(dataset, {}), *self.groups.values()]
        return next((of[grouping] for of in of_datasets if grouping in of), [])

    def in_order(self, datasets: Iterable[str]) -> list[str]:
        """Return datasets as predictions name them, the external ones last."""
        return sorted(datasets, key=lambda name: (name in self.evaluate.external, name))


class RecalibrateSettings(ModelsSettings):
    """Of `recalibrate`; `local_subjects`: how many fit it, `seed`: who they are."""

    local_subjects: list[int] = [0, 20, 50, 100]
    seed: int = 0
