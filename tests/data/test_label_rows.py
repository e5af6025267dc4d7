"""Label files are read as written or refused: every mistake with its file and line, nothing guessed."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world.counts import times

from visionfm.data.label_rows import as_columns, read_labels
from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import LabelColumns, LabelRow
from visionfm.data.settings import LabelSettings
from visionfm.data.tables.cells import is_number, number
from visionfm.errors import DataError, Problems

SAME_FOLDER = settings(
    max_examples=times(20_000, 150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TABLE = {"layout": "table", "table": "l.csv"}


def read(root: Path, listed: list[str], **keys: Any) -> tuple[LabelColumns, list[str]]:
    problems = Problems(DataError, "labels")
    rows = read_labels(root, LabelSettings(dataset="d", **keys), listed, problems)
    return rows, list(problems)


def vfm(root: Path, text: str | bytes, names: tuple[str, ...] = ("a", "b")) -> tuple[LabelColumns, list[str]]:
    """Read `text` as the training labels of images 1, 2 and 3."""
    (root / "training").mkdir(exist_ok=True)
    (root / "training_labels.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    return read(root, [f"training/{i}.jpg" for i in (1, 2, 3)], layout="vfm", labels=list(names))


def table(root: Path, text: str, columns: dict[str, Any], name: str = "l.csv") -> tuple[LabelColumns, list[str]]:
    (root / name).write_text(text, encoding="utf-8", newline="")
    return read(root, ["1.png", "2.png"], layout="table", table=name, columns=Columns(**columns))


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "-1", "+1", "1.5", ".5", "5.", "1e3", "1E-3", "007"])
def test_numbers_of_ascii_digits_are_read(text: str) -> None:
    assert number(text) == float(text)


WRONG = [
    "1_000",
    "\u0663",
    "\uff11",
    "inf",
    "-inf",
    "infinity",
    "1e400",
    "0x10",
    "1,5",
    "1 2",
    "one",
    "--1",
    "1e",
    ".",
    "e5",
    "True",
]


@pytest.mark.parametrize("text", [*WRONG, "", "nan", "1\n"])
def test_what_only_python_takes_for_a_number_is_none(text: str) -> None:
    assert not is_number(text)
    with pytest.raises(ValueError, match="expected a number"):
        number(text)


@given(st.text())
def test_any_text_is_a_finite_number_or_none(text: str) -> None:
    if is_number(text):
        assert math.isfinite(number(text)) and text.isascii() and "_" not in text


# --- vfm ------------------------------------------------------------------------------------------------------------


def test_a_line_is_a_path_and_as_many_values_as_names(tmp_path: Path) -> None:
    rows, problems = vfm(tmp_path, "training/1.jpg;1,2.5\ntraining/2.jpg ; -1 , 1e-3 \n")
    assert problems == []
    assert [(row.path, row.values, row.split) for row in rows] == [
        ("training/1.jpg", {"a": 1.0, "b": 2.5}, "train"),
        ("training/2.jpg", {"a": -1.0, "b": 0.001}, "train"),
    ]


@pytest.mark.parametrize("text", ["", "null", "NULL", "NA", "NaN", "nan", " "])
def test_unknown_values_are_none(text: str, tmp_path: Path) -> None:
    rows, problems = vfm(tmp_path, f"training/1.jpg;{text},0\n")
    assert problems == [] and rows[0].values == {"a": None, "b": 0.0}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(end: str, mark: str, tmp_path: Path) -> None:
    text = mark + (end or "\n").join(["training/1.jpg;1,2", "training/2.jpg;3,4"]) + end
    rows, problems = vfm(tmp_path, text)
    assert problems == [] and [row.values["b"] for row in rows] == [2.0, 4.0]


def test_blank_lines_at_the_end_are_no_lines(tmp_path: Path) -> None:
    assert vfm(tmp_path, "training/1.jpg;1,2\n\n\n")[1] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected 'path;values', found a blank line"),
        ("   ", "expected 'path;values', found a blank line"),
        ("training/2.jpg,1,2", "expected one ';' between path and values, found 0"),
        ("training/2.jpg;1;2", "expected one ';' between path and values, found 2"),
        ("training/2.jpg;1", "expected 2 values (a, b, ...), found 1"),
        ("training/2.jpg;1,2,3", "expected 2 values (a, b, ...), found 3"),
        ("training/2.jpg;1,2,", "expected 2 values (a, b, ...), found 3"),
        ("training/2.jpg;", "expected 2 values (a, b, ...), found 1"),
        *((f"training/2.jpg;1,{text}", f"b: expected a number, found {text!r}") for text in WRONG if "," not in text),
        ("training/9.jpg;1,2", "no image 'training/9.jpg' below the root"),
        ("2.jpg;1,2", "no image '2.jpg' below the root"),
        ("../training/2.jpg;1,2", "expected a path inside the dataset's root, found '../training/2.jpg'"),
        ("training/../../x.jpg;1,2", "expected a path inside the dataset's root"),
        ("/etc/passwd;1,2", "expected a path inside the dataset's root, found '/etc/passwd'"),
        ("~/2.jpg;1,2", "expected a path inside the dataset's root"),
        ("training\\2.jpg;1,2", "expected a path inside the dataset's root"),
        ("training/1.jpg;1,2", "training/1.jpg is labelled twice, first at training_labels.txt:1"),
        ('"training/2.jpg";1,2', "no image '\"training/2.jpg\"' below the root"),
        ("training/2.jpg\u2028;1,2", None),  # no line separator of a text file: blanks around a path do not count
    ],
)
def test_a_wrong_line_is_named_with_its_number(line: str, message: str | None, tmp_path: Path) -> None:
    _, problems = vfm(tmp_path, f"training/1.jpg;1,2\n{line}\ntraining/3.jpg;1,2\n")
    if message is None:
        assert problems == []
    else:
        assert len(problems) == 1 and problems[0].startswith("training_labels.txt:2: ") and message in problems[0]


def test_all_wrong_lines_are_named_at_once(tmp_path: Path) -> None:
    _, problems = vfm(tmp_path, "training/1.jpg;1\n\ntraining/2.jpg;x,\u0663\ntraining/9.jpg;1,2\n")
    assert [problem.split(": ")[0] for problem in problems] == [f"training_labels.txt:{n}" for n in (1, 2, 3, 3, 4)]


@pytest.mark.parametrize("content", [b"training/1.jpg;1,\xff\n", b"training/1.jpg;1,2\n\0\n"])
def test_a_file_that_is_no_text_is_one_problem(content: bytes, tmp_path: Path) -> None:
    rows, problems = vfm(tmp_path, content)
    assert not rows and len(problems) == 1


def test_labels_of_the_same_image_in_both_files_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "test_labels.txt").write_text("training/1.jpg;1,2\n")
    _, problems = vfm(tmp_path, "training/1.jpg;1,2\n")
    assert problems == ["test_labels.txt:1: training/1.jpg is labelled twice, first at training_labels.txt:1"]


def test_a_split_with_images_needs_its_label_file(tmp_path: Path) -> None:
    for name in ("A/training", "A/test", "B/test"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "A/training_labels.txt").write_text("training/1.jpg;1\n")
    listed = ["A/training/1.jpg", "A/test/1.jpg"]
    rows, problems = read(tmp_path, listed, layout="vfm", labels=["a"])
    assert [row.path for row in rows] == ["A/training/1.jpg"] and len(problems) == 1
    assert "A/test_labels.txt: missing, but A/test/ has images; write it, or say `labels: none`" in problems[0]


def test_a_folder_that_is_no_dataset_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "A/training").mkdir(parents=True)
    (tmp_path / "A/training_labels.txt").write_text("training/1.jpg;1\n")
    (tmp_path / "B/train").mkdir(parents=True)
    _, problems = read(tmp_path, ["A/training/1.jpg"], layout="vfm", labels=["a"])
    assert len(problems) == 1 and "B: expected training/ and test/" in problems[0]


VALUES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5).map(float))


@SAME_FOLDER
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_in_the_grammar_is_read_back(
    tmp_path: Path, values: list[tuple[float | None, float | None]], end: str, mark: bool
) -> None:
    lines = [
        f"training/{i}.jpg;" + ",".join("" if value is None else repr(value) for value in line)
        for i, line in enumerate(values, 1)
    ]
    rows, problems = vfm(tmp_path, ("\ufeff" if mark else "") + end.join(lines) + end)
    assert problems == [] and [tuple(row.values.values()) for row in rows] == values


@SAME_FOLDER
@given(st.binary(max_size=200) | st.text('0123456789,;./ajpgtrinN\n\r\t"\\~-+_e\u0663\x00', max_size=120))
def test_any_bytes_give_rows_of_known_images_or_problems(tmp_path: Path, content: bytes | str) -> None:
    rows, problems = vfm(tmp_path, content)
    if not problems:
        assert {row.path for row in rows} <= {f"training/{i}.jpg" for i in (1, 2, 3)}
        assert len({row.path for row in rows}) == len(rows)
        assert all(value is None or math.isfinite(float(value)) for row in rows for value in row.values.values())


@SAME_FOLDER
@given(st.text("training/.jpg123~\\\x00\u00e4", max_size=30))
def test_no_path_of_a_label_file_leaves_the_root(tmp_path: Path, path: str) -> None:
    rows, problems = vfm(tmp_path, f"{path};1,2\n")
    for row in rows if not problems else []:
        assert (tmp_path / row.path).resolve().is_relative_to(tmp_path.resolve())


def test_one_hot_groups_of_vfm_names_become_a_target_beside_them(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training_labels.txt").write_text("training/1.jpg;0,1,5\ntraining/2.jpg;0,0,5\ntraining/3.jpg;,1,5\n")
    listed = [f"training/{i}.jpg" for i in (1, 2, 3)]
    columns = Columns(targets={"grade": ["g0", "g1"], "copy": "x"})
    rows, problems = read(tmp_path, listed, layout="vfm", labels=["g0", "g1", "x"], columns=columns)
    assert problems == [] and [row.values["grade"] for row in rows] == ["g1", None, "g1"]
    assert rows[0].values == {"g0": 0.0, "g1": 1.0, "x": 5.0, "grade": "g1", "copy": 5.0}


# --- image folders --------------------------------------------------------------------------------------------------


def test_an_image_folder_is_divided_or_not(tmp_path: Path) -> None:
    divided = ["train/A/1.png", "val/B/sub/2.png", "Test/A/3.png", "validation/A/4.png"]
    rows, problems = read(tmp_path, divided, layout="imagefolder", labels=["dx"])
    assert problems == [] and [row.values["dx"] for row in rows] == ["A", "B", "A", "A"]
    assert [row.split for row in rows] == ["train", "validation", "test", "validation"]
    rows, problems = read(tmp_path, ["A/1.png", "B/2.png"], layout="imagefolder")
    assert problems == [] and [(row.values, row.split) for row in rows] == [
        ({"label": "A"}, None),
        ({"label": "B"}, None),
    ]


def test_images_outside_class_folders_are_named(tmp_path: Path) -> None:
    assert read(tmp_path, ["A/1.png", "2.png"], layout="imagefolder")[1] == [
        "2.png: expected class/file, found no class folder"
    ]
    assert read(tmp_path, ["train/1.png", "test/A/2.png"], layout="imagefolder")[1] == [
        "train/1.png: expected split/class/file, found no class folder"
    ]


@pytest.mark.parametrize("stray", ["preview.png", "extra/A/1.png", "normal/1.png"])
def test_split_folders_beside_others_never_become_classes(stray: str, tmp_path: Path) -> None:
    rows, problems = read(tmp_path, ["train/A/1.png", "test/B/2.png", stray], layout="imagefolder")
    assert not rows and len(problems) == 1
    assert f"found test, train beside {stray.split('/')[0]}" in problems[0]


def test_unlabelled_images_take_their_split_from_the_folders(tmp_path: Path) -> None:
    def splits(listed: list[str], layout: str) -> list[str | None]:
        rows, problems = read(tmp_path, listed, layout=layout, labels="none")
        assert problems == [] and [row.path for row in rows] == listed
        return [row.split for row in rows]

    assert splits(["A/training/1.png", "A/test/2.png"], "vfm") == ["train", "test"]
    assert splits(["training/1.png", "test/x/2.png"], "vfm") == ["train", "test"]
    assert splits(["train/1.png", "val/a/2.png", "other/3.png", "4.png"], "imagefolder") == [
        "train",
        "validation",
        None,
        None,
    ]
    assert splits(["train/1.png"], "table") == [None]


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "separator"), [("l.csv", ","), ("l.csv", ";"), ("l.csv", "\t"), ("l.tsv", "\t"), ("l.txt", ";")]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_any_separator_are_read(name: str, separator: str, end: str, tmp_path: Path) -> None:
    lines = [["file", "id", "dx", "age"], ["1.png", "p 1", "amd", "60"], [" 2.png ", "p2", "", "61.5"]]
    text = "\ufeff" + end.join(separator.join(cells) for cells in lines) + end
    columns = {"image": "file", "subject": "id", "targets": {"dx": "dx", "years": "age"}}
    rows, problems = table(tmp_path, text, columns, name)
    assert problems == [] and [(row.path, row.subject) for row in rows] == [("1.png", "p 1"), ("2.png", "p2")]
    assert as_columns(rows) == {"dx": ["amd", None], "years": [60.0, 61.5]}
    assert rows[1].where == f"{name}:3"


def test_a_parquet_table_is_read_with_its_types(tmp_path: Path) -> None:
    columns = {"f": ["1.png", "2.png"], "n": [1, None], "x": [2.0, float("nan")], "b": [True, False], "s": ["a", None]}
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    targets = {name: name for name in "nxbs"}
    rows, problems = read(
        tmp_path, ["1.png", "2.png"], layout="table", table="l.parquet", columns=Columns(image="f", targets=targets)
    )
    assert problems == []
    assert as_columns(rows) == {"n": [1.0, None], "x": [2.0, None], "b": [1.0, 0.0], "s": ["a", None]}


def test_a_damaged_parquet_table_is_a_problem(tmp_path: Path) -> None:
    _, problems = table(tmp_path, "no parquet", {"image": "f"}, "l.parquet")
    assert len(problems) == 1 and "not a Parquet file" in problems[0]


def test_quoted_cells_may_hold_separators_and_quotes(tmp_path: Path) -> None:
    rows, problems = table(tmp_path, 'f,dx\n"1.png","a, ""b"""\n', {"image": "f", "targets": {"dx": "dx"}})
    assert problems == [] and rows[0].values == {"dx": 'a, "b"'}


