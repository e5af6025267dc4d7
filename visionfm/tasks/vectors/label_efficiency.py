"""A part of the training samples, for label efficiency: nested, stratified, by subject, different for each seed.

Subjects are ordered by sha256(seed, subject) inside their stratum, so that a smaller part lies in every larger one and
one more subject moves at most one other across the cut. Strata are those of the task's first target. Shapes: N samples.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from visionfm.errors import DataError, Problems
from visionfm.tasks.samples import Samples
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.slots import Slot, slots

FIFTHS = 5  # strata of a measured value
UNKNOWN = "unknown"
Bools = npt.NDArray[np.bool_]


def part_of(
    samples: Samples, targets: Mapping[str, TargetSpec], seed: int, train_fraction: float | None, shots: int | None
) -> Bools:
    """Return keep_N: all samples of validation, and the chosen ones of the training split.

    `train_fraction`: that fraction of the subjects of each stratum, with all their samples. `shots`: that many samples
    of each stratum, each of another subject. Raises DataError where a class would be left without a case.
    """
    train_N = samples.in_splits(["train"])
    if train_fraction is None and shots is None:
        return np.ones(len(samples), dtype=bool)
    training = samples.take(train_N)
    first = slots(targets)[0]
    problems = Problems(DataError, "the part of the training data that label efficiency asks for")
    if shots is not None:
        kept = _shots(training, first, seed, shots, problems)
    else:
        kept = _fraction(training, first, seed, train_fraction or 1.0, problems)
    if not len(problems):
        _check_classes(training, targets, kept, problems)
    problems.raise_if_any(do="give a larger `train_fraction` or other `shots`, or leave them out")
    keep_N = ~train_N
    keep_N[train_N] = kept
    return keep_N


def _fraction(training: Samples, first: Slot, seed: int, fraction: float, problems: Problems) -> Bools:
    strata_N = _strata(training, first)
    rarity = {name: sum(name in strata for strata in strata_N) for name in {n for strata in strata_N for n in strata}}
    of_subject: dict[str, str] = {}
    for subject, strata in zip(training.ids["subject_id"], strata_N, strict=True):
        for name in strata:  # a subject stands in the rarest stratum of its samples
            held = of_subject.get(subject)
            if held is None or (rarity[name], name) < (rarity[held], held):
                of_subject[subject] = name
    members: dict[str, list[str]] = defaultdict(list)
    for subject, name in of_subject.items():
        members[name].append(subject)
    chosen: set[str] = set()
    for name, subjects in sorted(members.items()):
        count = int(fraction * len(subjects) + 0.5)
        if count == 0 and name != UNKNOWN:
            problems.add(
                f"train_fraction {fraction:g}: {first.name} {name}: expected one case at least, found 0 of "
                f"{len(subjects)} subjects; {0.5 / len(subjects):.2g} is the smallest that gives one"
            )
        chosen.update(sorted(subjects, key=lambda subject: _hash(seed, subject))[:count])
    return np.isin(training.ids["subject_id"].astype(str), sorted(chosen))


def _shots(training: Samples, first: Slot, seed: int, shots: int, problems: Problems) -> Bools:
    ids = training.ids
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))  # stratum -> subject -> rows
    for row, strata in enumerate(_strata(training, first)):
        for name in strata:
            found[name][ids["subject_id"][row]].append(row)
    keep_N = np.zeros(len(training), dtype=bool)
    for name, subjects in sorted(found.items()):
        if name == UNKNOWN:
            continue
        if len(subjects) < shots:
            problems.add(f"shots {shots}: {first.name} {name}: expected {shots} subjects, found {len(subjects)}")
        for subject in sorted(subjects, key=lambda subject: _hash(seed, subject))[:shots]:
            keep_N[min(subjects[subject], key=lambda row: _hash(seed, ids["sample_id"][row]))] = True
    return keep_N


def _hash(seed: int, name: object) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _strata(training: Samples, slot: Slot) -> list[list[str]]:
    """Return the strata of each sample: its class, its positive findings (or none), the fifth of its value."""
    truth_NT, target = training.truth_NT[:, slot.labels], slot.target
    if target.type == "multilabel":
        return [
            [UNKNOWN] if np.isnan(row).all() else [target.classes[c] for c in np.flatnonzero(row == 1)] or ["none"]
            for row in truth_NT
        ]
    column_N = truth_NT[:, 0]
    known_N = ~np.isnan(column_N)
    if target.type == "value":
        inner = np.quantile(column_N[known_N], np.arange(1, FIFTHS) / FIFTHS)
        names_N = [f"fifth {np.searchsorted(inner, value, side='left') + 1}" for value in column_N]
    else:
        classes = target.classes or ["negative", "positive"]
        names_N = [classes[int(value)] if known else UNKNOWN for value, known in zip(column_N, known_N, strict=True)]
    return [[name if known else UNKNOWN] for name, known in zip(names_N, known_N, strict=True)]


def _check_classes(training: Samples, targets: Mapping[str, TargetSpec], keep_N: Bools, problems: Problems) -> None:
    """Note each class that has a case in training but none in the part."""
    for slot in slots(targets):
        if slot.target.type == "value":
            continue
        multiclass = slot.target.type == "multiclass"
        names = slot.target.classes if multiclass else ["no", "yes"]
        for column, label in enumerate(slot.target.classes if slot.target.type == "multilabel" else [""]):
            truth_N = training.truth_NT[:, slot.labels.start + column]
            for index in np.unique(truth_N[~np.isnan(truth_N)]).astype(int):
                if not (truth_N[keep_N] == index).any():
                    question = f"{slot.name} {label}".strip()
                    problems.add(f"{question}: expected a case of {names[index]}, found none")
