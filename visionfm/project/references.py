"""Checks between the blocks of a config: names that must exist elsewhere, choices that must fit each other.

Works on plain values that may be invalid elsewhere, so that these problems are reported together with the schema's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from visionfm.config.nearest import unknown
from visionfm.data.block import DENSE_COLUMNS, LABEL_COLUMNS, SAMPLE_COLUMNS
from visionfm.data.promises import block_of, label_names, list_of, taken_names
from visionfm.errors import ConfigError
from visionfm.modalities import ANY, MODALITIES, canonical
from visionfm.project.references_finetuning import mixed_modalities, several_encoders
from visionfm.tasks import KINDS
from visionfm.tasks.kind import RawDataset

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
Found = Iterator[tuple[tuple[str | int, ...], str]]
# Columns that labels.parquet and samples.parquet have of themselves: no label and no target can have such a name.


def reference_problems(raw: Mapping[str, Any]) -> Found:
    """Yield (location, problem) for everything that does not fit between blocks."""
    blocks = {name: block_of(raw, name) for name in ("encoders", "models", "datasets", "modalities", "tasks")}
    added = tuple(str(name) for name in blocks["modalities"])
    yield from _control_characters(raw, ())
    yield from _modality_names(blocks, added)
    yield from _datasets(blocks, added)
    yield from _encoders(blocks, added)
    yield from _models(blocks, added)
    yield from _tasks(blocks, added)
    yield from _given_decoders(blocks)
    yield from _titles(raw, blocks)


def _control_characters(value: object, at: tuple[str | int, ...]) -> Found:
    """No path, pattern, name or reason has them, nor halves of a character; a call of the system ends at a NUL."""
    if isinstance(value, Mapping):
        for name, inside in value.items():
            yield from _control_characters(inside, (*at, str(name)))
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from _control_characters(inside, (*at, index))
    elif isinstance(value, str) and (found := CONTROL.search(value)):
        yield at, f"holds a control character, {found[0]!a}; take it out"


def _entries(block: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, entry) for name, entry in block.items() if isinstance(entry, Mapping))


def modality_or_none(name: object, added: tuple[str, ...]) -> str | None:
    """Return a modality's published spelling, `any`, or None when it is unknown."""
    if name == ANY:
        return ANY
    try:
        return canonical(str(name), added)
    except ConfigError:
        return None


def _given_decoders(blocks: Mapping[str, Mapping[str, Any]]) -> Found:
    for name, task in _entries(blocks["tasks"]):
        if re.search(r"[{}]", str(task.get("decoder", ""))):
            yield ("tasks", name, "decoder"), "has braces in its path, which Snakemake fills in: rename the file"


def _titles(raw: Mapping[str, Any], blocks: Mapping[str, Mapping[str, Any]]) -> Found:
    names = [*blocks["tasks"], *blocks["models"], *blocks["datasets"], *blocks["encoders"]]
    names += [target for _, task in _entries(blocks["tasks"]) for target in block_of(task, "targets")]
    for name in block_of(block_of(raw, "report"), "titles"):
        if problem := unknown(name, names, "task, target, model or dataset"):
            yield ("report", "titles", name), problem


