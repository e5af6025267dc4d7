"""`visionfm init` on folders in the shapes of public eye data sets: names and columns as published, images drawn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.workbooks import xlsx

from visionfm.cli import main
from visionfm.project.config import Config
from visionfm.project.loading import load_config

Draw = Callable[..., Path]
Shape = Callable[[Path, Draw], None]


def table(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


def images(root: Path, draw: Draw, *names: str) -> None:
    for number, name in enumerate(names):
        draw(root / name, number)


def mask(path: Path, high: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1:3, 2:4] = high
    Image.fromarray(pixels).save(path)


def aptos(root: Path, draw: Draw) -> None:
    names = [f"{number:012x}" for number in range(30)]
    images(root, draw, *(f"train_images/{name}.png" for name in names), "test_images/ffff.png")
    table(root / "train.csv", "id_code,diagnosis", [f"{name},{n % 5}" for n, name in enumerate(names)])
    table(root / "test.csv", "id_code", ["ffff"])


def eyepacs(root: Path, draw: Draw) -> None:
    names = [f"{person}_{eye}" for person in range(10, 40) for eye in ("left", "right")]
    images(root, draw, *(f"train/{name}.jpeg" for name in names))
    table(root / "trainLabels.csv", "image,level", [f"{name},{n // 2 % 5}" for n, name in enumerate(names)])


def messidor2(root: Path, draw: Draw) -> None:
    names = [f"IM{number:06}.JPG" for number in range(30)]
    images(root, draw, *(f"IMAGES/{name}" for name in names))
    header = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"
    rows = [f"{name.lower() if n else 'gone.jpg'},{n % 5},{n % 2},1" for n, name in enumerate(names)]
    table(root / "messidor_data.csv", header, [row.replace("im", "IM") for row in rows])


def idrid(root: Path, draw: Draw) -> None:
    for part, count in (("a. Training", 30), ("b. Testing", 12)):
        names = [f"IDRiD_{number:03}" for number in range(1, count + 1)]
        images(root, draw, *(f"1. Original Images/{part} Set/{name}.jpg" for name in names))
        folder = root / "2. Groundtruths"
        folder.mkdir(parents=True, exist_ok=True)
        header = "Image name,Retinopathy grade,Risk of macular edema ,,,"
        rows = [f"{name},{n % 5},{n % 3},,," for n, name in enumerate(names)]
        table(folder / f"{part[:3]}IDRiD_Disease Grading_{part[3:]} Labels.csv", header, rows)


def odir(root: Path, draw: Draw) -> None:
    header = ["ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords",
              "Right-Diagnostic Keywords", "N", "D", "G", "C"]  # fmt: skip
    people = range(24)
    rows = [[n, 50 + n, "Male" if n % 2 else "Female", f"{n}_left.jpg", f"{n}_right.jpg", f"sign {n}", f"fundus {n}",
             *(int(n % 4 == k) for k in range(4))] for n in people]  # fmt: skip
    images(root, draw, *(f"Training Images/{n}_{eye}.jpg" for n in people for eye in ("left", "right")))
    (root / "ODIR-5K_Training_Annotations.xlsx").write_bytes(xlsx({"Sheet1": [header, *rows]}))


def class_folders(root: Path, draw: Draw) -> None:
    images(root, draw, *(f"{name}/{name}-{n}-1.jpeg" for name in ("CNV", "DME", "NORMAL") for n in range(8)))


def retfound(root: Path, draw: Draw) -> None:
    names = [f"{split}/{name}/{n}{split}.png" for split in ("train", "val", "test") for name in ("anoDR", "bmildDR")
             for n in range(4)]  # fmt: skip
    images(root, draw, *names)


def drive(root: Path, draw: Draw) -> None:
    for split, first, manuals in (("training", 21, ("1",)), ("test", 1, ("1", "2"))):
        for n in range(first, first + 8):
            draw(root / f"{split}/images/{n:02}_{split}.tif", n)
            for one in manuals:
                mask(root / f"{split}/{one}{'st' if one == '1' else 'nd'}_manual/{n:02}_manual{one}.gif")
            mask(root / f"{split}/mask/{n:02}_{split}_mask.gif")


def bare(root: Path, draw: Draw) -> None:
    images(root, draw, *(f"{n}.png" for n in range(5)))


SHAPES: dict[str, tuple[Shape, list[str], list[str]]] = {
    # shape, flags, what is printed
    "aptos": (aptos, [], ["images: those below train_images; 1 image elsewhere",
                          "diagnosis (multiclass): 0: 6, 1: 6, 2: 6, 3: 6, 4: 6",
                          "target: diagnosis, the only one that there is", "not known: who is whose"]),
    "eyepacs": (eyepacs, [], ["a guess: people and eyes stand in the file names, as in 10_left.jpeg",
                              "60 rows, 60 images with a row, 0 without one"]),
    "messidor2": (messidor2, ["--target", "adjudicated_dr_grade"], [
        "30 rows, 29 images with a row, 1 without one", "a guess: 1 name of no image that is there, as 'gone.jpg'"]),
    "idrid": (idrid, ["--target", "retinopathy_grade"], ["dataset idrid_train, layout table",
                                                         "dataset idrid_test, layout table"]),
    "odir": (odir, ["--target", "n,d,g,c"], ["one row per person, with the images 'Right-Fundus' (right) and",
                                              "of people and cameras, taken for no target: Patient Age, Patient Sex"]),
    "class_folders": (class_folders, [], ["a folder for each of 3 classes", "label (multiclass): CNV: 8, DME: 8"]),
    "retfound": (retfound, [], ["a folder for each of 2 classes, below the splits test, train, val"]),
    "drive": (drive, [], ["16 images and masks of them, paired by their names (mask 16, mask2 8, fov 16)",
                          "modality: Fundus, a guess: a few images have colours",
                          "a guess: pixels of 0 are background, of 1 what the masks show: give it its name"]),
    "bare": (bare, [], ["5 images, without a table, masks, or a folder for each class"]),
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begun(shape: Shape, name: str, here: Path, draw: Draw, *flags: str) -> Config:
    (here / "data" / name).mkdir(parents=True)
    shape(here / "data" / name, draw)
    assert main(["init", f"data/{name}", *flags]) == 0
    return load_config(f"{name}.yaml")


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_understood_and_its_config_passes_check(
    name: str, here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, flags, said = SHAPES[name]
    config = begun(shape, name, here, draw, *flags)
    printed = capsys.readouterr().out
    assert [line for line in said if line not in printed] == [], printed
    assert main(["check", f"{name}.yaml"]) == 0
    assert config.datasets and all(block.root == f"data/{name}" for block in config.datasets.values())


def test_where_no_split_is_given_a_test_set_is_drawn_over_the_only_target(here: Path, draw: Draw) -> None:
    split = begun(aptos, "aptos", here, draw).datasets["aptos"].split
    assert (split.test, split.stratify) == (0.2, "diagnosis")


def test_of_several_columns_of_labels_none_is_chosen(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    config = begun(messidor2, "messidor2", here, draw)
    assert config.tasks == {} and "--target adjudicated_dr_grade or --target adjudicated_dme" in capsys.readouterr().out
    assert set(config.datasets["messidor2"].columns.targets) == {"adjudicated_dr_grade", "adjudicated_dme"}


def test_eyes_of_a_row_per_person_and_of_file_names_are_found(here: Path, draw: Draw) -> None:
    wide = begun(odir, "odir", here, draw, "--target", "g").datasets["odir"].columns
    assert wide.images == {"R": "Right-Fundus", "L": "Left-Fundus"} and wide.subject == "ID"
    named = begun(eyepacs, "eyepacs", here, draw)
    assert named.datasets["eyepacs"].path_pattern and named.tasks["level"].kind == "classification"


def test_the_test_set_of_a_published_division_is_external(here: Path, draw: Draw) -> None:
    task = begun(idrid, "idrid", here, draw, "--target", "retinopathy_grade").tasks["retinopathy_grade"]
    assert (task.datasets, task.external) == (["idrid_train"], ["idrid_test"])


def test_masks_come_with_a_table_that_pairs_them(here: Path, draw: Draw) -> None:
    config = begun(drive, "drive", here, draw)
    lines = (here / "drive.files.csv").read_text().splitlines()
    assert lines[0] == "image,mask,mask2,fov,split" and len(lines) == 17
    assert lines[1] == ("test/images/01_test.tif,test/1st_manual/01_manual1.gif,test/2nd_manual/01_manual2.gif,"
                        "test/mask/01_test_mask.gif,test")  # fmt: skip
    assert config.datasets["drive"].images == "*images/*" and config.tasks["mask"].kind == "segmentation"


def test_columns_that_name_masks_are_no_images_and_no_labels(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(10):
        draw(here / f"set/{n}.jpg", n)
        mask(here / f"set/{n}_vessels.png")
        mask(here / f"set/{n}_fov.png", 1)
    rows = [f"{n}_vessels.png,{n}.jpg,{n}_fov.png,p{n // 2},R,{n % 2}" for n in range(10)]
    table(here / "set/files.csv", "vessels,file,fov,patient,eye,dr", rows)
    assert main(["init", "set", "--target", "vessels"]) == 0
    block = load_config("set.yaml").datasets["set"]
    assert (block.columns.image, block.columns.mask, block.columns.fov) == ("file", "vessels", "fov")
    assert block.images == "*.jpg" and block.columns.subject == "patient" and block.columns.eye == "eye"
    assert load_config("set.yaml").tasks["vessels"].mask_values() == [0, 255]
    assert "dr (binary): 0: 5, 1: 5" in capsys.readouterr().out


def test_masks_of_several_structures_are_a_question_and_one_mask_when_asked(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here / "lesions"
    for n in range(12):
        draw(root / f"1. Original Images/IDRiD_{n:02}.jpg", n)
        for folder, short in (("1. Microaneurysms", "MA"), ("2. Haemorrhages", "HE"))[: 1 + n % 2]:
            mask(root / f"2. All Segmentation Groundtruths/{folder}/IDRiD_{n:02}_{short}.tif")
    assert main(["init", "lesions"]) == 3
    assert "each image has several masks: he, ma; name one, --mask he, or join them" in capsys.readouterr().err
    assert main(["init", "lesions", "--mask", "all"]) == 0
    config = load_config("lesions.yaml")
    assert config.datasets["lesions"].columns.masks == {"he": "he", "ma": "ma"}
    assert config.tasks["structures"].mask_values() == [0, 1, 2]
    assert main(["init", "lesions", "--mask", "ma", "--out", "ma.yaml"]) == 0 and "ma" in load_config("ma.yaml").tasks


def test_a_modality_is_guessed_and_said_to_be_a_guess(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(bare, "oct_scans", here, draw)
    assert "modality: OCT, a guess: by words in the names (--modality says it)" in capsys.readouterr().out
    assert "# a guess: by words in the names" in (here / "oct_scans.yaml").read_text()
    config = begun(bare, "others", here, draw, "--modality", "ffa")
    assert config.datasets["others"].modality == "FFA" and "modality: FFA\n" in capsys.readouterr().out


def test_several_tables_with_other_labels_are_a_question(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here / "data/two"
    images(root, draw, *(f"{n}.png" for n in range(8)))
    for name in ("dr", "dme"):
        table(root / f"{name}.csv", f"file,{name}", [f"{n}.png,{n % 2}" for n in range(8)])
    assert main(["init", "data/two"]) == 3
    said = capsys.readouterr().err
    assert "several tables have labels of these images" in said and "--table 'dme.csv' or --table 'dr.csv'" in said
    for given in ("data/two/dr.csv", "dr.csv"):
        assert main(["init", "data/two", "--table", given]) == 0
        assert list(load_config("two.yaml").tasks) == ["dr"]
        (here / "two.yaml").unlink()


def test_a_folder_of_other_files_says_which_and_a_config_is_never_overwritten(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "scans").mkdir()
    for number in range(12):
        (here / f"scans/{number}.sdb").touch()
    assert main(["init", "scans"]) == 3 and "found: 12 files .sdb" in capsys.readouterr().err
    (here / "bare.yaml").touch()
    bare(here / "bare", draw)
    assert main(["init", "bare"]) == 2 and (here / "bare.yaml").read_bytes() == b""


def test_an_unknown_target_is_named_with_the_nearest(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    aptos(here / "aptos", draw)
    assert main(["init", "aptos", "--target", "diagnose"]) == 2
    assert "did you mean 'diagnosis'?" in capsys.readouterr().err
