"""Whoever changes what a stage computes raises its version: the numbers of a small run are kept, by stage and version.

After a change that is meant, raise the stage's number in `visionfm/artifacts/versions.py`, and let this test write the
file anew: `VISIONFM_WRITE_NUMBERS=1 pytest tests/workflow/test_versions.py`.
"""

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from rerun_project import Project

from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS

KEPT = Path(__file__).with_name("numbers.json")
MACHINE = ("mtime_ns",)  # differ between machines
Numbers = dict[str, float]


def table_numbers(path: Path) -> Numbers:
    """Rows, and for each column how many values it has and what they are on average."""
    found = {"rows": float(pq.read_metadata(path).num_rows)}
    for name, values in pq.read_table(path).to_pydict().items():
        if name in MACHINE or not values:
            continue
        known = [value for value in values if value is not None]
        found[f"{name}: known"] = len(known)
        flat = np.ravel(known) if known and not isinstance(known[0], str | dict) else np.array([])
        if flat.dtype.kind in "fiub" and len(flat):
            found |= {f"{name}: mean": float(np.mean(flat)), f"{name}: spread": float(np.std(flat))}
        else:
            found[f"{name}: different"] = len({str(value) for value in known})
    return found


def array_numbers(arrays: dict[str, Any]) -> Numbers:
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind in "fiu":
            found |= {f"{name}: mean": float(np.mean(array)), f"{name}: spread": float(np.std(array.astype(float)))}
    return found


def numbers(path: Path) -> Numbers:
    if path.suffix == ".parquet":
        return table_numbers(path)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return array_numbers({name: file[name][()] for name in file})
    return array_numbers(artifacts.read_tensors(path)[0])


def computed(project: Project) -> dict[str, dict[str, Any]]:
    """Stage -> its version and the numbers of each of its artefacts."""
    results = project.folder / "results"
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(results.rglob("*")):
        parts = path.relative_to(results).parts
        if parts[0] in ("logs", "benchmarks", ".kept") or path.suffix not in (".parquet", ".h5", ".safetensors"):
            continue
        stage = artifacts.read_metadata(path)["stage"]
        entry = found.setdefault(stage, {"version": VERSIONS[stage], "numbers": {}})
        entry["numbers"][path.relative_to(results).as_posix()] = numbers(path)
    return found


def test_a_stage_whose_numbers_changed_has_a_new_version(finished: Project) -> None:
    now = computed(finished)
    if "VISIONFM_WRITE_NUMBERS" in os.environ:
        rounded = json.loads(json.dumps(now), parse_float=lambda text: float(f"{float(text):.6g}"))
        KEPT.write_text(json.dumps(rounded, indent=1, sort_keys=True) + "\n")
    kept = json.loads(KEPT.read_text())
    assert sorted(kept) == sorted(now)
    for stage, entry in kept.items():
        assert entry["version"] == now[stage]["version"], f"{stage}: a new version; write {KEPT.name} anew, see above"
        for path, values in entry["numbers"].items():
            there = now[stage]["numbers"].get(path, {})
            found = {name: there.get(name) for name in values}
            assert found == pytest.approx(values, rel=2e-3, abs=2e-4), f"{stage}, {path}: raise its version"
