"""What torch's compiler writes ends with the process, so that a killed one leaves no later run a broken library."""

import os
import subprocess
import sys
from pathlib import Path

WHERE = """
from torch._inductor.runtime.cache_dir_utils import cache_dir
from visionfm.runtime.compiling import keep_apart
keep_apart()
open(cache_dir() + "/main.so", "w").close()
print(cache_dir())
"""


def compiler_folder(tmp_path: Path, **given: str) -> Path:
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    run = subprocess.run(
        [sys.executable, "-c", WHERE],
        env={**environment, "TMPDIR": str(tmp_path), **given},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(run.stdout.strip())


def test_the_compiler_has_a_folder_of_its_own_that_ends_with_the_process(tmp_path: Path) -> None:
    first, second = (compiler_folder(tmp_path) for _ in range(2))
    assert first.parent == second.parent == tmp_path and first != second
    assert not [*tmp_path.rglob("*.so"), *tmp_path.glob("visionfm*")]


def test_a_folder_that_the_environment_names_is_used_and_kept(tmp_path: Path) -> None:
    assert compiler_folder(tmp_path, TORCHINDUCTOR_CACHE_DIR=str(tmp_path)) == tmp_path
    assert (tmp_path / "main.so").exists()
