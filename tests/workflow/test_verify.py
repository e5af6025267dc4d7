"""A run that ended well passes `visionfm verify`, the page of cost beside it."""

import subprocess

from rerun_project import Project


def test_all_results_of_a_run_are_as_they_were_written(finished: Project) -> None:
    assert (finished.folder / "results/benchmarks/cost.html").is_file()
    command = [str(finished.commands / "visionfm"), "verify", "results"]
    done = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, check=False)
    (finished.folder / "calls.log").unlink()
    assert done.returncode == 0 and "artefacts are as they were written" in done.stderr, done.stderr
