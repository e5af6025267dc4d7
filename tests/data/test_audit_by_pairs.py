"""The audit against one that compares every image with every other one, on drawn tables with all kinds of faults."""

import random
import string
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.data import spelling
from visionfm.data.audit import audit
from visionfm.data.settings import AuditSettings, AuditTarget

Row = dict[str, Any]
NAMES = ("a", "b", "outside", "seen")
MADE_BY = {kind: artifacts.provenance(stage, {}, {}) for kind, stage in (("images", "index"), ("labels", "label"))}

LABELLED = ("dataset", "copy_id", "subject_id", "split", "grade")  # what no index knows


def drawn(dataset: str, rng: random.Random) -> list[Row]:
    """Images of few people and few files, so that much is doubled; some are frames, some their own subjects."""
    rows = []
    for number in range(100):
        frame = rng.choice(("", "", "", ":0", ":1"))
        path = f"{number:03}.png{frame.replace(':', '#')}"
        subject = rng.choice((f"c/{rng.randrange(60)}", f"{dataset}/{number:03}.png"))
        row = {"dataset": dataset, "path": path, "image_id": f"{rng.randrange(400):03}{frame}", "subject_id": subject}
        row["copy_id"] = row["image_id"].partition(":")[0]
        row["split"] = "test" if dataset == "outside" else rng.choice(("train", "validation", "test"))
        rows.append({**row, "grade": rng.choice((0.0, 1.0, 2.0, None))})
    return rows


def by_pairs(rows: list[Row], seen: list[Row]) -> set[tuple[str, str, str]]:
    """Return each finding as its check and what it is about: a person, a file, two paths or one."""
    found = set()
    for one, other in combinations(rows, 2):
        file = one["image_id"].partition(":")[0]
        if one["split"] != other["split"] and one["subject_id"] == other["subject_id"]:
            found.add(("subject", one["subject_id"], ""))
        if one["split"] != other["split"] and file == other["image_id"].partition(":")[0]:
            found.add(("bytes", file, ""))
        known = one["grade"] is not None and other["grade"] is not None
        if one["image_id"] == other["image_id"] and known and (one["grade"] > 0) != (other["grade"] > 0):
            found.add(("contradiction", *sorted(f"{row['dataset']}/{row['path']}" for row in (one, other))))
    for one in rows:
        for other in seen if one["split"] == "test" else ():
            same_file = one["image_id"].partition(":")[0] == other["image_id"].partition(":")[0]
            if same_file or one["subject_id"] == other["subject_id"]:
                found.add(("pretraining", f"{one['dataset']}/{one['path']}", ""))
    return found


def what(finding: Row) -> tuple[str, str, str]:
    place, other = (f"{finding[f'{at}dataset']}/{finding[f'{at}path']}" for at in ("", "other_"))
    if finding["check"] in ("subject", "bytes"):
        return finding["check"], finding["detail"].split()[-1], ""
    return finding["check"], place, other if finding["check"] == "contradiction" else ""


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_what_a_comparison_of_all_pairs_finds(seed: int, results: Path) -> None:
    rng = random.Random(seed)
    rows = {name: drawn(name, rng) for name in NAMES}
    files: dict[str, dict[str, list[Path]]] = {"images": {}, "labels": {}}
    for name, of_dataset in rows.items():
        for kind, left_out in (("images", LABELLED), ("labels", ("dataset",))):
            table = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in left_out} for row in of_dataset])
            if kind == "images":
                table = table.append_column("status", pa.array(["ok"] * len(of_dataset)))
                table = table.append_column("thumbnail", pa.nulls(len(of_dataset), pa.binary()))
            path = Path(f"results/datasets/{name}/{kind}.parquet")
            artifacts.write_table(path, table, MADE_BY[kind], schema=f"visionfm/{kind}/1")
            files[kind][name] = [path]
    settings = AuditSettings(
        task="t",
        datasets=["a", "b"],
        external=["outside"],
        pretraining={"e": ["seen"]},
        allow_leakage=dict.fromkeys(NAMES, "drawn so"),
        targets=[AuditTarget(column="grade", classes=[[0], [1, 2]])],
    )
    out = Path("results/tasks/t/audit.parquet")
    audit(files["images"], files["labels"], out, settings)
    found = {what(finding) for finding in artifacts.read_table(out).to_pylist()}
    found = {one for one in found if one[0] not in ("few_in_common", "shared_ids")}
    expected = by_pairs([row for name in ("a", "b", "outside") for row in rows[name]], rows["seen"])
    assert found == expected and {check for check, _, _ in found} >= {"subject", "bytes", "contradiction"}
    assert len([one for one in found if one[0] == "pretraining"]) > 5


def test_ids_of_plain_letters_are_spelled_as_all_others_are() -> None:
    rng = random.Random(0)
    signs = "0019aBP.-_ /\0\t" + string.punctuation
    for _ in range(5000):
        text = "".join(rng.choices(signs, k=rng.randrange(10)))
        for normalise in ("digits", "text"):
            # A sign beyond ASCII takes the way that all alphabets take; Greek omega is no separator and no digit.
            written = spelling.written(f"\u03c9{text}\u03c9", normalise)
            assert f"\u03c9{spelling.written(f'x{text}x', normalise)[1:-1]}\u03c9" == written, text
