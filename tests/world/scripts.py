"""A page's script, run as a reader would, by the commands of a warm process."""

import os
import subprocess
import sys
from pathlib import Path


def run_script(script: Path, folder: Path, commands: Path) -> str:
    """Return what a bash script printed in `folder`; it must end well."""
    warm = {**os.environ, "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    line = ["bash", "-euo", "pipefail", str(script)]
    done = subprocess.run(line, cwd=folder, env=warm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr
