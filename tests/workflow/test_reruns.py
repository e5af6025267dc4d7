"""Reruns: each edit computes what it touches, once, and ends in the bytes of a clean run, also after failures.

Every case is also run with each rule failing once in between, and repaired.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from rerun_project import DRAWN_NS, Project, assert_same, draw, write_weights

RULES = ("index", "label", "audit", "checksum", "import", "extract", "fuse", "train", "predict", "evaluate", "report")


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
    same = dict.fromkeys(("audit", "fuse", "evaluate"), tasks)
    return same | dict.fromkeys(("train", "predict"), tasks + more) | {"report": 1} | other


CASES = {
    "a folder is touched": Case(touch_folder, {}),
    "images are touched": Case(touch_images, {"index": 1}),
    "a label is corrected": Case(correct_label, behind_labels(2, label=2, audit=3, fuse=3)),
    "test labels are shuffled": Case(
        shuffle_test_labels, {"label": 2, "audit": 3, "fuse": 3, "predict": 2 + MORE, "evaluate": 2, "report": 1}
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
    "an image is removed": Case(remove_image, behind_labels(2, 0, index=1, label=1, extract=1), ("encoded 0, reused 47",)),
    "the block of b is edited": Case(
        edit_block_of_b, {"index": 1, "label": 1, "report": 1}, ("index: read 48, reused 0",)
    ),
    "a task is added": Case(add_task, behind_labels(1)),
    "weights are replaced": Case(
        replace_weights,
        {"checksum": 1, "import": 1, "extract": 1, "train": 2 + MORE, "predict": 2 + MORE} | {"evaluate": 2, "report": 1},
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
    "report": "the block of b is edited",
}


def pairs() -> list[Any]:
    """All (case, rule); those of one case share a worker, and so its clean run."""
    return [
        pytest.param(
            name,
            rule,
            id=f"{name}, {rule} fails",
            marks=[pytest.mark.xdist_group(name), *([] if ALWAYS[rule] == name else [pytest.mark.slow])],
        )
        for name in CASES
        for rule in RULES
    ]


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Project, str], dict[str, bytes]]:
    """Run an edited project from nothing in a new folder; once a case."""
    known: dict[str, dict[str, bytes]] = {}

    def results(edited: Project, case: str) -> dict[str, bytes]:
        if case not in known:
            clean = edited.copy(tmp_path_factory.mktemp("clean") / "project", with_results=False)
            clean.run()
            known[case] = clean.results()
        return known[case]

    return results


def without_orphans(found: dict[str, bytes], expected: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what a renamed dataset left behind: nothing in the config refers to it."""
    return {path: content for path, content in found.items() if path in expected}


def test_a_second_run_does_nothing(project: Project) -> None:
    assert project.run() == []


def test_forced_jobs_compute_nothing(project: Project) -> None:
    before = project.results()
    calls = project.run("-F")
    assert len(calls) > 20
    assert [call.stage for call in calls if not call.unchanged] == []
    assert_same(project.results(), before)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in CASES])
def test_an_edit_computes_what_it_touches_and_ends_like_a_clean_run(
    name: str, project: Project, clean_run: Callable[[Project, str], dict[str, bytes]]
) -> None:
    case = CASES[name]
    case.edit(project)
    calls = project.run()
    computed = Counter(call.stage for call in calls if not call.unchanged)
    assert dict(computed) == case.computed, [(call.stage, call.log) for call in calls]
    for words in case.said:
        assert any(words in call.log for call in calls), [call.log for call in calls]
    assert project.run() == []
    expected = clean_run(project, name)
    assert_same(without_orphans(project.results(), expected), expected)


@pytest.mark.parametrize(("name", "rule"), pairs())
def test_an_edit_with_a_failing_rule_ends_like_a_clean_run(
    name: str, rule: str, project: Project, clean_run: Callable[[Project, str], dict[str, bytes]]
) -> None:
    case = CASES[name]
    case.edit(project)
    if f"rule {'import_encoder' if rule == 'import' else rule}:" not in project.snakemake("-n").stdout:
        assert ALWAYS[rule] != name
        return  # this edit does not reach the rule: the plain case covers it
    (project.folder / f"fail-{rule}").touch()
    calls = project.run(fails=True)
    assert not (project.folder / f"fail-{rule}").exists()
    calls += project.run()
    computed = Counter(call.output for call in calls if not call.unchanged)
    assert set(computed.values()) <= {1}, f"computed twice: {computed}"
    assert project.run() == []
    expected = clean_run(project, name)
    assert_same(without_orphans(project.results(), expected), expected)


def test_shuffled_test_labels_leave_every_decoder_byte_equal(project: Project) -> None:
    before = {path: content for path, content in project.results().items() if path.endswith("decoder.safetensors")}
    shuffle_test_labels(project)
    project.run()
    after = {path: content for path, content in project.results().items() if path.endswith("decoder.safetensors")}
    assert before == after and len(before) == 3 + MORE


def test_a_lost_output_is_recalled_not_computed(project: Project) -> None:
    before = project.results()
    for path in project.folder.glob("results/features/*/*.h5"):
        path.unlink()
    calls = project.run()
    assert calls and all(call.unchanged for call in calls)
    assert_same(project.results(), before)


def test_a_lost_snakemake_folder_costs_no_computation(project: Project) -> None:
    before = project.results()
    shutil.rmtree(project.folder / ".snakemake")
    assert all(call.unchanged for call in project.run())
    assert_same(project.results(), before)


def test_every_log_lies_under_its_stage(project: Project) -> None:
    folder = project.folder / "results/logs"
    logs = {path.relative_to(folder).parts[0] for path in folder.rglob("*.log")}
    assert logs == set(RULES)
