"""Reruns of folds: other folds encode nothing, a new image moves nobody, and all ends in the bytes of a clean run."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rerun_cases import add_image_without_label
from rerun_project import Project, assert_same, without_orphans


def ask(project: Project, folds: int) -> None:
    config = project.config
    task = config["tasks"]["sick_a"]
    config["tasks"] = {"sick_a": {**task, "split": {"folds": folds, "validation": 0.25}, "baselines": []}}
    config["tasks"]["sick_a"].pop("train_fraction", None)
    project.config = config


def computed(project: Project) -> Counter[str]:
    return Counter(call.stage for call in project.run() if not call.unchanged)


@pytest.mark.slow
def test_folds_of_another_number_train_and_nothing_else_and_a_new_image_moves_nobody(
    project: Project, tmp_path: Path
) -> None:
    ask(project, 2)
    first = computed(project)
    assert not {"index", "label", "import", "extract"} & set(first)
    assert (first["fuse"], first["train"], first["predict"], first["evaluate"]) == (2, 2, 2, 1)
    ask(project, 3)
    second = computed(project)
    assert not {"index", "label", "audit", "import", "extract"} & set(second)
    assert (second["fuse"], second["train"], second["predict"], second["evaluate"]) == (3, 3, 3, 1)
    add_image_without_label(project)
    assert not {"train", "predict", "evaluate"} & set(computed(project))
    tested = Counter()
    for fold in range(3):
        samples = pq.read_table(project.folder / f"results/tasks/sick_a/tiny/fold{fold}/samples.parquet").to_pylist()
        tested.update(row["sample_id"] for row in samples if row["split"] == "test")
    assert set(tested.values()) == {1} and len(tested) == len(samples)
    clean = project.copy(tmp_path / "clean", with_results=False)
    clean.run()
    expected = clean.results()
    assert_same(without_orphans(project.results(), expected), expected)
