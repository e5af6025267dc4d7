"""The page shows which slices a decoder looked at, in order, and pictures of them only where that is allowed."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

import visionfm
from visionfm.images.settings import Reading
from visionfm.tasks.results import Folder, TaskModel
from visionfm.tasks.vectors.relevance import TEMPLATE, sections

SLICES = 12


@pytest.fixture
def result(tmp_path: Path) -> TaskModel:
    """Five test volumes of twelve pages; the decoder looks at page 10 of each, a little more than at page 2."""
    samples, rows = [], []
    for n in range(5):
        pages = [Image.fromarray(np.full((20, 30), 20 * page, np.uint8)) for page in range(SLICES)]
        pages[0].save(tmp_path / f"{n}.tif", save_all=True, append_images=pages[1:])
        sha = hashlib.sha256((tmp_path / f"{n}.tif").read_bytes()).hexdigest() if n else "changed"
        images = [
            {"modality": "OCT", "dataset": "scans", "path": f"{n}.tif#{page}", "image_id": f"{sha}:{page}"}
            for page in sorted(range(SLICES), key=str)
        ]
        samples.append({"sample_id": f"scans/{n}.tif", "images": images})
        weight = {f"{sha}:10": 0.5, f"{sha}:2": 0.4}
        looked = [{"image_id": one["image_id"], "weight": weight.get(one["image_id"], 0.01)} for one in images]
        same = {"sample_id": f"scans/{n}.tif", "split": "test", "target": "dme", "class": None, "unit": None}
        rows.append({**same, "subset": "all", "truth": n % 2, "scores": [n / 10], "value": None, "slices": looked})
        rows.append({**same, "subset": "OCT", "truth": n % 2, "scores": [n / 10], "value": None, "slices": None})
    empty: Any = None
    return TaskModel(
        task="t", model="m", block=empty, targets={"dme": {"type": "binary", "classes": ["no", "yes"]}},
        runs=["seed0"], baselines=[], samples=pd.DataFrame(samples), metrics=None,
        predictions={"seed0": pd.DataFrame(rows)}, training={}, folders={"scans": Folder(tmp_path, Reading())},
        samples_file=tmp_path, pictures=True,
    )  # fmt: skip


def html(result: TaskModel) -> str:
    (section,) = sections(result)
    environment = Environment(
        loader=FileSystemLoader(Path(visionfm.__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(section.template).render(view=section.view)


def test_slices_stand_in_their_order_and_the_heaviest_are_shown(result: TaskModel) -> None:
    (section,) = sections(result)
    assert section.template == TEMPLATE
    highest, middle, lowest = section.view.samples
    assert [one.rank for one in (highest, middle, lowest)] == ["Highest", "Middle", "Lowest"]
    assert highest.says.startswith("0.40, in truth no; image ") and "frame" not in highest.says
    assert np.argsort(highest.bars[0].heights)[-2:].tolist() == [2, 10] and highest.bars[0].heights[10] == 1
    assert "slice 11 of 12 has the largest weight, 0.50" in highest.bars[0].says
    assert {"OCT, slice 11: 0.50", "OCT, slice 3: 0.40"} < {one.title for one in highest.slices}
    assert all(one.uri for one in highest.slices) and not any(one.uri for one in lowest.slices), "its file has changed"
    text = html(result)
    assert text.count("data:image/jpeg") == 6 and text.count("<rect") == 3 * SLICES and "scans/" not in text


def test_without_leave_there_are_bars_and_no_pictures(result: TaskModel) -> None:
    text = html(replace(result, pictures=False))
    assert "data:image" not in text and "<img" not in text and text.count("<rect") == 3 * SLICES


def test_without_attention_there_is_no_section(result: TaskModel) -> None:
    rows = result.predictions["seed0"].drop(columns="slices")
    assert sections(replace(result, predictions={"seed0": rows})) == []
