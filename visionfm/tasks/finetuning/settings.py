"""What the stage `finetune` depends on."""

from typing import Literal

from visionfm.config.settings import Settings
from visionfm.tasks.finetuning.block import Trainable
from visionfm.tasks.settings import TrainSettings


class ImagesOf(Settings):
    """How the images of one dataset are read."""

    frame: int | None = None
    max_megapixels: float = 200


class FinetuneSettings(TrainSettings):
    """Of `finetune`; None is the recipe's own value."""

    datasets: dict[str, ImagesOf]
    exact_decode: bool = False
    trainable: Literal["all"] | Trainable | None = None
    probe_first: bool | None = None
    encoder_lr: float | None = None
    layer_decay: float | None = None
    warmup_epochs: float | None = None
    crop_scale: list[float] | None = None
    mixup: float | None = None
    cutmix: float | None = None
    randaugment: str | Literal[False] | None = None
    random_erasing: float | None = None
    label_smoothing: float | None = None
    drop_path: float | None = None
    ema: float | None = None
    class_balanced: bool | None = None
    precision: Literal["fp32", "bf16"] | None = None
    accumulate: int | None = None
    compile: bool | None = None
    checkpoint_activations: bool | None = None
    threads: int = 2
    gpu: int = 0
    workers: int = 2

    def what_matters(self) -> dict[str, object]:
        """Return the settings that the weights depend on: not how often they are saved, nor who decodes."""
        return self.model_dump(mode="json", exclude={"checkpoint_minutes", "workers", "device", "gpu"})
