"""What must fit between the blocks of a config, and inside one: each misfit has its place and says what to do."""

from typing import Any

import pytest
from world.configs import changed

from visionfm.data.block import DENSE_COLUMNS, LABEL_COLUMNS, SAMPLE_COLUMNS
from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config

BASE: dict[str, Any] = {
    "encoders": {
        "fundus": {"modality": "Fundus", "weights": "random", "arch": "vit"},
        "oct": {"modality": "OCT", "weights": "w.pth"},
    },
    "models": {"both": {"Fundus": "fundus", "OCT": "oct"}, "one": {"Fundus": "fundus"}},
    "datasets": {
        "f": {"modality": "Fundus", "root": "f", "layout": "vfm", "labels": ["dr", "iop"], "cohort": "c"},
        "o": {"modality": "OCT", "root": "o", "layout": "imagefolder", "cohort": "c", "split": {"like": "f"}},
        "t": {
            "modality": "cfp",
            "root": "t",
            "layout": "table",
            "table": "t.csv",
            "columns": {"image": "i", "targets": {"grade": "g"}},
        },
    },
    "modalities": {"OCTA": {"statistics": "imagenet"}},
    "tasks": {
        "task": {
            "kind": "classification",
            "datasets": ["f", "o"],
            "external": ["t"],
            "models": ["both"],
            "targets": {"dr": {"type": "binary"}},
        }
    },
}


