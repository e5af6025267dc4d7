"""Volumes of every maker's format, from their files to the report, with masks; no id of a person in any byte of it."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rerun_project import Project
from world.dicom_files import TOMOGRAM, dicom
from world.volume_files import e2e, export, nifti, npy, topcon, vol

SLICES, SIDE = 3, 32
SPLITS = ("train", "train", "validation", "test", "test")
PATIENT = "MRN7700{:02}"
Writer = Callable[[Any, str, Path], None]


def scan(person: int) -> np.ndarray:
    """Slices of noise; of every second person one has a bright square, whose mask is `square`."""
    slices = np.random.default_rng(person).integers(0, 90, (SLICES, SIDE, SIDE)).astype(np.uint8)
    slices[square(person) > 0] += 150
    return slices


def square(person: int) -> np.ndarray:
    mask = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    mask[person % SLICES, 8:24, 8:24] = person % 2
    return mask


def tiff(scans: Any, patient: str, path: Path) -> None:
    first, *others = [Image.fromarray(one) for one in scans]
    first.save(path, save_all=True, append_images=others)


def folder(scans: Any, patient: str, path: Path) -> None:
    path.mkdir()
    for number, one in enumerate(scans):
        Image.fromarray(one).save(path / f"{number}.png")


def xml(scans: Any, patient: str, path: Path) -> None:
    names = [f"{path.stem}_{number}.png" for number in range(len(scans))]
    for name, one in zip(names, scans, strict=True):
        Image.fromarray(one).save(path.parent / name)
    path.write_bytes(export(names, patient))


def bytes_of(make: Callable[[Any, str], bytes]) -> Writer:
    return lambda scans, patient, path: (path.write_bytes(make(scans, patient)), None)[1]


FORMATS: dict[str, tuple[str, Writer, str | None]] = {  # ending, writer, where the person stands
    "dcm": (".dcm", bytes_of(lambda s, who: dicom(s, kind=TOMOGRAM, PatientID=who)), "dicom.PatientID"),
    "vol": (".vol", bytes_of(lambda s, who: vol((s / 255.0) ** 4, patient=who)), "vol.PatientID"),
    "xml": (".xml", xml, "xml.PatientID"),
    "e2e": (".e2e", bytes_of(lambda s, who: e2e(s.astype("<u2") << 6, patient=who)), "e2e.PatientID"),
    "fda": (".fda", bytes_of(lambda s, who: topcon(s, patient=who)), "topcon.PatientID"),
    "fds": (".fds", bytes_of(lambda s, who: topcon(s.astype(np.uint16), "FDS", patient=who)), "topcon.PatientID"),
    "nii": (".nii.gz", bytes_of(lambda s, who: nifti(s, packed=True)), None),
    "npy": (".npy", bytes_of(lambda s, who: npy(s)), None),
    "tif": (".tif", tiff, None),
    "pngs": ("", folder, None),
}  # fmt: skip


def draw(root: Path, name: str) -> dict[str, Any]:
    """Draw a dataset of five people in one format; return its block."""
    ending, write, header = FORMATS[name]
    at = list(FORMATS).index(name) * len(SPLITS)
    lines = ["file,patient,split,sick"]
    (root / name / "scans").mkdir(parents=True)
    (root / name / "masks").mkdir()
    for number, split in enumerate(SPLITS):
        person, path = at + number, f"scans/{number}{ending}"
        write(scan(person), PATIENT.format(person), root / name / path)
        tiff(square(person), "", root / name / f"masks/{number}.tif")
        lines.append(f"{path},{PATIENT.format(person)},{split},{person % 2}")
    (root / name / "t.csv").write_text("\n".join(lines))
    columns = {"image": "file", "subject": header or "patient", "split": "split", "targets": {"sick": "sick"}}
    return {
        "modality": "OCT", "root": f"data/{name}", "layout": "table", "table": "t.csv", "frames": "all",
        "images": f"scans/*{ending or '/'}", "ids": {"hash": "site.key"}, "cohort": "clinic", "columns": columns,
    }  # fmt: skip


def unpacked(path: Path) -> bytes:
    """Return a file's bytes and, of what packs them, what it holds."""
    found = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        found += repr((table.to_pylist(), table.schema.metadata)).encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found += b"".join(name.encode() + archive.read(name) for name in archive.namelist())
    return found


@pytest.mark.slow
def test_every_format_comes_to_the_report_and_names_nobody(tmp_path: Path, commands: Path) -> None:
    (tmp_path / "site.key").write_text("0123456789abcdef0123456789abcdef")
    datasets = {name: draw(tmp_path / "data", name) for name in FORMATS}
    for name in ("tif", "nii"):
        block = datasets[name]
        datasets[f"{name}_masks"] = {**block, "columns": {**block["columns"], "mask": "mask"}}
        table = tmp_path / "data" / name / "t.csv"
        head, *rows = table.read_text().splitlines()
        rows = [f"{row},masks/{number}.tif" for number, row in enumerate(rows)]
        table.write_text("\n".join([f"{head},mask", *rows]))
    encoder = {"modality": "OCT", "weights": "random", "arch": "vit_tiny_patch16_224", "image_size": 32}
    same = {"models": ["tiny"]}
    project = Project(tmp_path, commands)
    project.config = {
        "encoders": {"tiny": {**encoder, "device": "cpu", "workers": 0, "statistics": "imagenet"}},
        "models": {"tiny": {"OCT": "tiny"}},
        "datasets": datasets,
        "tasks": {
            "sick": {"kind": "classification", "datasets": list(FORMATS), "unit": "volume", "slices": "attention",
                     "fusion": "concat", "targets": {"sick": {"type": "binary"}}, "training": {"epochs": 3}, **same},
            "square": {"kind": "segmentation", "datasets": ["tif_masks", "nii_masks"], "image_size": 32,
                       "targets": {"square": {"classes": 2}}, "training": {"epochs": 4}, **same},
        },
        "report": {"pictures": "examples"},
    }  # fmt: skip
    done = project.snakemake("--quiet")
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results"
    for name in FORMATS:
        rows = pq.read_table(results / f"datasets/{name}/labels.parquet").to_pylist()
        assert len(rows) == SLICES * len(SPLITS) and len({row["subject_id"] for row in rows}) == len(SPLITS), name
    said = pq.read_table(results / "tasks/sick/tiny/seed0/predictions.parquet").to_pylist()
    assert sum(row["split"] == "test" for row in said) == 2 * len(FORMATS)
    measured = pq.read_table(results / "tasks/square/tiny/metrics.parquet").to_pylist()
    n_of = {row["metric"]: row["n"] for row in measured if (row["dataset"], row["split"]) == ("tif_masks", "test")
            and row["class"] == "0"}  # fmt: skip
    assert (n_of["dice"], n_of["dice_of_volume"]) == (2 * SLICES, 2)
    page = (results / "report/index.html").read_text()
    assert "Dice of volumes" in page and "volumes" in page
    for path in [one for one in results.rglob("*") if one.is_file()]:
        assert b"MRN77" not in unpacked(path), path
