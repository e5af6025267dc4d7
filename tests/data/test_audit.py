"""The audit finds every leak between splits and every contradiction, and lets through what has a written reason."""

import csv
import hashlib
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.data.audit import audit
from visionfm.data.block import Split
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.settings import AuditSettings, AuditTarget, IndexSettings, LabelSettings
from visionfm.errors import DataError, UsageError

Row = dict[str, Any]


def row(number: int, split: str, subject: str | None = None, image: str | None = None, **labels: Any) -> Row:
    return {
        "path": f"{number:04}.png",
        "image_id": image or f"bytes{number}",
        "subject_id": subject or f"d/s{number}",
        "split": split,
        "status": "ok",
        **labels,
    }


def write(dataset: str, rows: list[Row]) -> None:
    """The tables that index and label would write, with what an audit reads."""
    for name, left_out in (("images", ()), ("labels", ("status",))):
        of_file = {"images": "thumbnail", "labels": "copy_id"}[name]
        plain = [{key: value for key, value in one.items() if key not in left_out} for one in rows]
        for one in plain:
            one.setdefault(of_file, None if name == "images" else one["image_id"].partition(":")[0])
        made_by = artifacts.provenance({"images": "index", "labels": "label"}[name], {}, {})
        path = f"results/datasets/{dataset}/{name}.parquet"
        artifacts.write_table(path, pa.Table.from_pylist(plain), made_by, schema=f"visionfm/{name}/1")


def run(data: dict[str, list[Row]], **settings: Any) -> list[Row]:
    for name, rows in data.items():
        write(name, rows)
    return run_again(list(data), **settings)


def run_again(names: list[str], **settings: Any) -> list[Row]:
    pretraining = {name for group in settings.get("pretraining", {}).values() for name in group}
    own = [name for name in names if name not in pretraining or name in settings.get("datasets", names)]
    settings.setdefault("datasets", [name for name in own if name not in settings.get("external", [])])
    files, tables = (
        {name: [Path(f"results/datasets/{name}/{table}.parquet")] for name in names} for table in ("images", "labels")
    )
    out = Path("results/tasks/t/audit.parquet")
    audit(files, tables, out, AuditSettings(task="t", **settings))
    found: list[Row] = artifacts.read_table(out).to_pylist()
    return found


def clean(count: int = 60) -> list[Row]:
    return [row(number, ("train", "validation", "test")[number % 3]) for number in range(count)]


def test_clean_data_pass_with_an_empty_table(results: Path) -> None:
    assert run({"d": clean()}) == []
    metadata = artifacts.read_metadata("results/tasks/t/audit.parquet")
    assert (metadata["stage"], metadata["schema"]) == ("audit", "visionfm/audit/1")


@pytest.mark.parametrize("kind", ["subject", "bytes"])
@pytest.mark.parametrize("count", [1, 2, 7, 20, 21, 50])
def test_every_planted_leak_is_found(count: int, kind: str, results: Path) -> None:
    rows = clean(300)
    for number in range(count):
        one, other = rows[3 * number], rows[3 * number + 2]  # train and test
        key = "subject_id" if kind == "subject" else "image_id"
        other[key] = one[key]
    with pytest.raises(DataError) as raised:
        run({"d": rows})
    text = str(raised.value)
    assert text.startswith(f"audit of task t: {count} problem") and "allow_leakage" in text
    shown = [f"d/{3 * number:04}.png (train)" in text for number in range(count)]
    assert sum(shown) == min(count, 20)
    findings = run_again(["d"], allow_leakage={"d": "planted on purpose"})
    assert len(findings) == count and {finding["check"] for finding in findings} == {kind}
    planted = {(f"{3 * number:04}.png", f"{3 * number + 2:04}.png") for number in range(count)}
    assert {tuple(sorted((f["path"], f["other_path"]))) for f in findings} == planted
    assert {(f["severity"], f["reason"]) for f in findings} == {("allowed", "planted on purpose")}


def test_a_failed_audit_writes_nothing_and_leaves_the_old_one(results: Path) -> None:
    run({"d": clean()})
    out = Path("results/tasks/t/audit.parquet")
    before = out.read_bytes()
    rows = clean()
    rows[0]["subject_id"] = rows[1]["subject_id"]
    with pytest.raises(DataError):
        run({"d": rows})
    assert out.read_bytes() == before


