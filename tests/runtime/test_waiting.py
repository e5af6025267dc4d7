"""Threads of a command wait asleep: its environment says so before torch loads, and a user's own word stands."""

import os
import subprocess
import sys

import pytest

from visionfm.runtime.waiting import ASLEEP

COMMAND = """
import os, sys
from visionfm.cli import main
main([])
assert "torch" not in sys.modules, "OpenMP has read its environment"
print(os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"])
"""


@pytest.mark.parametrize(("own", "found"), [({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 0")])
def test_threads_wait_asleep_unless_a_user_says_otherwise(own: dict[str, str], found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ASLEEP} | own
    done = subprocess.run([sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == found
