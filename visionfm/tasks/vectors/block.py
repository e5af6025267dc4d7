"""What the blocks of tasks on feature vectors have in common: training on cached features, or of the encoder too."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, create_model, model_validator

from visionfm.config.base import Name, Natural, Positive, Strict
from visionfm.config.nearest import unknown
from visionfm.config.recipe import Recipe as AnyRecipe
from visionfm.config.recipe import given_keys, optional_keys
from visionfm.data.promises import label_names
from visionfm.tasks.block import Frozen, TaskBlock, Training
from visionfm.tasks.finetuning.recipe import FinetuneRecipe, finetune_recipe
from visionfm.tasks.kind import Location, Raw, RawDataset
from visionfm.tasks.vectors.candidates import AUTO
from visionfm.tasks.vectors.recipe import ATTENTIVE, SOUND, Recipe

OF_CLASSES = ("class_weighting", "label_smoothing", "class_balanced")  # hyper-parameters that only classes have
PartOfAll = Annotated[float, Field(ge=0.0001, le=1)]


class Finetuning(Training):
    """How encoder and head are trained together, on the images; what is not set is the recipe's own."""

    mode: Literal["finetune"] = Field(description="the encoder is trained too, on the images")
    recipe: Literal["modern", "published"] = Field(
        "modern", description="modern: what fine-tunes well on little data; published: as the paper's code"
    )
    workers: Natural | None = Field(
        None, description="processes that decode images; default: 2 on a CPU, on a GPU one for each core of its process"
    )


def training_block(
    name: str, base: type[Training], model: type[AnyRecipe], without: Collection[str] = ()
) -> type[Training]:
    """Return a block `training`: the base's keys, and the recipe's hyper-parameters but for some."""
    keys = optional_keys(model, without)
    made: type[Training] = create_model(name, __base__=base, __doc__=base.__doc__, __module__=__name__, **keys)
    return made


def mode_of(training: Any) -> str:
    """Return the mode of a block `training`, as plain values or as a model; `frozen` where it does not say."""
    found = training.get("mode", "frozen") if isinstance(training, Mapping) else getattr(training, "mode", "frozen")
    return found if isinstance(found, str) else repr(found)


if TYPE_CHECKING:
    ClassTraining = Frozen
    HeadTraining = Frozen
    ClassFinetuning = Finetuning
    ValueFinetuning = Finetuning
    ClassTrainings = Training
    ValueTrainings = Training
else:
    ClassTraining = training_block("ClassTraining", Frozen, Recipe)
    HeadTraining = training_block("HeadTraining", Frozen, Recipe, without=OF_CLASSES)
    ClassFinetuning = training_block("ClassFinetuning", Finetuning, FinetuneRecipe)
    ValueFinetuning = training_block("ValueFinetuning", Finetuning, FinetuneRecipe, without=OF_CLASSES)
    BY_MODE = Discriminator(mode_of)
    ClassTrainings = Annotated[
        Annotated[ClassTraining, Tag("frozen")] | Annotated[ClassFinetuning, Tag("finetune")], BY_MODE
    ]
    ValueTrainings = Annotated[
        Annotated[HeadTraining, Tag("frozen")] | Annotated[ValueFinetuning, Tag("finetune")], BY_MODE
    ]


class VectorTask(TaskBlock):
    """A task on feature vectors."""

    @model_validator(mode="after")
    def _unit_fits(self) -> "VectorTask":
        if self.fusion == "pooled" and self.unit != "image":
            raise ValueError(f"fusion pooled has unit image; for unit {self.unit} choose concat, mean or attention")
        if self.fusion != "pooled" and self.unit == "image":
            raise ValueError(f"fusion {self.fusion} needs unit volume, eye, visit or subject")
        return self


class LabelledTask(VectorTask):
    """A task that learns label columns: it can be fine-tuned, take a given decoder, and train on few labels."""

    datasets: list[Name] = Field(
        [], description="train, validate and test on these; one at least, but for a task with a given `decoder`"
    )
    slices: Literal["mean", "max", "attention"] = Field(
        "mean",
        description="how a unit's images of one modality (slices of a volume, several photographs) become one vector; "
        "attention learns which of them matter, for a finding on few slices, and says it in `predictions`",
    )
    max_days: Positive | None = Field(None, description="images of one unit may lie this far apart (visits as dates)")
    decoder: str | None = Field(
        None, description="a decoder of this project or a published file, applied as it is: nothing is trained"
    )
    train_fraction: list[PartOfAll] = Field(
        [], description="label efficiency: also train on these fractions of the training subjects, for every seed"
    )
    shots: list[Positive] = Field(
        [], description="label efficiency: also train on so many samples per class (or fifth of the values)"
    )

    @model_validator(mode="after")
    def _slices_fit(self) -> "LabelledTask":
        if self.slices != "mean" and self.fusion == "pooled":
            raise ValueError(f"`slices: {self.slices}` joins images of a unit: unit volume, eye, visit or subject")
        return self

    @model_validator(mode="after")
    def _given_fits(self) -> "LabelledTask":
        if self.decoder is None:
            if not self.datasets:
                raise ValueError("names no `datasets` to train on")
            return self
        trained = {"training", "seeds", "baselines", "train_fraction", "shots", "calibrate", "split"}
        if given := sorted(trained & self.model_fields_set):
            raise ValueError(f"nothing is trained where the `decoder` is given: leave out {', '.join(given)}")
        if not self.datasets and not self.external:
            raise ValueError("names no `datasets` and no `external` ones to score")
        return self

    @model_validator(mode="after")
    def _finetuning_fits(self) -> "LabelledTask":
        if self.training.mode == "finetune":
            if self.unit != "image" or self.fusion != "pooled":
                raise ValueError("fine-tuning has unit image and fusion pooled")
            self.finetuning()  # ValueError where the recipe's values do not fit
        return self

    def finetuning(self) -> FinetuneRecipe:
        """Return the recipe of fine-tuning with what the block sets."""
        path = self.recipe_file(self.training.recipe, ())
        return finetune_recipe(path, given_keys(self.training, FinetuneRecipe))

    def given_decoder(self) -> str | None:
        """Return the decoder that the config names, so that nothing is trained."""
        return self.decoder

    def fuse_keys(self) -> Mapping[str, Any]:
        """Return how far apart the images of a unit may lie."""
        return {"max_days": self.max_days}

    def train_keys(self) -> Mapping[str, Any]:
        """Return how slices are pooled."""
        return {"slices": self.slices}

    def parts_of_data(self) -> tuple[Sequence[float], Sequence[int]]:
        """Return the fractions, and the samples per class, on which decoders are trained too."""
        return self.train_fraction, self.shots


