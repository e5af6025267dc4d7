"""Tables as hospitals have them: what is written is read rightly, or refused with a message that says what to do."""

import unicodedata
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world.workbooks import ods, xls, xlsx

from visionfm.data.label_rows import read_labels
from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import LabelColumns
from visionfm.data.settings import LabelSettings
from visionfm.errors import DataError, Problems

IMAGES = ["1.png", "2.png"]
TWO = [("1.png", "0"), ("2.png", "3")]
ROWS = [["f", "dx"], ["1.png", 0], ["2.png", 3]]
PLAIN = "f,dx\n1.png,0\n2.png,3\n"


class Case(NamedTuple):
    """What is written, and what is read: (path, value) of each row, or the beginning of a message."""

    what: str
    content: str | bytes
    expected: list[tuple[str, Any]] | str
    table: dict[str, Any] = {}  # noqa: RUF012 - read only
    columns: dict[str, Any] = {}  # noqa: RUF012
    name: str = "l.csv"
    images: list[str] = IMAGES
    of: str = "dx"  # what of a row is compared: a target, or an attribute
    masks: list[str] = []  # noqa: RUF012


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"f": ["1.png", "2.png"], "dx": [0.0, 3.0]}), sink)
    return bytes(sink.getvalue())


def eye(text: str) -> str:
    return f"f,dx,e\n1.png,0,{text}\n"


