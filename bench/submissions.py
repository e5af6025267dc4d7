"""How many jobs `snakemake --profile slurm` submits, against one submission per rule's job. Wanted: at most 60 %."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIGS = {
    "the demo": "config/config.yaml",
    "eight modalities": "config/examples/visionfm_multimodal.yaml",
    "the test cluster's run": "tests/slurm/config.yaml",
}
WANTED = 0.6


def main() -> None:
    """Print a row per config; exit 1 where more is submitted than wanted."""
    print("name | rules' jobs | submissions | ratio | wanted")
    ratios = [_row(name, CHECKOUT / path) for name, path in CONFIGS.items()]
    sys.exit(max(ratios) > WANTED)


def _row(name: str, config: Path) -> float:
    jobs, submissions = counted(config)
    ratio = submissions / jobs
    print(f"{name} | {jobs} | {submissions} | {ratio:.0%} | {WANTED:.0%}")
    return ratio


def counted(config: Path) -> tuple[int, int]:
    """Return how many jobs and how many submissions a dry-run plans in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", folder, "-n"]
        command += ["--configfile", str(config), "--profile", str(CHECKOUT / "slurm")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode:
        sys.exit(said)
    # Members of a group stand indented below it; `all` runs nothing.
    alone = re.findall(r"^rule (?!all:)\w+:$", said, re.MULTILINE)
    groups = re.findall(r"^\[.*\] Group job ", said, re.MULTILINE)
    total = re.search(r"^total +(\d+)$", said, re.MULTILINE)
    if total is None:
        sys.exit(said)
    return int(total[1]) - 1, len(alone) + len(groups)


if __name__ == "__main__":
    main()