class HeadedTask(LabelledTask):
    """A task whose decoders on frozen features may have one of several heads."""

    CANDIDATES: ClassVar[Sequence[str]]  # of `head: auto`, the simplest first

    head: Literal["linear", "attentive", "auto"] | None = Field(
        None,
        description="of decoders on frozen features: linear, on the image's own; attentive: over all cached "
        "patch tokens, for small findings (memory: an image of a ViT-B at 224 px takes 2.4 MB); auto: "
        "validation chooses among these two and, for classes, logistic regression; default: the recipe's",
    )

    @model_validator(mode="after")
    def _head_fits(self) -> "HeadedTask":
        if self.head is None:
            return self
        if self.training.mode == "finetune" or self.decoder is not None or self.training.recipe != "sound":
            raise ValueError("`head` is for decoders trained on frozen features with recipe sound")
        if self.reads_tokens() and (self.fusion != "pooled" or self.tta == "flips"):
            raise ValueError(f"`head: {self.head}` has unit image, fusion pooled and no `tta: flips`")
        if self.head == "attentive" and getattr(self.training, "features", None) is not None:
            raise ValueError("`head: attentive` reads every patch token: leave out `features`")
        return self

    def reads_tokens(self) -> bool:
        """Tell whether its decoders read every patch token of the encoder, at the encoder's size."""
        return self.head in ("attentive", AUTO)

    def reads_vectors(self) -> bool:
        """Tell whether its decoders read the CLS tokens or the patch mean."""
        return self.head != "attentive"

    def heads_tried(self) -> Sequence[str]:
        """Return the heads of which validation chooses one."""
        return self.CANDIDATES if self.head == AUTO else ()

    def sound_recipe(self) -> Path:
        """Return the file of recipe sound: that of the head that the config names."""
        return ATTENTIVE if self.head == "attentive" else SOUND


class OperatingPoint(Strict):
    """What a threshold shall reach on validation data; it is then applied to the test data."""

    sensitivity: float | None = Field(None, gt=0, le=1, description="at least this, by as few positive calls as can be")
    specificity: float | None = Field(
        None, gt=0, le=1, description="at least this, by as many positive calls as can be"
    )

    @model_validator(mode="after")
    def _one(self) -> "OperatingPoint":
        if (self.sensitivity is None) == (self.specificity is None):
            raise ValueError("an operating point names a sensitivity or a specificity, one of both")
        return self

    def wanted(self) -> tuple[str, float]:
        """Return the metric and the least that it shall be."""
        if self.sensitivity is not None:
            return "sensitivity", self.sensitivity
        assert self.specificity is not None
        return "specificity", self.specificity


OPERATING_POINTS: Any = Field(
    [], description="further thresholds, each chosen on validation by what it shall reach: `[{sensitivity: 0.95}]`"
)


CALIBRATE: Any = Field(
    "none",
    description="how probabilities are calibrated on validation; every threshold is chosen afterwards. temperature: "
    "one number, for few samples; platt: slope and intercept; isotonic: a rising step function, for many",
)


CONFORMAL: Any = Field(
    None,
    gt=0.5,
    lt=1,
    description="answer sets of classes that hold the true one so often (0.9), for a sample of a new person; the limit "
    "is chosen on validation",
)


def operating_points(points: Sequence[OperatingPoint]) -> Mapping[str, Any]:
    """Return these points as `evaluate` reads them, by their names."""
    wanted = [point.wanted() for point in points]
    return {"operating_points": {f"{metric} {least:g}": (metric, least) for metric, least in wanted}}


def label_problems(task: Raw, datasets: Sequence[RawDataset]) -> Iterator[tuple[Location, str]]:
    """Yield the targets whose label columns no dataset of the task has."""
    labels = [label_names(dataset.block) for dataset in datasets]
    if None in labels:
        return
    labelled = sorted(set().union(*(known or set() for known in labels)))
    targets = task.get("targets")
    for name, block in targets.items() if isinstance(targets, Mapping) else ():
        if not isinstance(block, Mapping):
            continue
        classes = block.get("classes")
        multilabel = block.get("type") == "multilabel"
        wanted = (classes if isinstance(classes, list) else []) if multilabel else [block.get("column") or name]
        for column in wanted:
            if problem := unknown(str(column), labelled, "label of the task's datasets"):
                yield ("targets", name), problem


def sibling(file: str, name: str) -> Path:
    """Return a recipe's file in the folder `recipes` beside a kind's module."""
    return Path(file).resolve().parent / "recipes" / f"{name}.yaml"
