"""What the stage `finetune` depends on."""

from visionfm.images.settings import Reading
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.settings import FittingSettings


class FinetuneSettings(FittingSettings):
    """Of `finetune`."""

    recipe: FinetuneRecipe
    datasets: dict[str, Reading]
    exact_decode: bool = False
    threads: int = 2
    gpu: int = 0
    workers: int = 2

    def what_matters(self) -> dict[str, object]:
        """Return the settings that the weights depend on: not how often they are saved, nor who decodes."""
        return self.model_dump(mode="json", exclude={"checkpoint_minutes", "workers", "device", "gpu"})
