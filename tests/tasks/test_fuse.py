"""A task's samples: images joined into units, with labels that are known, and nothing of the test split in training."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from world.fused import DX, OUT, TRAIN, Row, rows, run, samples

from visionfm import artifacts
from visionfm.data.visits import written
from visionfm.errors import DataError, UsageError
from visionfm.tasks.fuse import fuse
from visionfm.tasks.settings import FuseSettings, LabelledTarget

FUSED: dict[str, Any] = {"fusion": "attention"}


# --- pooled ---------------------------------------------------------------------------------------------------------


def test_a_pooled_sample_is_an_image_with_its_encoded_label(results: Path) -> None:
    read = run({"f": rows(), "o": rows("o")})
    assert len(read) == 48 and [one["sample_id"] for one in read] == sorted(one["sample_id"] for one in read)
    first = read[0]
    assert first["sample_id"] == "f/f00L.png" and first["dataset"] == "f" and first["dx"] == 0.0
    assert first["images"] == [{"modality": "Fundus", "dataset": "f", "path": "f00L.png", "image_id": "f00L"}]


def test_train_holds_training_and_validation_rows_only(results: Path) -> None:
    read = run({"f": rows()})
    kept = samples(TRAIN)
    assert kept == [one for one in read if one["split"] != "test"]
    assert {one["split"] for one in kept} == {"train", "validation"}
    assert b"test" not in TRAIN.read_bytes().replace(b"latest", b"")


def test_metadata_say_what_the_columns_mean(results: Path) -> None:
    run({"f": rows(), "o": rows("o")})
    for path in (OUT, TRAIN):
        metadata = artifacts.read_metadata(path)
        assert json.loads(metadata["modalities"]) == ["Fundus", "OCT"]
        assert (metadata["fusion"], metadata["unit"], metadata["schema"]) == ("pooled", "image", "visionfm/samples/1")
        assert json.loads(metadata["targets"])["dx"] == {
            "type": "binary", "classes": ["negative", "positive"], "ordered": False, "weight": 1.0, "unit": None
        }  # fmt: skip


def test_images_without_any_known_target_are_left_out(results: Path) -> None:
    table = rows()
    for one in table[:3]:
        one["dx"] = None
    assert len(run({"f": table})) == 21


def test_external_data_are_test_data(results: Path) -> None:
    read = run({"f": rows(), "e": rows("e")}, external=["e"])
    assert {one["split"] for one in read if one["dataset"] == "e"} == {"test"}
    assert all(one["dataset"] == "f" for one in samples(TRAIN))


def test_targets_of_several_kinds_stand_side_by_side(results: Path) -> None:
    table = [{**one, "iop": 10.0 + i, "b": str(i % 2)} for i, one in enumerate(rows())]
    targets = {
        **DX,
        "signs": LabelledTarget(type="multilabel", column="signs", classes=["dx", "b"]),
        "pressure": LabelledTarget(type="value", column="iop", unit="mmHg"),
    }
    read = run({"f": table}, targets=targets)
    assert (read[1]["dx"], read[1]["signs"], read[1]["pressure"]) == (0.0, [0.0, 0.0], 10.0)
    assert artifacts.read_table(OUT).schema.field("signs").type == pa.list_(pa.float64())


# --- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "count", "images"), [("eye", 24, 2), ("subject", 12, 4), ("visit", 12, 4)])
def test_a_unit_holds_its_images_of_all_modalities_in_order(unit: str, count: int, images: int, results: Path) -> None:
    read = run({"o": rows("o"), "f": rows()}, unit=unit, modalities=["OCT", "Fundus"], **FUSED)
    assert len(read) == count and {len(one["images"]) for one in read} == {images}
    modalities = [image["modality"] for image in read[0]["images"]]
    assert modalities == ["OCT"] * (images // 2) + ["Fundus"] * (images // 2)
    assert read[0]["dataset"] == "c" and read[0]["subject_id"] == "c/p00"
    assert read[0]["eye"] == ("L" if unit == "eye" else None)


def test_a_unit_volume_holds_the_frames_of_one_file(results: Path) -> None:
    table = [
        {**one, "path": f"{one['path']}#{frame}", "image_id": f"{one['image_id']}:{frame}", "eye": None}
        for one in rows()
        for frame in (0, 1, 10)
    ]
    read = run({"f": table}, unit="volume", fusion="concat")
    assert len(read) == 24 and {len(one["images"]) for one in read} == {3}
    assert read[0]["sample_id"] == "f/f00L.png" and read[0]["subject_id"] == "c/p00"


def test_a_missing_modality_is_left_out_of_its_unit(results: Path) -> None:
    read = run({"f": rows(), "o": rows("o", 6)}, unit="eye", **FUSED)
    assert [len(one["images"]) for one in read] == [2] * 12 + [1] * 12


@pytest.mark.parametrize(("unit", "key"), [("eye", "eye"), ("visit", "visit")])
def test_unknown_unit_keys_are_an_error_that_lists_the_rows(unit: str, key: str, results: Path) -> None:
    table = rows("o")
    table[3][key] = table[8][key] = None
    with pytest.raises(DataError) as raised:
        run({"f": rows(), "o": table}, unit=unit, **FUSED)
    text = str(raised.value)
    assert f"units ({unit}) of the task: 2 problems" in text and f"o/o01L.png: {key} is unknown" in text
    assert "o/o04R.png" in text and not OUT.exists()


def test_disagreeing_labels_inside_a_unit_are_an_error_that_names_them(results: Path) -> None:
    table = rows("o")
    table[0]["dx"], table[5]["dx"] = 1.0, 1.0
    with pytest.raises(DataError, match="c/p00/R: dx: its images disagree: 0, 1") as raised:
        run({"f": rows(), "o": table}, unit="eye", **FUSED)
    assert "2 problems" in str(raised.value) and "aggregate" in str(raised.value)


def test_aggregate_joins_labels_that_disagree(results: Path) -> None:
    table = rows("o")
    table[0]["dx"] = 1.0
    wanted = {"dx": DX["dx"].model_copy(update={"aggregate": "max"})}
    read = run({"f": rows(), "o": table}, unit="eye", targets=wanted, **FUSED)
    assert {one["sample_id"]: one["dx"] for one in read}["c/p00/R"] == 1.0


@pytest.mark.parametrize("visits", [["2", "10", "9"], ["2020-03-01", "2020-12-01", "2020-04-01"], ["V2", "V10", "V3"]])
def test_latest_is_the_last_in_time_and_not_in_the_alphabet(visits: list[str], results: Path) -> None:
    table = rows(count=8)
    extra = [{**table[0], "path": f"v{i}.png", "visit": visit, "dx": float(i == 1)} for i, visit in enumerate(visits)]
    table[0] |= {"visit": None, "dx": None}  # what is not known has no say
    wanted = {"dx": DX["dx"].model_copy(update={"aggregate": "latest"})}
    data = {"f": table + extra, "o": rows("o", 8, visit=visits[0])}
    read = run(data, unit="eye", targets=wanted, natural_visits=["f", "o"], **FUSED)
    assert {one["sample_id"]: one["dx"] for one in read}["c/p00/R"] == 1.0


@pytest.mark.parametrize(
    ("visits", "max_days", "clusters"),
    [
        (["2020-01-01", "2020-01-20", "2020-02-15"], 30, [["2020-01-01", "2020-01-20"], ["2020-02-15"]]),
        (["0", "10", "20", "31"], 20, [["0", "10", "20"], ["31"]]),
        (["0", "10", "20"], 9, [["0"], ["10"], ["20"]]),
        (["2020-01-01", "2020-01-01T12:00:00"], 1, [["2020-01-01", "2020-01-01T12:00:00"]]),
        (["2020-01-01", "2021-01-01"], None, [["2020-01-01", "2021-01-01"]]),
    ],
)
def test_images_of_a_unit_lie_within_max_days(
    visits: list[str], max_days: int | None, clusters: list[list[str]], results: Path
) -> None:
    table = rows(count=8)
    new = {**table[0], "subject_id": "c/new"}
    extra = [{**new, "path": f"v{i}.png", "image_id": f"v{i}", "visit": visit} for i, visit in enumerate(visits)]
    read = run({"f": table + extra, "o": rows("o", 8)}, unit="eye", max_days=max_days, **FUSED)
    found = [one for one in read if one["subject_id"] == "c/new"]
    by_path = {f"v{i}.png": visit for i, visit in enumerate(visits)}
    assert sorted([by_path[image["path"]] for image in one["images"]] for one in found) == sorted(clusters)
    assert len({one["sample_id"] for one in read}) == len(read)


@pytest.mark.parametrize("visit", [None, "", "spring", "nan", "1_0"])
def test_max_days_needs_dates_or_days(visit: str | None, results: Path) -> None:
    table = rows("o")
    table[0]["visit"] = visit
    with pytest.raises(DataError, match="expected a date YYYY-MM-DD or a number of days for max_days"):
        run({"f": rows(), "o": table}, unit="eye", max_days=30, **FUSED)


def test_a_unit_in_two_splits_is_an_error(results: Path) -> None:
    table = rows("o")
    table[0]["split"] = "test"
    with pytest.raises(DataError, match="c/p00/R: its images stand in test and train"):
        run({"f": rows(), "o": table}, unit="eye", **FUSED)


def test_people_without_a_common_id_are_noticed(results: Path) -> None:
    table = rows("o")
    for one in table:
        one["subject_id"] = one["subject_id"].replace("c/", "o/")
    with pytest.raises(DataError, match="no sample has images of two modalities") as raised:
        run({"f": rows(), "o": table}, unit="eye", **FUSED)
    assert "same `cohort`" in str(raised.value)


def test_a_dataset_without_the_tasks_labels_lends_its_images(results: Path) -> None:
    table = [{key: value for key, value in one.items() if key != "dx"} for one in rows("o")]
    read = run({"f": rows(), "o": table}, unit="eye", **FUSED)
    assert {len(one["images"]) for one in read} == {2} and all(one["dx"] is not None for one in read)


# --- what cannot be trained or measured -----------------------------------------------------------------------------


def test_a_class_without_training_cases_is_an_error(results: Path) -> None:
    table = [{**one, "dx": 0.0 if one["split"] == "train" else one["dx"]} for one in rows()]
    with pytest.raises(DataError, match="dx: no case of class positive in the training split"):
        run({"f": table})
    assert not OUT.exists()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_class_without_test_or_validation_cases_is_said(
    split: str, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = [{**one, "dx": 0.0 if one["split"] == split else one["dx"]} for one in rows()]
    with caplog.at_level("WARNING", "visionfm"):
        run({"f": table})
    assert f"no case of class positive in the {split} split; its metrics there have no value" in caplog.text


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_training_or_validation_split_is_an_error(split: str, results: Path) -> None:
    with pytest.raises(DataError, match=f"no {split} samples with a known target"):
        run({"f": [one for one in rows() if one["split"] != split]})


def test_labels_that_do_not_fit_are_named_together(results: Path) -> None:
    table = rows()
    table[0]["dx"], table[7]["dx"] = 3.0, 7.0
    with pytest.raises(DataError, match="2 problems") as raised:
        run({"f": table})
    assert "f/f00R.png: dx: expected one of 0, 1, found 3.0" in str(raised.value)


def test_a_dataset_whose_labels_are_not_given_is_a_usage_error(results: Path) -> None:
    settings = FuseSettings(kind="classification", datasets={"f": "Fundus"}, modalities=["Fundus"], targets=DX)
    with pytest.raises(UsageError, match="--labels lacks datasets"):
        fuse({}, Path("results/audit.parquet"), OUT, TRAIN, settings)


# --- what changes when data change ----------------------------------------------------------------------------------


def digests() -> tuple[str, str]:
    return artifacts.payload_digest(OUT), artifacts.payload_digest(TRAIN)


@pytest.mark.parametrize("settings", [{}, {"unit": "eye", **FUSED}], ids=["pooled", "fused"])
def test_an_added_image_without_a_label_changes_neither_table(settings: dict[str, Any], results: Path) -> None:
    run({"f": rows(), "o": rows("o")}, **settings)
    before = digests()
    new = {**rows()[0], "path": "new.png", "image_id": "new", "subject_id": "c/p00", "dx": None}
    run({"f": [*rows(), new], "o": rows("o")}, **settings)
    assert digests() == before


def test_groups_of_people_change_neither_table_so_that_they_train_nothing(results: Path) -> None:
    run({"f": rows()})
    before = digests()
    run({"f": [{**one, "group:sex": "female"} for one in rows()]})
    assert digests() == before


@pytest.mark.parametrize("settings", [{}, {"unit": "eye", **FUSED}], ids=["pooled", "fused"])
def test_shuffled_test_labels_do_not_touch_what_training_reads(settings: dict[str, Any], results: Path) -> None:
    run({"f": rows(), "o": rows("o")}, **settings)
    before = digests()
    flipped = {
        name: [{**one, "dx": 1 - one["dx"] if one["split"] == "test" else one["dx"]} for one in rows(name)]
        for name in "fo"
    }
    run(flipped, **settings)
    after = digests()
    assert after[1] == before[1] and after[0] != before[0]


def test_a_training_label_changes_both(results: Path) -> None:
    run({"f": rows()})
    before = digests()
    table = rows()
    table[0]["dx"] = 1.0
    run({"f": table})
    assert all(new != old for new, old in zip(digests(), before, strict=True))


def test_nothing_is_done_again_when_nothing_changed(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    run({"f": rows()})
    before = OUT.read_bytes(), TRAIN.read_bytes()
    OUT.unlink()
    TRAIN.unlink()
    with caplog.at_level("INFO", "visionfm"):
        run({"f": rows()})
    assert (OUT.read_bytes(), TRAIN.read_bytes()) == before and caplog.text.count("unchanged") == 2


def test_a_dataset_named_audit_is_a_dataset_like_others(results: Path) -> None:
    run({"audit": rows()})
    before = artifacts.read_metadata(OUT)["key"]
    table = rows()
    table[0]["dx"] = 1.0
    run({"audit": table})
    assert artifacts.read_metadata(OUT)["key"] != before


# --- visits and people ----------------------------------------------------------------------------------------------


FORMS = {
    "%Y-%m-%d": None,
    "%Y%m%d": None,
    "%Y-%m-%d %H:%M:%S": None,
    "%d/%m/%Y": "%d/%m/%Y",
    "%d.%m.%Y": "%d.%m.%Y",
    "%m/%d/%Y": "%m/%d/%Y",
    "%d %b %Y": "%d %b %Y",
}


def thirty_eyes(form: str, read_as: str | None) -> list[Row]:
    """Two visits of thirty eyes, the later one's dx is the truth: the eye's number modulo two."""
    table = []
    for person in range(30):
        first = date(2019, 1 + person % 12, 1 + (person * 7) % 28)
        for day, dx in ((first, (person + 1) % 2), (first + timedelta(days=200 + 13 * person), person % 2)):
            visit = day.strftime(form)
            table.append(
                {
                    "path": f"p{person}_{day}.png",
                    "image_id": f"p{person}_{day}",
                    "subject_id": f"c/p{person:02}",
                    "eye": "R",
                    "visit": written(visit, read_as) if read_as else visit,
                    "split": ("train", "train", "validation", "test")[person // 2 % 4],
                    "dx": float(dx),
                }
            )
    return table


LATEST = {"dx": DX["dx"].model_copy(update={"aggregate": "latest"})}


def wrong_eyes(read: list[Row]) -> int:
    return sum(one["dx"] != int(one["subject_id"][-2:]) % 2 for one in read)


@pytest.mark.parametrize(("form", "read_as"), FORMS.items())
def test_the_latest_visit_is_that_of_the_calendar_however_dates_are_written(
    form: str, read_as: str | None, results: Path
) -> None:
    table = thirty_eyes(form, read_as)
    read = run({"f": table}, unit="eye", targets=LATEST, **FUSED)
    assert len(read) == 30 and wrong_eyes(read) == 0


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%d.%m.%Y", "%m/%d/%Y", "%d %b %Y"])
def test_dates_of_an_unknown_form_have_no_order(form: str, results: Path) -> None:
    table = thirty_eyes(form, None)
    by_eye: dict[str, list[Row]] = {}
    for row in table:
        by_eye.setdefault(row["subject_id"], []).append(row)
    as_text = [max(pair, key=lambda row: row["visit"]) for pair in by_eye.values()]
    assert sum(row["dx"] != int(row["subject_id"][-2:]) % 2 for row in as_text) in (11, 12)  # what sorting texts gives
    with pytest.raises(DataError, match="30 problems") as raised:
        run({"f": table}, unit="eye", targets=LATEST, **FUSED)
    text = str(raised.value)
    assert "aggregate latest: visits: expected a date YYYY-MM-DD or a number, found" in text and "format:" in text


@pytest.mark.parametrize("names", [("V2", "V10"), ("W8", "W12")])
def test_names_have_an_order_where_the_config_says_so(names: tuple[str, str], results: Path) -> None:
    table = [{**row, "visit": names[i % 2]} for i, row in enumerate(thirty_eyes("%Y-%m-%d", None))]
    with pytest.raises(DataError, match="30 problems.*\n(.*\n)*.*order: natural"):
        run({"f": table}, unit="eye", targets=LATEST, **FUSED)
    assert wrong_eyes(run({"f": table}, unit="eye", targets=LATEST, natural_visits=["f"], **FUSED)) == 0


def test_dates_and_numbers_have_no_common_order(results: Path) -> None:
    table = thirty_eyes("%Y-%m-%d", None)
    table[0]["visit"] = "3"
    with pytest.raises(DataError, match="expected dates, or numbers, found dates and numbers"):
        run({"f": table}, unit="eye", targets=LATEST, **FUSED)


def test_images_of_the_latest_visit_that_disagree_are_an_error(results: Path) -> None:
    table = thirty_eyes("%Y-%m-%d", None)
    table.append({**table[1], "path": "again.png", "image_id": "again", "dx": 1 - table[1]["dx"]})
    with pytest.raises(DataError, match="c/p00/R: dx: its images disagree: 0, 1"):
        run({"f": table}, unit="eye", targets=LATEST, **FUSED)


def test_people_who_share_a_file_are_one_subject_over_all_datasets_of_a_task(results: Path) -> None:
    table, other = rows(), rows("o", split="test")
    other = [{**row, "subject_id": row["subject_id"].replace("c/", "e/")} for row in other]
    other[0]["image_id"] = other[2]["image_id"] = table[12]["image_id"]  # of e/p00, e/p01 and c/p06
    read = run({"f": table, "o": other})
    subjects = {one["sample_id"]: one["subject_id"] for one in read}
    merged = {one for one, subject in subjects.items() if subject == "c/p06"}
    assert merged == {"f/f06L.png", "f/f06R.png", *(f"o/o{n}{eye}.png" for n in ("00", "01") for eye in "LR")}
    assert len(set(subjects.values())) == 24 - 2


def test_how_many_people_two_datasets_share_is_said(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "visionfm"):
        run({"f": rows(), "o": rows("o", 8)}, unit="eye", **FUSED)
    assert "fuse: 8 of 12 people are in both f and o" in caplog.text
