"""Progression labels: both published file names, both kinds of paths, tables with visits; all mistakes at once."""

from pathlib import Path
from typing import Any

import pytest

from visionfm.data.label_rows import read_labels
from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import LabelColumns
from visionfm.data.listing import label_files, labels_fingerprint, list_images
from visionfm.data.settings import LabelSettings
from visionfm.errors import DataError, Problems

LISTED = ["training/1.jpg", "training/a, b.jpg", "test/2.jpg"]
COLUMNS = {"image": "file", "subject": "who", "eye": "eye", "visit": "date", "interval": "days", "event": "worse"}


def read(root: Path, listed: list[str] = LISTED, **keys: Any) -> tuple[LabelColumns, list[str]]:
    problems = Problems(DataError, "labels")
    rows = read_labels(root, LabelSettings(dataset="d", **keys), listed, problems)
    return rows, list(problems)


def lines(root: Path, training: str, test: str = "test/2.jpg, 0, 690\n", suffix: str = "") -> Any:
    root.mkdir(parents=True, exist_ok=True)
    (root / f"training{suffix}.txt").write_text(training)
    (root / f"test{suffix}.txt").write_text(test)
    return read(root, layout="forecasting")


@pytest.mark.parametrize("suffix", ["", "_labels"])
def test_both_published_file_names_are_read(tmp_path: Path, suffix: str) -> None:
    rows, problems = lines(tmp_path, "training/1.jpg, 1, 309\ntraining/a, b.jpg, 0, 690\n", suffix=suffix)
    assert not problems
    found = [(row.path, row.split, row.values["event"], row.values["interval_days"]) for row in rows]
    assert found == [
        ("training/1.jpg", "train", 1.0, 309.0),
        ("training/a, b.jpg", "train", 0.0, 690.0),
        ("test/2.jpg", "test", 0.0, 690.0),
    ]
    assert len([file for file in label_files(tmp_path, "forecasting", None) if file.is_file()]) == 2


def test_paths_are_relative_to_the_dataset_or_to_the_working_directory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("data/sigf")
    text = f"data/sigf/training/1.jpg, 1, 309\n{tmp_path}/data/sigf/training/a, b.jpg, 0, 3\n"
    rows, problems = lines(root, text)
    assert not problems and [row.path for row in rows] == ["training/1.jpg", "training/a, b.jpg", "test/2.jpg"]


def test_an_image_may_have_several_intervals_but_each_once(tmp_path: Path) -> None:
    rows, problems = lines(tmp_path, "training/1.jpg, 0, 100\ntraining/1.jpg, 1, 300\n")
    assert not problems and len(rows) == 3
    _, problems = lines(tmp_path, "training/1.jpg, 0, 100\ntraining/1.jpg, 1, 100\n")
    assert problems == ["training.txt:2: training/1.jpg at 100 days is labelled twice, first at training.txt:1"]


def test_every_mistake_of_a_file_is_named(tmp_path: Path) -> None:
    text = "training/1.jpg, 1\n\ntraining/1.jpg, 2, 3\ntraining/1.jpg, 1, -3\ntraining/1.jpg, 1, soon\nno.jpg, 1, 3\n"
    _, problems = lines(tmp_path, text)
    assert problems == [
        "training.txt:1: expected 'path, label, interval', found 'training/1.jpg, 1'",
        "training.txt:2: expected 'path, label, interval', found a blank line",
        "training.txt:3: label: expected 0 or 1, found '2'",
        "training.txt:4: interval: expected a number of days from 0 on, found -3: before the baseline",
        "training.txt:5: interval: expected a number of days, found 'soon'",
        "training.txt:6: no image 'no.jpg' below the root",
    ]


def test_missing_and_doubled_files_are_errors(tmp_path: Path) -> None:
    _, problems = read(tmp_path, layout="forecasting")
    assert [problem.split(": ")[1] for problem in problems] == [
        "training_labels.txt or training.txt is missing; write it, or say `labels",
        "test_labels.txt or test.txt is missing; write it, or say `labels",
    ]
    lines(tmp_path, "training/1.jpg, 1, 3\n")
    _, problems = lines(tmp_path, "training/1.jpg, 1, 3\n", suffix="_labels")
    assert len(problems) == 2 and all("found both; keep one" in problem for problem in problems)


def test_images_lie_anywhere_and_an_edited_label_file_is_noticed(tmp_path: Path, draw: Any) -> None:
    draw(tmp_path / "deep/er/1.png")
    assert [entry.path for entry in list_images(tmp_path, "forecasting")] == ["deep/er/1.png"]
    before = labels_fingerprint(tmp_path, "forecasting", None)
    (tmp_path / "test_labels.txt").write_text("deep/er/1.png, 1, 3\n")
    assert labels_fingerprint(tmp_path, "forecasting", None) != before


# --- tables ---------------------------------------------------------------------------------------------------------


def table(root: Path, *rows: str) -> tuple[LabelColumns, list[str]]:
    (root / "l.csv").write_text("\n".join(["file,who,eye,date,days,worse", *rows]) + "\n")
    listed = [row.split(",")[0] for row in rows]
    return read(root, listed, layout="table", table="l.csv", columns=Columns(**COLUMNS))


def test_a_baseline_has_an_outcome_and_earlier_visits_have_none(tmp_path: Path) -> None:
    rows, problems = table(tmp_path, "0.png,p,R,2020-01-01,,", "1.png,p,R,2021-01-01,400,1", "2.png,q,L,5,7.5,0")
    assert not problems
    values = [(row.values["event"], row.values["interval_days"]) for row in rows]
    assert values == [(None, None), (1.0, 400.0), (0.0, 7.5)]


def test_an_interval_may_be_the_date_of_the_follow_up(tmp_path: Path) -> None:
    rows, problems = table(tmp_path, "1.png,p,R,2021-01-01,2021-03-02,true")
    assert not problems and rows[0].values == {"event": 1.0, "interval_days": 60.0}


def test_every_mistake_of_a_table_is_named(tmp_path: Path) -> None:
    _, problems = table(
        tmp_path,
        "1.png,p,R,2021-01-01,,1",
        "2.png,p,R,2021-01-01,30,",
        "3.png,p,R,2021-01-01,-30,0",
        "4.png,p,R,2021-01-01,2020-12-31,1",
        "5.png,p,R,12,2020-12-31,1",
        "6.png,p,R,2021-01-01,inf,yes",
    )
    assert [problem[:40] for problem in problems] == [
        "l.csv:2: worse without days: expected bo",
        "l.csv:3: days without worse: expected bo",
        "l.csv:4: days: expected a number of days",
        "l.csv:5: days: the follow-up 2020-12-31 ",
        "l.csv:6: days: a date needs a date in th",
        "l.csv:7: worse: expected 0 or 1, found '",
        "l.csv:7: days: expected a number of days",
    ]
    assert "lies before its baseline 2021-01-01" in problems[3]