@pytest.mark.parametrize("pair", list(combinations(("train", "validation", "test"), 2)))
def test_leaks_between_any_two_splits_are_found(pair: tuple[str, str], results: Path) -> None:
    with pytest.raises(DataError, match="subject d/s"):
        run({"d": [row(1, pair[0], "d/s"), row(2, pair[1], "d/s")]})
    with pytest.raises(DataError, match="identical images"):
        run({"d": [row(1, pair[0], image="same"), row(2, pair[1], image="same")]})


def test_a_subject_in_two_datasets_of_a_task_is_found(results: Path) -> None:
    with pytest.raises(DataError, match=r"b/0002.png \(test\) and a/0001.png \(train\): subject c/s"):
        run({"a": [row(1, "train", "c/s")], "b": [row(2, "test", "c/s")]})


def test_external_data_are_test_data_whatever_their_split(results: Path) -> None:
    data = {"a": [row(1, "train", "c/s")], "b": [row(2, "train", "c/s")]}
    assert run(data) == []
    with pytest.raises(DataError, match=r"b/0002.png \(test\)"):
        run_again(["a", "b"], external=["b"])


def test_a_reason_covers_its_own_dataset_and_no_other(results: Path) -> None:
    data = {
        "a": [row(1, "train", "c/s"), row(2, "test", "c/s")],
        "b": [row(3, "train", "c/s")],
        "e": [row(4, "test", "c/s")],
    }
    with pytest.raises(DataError) as raised:
        run(data, allow_leakage={"a": "the same people, on purpose"})
    text = str(raised.value)
    assert "1 problem" in text and "e/0004.png (test) and b/0003.png (train)" in text
    findings = run_again(["a", "b", "e"], allow_leakage={"a": "on purpose", "e": "on purpose too"})
    assert {finding["severity"] for finding in findings} == {"allowed"} and len(findings) == 4


def test_test_images_among_the_pretraining_images_are_found(results: Path) -> None:
    data = {
        "d": [row(1, "train"), row(2, "test"), row(3, "test")],
        "old": [row(11, "train", subject="old/s1"), row(7, "train", subject="old/s2", image="bytes2")],
    }
    with pytest.raises(DataError, match="encoder e was pretrained on this image") as raised:
        run(data, datasets=["d"], pretraining={"e": ["old"]})
    assert "d/0002.png (test) and old/0007.png (pretraining)" in str(raised.value) and "1 problem" in str(raised.value)
    findings = run_again(
        ["d", "old"], datasets=["d"], pretraining={"e": ["old"]}, allow_leakage={"d": "known, reported"}
    )
    assert [(f["check"], f["severity"]) for f in findings] == [("pretraining", "allowed")]


def test_other_images_of_test_subjects_among_the_pretraining_images_are_found(results: Path) -> None:
    data = {
        "d": [row(1, "train"), row(2, "test", subject="clinic/p2"), row(3, "test", subject="clinic/p3")],
        "old": [row(11, "train", subject="clinic/p1"), row(12, "train", subject="clinic/p3")],
    }
    with pytest.raises(DataError, match="encoder e was pretrained on an image of subject clinic/p3") as raised:
        run(data, datasets=["d"], pretraining={"e": ["old"]})
    assert "d/0003.png (test) and old/0012.png (pretraining)" in str(raised.value) and "1 problem" in str(raised.value)


def test_a_dataset_that_was_itself_pretrained_on_leaks_its_test_images(results: Path) -> None:
    with pytest.raises(DataError, match="2 problems"):
        run({"d": [row(1, "train"), row(2, "test"), row(3, "test")]}, datasets=["d"], pretraining={"e": ["d"]})


def test_unreadable_images_fail_unless_they_are_to_be_skipped(results: Path) -> None:
    rows = [row(1, "train"), {**row(2, "test"), "status": "truncated: JPEG, ended early"}]
    with pytest.raises(DataError, match="truncated: JPEG"):
        run({"d": rows}, bad_images={"d": "fail"})
    findings = run_again(["d"], bad_images={"d": "skip"})
    assert [(f["check"], f["severity"], f["path"]) for f in findings] == [("unreadable", "note", "0002.png")]


