"""Stages that handle tables alone, on fabricated ones: `python -m bench.tables [ROWS ...]`, 100,000 and a million.

Prints a row per stage: CPU seconds, peak memory, and both as parts of what they were before tables were read by
columns. `index` finds all its rows kept but one; the listing of its folder is not in it. Each stage is a process.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from visionfm.data.copied import MOST_PAIRS
from visionfm.data.index import NOT_PAYLOAD, THUMBNAILS
from visionfm.project.config import Config
from visionfm.project.plan import Plan

# CPU seconds and MB at 100,000 and 1,000,000 rows, of the stages that made an object of each row.
BEFORE: dict[tuple[str, int], tuple[float, float]] = {
    ("label d", 100_000): (5.4, 402),
    ("label e", 100_000): (5.3, 402),
    ("label f", 100_000): (6.2, 403),
    ("audit, two datasets", 100_000): (10.3, 501),
    ("fuse, three datasets, images", 100_000): (14.4, 939),
    ("fuse, three datasets, eyes", 100_000): (11.1, 713),
    ("index, rows kept", 100_000): (3.2, 346),
    ("label d", 1_000_000): (46, 2600),
    ("audit, two datasets", 1_000_000): (48, 3900),
    ("index, rows kept", 1_000_000): (45, 1900),
}
THUMBNAIL_BYTES = 900
DATASETS = {"d": "Fundus", "e": "OCT", "f": "FFA"}
# A listing as `index` would make it from a folder, without a million files on the disk.
STAGE = """
import sys
import pyarrow.parquet as pq
from visionfm.cli import main
from visionfm.data import index
from visionfm.data.layouts.folders import Listed
def listing(root, layout, pattern=None):
    table = pq.read_table(root / "listing.parquet").to_pydict()
    return [Listed(*row) for row in zip(*table.values())]
