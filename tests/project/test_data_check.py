"""`visionfm check` opens the label files: each mistake once, all of them at once, before any job is queued."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visionfm.errors import DataError
from visionfm.project.data_check import check_data
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

Check = Callable[..., list[str]]
COLUMNS = {"image": "f", "subject": "p", "targets": {"dr": "dr"}}
HEADER = "f,p,dr,s\n"
DRAWN = " (drawn; which images are copies is not known yet)"


def config(datasets: dict[str, Any], targets: dict[str, Any], models: int = 1, **task: Any) -> dict[str, Any]:
    names = [f"m{number}" for number in range(models)]
    return {
        "encoders": {"e": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"}},
        "models": {name: {"Fundus": "e"} for name in names},
        "datasets": datasets,
        "tasks": {
            "t": {"kind": "classification", "datasets": list(datasets), "models": names, "targets": targets, **task}
        },
    }


def dataset(root: str, **keys: Any) -> dict[str, Any]:
    columns = {**COLUMNS, **keys.pop("columns", {})}
    return {"modality": "Fundus", "root": root, "layout": "table", "table": "l.csv", "columns": columns, **keys}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a dataset's table, and an empty file for each image but those that are `gone`."""
    monkeypatch.chdir(tmp_path)

    def written(root: str, rows: list[str], gone: tuple[str, ...] = ()) -> None:
        (tmp_path / root).mkdir()
        (tmp_path / root / "l.csv").write_text(HEADER + "\n".join(rows))
        for row in rows:
            if (name := row.split(",")[0]) not in gone:
                (tmp_path / root / name).touch()

    return written


def said(raw: dict[str, Any]) -> list[str]:
    """What `check` says is wrong, line by line."""
    plan = Plan(parse_config(json.loads(json.dumps(raw))))
    with pytest.raises(DataError) as raised:
        check_data(plan)
    return [line.removeprefix("  - ") for line in str(raised.value).splitlines() if line.startswith("  - ")]


def people(count: int = 12, grade: Callable[[int], object] = lambda n: n % 2) -> list[str]:
    return [f"{n:02}.png,p{n},{grade(n)}," for n in range(count)]


BINARY = {"dr": {"type": "binary"}}