EYE = {"columns": {"eye": "e"}, "of": "eye"}
SPLIT = {"of": "split"}
FILES = [
    Case("commas", PLAIN, TWO),
    Case("semicolons", PLAIN.replace(",", ";"), TWO),
    Case("tabs, whatever the suffix", PLAIN.replace(",", "\t"), TWO),
    Case("bars", PLAIN.replace(",", "|"), TWO),
    Case("another separator, named", PLAIN.replace(",", "^"), TWO, {"separator": "^"}),
    Case("sep= of Excel", "sep=;\n" + PLAIN.replace(",", ";"), TWO),
    Case("commas under the name of a .tsv", PLAIN, TWO, name="l.tsv"),
    Case("a text under the name of a workbook", PLAIN, TWO, name="l.xlsx"),
    Case("a comma inside a quoted name", '"f, path";dx\n1.png;0\n2.png;3\n', TWO, columns={"image": "f, path"}),
    Case("UTF-8 with a mark", b"\xef\xbb\xbf" + PLAIN.encode(), TWO),
    Case("UTF-16 with a mark", PLAIN.encode("utf-16"), TWO),
    Case("UTF-16 without one", PLAIN.encode("utf-16-le"), TWO),
    Case("UTF-16 the other way round", PLAIN.encode("utf-16-be"), TWO),
    Case("line ends of Windows", PLAIN.replace("\n", "\r\n"), TWO),
    Case("line ends of old Macs", PLAIN.replace("\n", "\r"), TWO),
    Case("cp1252, named", "f,Größe\n1.png,0\n2.png,3\n".encode("cp1252"), TWO, {"encoding": "cp1252"},
         {"targets": {"dx": "Größe"}}),
    Case("cp1252, not named", "f,dx\n1.png,0\n2.png,Müller\n".encode("cp1252"),
         "l.csv: not UTF-8 text: invalid start byte at byte 20; save it as UTF-8, or say "
         "`table: {file: ..., encoding: cp1252}` if line 3 rightly reads '2.png,Müller'"),
    Case("GB18030, named", "f,眼别\n1.png,0\n2.png,3\n".encode("gb18030"), TWO, {"encoding": "gb18030"},
         {"targets": {"dx": "眼别"}}),
    Case("title lines", "Clinic\nexport of 2024\n" + PLAIN, TWO, {"header_row": 3}),
    Case("title lines, not said", "Clinic\nexport of 2024\n" + PLAIN,
         "l.csv: has no column 'f' in its first line; line 3 has all of them: `table: {file: ..., header_row: 3}`"),
    Case("a header that is too far below", PLAIN, "l.csv: header_row: expected lines from 1 to 3, found [9]",
         {"header_row": 9}),
    Case("two lines of header", "f,Right eye,\n,DR,IOP\n1.png,0,1\n2.png,3,1\n", TWO, {"header_row": [1, 2]},
         {"targets": {"dx": "Right eye DR"}}),
    Case("blank lines above", "\n\n" + PLAIN, TWO),
    Case("empty rows at the end", PLAIN + ",\n,\n\n", TWO),
    Case("empty columns at the right", "f,dx,,\n1.png,0,,\n2.png,3,,\n", TWO),
    Case("cells beyond the header that are empty", "f,dx\n1.png,0,,\n2.png,3,\n", TWO),
    Case("cells beyond the header", "f,dx\n1.png,0,x\n", "l.csv:2: expected 2 cells, found 3"),
    Case("a row that lacks what nobody reads", "f,dx,note\n1.png,0,x\n2.png,3\n", TWO),
    Case("a short row", "f,dx\n1.png,0\n2.png\n", "l.csv:3: expected 2 cells, found 1; where empty cells at the end "
         "of a row are left out, say `table: {file: ..., short_rows: unknown}`"),
    Case("a short row, allowed", "f,dx\n1.png,0\n2.png\n", [("1.png", "0"), ("2.png", None)],
         {"short_rows": "unknown"}),
    Case("a column twice that nobody reads", "f,dx,x,x\n1.png,0,1,2\n2.png,3,1,2\n", TWO),
    Case("a name spelled otherwise", "f,DX\n1.png,0\n",
         "l.csv: has no column 'dx'; its columns: f, DX; did you mean 'DX'?"),
    Case("a header in another language", "Bild,Diagnose\n1.png,0\n2.png,3\n", TWO,
         columns={"image": "Bild", "targets": {"dx": "Diagnose"}}),
    Case("Parquet", parquet(), TWO, name="l.parquet"),
    Case("Parquet under another name", parquet(), TWO),
    Case(".xlsx", xlsx({"A": ROWS}), TWO, name="l.xlsx"),
    Case(".xls", xls({"A": ROWS}), TWO, name="l.xls"),
    Case(".ods", ods({"A": ROWS}), TWO, name="l.ods"),
    Case("a workbook under the name of a CSV", xlsx({"A": ROWS}), TWO),
    Case("an .xlsx under the name of an .xls", xlsx({"A": ROWS}), TWO, name="l.xls"),
    Case("a workbook with an empty second sheet", xlsx({"A": ROWS, "Sheet2": []}), TWO),
    Case("a sheet by name", xlsx({"A": [["x"]], "Grades": ROWS}), TWO, {"sheet": "Grades"}),
    Case("sheets, none named", xlsx({"A": [["x"]], "Grades": ROWS}),
         "l.csv: has 2 sheets: A, Grades; name one: `table: {file: ..., sheet: ...}`"),
    Case("a sheet that is not there", xlsx({"Grades": ROWS}),
         "l.csv: no sheet is named 'grade'; did you mean 'Grades'?", {"sheet": "grade"}),
    Case("a sheet of a text", PLAIN, "l.csv: a text has no sheets: leave `sheet` away", {"sheet": "A"}),
    Case("title lines in a workbook", xls({"A": [["Clinic"], [None], *ROWS]}), TWO, {"header_row": 3}),
    Case("empty rows in a workbook", xlsx({"A": [*ROWS, [None, None], ["", ""]]}), TWO),
    Case("numbers of a workbook", xlsx({"A": [["f", "dx"], ["1.png", 2.5], ["2.png", 12.0]]}),
         [("1.png", "2.5"), ("2.png", "12")]),
    Case("truth values and errors of a workbook", xlsx({"A": [["f", "dx"], ["1.png", True], ["2.png", "#N/A"]]}),
         [("1.png", "1"), ("2.png", None)]),
    Case("zeros in front of ids of a workbook", xlsx({"A": [["f", "dx", "p"], ["1.png", 0, "0012"]]}),
         [("1.png", "0012")], columns={"subject": "p"}, of="subject"),
    Case("dates of a workbook", xls({"A": [["f", "dx", "v"], ["1.png", 0, date(2019, 3, 5)]]}),
         [("1.png", "2019-03-05")], columns={"visit": {"column": "v", "format": "%d/%m/%Y"}}, of="visit"),
    Case("dates and texts in one column", xlsx({"A": [["f", "dx", "v"], ["1.png", 0, date(2019, 3, 5)],
         ["2.png", 0, "25/03/2019"]]}), "l.csv: v: some cells are dates, others text", columns={"visit": "v"}),
    Case("a damaged workbook", xlsx({"A": ROWS})[:300], "l.csv: a spreadsheet that cannot be read"),
    Case("a web page under the name of a workbook", "<html><table><tr><td>f</td></tr></table></html>",
         "l.xls: is a web page or XML under a table's name: open it and save it as .xlsx or CSV", name="l.xls"),
    Case("a PDF", b"%PDF-1.7\n", "l.csv: is a PDF; expected CSV, TSV, .xlsx, .xls, .ods or Parquet"),
    Case("a packed table", b"\x1f\x8b\x08\0", "l.csv: is a gzip archive: unpack it"),
    Case("an SPSS file", b"$FL2@(#)", "l.csv: is an SPSS file: save it as CSV"),
    Case("an empty file", "", "l.csv: has no column 'f', 'dx': it is empty"),
    Case("zeros in a text", "f,dx\n1.png,\0\n", "l.csv: holds NUL bytes; it is no text file"),
]  # fmt: skip
CELLS = [
    Case("usual words for unknown", "f,dx\n1.png,NA\n2.png,null\n", [("1.png", None), ("2.png", None)]),
    Case("other words, named", "f,dx\n1.png,N/A\n2.png,-\n", [("1.png", None), ("2.png", None)],
         {"unknown": ["N/A", "-"]}),
    Case("other words, not named", "f,dx\n1.png,N/A\n2.png,3\n", [("1.png", "N/A"), ("2.png", "3")]),
    Case("a decimal comma, named", "f;dx\n1.png;45,5\n2.png;-3\n", [("1.png", "45.5"), ("2.png", "-3")],
         {"decimal": ","}),
    Case("a size with a comma", "f;dx;mm\n1.png;0;0,011\n", "l.csv:2: mm: expected a number, found '0,011'; nearest: "
         '0.011, with `decimal: ","`', columns={"mm_per_px": "mm"}),
    Case("a size with a unit", "f;dx;mm\n1.png;0;0.011 mm\n",
         "l.csv:2: mm: expected a number, found '0.011 mm'; nearest: 0.011", columns={"mm_per_px": "mm"}),
    Case("a size with a stray letter", "f;dx;mm\n1.png;0;7O\n",
         "l.csv:2: mm: expected a number, found '7O'; nearest: 70", columns={"mm_per_px": "mm"}),
    *(Case(f"eye {text}", eye(text), [("1.png", "R")], **EYE) for text in
      ("OD", "o.d.", "RE", "Right eye", "rechts", "rechtes Auge", "oeil droit", "ojo derecho", "olho direito",
       "occhio destro", "右眼", "правый")),
    *(Case(f"eye {text}", eye(text), [("1.png", "L")], **EYE) for text in
      ("OS", "O.S.", "LE", "left_eye", "links", "gauche", "OG", "ojo izquierdo", "OI", "esquerdo", "sinistra", "左")),
    Case("eyes by codes", "f,dx,e\n1.png,0,1\n2.png,0,2.0\n", [("1.png", "R"), ("2.png", "L")],
         columns={"eye": {"column": "e", "values": {1: "R", 2: "L"}}}, of="eye"),
    Case("codes and names of eyes", "f,dx,e\n1.png,0,1\n2.png,0,OS\n", [("1.png", "R"), ("2.png", "L")],
         columns={"eye": {"column": "e", "values": {1: "R"}}}, of="eye"),
    Case("an eye's code, not explained", eye("1"), "l.csv:2: e: expected R or L, found '1'; codes are explained by "
         "`columns: {eye: {column: e, values: {1: R, ...}}}`", **EYE),
    Case("a code that is not listed", eye("3"), "l.csv:2: e: expected 1, 2, or R or L, found '3'",
         columns={"eye": {"column": "e", "values": {1: "R", 2: "L"}}}),
    Case("folds", "f,dx,k\n1.png,0,0\n2.png,0,4\n", [("1.png", "test"), ("2.png", "train")],
         columns={"split": {"column": "k", "values": {0: "test"}}}, **SPLIT),
    Case("splits by codes", "f,dx,k\n1.png,0,T\n2.png,0,V\n", [("1.png", "train"), ("2.png", "validation")],
         columns={"split": {"column": "k", "values": {"T": "train", "V": "validation"}}}, **SPLIT),
    Case("a split's code that is not listed", "f,dx,k\n1.png,0,X\n",
         "l.csv:2: k: expected T, or train, validation or test, found 'X'",
         columns={"split": {"column": "k", "values": {"T": "train"}}}),
    Case("a target by codes", "f,dx\n1.png,1\n2.png,9\n", [("1.png", "amd"), ("2.png", None)],
         columns={"targets": {"dx": {"column": "dx", "values": {1: "amd", 9: None}}}}),
    Case("a target's code that is not listed", "f,dx\n1.png,7\n",
         "l.csv:2: dx: expected one of the codes 1, 2, found '7'",
         columns={"targets": {"dx": {"column": "dx", "values": {1: "amd", 2: "dme"}}}}),
    Case("an event by codes", "f,dx,ev,days\n1.png,0,yes,30\n2.png,0,no,40\n", [("1.png", 1.0), ("2.png", 0.0)],
         columns={"interval": "days", "event": {"column": "ev", "values": {"yes": 1, "no": 0}}, "targets": {}},
         of="event"),
]  # fmt: skip

