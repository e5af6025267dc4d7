"""The config's schema: a pydantic model per block. Unknown keys are errors; nothing here reads files or imports torch.

`docs/config.md` and `docs/config.schema.json` are generated from these models and their field descriptions.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from visionfm.config.base import ModalityName, Name, Natural, Positive, Resources, Statistics, Strict
from visionfm.data.block import Dataset
from visionfm.data.public import check_known
from visionfm.images.settings import Resizing
from visionfm.pretraining.block import Pretrain
from visionfm.project.study import Study
from visionfm.tasks import Task
from visionfm.tasks.block import EACH


def check_multiple(image_size: int, patch: int) -> None:
    """Raise ValueError, naming the nearest sizes, unless `image_size` px divide into patches of `patch` px."""
    below = image_size // patch * patch
    if patch and image_size != below:
        nearest = " or ".join(str(size) for size in (below, below + patch) if size)
        raise ValueError(f"image_size {image_size} does not divide into patches of {patch} px; nearest: {nearest}")


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
    sizes: list[Positive] = Field(
        [],
        description="instead of image_size, several of them: an encoder `NAME_224` for each, and models `MODEL_224` in "
        "place of those that name it; the page says which size is best on validation",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear",
        description="of the resize; bilinear as published for extraction, bicubic for single-modality training",
    )
    statistics: Literal["weights", "modality", "imagenet", "auto"] | Statistics = Field(
        "weights", description="input normalisation: what the weights were trained with, or another by choice"
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="arithmetic of extraction; bf16 is faster where a processor or GPU has it, and `visionfm doctor` "
        "says so; auto: bf16 there, else fp32, as chosen when the run is first planned (not on clusters)",
    )
    decode: Literal["fast", "exact"] = Field(
        "fast", description="fast decodes a JPEG much larger than needed at a reduced scale; exact decodes every pixel"
    )
    cache: Literal["float16", "float32"] = Field("float16", description="type of the cached features")
    seed: Natural = Field(0, description="seed of `weights: random`")
    pretrain: Pretrain | None = Field(None, description="train it here, from images of its modality")
    trained_on: list[Name] = Field(
        [], description="datasets whose images these weights were pretrained on; `audit` checks them"
    )
    public: Name | None = Field(
        None, description="whose weights these are, or start from, by its name in visionfm/data/public.yaml"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where extraction computes; auto: on a GPU where one is visible, else on the CPU"
    )
    batch_size: Positive = Field(32, description="images a forward pass")
    workers: Natural | None = Field(
        None, description="processes that decode images; default: 2 on a CPU, on a GPU one for each core of its process"
    )
    resources: Resources = Field(Resources(), description="of the `extract` jobs")

    def arithmetic(self) -> Literal["fp32", "bf16"]:
        """Return the precision that jobs compute in; ValueError before a plan has settled `auto`."""
        if self.precision == "auto":
            raise ValueError("`precision: auto` is settled by project/arithmetic.py before jobs are planned")
        return self.precision

    def resizing(self) -> Resizing:
        """Return how images become the square that it sees."""
        return Resizing(interpolation=self.interpolation, exact_decode=self.decode == "exact")

    @field_validator("public")
    @classmethod
    def _is_known(cls, public: str | None) -> str | None:
        return check_known("encoders", public)

    @model_validator(mode="after")
    def _one_source(self) -> "Encoder":
        if self.pretrain is not None:
            other = [name for name in ("weights", "timm", "key", "arch") if getattr(self, name) is not None]
            if other:
                raise ValueError(f"an encoder with `pretrain` has no {', '.join(other)} beside it; see pretrain's own")
            return self
        if patch := re.search(r"patch(\d+)", self.arch or self.timm or ""):
            check_multiple(self.image_size, int(patch[1]))
        if self.weights is None and self.timm is None:
            raise ValueError("needs one of weights (a path, or `random`), timm or pretrain")
        if self.weights == "random" and self.arch is None and self.timm is None:
            raise ValueError("`weights: random` needs arch, a timm architecture")
        return self


class ModalityBlock(Strict):
    """A modality that the published system does not have."""

    statistics: Literal["imagenet", "auto"] | Statistics = Field(
        description="input normalisation of encoders trained on it; auto measures it, once, on the training images"
    )


class ReportBlock(Strict):
    """What the page to mail carries of patients; the defaults carry nothing."""

    pictures: Literal["none", "examples"] = Field(
        "none",
        description="examples: a few images of each dataset, the best and worst masks, and errors to look at beside "
        "their nearest training images stand on the page",
    )
    ids: Literal["hidden", "shown"] = Field(
        "hidden",
        description="shown: names of files, ids of subjects and absolute folders; hidden: the first signs of image_id",
    )
    titles: dict[Name, str] = Field(
        {},
        description="how a task, target, model or dataset is called on the page: `{dr_grade: Grade of retinopathy}`; "
        "without one `dr_grade` is `DR grade`",
    )


class Config(Strict):
    """The whole config."""

    encoders: dict[Name, Encoder] = Field(description="encoders by name")
    models: dict[Name, dict[str, Name]] = Field(description="a model: modality (or `any`) -> encoder")
    datasets: dict[Name, Dataset] = Field(description="datasets by name")
    modalities: dict[ModalityName, ModalityBlock] = Field({}, description="only new ones")
    tasks: dict[Name, Task] = Field(description="tasks by name")
    title: str = Field("VisionFM report", description="of the report")
    report: ReportBlock = Field(ReportBlock(), description="what the page carries of patients")
    study: Study | None = Field(None, description="also write the paper, with what only its authors know")
    container: str | None = Field(
        None,
        min_length=1,
        description="with `--sdm apptainer` every job runs in this image: a .sif file, or what else Apptainer takes",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_encoder_for_each_size(cls, raw: Any) -> Any:
        """Write `sizes` of encoders out: an encoder for each, and in place of a model that names it one for each."""
        parts = [raw.get(part) for part in ("encoders", "models", "tasks")] if isinstance(raw, Mapping) else []
        encoders, models, tasks = (part if isinstance(part, Mapping) else {} for part in parts or [{}] * 3)
        sized = {
            name: block["sizes"]
            for name, block in encoders.items()
            if isinstance(block, Mapping) and isinstance(block.get("sizes"), list) and block["sizes"]
        }
        if not sized:
            return raw
        made: dict[str, list[str]] = {}  # model -> those in its place
        for model, of in models.items():
            named = of.values() if isinstance(of, Mapping) else []
            wanted = {str(sized[name]): sized[name] for name in named if isinstance(name, str) and name in sized}
            if len(wanted) > 1:
                raise ValueError(f"model {model}: its encoders have different `sizes`: {', '.join(wanted)}")
            made[model] = [f"{model}_{size}" for sizes in wanted.values() for size in sizes] or [model]
        return {
            **raw,
            "encoders": {new: block for name, one in encoders.items() for new, block in _by_size(name, one).items()},
            "models": {
                new: _at(models[model], new.removeprefix(str(model)), sized)
                for model, names in made.items()
                for new in names
            },
            "tasks": {name: _with_models(task, made) for name, task in tasks.items()},
        }

    @model_validator(mode="before")
    @classmethod
    def _one_task_for_each(cls, raw: Any) -> Any:
        """Write `external: each` out: a task for each dataset, trained on it alone and tested on all others, too."""
        tasks = raw.get("tasks") if isinstance(raw, Mapping) else None
        if not isinstance(tasks, Mapping):
            return raw
        found: dict[Any, Any] = {}
        for name, task in tasks.items():
            if not isinstance(task, Mapping) or task.get("external") != EACH:
                found[name] = task
                continue
            datasets = task.get("datasets")
            if not isinstance(datasets, list) or len(datasets) < 2:
                raise ValueError(f"task {name}: `external: each` needs two `datasets` or more, found {datasets}")
            for dataset in datasets:
                others = [other for other in datasets if other != dataset]
                if (alone := f"{name}_on_{dataset}") in tasks:
                    raise ValueError(f"`external: each` of task {name} makes a task {alone}: call yours otherwise")
                found[alone] = {**task, "datasets": [dataset], "external": others}
        return {**raw, "tasks": found}

    def dump(self, without: set[str] | None = None) -> dict[str, Any]:
        """Return what was set as plain JSON values: a default that was written out may stand in a recipe's way."""
        return self.model_dump(mode="json", exclude_unset=True, exclude=without)


def _by_size(name: str, block: Any) -> dict[str, Any]:
    """Return an encoder of the config as it is, or one for each of its sizes."""
    sizes = block.get("sizes") if isinstance(block, Mapping) else None
    if not isinstance(sizes, list) or not sizes:
        return {name: block}
    if "image_size" in block or block.get("pretrain") is not None or len(set(map(str, sizes))) < len(sizes):
        raise ValueError(f"encoder {name}: `sizes` are several different ones, without `image_size` and `pretrain`")
    rest = {key: value for key, value in block.items() if key != "sizes"}
    return {f"{name}_{size}": {**rest, "image_size": size} for size in sizes}


def _at(model: Any, suffix: str, sized: Mapping[str, Any]) -> Any:
    """Return a model with the encoders of the size that `suffix` names; one without sizes as it is."""
    return {key: f"{name}{suffix}" if name in sized else name for key, name in model.items()} if suffix else model


def _with_models(task: Any, made: Mapping[str, list[str]]) -> Any:
    """Return a task with the models that stand in place of those it names."""
    if not isinstance(task, Mapping) or not isinstance(task.get("models"), list):
        return task
    return {**task, "models": [new for name in task["models"] for new in made.get(str(name), [name])]}
