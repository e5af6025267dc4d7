"""One cluster for all tests here, in a folder of its own, stopped at the end; without SLURM they are skipped."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, missing
from cluster_run import SHARDS, Change, Run, slow_extraction

HERE = Path(__file__).resolve().parent
PEOPLE, IMAGE_PX = 30, 64


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all tests that use the cluster in one process: they would take each other's nodes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of three nodes on loopback."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="visionfm-slurm-", dir="/tmp"))  # short: it holds sockets
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic eyes of two modalities."""
    folder = tmp_path_factory.mktemp("eyes") / "data"
    drawn = ["synth", "--task", "multi_cls", "--modalities", "Fundus", "OCT", "--number", str(PEOPLE)]
    subprocess.run(
        [sys.executable, "-m", "visionfm", *drawn, "--size", str(IMAGE_PX), "--out", str(folder)],
        cwd=HERE.parents[1],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


@pytest.fixture
def project(cluster: Cluster, commands: Path, eyes: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Make runs of the small project: a folder with the config and the eyes; all are ended at the end."""
    runs: list[Run] = []

    def make(*changes: Change) -> Run:
        runs.append(new_run(tmp_path / f"run{len(runs)}", cluster, commands, eyes, *changes))
        return runs[-1]

    yield make
    for run in runs:
        run.end()
    for node, state in cluster.states().items():  # what a test took down comes back for the next
        if not state.startswith(("idle", "mixed", "allocated", "completing")):
            cluster.end(f"slurmd.{node}")
            cluster.start_node(node)
            cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")


@pytest.fixture(scope="session")
def clean(cluster: Cluster, commands: Path, eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole project, run without the cluster."""
    run = new_run(tmp_path_factory.mktemp("clean") / "run", cluster, commands, eyes)
    run.local()
    return run


@pytest.fixture(scope="session")
def clean_shards(cluster: Cluster, commands: Path, eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two shards of images encoded without the cluster."""
    run = new_run(tmp_path_factory.mktemp("clean_shards") / "run", cluster, commands, eyes, slow_extraction)
    run.local(*SHARDS)
    return run


def new_run(folder: Path, cluster: Cluster, commands: Path, eyes: Path, *changes: Change) -> Run:
    """Make a folder with the config, changed, and the eyes with their dates, which an index holds."""
    folder.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(eyes), str(folder / "data")], check=True)
    shutil.copy(HERE / "config.yaml", folder / "config.yaml")
    run = Run(folder, cluster, commands)
    for change in changes:
        run.configure(change)
    return run
