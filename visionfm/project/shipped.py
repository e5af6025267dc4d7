"""Where the files are that come with the package: the workflow, the profiles, the examples.

A wheel holds them inside the package (pyproject.toml says where); a checkout beside it.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent


def snakefile() -> Path:
    """Return the workflow's Snakefile."""
    return _place("workflow", "workflow") / "Snakefile"


def profiles() -> dict[str, Path]:
    """Return the folders of the profiles, by name."""
    return {name: _place(f"profiles/{name}", name) for name in ("slurm", "workstation")}


def examples() -> dict[str, Path]:
    """Return the files of the examples, by name; those of fine-tuning are `finetune/NAME`."""
    folder = _place("examples", "config/examples")
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.yaml"))}


def _place(in_wheel: str, in_checkout: str) -> Path:
    packaged = PACKAGE / in_wheel
    return packaged if packaged.is_dir() else CHECKOUT / in_checkout