index.list_images = listing
sys.exit(main(sys.argv[1:]))
"""


def plan() -> Plan:
    """Return the plan of three datasets of the same people, and of two tasks: on images, and on eyes."""
    columns = {"image": "file", "subject": "person", "eye": "eye", "visit": "date", "targets": {"grade": "level"}}
    datasets = {
        name: {"modality": modality, "root": name, "layout": "table", "table": "labels.csv", "columns": columns}
        | {"cohort": "clinic"}
        for name, modality in DATASETS.items()
    }
    encoders = {
        f"e_{name}": {"modality": modality, "weights": "random", "arch": "vit_tiny_patch16_224"}
        for name, modality in DATASETS.items()
    }
    grades = {"none": 0, "mild": [1, 2], "severe": [3, 4]}
    task = {"kind": "classification", "datasets": list(DATASETS), "models": ["m"]}
    task["targets"] = {"grade": {"type": "multiclass", "classes": grades, "aggregate": "max"}}
    tasks = {"images": task, "eyes": {**task, "unit": "eye", "fusion": "concat"}}
    models = {"m": {modality: f"e_{name}" for name, modality in DATASETS.items()}}
    return Plan(Config.model_validate({"encoders": encoders, "models": models, "datasets": datasets, "tasks": tasks}))


def fabricate(of: Plan, rows: int) -> None:
    """Write index and label table of three datasets of `rows` images, in the working directory."""
    from visionfm import artifacts
    from visionfm.artifacts.versions import VERSIONS

    rng = np.random.default_rng(0)
    number = np.arange(rows)
    paths = [f"{i // 1000:05d}/{i:08d}.jpg" for i in range(rows)]
    people = [f"P{i // 4:07d}" for i in range(rows)]
    for at, (name, modality) in enumerate(DATASETS.items()):
        Path(name).mkdir()
        sizes = rng.integers(50_000, 900_000, rows)
        columns = {
            "path": paths,
            "image_id": [f"{at * rows + i:064x}" for i in range(rows)],
            "modality": pa.array([modality] * rows),
            "width": pa.array(np.full(rows, 1024), pa.int32()),
            "height": pa.array(np.full(rows, 768), pa.int32()),
            "mode": pa.array(["RGB"] * rows),
            "frames": pa.array(np.full(rows, 1), pa.int32()),
            "orientation": pa.array(np.full(rows, 1), pa.int32()),
            "bytes": pa.array(sizes),
            "mtime_ns": pa.array(1_700_000_000_000_000_000 + number),
            "status": pa.array(["ok"] * rows),
            "note": pa.nulls(rows, pa.string()),
            "thumbnail": thumbnails(rows, at),
        }
        table = pa.table(columns)
        settings = of.data.index_settings(name, "").model_dump(mode="json", exclude={"shard", "shards"})
        extra = {"reading": artifacts.provenance("index", settings, {}).key, "modality": modality, THUMBNAILS: str(at)}
        # Keys of another listing, so that `index` puts its rows together anew.
        made_by = artifacts.Provenance("index", VERSIONS["index"], "0" * 64)
        out = of.images(name)[0]
        artifacts.write_table(out, table, made_by, schema="visionfm/images/1", extra=extra, not_payload=NOT_PAYLOAD)
        pq.write_table(table.select(["path", "bytes", "mtime_ns"]).slice(1), f"{name}/listing.parquet")
        labels = {"file": paths, "person": people, "eye": ["R" if i % 2 else "L" for i in range(rows)]}
        labels["date"] = [f"20{10 + i % 4 // 2}-0{1 + i % 9}-11" for i in range(rows)]
        labels["level"] = [str(level) for level in np.where(number // 4 % 3, 0, number // 4 % 5)]
        pyarrow.csv.write_csv(pa.table(labels), f"{name}/labels.csv")


def thumbnails(rows: int, seed: int) -> pa.Array:
    """Return what stands for the thumbnails of so many images that only equal ones are sought; none of fewer images."""
    if rows * (rows - 1) // 2 <= MOST_PAIRS:
        return pa.nulls(rows, pa.binary())  # the search itself is measured by bench.copies
    content = pa.py_buffer(np.random.default_rng(seed).bytes(rows * THUMBNAIL_BYTES))
    offsets = pa.py_buffer(np.arange(rows + 1, dtype=np.int32) * THUMBNAIL_BYTES)
    return pa.Array.from_buffers(pa.binary(), rows, [None, offsets, content])


def stages(of: Plan) -> dict[str, list[str]]:
    """Return the command lines, by what they are called here."""
    labels = [f"{name}={of.labels(name)}" for name in DATASETS]
    images = [f"{name}={of.images(name)[0]}" for name in DATASETS]
    commands: dict[str, list[str]] = {}
    for name in DATASETS:
        settings = of.data.label_settings(name).model_dump_json()
        flags = ["--root", name, "--images", of.images(name)[0], "--out", of.labels(name), "--settings", settings]
        commands[f"label {name}"] = ["label", *flags]
    audit = of.data.audit_settings("images").model_copy(update={"datasets": ["d", "e"]}).model_dump_json()
    commands["audit, two datasets"] = [
        *("audit", "--images", *images[:2], "--labels", *labels[:2], "--out", of.audit("images"), "--settings", audit)
    ]
    for task in of.config.tasks:
        out = ["--out", of.samples(task, "m"), "--train-out", of.train_table(task, "m")]
        settings = of.tasks.fuse_settings(task).model_dump_json()
        given = ["--labels", *labels, "--audit", of.audit("images"), *out, "--settings", settings]
        commands[f"fuse, three datasets, {task}"] = ["fuse", *given]
    settings = of.data.index_settings("d", "").model_dump_json()
    commands["index, rows kept"] = ["index", "--root", "d", "--out", of.images("d")[0], "--settings", settings]
    return commands


def measured(command: list[str]) -> tuple[float, float]:
    """Run a stage; return its CPU seconds and its peak memory in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measuring = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:])\n"
    measuring += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", measuring, sys.executable, "-c", STAGE, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{json.dumps(command)[:2000]}\n{done.stderr[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stdout) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--without", default=" ", help="leave out stages whose name starts so: fuse, of 3 x 1e6 rows")
    args = parser.parse_args()
    of = plan()
    print("stage | rows each | CPU | peak memory | of before", flush=True)
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            _in_folder(Path(folder), of, rows, args.without)


def _in_folder(folder: Path, of: Plan, rows: int, without: str) -> None:
    import contextlib

    with contextlib.chdir(folder):
        fabricate(of, rows)
        for name, command in stages(of).items():
            if name.startswith(without):
                continue
            seconds, megabytes = measured(command)
            then = BEFORE.get((name, rows))
            part = f"{seconds / then[0]:.2f}, {megabytes / then[1]:.2f}" if then else "-"
            print(f"{name} | {rows} | {seconds:.1f} s | {megabytes:.0f} MB | {part}", flush=True)


if __name__ == "__main__":
    main()