WIDE = "id,left,right,dl,dr,age\n1,1_left.png,1_right.png,0,1,60\n2,2_left.png,,2,,61\n"
EYES = ["1_left.png", "1_right.png", "2_left.png"]
BOTH = {"image": None, "subject": "id", "images": {"R": "right", "L": "left"}}
GRADED = "f,a,b,c\n1.png,0,0,1\n2.png,1,2,\n"
TWICE = "f,dx\n1.png,0\n2.png,3\n1.png,2\n1.png,2\n"


def graded(how: str) -> dict[str, Any]:
    return {"targets": {"dx": {"columns": ["a", "b"], "aggregate": how}}}


def repeated(how: str) -> dict[str, Any]:
    return {"targets": {"dx": {"column": "dx", "aggregate": how}}}


SEVERAL = [
    Case("a row per person: a label of each eye", WIDE,
         [("1_right.png", "1"), ("1_left.png", "0"), ("2_left.png", "2")],
         columns={**BOTH, "targets": {"dx": {"R": "dr", "L": "dl"}}}, images=EYES),
    Case("a row per person: its eyes", WIDE, [("1_right.png", "R"), ("1_left.png", "L"), ("2_left.png", "L")],
         columns={**BOTH, "targets": {"dx": {"R": "dr", "L": "dl"}}}, images=EYES, of="eye"),
    Case("a row per person: the person's label", WIDE,
         [("1_right.png", "60"), ("1_left.png", "60"), ("2_left.png", "61")],
         columns={**BOTH, "targets": {"dx": "age"}}, images=EYES),
    Case("a row per person: names by a template", "id,dx\n7,1\n", [("7_right.png", "1"), ("7_left.png", "1")],
         columns={**BOTH, "images": {"R": "{id}_right", "L": "{id}_left"}}, images=["7_left.png", "7_right.png"]),
    Case("two columns of graders, majority", GRADED, [("1.png", "0"), ("2.png", None)], columns=graded("majority")),
    Case("two columns of graders, max", GRADED, [("1.png", 0.0), ("2.png", 2.0)], columns=graded("max")),
    Case("two columns of graders, mean", GRADED, [("1.png", 0.0), ("2.png", 1.5)], columns=graded("mean")),
    Case("two columns of graders, a consensus", GRADED, [("1.png", "1"), ("2.png", None)], columns=graded("c")),
    Case("graders by words", "f,a,b\n1.png,mild,none\n", "l.csv:2: dx: aggregate max needs numbers, found 'mild'",
         columns=graded("max")),
    Case("graders by codes", "f,a,b\n1.png,1,1\n", [("1.png", "amd")],
         columns={"targets": {"dx": {"columns": ["a", "b"], "aggregate": "majority", "values": {1: "amd"}}}}),
    Case("rows of graders, majority", TWICE, [("1.png", "2"), ("2.png", "3")], columns=repeated("majority")),
    Case("rows of graders, mean", TWICE, [("1.png", pytest.approx(4 / 3)), ("2.png", 3.0)], columns=repeated("mean")),
    Case("rows of graders, nothing said", TWICE[:-8], "l.csv:4: 1.png is labelled twice, first at l.csv:2"),
    Case("rows of graders that disagree elsewhere", "f,dx,age\n1.png,0,60\n1.png,1,61\n",
         "l.csv:2 and l.csv:3: 1.png has several of age; join them by `aggregate`, or correct the rows",
         columns={"targets": {"dx": {"column": "dx", "aggregate": "max"}, "age": "age"}}),
]  # fmt: skip


