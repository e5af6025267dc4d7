"""`visionfm unlock` clears what a killed run left, and never the lock of a run that goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from visionfm.cli import main
from visionfm.commands import unlock

LOCK = Path(".snakemake/locks/0.input.lock")


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    LOCK.parent.mkdir(parents=True)
    LOCK.write_text("data/a.png\n")
    return tmp_path


def test_a_stale_lock_is_told_and_cleared(
    locked: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    unlock.tell(Path())
    assert "visionfm unlock" in caplog.text
    assert main(["unlock"]) == 0
    assert not LOCK.exists() and "cleared" in capsys.readouterr().err
    assert main(["unlock", str(locked)]) == 0
    assert "nothing is locked" in capsys.readouterr().err


def test_the_lock_of_a_run_that_goes_on_stays(
    locked: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    script = locked / "snakemake"
    script.write_text("print('on', flush=True); import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline()
        unlock.tell(Path())
        assert main(["unlock"]) == 2
        run.kill()
    assert LOCK.exists() and f"process {run.pid}" in capsys.readouterr().err
    assert "a run goes on in it" in caplog.text
