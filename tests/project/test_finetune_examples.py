"""The eight public sets of the published fine-tuning table, as example configs."""

from pathlib import Path

import pytest

from visionfm.project.loading import load_config
from visionfm.project.plan import Plan

FOLDER = Path(__file__).resolve().parents[2] / "config" / "examples" / "finetune"
# Facts of the published recipe: set, classes, epochs.
SETS = {
    "idrid": ("IDRiD", 5, 5),
    "messidor2": ("MESSIDOR2", 5, 5),
    "aptos2019": ("APTOS2019", 5, 5),
    "papila": ("PAPILA", 3, 100),
    "glaucoma_fundus": ("Glaucoma_fundus", 3, 100),
    "jsiec": ("JSIEC", 39, 100),
    "retina": ("Retina", 4, 100),
    "octid": ("OCTID", 5, 100),
}


def test_there_is_one_for_each_set():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SETS)


@pytest.mark.parametrize("name", SETS)
def test_it_is_valid_and_as_published(name):
    folder, classes, epochs = SETS[name]
    plan = Plan(load_config(FOLDER / f"{name}.yaml"))
    settings = plan.tasks.finetune_settings(name, "visionfm", "seed0")
    assert plan.config.datasets[name].root == f"data/{folder}" and plan.config.datasets[name].layout == "imagefolder"
    assert (settings.recipe_name, settings.recipe.epochs, settings.device) == ("published", epochs, "cuda")
    (target,) = settings.targets.values()
    assert len(target.classes) == len(set(target.classes)) == classes
    encoder = plan.config.encoders[plan.finetuned_from(name, "visionfm")]
    assert encoder.interpolation == "bicubic" and encoder.modality == ("OCT" if name == "octid" else "Fundus")


@pytest.mark.parametrize("name", SETS)
def test_classes_stand_in_the_published_order(name):
    (target,) = Plan(load_config(FOLDER / f"{name}.yaml")).tasks.targets(name).values()
    if name == "jsiec":  # not the folders' order: a released head depends on it
        assert target.classes != sorted(target.classes)
        assert [target.classes[i] for i in (0, 1, 12, 25, 38)] == [
            "0.0.Normal", "20.Massive hard exudates", "10.0.Possible glaucoma", "4.Rhegmatogenous RD", "2.1.CRVO"
        ]  # fmt: skip
    else:
        assert target.classes == sorted(target.classes)
