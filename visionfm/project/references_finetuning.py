"""Fine-tuning trains one encoder: models that have several for the modalities of a task."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from visionfm.modalities import ANY


def several_encoders(
    name: str,
    task: Mapping[str, Any],
    blocks: Mapping[str, Mapping[str, Any]],
    spelled: Callable[[object], str | None],
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (location, problem) for a fine-tuned task; `spelled` gives a modality's published spelling."""
    training = task.get("training")
    if not isinstance(training, Mapping) or training.get("mode") != "finetune":
        return
    listed = [part for key in ("datasets", "external") if isinstance(part := task.get(key), list)]
    datasets = [blocks["datasets"].get(str(one)) for part in listed for one in part]
    needed = {spelled(block.get("modality")) for block in datasets if isinstance(block, Mapping)}
    models = task.get("models")
    for index, model in enumerate(models if isinstance(models, list) else []):
        given = blocks["models"].get(str(model))
        if not isinstance(given, Mapping):
            continue
        by_modality = {spelled(modality): encoder for modality, encoder in given.items()}
        encoders = {by_modality.get(modality, by_modality.get(ANY)) for modality in needed}
        if len(encoders) > 1:
            found = ", ".join(sorted(str(encoder) for encoder in encoders))
            yield ("tasks", name, "models", index), f"fine-tuning trains one encoder; model {model} has {found} here"
