"""Copies of a photograph are found however they were written; eyes that only resemble each other are none."""

import hashlib
import io
import random
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionfm import artifacts
from visionfm.data import copied, copies
from visionfm.data.audit import audit
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.settings import AuditSettings, IndexSettings, LabelSettings
from visionfm.errors import DataError
from visionfm.images.thumbnail import thumbnail
from visionfm.synthetic import write_dataset

MODALITIES = ("Fundus", "FFA")


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Image.Image]]:
    """Drawn people with both eyes, each seen at two visits."""
    folder = tmp_path_factory.mktemp("eyes")
    write_dataset("forecasting", folder, modalities=MODALITIES, number=4, size=384)
    return {
        modality: [Image.open(file).convert("RGB") for file in sorted(folder.glob(f"{modality}*/**/*.png"))]
        for modality in MODALITIES
    }


def structure(images: list[Image.Image]) -> copies.Bytes:
    return copies.structure([thumbnail(np.asarray(image)) for image in images])


def planted(image: Image.Image, rng: random.Random) -> tuple[Image.Image, bool]:
    """A copy: mirrored or not, turned by up to 5 degrees, cut by up to 10 %, resized, brighter, a JPEG."""
    mirrored = rng.random() < 0.5
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-5, 5), Image.Resampling.BICUBIC)
    (left, across), (top, along) = ((rng.uniform(0, cut), cut) for cut in (rng.uniform(0, 0.1), rng.uniform(0, 0.1)))
    w, h = image.size
    image = image.crop((int(left * w), int(top * h), int((1 - across + left) * w), int((1 - along + top) * h)))
    scale, light = np.exp(rng.uniform(np.log(0.3), np.log(2))), rng.uniform(0.75, 1.2)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    written = io.BytesIO()
    image.point(lambda value: min(255, int(light * value))).save(written, "JPEG", quality=rng.randint(50, 95))
    return Image.open(written).convert("RGB"), mirrored


@pytest.mark.parametrize("modality", MODALITIES)
def test_fellow_eyes_and_two_visits_of_one_eye_are_no_copies(eyes: dict[str, list[Image.Image]], modality: str) -> None:
    assert len(eyes[modality]) > 12
    assert copies.search(structure(eyes[modality])) == []


@pytest.mark.parametrize("modality", MODALITIES)
def test_planted_copies_are_found_and_nothing_else(eyes: dict[str, list[Image.Image]], modality: str) -> None:
    rng = random.Random(0)
    chosen = eyes[modality][::2]
    made = [planted(image, rng) for image in chosen]
    found = copies.search(structure([image for image, _ in made]), structure(chosen))
    assert [(one.one, one.other) for one in found] == [(number, number) for number in range(len(chosen))]
    assert [one.mirrored for one in found] == [mirrored for _, mirrored in made]


def test_black_and_constant_images_are_nobodys_copies() -> None:
    plain = [Image.new("RGB", (64, 64), (light,) * 3) for light in (0, 0, 90, 255)]
    assert copies.search(structure(plain)) == []


def test_an_empty_set_has_no_copies() -> None:
    assert copies.search(copies.structure([])) == []


def written(folder: Path, name: str, images: list[Image.Image], splits: list[str]) -> None:
    (folder / name).mkdir()
    for number, image in enumerate(images):
        image.save(folder / name / f"{number}.png")
    lines = [f"{number}.png,p{number},{split},{number % 2}" for number, split in enumerate(splits)]
    (folder / name / "labels.csv").write_text("\n".join(["image,patient,split,dx", *lines]))


def audited(folder: Path, names: list[str], **settings: Any) -> list[dict[str, Any]]:
    """Index, label and audit datasets; the findings."""
    tables = {}
    for name in names:
        images, labels = (folder / f"results/datasets/{name}/{kind}.parquet" for kind in ("images", "labels"))
        index(folder / name, images, IndexSettings(modality="Fundus", layout="table"))
        columns = Columns(image="image", subject="patient", split="split", targets={"dx": "dx"})
        wanted = LabelSettings(dataset=name, layout="table", table="labels.csv", columns=columns)
        label(folder / name, [images], None, labels, wanted)
        tables[name] = [images], [labels]
    out = folder / "results/tasks/t/audit.parquet"
    given = ({name: both[at] for name, both in tables.items()} for at in (0, 1))
    audit(*given, out, AuditSettings(**{"task": "t", "datasets": names, **settings}))
    return artifacts.read_table(out).to_pylist()


SPLITS = ["train", "train", "validation", "test", "test"]
SPELLINGS = [("0012", "12"), ("P-100", "p100"), ("Q 7", "q_7"), ("1-13", "01/13"), ("M\u00fcller 3", "m\u00fcller-03")]


