"""What is known of public sets and encoders is said with its source, and nothing is concluded from silence."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from visionfm import artifacts
from visionfm.data.audit import audit
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.public import check_known, registry, verdict
from visionfm.data.settings import AuditSettings, IndexSettings, LabelSettings
from visionfm.errors import DataError


def test_the_registry_names_only_sets_that_it_has_and_a_source_for_each_fact() -> None:
    known = registry()
    named = {name for encoder in known.encoders.values() for name in encoder.trained_on}
    assert named | {side for one in known.overlaps for side in (one.one, one.other)} <= known.sets.keys()
    assert all(encoder.source or not encoder.trained_on for encoder in known.encoders.values())
    assert all(encoder.source for encoder in known.encoders.values() if encoder.complete)
    assert {one.starts_from for one in known.encoders.values()} - {None} <= known.encoders.keys()
    assert all(encoder.trained_on or encoder.note for encoder in known.encoders.values())


@pytest.mark.parametrize(
    ("encoder", "public", "status"),
    [
        ("retfound_green", "ddr", "seen"),
        ("retfound_green", "idrid", "unknown"),
        ("flair", "drive", "not seen"),
        ("flair", "idrid", "seen in part"),
        ("flair", "mured", "related set seen"),
        ("retfound_cfp", "idrid", "unknown"),
        (None, "idrid", "unknown"),
    ],
)
def test_a_verdict_follows_from_facts_alone(encoder: str | None, public: str, status: str) -> None:
    found = verdict(encoder, public)
    assert found.status == status
    assert encoder is None or "read 2026" in found.detail or "doi:" in found.detail or "arXiv:" in found.detail


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no public set is named 'idrit'; did you mean 'idrid'"):
        check_known("sets", "idrit")


def audited(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    data, images, labels = folder / "data", folder / "images.parquet", folder / "labels.parquet"
    data.mkdir(exist_ok=True)
    for number in range(3):
        Image.new("RGB", (32, 32), (40 * number, 0, 0)).save(data / f"{number}.png")
    (data / "labels.csv").write_text("image,patient,split\n0.png,a,train\n1.png,b,validation\n2.png,c,test\n")
    index(data, images, IndexSettings(modality="Fundus", layout="table"))
    columns = Columns(image="image", subject="patient", split="split")
    label(data, [images], None, labels, LabelSettings(dataset="d", layout="table", table="labels.csv", columns=columns))
    out = folder / "audit.parquet"
    audit({"d": [images]}, {"d": [labels]}, out, AuditSettings(task="t", datasets=["d"], **settings))
    table: pa.Table = artifacts.read_table(out)
    return [row for row in table.to_pylist() if row["check"] == "public"]


def test_a_test_set_that_an_encoder_was_trained_on_is_a_leak_and_what_is_not_known_is_a_note(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"encoder e: RETFound-Green was trained on OIA-DDR"):
        audited(tmp_path, public={"d": "ddr"}, encoders={"e": "retfound_green"})
    (allowed,) = audited(
        tmp_path, public={"d": "ddr"}, encoders={"e": "retfound_green"}, allow_leakage={"d": "a reason of its own"}
    )
    assert allowed["severity"] == "allowed"
    found = audited(tmp_path, public={"d": "idrid"}, encoders={"e": "retfound_green", "f": None, "g": "flair"})
    assert [(row["detail"].split(":")[0], row["severity"]) for row in found] == [
        ("encoder e", "note"),
        ("encoder f", "note"),
        ("encoder g", "note"),
    ]
    assert "starts from DINOv2 (by its architecture" in found[0]["detail"]


def test_a_public_set_that_the_config_trains_on_is_seen_and_so_are_sets_that_it_shares_images_with(
    tmp_path: Path,
) -> None:
    found = audited(tmp_path, public={"d": "messidor2"}, trained_here={"e": ["messidor2"], "f": ["messidor"]})
    assert [(row["detail"].split(" was")[0], row["severity"]) for row in found] == [
        ("encoder e: it", "note"),
        ("encoder f: it", "note"),
    ]
    assert "trained on Messidor-2 (by this config)" in found[0]["detail"]
    assert "shares images with Messidor-2" in found[1]["detail"]
