"""`visionfm doctor`: what this machine can do, and what is missing, before a long run finds out."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path

from visionfm.project.found_site import found_site
from visionfm.runtime import precision

PACKAGES = ("torch", "timm", "snakemake", "pandas", "pyarrow", "numpy", "pillow", "h5py", "pydantic", "scikit-learn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--results", type=Path, default=Path(), help="the folder of the run, to check its disk")
    parser.add_argument("--slurm", action="store_true", help="ask SLURM, and print the profile's lines for this site")


def main(args: argparse.Namespace) -> None:
    """Print a line per fact; or the site's lines of a profile."""
    if args.slurm:
        print(*found_site(), sep="\n")
        return
    for name, text in facts(args.results):
        print(f"{name:<14} {text}")


def facts(folder: Path) -> list[tuple[str, str]]:
    """Return (name, finding) of the machine."""
    found = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    found += [(package, _version(package)) for package in PACKAGES]
    found += [("cpu", _cpu()), *_gpus(), ("slurm", "sbatch found" if shutil.which("sbatch") else "no sbatch on PATH")]
    folder = folder if folder.is_dir() else Path()
    usage = shutil.disk_usage(folder)
    found.append(
        ("disk", f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f} GB; hard links {_hard_links(folder)}")
    )
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "MISSING: install the project's environment (README)"


def _cpu() -> str:
    fast = precision.fast_on_cpu()
    advice = (
        f"fast bf16 ({fast}): try `precision: auto` or bf16 for extraction (with AMX it took a third of the time)"
        if fast
        else "no bf16 instructions: keep `precision: fp32` on this CPU"
    )
    return f"{len(os.sched_getaffinity(0))} cores; {advice}"


def _gpus() -> list[tuple[str, str]]:
    if importlib.util.find_spec("torch") is None:
        return [("gpu", "unknown without torch")]
    import torch

    if not torch.cuda.is_available():
        return [("gpu", "none: `device: auto` computes on the CPU, which takes longer")]
    names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [(f"gpu {index}", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB") for index, gpu in enumerate(names)]


def _hard_links(folder: Path) -> str:
    probe, link = folder / f".doctor-{os.getpid()}", folder / f".doctor-{os.getpid()}-link"
    try:
        probe.touch()
        os.link(probe, link)
        return "work"
    except OSError as error:
        return f"do not work ({error.strerror}): kept artefacts are copied, and need twice the space"
    finally:
        probe.unlink(missing_ok=True)
        link.unlink(missing_ok=True)
