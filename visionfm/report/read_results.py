"""`visionfm.read_results("results")`: what a run found, as tidy tables (DataFrames) for a notebook.

Reads the artefacts below a results folder, each checked before it is believed; needs no config. Every table has a row
per thing measured, and columns that say of which task, model and run it is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionfm import artifacts
from visionfm.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

MODEL = "tasks/*/*"


@dataclass(frozen=True)
class RunResults:
    """The tables of a results folder; each is read when it is first asked for, and is empty where there is none.

    Raise ArtifactError for a damaged file, or one that does not belong where it lies.
    """

    folder: Path

    @cached_property
    def metrics(self) -> "pd.DataFrame":
        """Every metric of every task and model: value, 95 % interval, n, subjects; see docs/artefacts.md."""
        return self._joined(f"{MODEL}/metrics.parquet")

    @cached_property
    def image_metrics(self) -> "pd.DataFrame":
        """Of masks: every metric of every image."""
        return self._joined(f"{MODEL}/image_metrics.parquet")

    @cached_property
    def comparison(self) -> "pd.DataFrame":
        """Differences between models, with intervals and tests."""
        return self._joined("tasks/*/comparison.parquet")

    @cached_property
    def contrasts(self) -> "pd.DataFrame":
        """Differences between groups and datasets, with intervals and tests."""
        return self._joined("tasks/*/contrasts.parquet")

    @cached_property
    def recalibration(self) -> "pd.DataFrame":
        """What few local cases give at external sites."""
        return self._joined("tasks/*/recalibration.parquet")

    @cached_property
    def samples(self) -> "pd.DataFrame":
        """The samples of every task and model: subject, split, targets; `images` counts those of each."""
        return self._joined(f"{MODEL}/**/samples.parquet", _counted_images)

    @cached_property
    def training(self) -> "pd.DataFrame":
        """The curves of every decoder, a row per epoch."""
        return self._joined(f"{MODEL}/*/training.parquet")

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """Every answer on vectors: a row per run, sample, subset of modalities, target and class.

        `probability` is of the class (of a binary target: yes), `truth` 0, 1 or NaN where it is unknown; of an event
        the class is `by 365 days`, and `truth` is whether it was seen; `value` is a number in the target's unit.
        """
        return self._joined(f"{MODEL}/*/predictions.parquet", _by_class)

    def _joined(self, pattern: str, change: Any = None) -> "pd.DataFrame":
        import pandas as pd

        parts = list(self._parts(pattern, change))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def _parts(self, pattern: str, change: Any) -> Iterator["pd.DataFrame"]:
        for path in sorted(self.folder.glob(pattern)):
            table = artifacts.read_table(path)
            said = {key.decode(): text.decode() for key, text in table.schema.metadata.items()}
            frame = table.to_pandas()
            if change is not None:
                frame = change(frame, said)
            owner = json.loads(said.get("owner", "{}"))
            for at, (name, text) in enumerate(sorted(owner.items(), key=lambda one: ORDER.index(one[0]))):
                if name not in frame.columns:
                    frame.insert(at, name, text)
            yield frame


ORDER = ["task", "model", "fold", "run"]


def _counted_images(frame: "pd.DataFrame", said: dict[str, str]) -> "pd.DataFrame":
    return frame.assign(images=frame["images"].map(len))


def _by_class(frame: "pd.DataFrame", said: dict[str, str]) -> "pd.DataFrame":
    """Return predictions with a row per class; masks and points have none."""
    import numpy as np
    import pandas as pd

    if "scores" not in frame.columns:
        return frame
    parts = []
    for name, target in json.loads(said["targets"]).items():
        rows = frame[frame["target"] == name].reset_index(drop=True)
        kept = rows.drop(columns=[column for column in ("scores", "uncalibrated") if column in rows.columns])
        if target["type"] not in ("multiclass", "event"):
            probability = np.nan if target["type"] == "value" else rows["scores"].str[0].astype(float)
            parts.append(kept.assign(probability=probability))
            continue
        event = target["type"] == "event"
        labels = [f"by {days:g} days" for days in target["intervals"]] if event else target["classes"]
        for k, label in enumerate(labels):
            truth = kept["truth"] if event else (kept["truth"] == k).astype(float).where(kept["truth"].notna())
            parts.append(
                kept.assign(**{"class": label, "truth": truth, "probability": rows["scores"].str[k].astype(float)})
            )
    return pd.concat(parts, ignore_index=True) if parts else frame


def read_results(folder: str | Path = "results") -> RunResults:
    """Return the tables of a run; UsageError where the folder is no results folder.

    >>> import visionfm
    >>> found = visionfm.read_results("results")
    >>> sorted(set(found.metrics["task"]))
    ['sick']
    >>> len(found.predictions) == len(found.predictions["sample_id"].unique())
    True
    """
    folder = Path(folder)
    if not (folder / "tasks").is_dir():
        raise UsageError("no results", expected="the folder `results` of a run, with `tasks` in it", found=folder)
    return RunResults(folder)
