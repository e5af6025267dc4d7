"""The chain of the pretraining demo, shortened: from unlabelled images to a report of both models, in one DAG."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SYNTH = (
    "synth --task pretrain --modalities SlitLamp UBM --number 8 --size 64 --difficulty hard --out data/hard_unlabelled",
    "synth --task multi_cls --modalities SlitLamp UBM --number 24 --size 64 --difficulty hard --out data/hard",
)


@pytest.mark.slow
def test_two_modalities_are_pretrained_extracted_and_decoded_from_the_config_alone(tmp_path: Path) -> None:
    config = yaml.safe_load((CHECKOUT / "config/examples/pretrain_demo.yaml").read_text())
    for name in ("slitlamp", "ubm"):
        config["encoders"][name]["pretrain"] |= {"epochs": 1, "batch_size": 8, "micro_batch": 8}
        config["tasks"][f"{name}_signs"]["training"] = {"epochs": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--cores", "2", "--configfile", "config.yaml"]
    for command in (*(["visionfm", *line.split()] for line in SYNTH), run):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (tmp_path / "results/report/index.html").read_text(encoding="utf-8")
    assert page.count("What it makes of images it was trained on") == 2
    assert "Untrained encoders (random weights): slitlamp_untrained, ubm_untrained" in page.replace(" and ", ", ")
    rows = pq.read_table(tmp_path / "results/report/metrics.parquet").to_pylist()
    assert {row["model"] for row in rows if row["metric"] == "auroc"} == {"pretrained", "untrained"}
