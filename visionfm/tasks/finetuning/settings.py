"""What the stage `finetune` depends on."""

from typing import ClassVar

from visionfm.images.settings import Reading
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.settings import VectorFitSettings


class FinetuneSettings(VectorFitSettings):
    """Of `finetune`."""

    recipe: FinetuneRecipe
    datasets: dict[str, Reading]
    exact_decode: bool = False
    threads: int = 2
    gpu: int = 0
    workers: int | None = None  # as its device needs

    ignored: ClassVar[set[str]] = {"checkpoint_minutes", "workers", "device", "gpu"}  # who decodes changes nothing
