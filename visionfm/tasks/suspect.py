"""Stage `suspect`: labels of a task that look wrong, ranked for people to look at.

Writes suspects.parquet: first identical images, or copies, with different labels (from the audit), then the labels
that those of the nearest training samples of other people contradict most (`locate` names them;
`metrics/label_errors.py` judges). Training labels that are changed on purpose tell how much such a list finds.
Invariant: no label is changed, nothing that is trained or measured reads this, and the labels of test samples are
judged but have no vote.
Shapes: N samples, K neighbours, T label columns.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.data.audit import SCHEMA as AUDIT
from visionfm.errors import ArtifactError
from visionfm.metrics import label_errors
from visionfm.metrics.label_errors import Bools, Floats, Judged, Votes
from visionfm.tasks.locate import SCHEMA as LOCATIONS
from visionfm.tasks.samples import IDS, Samples, read_samples
from visionfm.tasks.settings import SuspectSettings
from visionfm.tasks.slots import Slot, slots

SCHEMA = "visionfm/suspects/1"
IDENTICAL, COPIES, CONTRADICTED = "identical images", "copies", "neighbours"
COLUMNS = {
    "target": "string", "class": "string", "rank": "int64", "reason": "string",
    **dict.fromkeys(IDS, "string"),
    "label": "double", "likely": "double", "quality": "double",
}  # fmt: skip
NAMED = 3  # neighbours named beside a label
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--samples", required=True, type=Path, help="samples.parquet")
    parser.add_argument("--locations", required=True, type=Path, help="locations.parquet of the same samples")
    parser.add_argument("--audit", required=True, type=Path, help="audit.parquet of the task")
    parser.add_argument("--out", required=True, type=Path, help="suspects.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = SuspectSettings.model_validate_json(args.settings)
    suspect(args.samples, args.locations, args.audit, args.out, settings)


def suspect(samples_table: Path, locations: Path, audit: Path, out: Path, settings: SuspectSettings) -> None:
    """Publish the list of each target; see the module."""
    inputs = {"samples": samples_table, "locations": locations, "audit": audit}
    digests = {name: artifacts.payload_digest(path) for name, path in inputs.items()}
    made_by = artifacts.provenance("suspect", settings.model_dump(mode="json"), digests)
    if artifacts.recall(out, made_by):
        return
    import pyarrow as pa

    samples = read_samples(samples_table, settings.targets, settings.modalities)
    asked = Asked(samples, _votes(samples, locations), _same(samples, audit), settings)
    rows, about = [], {}
    for slot in slots(settings.targets):
        found, about[slot.name] = asked.target(slot)
        rows += found
    table = artifacts.table_of(rows, COLUMNS)
    table = table.append_column("others", pa.array([row["others"] for row in rows], pa.list_(pa.string())))
    artifacts.write_table(out, table, made_by, schema=SCHEMA, extra={"about": json.dumps(about)})
    log.info("suspect: %d labels of %d samples look wrong; %s", len(rows), len(samples), out)


@dataclass(frozen=True)
class Asked:
    """The samples of a task, who votes on their labels, and which show the same."""

    samples: Samples
    votes: Votes
    same: dict[tuple[int, int], str]  # pairs of rows -> why they show the same
    settings: SuspectSettings

    def target(self, slot: Slot) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the rows of one target, the most doubtful first, and what is known of the list."""
        settings, label_NT = self.settings, self.samples.truth_NT[:, slot.labels]
        own_N = ~np.isin(self.samples.ids["dataset"].astype(str), settings.external)
        classes, train_N = _classes(slot), own_N & self.samples.in_splits(["train"])
        judged = label_errors.judged(np.where(own_N[:, None], label_NT, np.nan), self.votes, classes, train_N)
        partners = self._conflicts(label_NT)
        places = list(partners)
        row, column = label_errors.ranked(judged, own_N)
        doubted = judged.suspect_NT(classes)[row, column]
        contradicted = list(zip(row[doubted].tolist(), column[doubted].tolist(), strict=True))
        contradicted = [at for at in contradicted if at not in partners][: settings.listed]
        rows = [
            self._row(slot, judged, at, rank, partners.get(at))
            for rank, at in enumerate([*places, *contradicted], start=1)
        ]
        about: dict[str, Any] = {"judged": len(row), "contradicted": int(doubted.sum())}
        return rows, about | self._planted(slot, label_NT, own_N, train_N, len(contradicted))

    def _planted(self, slot: Slot, label_NT: Floats, own_N: Bools, train_N: Bools, listed: int) -> dict[str, Any]:
        """Return what the list finds of training labels that were changed on purpose, or why that is not known."""
        settings = self.settings
        label_NT = np.where(own_N[:, None], label_NT, np.nan)
        known_NT = ~np.isnan(label_NT[train_N])
        varies_T = np.array([len(np.unique(one_N[~np.isnan(one_N)])) > 1 for one_N in label_NT[train_N].T])
        if int(known_NT.sum()) < settings.fewest:
            return {"reason": f"{known_NT.sum()} training labels; {settings.fewest} are needed to plant errors among"}
        if not varies_T.any():
            return {"reason": "all labels are the same, so that no error can be planted among them"}
        firsts = sorted({settings.shown, listed} - {0})
        ordered = slot.target.ordered and slot.target.type == "multiclass"
        found = [
            one._asdict()
            for share in settings.planted_shares
            for one in label_errors.planted(
                label_NT[:, varies_T], self.votes, _classes(slot), ordered, train_N, share, firsts, settings.draws,
                settings.seed,
            )
        ]  # fmt: skip
        return {"draws": settings.draws, "planted": found}

    def _conflicts(self, label_NT: Floats) -> dict[tuple[int, int], list[int]]:
        """Return (row, column) of each label that an identical image contradicts -> rows of those, pair by pair."""
        found: dict[tuple[int, int], list[int]] = {}
        for one, other in self.same:
            known_T = ~np.isnan(label_NT[one]) & ~np.isnan(label_NT[other])
            for t in np.flatnonzero(known_T & (label_NT[one] != label_NT[other])).tolist():
                found.setdefault((one, t), []).append(other)
                found.setdefault((other, t), []).append(one)
        return found

    def _why(self, row: int, partners: list[int]) -> str:
        found = {self.same[min(row, other), max(row, other)] for other in partners}
        return IDENTICAL if IDENTICAL in found else COPIES

    def _row(
        self, slot: Slot, judged: Judged, at: tuple[int, int], rank: int, partners: list[int] | None
    ) -> dict[str, Any]:
        n, t = at
        ids = self.samples.ids
        near = [k for k, weight in zip(self.votes.near_NK[n], self.votes.weight_NK[n], strict=True) if weight > 0]
        return {
            "target": slot.name,
            "class": slot.target.classes[t] if slot.target.type == "multilabel" else None,
            "rank": rank,
            "reason": CONTRADICTED if partners is None else self._why(n, partners),
            **{name: str(ids[name][n]) for name in IDS},
            "label": float(self.samples.truth_NT[n, slot.labels][t]),
            "likely": _or_none(judged.likely_NT[n, t]),
            "quality": _or_none(judged.quality_NT[n, t]),
            "others": [str(ids["sample_id"][k]) for k in (partners or near[:NAMED])],
        }


