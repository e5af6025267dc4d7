"""Millions of images as tables alone, a dataset in shards: `python -m bench.scale [ROWS] [SHARDS]`, 2,000,000 in 8.

Fabricates sealed indices (with thumbnails, without images) and a CSV file of labels, then prints CPU seconds, peak
memory (mapped files counted) and bytes per row of `index` of one shard whose rows are kept, and of `label`, `audit` and
`fuse` of the whole dataset.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bench.tables import measured, thumbnails
from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.data.index import NOT_PAYLOAD, SCHEMA, THUMBNAILS, in_shard
from visionfm.project.config import Config
from visionfm.project.plan import Plan


def plan(shards: int) -> Plan:
    """Return the plan of one dataset in shards, and of one task on its images."""
    columns = {"image": "file", "subject": "person", "eye": "eye", "visit": "date", "targets": {"grade": "level"}}
    dataset = {"modality": "Fundus", "root": "d", "layout": "table", "table": "labels.csv", "columns": columns}
    target = {"type": "multiclass", "classes": {"none": 0, "mild": [1, 2], "severe": [3, 4]}}
    task = {"kind": "classification", "datasets": ["d"], "models": ["m"], "targets": {"grade": target}}
    return Plan(
        Config.model_validate(
            {
                "encoders": {"e": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"}},
                "models": {"m": {"Fundus": "e"}},
                "datasets": {"d": {**dataset, "shards": shards, "split": {"test": 0.2}}},
                "tasks": {"t": task},
            }
        )
    )


def fabricate(of: Plan, rows: int, shards: int) -> None:
    """Write the indices of all shards, the listing of the first, and the table of labels, in the working directory."""
    Path("d").mkdir()
    numbers: list[list[int]] = [[] for _ in range(shards)]
    for number in range(rows):
        numbers[next(shard for shard in range(shards) if in_shard(path_of(number), shard, shards))].append(number)
    for shard, out in enumerate(of.images("d")):
        settings = of.data.index_settings("d", str(shard)).model_dump(mode="json", exclude={"shard", "shards"})
        reading = artifacts.provenance("index", settings, {}).key
        table = index_table(np.array(numbers[shard]), shard)
        extra = {"reading": reading, "modality": "Fundus", THUMBNAILS: str(shard)}
        made_by = artifacts.Provenance("index", VERSIONS["index"], f"{shard:064x}")
        artifacts.write_table(out, table, made_by, schema=SCHEMA, extra=extra, not_payload=NOT_PAYLOAD)
        if shard == 0:
            pq.write_table(table.select(["path", "bytes", "mtime_ns"]), "d/listing.parquet")
        numbers[shard] = []
    with pyarrow.csv.CSVWriter("d/labels.csv", labels(range(1)).schema) as writer:
        for start in range(0, rows, 100_000):
            writer.write_table(labels(range(start, min(start + 100_000, rows))))


def path_of(number: int) -> str:
    """Return the path of an image."""
    return f"{number // 1000:05d}/{number:08d}.jpg"


def index_table(number_N: np.ndarray, seed: int) -> pa.Table:
    """Return rows of an index."""
    rows = len(number_N)
    same = {"width": 1024, "height": 768, "frames": 1, "orientation": 1}
    columns = {
        "path": [path_of(number) for number in number_N.tolist()],
        "image_id": [f"{number:064x}" for number in number_N.tolist()],
        "modality": pa.repeat("Fundus", rows),
        **{name: pa.repeat(pa.scalar(value, pa.int32()), rows) for name, value in same.items()},
        "mode": pa.repeat("RGB", rows),
        "bytes": pa.array(50_000 + number_N % 800_000),
        "mtime_ns": pa.array(1_700_000_000_000_000_000 + number_N),
        "status": pa.repeat("ok", rows),
        "note": pa.nulls(rows, pa.string()),
        "thumbnail": thumbnails(rows, seed),
    }
    order = ("path", "image_id", "modality", "width", "height", "mode", "frames", "orientation")
    return pa.table({name: columns.pop(name) for name in order} | columns)


def labels(numbers: range) -> pa.Table:
    """Return rows of the table of labels: people of four images."""
    return pa.table(
        {
            "file": [path_of(number) for number in numbers],
            "person": [f"P{number // 4:07d}" for number in numbers],
            "eye": ["R" if number % 2 else "L" for number in numbers],
            "date": [f"20{10 + number % 4 // 2}-0{1 + number % 9}-11" for number in numbers],
            "level": [str(number // 4 % 5 if number // 4 % 3 == 0 else 0) for number in numbers],
        }
    )


def stages(of: Plan) -> dict[str, tuple[list[str], int]]:
    """Return the command lines, and how many shards each one reads."""
    images, labelled = of.images("d"), of.labels("d")
    settings = {
        "index": of.data.index_settings("d", "0"),
        "label": of.data.label_settings("d"),
        "audit": of.data.audit_settings("t"),
        "fuse": of.tasks.fuse_settings("t"),
    }
    given = ["--labels", f"d={labelled}"]
    written = ["--out", of.samples("t", "m"), "--train-out", of.train_table("t", "m")]
    flags = {
        "index": ["--root", "d", "--out", images[0]],
        "label": ["--root", "d", "--images", *images, "--out", labelled],
        "audit": ["--images", *(f"d={image}" for image in images), *given, "--out", of.audit("t")],
        "fuse": [*given, "--audit", of.audit("t"), *written],
    }
    read = {"index": 1}
    return {
        stage: ([stage, *flags[stage], "--settings", settings[stage].model_dump_json()], read.get(stage, len(images)))
        for stage in flags
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=2_000_000)
    parser.add_argument("shards", nargs="?", type=int, default=8)
    args = parser.parse_args()
    of = plan(args.shards)
    print("stage | rows | CPU | peak memory | CPU per million rows, bytes per row", flush=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        fabricate(of, args.rows, args.shards)
        for stage, (command, read) in stages(of).items():
            seconds, megabytes = measured(command)
            rows = args.rows * read // args.shards
            each = f"{seconds / rows * 1e6:.1f} s, {megabytes * 2**20 / rows:.0f}"
            print(f"{stage} | {rows} | {seconds:.1f} s | {megabytes:.0f} MB | {each}", flush=True)


if __name__ == "__main__":
    main()
