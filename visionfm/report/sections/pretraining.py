"""The report's part on pretraining: what each encoder was trained on, its curves, and what it makes of some images.

Reads training.parquet and encoder.safetensors of the encoders pretrained here, and a few images of their datasets; one
that changed since `index` is not shown. Invariant: which images are shown depends on images.parquet alone.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from visionfm.errors import CannotReadNow, VisionFMError
from visionfm.figures import svg as plots
from visionfm.figures.section import Section
from visionfm.figures.svg import PALETTE, Figure, Panel, legend_below
from visionfm.figures.tables import Cell, Table
from visionfm.images.identity import shown_as
from visionfm.images.reading import read_checked
from visionfm.images.settings import Reading
from visionfm.images.transforms import resize_square
from visionfm.metrics.written import number
from visionfm.project.plan import Plan
from visionfm.report.data import DatasetTables, Results
from visionfm.report.sections.pretraining_pictures import Example, Look, data_uri, look
from visionfm.report.words import count, listed

EXAMPLES = 4
COLUMNS = ("image", "hidden", "most like the hidden", "attention", "components")
OF_HIDDEN = COLUMNS[1:3]  # of recipes that hide patches
QUANTITIES = {
    "loss": "loss",
    "loss_cls": "loss between views",
    "loss_patch": "loss on hidden patches",
    "loss_hidden": "loss on hidden patches (0 in crops that hide none)",
    "rank_me": "effective rank of the features",
    "teacher_entropy": "entropy of the teacher (nats)",
    "agreement": "views that agree on their first prototype",
    "recognised": "images recognised among all",
    "gradient_norm": "norm of the gradient",
    "knn": "k-NN accuracy on validation images",
}
LOSSES = {"loss_cls": "between views", "loss_patch": "on hidden patches"}  # of recipes with a teacher
HIDDEN = {"loss_hidden": "on hidden patches"}  # of the mean over all tokens, which is `loss`
PANELS: tuple[tuple[dict[str, str], str, str], ...] = (  # series by column, title, unit; drawn where they are there
    ({"rank_me": "effective rank"}, "Effective rank of the features", "rank"),
    ({"teacher_entropy": "entropy"}, "Entropy of the teacher", "nats"),
    ({"agreement": "agreement"}, "Views that agree", "share"),
    ({"recognised": "recognised"}, "Images recognised among all", "share"),
    ({"knn": "k-NN"}, "k-NN on validation images", "accuracy"),
)
log = logging.getLogger("visionfm")


class Row(NamedTuple):
    """The pictures of one image: (heading, data URI) in the order of COLUMNS."""

    name: str
    pictures: list[tuple[str, str]]


@dataclass(frozen=True)
class PretrainingView:
    """What the page says of one pretrained encoder."""

    name: str
    sentences: list[str]
    figures: list[Figure]
    table: Table
    rows: list[Row]
    meaning: list[str]


def sections(results: Results) -> list[Section]:
    """Return the section of all encoders pretrained here, none where there are none."""
    views = pretraining_views(results)
    template = "report/sections/pretraining.html.j2"
    return [Section(template, views, "Pretraining", "pretraining", folded=True)] if views else []


def pretraining_views(results: Results) -> list[PretrainingView]:
    """Return one view for each encoder that was pretrained here."""
    tables = {one.name: one for one in results.datasets}
    return [_view(results, name, curves, tables) for name, curves in results.pretraining.items()]


def _view(results: Results, name: str, curves: Any, tables: Mapping[str, DatasetTables]) -> PretrainingView:
    plan, metadata = results.plan, results.encoders[name]
    datasets = [tables[dataset] for dataset in plan.pretraining.block(name).datasets]
    panels = _panels(curves)
    figures = [plots.drawn(panel, f"pretraining-{name}-{at}") for at, panel in enumerate(panels)]
    shows = plan.config.report.pictures == "examples"
    examples = [] if not shows else _examples(plan, datasets, int(metadata["image_size"]), metadata["interpolation"])
    recipe = plan.pretraining.block(name).recipe_values()
    shown = look(Path(plan.encoder(name)), examples, recipe) if examples else None
    return PretrainingView(
        name=name,
        sentences=_sentences(name, metadata, datasets, curves),
        figures=figures,
        table=_table(name, curves),
        rows=[] if shown is None else _rows(shown),
        meaning=[] if shown is None else _meaning(shown),
    )


def _sentences(name: str, metadata: Mapping[str, str], datasets: list[DatasetTables], curves: Any) -> list[str]:
    source = json.loads(metadata["source"])
    trained = int(metadata["trained_images"])
    there = len({image_id for one in datasets for image_id in _usable(one)["image_id"]})
    last = curves.iloc[-1]
    found = [
        f"{metadata['arch']} at {metadata['image_size']} px, trained on {trained:,} of {count(there, 'image')} of "
        f"{listed([one.name for one in datasets])}.",
        f"Recipe {source['recipe']}: {count(int(source['epochs']), 'epoch')}, {count(int(last['step']), 'step')}, "
        f"{int(last['images']):,} images seen.",
    ]
    if trained != there:
        found.append(
            "Images were added or removed since; a finished encoder is not trained anew because of that. "
            f"`visionfm forget encoders/{name}` trains it on those that are there now."
        )
    return found


def _usable(tables: DatasetTables) -> Any:
    return tables.images[tables.images["status"] == "ok"]


# --- curves ---------------------------------------------------------------------------------------------------------


def _panels(curves: Any) -> list[Panel]:
    known = {column for column in curves.columns if curves[column].notna().any()}
    losses = LOSSES if known.issuperset(LOSSES) else {"loss": "all", **HIDDEN}
    drawn = [({name: words for name, words in losses.items() if name in known}, "Losses", "loss"), *PANELS]
    return [_panel(curves, series, title, unit) for series, title, unit in drawn if known.issuperset(series)]


def _panel(curves: Any, series: Mapping[str, str], title: str, unit: str) -> Panel:
    known = {column: curves[curves[column].notna()] for column in series}
    drawn = {column: table for column, table in known.items() if len(table)}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles: list[Any] = []
        for at, (column, table) in enumerate(drawn.items()):
            handles += axes.plot(table["images"], table[column], color=PALETTE[at])
        axes.set(title=title, xlabel="images seen", ylabel=unit)
        axes.set_xlim(left=0)
        if len(series) > 1:
            legend_below(figure, handles, list(series.values()))

    ends = {column: [number(float(table[column].iloc[at])) for at in (0, -1)] for column, table in drawn.items()}
    said = [f"{series[column]}: {first} at first, {last} at last" for column, (first, last) in ends.items()]
    rows = len(series) if len(series) > 1 else 0
    return Panel("training", title, f"{title} over the images seen. {'; '.join(said)}.", draw, rows)


def _table(name: str, curves: Any) -> Table:
    rows = []
    for column, words in QUANTITIES.items():
        known = curves[column].dropna().tolist() if column in curves.columns else []
        if len(known):
            values = [known[0], known[-1]]
            rows.append([Cell(words), *(Cell(number(value), numeric=True) for value in values)])
    return Table(f"{name}: pretraining, first and last interval", ["quantity", "first", "last"], rows)


# --- pictures -------------------------------------------------------------------------------------------------------


def _examples(plan: Plan, datasets: list[DatasetTables], size_px: int, interpolation: str) -> list[Example]:
    """Return some images as the encoder gets them: the first by id of each modality in turn."""
    queues: dict[str, list[tuple[str, str, str]]] = {}
    for tables in datasets:
        rows = _usable(tables)
        queue = queues.setdefault(tables.modality, [])
        queue += [(image_id, tables.name, path) for image_id, path in zip(rows["image_id"], rows["path"], strict=True)]
    for queue in queues.values():
        queue.sort()
    found: list[Example] = []
    while len(found) < EXAMPLES and any(queues.values()):
        for modality, queue in queues.items():
            if queue and len(found) < EXAMPLES:
                example = _example(plan, modality, *queue.pop(0), size_px, interpolation)
                found += [] if example is None else [example]
    return found


def _example(
    plan: Plan, modality: str, image_id: str, dataset: str, path: str, size_px: int, interpolation: str
) -> Example | None:
    block = plan.config.datasets[dataset]
    try:
        image_HWC = read_checked(Path(block.root), path, image_id, Reading.of(block), target_px=size_px)
    except CannotReadNow:
        raise  # a page that lacks a picture for that would stay without it
    except VisionFMError as error:
        log.warning("report: the picture of %s/%s is left out: %s", block.root, path, error.problem)
        return None
    small = resize_square(image_HWC, size_px, "bicubic" if interpolation == "bicubic" else "bilinear")
    shown = shown_as(path, image_id, plan.config.report.ids == "shown")
    return Example(f"{dataset}/{shown}", image_id, modality, small)


def _rows(shown: Look) -> list[Row]:
    found = []
    for one in shown.seen:
        pictures = dict(zip(COLUMNS, one[1:], strict=True))
        kept = {name: picture for name, picture in pictures.items() if shown.hidden or name not in OF_HIDDEN}
        found.append(Row(one.name, [(name, data_uri(picture)) for name, picture in kept.items()]))
    return found


def _meaning(shown: Look) -> list[str]:
    hidden = [
        "Hidden: a mask as training draws them. The finished encoder has no decoder to pixels and no token for hidden "
        "patches, so nothing here is a reconstruction; hidden patches get the mean colour.",
        "Most like the hidden: in place of each hidden patch stands the visible one, of any image shown, whose token "
        "in the whole image is nearest to the token that the encoder gives the hidden place. "
        f"Over {count(shown.hidden, 'hidden patch', 'hidden patches')} these differ from the truth by "
        f"{number(shown.nearest_error)} of 255 on average; visible patches taken at random by "
        f"{number(shown.chance_error)}.",
    ]
    return [
        *(hidden if shown.hidden else []),
        "Attention: how much the CLS token attends to each patch in the last block, mean over heads, stretched for "
        "each image. It shows where, not why.",
        "Components: the first three principal components of the patch tokens of all images shown, as red, green and "
        f"blue; they hold {100 * shown.explained:.0f} % of the tokens' variance. Equal colours are similar tokens; the "
        "colours themselves mean nothing.",
    ]
