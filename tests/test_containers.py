"""The containers: both recipes install the same, the Dockerfile passes hadolint, and jobs run in the config's image."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.scripts import run_script

ROOT = Path(__file__).parents[1]
DOCKERFILE, DEFINITION = (ROOT / "Dockerfile").read_text(), (ROOT / "containers/visionfm.def").read_text()


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_recipes_install_the_same_from_files_that_are_there() -> None:
    def packages(text: str) -> list[str]:
        return re.findall(r"--no-install-recommends (.*?)(?: \\|$)", text, re.M)

    assert packages(DOCKERFILE) == packages(DEFINITION) != []
    for text in (DOCKERFILE, DEFINITION):
        assert re.findall(r"install\.sh (\w+)", text) == ["packages", "project"]
        assert "debian:bookworm-slim" in text
    copied = re.findall(r"^    (\S+) /src/", DEFINITION.split("%post")[0], re.M)
    assert len(copied) > 8 and all((ROOT / name).exists() for name in copied)
    carried = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert set(carried) == set(copied)


def test_a_number_given_as_the_user_has_a_name_and_a_folder() -> None:
    names = dict(re.findall(r"^(?:ENV|   ) (\w+)=(\S+)", DOCKERFILE, re.M))
    assert names["USER"] and names["HOME"] == "/tmp"


@pytest.mark.parametrize("arguments", [["packages"], ["packages", "gpu"], ["project", "cpu"], ["other"]], ids=" ".join)
def test_an_unknown_kind_of_image_is_refused(arguments: list[str]) -> None:
    command = ["bash", str(ROOT / "containers/install.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "packages cpu|cuda" in done.stderr


# Stands for Apptainer, which is not to be had everywhere: notes the image, then runs the command on this machine.
APPTAINER = """#!/usr/bin/env bash
if [ "$1" = --version ]; then echo apptainer version 1.4.0; exit; fi
while [ "$1" != /bin/sh ] && [ "$1" != bash ] && [ "$1" != sh ] && [ "$1" != /bin/bash ]; do
    case "$1" in *.sif) echo "$1" >> images.log ;; esac
    shift
done
exec "$@"
"""


def test_jobs_run_in_the_image_that_the_config_names(
    tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apptainer").write_text(APPTAINER)
    (tmp_path / "bin/apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.full((32, 32, 3), 90, dtype=np.uint8)).save(tmp_path / "photos/a.png")
    (tmp_path / "visionfm.sif").write_bytes(b"")
    (tmp_path / "my.yaml").write_text(
        "encoders: {tiny: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, image_size: 32}}\n"
        "models: {tiny: {Fundus: tiny}}\n"
        "datasets: {photos: {modality: Fundus, root: photos, layout: table, labels: none, export: parquet}}\n"
        f"tasks: {{}}\ncontainer: {tmp_path / 'visionfm.sif'}\n"
    )
    script = tmp_path / "run.sh"
    script.write_text("visionfm run my.yaml --cores 1 --until index --sdm apptainer\n")
    said = run_script(script, tmp_path, commands)
    assert (tmp_path / "results/datasets/photos/images.parquet").is_file()
    assert (tmp_path / "images.log").read_text().splitlines() == [str(tmp_path / "visionfm.sif")]
    assert "index: read 1" in said and "Finished jobid" not in said  # a stage's own line, no Snakemake's ten
