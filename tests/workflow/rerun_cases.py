"""Edits of the small project, and what each may compute: the cases of the rerun tests, here and on a cluster."""

import os
from collections.abc import Callable
from typing import NamedTuple

from rerun_project import DRAWN_NS, Project, draw, write_weights

RULES = (
    *("index", "label", "audit", "checksum", "import", "extract", "fuse", "train", "predict", "evaluate", "compare"),
    "report",
)


def touch_folder(project: Project) -> None:
    os.utime(project.folder / "a/img")


def touch_images(project: Project) -> None:
    for path in sorted((project.folder / "a/img").iterdir()):
        os.utime(path, ns=(DRAWN_NS + 1, DRAWN_NS + 1))


def correct_label(project: Project) -> None:
    for name in "ab":
        table = project.folder / name / "labels.csv"
        table.write_text(table.read_text().replace("p03,R,train,1", "p03,R,train,0"))


def shuffle_test_labels(project: Project) -> None:
    for name in "ab":
        table = project.folder / name / "labels.csv"
        flip = {"0": "1", "1": "0"}
        lines = [line.split(",") for line in table.read_text().splitlines()]
        lines = [[*line[:4], flip[line[4]], line[5]] if line[3] == "test" else line for line in lines]
        table.write_text("\n".join(",".join(line) for line in lines) + "\n")


def add_image_without_label(project: Project) -> None:
    draw(project.folder / "a/img/new.png", 77, False)


def add_image_with_label(project: Project) -> None:
    draw(project.folder / "a/img/new.png", 77, True)
    with (project.folder / "a/labels.csv").open("a") as table:
        table.write("img/new.png,new,R,train,1,300\n")


def remove_image(project: Project) -> None:
    (project.folder / "b/img/p05L.png").unlink()
    table = project.folder / "b/labels.csv"
    table.write_text("".join(line for line in table.open() if "p05L" not in line))


def edit_block_of_b(project: Project) -> None:
    config = project.config
    config["datasets"]["b"]["max_megapixels"] = 100.0
    config["datasets"]["b"]["split"]["seed"] = 3
    project.config = config


def add_task(project: Project) -> None:
    config = project.config
    config["tasks"]["sick_b"] = {**config["tasks"]["sick_a"], "datasets": ["b"]}
    project.config = config


def replace_weights(project: Project) -> None:
    weights = project.folder / "a.pth"
    stat = weights.stat()
    weights.unlink()
    write_weights(weights, 9)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # an old date does not hide it


def rename_dataset(project: Project) -> None:
    config = project.config
    config["datasets"]["a2"] = config["datasets"].pop("a")
    config["datasets"]["b"]["split"]["like"] = "a2"
    config["tasks"]["sick_a"]["datasets"] = ["a2"]
    config["tasks"]["sick_eye"]["datasets"] = ["a2", "b"]
    project.config = config


def raise_version(project: Project) -> None:
    project.versions = '{"extract": 1000}'


def raise_version_of_label(project: Project) -> None:
    project.versions = '{"label": 1000}'


def shard_dataset(project: Project) -> None:
    config = project.config
    config["datasets"]["a"]["shards"] = 2
    project.config = config


class Case(NamedTuple):
    """An edit, the stages that may compute after it (and how many jobs of each), and what a log must say."""

    edit: Callable[[Project], None]
    computed: dict[str, int]
    said: tuple[str, ...] = ()


MORE = 2  # runs of a task like sick_a beside seed0: logreg, seed0-frac0p5


def behind_labels(tasks: int, more: int = MORE, **other: int) -> dict[str, int]:
    """What is computed behind changed labels that reach `tasks` tasks, sick_a among them where there are `more`."""
    same = dict.fromkeys(("audit", "fuse", "evaluate"), tasks) | ({"compare": 1} if more else {})
    return same | dict.fromkeys(("train", "predict"), tasks + more) | {"report": 1} | other


CASES = {
    "a folder is touched": Case(touch_folder, {}),
    "images are touched": Case(touch_images, {"index": 1}),
    "a label is corrected": Case(correct_label, behind_labels(2, label=2, audit=3, fuse=3)),
    "test labels are shuffled": Case(
        shuffle_test_labels,
        {"label": 2, "audit": 3, "fuse": 3, "predict": 2 + MORE, "evaluate": 2, "compare": 1, "report": 1},
    ),
    "an image without a label is added": Case(
        add_image_without_label,
        {"index": 1, "label": 1, "audit": 2, "extract": 1, "report": 1},
        ("index: read 1, reused 48", "encoded 1, reused 48"),
    ),
    "an image with a label is added": Case(
        add_image_with_label,
        # b takes its splits from a, so one more subject may move one of b's across a boundary: all three tasks.
        behind_labels(3, index=1, label=2, extract=1),
        ("encoded 1, reused 48",),
    ),
    "an image is removed": Case(
        remove_image, behind_labels(2, 0, index=1, label=1, extract=1), ("encoded 0, reused 47",)
    ),
    "the block of b is edited": Case(
        edit_block_of_b, {"index": 1, "label": 1, "report": 1}, ("index: read 48, reused 0",)
    ),
    "a task is added": Case(add_task, behind_labels(1)),
    "weights are replaced": Case(
        replace_weights,
        {"checksum": 1, "import": 1, "extract": 1, "train": 2 + MORE, "predict": 2 + MORE}
        | {"evaluate": 2, "compare": 1, "report": 1},
        ("encoded 48, reused 0",),
    ),
    "a dataset is renamed": Case(
        rename_dataset,  # metrics of eyes are told apart by cohort, so sick_eye's do not know the name
        behind_labels(2, index=1, label=2, extract=1, evaluate=1),
        ("encoded 0, reused 48",),
    ),
    "a dataset is sharded": Case(
        shard_dataset, {"index": 2, "label": 1, "audit": 2, "extract": 2, "report": 1}, ("index: read 0",)
    ),
    "the version of extract is raised": Case(
        raise_version,
        {"extract": 2, "report": 1},  # equal rows: what lies behind is unchanged
        ("encoded 48, reused 0",),
    ),
    "the version of label is raised": Case(raise_version_of_label, {"label": 2, "report": 1}),
}
# One case for each rule in every run of the tests; all the others are marked slow.
ALWAYS = {
    "index": "an image with a label is added",
    "label": "a label is corrected",
    "audit": "an image without a label is added",
    "checksum": "weights are replaced",
    "import": "weights are replaced",
    "extract": "an image with a label is added",
    "fuse": "a label is corrected",
    "train": "an image with a label is added",
    "predict": "test labels are shuffled",
    "evaluate": "a dataset is renamed",
    "compare": "test labels are shuffled",
    "report": "the block of b is edited",
}