def _classes(slot: Slot) -> int:
    """Return how many classes a label column of a target has; 0 of values."""
    if slot.target.type == "value":
        return 0
    return len(slot.target.classes) if slot.target.type == "multiclass" else 2


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _votes(samples: Samples, locations: Path) -> Votes:
    """Return who votes on each sample: its nearest training samples, but none of its own person."""
    table = artifacts.read_table(locations, schema=LOCATIONS).sort_by("sample_id")
    names = samples.ids["sample_id"].tolist()
    if table.column("sample_id").to_pylist() != names:
        raise ArtifactError(
            f"{locations.name} is of other samples",
            expected="the samples of samples.parquet",
            found=f"{table.num_rows} rows that are not these {len(names)}",
            where=locations,
            do="run `visionfm locate` again",
        )
    row_of = {name: row for row, name in enumerate(names)}
    near, far = table.column("neighbours").to_pylist(), table.column("distances").to_pylist()
    widest = max(map(len, near), default=0)
    near_NK, distance_NK = np.zeros((len(names), widest), np.int64), np.full((len(names), widest), np.nan)
    for row, (found, distances) in enumerate(zip(near, far, strict=True)):
        near_NK[row, : len(found)] = [row_of[name] for name in found]
        distance_NK[row, : len(found)] = distances
    subject_N = samples.ids["subject_id"].astype(str)
    return Votes.of(near_NK, distance_NK, ~np.isnan(distance_NK) & (subject_N[near_NK] != subject_N[:, None]))


def _same(samples: Samples, audit: Path) -> dict[tuple[int, int], str]:
    """Return pairs of samples with identical images, or copies, that the audit found to be labelled differently."""
    row_of = dict(zip([(dataset, path) for dataset, path, _ in samples.references], samples.sample_I, strict=True))

    def pairs() -> Iterator[tuple[int, int, str]]:
        for found in artifacts.read_table(audit, schema=AUDIT).to_pylist():
            places = (found["dataset"], found["path"]), (found["other_dataset"], found["other_path"])
            if found["check"] == "contradiction" and all(place in row_of for place in places):
                one, other = sorted(int(row_of[place]) for place in places)
                if one != other:
                    yield one, other, IDENTICAL if found["detail"].startswith(IDENTICAL) else COPIES

    return {(one, other): why for one, other, why in sorted(set(pairs()))}  # of both reasons the last stays: identical