def test_an_image_may_be_named_by_a_template_of_columns(tmp_path: Path) -> None:
    rows, problems = table(tmp_path, "id,ext\n1,png\n2 ,png\n", {"image": "{id}.{ext}"})
    assert problems == [] and [row.path for row in rows] == ["1.png", "2.png"]
    assert table(tmp_path, "id\n1\n", {"image": "{code}.png"})[1] == ["l.csv: has no column 'code'; its columns: id"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f,dx\n1.png\n", "l.csv:2: expected 2 cells, found 1"),
        ("f,dx\n1.png,a,b\n", "l.csv:2: expected 2 cells, found 3"),
        ("f,dx\n\n1.png,a\n", "l.csv:2: expected 2 cells, found a blank line"),
        ("f,dx\n,\n1.png,a\n", "l.csv:2: expected 2 cells, found a blank line"),
        ("f,x\n1.png,a\n", "l.csv: has no column 'dx'; its columns: f, x"),
        ("f,dx,dx\n1.png,a,b\n", "l.csv:1: columns stand twice: dx"),
        ('f,dx\n"1.png"x,a\n', "l.csv:2: "),
        ('f,dx\n1.png,"a\n', "l.csv:2: "),
        ('"f,dx\n1.png,a\n', "l.csv: has no column 'f'"),
        ("", "l.csv: has no column 'f'"),
        ("f,dx\n3.png,a\n", "l.csv:2: no image '3.png' below the root"),
        ("f,dx\n../1.png,a\n", "l.csv:2: expected a path inside the dataset's root"),
        ("f,dx\n1.png,a\n2.png,a\n1.png,b\n", "l.csv:4: 1.png is labelled twice, first at l.csv:2"),
        ("f,dx\n,a\n", "l.csv:2: no image '' below the root"),
    ],
)
def test_a_wrong_table_is_named_by_line(text: str, message: str, tmp_path: Path) -> None:
    _, problems = table(tmp_path, text, {"image": "f", "targets": {"dx": "dx"}})
    assert any(problem.startswith(message) for problem in problems), problems


