"""What the stages that fit a decoder share: their key, what they recall, and the files that they write.

What differs (heads on vectors or on maps, a baseline, an encoder tuned with its head) is a function that fits one
decoder. It is called where nothing can be recalled, so that torch is imported no sooner.
"""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from visionfm import artifacts
from visionfm.errors import DataError
from visionfm.tasks.decoder_file import DecoderSpec
from visionfm.tasks.settings import FitSettings

if TYPE_CHECKING:
    from visionfm.tasks.loop import Epochs
    from visionfm.tasks.resume import StateFile

SCHEMA = "visionfm/training/1"
TEXTS = ("target", "class", "parameter", "candidate")
TYPES = {"epoch": "int32", "best": "bool", "chosen": "bool", **dict.fromkeys(TEXTS, "string")}  # else float64
log = logging.getLogger("visionfm")


class Fitted(NamedTuple):
    """A decoder that was fitted: what its files hold, and what the log says of it."""

    spec: DecoderSpec
    tensors: Mapping[str, Any]
    rows: list[dict[str, Any]]  # of training.parquet
    train: int  # samples
    validation: int
    train_subjects: int
    said: str
    best_epoch: int | None = None  # None: there were no epochs
    origin: Mapping[str, str] = {}  # metadata: how the images were encoded that it learned from
    validation_loss: float = math.nan  # of all targets, by which candidates are compared
    candidate: str | None = None  # which one was chosen, where there were several

    @classmethod
    def by(
        cls, run: "Epochs", spec: DecoderSpec, tensors: Mapping[str, Any], counts: Sequence[int], said: str
    ) -> "Fitted":
        """Return what some epochs fitted; `counts` are training samples, validation samples, training subjects."""
        rows = [{**row, "best": row["epoch"] == run.best_epoch} for row in run.history]
        train, validation, subjects = counts
        said = f"best epoch {run.best_epoch} of {run.done}, {said}"
        made = cls(spec, tensors, rows, train, validation, subjects, said, run.best_epoch)
        return made._replace(validation_loss=next(row["validation_loss"] for row in rows if row["best"]))


def fit_decoder(
    stage: Literal["train", "finetune"],
    settings: FitSettings,
    inputs: Mapping[str, str],
    decoder: Path,
    training: Path,
    fit: "Callable[[StateFile], Fitted | None]",
    more: Sequence[Path] = (),
) -> None:
    """Recall decoder.safetensors, training.parquet and what else `fit` writes, or fit and write them.

    `fit` returns None in processes that write nothing.
    """
    # The order of the targets is the order of the outputs.
    slice_ = {**settings.what_matters(), "order": list(settings.targets)}
    made_by = artifacts.provenance(stage, slice_, dict(inputs), settings.seed)
    if all([artifacts.recall(path, made_by) for path in (decoder, *more, training)]):
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on a GPU
    from visionfm.tasks.resume import StateFile

    file = StateFile(decoder, made_by)
    fitted = fit(file)
    if fitted is None:
        return
    extra = {
        **fitted.spec.metadata(),
        **fitted.origin,
        "recipe": settings.fitted_by,
        "n_train": str(fitted.train),
        "n_validation": str(fitted.validation),
    }
    if fitted.best_epoch is not None:
        extra["best_epoch"] = str(fitted.best_epoch)
    if fitted.candidate is not None:
        extra["candidate"] = fitted.candidate
    artifacts.write_table(training, _table(fitted), made_by, schema=SCHEMA)
    artifacts.write_tensors(decoder, fitted.tensors, made_by, schema=fitted.spec.SCHEMA, extra=extra)
    file.remove()
    log.info(
        "%s: %d training and %d validation samples; %s; %s",
        *(stage, fitted.train, fitted.validation, fitted.said, decoder),
    )


def _table(fitted: Fitted) -> Any:
    """Return the rows, each with the same sizes."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in fitted.rows for name in row)  # epochs and baselines have columns of their own
    columns = {
        name: pa.array([row.get(name) for row in fitted.rows], pa.type_for_alias(TYPES.get(name, "float64")))
        for name in names
    }
    sizes = {"n_train": fitted.train, "n_train_subjects": fitted.train_subjects}
    return pa.table(columns | {name: pa.array([n] * len(fitted.rows), pa.int64()) for name, n in sizes.items()})


def check_splits(counts: Mapping[str, int], what: str, found: Mapping[str, str], where: Path) -> None:
    """Raise DataError where training or validation has none of the `what` that is learned from."""
    for split in ("train", "validation"):
        if not counts[split]:
            raise DataError(
                f"there is no {split} {what}",
                expected="at least one" + (": the best epoch is chosen by it" if split == "validation" else ""),
                found=found[split],
                where=where,
                do="give the dataset a `split: {validation: 0.15}` by subject, or label some validation images",
            )
