"""The tutorial's commands run as they stand on its page."""

import os
import re
import subprocess
import sys
from pathlib import Path

from world.checkout import CHECKOUT


def test_every_command_of_the_tutorial_runs(tmp_path: Path, commands: Path) -> None:
    page = (CHECKOUT / "docs/tutorial.md").read_text()
    script = tmp_path / "tutorial.sh"
    script.write_text("set -euo pipefail\n" + "\n".join(re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)))
    warm = {**os.environ, "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=warm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"grade +seed0 .*quadratic_kappa", done.stdout), done.stdout[-3000:]
    assert "artefacts are as they were written" in done.stdout + done.stderr
    assert len((tmp_path / "results/logs/extract/untrained/clinic.cls96.log").read_text().split("encoded ")) == 2
