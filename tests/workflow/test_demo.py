"""The demo, as `make demo` runs it: planted signs and values are learned; permuted labels are not.

`VISIONFM_DEMO` names the folder of a finished demo; without it the demo is run here (minutes).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from visionfm import artifacts, cli
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import PredictSettings, TargetSpec, TrainSettings
from visionfm.tasks.train import train

CHECKOUT = Path(__file__).resolve().parents[2]
PERMUTATIONS = 20
SIGNS = 6

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished demo."""
    if "VISIONFM_DEMO" in os.environ:
        return Path(os.environ["VISIONFM_DEMO"]).resolve()
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    recipe = subprocess.run(
        ["make", "-s", "-n", "demo"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    drawn = [line for line in recipe.splitlines() if line.startswith("visionfm synth")]
    assert len(drawn) == 3
    run = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(folder), "--cores", "2"]
    run += ["--configfile", str(CHECKOUT / "config/config.yaml")]
    for command in (*(line.split() for line in drawn), run):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def headline(demo: Path, name: str, label: str) -> dict[tuple[str, str], float]:
    """Return (task, target or class) -> a test metric of the trained decoder over all data; pooled values come last."""
    rows = pq.read_table(demo / "results/report/metrics.parquet").to_pylist()
    return {
        (row["task"], row[label]): row["value"]
        for row in rows
        if row["run"] == "seed0"
        and (row["metric"], row["split"], row["modality"], row["modalities"]) == (name, "test", "all", "all")
        and row["class"] != "macro"
    }


def test_its_results_are_as_they_were_written(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert cli.main(["verify", "results"]) == 0


def test_every_planted_sign_is_recognised(demo: Path) -> None:
    auroc = headline(demo, "auroc", "class")
    assert len(auroc) == 2 * SIGNS
    assert min(auroc.values()) >= 0.95, auroc


def test_every_planted_value_is_measured(demo: Path) -> None:
    r2 = headline(demo, "r2", "target")
    assert len(r2) == 6
    assert min(r2.values()) >= 0.8, r2


def test_permuted_labels_give_chance(demo: Path, tmp_path: Path) -> None:
    folder = demo / "results/tasks/diseases/tiny"
    table = artifacts.read_table(folder / "samples.parquet")
    extra = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
    files: dict[str, list[Path]] = {}
    for modality in ("fundus", "oct", "ffa"):
        files[modality] = list(demo.glob(f"results/features/{modality}/{modality}.cls*.h5"))
    targets = {name: TargetSpec(**target) for name, target in json.loads(extra["targets"]).items()}
    modalities = json.loads(extra["modalities"])
    found = []
    for number in range(PERMUTATIONS):
        order = np.random.default_rng(number).permutation(len(table))
        column = table.column_names.index("diseases")
        mixed = table.set_column(column, "diseases", table["diseases"].take(order)).replace_schema_metadata(None)
        made_by = artifacts.provenance("fuse", {"permutation": number}, {})
        paths = {name: tmp_path / f"{number}/{name}.parquet" for name in ("samples", "train")}
        split = np.array(table["split"].to_pylist())
        for name, kept in (("samples", mixed), ("train", mixed.filter(split != "test"))):
            wanted = {key: extra[key] for key in ("targets", "modalities", "fusion", "unit")}
            artifacts.write_table(paths[name], kept, made_by, schema=extra["schema"], extra=wanted)
        decoder, out = tmp_path / f"{number}/decoder.safetensors", tmp_path / f"{number}/predictions.parquet"
        settings = TrainSettings(kind="classification", targets=targets, modalities=modalities, epochs=10)
        train(paths["train"], files, decoder, tmp_path / f"{number}/training.parquet", settings)
        scored = PredictSettings(
            task="t", model="m", run="r", kind="classification", targets=targets, modalities=modalities, splits=["test"]
        )
        predict(decoder, paths["samples"], files, out, scored)
        found.append(mean_auroc(artifacts.read_table(out).to_pylist()))
    assert 0.45 <= float(np.mean(found)) <= 0.55, found


def mean_auroc(rows: list[dict]) -> float:
    from sklearn.metrics import roc_auc_score

    classes = sorted({row["class"] for row in rows})
    pairs = [[(row["truth"], row["scores"][0]) for row in rows if row["class"] == name] for name in classes]
    return float(np.mean([roc_auc_score(*zip(*pair, strict=True)) for pair in pairs]))
