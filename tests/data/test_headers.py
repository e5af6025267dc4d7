"""Subject, eye, visit and device are read from DICOM headers, held against the table, and hashed where asked."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world.dicom_files import PHOTOGRAPH, TOMOGRAM, dicom, item, ramp
from world.volume_files import e2e, export, topcon, vol

from visionfm import artifacts
from visionfm.data import headers, spelling
from visionfm.data.block import Dataset, Ids
from visionfm.data.headers import read_headers
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import LabelColumns, LabelRow
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import DataError, Problems
from visionfm.images.containers.dicom import read_header

Rows = list[dict[str, Any]]
FROM_FILES = {"subject": "dicom.PatientID", "eye": "dicom.ImageLaterality", "visit": "dicom.StudyDate"}
KEY = "5e1f" * 16


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Six photographs of three people, both eyes."""
    root = tmp_path / "clinic"
    root.mkdir()
    for number in range(6):
        side = "RL"[number % 2]
        pixels = np.random.default_rng(number).permutation(ramp().ravel()).reshape(ramp().shape)  # no two are copies
        said = {"ImageLaterality": side, "StudyDate": f"2019030{number + 1}", "ManufacturerModelName": f"M{number % 2}"}
        data = dicom(pixels, PatientID=f"MRN000{number // 2}", PatientAge="045Y", **said)
        (root / f"{number}.dcm").write_bytes(data)
    return root


@pytest.fixture
def labelled(results: Path) -> Callable[..., Rows]:
    def run(root: Path, columns: dict[str, Any], **keys: Any) -> Rows:
        keys.setdefault("layout", "table")
        images, out = Path("results/datasets/clinic/images.parquet"), Path("results/datasets/clinic/labels.parquet")
        index(root, images, IndexSettings(modality="Fundus", layout=keys["layout"]))
        settings = LabelSettings(dataset="clinic", columns=Columns.model_validate(columns), **keys)
        label(root, [images], None, out, settings)
        rows: Rows = artifacts.read_table(out).to_pylist()
        return rows

    return run


def table(root: Path, *lines: str, head: str = "file,patient,eye,date,dr") -> None:
    (root / "t.csv").write_text("\n".join([head, *lines]))


def test_columns_are_read_from_the_files_where_there_is_no_table(clinic: Path, labelled: Callable[..., Rows]) -> None:
    rows = labelled(clinic, {**FROM_FILES, "targets": {"device": "dicom.ManufacturerModelName"}}, labels="none")
    assert [row["subject_id"] for row in rows] == [f"clinic/MRN000{number // 2}" for number in range(6)]
    assert [row["eye"] for row in rows] == list("RLRLRL") and rows[2]["visit"] == "2019-03-03"