def test_good_data_raise_nothing_and_are_counted(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    write("a", people())
    with caplog.at_level("INFO", "visionfm"):
        check_data(Plan(parse_config(config({"a": dataset("a", split={"test": 0.25, "stratify": "dr"})}, BINARY))))
    assert caplog.messages == ["dataset a: 12 images, 12 labelled; train 6, validation 2, test 4" + DRAWN]


def test_images_without_labels_are_counted_as_such(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    write("a", people())
    alone = {"modality": "Fundus", "root": "a", "layout": "table", "labels": "none"}
    with caplog.at_level("INFO", "visionfm"):
        check_data(Plan(parse_config({**config({"a": alone}, BINARY), "tasks": {}})))
    assert caplog.messages == ["dataset a: 12 images, without labels"]


def test_one_wrong_word_of_twenty_images_in_three_models_and_two_tasks_is_one_line(write: Any) -> None:
    write("a", people(20, lambda n: "sevree"))
    targets = {"dr": {"type": "multiclass", "classes": ["mild", "severe"]}}
    raw = config({"a": dataset("a")}, targets, models=3)
    raw["tasks"]["again"] = raw["tasks"]["t"]
    assert said(raw) == [
        "a: l.csv:2 and 19 more: dr: expected one of mild, severe, found 'sevree'; did you mean 'severe'?"
    ]


def test_all_mistakes_of_all_datasets_come_at_once(write: Any) -> None:
    write("a", ["1.png,0012,0,", "2.png,12.0,1,", "3.png,p3,1,"], gone=("3.png",))
    write("b", ["1.png,q1,7O,", "2.png,q2,0,"])
    write("c", ["1.png,q1,0,"])
    columns = {"targets": {"dr": "grade"}}
    raw = config({"a": dataset("a"), "b": dataset("b"), "c": dataset("c", columns=columns)}, BINARY)
    raw["tasks"] = {name: {**raw["tasks"]["t"], "datasets": [name]} for name in ("a", "b", "c")}
    lines = said(raw)
    assert any(line.startswith("a: l.csv:4: no image '3.png' below the root") for line in lines)
    assert any("a: l.csv:3: subject '12' is '0012' (l.csv:2) but for its spelling" in line for line in lines)
    assert "b: l.csv:2: dr: expected one of 0, 1, found '7O'" in lines
    assert any(line.startswith("c: l.csv: has no column 'grade'; its columns: f, p, dr, s") for line in lines)


def test_numbers_with_a_unit_or_a_stray_letter_come_all_with_their_nearest_reading(write: Any) -> None:
    write("a", [f"{n}.png,p{n},{text}," for n, text in enumerate(["7O", "21 mmHg", "14", "16", "N/A"])])
    raw = config({"a": dataset("a")}, {"dr": {"type": "value"}}, kind="regression")
    assert said(raw) == [
        "a: l.csv:2: dr: expected a number, found '7O'; nearest: 70",
        "a: l.csv:3: dr: expected a number, found '21 mmHg'; nearest: 21",
        "a: l.csv:6: dr: expected a number, found 'N/A'; if it means unknown: `table: {file: ..., unknown: ['N/A']}`",
    ]


def test_a_class_without_a_case_in_training_is_an_error_and_in_test_it_is_said(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{n}.png,p{n},{n % 2 if n < 6 else 0},{'train' if n < 6 else 'test'}" for n in range(9)]
    write("a", rows)
    check_data(Plan(parse_config(config({"a": dataset("a", columns={"split": "s"})}, BINARY))))
    assert "no case of class positive in the test split" in caplog.text
    grades = {"dr": {"type": "multiclass", "classes": 3}}
    assert said(config({"a": dataset("a", columns={"split": "s"})}, grades)) == [
        "task t: dr: no case of class 2 in the training split"
    ]


def test_a_person_in_two_splits_is_said(write: Any) -> None:
    rows = [f"{n}.png,p{n % 4},{n % 2},{'train' if n < 4 else 'test'}" for n in range(6)]
    write("a", rows)
    assert said(config({"a": dataset("a", columns={"split": "s"})}, BINARY)) == [
        "task t: 2 people stand in two splits, as a/p0 in test and train; correct the splits, or say "
        '`allow_leakage: "why"`'
    ]


def test_people_of_a_cohort_spelled_otherwise_in_the_second_dataset_are_said(write: Any) -> None:
    write("a", [f"{n}.png,{n:04},{n % 2}," for n in range(8)])
    write("b", [f"{n}.png,{n}.0,{n % 2}," for n in range(8)])
    raw = config({"a": dataset("a", cohort="c"), "b": dataset("b", cohort="c")}, BINARY)
    (line,) = said(raw)
    assert line.startswith("cohort c: 8 ids are others but for their spelling, as '0000' of a is '0' of b; `columns: ")


def test_what_is_not_there_yet_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_data(Plan(parse_config(config({"a": dataset("nowhere")}, BINARY))))


def test_splits_of_a_leader_are_taken_over(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    write("a", people())
    write("z", people())
    split = {"test": 0.25, "stratify": "dr"}
    both = {"a": dataset("a", cohort="c", split={"like": "z"}), "z": dataset("z", cohort="c", split=split)}
    with caplog.at_level("INFO", "visionfm"):
        check_data(Plan(parse_config(config(both, BINARY))))
    assert caplog.messages[1] == "dataset a: 12 images, 12 labelled; train 6, validation 2, test 4" + DRAWN


def test_folds_are_drawn_as_they_will_be_and_the_splits_of_the_files_play_no_part(
    write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    write("a", people(grade=lambda n: int(n == 0)))
    targets = {"dr": {"type": "binary", "column": "dr"}}
    (problem,) = said(config({"a": dataset("a")}, targets, split={"folds": 3}))
    assert "no case of" in problem and "in the training split of fold" in problem  # the only case is tested there
    caplog.clear()
    write("b", people())
    check_data(Plan(parse_config(config({"b": dataset("b")}, targets, split={"folds": 3}))))
    assert "of fold" not in caplog.text
    few = said(config({"b": dataset("b")}, targets, split={"folds": 20}))
    assert "nobody is left for test in fold" in few[0] and "found: 12 people" in few[0]
