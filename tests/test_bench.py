"""The benchmarks run by hand; at least each of them still finds what it imports."""

import subprocess
import sys

from world.checkout import CHECKOUT


def test_every_benchmark_finds_what_it_imports() -> None:
    names = sorted(path.stem for path in (CHECKOUT / "bench").glob("*.py"))
    code = f"import sys, importlib; sys.path.insert(0, 'bench'); [importlib.import_module(name) for name in {names}]"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
