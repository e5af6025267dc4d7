"""What a user waits for loads no heavy library: help, `check`, a dry-run's imports."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "timm", "pandas", "torchvision", "sklearn", "matplotlib", "scipy", "pydicom", "gdcm", "eyepy")
REPORT = f"""
import sys
loaded = [name for name in {HEAVY!r} if name in sys.modules]
raise SystemExit("loaded: " + ", ".join(loaded) if loaded else 0)
"""


def run(code: str) -> None:
    ended = subprocess.run([sys.executable, "-c", code + REPORT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "config/config.yaml"]], ids=lambda a: a[0])
def test_the_command_line_loads_nothing_heavy_for(arguments: list[str]) -> None:
    run(
        f"""
from visionfm.cli import main
try:
    main({arguments!r})
except SystemExit:
    print("ended by argparse")
"""
    )


def test_what_the_workflow_imports_is_light() -> None:
    texts = [*(ROOT / "workflow").rglob("*.smk"), ROOT / "workflow" / "Snakefile"]
    lines = [line for path in texts for line in path.read_text(encoding="utf-8").splitlines()]
    imports = [line for line in lines if line.startswith(("import visionfm", "from visionfm"))]
    assert imports
    run(
        "\n".join(imports)
        + """
plan = Plan(planned_config("config/config.yaml", planning=False))
assert plan.everything()
"""
    )


def test_importing_the_package_is_light() -> None:
    run("import visionfm, visionfm.artifacts.formats, visionfm.errors, visionfm.runtime.progress")
