"""The software of a run: versions of what is installed here, and pandoc, which writes the .docx where it is there."""

import platform
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from visionfm.errors import UsageError

# What computes numbers, decodes images or draws; the order is that of the text.
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "h5py",
    "safetensors",
    "pillow",
    "matplotlib",
    "snakemake",
)
SECONDS = 300
NO_DATE = 315_532_800  # 1980, as in our archives


def installed() -> dict[str, str]:
    """Return name -> version of Python, this package and what it computes with."""
    from visionfm import __version__

    return {
        "visionfm": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def pandoc() -> str:
    """Return the version of pandoc; empty where it is not installed."""
    path = shutil.which("pandoc")
    if path is None:
        return ""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    return said.splitlines()[0].removeprefix("pandoc").strip()


def as_docx(markdown: str, references: str) -> bytes:
    """Return Markdown with citations as a Word file, by pandoc: without date, name or place of this machine.

    UsageError where pandoc fails.
    """
    path = Path(shutil.which("pandoc") or "pandoc").absolute()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "references.bib").write_text(references, encoding="utf-8")
        command = [str(path), "--from=markdown", "--to=docx", "--citeproc", "--bibliography=references.bib"]
        ran = subprocess.run(
            [*command, "--output=methods.docx"],
            input=markdown.encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
            cwd=folder,  # pandoc writes the bibliography's path into the file
            env={"SOURCE_DATE_EPOCH": str(NO_DATE), "LANG": "C.UTF-8"},
        )
        if ran.returncode:
            raise UsageError(
                "pandoc did not write methods.docx",
                expected="exit status 0",
                found=f"{ran.returncode}: {ran.stderr.decode(errors='replace').strip()}",
                do="take pandoc off the PATH to do without the .docx",
            )
        return Path(folder, "methods.docx").read_bytes()
