"""Samples of progression: an image with its outcome, or an eye at its baseline with the visits before it.

An eye's baseline is its first visit with a known outcome: the event plays no part in the choice. (The last one would
lie just before the event, in every table that gives each visit its days to it.) Where an image has outcomes at
several intervals (layout `forecasting`), head published takes each as a sample; hazard and cox need one: the first
day on which progression was seen, else the last on which it was not.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from visionfm.data.visits import MEND, moments
from visionfm.errors import DataError, Problems
from visionfm.tasks.settings import FuseSettings

VISITS_WITH_OUTCOME = "visits_with_outcome"  # how many an eye has; the first is its baseline
TABLE_DAYS = 6500  # of the published table of encoded intervals
Row = dict[str, Any]
InTime = Callable[[Row], tuple[float, str, str]]
log = logging.getLogger("visionfm")


def of_images(rows: list[Row], settings: FuseSettings) -> list[Row]:
    """Return one sample per image with an outcome, or in head published one per image and interval."""
    (target,) = settings.targets
    problems = Problems(DataError, "outcomes of the task")
    by_image = _by_image(_known(rows, target))
    if settings.progression == "published":
        samples = [_at_interval(row, len(group) > 1, problems) for group in by_image.values() for row in group]
    else:
        samples = _one_outcome(by_image, target, problems)
    problems.raise_if_any(do="correct these labels")
    return [{**sample, **sample["values"]} for sample in samples]


def _by_image(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["sample_id"]].append(row)
    return found


def _one_outcome(by_image: dict[str, list[Row]], target: str, problems: Problems) -> list[Row]:
    """Return one row per image, and say of how many images outcomes were joined."""
    joined = sum(len(group) > 1 for group in by_image.values())
    if joined:
        log.warning("fuse: %d images have several outcomes: the first day on which progression was seen counts", joined)
    return [_first_seen(group, target, problems) if len(group) > 1 else group[0] for group in by_image.values()]


def _known(rows: list[Row], target: str) -> list[Row]:
    return [row for row in rows if row["values"][target] is not None and row["interval_days"] is not None]


def _at_interval(row: Row, several: bool, problems: Problems) -> Row:
    days = row["interval_days"]
    if days != int(days) or days >= TABLE_DAYS:
        problems.add(
            f"{row['sample_id']}: interval: head published expects whole days 0 to {TABLE_DAYS - 1}, found {days:g}"
        )
    return {**row, "sample_id": f"{row['sample_id']}@{days:g}"} if several else row


def _first_seen(group: list[Row], target: str, problems: Problems) -> Row:
    group = sorted(group, key=lambda row: float(row["interval_days"]))
    seen = [row for row in group if row["values"][target] == 1]
    if not seen:
        return group[-1]
    if any(row["values"][target] == 0 and row["interval_days"] > seen[0]["interval_days"] for row in group):
        problems.add(f"{seen[0]['sample_id']}: progressed by day {seen[0]['interval_days']:g}, and not by a later one")
    return seen[0]


def of_eyes(rows: list[Row], settings: FuseSettings, in_time: InTime) -> list[Row]:
    """Return one sample per eye that has an outcome; `in_time` orders rows by their visits."""
    (target,) = settings.targets
    problems = Problems(DataError, "eyes of the task")
    eyes: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in _one_outcome(_by_image(rows), target, problems):
        if row["eye"] is None:
            problems.add(f"{row['sample_id']}: eye is unknown")
        else:
            eyes[row["subject_id"], row["eye"]].append(row)
    problems.raise_if_any(do="give `eye` for these images (columns or path_pattern), or choose `unit: image`")
    samples, later, several = [], 0, 0
    for key, members in sorted(eyes.items()):
        if not _known(members, target):
            continue
        visits: dict[tuple[float, str], list[Row]] = defaultdict(list)
        for row in members:
            visits[in_time(row)[:2]].append(row)
        if len(members) > 1 and any(row["visit"] is None for row in members):
            problems.add(f"{'/'.join(key)}: has {len(members)} images, but visit is unknown for some")
            continue
        seen = sorted({row["visit"] for row in members if row["visit"] is not None})
        if len(seen) > 1 and isinstance(wrong := moments(seen), str):
            problems.add(f"{'/'.join(key)}: visits: {wrong}, found {' and '.join(map(repr, seen))}; {MEND}")
            continue
        eligible = [visit for visit, found in visits.items() if _known(found, target)]
        baseline = min(eligible)
        several += len(eligible) > 1
        later += sum(len(found) for visit, found in visits.items() if visit > baseline)
        before = {visit: found for visit, found in visits.items() if visit <= baseline}
        sample = _eye("/".join(key), before, baseline, settings, problems)
        samples.append({**sample, VISITS_WITH_OUTCOME: len(eligible)})
    problems.raise_if_any(do="correct these rows")
    if several:
        log.warning(
            "fuse: %d of %d eyes have an outcome at several visits: the first of these is the baseline",
            *(several, len(samples)),
        )
    if later:
        log.info("fuse: %d images of visits after their eye's baseline are not used", later)
    return samples


def _eye(
    name: str, visits: dict[tuple[float, str], list[Row]], baseline: tuple[float, str], settings: FuseSettings,
    problems: Problems,
) -> Row:  # fmt: skip
    (target,) = settings.targets
    known = _known(visits[baseline], target)
    outcomes = sorted({(row["values"][target], row["interval_days"]) for row in known})
    if len(outcomes) > 1:
        found = ", ".join(f"event {event:g} at {days:g} days" for event, days in outcomes)
        problems.add(f"{name}: the outcomes of one visit disagree: {found}")
    splits = sorted({row["split"] for group in visits.values() for row in group})
    if len(splits) > 1:
        problems.add(f"{name}: its images stand in {' and '.join(splits)}; split by eye or subject")
    images = []
    for visit, group in visits.items():
        days = 0.0 if visit == baseline else baseline[0] - visit[0]
        if days != days or days == float("inf") or (days == 0 and visit != baseline):
            texts = f"{group[0]['visit']!r} and {visits[baseline][0]['visit']!r}"
            problems.add(f"{name}: visits: expected dates YYYY-MM-DD or numbers of days, found {texts}")
        images += [(settings.modalities.index(row["images"][0]["modality"]), days, row["images"][0]) for row in group]
    images.sort(key=lambda entry: (entry[0], entry[1], entry[2]["dataset"], entry[2]["path"]))
    first = visits[baseline][0]
    return {
        "sample_id": name,
        "subject_id": first["subject_id"],
        "eye": first["eye"],
        "visit": first["visit"],
        "dataset": first["subject_id"].split("/")[0],
        "split": splits[0],
        "images": [image for _, _, image in images],
        "days_before": [days for _, days, _ in images],
        target: outcomes[0][0],
        "interval_days": outcomes[0][1],
    }


def check_events(samples: list[Row], target: str) -> list[str]:
    """Return what keeps the samples from being learned, in words."""
    problems = []
    for split in ("train", "validation"):
        of_split = [sample for sample in samples if sample["split"] == split]
        if of_split and not any(sample[target] == 1 for sample in of_split):
            problems.append(f"{target}: no event among {len(of_split)} samples of the {split} split")
    return problems
