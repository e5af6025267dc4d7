"""The published pretraining as an example: a dry-run shows a job on a GPU for each of the eight modalities."""

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from visionfm.modalities import MODALITIES

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "config/examples/visionfm_pretrain.yaml"


def test_a_dry_run_prints_eight_jobs_with_their_resources(tmp_path: Path) -> None:
    for name in MODALITIES:
        folder = tmp_path / "data/pretrain" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "a.png")
    command = [sys.executable, "-m", "snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "-n", "--cores", "16"]
    command += ["--directory", str(tmp_path), "--configfile", str(EXAMPLE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = re.split(r"^(?=rule )", done.stdout, flags=re.MULTILINE)
    jobs = [block for block in blocks if block.startswith("rule pretrain:")]
    assert len(jobs) == len(MODALITIES) == 8
    trained = {re.search(r"results/encoders/(\w+)/encoder.safetensors", job)[1] for job in jobs}  # type: ignore[index]
    assert trained == {name.lower() for name in MODALITIES}
    for job in jobs:
        assert re.search(r"threads: 12\b", job) and re.search(r"\bgpu=1\b", job)
        assert re.search(r"\bmem_mb=64000\b", job) and re.search(r"\bruntime=2880\b", job)
