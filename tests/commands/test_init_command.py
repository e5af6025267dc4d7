"""`visionfm init` on folders in the shapes of public eye data sets: names and columns as published, images drawn."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from rerun_project import Project
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


def papila(root: Path, draw: Draw) -> None:
    above = [None, "Age", "Gender", "Diagnosis", "Refractive_Defect", None, "IOP"]
    names = [None, "Age", "Gender", "Diagnosis", "dioptre_1", "dioptre_2", "Pneumatic"]
    for eye in ("OD", "OS"):
        rows = [[f"#{n:03}", 50 + n, n % 2, n % 3, 0.75, -1.75, 15 + n % 2] for n in range(2, 26)]
        (root / "ClinicalData").mkdir(exist_ok=True)
        (root / f"ClinicalData/patient_data_{eye.lower()}.xlsx").write_bytes(
            xlsx({"Sheet1": [above, ["ID"] + [None] * 6, names, *rows]})
        )
        images(root, draw, *(f"FundusImages/RET{n:03}{eye}.jpg" for n in range(2, 26)))


def brset(root: Path, draw: Draw) -> None:
    header = ("image_id,patient_id,camera,patient_age,comorbidities,diabetes_time_y,insuline,patient_sex,exam_eye,"
              "diabetes,nationality,optic_disc,vessels,macula,DR_SDRG,DR_ICDR,focus,iluminaton,image_field,artifacts,"
              "diabetic_retinopathy,macular_edema,quality")  # fmt: skip
    images(root, draw, *(f"fundus_photos/img{n:05}.jpg" for n in range(1, 41)))
    rows = [f"img{n:05},{(n + 1) // 2},Canon CR,{40 + n},,,no,{1 + n % 2},{2 - n % 2},no,Brazil,1,1,1,{n % 5},{n % 5},"
            f"1,1,1,1,{int(n % 5 > 0)},{n % 2},Adequate" for n in range(1, 41)]  # fmt: skip
    table(root / "labels_brset.csv", header, rows)


def rfmid(root: Path, draw: Draw) -> None:
    parts = (("Training_Set", "Training", "Training", 24), ("Evaluation_Set", "Validation", "Validation", 10),
             ("Test_Set", "Test", "Testing", 10))  # fmt: skip
    for part, folder, short, count in parts:
        images(root, draw, *(f"{part}/{folder}/{n}.png" for n in range(1, count + 1)))
        rows = [f"{n},{n % 2},{n % 2},{int(n % 3 == 0)},{int(n % 4 == 0)}" for n in range(1, count + 1)]
        table(root / f"{part}/RFMiD_{short}_Labels.csv", "ID,Disease_Risk,DR,ARMD,MH", rows)


def refuge(root: Path, draw: Draw) -> None:
    rows: list[list[object]] = [["ID", "ImgName", "Fovea_X", "Fovea_Y"]]
    for short, folder, count in (("g", "Glaucoma", 6), ("n", "Non-Glaucoma", 18)):
        for n in range(1, count + 1):
            draw(root / f"Training400/{folder}/{short}{n:04}.jpg", n)
            path = root / f"Annotation-Training400/Disc_Cup_Masks/{folder}/{short}{n:04}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((4, 6), 255, np.uint8)
            pixels[1:3, 1:4], pixels[2, 2] = 128, 0
            Image.fromarray(pixels).save(path)
            rows.append([len(rows), f"{short}{n:04}.jpg", 3.5, 2.5 - n % 2])
    (root / "Annotation-Training400/Fovea_location.xlsx").write_bytes(xlsx({"Sheet1": rows}))


def gamma(root: Path, draw: Draw) -> None:
    rows: list[list[object]] = [["data", "non", "early", "mid_advanced"]]
    for n in range(1, 25):
        draw(root / f"training/multi-modality_images/{n:04}/{n:04}.jpg", n)
        images(root, draw, *(f"training/multi-modality_images/{n:04}/{n:04}/{s}_image.jpg" for s in range(4)))
        rows.append([n, *(int(n % 3 == k) for k in range(3))])
    (root / "training/glaucoma_grading_training_GT.xlsx").write_bytes(xlsx({"Sheet1": rows}))


def olives(root: Path, draw: Draw) -> None:
    header = "Path (Trial/Arm/Folder/Visit/Eye/Image Name),Scan (n/49),DRT/ME,Fluid (IRF),Eye_ID,BCVA,CST,Patient_ID"
    rows = []
    for person in range(1, 13):
        eye = "OD" if person % 2 else "OS"
        for visit, scan in ((visit, scan) for visit in ("V1", "V2") for scan in (1, 2)):
            path = f"/TREX_DME/GILA/{person:04}G{eye}/{visit}/{eye}/TREXJ_{len(rows):06}.png"
            draw(root / path[1:], len(rows))
            rows.append(f"{path},{scan},{person % 2},{person % 3 // 2},{person},{60 + person},{300 + person},{person}")
    labels = root / "OLIVES_Dataset_Labels/full_labels"
    labels.mkdir(parents=True)
    table(labels / "Biomarker_Clinical_Data_Images.csv", header, rows)


def idrid_places(root: Path, draw: Draw) -> None:
    images(root, draw, *(f"1. Original Images/a. Training Set/IDRiD_{n:03}.jpg" for n in range(1, 21)))
    for folder, name in (("1. Optic Disc Center Location", "OD"), ("2. Fovea Center Location", "Fovea")):
        (root / "2. Groundtruths" / folder).mkdir(parents=True)
        rows = [f"IDRiD_{n:03},{2 + n % 3},{1 + n % 2},," for n in range(1, 21)]
        table(root / f"2. Groundtruths/{folder}/IDRiD_{name}_Center_Training Set_Markups.csv",
              "Image No,X- Coordinate,Y - Coordinate,,", rows)  # fmt: skip


def chase(root: Path, draw: Draw) -> None:
    for n, eye in ((n, eye) for n in range(1, 9) for eye in "LR"):
        draw(root / f"Image_{n:02}{eye}.jpg", n)
        mask(root / f"Image_{n:02}{eye}_1stHO.png")
        mask(root / f"Image_{n:02}{eye}_2ndHO.png")


def stare(root: Path, draw: Draw) -> None:
    for n in range(1, 11):
        draw(root / f"stare-images/im{n:04}.ppm", n)
        mask(root / f"labels-ah/im{n:04}.ah.ppm")
        mask(root / f"labels-vk/im{n:04}.vk.ppm")


def hrf(root: Path, draw: Draw) -> None:
    for n, kind in ((n, kind) for n in range(1, 6) for kind in ("dr", "g", "h")):
        draw(root / f"images/{n:02}_{kind}.JPG", n)
        mask(root / f"manual1/{n:02}_{kind}.tif")
        mask(root / f"mask/{n:02}_{kind}_mask.tif")


def published(root: Path, draw: Draw) -> None:
    for name, split in ((name, split) for name in ("dr", "amd") for split in ("training", "test")):
        images(root, draw, *(f"{name}/{split}/{n}.png" for n in range(6)))
        rows = [f"{split}/{n}.png;{n % 2},{(n + 1) % 2}" for n in range(6)]
        (root / name / f"{split}_labels.txt").write_text("\n".join(rows) + "\n")


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
    "papila": (papila, ["--target", "id_diagnosis"], [
        "numbers of 'ID' name the images: FundusImages/RET{ID:03d}OS.jpg", "eyes: OD in the names",
        "a guess: ids of 'ID' mean the same people in each dataset"]),
    "brset": (brset, ["--target", "DR_ICDR"], ["people: 'patient_id', 20 of them",
                                               "not known: which eye the codes 1, 2 of 'exam_eye' mean"]),
    "rfmid": (rfmid, ["--target", "dr,armd,mh"], ["dataset rfmid_train", "dataset rfmid_validation", "rfmid_test"]),
    "refuge": (refuge, ["--mask", "mask"], ["what the pixel values 0, 128, 255 mean: give them names"]),
    "gamma": (gamma, ["--target", "non_or_early_or_mid_advanced"], [
        "dataset gamma_fundus, layout table", "is a volume, and the pictures in it are its slices",
        "non_or_early_or_mid_advanced (multiclass): early: 8, mid_advanced: 8, non: 8"]),
    "olives": (olives, ["--target", "fluid_irf"], ["people: 'Patient_ID', 12 of them",
                                                   "a guess: visits and eyes stand in the folders"]),
    "idrid_places": (idrid_places, [
        "--table", "2. Groundtruths/2. Fovea Center Location/IDRiD_Fovea_Center_Training Set_Markups.csv"], [
        "point (points)", "target: point, the only one that there is"]),
    "chase": (chase, [], ["16 images and masks of them, paired by their names"]),
    "stare": (stare, [], ["10 images and masks of them, paired by their names (mask 10, mask2 10)"]),
    "hrf": (hrf, [], ["15 images and masks of them, paired by their names (mask 15, fov 15)"]),
    "published": (published, [], ["the published tree: training/ and test/, and label lines of 2 values"]),
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


@pytest.mark.parametrize("name", ["labels.csv", "train.csv"])
def test_a_part_that_stands_alone_is_divided_itself(
    name: str, here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(root: Path, draw: Draw) -> None:
        images(root, draw, *(f"eyes/a{n}.png" for n in range(30)))
        rows = [f"eyes/a{n}.png,train,{n % 2}" for n in range(30)]
        table(root / name, "image,split_official,glaucoma", rows)

    config = begun(part, "part", here, draw)
    block = config.datasets["part"]
    assert block.columns.split is None and (block.split.test, block.split.stratify) == (0.2, "glaucoma")
    assert "not used: 'split_official', which says 'train' of every image" in capsys.readouterr().out


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


def test_photographs_and_volumes_of_one_person_are_one_task_and_each_modality_one_by_itself(
    here: Path, draw: Draw
) -> None:
    config = begun(gamma, "gamma", here, draw, "--target", "non_or_early_or_mid_advanced")
    fundus, oct_ = config.datasets["gamma_fundus"], config.datasets["gamma_oct"]
    assert (fundus.modality, oct_.modality, oct_.frames) == ("Fundus", "OCT", "all")
    assert fundus.columns.image == "training/multi-modality_images/{data:04d}/{data:04d}.jpg"
    assert oct_.images == "training/multi-modality_images/*/*/" and oct_.split.like == "gamma_fundus"
    task = config.tasks["non_or_early_or_mid_advanced"]
    assert (task.unit, task.fusion) == ("subject", "attention")
    assert [one.datasets for one in config.tasks.values()][1:] == [["gamma_fundus"], ["gamma_oct"]]


def test_labels_in_a_table_and_masks_are_two_readings(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    refuge(here / "refuge", draw)
    assert main(["init", "refuge"]) == 3
    assert "Fovea_location.xlsx' or --mask mask" in capsys.readouterr().err
    assert main(["init", "refuge", "--table", "Annotation-Training400/Fovea_location.xlsx"]) == 0
    config = load_config("refuge.yaml")
    assert config.tasks["fovea"].kind == "landmarks"
    assert config.datasets["refuge"].columns.points == {"fovea": ["Fovea_X", "Fovea_Y"]}


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


def test_a_config_that_nobody_edited_is_replaced_when_a_target_is_named(here: Path, draw: Draw) -> None:
    images(here / "two", draw, *(f"{n}.png" for n in range(8)))
    table(here / "two/labels.csv", "file,dr,dme", [f"{n}.png,{n % 2},{n // 2 % 2}" for n in range(8)])
    assert main(["init", "two"]) == 0 and load_config("two.yaml").tasks == {}
    assert main(["init", "two", "--target", "dr"]) == 0 and list(load_config("two.yaml").tasks) == ["dr"]
    edited = (here / "two.yaml").read_text() + "# by hand\n"
    (here / "two.yaml").write_text(edited)
    assert main(["init", "two", "--target", "dme"]) == 2 and (here / "two.yaml").read_text() == edited


def test_an_unknown_target_is_named_with_the_nearest(
    here: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    aptos(here / "aptos", draw)
    assert main(["init", "aptos", "--target", "diagnose"]) == 2
    assert "did you mean 'diagnosis'?" in capsys.readouterr().err


ENCODER = {"weights": "random", "arch": "vit_tiny_patch16_224", "image_size": 32, "device": "cpu", "workers": 0}
TO_THE_REPORT = ("gamma", "papila", "olives", "brset", "refuge")


@pytest.mark.slow
@pytest.mark.parametrize("name", TO_THE_REPORT)
def test_a_shape_comes_to_the_report(name: str, here: Path, commands: Path) -> None:
    def draw(path: Path, *_: object) -> Path:
        """Draw a picture that no other is a copy of."""
        rng = np.random.default_rng(zlib.crc32(str(path.relative_to(here)).encode()))
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (4, 6) if name == "refuge" else (40, 60)  # refuge's masks are as small; of so few pixels some are alike
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        return path

    shape, flags, _ = SHAPES[name]
    begun(shape, name, here, draw, *flags)
    config = yaml.safe_load((here / f"{name}.yaml").read_text())
    for block in config["encoders"].values():
        for key in ("weights", "timm", "statistics"):
            block.pop(key, None)
        block |= {**ENCODER, "statistics": "imagenet"}
    for task in config["tasks"].values():
        task["training"] = {**task.get("training", {}), "epochs": 2}
        if "image_size" in task or task["kind"] in ("segmentation", "landmarks"):
            task["image_size"] = 32
    project = Project(here, commands)
    project.config = config
    done = project.snakemake("--quiet")
    assert done.returncode == 0, done.stderr[-3000:]
    page = (here / "results/report/index.html").read_text()
    assert all(f'id="task-{task}"' in page for task in config["tasks"])
    if name == "gamma":  # what photographs, volumes and both are worth
        metrics = pq.read_table(here / "results/report/metrics.parquet").to_pylist()
        both = [row for row in metrics if row["task"] == next(iter(config["tasks"]))]
        assert {row["modalities"] for row in both} == {"all", "Fundus", "OCT"}
