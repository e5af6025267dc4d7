"""What the page to mail carries: by default no image, no file's name, no subject's id, no absolute folder."""

import getpass
import io
import json
import os
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from world.fabricated import Fabricated

from visionfm.figures.printed import Printed
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.project.settings import PaperSettings, ReportSettings
from visionfm.report.paper.stage import paper
from visionfm.report.stage import Outputs, report

OUT = Path("results/report")


def written(run: Fabricated, **block: str) -> bytes:
    """All bytes of the report's files, with its tables and archives unpacked."""
    config: dict[str, Any] = {**run.config, "report": block}
    for name, dataset in config["datasets"].items():
        dataset["root"] = str(Path("data", name).resolve())
    plan = Plan(Config.model_validate_json(json.dumps(config)))
    report(Outputs.of(plan), ReportSettings(config=config))
    paper(Path(plan.paper), PaperSettings(config=config))
    said = [path.read_bytes() for path in sorted(OUT.rglob("*")) if path.is_file()]
    said += [_unzipped(data) for data in said if data.startswith(b"PK")]
    said.append(pq.read_table(plan.report_metrics).to_pandas().to_csv().encode())
    return b"\n".join(said)


def _unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        inside = [archive.read(name) for name in archive.namelist()]
    return b"\n".join([*inside, *(_unzipped(one) for one in inside if one.startswith(b"PK"))])


@pytest.fixture
def drawn_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"></svg>'
    monkeypatch.setattr("visionfm.figures.svg.single", lambda panel: svg)
    printed = Printed(svg.encode(), b"%PDF", "axes\n")
    monkeypatch.setattr("visionfm.report.paper.figures.printed", lambda panel: printed)


@pytest.mark.usefixtures("drawn_quickly")
def test_a_page_carries_of_patients_what_its_config_says(fabricated: Callable[..., Fabricated], tmp_path: Path) -> None:
    run = fabricated()
    names = [path.encode() for rows in run.rows.values() for path, _ in rows] + [b"broken.jpg", b"a.png", b"b.png"]
    people = [b"clinic/p%d" % number for number in range(5)]
    # Short ones, and root, are parts of other words.
    here = {os.uname().nodename, socket.gethostname(), getpass.getuser()} - {"root"}
    places = [str(tmp_path).encode(), *(name.encode() for name in here if len(name) > 4)]

    safe = written(run)
    assert not [found for found in (*names, *people, *places, b"data:image/jpeg") if found in safe]
    assert b"findings" in safe or b"finding" in safe, "what the audit found is still counted"

    pictures = written(run, pictures="examples")
    assert b"data:image/jpeg" in pictures and run.rows["oct"][0][1][:12].encode() in pictures
    assert not [found for found in (*names, *people, *places) if found in pictures]

    shown = written(run, pictures="examples", ids="shown")
    assert names[0] in shown and b"clinic/p1" in shown
