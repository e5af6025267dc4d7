"""Copies that cross splits or datasets stand side by side on the page; without pictures by their ids and positions."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from world.fabricated import Fabricated

from visionfm import artifacts
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.report import data
from visionfm.report.sections.audit import AuditView, audit_view


def view(run: Fabricated, **report: str) -> AuditView:
    config = Config.model_validate_json(json.dumps({**run.config, "report": report}))
    return audit_view(data.load(Plan(config)), "grading")


def test_copies_stand_side_by_side_as_far_as_the_page_may_show_them(fabricated: Callable[..., Fabricated]) -> None:
    run = fabricated(samples=20)
    path = run.plan.audit("grading")
    rows = artifacts.read_table(path).to_pylist()
    reason = {"check": "copy", "severity": "allowed", "reason": "known", "detail": "copies of one photograph"}

    def pair(split: str, other: str, dataset: str = "fundus", **changes: Any) -> dict[str, Any]:
        one = {"dataset": "fundus", "path": "img00.png", "split": split, "other_dataset": dataset}
        return reason | one | {"other_path": "img01.png", "other_split": other} | changes

    seen = {"check": "pretraining", "detail": "encoder e was pretrained on a copy of this image"}
    person = seen | {"detail": "encoder e was pretrained on an image of subject clinic/p1", "path": "img02.png"}
    again = seen | {"detail": "encoder f was pretrained on a copy of this image"}
    rows += [pair("train", "test"), pair("train", "train"), pair("test", "test", "oct"),
             *(pair("test", "pretraining", "ffa", **one) for one in (seen, again, person))]  # fmt: skip
    by = artifacts.provenance("audit", {"task": "grading", "copies": 6}, {})
    artifacts.write_table(path, pa.Table.from_pylist(rows), by, schema="visionfm/audit/1")

    shown = view(run, pictures="examples", ids="shown")
    assert shown.crossing == "Copies across splits or datasets: 3 findings", (
        "one pair is in one split of one dataset, one was seen by two encoders, one shares its person alone"
    )
    assert [[one.says for one in pair.pictures] for pair in shown.copies] == [
        ["Training, fundus", "Test, fundus"], ["Test, fundus", "Test, oct"], ["Test, fundus", "pretraining, ffa"]
    ]  # fmt: skip
    assert all(one.uri.startswith("data:image/jpeg") for pair in shown.copies for one in pair.pictures)
    assert [one.path for one in shown.copies[0].pictures] == ["img00.png", "img01.png"]
    assert shown.copies[0].says == f"copies of one photograph (row {len(rows) - 5} of audit.parquet)"

    hidden = view(run)
    assert hidden.table is None and not hidden.pictured and not any(one.uri for one in hidden.copies[0].pictures)
    assert hidden.copies[0].pictures[0].path == f"image {run.rows['fundus'][0][1][:12]}"
    assert "p1" not in hidden.copies[2].says and "img0" not in str(hidden)


def test_without_copies_the_page_lists_none(fabricated: Callable[..., Fabricated]) -> None:
    found = view(fabricated(samples=20), pictures="examples")
    assert found.copies == [] and found.crossing == "Copies across splits or datasets: 0 findings"
