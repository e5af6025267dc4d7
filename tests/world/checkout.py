"""The checkout, the folder of real data beside it, and runs of the workflow."""

import argparse
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("VISIONFM_SHARED", CHECKOUT / ".." / "shared"))


def golden_weights() -> "dict[str, torch.Tensor]":
    """The published dialect of a tiny teacher; skips where it is not there."""
    import torch

    path = SHARED / "golden" / "visionfm_vit_tiny_teacher.pth"
    if not path.exists():
        pytest.skip("the golden files are not there: set VISIONFM_SHARED")
    allowed = [argparse.Namespace, np.dtype, np.dtypes.Float64DType, np._core.multiarray.scalar]
    with torch.serialization.safe_globals(allowed):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix("backbone."): tensor for name, tensor in checkpoint["teacher"].items()}


def snakemake(folder: Path, *arguments: str, commands: Path, timeout_s: int = 1800) -> subprocess.CompletedProcess:
    """Run the workflow with the folder's config.yaml, by the commands that start at once."""
    command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "config.yaml"), "--cores", "2", *arguments]
    warm = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=warm, capture_output=True, text=True, timeout=timeout_s, check=False)


def finished(folder: Path, config: str, commands: Path, timeout_s: int = 1800) -> Path:
    """Run a config of tests/real, whose `{shared}` is the folder of real data; return the run's folder."""
    text = (CHECKOUT / "tests/real" / config).read_text().replace("{shared}", os.path.relpath(SHARED, folder))
    (folder / "config.yaml").write_text(text)
    done = snakemake(folder, commands=commands, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return folder