def test_columns_without_a_name_may_stand_twice(tmp_path: Path) -> None:
    assert table(tmp_path, "f,,\n1.png,,\n", {"image": "f"})[1] == []


def test_a_missing_table_is_a_problem(tmp_path: Path) -> None:
    _, problems = read(tmp_path, ["1.png"], layout="table", table="none.csv", columns=Columns(image="f"))
    assert len(problems) == 1 and "the table is missing" in problems[0]


@pytest.mark.parametrize(
    ("text", "eye"),
    [
        ("R", "R"),
        ("od", "R"),
        ("Right", "R"),
        ("RE", "R"),
        ("L", "L"),
        ("OS", "L"),
        ("left", "L"),
        ("", None),
        ("NA", None),
    ],
)
def test_spellings_of_eyes(text: str, eye: str | None, tmp_path: Path) -> None:
    rows, problems = table(tmp_path, f"f,e,x\n1.png,{text},1\n", {"image": "f", "eye": "e"})
    assert problems == [] and rows[0].eye == eye


@pytest.mark.parametrize(
    ("text", "split"),
    [("train", "train"), ("Training", "train"), ("val", "validation"), ("VALID", "validation"), ("dev", "validation"),
     ("validation", "validation"), ("test", "test"), ("testing", "test"), ("", None)],
)  # fmt: skip
def test_spellings_of_splits(text: str, split: str | None, tmp_path: Path) -> None:
    rows, problems = table(tmp_path, f"f,s,x\n1.png,{text},1\n", {"image": "f", "split": "s"})
    assert problems == [] and rows[0].split == split


