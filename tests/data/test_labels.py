"""Labels, subjects and splits are joined to the images; a mistake stops the stage before anything is written."""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from visionfm import artifacts
from visionfm.data.block import Split
from visionfm.data.index import index
from visionfm.data.labels import label, subjects_of
from visionfm.data.layouts.columns import Columns, VisitColumn
from visionfm.data.layouts.rows import LabelColumns
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import DataError
from visionfm.images.identity import image_id_of, row_path

Draw = Callable[..., Path]


class Run:
    """Datasets of a run: indexed and labelled as the config says."""

    def __init__(self, folder: Path, draw: Draw) -> None:
        self.folder, self.draw = folder, draw

    def images(self, root: str, *names: str) -> None:
        for name in names:
            self.draw(self.folder / root / name, hash_of(name))

    def label(
        self, dataset: str, root: str | None = None, like: str | None = None, **keys: Any
    ) -> list[dict[str, Any]]:
        folder = self.folder / (root or dataset)
        layout = keys.setdefault("layout", "table")
        images = Path(f"results/datasets/{dataset}/images.parquet")
        index(folder, images, IndexSettings(modality="Fundus", layout=layout))
        out = Path(f"results/datasets/{dataset}/labels.parquet")
        leader = Path(f"results/datasets/{like}/labels.parquet") if like else None
        label(folder, [images], leader, out, LabelSettings(dataset=dataset, **keys))
        rows: list[dict[str, Any]] = artifacts.read_table(out).to_pylist()
        return rows


def hash_of(name: str) -> int:
    return zlib.crc32(name.encode())


@pytest.fixture
def run(tmp_path: Path, results: Path, draw: Draw) -> Run:
    return Run(tmp_path, draw)


def people(run: Run, root: str, count: int = 20, header: str = "file,person,dx") -> None:
    """A table dataset of `count` people with two images each."""
    names = [f"{person:02}_{eye}.png" for person in range(count) for eye in "RL"]
    run.images(root, *names)
    lines = [f"{name},p{name[:2]},{int(name[:2]) % 2}" for name in names]
    (run.folder / root / "l.csv").write_text("\n".join([header, *lines]) + "\n")


PEOPLE: dict[str, Any] = {"table": "l.csv", "columns": Columns(image="file", subject="person", targets={"dx": "dx"})}


def test_rows_are_sorted_by_path_and_carry_image_subject_and_split(run: Run) -> None:
    people(run, "d")
    rows = run.label("d", split=Split(test=0.2), **PEOPLE)
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows) and len(rows) == 40
    assert rows[0].keys() == {"path", "image_id", "copy_id", "subject_id", "group_id", "eye", "visit", "split", "dx"}
    images = {row["path"]: row for row in artifacts.read_table("results/datasets/d/images.parquet").to_pylist()}
    assert all(row["image_id"] == images[row["path"]]["image_id"] for row in rows)
    assert {row["subject_id"] for row in rows} == {f"d/p{person:02}" for person in range(20)}
    by_split = {
        split: {row["subject_id"] for row in rows if row["split"] == split} for split in ("train", "validation", "test")
    }
    assert [len(subjects) for subjects in by_split.values()] == [14, 2, 4]
    assert sum(map(len, by_split.values())) == len(set().union(*by_split.values()))


def test_a_cohort_shares_subject_ids_and_like_their_splits(run: Run) -> None:
    people(run, "a", 20)
    people(run, "b", 24)
    first = run.label("a", cohort="c", split=Split(test=0.2), **PEOPLE)
    second = run.label("b", like="a", cohort="c", split=Split(like="a"), **PEOPLE)
    split_of = {row["subject_id"]: row["split"] for row in first}
    assert set(split_of) == {f"c/p{person:02}" for person in range(20)}
    for row in second:
        assert row["split"] == split_of.get(row["subject_id"], "train")
    assert {row["split"] for row in second} == {"train", "validation", "test"}


