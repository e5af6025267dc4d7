"""The config's schema: one pydantic model a block. Unknown keys are errors; nothing here reads files or imports torch.

`docs/config.md` and `docs/config.schema.json` are generated from these models and their field descriptions.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from visionfm.config import schema_dense, schema_progression
from visionfm.config.schema_base import Fraction as Fraction
from visionfm.config.schema_base import ModalityName as ModalityName
from visionfm.config.schema_base import Name as Name
from visionfm.config.schema_base import Natural as Natural
from visionfm.config.schema_base import Positive as Positive
from visionfm.config.schema_base import Resources as Resources
from visionfm.config.schema_base import Scalar as Scalar
from visionfm.config.schema_base import Statistics as Statistics
from visionfm.config.schema_base import Strict as Strict
from visionfm.config.schema_datasets import Columns as Columns
from visionfm.config.schema_datasets import Dataset as Dataset
from visionfm.config.schema_datasets import Split as Split
from visionfm.config.schema_dense import DenseCache as DenseCache
from visionfm.config.schema_finetuning import Lora as Lora
from visionfm.config.schema_finetuning import Trainable as Trainable
from visionfm.config.schema_finetuning import finetuning_problem
from visionfm.config.schema_images import Augment as Augment
from visionfm.config.schema_images import Pack as Pack
from visionfm.config.schema_pretraining import Knn as Knn
from visionfm.config.schema_pretraining import Pretrain as Pretrain
from visionfm.config.schema_progression import Survival as Survival
from visionfm.config.schema_training import PartOfAll
from visionfm.config.schema_training import Training as Training


class Encoder(Strict):
    """One image encoder: whose weights, for which modality, fed how."""

    modality: str = Field(description="the modality its weights were trained on, or `any`")
    weights: str | None = Field(
        None, description="a checkpoint of any known dialect, or `random` for an untrained encoder"
    )
    timm: str | None = Field(
        None, description="a timm model name; its weights are downloaded unless `weights` is a file"
    )
    key: str | None = Field(
        None, description="the entry of the checkpoint to take, where it holds several (teacher, student)"
    )
    arch: str | None = Field(
        None, description="timm architecture, where the weights do not tell; required for `random`"
    )
    image_size: Positive = Field(224, description="side of the square input in px; must divide by the patch size")
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear",
        description="of the resize; bilinear as published for extraction, bicubic for single-modality training",
    )
    statistics: Literal["weights", "modality", "imagenet", "auto"] | Statistics = Field(
        "weights", description="input normalisation: what the weights were trained with, or another by choice"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of extraction; bf16 is faster on GPUs")
    decode: Literal["fast", "exact"] = Field(
        "fast", description="fast decodes a JPEG much larger than needed at a reduced scale; exact decodes every pixel"
    )
    cache: Literal["float16", "float32"] = Field("float16", description="type of the cached features")
    seed: Natural = Field(0, description="seed of `weights: random`")
    pretrain: Pretrain | None = Field(None, description="train it here, from images of its modality")
    trained_on: list[Name] = Field(
        [], description="datasets whose images these weights were pretrained on; `audit` checks them"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where extraction computes")
    batch_size: Positive = Field(32, description="images a forward pass")
    workers: Natural = Field(2, description="processes that decode images")
    resources: Resources = Field(Resources(), description="of the `extract` jobs")

    @model_validator(mode="after")
    def _one_source(self) -> "Encoder":
        if self.pretrain is not None:
            other = [name for name in ("weights", "timm", "key", "arch") if getattr(self, name) is not None]
            if other:
                raise ValueError(f"an encoder with `pretrain` has no {', '.join(other)} beside it; see pretrain's own")
            return self
        if self.weights is None and self.timm is None:
            raise ValueError("needs one of weights (a path, or `random`), timm or pretrain")
        if self.weights == "random" and self.arch is None and self.timm is None:
            raise ValueError("`weights: random` needs arch, a timm architecture")
        return self


class Target(Strict):
    """What a task predicts from the labels."""

    type: Literal["binary", "multiclass", "multilabel", "value"] | None = Field(
        None, description="its kind of value; masks, points and progression have none"
    )
    column: Name | None = Field(None, description="the label it is made from; default: the target's own name")
    classes: Positive | list[Scalar] | dict[str, Scalar | list[Scalar]] | None = Field(
        None,
        description="a number (labels 0..n-1), the labels in order, or name: label(s); multilabel: the label columns;"
        " masks: pixel values",
    )
    ordered: bool = Field(False, description="classes are grades: adds quadratic kappa")
    weight: float = Field(1.0, gt=0, description="of its loss")
    tubular: bool | None = Field(
        None, description="masks: adds clDice; default: where `vessel` is in the target's name"
    )
    unit: str | None = Field(None, description="of a value, for reports")
    unknown: list[Scalar] = Field([], description="labels that mean unknown, beside empty ones")
    aggregate: Literal["max", "mean", "latest", "first"] | None = Field(
        None, description="how labels that disagree inside a unit become one; otherwise they are an error"
    )

    @model_validator(mode="after")
    def _classes_fit(self) -> "Target":
        if self.type == "value" and self.classes is not None:
            raise ValueError("a value has no classes")
        if self.type in ("multiclass", "multilabel") and self.classes is None:
            raise ValueError(f"{self.type} needs `classes`")
        if self.type == "multilabel" and not isinstance(self.classes, list):
            raise ValueError("multilabel needs `classes`: the list of its label columns")
        count = self.classes if isinstance(self.classes, int) else len(self.classes or ())
        if self.type == "binary" and self.classes is not None and count != 2:
            raise ValueError("binary has two classes, the negative one first")
        if (self.type == "multiclass" and count < 2) or (self.type == "multilabel" and count < 1):
            raise ValueError(
                f"{self.type} needs {'two classes' if self.type == 'multiclass' else 'one label'} at least"
            )
        if doubled := _doubled(self.classes):
            raise ValueError(f"`classes` must differ; these stand twice: {', '.join(doubled)}")
        if self.aggregate == "mean" and self.type != "value":
            raise ValueError("`aggregate: mean` belongs to type value; for classes choose max, latest or first")
        return self


def _doubled(classes: int | list[Scalar] | dict[str, Scalar | list[Scalar]] | None) -> list[str]:
    """Return labels that mean two classes; 1, 1.0, true and `1` are one label."""
    if classes is None or isinstance(classes, int):
        return []
    labels = classes if isinstance(classes, list) else list(classes.values())
    flat = [label for one in labels for label in (one if isinstance(one, list) else [one])]
    texts = [f"{float(label):g}" if isinstance(label, bool | int | float) else label for label in flat]
    return sorted({text for text in texts if texts.count(text) > 1})


class Task(schema_dense.DenseTask, schema_progression.ProgressionTask):
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
        [], description="label efficiency: also train on so many samples a class (or fifth of the values)"
    )

    @model_validator(mode="after")
    def _kind_and_unit_fit(self) -> "Task":
        problem = _given_problem(self) or schema_dense.dense_problem(self) or finetuning_problem(self)
        if problem := problem or schema_progression.progression_problem(self):
            raise ValueError(problem)
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


class ModalityBlock(Strict):
    """A modality that the published system does not have."""

    statistics: Literal["imagenet", "auto"] | Statistics = Field(
        description="input normalisation of encoders trained on it; auto measures it, once, on the training images"
    )


class Config(Strict):
    """The whole config."""

    encoders: dict[Name, Encoder] = Field(description="encoders by name")
    models: dict[Name, dict[str, Name]] = Field(description="a model: modality (or `any`) -> encoder")
    datasets: dict[Name, Dataset] = Field(description="datasets by name")
    modalities: dict[ModalityName, ModalityBlock] = Field({}, description="only new ones")
    tasks: dict[Name, Task] = Field(description="tasks by name")
    title: str = Field("VisionFM report", description="of the report")

    def dump(self) -> dict[str, Any]:
        """Return the config as plain JSON values, defaults left out."""
        return self.model_dump(mode="json", exclude_defaults=True)
