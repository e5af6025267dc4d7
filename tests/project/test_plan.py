"""The plan names every artefact, without reading a file, and gives each stage its own slice of the config."""

import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from visionfm.artifacts import tree
from visionfm.data.settings import IndexSettings
from visionfm.errors import ConfigError, UsageError
from visionfm.project.config import Config
from visionfm.project.loading import load_config, parse_config
from visionfm.project.plan import Plan
from visionfm.tasks.settings import TargetSpec

RAW: dict[str, Any] = {
    "encoders": {
        "fundus": {"modality": "Fundus", "weights": "w.pth", "trained_on": ["old"], "device": "cpu"},
        "rest": {"modality": "any", "timm": "vit", "image_size": 518, "resources": {"gpu": 2}},
        "unused": {"modality": "OCT", "weights": "random", "arch": "vit"},
    },
    "models": {"m": {"CFP": "fundus", "any": "rest"}},
    "datasets": {
        "f": {"modality": "cfp", "root": "f", "layout": "vfm", "labels": ["dr", "iop"], "export": "parquet"},
        "o": {"modality": "OCT", "root": "o", "layout": "imagefolder", "shards": 2, "bad_images": "skip"},
        "x": {"modality": "OCT", "root": "x", "layout": "imagefolder", "allow_leakage": "same people on purpose"},
        "old": {"modality": "Fundus", "root": "old", "layout": "vfm", "labels": "none"},
    },
    "tasks": {
        "t": {
            "kind": "classification",
            "datasets": ["f", "o"],
            "external": ["x"],
            "models": ["m"],
            "seeds": [0, 7],
            "targets": {
                "dr": {"type": "binary"},
                "signs": {"type": "multilabel", "classes": ["dr", "label"], "weight": 2},
                "grade": {"type": "multiclass", "column": "label", "classes": {"a": 0, "b": [1, "x"]}, "ordered": True},
            },
        }
    },
}


@pytest.fixture
def plan() -> Plan:
    return Plan(parse_config(RAW))


def test_features_alone_are_planned_where_a_dataset_is_to_be_exported() -> None:
    plan = Plan(parse_config({**RAW, "tasks": {}}))
    assert plan.extractions() == [("fundus", "f")]
    assert {*plan.features("fundus", "f"), *plan.exports("fundus", "f")} <= set(plan.everything())
    assert plan.encoding.extract_settings("fundus", "f").views == ["identity"]


def test_an_export_without_an_encoder_is_an_error() -> None:
    raw = {**RAW, "models": {"m": {"OCT": "unused"}}, "tasks": {}}
    with pytest.raises(ConfigError, match=r"datasets\.f\.export: no model has an encoder for its modality"):
        parse_config(raw)


def test_artefacts_lie_where_the_design_says(plan: Plan) -> None:
    assert plan.images("f") == ["results/datasets/f/images.parquet"]
    assert plan.images("o") == ["results/datasets/o/images.0.parquet", "results/datasets/o/images.1.parquet"]
    assert plan.features("rest", "o") == [f"results/features/rest/o.cls518.{i}.h5" for i in (0, 1)]
    assert plan.exports("fundus", "f") == ["results/features/fundus/f.cls224.parquet"] and not plan.exports("rest", "o")
    assert plan.weights_sum("fundus") == ["results/encoders/fundus/weights.json"] and plan.weights_sum("rest") == []
    assert plan.decoder("t", "m", "seed7") == "results/tasks/t/m/seed7/decoder.safetensors"
    assert plan.figures == "results/report/figures.zip" and plan.paper not in plan.everything()
    assert "results/report/paper.zip" in Plan(parse_config({**RAW, "study": {}})).everything()
    assert plan.runs("t") == ["seed0", "seed7", "knn", "logreg"]


def test_an_edit_of_study_makes_the_paper_anew_and_nothing_else() -> None:
    one, other = (Plan(parse_config({**RAW, "study": study})) for study in ({}, {"setting": "One clinic."}))
    assert one.paper_settings() != other.paper_settings() and one.report_settings() == other.report_settings()
    assert one.report_settings() == Plan(parse_config(RAW)).report_settings()