def test_without_a_cohort_equal_subject_ids_are_different_people(run: Run) -> None:
    people(run, "a", 4)
    people(run, "b", 4)
    subjects = [{row["subject_id"] for row in run.label(name, **PEOPLE)} for name in "ab"]
    assert not subjects[0] & subjects[1]


def test_an_image_without_a_subject_is_its_own(run: Run) -> None:
    run.images("d", "A/1.png", "A/2.png", "B/3.png")
    rows = run.label("d", layout="imagefolder")
    assert [row["subject_id"] for row in rows] == ["d/A/1.png", "d/A/2.png", "d/B/3.png"]


def test_subject_eye_and_visit_come_from_file_names(run: Run) -> None:
    run.images("d", *(f"A/s{i}_{eye}_{visit}.png" for i in range(3) for eye in ("OD", "l") for visit in ("1", "2")))
    pattern = r"(?P<subject>s\d+)_(?P<eye>OD|l)_(?P<visit>\d)"
    rows = run.label("d", layout="imagefolder", path_pattern=pattern)
    assert {(row["subject_id"], row["eye"], row["visit"]) for row in rows} == {
        (f"d/s{i}", eye, visit) for i in range(3) for eye in "RL" for visit in "12"
    }


def test_file_names_that_do_not_match_the_pattern_are_all_named(run: Run) -> None:
    run.images("d", "A/s1_R.png", "A/x.png", "B/s2_X.png", "B/y.png")
    with pytest.raises(DataError) as raised:
        run.label("d", layout="imagefolder", path_pattern=r"(?P<subject>s\d+)_(?P<eye>.)")
    text = str(raised.value)
    assert "3 problems" in text and "does not match A/x.png" in text and "does not match B/y.png" in text
    assert "expected an eye R or L, found 'X'" in text


def test_all_mistakes_of_a_dataset_are_named_at_once_and_nothing_is_written(run: Run) -> None:
    run.images("d", *(f"{split}/{i}.jpg" for split in ("training", "test") for i in range(30)))
    bad = "\n".join(f"training/{i}.jpg;x" for i in range(30))
    (run.folder / "d/training_labels.txt").write_text(bad)
    (run.folder / "d/test_labels.txt").write_text("test/0.jpg;1,2\n")
    with pytest.raises(DataError) as raised:
        run.label("d", layout="vfm", labels=["a"])
    text = str(raised.value)
    assert (
        text.startswith("labels of d: 31 problems") and "... and 11 more" in text and "training_labels.txt:20" in text
    )
    assert not list(Path("results").rglob("labels.parquet"))


def test_an_old_table_of_labels_stays_where_a_new_one_is_refused(run: Run) -> None:
    people(run, "d")
    run.label("d", **PEOPLE)
    out = Path("results/datasets/d/labels.parquet")
    before = out.read_bytes()
    with (run.folder / "d/l.csv").open("a") as file:
        file.write("nowhere.png,p,1\n")
    with pytest.raises(DataError, match="no image 'nowhere.png'"):
        run.label("d", **PEOPLE)
    assert out.read_bytes() == before


def test_labels_none_takes_splits_from_folders_and_tests_the_rest(run: Run) -> None:
    run.images("v", "A/training/1.jpg", "A/test/2.jpg")
    assert [row["split"] for row in run.label("v", layout="vfm", labels="none")] == ["test", "train"]
    run.images("t", "1.jpg", "x/2.jpg")
    rows = run.label("t", labels="none")
    assert [row["split"] for row in rows] == ["test", "test"] and "label" not in rows[0]