def paths(*names: str) -> str:
    return "f,dx\n" + "".join(f"{name},0\n" for name in names)


def found(*names: str) -> list[tuple[str, str]]:
    return [(name, "0") for name in names]


PATHS = [
    Case("backslashes", paths("a\\1.png"), found("a/1.png"), images=["a/1.png"]),
    Case("./ in front", paths("./a/1.png"), found("a/1.png"), images=["a/1.png"]),
    Case("/ in front", paths("/a/1.png"), found("a/1.png"), images=["a/1.png"]),
    Case("// between", paths("a//1.png"), found("a/1.png"), images=["a/1.png"]),
    Case("another case of the suffix", paths("1.PNG"), found("1.png")),
    Case("another case of the suffix on disk", paths("1.jpg"), found("1.JPG"), images=["1.JPG"]),
    Case("decomposed accents", paths(unicodedata.normalize("NFD", "Müller.png")), found("Müller.png"),
         images=["Müller.png"]),
    Case("decomposed accents on disk", paths("Müller.png"), found(unicodedata.normalize("NFD", "Müller.png")),
         images=[unicodedata.normalize("NFD", "Müller.png")]),
    Case("no suffix", paths("10_left", "10_right"), found("10_left.jpeg", "10_right.jpeg"),
         images=["10_left.jpeg", "10_right.jpeg"]),
    Case("no suffix, in a folder", paths("10_left"), found("train/10_left.jpeg"), images=["train/10_left.jpeg"]),
    Case("a name alone", paths("1.png"), found("images/1.png"), images=["images/1.png"]),
    Case("a name with points and no suffix", paths("1.2.840"), found("1.2.840.png"), images=["1.2.840.png"]),
    Case("a path of Windows from another machine", paths("D:\\\\Study\\1.png"), found("1.png")),
    Case("an absolute path", paths("/media/study/a/1.png"), found("a/1.png"), images=["a/1.png"]),
    Case("the root's own name in front", paths("root/1.png"), found("1.png")),
    Case("another folder in front", paths("other/1.png"),
         "l.csv:2: no image 'other/1.png' below the root; did you mean '1.png'?"),
    Case("two suffixes", paths("1"), "l.csv:2: '1' fits 2 images: 1.jpg, 1.png; write it in full",
         images=["1.jpg", "1.png"]),
    Case("two folders", paths("1.png"), "l.csv:2: '1.png' fits 2 images: a/1.png, b/1.png; write it in full",
         images=["a/1.png", "b/1.png"]),
    Case("a misspelled name", paths("imgae_07.png"),
         "l.csv:2: no image 'imgae_07.png' below the root; did you mean 'image_07.png'?", images=["image_07.png"]),
    Case("out of the root", paths("../1.png"), "l.csv:2: expected a path inside the dataset's root"),
    Case("one file under two names", paths("1", "1.png"), "l.csv:3: 1.png is labelled twice, first at l.csv:2"),
    Case("a number that is padded", "ID,dx\n#002,0\n3,0\n", found("RET002OD.jpg", "RET003OD.jpg"),
         columns={"image": "RET{ID:03d}OD.jpg"}, images=["RET002OD.jpg", "RET003OD.jpg"]),
    Case("a number without its zeros", "ID,dx\n0007,0\n", found("7.png"), columns={"image": "{ID:d}.png"},
         images=["7.png"]),
    Case("a number from a column of floats", "ID,dx\n7.0,0\n", found("0007.png"), columns={"image": "{ID:04d}.png"},
         images=["0007.png"]),
    Case("no number to pad", "ID,dx\nA-1-2,0\n", "l.csv:2: ID: expected one number in it for {ID:03d}, found 'A-1-2'",
         columns={"image": "{ID:03d}.png"}),
    Case("a mask without its suffix", "f,dx,m\na/1.png,0,m\\1\n", [("a/1.png", {"mask": "m/1.tif"})],
         columns={"mask": "m"}, images=["a/1.png"], masks=["m/1.tif"], of="partners"),
]  # fmt: skip