def test_many_headers_are_read_in_processes_and_each_file_once(
    clinic: Path, labelled: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {**FROM_FILES, "targets": {"device": "dicom.ManufacturerModelName"}}
    expected = labelled(clinic, columns, labels="none")
    read: list[Path] = []
    one_by_one = headers._read_headers
    monkeypatch.setattr(headers, "_read_headers", lambda files: read.extend(files) or one_by_one(files))
    problems = Problems(DataError, "x")
    slices = LabelColumns.of(LabelRow(f"{number // 3}.dcm#{number % 3}", str(number)) for number in range(18))
    read_headers(clinic, slices, Columns.model_validate(columns), problems)
    assert len(read) == 6 and slices.eye == [side for side in "RLRLRL" for _ in range(3)]
    monkeypatch.undo()
    monkeypatch.setattr(headers, "FEW", 2)
    monkeypatch.setattr(headers, "READERS", 1)
    rows = LabelColumns.of(LabelRow(f"{number}.dcm", str(number)) for number in range(6))
    read_headers(clinic, rows, Columns.model_validate(columns), problems)
    assert rows.eye == [row["eye"] for row in expected] and not problems


def test_beside_a_table_and_in_class_folders(clinic: Path, labelled: Callable[..., Rows]) -> None:
    table(clinic, *[f"{number}.dcm,x,,,{number % 2}" for number in range(6)])
    targets = {"dr": "dr", "device": "dicom.ManufacturerModelName", "age": "dicom.PatientAge"}
    rows = labelled(clinic, {"image": "file", **FROM_FILES, "targets": targets}, table="t.csv")
    assert [row["device"] for row in rows] == ["M0", "M1"] * 3 and {row["age"] for row in rows} == {45.0}
    assert [row["dr"] for row in rows] == [0, 1] * 3 and rows[0]["subject_id"] == "clinic/MRN0000"
    for number in range(6):
        folder = clinic / "classes" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (clinic / f"{number}.dcm").rename(folder / f"{number}.dcm")
    rows = labelled(clinic / "classes", FROM_FILES, layout="imagefolder", labels=["dr"])
    assert {(row["dr"], row["eye"]) for row in rows} == {("a", "R"), ("b", "L")}
    assert len({row["subject_id"] for row in rows}) == 3


def test_a_swapped_laterality_is_found(clinic: Path, labelled: Callable[..., Rows]) -> None:
    columns: dict[str, Any] = {"image": "file", "subject": "patient", "eye": "eye", "targets": {"dr": "dr"}}
    lines = [f"{number}.dcm,p{number // 2},{'RL'[number % 2]},,{number % 2}" for number in range(6)]
    table(clinic, *lines)
    assert len(labelled(clinic, columns, table="t.csv")) == 6
    table(clinic, *lines[:3], lines[3].replace(",L,", ",R,"), *lines[4:])
    with pytest.raises(DataError, match=r"1 problem\n.*t.csv:5: eye R, and the header of 3.dcm says L"):
        labelled(clinic, columns, table="t.csv")
    trusted = {**columns, "eye": {"column": "eye", "trusted": True}}
    assert labelled(clinic, trusted, table="t.csv")[3]["eye"] == "R"


VOLUME = np.arange(2 * 20 * 24, dtype=np.uint8).reshape(2, 20, 24)
OTHERS = {  # a right eye in the header of each
    "a.vol": vol(VOLUME / 255, eye="OD"),
    "a.e2e": e2e(VOLUME.astype("<u2"), eye="R"),
    "a.fda": topcon(VOLUME, eye=0),
    "a.fds": topcon(VOLUME.astype(np.uint16), "FDS", eye=0),
    "a.xml": export(["1.png"], eye="R"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_swapped_laterality_is_found_in_volumes_of_every_maker(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(OTHERS[name])
    columns = Columns.model_validate({"image": "file", "eye": "eye"})
    for eye, found in (("R", []), ("L", ["t.csv:2: eye L, and the header of"])):
        rows, problems = LabelColumns.of([LabelRow(name, "t.csv:2", eye=eye)]), Problems(DataError, "labels")
        read_headers(tmp_path, rows, columns, problems)
        headers.contradictions(rows, columns, problems)
        assert [line[: len(found[0])] for line in problems] == found if found else not list(problems), list(problems)


def test_another_person_or_date_is_found_where_the_tables_are_those_of_the_headers(
    clinic: Path, labelled: Callable[..., Rows]
) -> None:
    columns = {"image": "file", "subject": "patient", "visit": "date", "targets": {"dr": "dr"}}
    lines = [f"{number}.dcm,MRN000{number // 2},,2019-03-0{number + 1},{number % 2}" for number in range(6)]
    table(clinic, *lines[:5], lines[5].replace("MRN0002", "MRN0000").replace("03-06", "03-07"))
    with pytest.raises(DataError) as said:
        labelled(clinic, columns, table="t.csv")
    assert "t.csv:7: its subject is not that in the header of 5.dcm, as it is in 5 of 6" in str(said.value)
    assert "its visit is not that in the header" in str(said.value) and "MRN" not in str(said.value)
    table(clinic, *[line.replace("MRN", "study-") for line in lines])  # ids of the study's own
    assert len(labelled(clinic, columns, table="t.csv")) == 6


def test_what_a_header_does_not_say_is_named(clinic: Path, labelled: Callable[..., Rows]) -> None:
    with pytest.raises(DataError, match="no attribute of the headers is named 'PatientsID'; did you mean 'PatientID'"):
        labelled(clinic, {"subject": "dicom.PatientsID"}, labels="none")
    (clinic / "7.dcm").write_bytes(dicom(ramp(), PatientID="", ImageLaterality="B"))
    with pytest.raises(DataError) as said:
        labelled(clinic, FROM_FILES, labels="none")
    assert "dicom.PatientID: expected a subject" in str(said.value) and "found 'B'" in str(said.value)


def test_a_picture_of_another_format_has_no_such_header(
    clinic: Path, labelled: Callable[..., Rows], draw: Callable[..., Path]
) -> None:
    draw(clinic / "a.png", 3)
    with pytest.raises(DataError, match="a.png is no DICOM file"):
        labelled(clinic, FROM_FILES, labels="none")


def test_values_of_a_header_are_found_where_multi_frame_files_keep_them(tmp_path: Path) -> None:
    shared = item(
        FrameAnatomySequence=[item(FrameLaterality="L")],
        PixelMeasuresSequence=[item(PixelSpacing=[0.0039, 0.0115])],
    )
    stack = np.stack([ramp(), ramp()])
    (tmp_path / "a.dcm").write_bytes(dicom(stack, kind=TOMOGRAM, SharedFunctionalGroupsSequence=[shared]))
    (tmp_path / "b.dcm").write_bytes(dicom(ramp(), kind=PHOTOGRAPH, Laterality="R", ImageLaterality="", StudyDate=""))
    first, second = read_header(tmp_path / "a.dcm"), read_header(tmp_path / "b.dcm")
    assert first["eye"] == first["ImageLaterality"] == "L" and first["PixelSpacing"] == "0.0039\\0.0115"
    assert second["ImageLaterality"] == "R" and second["visit"] == second["StudyDate"] == ""


def test_the_size_of_a_pixel_is_across_and_down(clinic: Path) -> None:
    (clinic / "0.dcm").write_bytes(dicom(ramp(), PixelSpacing=[0.004, 0.012]))
    problems, rows = Problems(DataError, "clinic"), LabelColumns.of([LabelRow("0.dcm", "0.dcm")])
    read_headers(clinic, rows, Columns(mm_per_px="dicom.PixelSpacing"), problems)
    assert rows[0].mm_per_px == (0.012, 0.004) and not problems
    (clinic / "0.dcm").write_bytes(dicom(ramp(), PixelSpacing=[0, 0.012]))
    read_headers(clinic, rows, Columns(mm_per_px="dicom.PixelSpacing"), problems)
    assert "expected one or two sizes in mm" in problems.found[0]


# Hashed ids


@pytest.fixture
def key(tmp_path: Path) -> Ids:
    (tmp_path / "site.key").write_text(KEY + "\n")
    return Ids(hash=str(tmp_path / "site.key"))


def whole(folder: Path) -> bytes:
    return b"\0".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.mark.parametrize("source", ["table", "header"])
def test_no_id_of_a_person_enters_results(
    source: str,
    clinic: Path,
    labelled: Callable[..., Rows],
    key: Ids,
    results: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    table(clinic, *[f"{number}.dcm,MRN000{number // 2},,,{number % 2}" for number in range(6)])
    columns = {"image": "file", "targets": {"dr": "dr"}}
    columns["subject"] = "patient" if source == "table" else "dicom.PatientID"
    plain = labelled(clinic, columns, table="t.csv")
    assert b"MRN" in whole(results)
    for file in [one for one in results.rglob("labels*") if one.is_file()]:
        file.unlink()
    rows = labelled(clinic, columns, table="t.csv", ids=key)
    assert b"MRN" not in whole(results) and KEY.encode() not in whole(results) and "MRN" not in caplog.text
    pairs = {(one["subject_id"], other["subject_id"]) for one, other in zip(plain, rows, strict=True)}
    assert len(pairs) == 3 == len({other for _, other in pairs})


def test_another_key_gives_other_ids_and_a_short_one_is_refused(
    clinic: Path, labelled: Callable[..., Rows], key: Ids
) -> None:
    before = {row["subject_id"] for row in labelled(clinic, FROM_FILES, labels="none", ids=key)}
    Path(key.hash).write_text("another key of this site")
    assert not before & {row["subject_id"] for row in labelled(clinic, FROM_FILES, labels="none", ids=key)}
    for text in ("", "short"):
        Path(key.hash).write_text(text)
        with pytest.raises(DataError, match="openssl rand"):
            labelled(clinic, FROM_FILES, labels="none", ids=key)


def test_spellings_of_one_id_are_found_without_a_word_of_it(
    clinic: Path, labelled: Callable[..., Rows], key: Ids
) -> None:
    table(clinic, *[f"{number}.dcm,{'0077001' if number else '77001.00'},,,{number % 2}" for number in range(6)])
    with pytest.raises(DataError, match="but for its spelling") as said:
        labelled(clinic, {"image": "file", "subject": "patient", "targets": {"dr": "dr"}}, table="t.csv", ids=key)
    assert "77001" not in str(said.value) and "t.csv:2" in str(said.value)
    one, other = (spelling.hashed(text, KEY.encode()) for text in ("0012", "12"))
    assert one != other and spelling.alike([one, other, spelling.hashed("13", KEY.encode())]) == [sorted([one, other])]


@pytest.mark.parametrize("name", ["MRN0000_R.dcm", "mrn0000R.dcm", "MRN0000OD.dcm"])
def test_an_id_in_a_file_name_cannot_be_hidden(
    name: str, clinic: Path, labelled: Callable[..., Rows], key: Ids
) -> None:
    (clinic / "0.dcm").rename(clinic / name)
    with pytest.raises(DataError, match="the paths of 1 images hold the ids") as said:
        labelled(clinic, FROM_FILES, labels="none", ids=key)
    assert "MRN0000" not in str(said.value)
    block = {"modality": "Fundus", "root": "x", "layout": "table", "labels": "none", "ids": {"hash": "k"}}
    with pytest.raises(ValueError, match="paths stand in results"):
        Dataset.model_validate({**block, "path_pattern": "(?P<subject>[0-9]+)"})
    with pytest.raises(ValueError, match="test_subjects would bring ids into results"):
        Dataset.model_validate({**block, "split": {"test_subjects": ["7"]}})