def test_unlabelled_images_are_left_out_and_unreadable_ones_too(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    people(run, "d", 10)
    run.images("d", "unlabelled.png")
    (run.folder / "d/03_R.png").write_bytes(b"")
    with caplog.at_level("INFO", "visionfm"):
        rows = run.label("d", **PEOPLE)
    paths = {row["path"] for row in rows}
    assert len(paths) == 19 and not paths & {"unlabelled.png", "03_R.png"}
    assert "1 without a label" in caplog.text


def test_no_label_at_all_is_an_error(run: Run) -> None:
    run.images("d", "training/1.jpg")
    (run.folder / "d/training_labels.txt").write_text("")
    with pytest.raises(DataError, match="no image has a label"):
        run.label("d", layout="vfm", labels=["a"])


def test_given_splits_are_kept_and_validation_is_drawn_from_training(run: Run) -> None:
    names = [f"{split}/{i}.jpg" for split in ("training", "test") for i in range(10)]
    run.images("d", *names)
    for split in ("training", "test"):
        lines = [f"{split}/{i}.jpg;{i % 2}" for i in range(10)]
        (run.folder / f"d/{split}_labels.txt").write_text("\n".join(lines))
    rows = run.label("d", layout="vfm", labels=["a"], split=Split(validation=0.2))
    splits = {row["path"]: row["split"] for row in rows}
    assert {splits[f"test/{i}.jpg"] for i in range(10)} == {"test"}
    assert sorted(splits[f"training/{i}.jpg"] for i in range(10)) == ["train"] * 8 + ["validation"] * 2


def test_a_split_without_validation_is_an_error_that_says_so(run: Run) -> None:
    run.images("d", "A/1.png", "B/2.png")
    with pytest.raises(DataError, match="no group is left for validation"):
        run.label("d", layout="imagefolder", split=Split(stratify="label"))


def test_stratifying_by_no_label_is_an_error(run: Run) -> None:
    people(run, "d")
    with pytest.raises(DataError, match="cannot stratify by 'grade'"):
        run.label("d", split=Split(stratify="grade"), **PEOPLE)


def test_nothing_is_done_again_when_nothing_changed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    people(run, "d")
    run.label("d", **PEOPLE)
    out = Path("results/datasets/d/labels.parquet")
    before = out.read_bytes()
    out.unlink()
    with caplog.at_level("INFO", "visionfm"):
        run.label("d", **PEOPLE)
    assert out.read_bytes() == before and caplog.text.count("unchanged") == 2


def test_an_unlabelled_image_does_not_change_what_the_labels_say(run: Run) -> None:
    people(run, "d")
    run.label("d", **PEOPLE)
    digest = artifacts.payload_digest("results/datasets/d/labels.parquet")
    run.images("d", "new.png")
    run.label("d", **PEOPLE)
    assert artifacts.payload_digest("results/datasets/d/labels.parquet") == digest


def test_equal_bytes_never_stand_in_two_splits(run: Run) -> None:
    people(run, "d", 30)
    for number in range(0, 28, 2):
        run.draw(run.folder / f"d/{number:02}_R.png", 1)
    rows = run.label("d", split=Split(test=0.3, validation=0.3), **PEOPLE)
    splits = {row["image_id"]: set() for row in rows}  # type: dict[str, set[str]]
    for row in rows:
        splits[row["image_id"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize(("by", "groups"), [("subject", 20), ("eye", 40), ("image", 40)])
def test_what_is_never_divided_is_what_the_config_says(by: Any, groups: int, run: Run) -> None:
    people(run, "d", header="file,person,dx")
    rows = run.label("d", split=Split(validation=0.5, by=by), path_pattern="_(?P<eye>[RL])", **PEOPLE)
    assert sum(row["split"] == "validation" for row in rows) == 20
    divided = {row["subject_id"] for row in rows if row["split"] == "validation"} & {
        row["subject_id"] for row in rows if row["split"] == "train"
    }
    assert (divided == set()) == (by == "subject")


def test_a_table_outside_the_root_may_be_named(run: Run) -> None:
    run.images("d/images", "1.png", "2.png", "3.png")
    (run.folder / "d/l.csv").write_text("f,dx\n1.png,0\n2.png,1\n3.png,1\n")
    columns = Columns(image="f", targets={"dx": "dx"})
    for name in ("../l.csv", str(run.folder / "d/l.csv")):
        rows = run.label("d", "d/images", table=name, columns=columns)
        assert len(rows) == 3
    content = Path("results/datasets/d/labels.parquet").read_bytes()
    assert str(run.folder).encode() not in content.replace(name.encode(), b"")


def test_another_place_of_the_same_dataset_gives_the_same_bytes(run: Run) -> None:
    people(run, "a")
    people(run, "b")
    paths = [f"results/datasets/{name}/labels.parquet" for name in ("d", "d")]
    run.label("d", "a", **PEOPLE)
    first = Path(paths[0]).read_bytes()
    for path in Path("results").rglob("*.parquet"):
        path.unlink(missing_ok=True)
    images = [path for path in (run.folder / "a").glob("*.png")]
    for path in images:  # same dates, so that the index is the same too
        stat = path.stat()
        os.utime(run.folder / "b" / path.name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run.label("d", "b", **PEOPLE)
    assert Path(paths[1]).read_bytes() == first


# --- spellings ------------------------------------------------------------------------------------------------------


SPELLED = "file,person,dx\n1.png,0012,0\n2.png,12.0,1\n3.png,P-7,1\n4.png,p07,0\n5.png,9,1\n6.png,10,0\n"


def spelled(run: Run, subject: Any, **keys: Any) -> list[dict[str, Any]]:
    run.images("d", *(f"{number}.png" for number in range(1, 7)))
    (run.folder / "d/l.csv").write_text(SPELLED)
    return run.label("d", table="l.csv", columns=Columns(image="file", subject=subject, targets={"dx": "dx"}), **keys)


def test_ids_that_differ_in_their_spelling_alone_are_an_error_with_the_pairs_and_the_key(run: Run) -> None:
    with pytest.raises(DataError) as raised:
        spelled(run, "person")
    text = str(raised.value)
    assert "labels of d: 2 problems" in text
    assert "l.csv:3: subject '12' is '0012' (l.csv:2) but for its spelling" in text and "'p07' is 'P-7'" in text
    assert "`columns: {subject: {column: person, normalise: digits}}` makes them one person" in text


def test_digits_makes_one_person_of_them_and_exact_two(run: Run) -> None:
    rows = spelled(run, {"column": "person", "normalise": "digits"})
    assert [row["subject_id"] for row in rows] == ["d/12", "d/12", "d/p7", "d/p7", "d/9", "d/10"]
    rows = spelled(run, {"column": "person", "normalise": "exact"})
    assert [row["subject_id"] for row in rows] == ["d/0012", "d/12", "d/P-7", "d/p07", "d/9", "d/10"]


def test_text_leaves_zeros_to_be_an_error(run: Run) -> None:
    with pytest.raises(DataError, match="'12' is '0012'"):
        spelled(run, {"column": "person", "normalise": "text"})


def test_test_subjects_are_named_in_any_spelling_that_the_config_makes_one(run: Run) -> None:
    rows = spelled(run, {"column": "person", "normalise": "digits"}, split=Split(test_subjects=["P0007"]))
    assert {row["subject_id"] for row in rows if row["split"] == "test"} == {"d/p7"}


def test_ids_of_file_names_are_normalised_too(run: Run) -> None:
    run.images("d", "A/s01_a.png", "A/S1_b.png", "B/s2_a.png", "B/s3_a.png")
    pattern = {"layout": "imagefolder", "path_pattern": r"(?P<subject>[sS]\d+)_"}
    with pytest.raises(DataError, match="but for its spelling"):
        run.label("d", **pattern)
    rows = run.label("d", columns=Columns(subject={"normalise": "digits"}), **pattern)
    assert [row["subject_id"] for row in rows] == ["d/s1", "d/s1", "d/s2", "d/s3"]


def test_composed_and_decomposed_accents_are_one_id(run: Run) -> None:
    run.images("d", *(f"{number}.png" for number in range(4)))
    names = ["Mu\u0308ller", "M\u00fcller", "a", "b"]
    lines = [f"{number}.png,{name},{number % 2}" for number, name in enumerate(names)]
    (run.folder / "d/l.csv").write_text("\n".join(["file,person,dx", *lines]), encoding="utf-8")
    assert len({row["subject_id"] for row in run.label("d", **PEOPLE)}) == 3


def test_numbers_of_parquet_and_of_csv_are_the_same_ids(run: Run) -> None:
    run.images("d", *(f"{number}.png" for number in range(4)))
    table = pa.table({"file": [f"{n}.png" for n in range(4)], "person": [1.0, 2.0, None, 12.0], "dx": [0, 1, 0, 1]})
    table = table.filter(pc.is_valid(table["person"]))
    pq.write_table(table, run.folder / "d/l.parquet")
    (run.folder / "d/l.csv").write_text("file,person,dx\n0.png,1.0,0\n1.png,2.0,1\n3.png,12.0,1\n")  # as pandas writes
    found = [
        [row["subject_id"] for row in run.label("d", table=name, columns=PEOPLE["columns"])]
        for name in ("l.parquet", "l.csv")
    ]
    assert found[0] == found[1] == ["d/1", "d/2", "d/12"]


def test_a_follower_whose_ids_are_spelled_otherwise_is_an_error(run: Run) -> None:
    people(run, "a", 8)
    people(run, "b", 8)
    path = run.folder / "b/l.csv"
    path.write_text(path.read_text().replace(",p0", ",P00"))
    run.label("a", cohort="c", split=Split(test=0.2), **PEOPLE)
    with pytest.raises(DataError, match="subject 'p00' is 'P000'") as raised:
        run.label("b", like="a", cohort="c", split=Split(like="a"), **PEOPLE)
    assert "the labels of a" in str(raised.value) and "8 problems" in str(raised.value)


def test_two_people_who_share_a_file_are_one_group(run: Run) -> None:
    run.images("d", *(f"{number}.png" for number in range(6)))
    run.draw(run.folder / "d/4.png", hash_of("1.png"))
    lines = [f"{number}.png,p{number},{number % 2}" for number in range(6)]
    (run.folder / "d/l.csv").write_text("\n".join(["file,person,dx", *lines]))
    rows = run.label("d", **PEOPLE)
    assert [row["subject_id"] for row in rows] == [f"d/p{number}" for number in range(6)]
    assert [row["group_id"] for row in rows] == ["d/p0", "d/p1", "d/p2", "d/p3", "d/p1", "d/p5"]


def test_visits_of_a_known_form_become_iso_dates_and_others_are_named(run: Run) -> None:
    run.images("d", *(f"{number}.png" for number in range(4)))
    days = ["01/12/2018", "05/03/2019", "", "31/01/2020"]
    lines = [f"{number}.png,p{number},{number % 2},{day}" for number, day in enumerate(days)]
    (run.folder / "d/l.csv").write_text("\n".join(["file,person,dx,day", *lines]))
    visit = {"column": "day", "format": "%d/%m/%Y"}
    columns = Columns(image="file", subject="person", visit=visit, targets={"dx": "dx"})
    rows = run.label("d", table="l.csv", columns=columns)
    assert [row["visit"] for row in rows] == ["2018-12-01", "2019-03-05", None, "2020-01-31"]
    wrong = columns.model_copy(update={"visit": VisitColumn(column="day", format="%m/%d/%Y")})
    with pytest.raises(DataError, match="l.csv:5: day: expected a date of the form %m/%d/%Y, found '31/01/2020'"):
        run.label("d", table="l.csv", columns=wrong)


@pytest.mark.parametrize("form", ["%Q", "%d/%m/%"])
def test_a_form_that_is_none_is_an_error_of_the_config(form: str) -> None:
    with pytest.raises(ValueError, match="format"):
        VisitColumn(column="day", format=form)


def test_frames_of_one_file_are_one_subject_where_none_is_known() -> None:
    settings = LabelSettings(dataset="d", layout="table")
    labels = LabelColumns(path=[row_path("a.tif", frame) for frame in (0, 1)], where=["", ""])
    assert subjects_of(labels, [image_id_of("ab", frame) for frame in (0, 1)], settings) == ["d/a.tif"] * 2


# --- graders --------------------------------------------------------------------------------------------------------


def test_how_far_graders_agree_stands_in_the_table_of_labels(run: Run) -> None:
    names = [f"{number:02}.png" for number in range(20)]
    run.images("d", *names)
    lines = [f"{name},{n % 3},{n % 3 if n % 4 else 0}" for n, name in enumerate(names)]
    (run.folder / "d/l.csv").write_text("\n".join(["file,one,two", *lines]))
    targets = {"dx": {"columns": ["one", "two"], "aggregate": "max"}}
    run.label("d", table="l.csv", columns=Columns(image="file", targets=targets))
    (found,) = json.loads(artifacts.read_metadata("results/datasets/d/labels.parquet")["agreement"])
    assert (found["target"], found["graders"], found["images"]) == ("dx", "one, two", 20)
    assert 0 < found["low"] < found["kappa"] < found["high"] <= 1


def test_labels_of_one_grader_say_nothing_of_agreement(run: Run) -> None:
    people(run, "d")
    run.label("d", **PEOPLE)
    assert "agreement" not in artifacts.read_metadata("results/datasets/d/labels.parquet")


GROUPS = {
    "sex": {"column": "sex", "values": {1: "female", 2: "male", 9: None}},
    "age": {"column": "age", "cut": [50]},
    "site": "site",
}


def grouped(run: Run, rows: str, groups: Any = None, table: str = "image,who,sex,age,site,dr") -> list[dict[str, Any]]:
    run.images("c", "a.png", "b.png", "c.png")
    (run.folder / "c/labels.csv").write_text(f"{table}\n{rows}")
    columns = Columns(image="image", subject="who", targets={"dr": "dr"}, groups=groups or GROUPS)
    return run.label("c", table="labels.csv", columns=columns)


def test_what_people_are_told_apart_by_stands_beside_the_labels(run: Run) -> None:
    rows = grouped(run, "a.png,p1,1,49.5,north,1\nb.png,p2,9,,south,0\nc.png,p3,2,71,,0\n")
    found = {name: [row[f"group:{name}"] for row in rows] for name in GROUPS}
    assert found["sex"] == ["female", None, "male"]
    assert found["age"] == [49.5, None, 71.0]
    assert found["site"] == ["north", "south", None]


def test_groups_that_cannot_be_read_are_named_with_their_lines(run: Run) -> None:
    with pytest.raises(DataError) as caught:
        grouped(run, "a.png,p1,3,old,north,1\nb.png,p2,1,40,south,0\n")
    assert "expected one of the codes 1, 2, 9, found '3'" in str(caught.value)
    assert "labels.csv:2: age" in str(caught.value)


def test_a_column_of_measured_values_is_no_column_of_groups(run: Run) -> None:
    names = [f"{number}.png" for number in range(52)]
    run.images("c", *names)
    lines = [f"{name},{number},{number}.5,{number % 2}" for number, name in enumerate(names)]
    with pytest.raises(DataError, match=r"has 52 different values, more than 50; numbers are cut into groups"):
        grouped(run, "\n".join(lines), {"age": "age"}, "image,who,age,dr")


def test_without_groups_nothing_of_them_is_written_or_asked() -> None:
    assert "groups" not in LabelSettings(dataset="c", layout="table").model_dump(mode="json")["columns"]


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ({"age": {"column": "age", "cut": [65, 50]}}, "expected rising numbers"),
        ({"age": {"column": "age", "cut": [50], "values": {"1": "old"}}}, "name one of them"),
        ({"eye": "side"}, "eye comes by itself"),
    ],
)
def test_groups_of_a_config_that_say_nothing_are_errors(groups: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Columns(image="image", groups=groups)