def problem_of(place: str, value: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(changed(BASE, place, value))
    return str(raised.value)


def test_the_base_config_is_valid() -> None:
    parse_config(BASE)


def test_an_image_size_fits_the_patches_that_the_architecture_names() -> None:
    raw = changed(BASE, "encoders.fundus.arch", "vit_tiny_patch16_224")
    parse_config(raw)
    with pytest.raises(ConfigError, match="image_size 33 does not divide into patches of 16 px; nearest: 32 or 48"):
        parse_config(changed(raw, "encoders.fundus.image_size", 33))


@pytest.mark.parametrize("place", ["datasets.f.root", "datasets.t.columns.image", "encoders.oct.weights", "title"])
def test_no_text_has_control_characters(place: str) -> None:
    assert f"{place}: holds a control character, '\\x00'" in problem_of(place, "a\0b")


MIX: dict[str, Any] = {"modality": "any", "pretrain": {"datasets": ["f"], "arch": "vit", "scheme": "mix"}}


def test_a_mix_has_statistics_of_the_modalities_that_it_was_trained_on_alone() -> None:
    raw = changed(BASE, "encoders.all", MIX)
    raw["models"]["mix"] = {"any": "all"}
    raw["tasks"]["task"]["models"] = ["mix"]
    with pytest.raises(ConfigError, match=r"all has statistics of Fundus, none of OCT \(dataset o\)"):
        parse_config(raw)
    raw["encoders"]["all"]["pretrain"] = {**MIX["pretrain"], "datasets": ["f", "o"]}
    parse_config(raw)


def test_a_mix_is_fine_tuned_on_one_modality_at_a_time() -> None:
    raw = changed(BASE, "encoders.all", {**MIX, "pretrain": {**MIX["pretrain"], "datasets": ["f", "o"]}})
    raw["models"]["mix"] = {"any": "all"}
    raw["tasks"]["task"] |= {"models": ["mix"], "training": {"mode": "finetune"}}
    with pytest.raises(ConfigError, match="one modality at a time; the task has Fundus, OCT"):
        parse_config(raw)
    raw["tasks"]["task"]["datasets"] = ["f"]
    parse_config(raw)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("datasets.f.modality", "any", "datasets.f.modality: a dataset's modality cannot be `any`"),
        ("tasks.task.decoder", "d/{x}.pth", "tasks.task.decoder: has braces in its path"),
        ("datasets.f.modality", "Retina", "no modality is named 'Retina'"),
        ("encoders.oct.modality", "Octt", "encoders.oct.modality: no modality is named 'Octt'; did you mean 'OCT'"),
        ("models.both.Slit", "nobody", "models.both.Slit: no encoder is named 'nobody'"),
        ("models.both.X", "oct", "models.both.X: no modality is named 'X'"),
        ("models.both.CFP", "fundus", "models.both.CFP: the same modality as 'Fundus'; keep one encoder for it"),
        ("models.none", {}, "models.none: names no encoder"),
        ("encoders.oct.trained_on", ["f", "g"], "encoders.oct.trained_on.1: no dataset is named 'g'"),
        ("encoders.oct.weights", None, "encoders.oct: needs one of weights"),
        ("encoders.fundus.arch", None, "encoders.fundus: `weights: random` needs arch"),
        ("encoders.oct", {"modality": "any", "weights": "w", "statistics": "auto"}, "`any` has no statistics"),
        ("encoders.oct", {"modality": "any", "weights": "w", "statistics": "modality"}, "`any` has no statistics"),
        ("modalities.Fundus", {"statistics": "imagenet"}, "modalities.Fundus: a published modality, or an alias"),
        ("modalities.b-scan", {"statistics": "imagenet"}, "modalities.b-scan: a published modality, or an alias"),
        ("modalities.any", {"statistics": "imagenet"}, "modalities.any: a published modality, or an alias"),
        ("modalities.octa", {"statistics": "imagenet"}, "the same name as octa, but for its spelling"),
        ("modalities.a/b", {"statistics": "imagenet"}, "modalities.a/b: expected a name"),
        ("modalities.{x}", {"statistics": "imagenet"}, "modalities.{x}: expected a name"),
        ("datasets.o.split.like", "g", "datasets.o.split.like: no dataset is named 'g'"),
        ("datasets.o.cohort", None, "give o and f the same `cohort`"),
        ("datasets.f.split", {"like": "f"}, "f itself takes its splits from f: name that one"),
        ("datasets.f.split", {"stratify": "grade"}, "datasets.f.split.stratify: no label of the dataset is named"),
        ("datasets.f.path_pattern", "(", "datasets.f.path_pattern: not a regular expression"),
        ("datasets.f.path_pattern", "s[0-9]+", "datasets.f.path_pattern: expected named groups"),
        ("datasets.f.path_pattern", "(?P<person>.)", "datasets.f.path_pattern: expected named groups"),
        ("datasets.f.labels", ["dr", "iop", "dr"], "datasets.f.labels.2: dr stands twice"),
        ("datasets.f.labels", None, "datasets.f: layout vfm needs `labels`"),
        ("datasets.f.table", "t.csv", "`table` belongs to layout table"),
        ("datasets.f.columns", {"subject": "s"}, "datasets.f: only layout table has columns"),
        ("datasets.o.labels", ["a", "b"], "layout imagefolder has one label"),
        ("datasets.t.table", None, "datasets.t: layout table needs `table`"),
        ("datasets.t.labels", ["grade"], "layout table names its labels in `columns"),
        ("datasets.t.columns.mask", "m", "masks lie below the root too: say which files are images"),
        ("datasets.t.columns", {"image": "i", "mask2": "m"}, "mask2 is a second observer's"),
        ("datasets.t.columns", {"image": "i", "points": {"a": ["x"]}}, "expected [x column, y column]; not so: a"),
        ("datasets.t.columns", {"image": "i", "mm_per_px": -0.1}, "mm_per_px must be greater than 0"),
        ("datasets.t.columns", {"image": "i", "mm_per_px": [0.1, 0]}, "mm_per_px must be greater than 0"),
        ("datasets.t.columns", {"image": "i", "mm_per_px": [0.1]}, "two: [across, down]"),
        ("datasets.f.layout", "segmentation", "layout segmentation has masks as labels"),
        ("datasets.o.layout", "landmark", "layout landmark needs `labels`"),
        ("datasets.t.split", {"test_subjects": ["a"]}, "test_subjects needs subjects"),
        ("datasets.t.split", {"test_subjects": ["a"], "test": 0.2}, "no split.test and no columns.split beside it"),
        ("datasets.t.allow_leakage", "because", "datasets.t.allow_leakage"),
        ("tasks.task.datasets", ["f", "f"], "tasks.task.datasets.1: f stands twice"),
        ("tasks.task.models", ["both", "both"], "tasks.task.models.1: both stands twice"),
        ("tasks.task.seeds", [1, 0, 1], "tasks.task.seeds.2: 1 stands twice"),
        ("tasks.task.external", ["f"], "tasks.task.external.0: f stands under `datasets` too"),
        ("tasks.task.external", ["g"], "tasks.task.external.0: no dataset is named 'g'"),
        ("tasks.task.models", ["both", "one"], "tasks.task.models.1: model one has no encoder for OCT (dataset o)"),
        ("tasks.task.models", ["bot"], "tasks.task.models.0: no model is named 'bot'; did you mean 'both'?"),
        ("tasks.task.targets.dr.column", "drr", "tasks.task.targets.dr: no label of the task's datasets is named"),
        ("tasks.task.targets.x", {"type": "multilabel", "classes": ["dr", "amd"]}, "is named 'amd'"),
        ("tasks.task.targets.dr.type", "value", "or 'multilabel', found 'value'; only regression has it"),
        ("tasks.task.kind", "regression", "dr.type: expected 'value', found 'binary'; only classification has it"),
        ("tasks.task.unit", "eye", "fusion pooled has unit image"),
        ("tasks.task.fusion", "mean", "fusion mean needs unit volume, eye, visit or subject"),
        ("tasks.task.targets.dr.classes", 3, "binary has two classes"),
        ("tasks.task.targets.dr.classes", ["a", "a"], "stand twice: a"),
        ("tasks.task.targets.dr.classes", {"a": [0, 1], "b": [1.0]}, "stand twice: 1"),
        ("tasks.task.targets.dr", {"type": "multiclass", "classes": 1}, "multiclass needs two classes"),
        ("tasks.task.targets.dr", {"type": "multiclass"}, "multiclass needs `classes`"),
        ("tasks.task.targets.dr", {"type": "multilabel", "classes": []}, "multilabel needs one label"),
        ("tasks.task.targets.dr", {"type": "multilabel", "classes": 3}, "multilabel needs `classes`: the list"),
        ("tasks.task.targets.dr.aggregate", "mean", "or 'first', found 'mean'; only regression has it"),
        ("tasks.task.targets.iop.unit", "mmHg", "iop.unit: unknown key; only regression has `unit`"),
        ("tasks.task.swaps", [["a", "b"]], "tasks.task.swaps: unknown key; only landmarks has `swaps`"),
        ("tasks.task.training.mixup", 0.2, "mixup: unknown key; only `mode: finetune` has `mixup`"),
        ("tasks.task.training.crop_px", 128, "crop_px: unknown key; only segmentation has `crop_px`"),
        ("tasks.task.training.recipe", "modern", "'published', found 'modern'; only `mode: finetune` has it"),
        ("tasks.task.training", {"mode": "finetune", "recipe": "sound"}, "found 'sound'; only `mode: frozen` has it"),
        ("tasks.task.training", {"mode": "frosen"}, "training.mode: expected 'frozen' or 'finetune', found 'frosen'"),
        ("tasks.task.training", {"mode": "finetune", "crop_scale": [0.9, 0.5]}, "crop_scale: expected 0 < smallest"),
        ("tasks.task.training", {"mode": "finetune", "batch_size": 4, "accumulate": 4}, "batch_size: at least two"),
        ("tasks.task.kind", "classifikation", "tasks.task.kind: expected 'classification', 'regression'"),
        ("tasks.task.kind", "classifikation", "found 'classifikation'; did you mean 'classification'?"),
        ("tasks.task.kind", None, "tasks.task.kind: "),
        ("tasks.task", 3, "tasks.task: expected a block of keys, found 3"),
        ("tasks.task.training", 3, "tasks.task.training: expected a block of keys, found 3"),
    ],
)
def test_a_misfit_has_its_place_and_its_reason(place: str, value: Any, message: str) -> None:
    assert message in problem_of(place, value)