def test_sets_of_steps_that_fit_too_well_are_refused() -> None:
    keys = {"calibrate": "isotonic", "conformal": 0.9}
    with pytest.raises(ConfigError, match="hold the true class too rarely"):
        parse_config({**RAW, "tasks": {"t": {**RAW["tasks"]["t"], **keys}}})


def test_a_calibrated_decoder_predicts_where_the_task_asks_for_one() -> None:
    plan = Plan(parse_config({**RAW, "tasks": {"t": {**RAW["tasks"]["t"], "calibrate": "platt"}}}))
    for run in ("seed7", "logreg"):
        path = f"results/tasks/t/m/{run}/calibrated.safetensors"
        assert plan.applied_decoder("t", "m", run) == path and path in plan.everything()
        assert any(pattern.fullmatch(path.removeprefix("results/")) for pattern, _ in tree.PATTERNS)
    assert plan.tasks.calibrate_settings("t").method == "platt"


def test_a_pack_is_named_where_a_dataset_asks_for_one_and_pretraining_sees_it() -> None:
    raw = {**RAW, "datasets": {**RAW["datasets"], "o": {**RAW["datasets"]["o"], "pack": {"size": 384}}}}
    plan = Plan(parse_config(raw))
    assert plan.packs("o") == [f"results/packs/o/384px.{i}.parquet" for i in (0, 1)] and plan.packs("f") == []
    assert set(plan.packs("o")) < set(plan.everything())
    assert plan.pretraining.pack_settings("o").model_dump(exclude_unset=True) == {
        "size": 384,
        "frame": None,
        "max_megapixels": 200,
        "bad_images": "skip",
    }
    sets = plan.pretraining.image_sets(["f", "o"])
    assert (sets["f"].modality, sets["f"].pack_px, sets["o"].pack_px) == ("Fundus", None, 384)


def test_statistics_are_measured_where_the_config_says_auto() -> None:
    encoders = {
        **RAW["encoders"],
        "fundus": {**RAW["encoders"]["fundus"], "statistics": "auto"},
        "own": {"modality": "OCTA", "weights": "random", "arch": "vit"},
    }
    datasets = {**RAW["datasets"], "a": {"modality": "OCTA", "root": "a", "layout": "vfm", "labels": "none"}}
    octa = {"modalities": {"OCTA": {"statistics": "auto"}}}
    plan = Plan(parse_config({**RAW, **octa, "encoders": encoders, "datasets": datasets}))
    assert plan.statistics("fundus") == ["results/encoders/fundus/statistics.json"]
    assert plan.statistics("fundus")[0] in plan.everything()
    assert plan.measured_datasets("fundus") == ["old"]
    assert plan.pretraining.measure_settings("fundus").every_split == ("old",)
    assert plan.statistics("own") and plan.measured_datasets("own") == ["a"] and not plan.statistics("rest")
    assert plan.encoding.import_settings("own").modality_statistics is None


def test_everything_names_each_artefact_of_the_config_once_below_results(plan: Plan) -> None:
    paths = plan.everything()
    assert len(paths) == len(set(paths)) and all(path.startswith("results/") for path in paths)
    assert "results/encoders/unused/encoder.safetensors" not in paths
    for run in ("seed0", "seed7"):
        for name in ("decoder.safetensors", "training.parquet", "predictions.parquet"):
            assert f"results/tasks/t/m/{run}/{name}" in paths
    assert {"results/datasets/old/labels.parquet", "results/tasks/t/audit.parquet"} <= set(paths)


def test_every_planned_artefact_has_a_place_by_which_readers_know_whether_it_belongs_there(plan: Plan) -> None:
    assert [path for path in plan.everything() if tree._found(Path(path)) is None] == []


