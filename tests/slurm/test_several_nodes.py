"""One torchrun per node: both nodes' processes work, and what they make is what one process makes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from cluster_run import Run, assert_same

from visionfm import artifacts

TRAINING = "results/encoders/oct/training.parquet"
FEATURES = "results/features/fundus/fundus.cls32.0.h5"
TUNED = "results/tasks/tuned/tiny/seed0/encoder.safetensors"


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


def tuned_on(nodes: int) -> Callable[[dict[str, Any]], None]:
    """Put in the config's task one that tunes the last block of its encoder, on so many nodes."""
    training = {"mode": "finetune", "epochs": 2, "trainable": {"last": 1}, "batch_size": 8, "drop_path": 0.0}
    training |= {"warmup_epochs": 0.0, "workers": 0, "device": "cpu"}
    resources = {"threads": 1, "mem_mb": 3000, "runtime": 30, "gpu": 1, "nodes": nodes}

    def change(config: dict[str, Any]) -> None:
        task = {name: value for name, value in config["tasks"]["diseases"].items() if name != "fusion"}
        task |= {"datasets": ["fundus"], "unit": "image", "baselines": []}
        config["tasks"] = {"tuned": {**task, "training": {**training, "resources": resources}}}

    return change


@pytest.mark.slow
def test_two_nodes_tune_an_encoder_as_one_process_does(project: Callable[..., Run]) -> None:
    alone, run = project(tuned_on(1)), project(tuned_on(2))
    alone.local(TUNED)
    with watching(run.folder) as seen:
        run.finish(TUNED)
    (job,) = run.jobs("finetune")
    assert (job["JobState"], job["NumNodes"]) == ("COMPLETED", "2")
    assert {rank for name, rank, _ in seen if name == "finetune"} == {"0", "1"}
    assert len({node for name, _, node in seen if name == "finetune"}) == 2
    untuned = alone.folder / "results/encoders/fundus/encoder.safetensors"
    start, one, two = (artifacts.read_tensors(path)[0] for path in (untuned, alone.folder / TUNED, run.folder / TUNED))
    moved = [name for name in start if not np.array_equal(start[name], one[name])]
    assert moved and all(name.startswith(("blocks.11.", "norm.")) for name in moved)
    steps_one, steps_two = (np.concatenate([(end[name] - start[name]).ravel() for name in moved]) for end in (one, two))
    assert np.corrcoef(steps_one, steps_two)[0, 1] > 0.98