def read(case: Case, root: Path) -> tuple[LabelColumns, list[str]]:
    root.mkdir()
    content = case.content.encode() if isinstance(case.content, str) else case.content
    (root / case.name).write_bytes(content)
    keys = {"image": "f", "targets": {"dx": "dx"}, **case.columns}
    block = LabelSettings(
        dataset="d",
        layout="table",
        table={"file": case.name, **case.table} if case.table else case.name,
        columns=Columns(**keys),
    )
    problems = Problems(DataError, "labels")
    rows = read_labels(root, block, case.images, problems, case.masks)
    return rows, list(problems)


@pytest.mark.parametrize("case", [*FILES, *CELLS, *SEVERAL, *PATHS], ids=lambda case: case.what)
def test_a_table_is_read_rightly_or_refused_with_its_reason(case: Case, tmp_path: Path) -> None:
    rows, problems = read(case, tmp_path / "root")
    if isinstance(case.expected, str):
        assert len(problems) == 1 and problems[0].startswith(case.expected), problems
    else:
        values = [row.values[case.of] if case.of in row.values else getattr(row, case.of) for row in rows]
        assert problems == [] and [(row.path, value) for row, value in zip(rows, values, strict=True)] == case.expected


def test_there_are_many_cases() -> None:
    assert len({case.what for case in (*FILES, *CELLS, *PATHS)}) >= 60