def test_a_comparison_is_planned_where_there_are_two_to_compare(plan: Plan) -> None:
    assert (
        plan.comparison("t") == ["results/tasks/t/comparison.parquet"] and plan.comparison("t")[0] in plan.everything()
    )
    runs = ("seed0", "seed7", "knn", "logreg")
    assert plan.compared("t") == [("m", f"results/tasks/t/m/{run}/predictions.parquet") for run in runs]
    for change in ({"compare": "none"}, {"baselines": []}):
        raw = {**RAW, "tasks": {"t": {**RAW["tasks"]["t"], **change}}}
        assert Plan(parse_config(raw)).comparison("t") == []
    raw = {**RAW, "tasks": {"t": {**RAW["tasks"]["t"], "compare": "all"}}}
    assert Plan(parse_config(raw)).tasks.compare_settings("t").pairs == "all"


def test_each_dataset_is_encoded_by_the_encoder_of_its_modality(plan: Plan) -> None:
    assert plan.extractions() == [("fundus", "f"), ("rest", "o"), ("rest", "x")]
    assert plan.task_modalities("t") == ["Fundus", "OCT"]
    assert [dataset for dataset, _ in plan.task_features("t", "m")] == ["f", "o", "o", "x"]


def test_four_views_where_a_task_trains_and_one_where_it_only_tests(plan: Plan) -> None:
    assert plan.encoding.extract_settings("fundus", "f").views == ["identity", "h", "v", "hv"]
    assert plan.encoding.extract_settings("rest", "x").views == ["identity"]
    assert plan.encoding.extract_settings("rest", "o").bad_images == "skip"
    assert [plan.encoding.extract_settings(name, "f").gpu for name in ("fundus", "rest", "unused")] == [0, 2, 0]


def test_volumes_are_encoded_as_they_are_unless_flips_are_asked_for() -> None:
    for more, views in (({"frames": "all"}, 1), ({"frames": "all", "views": "flips"}, 4), ({"views": "identity"}, 1)):
        raw = {**RAW, "datasets": {**RAW["datasets"], "o": {**RAW["datasets"]["o"], **more}}}
        assert len(Plan(parse_config(raw)).encoding.extract_settings("rest", "o").views) == views
        raw["tasks"] = {"t": {**RAW["tasks"]["t"], "tta": "flips"}}
        assert len(Plan(parse_config(raw)).encoding.extract_settings("rest", "o").views) == 4


def test_how_slices_are_pooled_is_no_matter_of_baselines_or_samples() -> None:
    fused = {**RAW["tasks"]["t"], "unit": "subject", "fusion": "concat"}
    plans = [Plan(parse_config({**RAW, "tasks": {"t": {**fused, "slices": how}}})) for how in ("mean", "attention")]
    one, other = ({run: plan.tasks.train_settings("t", "m", run) for run in ("seed0", "knn")} for plan in plans)
    assert one["knn"] == other["knn"] and one["seed0"] != other["seed0"]
    assert "slices" not in one["seed0"].what_matters()
    assert plans[0].tasks.fuse_settings("t") == plans[1].tasks.fuse_settings("t")
    with pytest.raises(ConfigError, match="joins images of a unit"):
        parse_config({**RAW, "tasks": {"t": {**RAW["tasks"]["t"], "slices": "attention"}}})


def test_targets_are_spelled_out(plan: Plan) -> None:
    targets = plan.tasks.fuse_settings("t").targets
    assert (targets["dr"].classes, targets["dr"].values) == (["negative", "positive"], [[0], [1]])
    assert targets["signs"].columns() == ["dr", "label"] and targets["grade"].columns() == ["label"]
    assert targets["grade"].values == [[0], [1, "x"]]
    assert plan.tasks.targets("t")["grade"] == TargetSpec(type="multiclass", classes=["a", "b"], ordered=True)


def test_the_audit_reads_the_pretraining_images_of_the_tasks_encoders(plan: Plan) -> None:
    settings = plan.data.audit_settings("t")
    assert settings.pretraining == {"fundus": ["old"]} and plan.audited_datasets("t") == ["f", "o", "x", "old"]
    assert settings.allow_leakage == {"x": "same people on purpose"}
    assert [(target.column, target.classes) for target in settings.targets] == [
        *[("dr", [[0], [1]]), ("dr", []), ("label", [[0], [1, "x"]]), ("label", [])]
    ]
    assert settings.bad_images == {"f": "fail", "o": "skip", "x": "fail"}