def test_a_reason_for_leakage_does_not_excuse_unreadable_images(results: Path) -> None:
    rows = [row(1, "train"), {**row(2, "test"), "status": "empty: 0 bytes"}]
    with pytest.raises(DataError, match="empty"):
        run({"d": rows}, allow_leakage={"d": "some long reason"})


def test_each_pair_of_identical_images_with_different_labels_is_reported(results: Path) -> None:
    rows = [
        row(1, "train", image="x", dr=0.0, dme=1.0),
        row(2, "train", image="x", dr=1.0, dme=1.0),
        row(3, "train", image="x", dr=None, dme=2.0),
        row(4, "train", image="y", dr=0.0, dme=1.0),
        row(5, "train", image="y", dr=None, dme=1.0),
    ]
    findings = run({"d": rows}, targets=[AuditTarget(column="dr"), AuditTarget(column="dme")])
    details = {(f["path"], f["other_path"]): f["detail"] for f in findings}
    assert set(details) == {("0001.png", "0002.png"), ("0001.png", "0003.png"), ("0002.png", "0003.png")}
    assert details["0001.png", "0002.png"].endswith("different labels: dr 0.0 and 1.0")
    assert {f["severity"] for f in findings} == {"note"}
    assert run_again(["d"], targets=[AuditTarget(column="age")]) == []


def test_every_contradiction_of_idrid_is_found(shared: Path, results: Path) -> None:
    root = shared / "data" / "idrid"
    settings = LabelSettings(
        dataset="idrid",
        layout="table",
        table="labels.csv",
        columns=Columns(image="image", targets={"dr_grade": "dr_grade", "dme_risk": "dme_risk"}),
    )
    images, labels = Path("results/datasets/idrid/images.parquet"), Path("results/datasets/idrid/labels.parquet")
    index(root, images, IndexSettings(modality="Fundus", layout="table", images="images/*"), jobs=2)
    label(root, [images], None, labels, settings)
    out = Path("results/tasks/t/audit.parquet")
    wanted = AuditSettings(
        task="t", datasets=["idrid"], targets=[AuditTarget(column="dr_grade"), AuditTarget(column="dme_risk")]
    )
    audit({"idrid": [images]}, {"idrid": [labels]}, out, wanted)
    noted = artifacts.read_table(out).to_pylist()
    found = {(f["path"], f["other_path"]) for f in noted if "identical images" in f["detail"]}
    copies = {(f["path"], f["other_path"]) for f in noted if "copies of one photograph" in f["detail"]}
    assert ("images/train/IDRiD_028.jpg", "images/train/IDRiD_327.jpg") in found | copies  # grades 4 and 3
    assert len(copies) <= 0.001 * 413 * 412 / 2

    with (root / "labels.csv").open(encoding="utf-8-sig") as file:  # by brute force
        rows = sorted(csv.DictReader(file), key=lambda one: one["image"])
    same = defaultdict(list)
    for one in rows:
        same[hashlib.sha256((root / one["image"]).read_bytes()).hexdigest()].append(one)
    pairs = [pair for group in same.values() for pair in combinations(group, 2)]
    contradictions = {
        (one["image"], other["image"])
        for one, other in pairs
        if (one["dr_grade"], one["dme_risk"]) != (other["dr_grade"], other["dme_risk"])
    }
    assert found == contradictions and len(contradictions) >= 3


def test_the_audit_says_the_same_wherever_and_in_whatever_order_its_files_lie(results: Path, tmp_path: Path) -> None:
    data = {
        "a": clean(9),
        "b": [
            {**one, "path": f"b{one['path']}", "subject_id": f"b/{i}", "image_id": f"b{i}"}
            for i, one in enumerate(clean(9))
        ],
    }
    run(data)
    settings = AuditSettings(task="t", datasets=["a", "b"])
    folder = tmp_path / "results" / "datasets"
    files = {kind: {name: [folder / name / f"{kind}.parquet"] for name in ("b", "a")} for kind in ("images", "labels")}
    elsewhere = tmp_path / "elsewhere/results/tasks/t/audit.parquet"
    audit(files["images"], files["labels"], elsewhere, settings)
    assert elsewhere.read_bytes() == Path("results/tasks/t/audit.parquet").read_bytes()