def _modality_names(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name in added:
        if modality_or_none(name, ()) is not None:
            yield ("modalities", name), "a published modality, or an alias of one; only new ones stand here"
        elif modality_or_none(name, added) != name:
            yield ("modalities", name), f"the same name as {modality_or_none(name, added)}, but for its spelling"
    for name, dataset in _entries(blocks["datasets"]):
        if "modality" in dataset and modality_or_none(dataset["modality"], added) in (None, ANY):
            yield ("datasets", name, "modality"), _modality_hint(dataset["modality"], added)
    for name, encoder in _entries(blocks["encoders"]):
        if "modality" in encoder and modality_or_none(encoder["modality"], added) is None:
            yield ("encoders", name, "modality"), _modality_hint(encoder["modality"], added)
    for name, model in _entries(blocks["models"]):
        seen: dict[str, str] = {}
        for modality in model:
            known = modality_or_none(modality, added)
            if known is None:
                yield ("models", name, modality), _modality_hint(modality, added)
            elif seen.setdefault(known, modality) != modality:
                yield ("models", name, modality), f"the same modality as {seen[known]!r}; keep one encoder for it"


def _hashed_otherwise(name: str, dataset: Mapping[str, Any], datasets: Mapping[str, Any]) -> str | None:
    """Return an earlier dataset of the same cohort whose ids become others; None where there is none."""
    for other, block in _entries(datasets):
        if other == name:
            return None
        together = block.get("cohort") is not None and block["cohort"] == dataset.get("cohort")
        if together and block.get("ids") != dataset.get("ids"):
            return other
    return None


def _modality_hint(name: object, added: tuple[str, ...]) -> str:
    if name == ANY:
        return "a dataset's modality cannot be `any`"
    return unknown(str(name), [*MODALITIES, *added], "modality") or "unknown modality"


def _datasets(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name, dataset in _entries(blocks["datasets"]):
        here = ("datasets", name)
        split = block_of(dataset, "split")
        if split.get("like") is not None and (problem := _like(name, dataset, split["like"], blocks["datasets"])):
            yield (*here, "split", "like"), problem
        labels = label_names(dataset)
        stratify = split.get("stratify")
        if labels is not None and (problem := unknown(stratify, sorted(labels), "label of the dataset")):
            yield (*here, "split", "stratify"), problem
        if isinstance(pattern := dataset.get("path_pattern"), str) and (problem := _pattern(pattern)):
            yield (*here, "path_pattern"), problem
        for label, problem in taken_names(dataset):
            yield (*here, "columns", "targets", label), problem
        own = list_of(dataset.get("labels"))
        for index in _doubled(own):
            yield (*here, "labels", index), f"{own[index]} stands twice"
        for index, label in enumerate(own):
            if label in (*LABEL_COLUMNS, *DENSE_COLUMNS):
                yield (*here, "labels", index), f"{label} is a column of every dataset; choose another name"
        for problem in _dense_problems(dataset):
            yield here, problem
        if (other := _hashed_otherwise(name, dataset, blocks["datasets"])) is not None:
            yield (*here, "ids"), f"people of one cohort need the same `ids` as in {other}: they would be strangers"
        seen = {modality_or_none(one, added) for _, model in _entries(blocks["models"]) for one in model}
        if dataset.get("export") and not {modality_or_none(dataset.get("modality"), added), ANY} & seen:
            yield (*here, "export"), "no model has an encoder for its modality, so there are no features to write"
        for label in block_of(block_of(dataset, "columns"), "targets"):
            if label in (*LABEL_COLUMNS, *DENSE_COLUMNS):
                place = (*here, "columns", "targets", label)
                yield place, f"{label} is a column of every dataset; choose another name for the target"


def _dense_problems(dataset: Mapping[str, Any]) -> Iterator[str]:
    named = list_of(block_of(dataset, "split").get("test_subjects"))
    for index in _doubled(named):
        yield f"split.test_subjects: {named[index]} stands twice"
    knows = dataset.get("path_pattern") or block_of(dataset, "columns").get("subject")
    if named and not knows:
        yield "split.test_subjects needs subjects: give `columns: {subject: ...}` or `path_pattern`"


def _like(name: str, dataset: Mapping[str, Any], like: object, datasets: Mapping[str, Any]) -> str | None:
    """Return what is wrong with taking over the splits of the dataset `like`."""
    if problem := unknown(like, datasets, "dataset"):
        return problem
    leader = _entry(datasets, like)
    if dataset.get("cohort") is None or leader.get("cohort") != dataset.get("cohort"):
        return f"subjects are shared inside a cohort only: give {name} and {like} the same `cohort`"
    if further := block_of(leader, "split").get("like"):
        return f"{like} itself takes its splits from {further}: name that one"
    return None


def _pattern(pattern: str) -> str | None:
    """Return what is wrong with a path_pattern."""
    try:
        groups = set(re.compile(pattern).groupindex)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression: {error}"
    if not groups or groups - {"subject", "eye", "visit"}:
        return "expected named groups among subject, eye, visit: (?P<subject>...)"
    return None


def _doubled(values: list[Any]) -> list[int]:
    """Return the places of values that stand before in the list."""
    return [index for index, value in enumerate(values) if value in values[:index]]


def _entry(block: Mapping[str, Any], name: object) -> Mapping[str, Any]:
    entry = block.get(str(name))
    return entry if isinstance(entry, Mapping) else {}


def _encoders(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name, encoder in _entries(blocks["encoders"]):
        for index, dataset in enumerate(list_of(encoder.get("trained_on"))):
            if problem := unknown(dataset, blocks["datasets"], "dataset"):
                yield ("encoders", name, "trained_on", index), problem
        yield from _pretrain(name, encoder, blocks, added)
        without = ("modality",) if encoder.get("pretrain") else ("modality", "auto")
        if encoder.get("modality") == ANY and encoder.get("statistics") in without:
            yield ("encoders", name, "statistics"), "modality `any` has no statistics of its own"


def _pretrain(
    name: str, encoder: Mapping[str, Any], blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]
) -> Found:
    block, place = block_of(encoder, "pretrain"), ("encoders", name, "pretrain")
    trained, mix = modality_or_none(encoder.get("modality"), added), block.get("scheme") == "mix"
    if mix and trained not in (None, ANY):
        yield ("encoders", name, "modality"), "an encoder of `scheme: mix` is of several: say `modality: any`"
    if block and not mix and trained == ANY:
        yield ("encoders", name, "modality"), "name the modality it is trained on, or `scheme: mix` for several"
    for index, dataset in enumerate(list_of(block.get("datasets"))):
        seen = modality_or_none(_entry(blocks["datasets"], dataset).get("modality"), added)
        if problem := unknown(dataset, blocks["datasets"], "dataset"):
            yield (*place, "datasets", index), problem
        elif index in _doubled(list_of(block.get("datasets"))):
            yield (*place, "datasets", index), f"{dataset} stands twice"
        elif not mix and seen not in (None, trained) and trained not in (None, ANY):
            yield (*place, "datasets", index), f"{dataset} is of {seen}, the encoder of {trained}; or is it a mix?"
    if problem := unknown(block_of(block, "knn").get("dataset"), blocks["datasets"], "dataset"):
        yield (*place, "knn", "dataset"), problem


def _models(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name, model in _entries(blocks["models"]):
        if not model:
            yield ("models", name), "names no encoder"
        for modality, encoder in model.items():
            if problem := unknown(encoder, blocks["encoders"], "encoder"):
                yield ("models", name, modality), problem
                continue
            trained = modality_or_none(_entry(blocks["encoders"], encoder).get("modality"), added)
            if modality != ANY and trained not in (None, ANY, modality_or_none(modality, added)):
                yield (
                    ("models", name, modality),
                    f"{encoder} is an encoder of {trained}; if it shall see {modality} images too, say `modality: any`",
                )


def _tasks(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name, task in _entries(blocks["tasks"]):
        for key in ("datasets", "external", "models", "seeds", "baselines", "train_fraction", "shots"):
            values = list_of(task.get(key))
            for index in _doubled(values):
                yield ("tasks", name, key, index), f"{values[index]} stands twice"
        datasets = [(key, i, d) for key in ("datasets", "external") for i, d in enumerate(list_of(task.get(key)))]
        for key, index, dataset in datasets:
            if problem := unknown(dataset, blocks["datasets"], "dataset"):
                yield ("tasks", name, key, index), problem
            elif key == "external" and dataset in list_of(task.get("datasets")):
                yield ("tasks", name, key, index), f"{dataset} stands under `datasets` too: external data are test only"
        for index, model in enumerate(list_of(task.get("models"))):
            if problem := unknown(model, blocks["models"], "model"):
                yield ("tasks", name, "models", index), problem
                continue
            encoders = {modality_or_none(key, added): one for key, one in _entry(blocks["models"], model).items()}
            place = ("tasks", name, "models", index)
            for _, _, dataset in datasets:
                needed = modality_or_none(_entry(blocks["datasets"], dataset).get("modality"), added)
                if needed not in (None, ANY) and needed not in encoders and ANY not in encoders:
                    yield place, f"model {model} has no encoder for {needed} (dataset {dataset})"
                encoder = encoders.get(needed, encoders.get(ANY))
                known = mixed_modalities(blocks, encoder, lambda modality: modality_or_none(modality, added))
                if known and needed is not None and needed not in known:
                    of = ", ".join(sorted(known))
                    yield place, f"{encoder} has statistics of {of}, none of {needed} (dataset {dataset})"
        raw = [RawDataset((key, i), str(one), _entry(blocks["datasets"], one)) for key, i, one in datasets]
        for target in block_of(task, "targets"):
            if target in (*SAMPLE_COLUMNS, *DENSE_COLUMNS):
                problem = f"{target} is a column of every task's samples; choose another name, and `column: {target}`"
                yield ("tasks", name, "targets", target), problem
        kind = KINDS.get(str(task.get("kind")))
        for inside, problem in kind.problems(task, raw) if kind is not None else ():
            yield ("tasks", name, *inside), problem
        yield from several_encoders(name, task, blocks, lambda modality: modality_or_none(modality, added))