def test_unknown_eyes_splits_and_empty_subjects_are_problems_together(tmp_path: Path) -> None:
    text = "f,p,e,s\n1.png,,X,holdout\n2.png,null,OU,train\n"
    _, problems = table(tmp_path, text, {"image": "f", "subject": "p", "eye": "e", "split": "s"})
    assert problems == [
        "l.csv:2: p: expected a subject, found nothing",
        "l.csv:2: e: expected R or L, found 'X'",
        "l.csv:2: s: expected train, validation or test, found 'holdout'",
        "l.csv:3: p: expected a subject, found nothing",
        "l.csv:3: e: expected R or L, found 'OU'",
    ]


@pytest.mark.parametrize(
    ("cells", "value", "message"),
    [
        ("0,1", "g1", ""),
        ("1.0,0", "g0", ""),
        ("0,0", None, ""),
        (",1", "g1", ""),
        (",", None, ""),
        ("1,1", None, "expected at most a single 1"),
        ("2,0", None, "expected at most a single 1"),
        ("x,0", None, "expected a number, found 'x'"),
    ],
)
def test_one_hot_groups(cells: str, value: str | None, message: str, tmp_path: Path) -> None:
    columns = {"image": "f", "targets": {"grade": ["g0", "g1"]}}
    rows, problems = table(tmp_path, f"f,g0,g1\n1.png,{cells}\n", columns)
    assert rows[0].values == {"grade": value}
    assert (problems == []) if not message else (len(problems) == 1 and message in problems[0])