def test_what_was_found_otherwise_than_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case("", paths("1", "b\\2.png"), [], images=["1.png", "b/2.png"])
    with caplog.at_level("INFO", "visionfm"):
        read(case, tmp_path / "root")
    assert caplog.messages == [
        "l.csv: 1 path found without a suffix: '1' is '1.png'",
        "l.csv: 1 path found but for slashes or accents: 'b\\\\2.png' is 'b/2.png'",
    ]


def test_folds_that_become_training_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"split": {"column": "k", "values": {0: "test"}}}
    with caplog.at_level("INFO", "visionfm"):
        read(Case("", "f,dx,k\n1.png,0,1\n2.png,0,0\n", [], columns=columns), tmp_path / "root")
    assert caplog.messages == ["l.csv: k: 1 are train"]


def test_rows_without_an_image_are_left_out_and_listed_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "l.csv").write_text(paths("1.png", "gone.png", "lost.png"))
    block = LabelSettings(
        dataset="d", layout="table", table="l.csv", columns=Columns(image="f", targets={"dx": "dx"}), missing="skip"
    )
    problems = Problems(DataError, "labels")
    rows = read_labels(tmp_path, block, IMAGES, problems)
    assert list(problems) == [] and [row.path for row in rows] == ["1.png"]
    assert caplog.messages == [
        "2 of 3 rows are left out, for their image is not there:",
        "  l.csv:3: gone.png",
        "  l.csv:4: lost.png",
    ]


def test_settings_that_say_nothing_new_keep_their_key() -> None:
    plain = LabelSettings(dataset="d", layout="table", table="l.csv", columns=Columns(image="f", eye="e"))
    assert "missing" not in plain.model_dump(mode="json") and plain.model_dump(mode="json")["columns"]["eye"] == "e"


# --- whatever is written --------------------------------------------------------------------------------------------

SIGNS = "f,dx;\t|\"'\n\r12.pngRL/\\ \ufeff\u00e4\u53f3\x00=<>"
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "header_row": st.one_of(st.integers(1, 4), st.just([1, 2])),
        "encoding": st.sampled_from(["cp1252", "utf-16", "gb18030"]),
        "separator": st.sampled_from(";|,"),
        "decimal": st.sampled_from(",."),
        "unknown": st.just(["-"]),
        "short_rows": st.sampled_from(["fail", "unknown"]),
        "sheet": st.just("A"),
    },
)
ANY_FILE = st.one_of(
    st.binary(max_size=200),
    st.text(SIGNS, max_size=120).map(str.encode),
    st.text(SIGNS, max_size=80).map(lambda text: ("f,dx\n" + text).encode("utf-16")),
    st.tuples(st.sampled_from([made({"A": ROWS}) for made in (xlsx, xls, ods)] + [parquet()]), st.binary(max_size=8),
              st.integers(0, 4000)).map(lambda made: made[0][: made[2]] + made[1] + made[0][made[2] + len(made[1]) :]),
)  # fmt: skip


@settings(max_examples=400, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_FILE, KEYS)
def test_any_bytes_are_rows_of_known_images_or_a_reason(tmp_path: Path, content: bytes, keys: dict[str, Any]) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    columns = Columns(image="f", eye="dx", targets={"dx": "dx"})
    label = LabelSettings(dataset="d", layout="table", table={"file": "l.csv", **keys}, columns=columns)
    problems = Problems(DataError, "labels")
    rows = read_labels(tmp_path, label, IMAGES, problems)
    if not problems:
        assert {row.path for row in rows} <= set(IMAGES) and len({row.path for row in rows}) == len(rows)
        assert all(row.eye in ("R", "L", None) for row in rows)
