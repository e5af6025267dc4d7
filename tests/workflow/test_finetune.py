"""A fine-tuned task in the workflow: images to report, free reruns, an encoder that others can use."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from rerun_project import Project

from visionfm import artifacts
from visionfm.tasks.package.making import package
from visionfm.tasks.package.model import load_model

TUNED = "results/tasks/tuned/tiny"


@pytest.fixture
def tuned(project: Project) -> Project:
    """The finished project with one more task, which is fine-tuned."""
    config = project.config
    training = {"mode": "finetune", "epochs": 2, "trainable": {"last": 1}, "workers": 0}
    config["tasks"] = {"tuned": {**config["tasks"]["sick_a"], "training": training, "train_fraction": []}}
    project.config = config
    return project


def test_it_runs_to_the_report_with_its_own_features_and_its_reruns_are_free(tuned: Project) -> None:
    calls = tuned.run()
    computed = Counter(call.stage for call in calls if not call.unchanged)
    # The baseline stands on the frozen features, which were there.
    assert computed == {
        **dict.fromkeys(("audit", "fuse", "finetune", "train", "extract", "evaluate", "compare", "report"), 1),
        "predict": 2,
    }
    folder = tuned.folder / TUNED / "seed0"
    assert artifacts.read_metadata(folder / "encoder.safetensors")["schema"] == "visionfm/encoder/1"
    features = artifacts.read_metadata(folder / "features/a.cls32.h5")
    assert features["encoder_sha256"] == artifacts.payload_digest(folder / "encoder.safetensors")
    page = (tuned.folder / "results/report/index.html").read_text()
    assert "Encoders fine-tuned with their decoders, recipe modern" in page and "logreg" in page
    assert tuned.run() == []
    assert [call.stage for call in tuned.run("-F") if not call.unchanged] == []
    its_package_answers_by_its_own_encoder(tuned.folder)
    config = tuned.config
    config["tasks"]["tuned"]["training"]["layer_decay"] = 0.9
    tuned.config = config
    computed = Counter(call.stage for call in tuned.run() if not call.unchanged)
    assert computed == {**dict.fromkeys(("finetune", "extract", "predict", "evaluate", "compare", "report"), 1)}


def its_package_answers_by_its_own_encoder(run: Path) -> None:
    package(run / TUNED, run / "tuned.vfm", "A test.")
    rows = artifacts.read_table(run / TUNED / "seed0/predictions.parquet").to_pandas()
    rows = rows[rows["subset"] == "all"].set_index("sample_id")["scores"]
    samples = artifacts.read_table(run / TUNED / "samples.parquet").to_pandas().set_index("sample_id")["images"]
    root = run / yaml.safe_load((run / "config.yaml").read_text())["datasets"]["a"]["root"]
    photos = [root / samples[name][0]["path"] for name in rows.index]
    found = load_model(run / "tuned.vfm", device="cpu").predict(photos)
    np.testing.assert_array_equal(found["sick"], [scores[0] for scores in rows])


@pytest.mark.slow
def test_its_encoder_can_be_named_as_weights_in_the_same_config(tuned: Project) -> None:
    config = tuned.config
    config["encoders"]["mine"] = {
        **config["encoders"]["fundus"],
        "weights": f"{TUNED}/seed0/encoder.safetensors",
    }
    config["models"]["mine"] = {"Fundus": "mine"}
    config["tasks"]["again"] = {
        **config["tasks"]["tuned"], "training": {"epochs": 2}, "models": ["tiny", "mine"], "baselines": []
    }  # fmt: skip
    tuned.config = config
    tuned.run()
    imported = artifacts.read_tensors(tuned.folder / "results/encoders/mine/encoder.safetensors")[0]
    written = artifacts.read_tensors(tuned.folder / TUNED / "seed0/encoder.safetensors")[0]
    assert all((imported[name] == written[name]).all() for name in written)
    assert tuned.run() == []