STAGES: list[tuple[str, tuple[str, ...]]] = [
    ("data.index_settings", ("o", ".1")),
    ("data.label_settings", ("f",)),
    ("data.audit_settings", ("t",)),
    ("encoding.import_settings", ("fundus",)),
    ("encoding.extract_settings", ("rest", "o")),
    ("tasks.fuse_settings", ("t",)),
    ("tasks.train_settings", ("t", "m", "seed7")),
    ("tasks.predict_settings", ("t", "m", "seed7")),
    ("tasks.evaluate_settings", ("t", "m")),
    ("tasks.compare_settings", ("t",)),
    ("report_settings", ()),
]


@pytest.mark.parametrize(("name", "arguments"), STAGES, ids=lambda value: value if isinstance(value, str) else "")
def test_settings_survive_the_command_line(name: str, arguments: tuple[str, ...], plan: Plan) -> None:
    settings = attrgetter(name)(plan)(*arguments)
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings


def test_settings_that_do_not_fit_are_a_usage_error() -> None:
    for text in ("", "{", "[]", '{"modality": "OCT", "layout": "vfm", "colour": 1}', '{"modality": 1}'):
        with pytest.raises(UsageError, match="--settings does not fit this stage"):
            IndexSettings.model_validate_json(text)


def changes(edit: dict[str, Any], section: str) -> set[str]:
    """The stages whose settings a change of one block changes."""
    raw = {**RAW, section: {**RAW[section], **edit}}
    before, after = Plan(parse_config(RAW)), Plan(parse_config(raw))
    return {
        f"{name}{arguments}"
        for name, arguments in STAGES
        if name != "report_settings" and attrgetter(name)(before)(*arguments) != attrgetter(name)(after)(*arguments)
    }


def test_moving_a_dataset_changes_no_stage() -> None:
    assert changes({"f": {**RAW["datasets"]["f"], "root": "elsewhere"}}, "datasets") == set()


def test_a_new_task_on_the_same_datasets_encodes_nothing() -> None:
    assert changes({"t2": {**RAW["tasks"]["t"], "seeds": [1]}}, "tasks") == set()


def test_another_split_changes_labels_alone() -> None:
    assert changes({"f": {**RAW["datasets"]["f"], "split": {"seed": 1}}}, "datasets") == {"data.label_settings('f',)"}


def test_other_weights_change_the_import_alone() -> None:
    other = {"fundus": {**RAW["encoders"]["fundus"], "weights": "moved/w2.pth"}}
    assert changes(other, "encoders") == {"encoding.import_settings('fundus',)"}


def test_fifty_datasets_in_twenty_tasks_of_five_models_are_planned(tmp_path: Path) -> None:
    lines = ["encoders: {e: {modality: any, weights: w.pth}}", "models:"]
    lines += [f"  m{i}: {{any: e}}" for i in range(5)] + ["datasets:"]
    lines += [f"  d{i}: {{modality: OCT, root: d{i}, layout: vfm, labels: [y]}}" for i in range(50)] + ["tasks:"]
    names = ", ".join(f"d{i}" for i in range(50))
    task = (
        f"{{kind: classification, datasets: [{names}], models: [m0, m1, m2, m3, m4], targets: {{y: {{type: binary}}}}}}"
    )
    lines += [f"  t{i}: {task}" for i in range(20)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    plan = Plan(load_config(tmp_path / "c.yaml"))
    assert len(plan.everything()) > 20 * 5 * 6


def test_settings_of_the_report_keep_what_a_block_sets_to_its_own_default() -> None:
    """A recipe may say otherwise: `local_crops` is 8 there and 0 by itself."""
    pretrain = {"datasets": ["f"], "arch": "vit_tiny_patch16_224", "recipe": "modern", "augment": {"local_crops": 0}}
    raw = {**RAW, "encoders": {**RAW["encoders"], "own": {"modality": "Fundus", "pretrain": pretrain}}}
    plan = Plan(parse_config(raw))
    again = Plan(Config.model_validate_json(json.dumps(plan.report_settings().config)))
    for one in (plan, again):
        assert one.pretraining.block("own").recipe_values().augment.local_crops == 0
