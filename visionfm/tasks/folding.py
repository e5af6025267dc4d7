"""Folds of a task: its people are divided once more, and each is tested by a decoder that never saw them.

People are the connected components of subject and equal bytes over all datasets of the task, so that no fold divides
one; external datasets stay test only. Validation is drawn from the training people of each fold.
Invariant: every sample of the task's own datasets is a test sample of exactly one fold of each repeat.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import Any

from visionfm.data import splits
from visionfm.errors import DataError
from visionfm.images.identity import file_id
from visionfm.tasks.runs import Fold
from visionfm.tasks.settings import FoldSettings, FuseSettings, LabelledTarget


def where(settings: FuseSettings) -> str:
    """Return ` in fold2`, or nothing where there are no folds."""
    return "" if settings.fold is None else f" in {Fold(settings.fold.number, settings.fold.repeat).name}"


def folded(samples: Any, settings: FuseSettings) -> Any:
    """Return samples (an Arrow table) with the splits of the settings' fold; as they are where there are no folds."""
    import pyarrow as pa

    if settings.fold is None:
        return samples
    inside_N = [split != "test" for split in samples["split"].to_pylist()]
    name, target = next(iter(settings.targets.items()))
    column = {"mask": "mask_values", "point": "points"}.get(target.type, name)
    rows = zip(samples["subject_id"].to_pylist(), samples[column].to_pylist(), inside_N, strict=True)
    inside = [(person, classes_of(target, value)) for person, value, is_inside in rows if is_inside]
    drawn = iter(divided([person for person, _ in inside], [classes for _, classes in inside], settings.fold))
    split_N = [next(drawn) if is_inside else "test" for is_inside in inside_N]
    _check_apart(samples, split_N, inside_N, settings)
    return samples.set_column(samples.column_names.index("split"), "split", pa.array(split_N, pa.string()))


def divided(people: Sequence[str], classes: Sequence[Collection[Hashable]], fold: FoldSettings) -> list[str]:
    """Return the split of each row, from its person and its classes of the target that stratifies.

    Raises DataError where there are too few people.
    """
    strata = splits.rarest(people, classes)
    draw = f"{fold.seed}/{fold.repeat}"
    if fold.stratify:
        fold_of = splits.folds(strata, fold.folds, draw)
    else:
        fold_of = {person: splits.by_hash(person, fold.folds, draw) for person in strata}
    tested = {person for person, number in fold_of.items() if number == fold.number}
    trained = {person: stratum for person, stratum in strata.items() if person not in tested}
    validated = splits.cut(trained, fold.validation, f"{draw}/{fold.number}")
    if not tested or not validated:
        raise DataError(
            f"nobody is left for {'validation' if tested else 'test'} in {Fold(fold.number, fold.repeat).name}",
            expected=f"at least {fold.folds} people, and two of some class to train on",
            found=f"{len(strata)} people",
            do="give fewer `folds`, or more images",
        )
    return ["test" if one in tested else "validation" if one in validated else "train" for one in people]


def classes_of(target: LabelledTarget, value: Any) -> Collection[Hashable]:
    """Return the classes of a target that a sample has; of measured values and points none."""
    if value is None or target.type in ("value", "point"):
        return ()
    if target.type == "multilabel":
        return [label for label, said in zip(target.classes, value, strict=True) if said == 1]
    return list(value) if target.type == "mask" else [float(value)]


def _check_apart(samples: Any, split_N: list[str], inside_N: list[bool], settings: FuseSettings) -> None:
    """Raise DataError where a person or a file stands on two sides of the fold: its numbers would be too good."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    rows = zip(samples["subject_id"].to_pylist(), samples["images"].to_pylist(), split_N, inside_N, strict=True)
    for person, images, split, inside in rows:
        if inside:
            for what in [("subject", person), *(("file", file_id(image["image_id"])) for image in images)]:
                found[what].add(split)
    if both := [" ".join(what) for what, places in found.items() if len(places) > 1]:
        raise DataError(
            f"people or files stand in two parts{where(settings)}",
            expected="each in one of train, validation and test",
            found=f"{len(both)}, as {both[0]}",
            do="correct the subjects of these images",
        )
