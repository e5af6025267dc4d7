"""The site of the pages is built strictly and without a network: links, anchors, scripts and docstrings are there."""

import re
import subprocess
import sys
from pathlib import Path

from visionfm import cli

ROOT = Path(__file__).parents[1]


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    offline = {"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(command, cwd=ROOT, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = (tmp_path / "commands/index.html").read_text()
    assert set(re.findall(r"<h3 id=[^>]+>([a-z]+)<", commands)) == set(cli.KNOWN)
    assert "visionfm.load_model" in (tmp_path / "python/index.html").read_text()
    script = re.sub(r"<[^>]+>", "", (tmp_path / "how-to/hand-over/index.html").read_text())
    assert "visionfm package results/tasks/any_dr/tiny" in script
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"?(https?:[^\" >]+)", page.read_text())
        assert [address for address in loaded if "canonical" not in address] == [], page