def test_a_copy_across_splits_is_a_leak_and_a_reason_lets_it_pass(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    images = eyes["Fundus"][:4]
    written(tmp_path, "a", [*images, images[0].resize((120, 120))], SPLITS)
    with pytest.raises(DataError, match=r"copies of one photograph"):
        audited(tmp_path, ["a"])
    (found,) = audited(tmp_path, ["a"], allow_leakage={"a": "a reason of its own"})
    assert (found["check"], found["path"], found["other_path"]) == ("copy", "4.png", "0.png")


def test_a_copy_in_another_dataset_is_found_and_noted_where_both_are_tested(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    images = eyes["Fundus"][:5]
    written(tmp_path, "a", images, SPLITS)
    written(tmp_path, "b", [images[4].transpose(Image.Transpose.FLIP_LEFT_RIGHT)], ["test"])
    found = [one for one in audited(tmp_path, ["a", "b"]) if one["check"] == "copy"]
    assert [(one["path"], one["other_path"], one["severity"]) for one in found] == [("4.png", "0.png", "note")]
    with pytest.raises(DataError, match=r"pretrained on a copy of this image"):
        audited(tmp_path, ["a", "b"], datasets=["a"], pretraining={"e": ["b"]})


def test_copies_are_one_person_and_stand_in_one_split(eyes: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    images = eyes["Fundus"][:8]
    written(tmp_path, "a", [*images, images[0].rotate(4), images[1].resize((300, 300))], [""] * 10)
    indexed, labels = (tmp_path / f"results/datasets/a/{kind}.parquet" for kind in ("images", "labels"))
    index(tmp_path / "a", indexed, IndexSettings(modality="Fundus", layout="table"))
    columns = Columns(image="image", subject="patient", targets={"dx": "dx"})
    for seed, test in product(range(4), (0.3, 0.5)):
        split = {"seed": seed, "test": test}
        wanted = LabelSettings.model_validate(
            {"dataset": "a", "layout": "table", "table": "labels.csv", "columns": columns, "split": split}
        )
        label(tmp_path / "a", [indexed], None, labels, wanted)
        rows = {row["path"]: row for row in artifacts.read_table(labels).to_pylist()}
        for one, other in (("0.png", "8.png"), ("1.png", "9.png")):
            assert rows[one]["split"] == rows[other]["split"]
            assert rows[one]["group_id"] == rows[other]["group_id"]
            assert rows[one]["copy_id"] == rows[other]["copy_id"]
        assert len({row["group_id"] for row in rows.values()}) == 8


def test_a_search_is_kept_for_the_next_run(
    eyes: dict[str, list[Image.Image]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = eyes["Fundus"][:4]
    written(tmp_path, "a", [*images, images[3].resize((150, 150))], SPLITS)
    before = audited(tmp_path, ["a"])
    monkeypatch.setattr(copied, "_searched", None)  # another search would fail
    table = tmp_path / "a/labels.csv"
    table.write_text(table.read_text().replace("0.png,p0", "0.png,q0"))
    assert audited(tmp_path, ["a"]) == before


def test_a_renamed_file_is_named_as_a_clean_run_would(eyes: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    images = eyes["Fundus"][:5]
    written(tmp_path, "a", images, SPLITS)
    written(tmp_path, "b", [images[4].resize((150, 150))], ["test"])
    audited(tmp_path, ["a", "b"])
    (tmp_path / "a/4.png").rename(tmp_path / "a/5.png")  # in the same order: no thumbnail has another place
    table = tmp_path / "a/labels.csv"
    table.write_text(table.read_text().replace("4.png", "5.png"))
    found = [one["path"] for one in audited(tmp_path, ["a", "b"]) if one["check"] == "copy"]
    assert found == ["5.png"]


def test_a_copy_is_known_by_its_labelled_file_where_the_same_bytes_lie_elsewhere(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    images = eyes["Fundus"][:5]
    written(tmp_path, "a", images, SPLITS)
    shutil.copy(tmp_path / "a/4.png", tmp_path / "a/00.png")  # without a label, and first by name
    written(tmp_path, "b", [images[4].resize((150, 150))], ["test"])
    found = [one["path"] for one in audited(tmp_path, ["a", "b"]) if one["check"] == "copy"]
    assert found == ["4.png"]


def test_slices_of_a_volume_do_not_hide_its_copy(eyes: dict[str, list[Image.Image]]) -> None:
    image = eyes["Fundus"][0]
    slices = [image.rotate(turn / 10) for turn in range(2 * copies.NEIGHBOURS)]  # more alike than the copy is
    found = structure([*slices, image.resize((120, 120))])
    number = np.array([0] * len(slices) + [1])
    pairs = copies.search(found, None, number)
    assert pairs and all(one.other == len(slices) for one in pairs)


def test_among_too_many_images_only_equal_pixels_are_sought_and_the_audit_says_so(
    eyes: dict[str, list[Image.Image]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied, "MOST_PAIRS", 9)
    images = eyes["Fundus"][:4]
    written(tmp_path, "a", [*images, images[0].resize((120, 120))], SPLITS)
    written(tmp_path, "b", [eyes["Fundus"][4]], ["test"])
    found = [one["detail"] for one in audited(tmp_path, ["a", "b"]) if one["check"] == "not_sought"]
    assert found == ["too many images in a to seek copies among them; those of equal pixels are found"]
    (tmp_path / "a/4.png").unlink()
    images[0].save(tmp_path / "a/4.tif")
    table = tmp_path / "a/labels.csv"
    table.write_text(table.read_text().replace("4.png", "4.tif"))
    with pytest.raises(DataError, match=r"a/4\.tif \(test\) and a/0\.png \(train\): copies of one photograph"):
        audited(tmp_path, ["a", "b"])


def test_among_too_many_images_only_those_of_equal_pixels_become_objects(
    eyes: dict[str, list[Image.Image]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "a", [*eyes["Fundus"][:6], eyes["Fundus"][2]], ["test"] * 7)
    with (tmp_path / "a/6.png").open("ab") as file:  # other bytes
        file.write(b" ")
    audited(tmp_path, ["a"])
    one = copied.index_of("a", [tmp_path / "results/datasets/a/images.parquet"])
    sought = copied.pairs(one, None, "label", tmp_path / "elsewhere")
    monkeypatch.setattr(copied, "MOST_PAIRS", 0)
    met: list[str] = []
    equal = copied._equal
    monkeypatch.setattr(copied, "_equal", lambda *both: met.extend(image.path for image in both[0]) or equal(*both))
    assert copied.pairs(one, None, "label", tmp_path / "elsewhere") == sought
    assert met == ["2.png", "6.png"]


def test_of_many_equal_pixels_all_are_one_group(eyes: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    images = eyes["Fundus"][:3]
    written(tmp_path, "a", [*images, *[images[0]] * 14], ["test"] * 17)
    for number in range(3, 17):  # other bytes, the same pixels
        images[0].save(tmp_path / f"a/{number}.png", compress_level=number % 9 + 1)
        with (tmp_path / f"a/{number}.png").open("ab") as file:
            file.write(bytes(number))
    audited(tmp_path, ["a"])
    rows = artifacts.read_table(tmp_path / "results/datasets/a/labels.parquet").to_pylist()
    assert len({row["image_id"] for row in rows}) == 17
    assert len({row["copy_id"] for row in rows}) == 3


def test_two_copies_of_a_leak_elsewhere_are_both_listed_so_that_fuse_joins_them(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    images = eyes["FFA"]
    turned = [images[0].rotate(-5, Image.Resampling.BICUBIC), images[0].rotate(5, Image.Resampling.BICUBIC)]
    written(tmp_path, "a", [*turned, *images[1:3]], ["test"] * 4)
    written(tmp_path, "b", [images[0], images[3]], ["train", "validation"])
    found = audited(tmp_path, ["a", "b"], allow_leakage={"b": "a reason of its own"})
    copy = [(one["path"], one["other_path"], one["severity"]) for one in found if one["check"] == "copy"]
    assert sorted(copy) == [("0.png", "0.png", "allowed"), ("1.png", "0.png", "allowed")]


@pytest.mark.parametrize("labelled_at", [1, 3])
def test_labelled_copies_that_meet_only_in_an_image_without_a_label_are_joined(
    eyes: dict[str, list[Image.Image]], tmp_path: Path, labelled_at: int
) -> None:
    image = eyes["Fundus"][0]
    written(tmp_path, "a", eyes["Fundus"][1:5], ["test"] * 4)
    written(tmp_path, "b", [image.resize((200, 200))], ["test"])
    for number in range(5, 5 + labelled_at):  # equal pixels, other bytes, no label
        image.save(tmp_path / f"a/{number}.png", compress_level=number)
    image.save(tmp_path / "a/9.png", compress_level=1)
    with (tmp_path / "a/labels.csv").open("a") as table:
        table.write("\n9.png,p9,test,0")
    found = [one for one in audited(tmp_path, ["a", "b"]) if one["check"] == "copy"]
    assert [(one["path"], one["other_path"], one["severity"]) for one in found] == [("9.png", "0.png", "note")]


def test_a_labelled_image_meets_another_datasets_through_an_altered_copy_without_a_label(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    images = eyes["FFA"]
    # Each is a copy of the image in between, which has no label, by the search not of the other.
    turned = [images[0].rotate(-7, Image.Resampling.BICUBIC), images[0].rotate(7, Image.Resampling.BICUBIC)]
    written(tmp_path, "a", [turned[0], *images[1:3]], ["test"] * 3)
    written(tmp_path, "b", [turned[1], images[3]], ["test"] * 2)

    def digest(name: str) -> str:
        return hashlib.sha256((tmp_path / "a" / name).read_bytes()).hexdigest()

    for level in range(10):  # copies are called by the smallest digest: here by that of the labelled one
        images[0].save(tmp_path / "a/unlabelled.png", compress_level=level)
        if digest("unlabelled.png") > digest("0.png"):
            break
    assert digest("unlabelled.png") > digest("0.png")
    found = [one for one in audited(tmp_path, ["a", "b"]) if one["check"] == "copy"]
    assert [(one["path"], one["other_path"], one["severity"]) for one in found] == [("0.png", "0.png", "note")]


def test_two_copies_of_an_image_without_a_label_elsewhere_are_joined(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    images = eyes["FFA"]
    # Each is a copy of the image in b, by the search not of the other.
    turned = [images[0].rotate(-7, Image.Resampling.BICUBIC), images[0].rotate(7, Image.Resampling.BICUBIC)]
    written(tmp_path, "a", [*turned, *images[1:3]], ["test"] * 4)
    written(tmp_path, "b", [images[3]], ["test"])
    images[0].save(tmp_path / "b/unlabelled.png")
    found = [one for one in audited(tmp_path, ["a", "b"]) if one["check"] == "copy"]
    assert [(one["path"], one["other_path"], one["severity"]) for one in found] == [("0.png", "1.png", "note")]


def test_names_of_copies_do_not_depend_on_the_order_of_pairs() -> None:
    pairs = [("b", "c"), ("a", "b"), ("e", "d")]
    assert copied.names(pairs) == copied.names(pairs[::-1]) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "d"}
    assert copied.names([]) == {}


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def cut(image: Image.Image) -> Image.Image:
    return image.crop((0, 0, int(0.9 * image.width), int(0.9 * image.height)))


ALTERED: dict[str, Callable[[Image.Image], bytes]] = {
    "equal.png": lambda image: saved(image, "PNG"),
    "container.tif": lambda image: saved(image, "TIFF"),
    "quality50.jpg": lambda image: saved(image, "JPEG", quality=50),
    "third.png": lambda image: saved(image.resize((115, 115), Image.Resampling.LANCZOS), "PNG"),
    "double.png": lambda image: saved(image.resize((768, 768), Image.Resampling.BICUBIC), "PNG"),
    "cut.png": lambda image: saved(cut(image), "PNG"),
    "turned.png": lambda image: saved(image.rotate(5, Image.Resampling.BICUBIC), "PNG"),
    "turned_back.png": lambda image: saved(image.rotate(-5, Image.Resampling.BICUBIC), "PNG"),
    "mirrored.png": lambda image: saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"),
    "bright.png": lambda image: saved(image.point(lambda value: min(255, int(1.2 * value))), "PNG"),
    "all.jpg": lambda image: saved(cut(image.rotate(4)).resize((140, 140)), "JPEG", quality=60),
}


def test_no_copy_across_splits_is_unfound_however_it_was_made(
    eyes: dict[str, list[Image.Image]], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    lines = ["image,patient,split,dx"]
    for number, (name, alter) in enumerate(ALTERED.items()):
        image = eyes["Fundus"][number]
        (tmp_path / f"a/own{number}.png").write_bytes(saved(image, "PNG"))
        (tmp_path / "a" / name).write_bytes(alter(image))
        lines += [
            f"own{number}.png,own{number},{('train', 'validation')[number % 2]},0",
            f"{name},other{number},test,0",
        ]
    (tmp_path / "a/labels.csv").write_text("\n".join(lines))
    with pytest.raises(DataError) as raised:
        audited(tmp_path, ["a"])
    assert [name for name in ALTERED if f"a/{name} (test)" not in str(raised.value)] == []
    assert f"{len(ALTERED)} problems" in str(raised.value)


def test_no_spelling_of_a_person_in_two_splits_is_unfound(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2 * len(SPELLINGS), 64, 64, 3), np.uint8)
    (tmp_path / "a").mkdir()
    lines = ["image,patient,split,dx"]
    for number, patient in enumerate(one for pair in SPELLINGS for one in pair):
        Image.fromarray(noise[number]).save(tmp_path / f"a/{number}.png")
        lines.append(f"{number}.png,{patient},{('train', 'test')[number % 2]},0")
    (tmp_path / "a/labels.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as raised:
        audited(tmp_path, ["a"])
    assert [pair for pair in SPELLINGS if not all(repr(one) in str(raised.value) for one in pair)] == []
