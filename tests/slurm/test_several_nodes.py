"""One torchrun per node: both nodes' processes work, and what they make is what one process makes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cluster_run import Run, assert_same

TRAINING = "results/encoders/oct/training.parquet"
FEATURES = "results/features/fundus/fundus.cls32.0.h5"


@contextmanager
def watching(folder: Path) -> Iterator[set[tuple[str, str, str]]]:
    """Collect (stage, rank, node) of the processes that torchrun starts for a run, while the block runs."""
    found: set[tuple[str, str, str]] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.3):
            found.update(processes(folder))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def processes(folder: Path) -> Iterator[tuple[str, str, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            variables = dict(
                line.split("=", 1) for line in (process / "environ").read_bytes().decode().split("\0") if "=" in line
            )
            here = (process / "cwd").readlink() == folder
        except OSError:  # ended meanwhile
            continue
        if here and "visionfm" in words and variables.get("WORLD_SIZE") == "2":
            yield words[words.index("visionfm") + 1], variables["RANK"], variables.get("SLURMD_NODENAME", "")


def test_two_nodes_train_as_one_process_does_and_encode_the_same_bytes(project: Callable[..., Run], clean: Run) -> None:
    run = project()
    run.configure(lambda config: config["encoders"]["oct"]["pretrain"]["resources"].update(nodes=2))
    run.configure(lambda config: config["encoders"]["fundus"]["resources"].update(nodes=2))
    with watching(run.folder) as seen:
        run.finish(TRAINING, FEATURES)
    for stage in ("pretrain", "extract"):
        (job,) = run.jobs(stage)
        assert job["NumNodes"] == "2"
        assert job["TresPerNode"] == "gres:gpu:1"
        assert {rank for name, rank, _ in seen if name == stage} == {"0", "1"}
        assert len({node for name, _, node in seen if name == stage}) == 2
    one, two = (pq.read_table(folder / TRAINING).to_pydict() for folder in (clean.folder, run.folder))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    found, expected = run.results(), clean.results()
    name = FEATURES.removeprefix("results/")
    assert_same({name: found[name]}, {name: expected[name]})
