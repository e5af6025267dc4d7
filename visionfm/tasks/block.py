"""The config's block `training`: how a task's decoders are trained."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Natural, Positive, Resources
from visionfm.config.recipe import given_keys
from visionfm.tasks.classification import is_single
from visionfm.tasks.finetuning.block import FinetuningSwitches, finetuning_problem
from visionfm.tasks.finetuning.recipe import FinetuneRecipe, finetune_recipe
from visionfm.tasks.maps.block import DENSE_KINDS, DenseTask, DenseTraining, dense_problem
from visionfm.tasks.progression.block import ProgressionTask, progression_problem
from visionfm.tasks.target import Target
from visionfm.tasks.vectors.recipe import SOUND

TASKS = Path(__file__).resolve().parent
PartOfAll = Annotated[float, Field(ge=0.0001, le=1)]


class Training(DenseTraining, FinetuningSwitches):
    """How a decoder is trained; unset values are the recipe's own."""

    mode: Literal["frozen", "finetune"] = Field(
        "frozen", description="frozen: a decoder on cached features; finetune: encoder and decoder, on the images"
    )
    recipe: Literal["sound", "modern", "published"] = Field(
        "sound",
        description="sound: frozen features of a few hundred images; modern: the default of fine-tuning; published: as "
        "the paper's code",
    )
    features: Literal["cls", "patch_mean", "both"] | None = Field(None, description="which cached features")
    epochs: Positive | None = Field(None, description="at most; early stopping may end before")
    batch_size: Positive | None = Field(None, description="samples per step")
    lr: float | None = Field(None, gt=0, description="learning rate")
    weight_decay: float | None = Field(None, ge=0, description="of AdamW")
    patience: Positive | None = Field(None, description="epochs without a better validation loss before stopping")
    modality_dropout: float | None = Field(None, ge=0, lt=1, description="chance that a modality is hidden in training")
    class_weighting: Literal["none", "balanced"] | None = Field(None, description="balanced: rare classes weigh more")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the decoder is trained")
    checkpoint_minutes: float = Field(10, gt=0, description="progress is saved this often")
    resources: Resources = Field(Resources(), description="of the `train` jobs")

    @property
    def recipe_name(self) -> Literal["sound", "modern", "published"]:
        """The recipe, or the default of its mode."""
        return "modern" if self.mode == "finetune" and "recipe" not in self.model_fields_set else self.recipe


class Task(DenseTask, ProgressionTask):
    """Decoders for one question, on one or several datasets, for each of several models."""

    kind: Literal["classification", "regression", "segmentation", "landmarks", "progression"] = Field(
        description="what the targets are"
    )
    datasets: list[Name] = Field(
        [], description="train, validate and test on these; one at least, but for a task with a given `decoder`"
    )
    decoder: str | None = Field(
        None,
        description="a decoder of this project or a published file, applied as it is: nothing is trained",
    )
    external: list[Name] = Field([], description="test only: all their images")
    models: list[Name] = Field(min_length=1, description="compared on equal terms")
    targets: dict[Name, Target] = Field(min_length=1, description="what is predicted")
    unit: Literal["image", "eye", "visit", "subject"] = Field("image", description="what a sample is; `n` counts it")
    max_days: Positive | None = Field(None, description="images of one unit may lie this far apart (visits as dates)")
    fusion: Literal["pooled", "concat", "mean", "attention"] = Field(
        "pooled",
        description="pooled: one decoder over the images of all modalities; the others join modalities in a unit",
    )
    training: Training = Field(Training(), description="of the decoders")
    tta: Literal["none", "flips"] = Field("none", description="flips: average the test images' four views")
    seeds: list[Natural] = Field([0], min_length=1, description="one decoder each")
    baselines: list[Literal["knn", "logreg"]] | None = Field(
        None, description="k-NN and logistic regression beside a classification's decoder; default both, `[]` none"
    )
    train_fraction: list[PartOfAll] = Field(
        [], description="label efficiency: also train on these fractions of the training subjects, for every seed"
    )
    shots: list[Positive] = Field(
        [], description="label efficiency: also train on so many samples per class (or fifth of the values)"
    )

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values."""
        if self.kind in DENSE_KINDS:
            return TASKS / self.kind / "recipes" / f"{name}.yaml"
        if self.kind == "progression":
            own = "published" if name == "published" else {"published": "forecast"}.get(self.head or "", self.head)
            return TASKS / "progression" / "recipes" / f"{own}.yaml"
        if name == "sound":
            return SOUND
        tuned = self.training.mode == "finetune"
        if self.kind == "regression":
            return TASKS / "regression" / "recipes" / (f"finetuned_{name}.yaml" if tuned else f"{name}.yaml")
        if tuned:
            return TASKS / "finetuning" / "recipes" / f"{name}.yaml"
        single = is_single(self.targets.values(), modalities)
        return TASKS / "classification" / "recipes" / ("published_single.yaml" if single else "published_multi.yaml")

    @model_validator(mode="after")
    def _kind_and_unit_fit(self) -> "Task":
        problem = _given_problem(self) or dense_problem(self) or finetuning_problem(self)
        if problem := problem or progression_problem(self):
            raise ValueError(problem)
        if self.training.mode == "finetune":
            path = self.recipe_file(self.training.recipe_name, ())
            finetune_recipe(path, given_keys(self.training, FinetuneRecipe))  # ValueError where its values do not fit
        values = {name for name, target in self.targets.items() if target.type == "value"}
        if self.kind == "classification" and values:
            raise ValueError(f"classification cannot have targets of type value: {', '.join(sorted(values))}")
        if self.kind == "regression" and values != set(self.targets):
            raise ValueError("regression needs targets of type value only")
        if self.kind != "classification" and self.baselines:
            raise ValueError("knn and logreg are baselines of classification; leave `baselines` out")
        if self.kind not in ("classification", "regression") and (self.train_fraction or self.shots):
            raise ValueError("train_fraction and shots belong to classification and regression")
        if self.fusion == "pooled" and self.unit != "image":
            raise ValueError(f"fusion pooled has unit image; for unit {self.unit} choose concat, mean or attention")
        if self.fusion != "pooled" and self.unit == "image":
            raise ValueError(f"fusion {self.fusion} needs unit eye, visit or subject")
        return self


def _given_problem(task: Task) -> str | None:
    """Return what is wrong with a task's block as far as a given decoder is concerned, or None."""
    if task.decoder is None:
        return None if task.datasets else "names no `datasets` to train on"
    if task.kind not in ("classification", "regression"):
        return f"a given decoder is of classification or regression, not {task.kind}"
    trained = {"training", "seeds", "baselines", "train_fraction", "shots"}
    if given := sorted(trained & task.model_fields_set):
        return f"nothing is trained where the `decoder` is given: leave out {', '.join(given)}"
    return None if task.datasets or task.external else "names no `datasets` and no `external` ones to score"
