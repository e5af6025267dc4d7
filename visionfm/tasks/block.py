"""The config's block of a task: what the kinds have in common, and what the pipeline asks a task's block.

Each kind adds its own keys in its folder; whatever differs between kinds is a method here that a kind overrides.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from visionfm.config.base import Fraction, Name, Natural, Positive, Resources, Strict
from visionfm.tasks.settings import LabelledTarget, TargetSpec

EACH = "each"  # of `external`: what the config writes out before it is read
NAMES = {"type": "array", "items": {"type": "string"}}


class Training(Strict):
    """How decoders are trained; what is not set is the recipe's own."""

    mode: str = Field("frozen", description="frozen: a decoder on cached features; finetune: the encoder too")
    recipe: str = Field("sound", description="the name of the hyper-parameters' values; see each kind")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the decoder is trained")
    checkpoint_minutes: float = Field(10, gt=0, description="progress is saved this often")
    resources: Resources = Field(Resources(), description="of the `train` jobs")


class Frozen(Training):
    """How a decoder on cached features is trained; what is not set is the recipe's own."""

    mode: Literal["frozen"] = Field("frozen", description="a decoder on cached features; the encoder stays as it is")
    recipe: Literal["sound", "published"] = Field(
        "sound", description="sound: what works on few images; published: as the paper's code"
    )


class TaskSplit(Strict):
    """How a task divides its people itself, into folds: each is tested once, by a decoder that never saw them."""

    folds: int = Field(ge=2, description="the people of `datasets` in so many parts; their own splits are not used")
    repeats: int = Field(1, ge=1, description="divisions into folds, each another draw")
    validation: Fraction = Field(0.15, description="fraction of each fold's training people that selects models")
    stratify: bool = Field(
        True,
        description="spread the classes of the first target evenly. no: by a hash of the person alone, so that a new "
        "person never moves another one",
    )
    seed: Natural = Field(0, description="another seed, another draw")


class TaskBlock(Strict, ABC):
    """Decoders for one question, on one or several datasets, for each of several models."""

    kind: str = Field(description="what the targets are; it decides which further keys there are")
    datasets: list[Name] = Field(min_length=1, description="train, validate and test on these")
    external: Annotated[list[Name], WithJsonSchema({"anyOf": [{"const": EACH}, NAMES]})] = Field(
        [],
        description="test only: all their images. `each`: every one of `datasets` trains decoders of its own, which "
        "are tested on all others: a task `NAME_on_DATASET` each, and a matrix on the page",
    )
    models: list[Name] = Field(min_length=1, description="compared on equal terms")
    targets: Any = Field(description="what is predicted: a block for each name")
    unit: Literal["image", "volume", "eye", "visit", "subject"] = Field(
        "image", description="what a sample is; `n` counts it. volume: the frames of one file"
    )
    fusion: Literal["pooled", "concat", "mean", "attention"] = Field(
        "pooled",
        description="pooled: one decoder over the images of all modalities; the others join modalities in a unit",
    )
    split: TaskSplit | None = Field(None, description="folds (cross-validation) instead of the datasets' own splits")
    training: Training = Field(Frozen(), description="of the decoders")
    pool: bool = Field(
        False,
        description="also numbers over all `datasets` together, beside those of each; external ones are never pooled",
    )
    tta: Literal["none", "flips"] = Field("none", description="flips: average the test images' four views")
    seeds: list[Natural] = Field([0], min_length=1, description="one decoder each")
    compare: Literal["headline", "all", "none"] = Field(
        "headline",
        description="tests of differences. headline: the first of `models` against each other one, each against its "
        "baselines; all: every pair; none: no tests",
    )
    smallest_group: Positive = Field(
        10, description="people that a group of the test data must have: of fewer nothing is said but their number"
    )

    has_masks: ClassVar[bool] = False  # whether it predicts masks

    # --- targets ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def labels(self) -> dict[str, LabelledTarget]:
        """Return the targets as `fuse` reads them from labels."""

    def specs(self) -> dict[str, TargetSpec]:
        """Return the targets as decoders and metrics see them."""
        same = set(TargetSpec.model_fields)
        return {name: TargetSpec(**target.model_dump(include=same)) for name, target in self.labels().items()}

    def audited_targets(self) -> dict[str, LabelledTarget]:
        """Return the targets in whose labels two equal images must agree."""
        return self.labels()

    def mask_values(self) -> list[int]:
        """Return the pixel values that its masks may have."""
        return []

    def reads_tokens(self) -> bool:
        """Tell whether its decoders on vectors read every patch token of the encoder, at the encoder's size."""
        return False

    def reads_vectors(self) -> bool:
        """Tell whether its decoders on vectors read the CLS tokens or the patch mean."""
        return True

    def heads_tried(self) -> Sequence[str]:
        """Return the heads (`logreg` among them) of which validation chooses one; none where the config says which."""
        return ()

    # --- decoders ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values, for images of these modalities."""

    def given_decoder(self) -> str | None:
        """Return the decoder that the config names, so that nothing is trained."""
        return None

    def baseline_names(self) -> Sequence[str]:
        """Return the baselines that stand beside its own decoder."""
        return ()

    def parts_of_data(self) -> tuple[Sequence[float], Sequence[int]]:
        """Return the fractions, and the samples per class, on which decoders are trained too."""
        return (), ()

    def head_name(self) -> str:
        """Return what metrics call its decoder."""
        return self.training.recipe

    # --- more of the stages' settings -------------------------------------------------------------------------------

    def fuse_keys(self) -> Mapping[str, Any]:
        """Return what `fuse` needs of it beside what every kind has."""
        return {}

    def calibrated_by(self) -> str:
        """Return how its probabilities are calibrated; `none` where they stay as they are."""
        return "none"

    def train_keys(self) -> Mapping[str, Any]:
        """Return what `train` needs of it beside what every kind has."""
        return {}

    def evaluate_keys(self) -> Mapping[str, Any]:
        """Return what `evaluate` needs of it beside what every kind has."""
        return {}
