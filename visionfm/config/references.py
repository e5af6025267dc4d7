"""Checks between the blocks of a config: names that must exist elsewhere, choices that must fit each other.

Works on plain values that may be invalid elsewhere, so that these problems are reported together with the schema's.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from visionfm.errors import ConfigError
from visionfm.modalities import ANY, canonical

Found = Iterator[tuple[tuple[str | int, ...], str]]


def reference_problems(raw: Mapping[str, Any]) -> Found:
    """Yield (location, problem) for everything that does not fit between blocks."""
    blocks = {name: _block(raw, name) for name in ("encoders", "models", "datasets", "modalities", "tasks")}
    added = tuple(str(name) for name in blocks["modalities"])
    yield from _modality_names(blocks, added)
    yield from _datasets(blocks)
    yield from _encoders(blocks)
    yield from _models(blocks)
    yield from _tasks(blocks, added)


def _block(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def _entries(block: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, entry) for name, entry in block.items() if isinstance(entry, Mapping))


def _unknown(name: object, known: Iterable[str], what: str) -> str | None:
    names = list(known)
    if name in names:
        return None
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"no {what} is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names) or 'none'}")


def modality_or_none(name: object, added: tuple[str, ...]) -> str | None:
    """Return a modality's published spelling, `any`, or None when it is unknown."""
    if name == ANY:
        return ANY
    try:
        return canonical(str(name), added)
    except ConfigError:
        return None


def _modality_names(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name, dataset in _entries(blocks["datasets"]):
        if "modality" in dataset and modality_or_none(dataset["modality"], added) in (None, ANY):
            yield ("datasets", name, "modality"), _modality_hint(dataset["modality"], added)
    for name, encoder in _entries(blocks["encoders"]):
        if "modality" in encoder and modality_or_none(encoder["modality"], added) is None:
            yield ("encoders", name, "modality"), _modality_hint(encoder["modality"], added)
    for name, model in _entries(blocks["models"]):
        for modality in model:
            if modality_or_none(modality, added) is None:
                yield ("models", name, modality), _modality_hint(modality, added)


def _modality_hint(name: object, added: tuple[str, ...]) -> str:
    from visionfm.modalities import MODALITIES

    return _unknown(name, [*MODALITIES, *added], "modality") or "a dataset's modality cannot be `any`"


def _datasets(blocks: Mapping[str, Mapping[str, Any]]) -> Found:
    for name, dataset in _entries(blocks["datasets"]):
        split = dataset.get("split")
        like = split.get("like") if isinstance(split, Mapping) else None
        if like is not None:
            if problem := _unknown(like, blocks["datasets"], "dataset"):
                yield ("datasets", name, "split", "like"), problem
            elif dataset.get("cohort") is None or _entry(blocks["datasets"], like).get("cohort") != dataset.get("cohort"):
                yield ("datasets", name, "split", "like"), f"subjects are shared inside a cohort only: give {name} and {like} the same `cohort`"
            elif isinstance(split := _entry(blocks["datasets"], like).get("split"), Mapping) and split.get("like"):
                yield ("datasets", name, "split", "like"), f"{like} itself takes its splits from {split['like']}: name that one"
        if isinstance(pattern := dataset.get("path_pattern"), str):
            try:
                groups = set(re.compile(pattern).groupindex)
            except re.error as error:
                yield ("datasets", name, "path_pattern"), f"not a regular expression: {error}"
            else:
                if not groups or groups - {"subject", "eye", "visit"}:
                    yield ("datasets", name, "path_pattern"), "expected named groups among subject, eye, visit: (?P<subject>...)"


def _entry(block: Mapping[str, Any], name: object) -> Mapping[str, Any]:
    entry = block.get(str(name))
    return entry if isinstance(entry, Mapping) else {}


def _encoders(blocks: Mapping[str, Mapping[str, Any]]) -> Found:
    for name, encoder in _entries(blocks["encoders"]):
        for index, dataset in enumerate(_list(encoder.get("trained_on"))):
            if problem := _unknown(dataset, blocks["datasets"], "dataset"):
                yield ("encoders", name, "trained_on", index), problem
        if encoder.get("modality") == ANY and encoder.get("statistics") == "modality":
            yield ("encoders", name, "statistics"), "modality `any` has no statistics of its own"


def _models(blocks: Mapping[str, Mapping[str, Any]]) -> Found:
    for name, model in _entries(blocks["models"]):
        if not model:
            yield ("models", name), "names no encoder"
        for modality, encoder in model.items():
            if problem := _unknown(encoder, blocks["encoders"], "encoder"):
                yield ("models", name, modality), problem


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _labels(dataset: Mapping[str, Any]) -> set[str] | None:
    """Return the label columns that a dataset has, None when its block is invalid."""
    columns = dataset.get("columns")
    targets = columns.get("targets") if isinstance(columns, Mapping) else None
    mapped = set(targets) if isinstance(targets, Mapping) else set()
    labels = dataset.get("labels")
    return mapped | set(labels) if isinstance(labels, list) else mapped


def _tasks(blocks: Mapping[str, Mapping[str, Any]], added: tuple[str, ...]) -> Found:
    for name, task in _entries(blocks["tasks"]):
        datasets = [(key, i, d) for key in ("datasets", "external") for i, d in enumerate(_list(task.get(key)))]
        for key, index, dataset in datasets:
            if problem := _unknown(dataset, blocks["datasets"], "dataset"):
                yield ("tasks", name, key, index), problem
            elif key == "external" and dataset in _list(task.get("datasets")):
                yield ("tasks", name, key, index), f"{dataset} stands under `datasets` too: external data are test only"
        for index, model in enumerate(_list(task.get("models"))):
            if problem := _unknown(model, blocks["models"], "model"):
                yield ("tasks", name, "models", index), problem
                continue
            seen = {modality_or_none(modality, added) for modality in _entry(blocks["models"], model)}
            for _, _, dataset in datasets:
                needed = modality_or_none(_entry(blocks["datasets"], dataset).get("modality"), added)
                if needed is not None and needed not in seen and ANY not in seen:
                    yield ("tasks", name, "models", index), f"model {model} has no encoder for {needed} (dataset {dataset})"
        labelled = set().union(*(_labels(_entry(blocks["datasets"], d)) or set() for _, _, d in datasets), set())
        for target, block in _entries(_block(task, "targets")):
            multilabel = block.get("type") == "multilabel"
            wanted = _list(block.get("classes")) if multilabel else [block.get("column") or target]
            for column in wanted:
                if problem := _unknown(column, sorted(labelled), "label of the task's datasets"):
                    yield ("tasks", name, "targets", target), problem