def test_nothing_is_done_again_when_nothing_changed(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    run({"d": clean()})
    with caplog.at_level("INFO", "visionfm"):
        run_again(["d"])
    assert "unchanged: results/tasks/t/audit.parquet" in caplog.text


@pytest.mark.parametrize("pair", ["file.parquet", "=file", "d="])
def test_a_file_without_its_dataset_is_a_usage_error(pair: str) -> None:
    with pytest.raises(UsageError, match="does not say whose it is"):
        by_dataset(["a=1.parquet", pair])


def test_the_files_of_a_dataset_are_collected() -> None:
    assert by_dataset(["a=1", "b=x=y", "a=2"]) == {"a": [Path("1"), Path("2")], "b": [Path("x=y")]}


def test_a_dataset_whose_files_are_not_given_is_a_usage_error(results: Path) -> None:
    write("d", clean())
    files = {"d": [Path("results/datasets/d/images.parquet")]}
    with pytest.raises(UsageError, match="--labels lacks"):
        audit(files, {}, Path("results/x.parquet"), AuditSettings(task="t", datasets=["d"]))
    with pytest.raises(UsageError, match="--images lacks"):
        audit(
            files, files, Path("results/x.parquet"), AuditSettings(task="t", datasets=["d"], pretraining={"e": ["o"]})
        )


# --- people ---------------------------------------------------------------------------------------------------------


def test_ids_of_a_cohort_in_two_spellings_are_an_error_whatever_is_allowed(results: Path) -> None:
    data = {
        "a": [row(1, "train", "c/0012"), row(2, "train", "c/13")],
        "b": [row(3, "test", "c/12"), row(4, "test", "c/P-13")],
    }
    with pytest.raises(DataError, match="1 problem") as raised:
        run(data, allow_leakage={"a": "known and reported"})
    text = str(raised.value)
    assert "a/0001.png (train) and b/0003.png (test): subjects '0012' and '12' of c differ in their spelling" in text
    assert "normalise: digits" in text
    assert [f["check"] for f in run_again(["a", "b"], exact=["a"])] == ["few_in_common"]


def test_ids_that_two_cohorts_share_are_noted_once(results: Path) -> None:
    data = {
        "a": [row(number, "train", f"north/P{number:03}") for number in range(8)],
        "b": [row(number + 50, "test", f"south/p-{number}") for number in range(4, 12)],
    }
    (finding,) = run(data)
    assert (finding["check"], finding["severity"]) == ("shared_ids", "note")
    told = "4 ids of cohort north are ids of cohort south too, in this or another spelling (p4, p5, p6, p7)"
    assert told in finding["detail"]


def test_images_that_are_their_own_subjects_share_no_ids(results: Path) -> None:
    data = {name: [row(number, split, f"{name}/000{number}.png")] for number, (name, split) in enumerate(
        (("a", "train"), ("b", "test")))}  # fmt: skip
    assert run(data) == []


def test_a_cohort_whose_datasets_share_few_people_is_noted(results: Path) -> None:
    data = {
        "a": [row(number, "train", f"c/p{number}") for number in range(10)],
        "b": [row(number + 50, "train", f"c/p{number}") for number in range(6, 16)],
    }
    (finding,) = run(data)
    assert (finding["check"], finding["severity"], finding["path"]) == ("few_in_common", "note", "")
    assert finding["detail"] == "4 of 16 people are in both a and b, which share a cohort"
    data["b"] = [row(number + 50, "train", f"c/p{number}") for number in range(5, 15)]
    assert run(data) == []


def test_labels_of_one_class_do_not_contradict_each_other(results: Path) -> None:
    rows = [row(1, "train", image="x", dr=0.0), row(2, "train", image="x", dr=1.0), row(3, "train", image="x", dr=3.0)]
    referable = AuditTarget(column="dr", classes=[[0, 1], [2, 3, 4]], unknown=[9])
    findings = run({"d": [*rows, row(4, "train", image="x", dr=9.0)]}, targets=[referable])
    assert [(f["path"], f["other_path"]) for f in findings] == [("0001.png", "0003.png"), ("0002.png", "0003.png")]
    assert findings[0]["detail"].endswith("different labels: dr 0.0 and 3.0")


def sixty_people(folder: Path, draw: Any, normalise: str | None, *, like: bool) -> dict[str, list[Path]]:
    """People 1 to 50 in a table that pads their ids, 11 to 60 in one whose ids went through a column of floats."""
    labels: dict[str, list[Path]] = {}
    for dataset, people, form in (("a", range(1, 51), "{:04}"), ("b", range(11, 61), "{}.0")):
        lines = ["file,person,dx"]
        for person in people:
            draw(folder / dataset / f"{dataset}{person}.png", person + (500 if dataset == "b" else 0))
            lines.append(f"{dataset}{person}.png,{form.format(person)},{person % 2}")
        (folder / dataset / "l.csv").write_text("\n".join(lines))
        subject = {"column": "person", "normalise": normalise} if normalise else "person"
        images, out = (Path(f"results/datasets/{dataset}/{name}.parquet") for name in ("images", "labels"))
        index(folder / dataset, images, IndexSettings(modality="Fundus", layout="table"))
        leader = labels["a"][0] if like and dataset == "b" else None
        settings = LabelSettings(
            dataset=dataset,
            layout="table",
            table="l.csv",
            columns=Columns(image="file", subject=subject, targets={"dx": "dx"}),
            cohort="c",
            split=Split(test=0.3, like="a" if leader else None),
        )
        label(folder / dataset, [images], leader, out, settings)
        labels[dataset] = [out]
    return labels


def people_of(labels: dict[str, list[Path]]) -> set[str]:
    return {row["subject_id"] for (path,) in labels.values() for row in artifacts.read_table(path).to_pylist()}


def test_sixty_people_under_two_spellings_are_never_a_hundred(tmp_path: Path, results: Path, draw: Any) -> None:
    labels = sixty_people(tmp_path, draw, None, like=False)
    assert len(people_of(labels)) == 100  # each dataset knows its own spelling only ...
    with pytest.raises(DataError, match="40 problems") as raised:
        run_again(["a", "b"])  # ... so the audit, which sees both, says it
    assert "subjects '0011' and '11' of c differ in their spelling alone" in str(raised.value)
    with pytest.raises(DataError, match="labels of b: 40 problems"):
        sixty_people(tmp_path, draw, None, like=True)
    assert len(people_of(sixty_people(tmp_path, draw, "digits", like=True))) == 60
    assert run_again(["a", "b"]) == []


def test_frames_of_one_file_in_two_splits_are_a_leak_and_may_have_labels_of_their_own(results: Path) -> None:
    frames = [row(70, "train", image="a:0", dr=1.0), row(71, "test", image="a:1", dr=0.0)]
    with pytest.raises(DataError, match="images of one file"):
        run({"d": [*clean(), *frames]}, targets=[AuditTarget(column="dr")])
    frames[1]["split"] = "train"
    found = run({"d": [*clean(), *frames]}, targets=[AuditTarget(column="dr")])
    assert found == [], "different frames contradict each other in nothing"


def test_a_frame_of_a_file_that_an_encoder_saw_is_a_leak(results: Path) -> None:
    seen, tested = row(70, "train", image="bytes:0"), row(71, "test", image="bytes:5")
    with pytest.raises(DataError, match="pretrained on this image"):
        run({"d": [*clean(), tested], "p": [seen]}, pretraining={"e": ["p"]})


def test_images_that_use_little_of_their_range_are_noted_once_for_a_dataset(results: Path) -> None:
    rows = [{**row(number, "train"), "note": "nearly black: 0 to 9" if number else None} for number in range(4)]
    (finding,) = run({"d": rows})
    assert (finding["check"], finding["severity"], finding["path"]) == ("range", "note", "0001.png")
    assert finding["detail"].startswith("3 of 4 images of d use little of their range (0001.png is nearly black: ")