def test_a_column_with_one_word_stays_text_and_a_number_too_large_is_no_number() -> None:
    rows = [LabelRow("1", "1", {"a": "1", "b": "1"}), LabelRow("2", "2", {"a": "x", "b": "1e400"})]
    assert as_columns(rows) == {"a": ["1", "x"], "b": ["1", "1e400"]}


@SAME_FOLDER
@given(st.text('f,;\t"12.png\n\r dx\x00\u00e4', max_size=80))
def test_any_table_gives_rows_or_problems(tmp_path: Path, text: str) -> None:
    rows, problems = table(tmp_path, "f,dx\n" + text, {"image": "f", "targets": {"dx": "dx"}})
    if not problems:
        assert {row.path for row in rows} <= {"1.png", "2.png"}


# --- growth ---------------------------------------------------------------------------------------------------------


def test_a_table_becomes_columns_whose_different_cells_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_cells: list[str] = []
    monkeypatch.setattr("visionfm.data.layouts.table.read_eye", lambda text: read_cells.append(text) or text[0])
    monkeypatch.setattr(LabelColumns, "__getitem__", None)  # no image becomes a row
    images = [f"{number}.png" for number in range(1000)]
    lines = [f"{name},p{number % 7},{'Right' if number % 2 else 'Left'},0" for number, name in enumerate(images)]
    (tmp_path / "l.csv").write_text("\n".join(["file,who,side,dx", *lines]))
    columns = Columns(image="file", subject="who", eye="side", targets={"dx": "dx"})
    labels, problems = read(tmp_path, images, layout="table", table="l.csv", columns=columns)
    assert not problems and labels.path == images and labels.eye[:2] == ["L", "R"]
    assert read_cells == ["Left", "Right"] and len(set(map(id, labels.subject))) == 7