@pytest.mark.parametrize("name", [*LABEL_COLUMNS, *DENSE_COLUMNS])
def test_labels_cannot_be_named_as_the_columns_that_every_dataset_has(name: str) -> None:
    assert f"datasets.f.labels.2: {name} is a column" in problem_of("datasets.f.labels", ["dr", "iop", name])
    message = problem_of("datasets.t.columns.targets", {"grade": "g", name: "x"})
    assert f"datasets.t.columns.targets.{name}: {name} is a column" in message


@pytest.mark.parametrize("name", [*SAMPLE_COLUMNS, *DENSE_COLUMNS])
def test_targets_cannot_be_named_as_the_columns_of_samples(name: str) -> None:
    message = problem_of(f"tasks.task.targets.{name}", {"type": "binary", "column": "dr"})
    assert f"tasks.task.targets.{name}: {name} is a column of every task's samples" in message


def test_the_fixed_columns_are_those_that_the_stages_write(results: Any) -> None:
    import inspect

    from visionfm.data import labels
    from visionfm.tasks import fuse
    from visionfm.tasks.progression import samples

    assert all(f'"{name}":' in inspect.getsource(labels._table) for name in LABEL_COLUMNS)
    written = inspect.getsource(fuse) + inspect.getsource(samples)
    assert all(f'"{name}"' in written for name in SAMPLE_COLUMNS)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("models.both", {"any": "oct"}),
        ("models.both", {"Colour Fundus": "fundus", "oct": "oct"}),
        ("tasks.task.targets.label", {"type": "multiclass", "classes": ["a", "b"]}),  # an image folder's own
        ("tasks.task.targets.grade", {"type": "multiclass", "classes": {"a": [0, "x"], "b": 1}}),
        ("datasets.t.split", {"stratify": "grade"}),
        ("datasets.f.columns", {"targets": {"high": ["dr", "iop"]}}),
        ("datasets.f.labels", "none"),
        ("datasets.t", {"modality": "OCTA", "root": "t", "layout": "table", "labels": "none"}),
    ],
)
def test_what_fits_is_accepted(place: str, value: Any) -> None:
    raw = changed(BASE, place, value)
    if place == "datasets.f.labels":
        raw["tasks"]["task"]["targets"] = {"grade": {"type": "binary"}}
    if place == "datasets.t":
        raw["tasks"]["task"]["external"] = []
    parse_config(raw)


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("segmentation", {"vessel": {"classes": 2}}, "tasks.task.targets.vessel: no dataset of the task has masks"),
        ("landmarks", {"fovea": {}}, "tasks.task.targets.fovea: no point of the task's datasets is named 'fovea'"),
    ],
)
def test_dense_tasks_need_masks_or_points(kind: str, targets: Any, message: str) -> None:
    raw = changed(BASE, "tasks.task", {"kind": kind, "datasets": ["f"], "models": ["both"], "targets": targets})
    with pytest.raises(ConfigError) as raised:
        parse_config(raw)
    assert message in str(raised.value)


def test_problems_between_blocks_stand_beside_those_of_the_schema() -> None:
    raw = changed(BASE, "datasets.f.rot", 1)
    raw["tasks"]["task"]["models"] = ["nobody"]
    with pytest.raises(ConfigError) as raised:
        parse_config(raw)
    assert "datasets.f.rot: unknown key" in str(raised.value) and "no model is named 'nobody'" in str(raised.value)


def test_an_invalid_label_list_does_not_make_every_target_unknown() -> None:
    assert "no label" not in problem_of("datasets.f.labels", 3)
