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
        elif len(needed) > 1 and any(mixed_modalities(blocks, encoder, spelled) for encoder in encoders):
            found = ", ".join(sorted(map(str, needed)))
            problem = f"a `scheme: mix` encoder is fine-tuned on one modality at a time; the task has {found}"
            yield ("tasks", name, "models", index), problem


def mixed_modalities(
    blocks: Mapping[str, Mapping[str, Any]], encoder: object, spelled: Callable[[object], str | None]
) -> set[str]:
    """Return the modalities that a `scheme: mix` encoder is pretrained on; none of any other encoder."""
    block = blocks["encoders"].get(str(encoder))
    pretrain = block.get("pretrain") if isinstance(block, Mapping) else None
    if not isinstance(pretrain, Mapping) or pretrain.get("scheme") != "mix":
        return set()
    names = pretrain.get("datasets")
    datasets = [blocks["datasets"].get(str(name)) for name in (names if isinstance(names, list) else [])]
    found = {spelled(dataset.get("modality")) for dataset in datasets if isinstance(dataset, Mapping)}
    return {modality for modality in found if modality is not None}
