"""Which slices a decoder looked at: the weights of `slices: attention` in three test samples, and those slices.

Reads the images that are shown below their datasets' roots, and nothing else there, and only where the config allows
pictures. Invariant: which samples are shown depends on the predictions alone.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionfm.errors import CannotReadNow, VisionFMError
from visionfm.figures import overlays
from visionfm.figures.section import Section
from visionfm.images.containers.slices import natural
from visionfm.images.identity import frame_of, shown_as
from visionfm.metrics.written import short
from visionfm.tasks.results import TaskModel

TEMPLATE = "tasks/vectors/relevance.html.j2"
SHOWN = 3  # slices of a sample
log = logging.getLogger("visionfm")
Image = Mapping[str, str]  # modality, dataset, path, image_id


@dataclass(frozen=True)
class Bars:
    """The weights of one modality's slices of a sample, in order; `height` of each is 0 to 1 of the largest."""

    says: str
    heights: list[float]


@dataclass(frozen=True)
class Slice:
    """A picture of one slice; without one where it could not be shown."""

    uri: str | None
    title: str


@dataclass(frozen=True)
class Looked:
    """One test sample: `rank` is Highest, Middle or Lowest."""

    rank: str
    says: str
    bars: list[Bars]
    slices: list[Slice]


@dataclass(frozen=True)
class RelevanceView:
    """Where a model looked."""

    says: str
    samples: list[Looked]


def sections(result: TaskModel) -> list[Section]:
    """Return the section of the first run; none where no slices are weighed, or no sample has several."""
    rows = result.tested()
    if "slices" not in rows.columns or rows.empty:
        return []
    rows = rows[rows["target"] == rows["target"].iloc[0]]
    rows = rows[rows["class"].isna() | (rows["class"] == rows["class"].iloc[0])]
    images = dict(zip(result.samples["sample_id"], result.samples["images"], strict=True))
    asked = sorted(
        (_answer(row), row["sample_id"], row)
        for row in rows.to_dict("records")
        if _several(list(images[row["sample_id"]]))
    )  # sample_id differs, so that rows are never compared
    if not asked:
        return []
    places = dict(zip((len(asked) - 1, (len(asked) - 1) // 2, 0), ("Highest", "Middle", "Lowest"), strict=True))
    samples = [_looked(result, rank, *asked[place], list(images[asked[place][1]])) for place, rank in places.items()]
    about = asked[0][2]
    says = (
        f"The highest, the middle and the lowest answer to {about['target']}"
        f"{' ' + about['class'] if isinstance(about['class'], str) else ''} among {len(asked)} test samples "
        f"({result.runs[0]}). A bar is the weight of a slice, from the first to the last: how much "
        "attention adds of what tells this slice from the mean of all; the mean of all slices counts too. It is no "
        "proof that something is to be seen there."
    )
    return [Section(TEMPLATE, RelevanceView(says, samples))]


def _answer(row: Mapping[str, Any]) -> float:
    """Return a value, a probability, or of several classes that of any but the first."""
    scores = row["scores"]
    if scores is None or not len(scores):
        return float(row["value"])
    return float(scores[0] if len(scores) == 1 else 1 - scores[0])


def _several(images: Sequence[Image]) -> list[str]:
    """Return the modalities of which a sample has several images."""
    names = [image["modality"] for image in images]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _looked(
    result: TaskModel, rank: str, answer: float, sample_id: str, row: Mapping[str, Any], images: list[Image]
) -> Looked:
    weight_of = {one["image_id"]: float(one["weight"]) for one in row["slices"]}
    bars, slices = [], []
    for modality in _several(images):
        of_it = sorted(
            (image for image in images if image["modality"] == modality), key=lambda image: natural(image["path"])
        )
        weights = [weight_of[image["image_id"]] for image in of_it]
        largest = max(range(len(weights)), key=weights.__getitem__)
        says = f"{modality}: slice {largest + 1} of {len(weights)} has the largest weight, {short(weights[largest])}"
        bars.append(Bars(says, [weight / weights[largest] for weight in weights]))
        if result.pictures:
            heaviest = sorted(range(len(weights)), key=lambda at: (-weights[at], at))[:SHOWN]
            slices += [
                Slice(_picture(result, of_it[at]), f"{modality}, slice {at + 1}: {short(weights[at])}")
                for at in sorted(heaviest)
            ]
    first = images[0]
    name = sample_id if result.ids else shown_as(first["path"], first["image_id"], named=False)
    if frame_of(first["image_id"]) is not None and not result.ids:
        name = name.partition(",")[0]  # the file, not one frame of it
    unit = f" {row['unit']}" if isinstance(row["unit"], str) else ""
    said = f"{answer:.2f}" if unit else short(answer)
    return Looked(rank, f"{said}{unit}, {_truth(result, row)}; {name}", bars, slices)


def _truth(result: TaskModel, row: Mapping[str, Any]) -> str:
    truth, target = row["truth"], result.targets[row["target"]]
    if truth is None or truth != truth:
        return "truth unknown"
    classes = target["classes"] if target["type"] != "multilabel" else []
    if target["type"] == "value":
        return f"in truth {truth:.2f}"
    return f"in truth {classes[int(truth)]}" if len(classes) > 1 else f"in truth {'yes' if truth else 'no'}"


def _picture(result: TaskModel, image: Image) -> str | None:
    from visionfm.images.reading import read_checked

    folder = result.folders[image["dataset"]]
    try:
        pixels_HWC = read_checked(
            folder.root, image["path"], image["image_id"], folder.reading, target_px=2 * overlays.PANE_PX
        )
    except CannotReadNow:
        raise  # a page that lacks a picture for that would stay without it
    except (OSError, VisionFMError) as error:
        log.warning("report: a slice is left out: %s", str(error).splitlines()[0])
        return None
    return overlays.data_uri(overlays.shrunk(pixels_HWC, overlays.PANE_PX))
