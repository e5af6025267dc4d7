"""What a site's words become at `sbatch` is taken by a real one, and a job with it runs (its command is `true`).

Also `visionfm doctor --slurm` on that cluster.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, _until
from world.site_kinds import KINDS, RULES, Recorder

from visionfm.project.site import read_site

LEFT_OUT = ("--output", "-o", "--error", "-e", "-D", "--chdir", "--parsable")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return Recorder(tmp_path_factory.mktemp("site"))


@contextmanager
def reservation(cluster: Cluster) -> Iterator[None]:
    """Two nodes, reserved for whoever says so."""
    reserved = ["reservationname=eyes", "starttime=now", "duration=60", "users=root", "flags=ignore_jobs"]
    cluster.ask("scontrol", "create", *reserved, "nodes=cpu1,gpu1")
    try:
        yield
    finally:
        cluster.ask("scontrol", "delete", "reservationname=eyes")


def options(words: list[str]) -> list[str]:
    """The recorded words without where the output goes."""
    kept, skip = [], False
    for word in words:
        if skip or word.partition("=")[0] in LEFT_OUT:
            skip = not skip and "=" not in word and word != "--parsable"
            continue
        kept.append(word)
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.absent])
def test_a_job_of_each_kind_of_site_runs(name: str, recorder: Recorder, cluster: Cluster) -> None:
    found = recorder.submitted(KINDS[name])
    with reservation(cluster) if name == "a reservation" else nullcontext():
        for rule in RULES:
            sent = ["sbatch", "--parsable", *options(found[rule]), "--output=/dev/null", "--wrap=true"]
            done = subprocess.run(sent, env=cluster.environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (done.stderr, sent)
            job = done.stdout.split(";")[0].strip()
            assert _until(120, lambda job=job: cluster.job(job).get("JobState") == "COMPLETED"), cluster.job(job)


def test_the_doctor_writes_the_lines_of_this_site(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "visionfm", "doctor", "--slurm"]
    environment = {**cluster.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout
    profile = yaml.safe_load(said)
    assert (profile["cores"], profile["resources"]["gpu"]) == (8, 4)
    site = read_site(profile["config"], ())
    assert (site.cpu_partition, site.gpu_partition) == ("cpu", "gpu")
