"""Tables as `label` writes them, and a run of `fuse` over them below the working directory."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from visionfm import artifacts
from visionfm.tasks.fuse import fuse
from visionfm.tasks.settings import FuseSettings, LabelledTarget

Row = dict[str, Any]
DX = {"dx": LabelledTarget(type="binary", column="dx", classes=["negative", "positive"], values=[[0], [1]])}
OUT, TRAIN = Path("results/tasks/t/m/samples.parquet"), Path("results/tasks/t/m/train.parquet")


def rows(modality: str = "f", count: int = 12, **changes: Any) -> list[Row]:
    """Two eyes of `count` people: four in training, two in validation, two in test, by turns, as dx is 0 or 1."""
    splits = ("train", "train", "train", "train", "validation", "validation", "test", "test")
    return [
        {
            "path": f"{modality}{person:02}{eye}.png",
            "image_id": f"{modality}{person:02}{eye}",
            "subject_id": f"c/p{person:02}",
            "eye": eye,
            "visit": "2020-01-01",
            "split": splits[person % 8],
            "dx": float(person % 2),
            **changes,
        }
        for person in range(count)
        for eye in "RL"
    ]


def write(path: str, table: list[Row], stage: str) -> Path:
    types = {"dx": pa.float64(), "iop": pa.float64()}
    names = list(table[0])
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    made_by = artifacts.provenance(stage, {}, {})
    kind = {"label": "labels"}.get(stage, stage)
    artifacts.write_table(path, pa.Table.from_pylist(table, schema=schema), made_by, schema=f"visionfm/{kind}/1")
    return Path(path)


def labelled(table: list[Row]) -> list[Row]:
    """The rows as `label` writes them, where no two people share a file, and no file has a copy."""
    return [{"group_id": row["subject_id"], "copy_id": row["image_id"].partition(":")[0], **row} for row in table]


def run(data: dict[str, list[Row]], **settings: Any) -> list[Row]:
    data = {name: labelled(table) for name, table in data.items()}
    labels = {name: [write(f"results/datasets/{name}/labels.parquet", table, "label")] for name, table in data.items()}
    audit = write("results/tasks/t/audit.parquet", [{"check": "none"}], "audit")
    modalities = settings.pop("modality", {"f": "Fundus", "o": "OCT"})
    datasets = {name: modalities.get(name, "Fundus") for name in data}
    settings.setdefault("targets", DX)
    settings.setdefault("modalities", list(dict.fromkeys(datasets.values())))
    fuse(labels, audit, OUT, TRAIN, FuseSettings(kind="classification", datasets=datasets, **settings))
    return samples()


def samples(path: Path = OUT) -> list[Row]:
    read: list[Row] = artifacts.read_table(path).to_pylist()
    return read
