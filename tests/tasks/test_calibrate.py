"""Stage `calibrate`: maps come from validation alone, stand in the decoder's file, and `predict` applies them."""

import csv

import numpy as np
import pytest
from world.decoder_data import (
    BINARY,
    image,
    planted,
    predict_settings,
    splits_of,
    train_settings,
    write_cache,
    write_samples,
)

from visionfm import artifacts, cli
from visionfm.metrics.calibration import BEFORE
from visionfm.tasks import scored
from visionfm.tasks.calibrate import calibrate
from visionfm.tasks.handover import FROM_ITS_RUN
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import CalibrateSettings, EvaluateSettings
from visionfm.tasks.train import train
from visionfm.tasks.vectors.candidates import candidates
from visionfm.tasks.vectors.recipe import sound

COUNT = 600


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A decoder whose probabilities are too low: cases are rarer in training than in validation and test."""
    folder = tmp_path_factory.mktemp("calibrate") / "task"
    cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
    files = {"eyes": [write_cache(folder / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}
    rng, splits = np.random.default_rng(7), np.array(splits_of(COUNT))
    noisy = hidden_N + rng.normal(0, 0.5, COUNT) > np.where(splits == "train", 0.5, -0.5)
    images = [[image(n)] for n in range(COUNT)]
    write_samples(folder / "samples.parquet", images, splits, {"sick": noisy * 1.0}, BINARY)
    train(
        folder / "train.parquet", files, folder / "decoder.safetensors", folder / "training.parquet", train_settings()
    )
    return folder, files, images, splits, noisy * 1.0


def settings(method: str = "platt", **changes: str) -> CalibrateSettings:
    return CalibrateSettings(**{"method": method, "kind": "classification", "modalities": ["Fundus"], **changes})


def calibrated(trained, method: str = "platt", name: str = "calibrated", **changes: str):
    folder, files = trained[:2]
    out = folder / f"{name}.safetensors"
    calibrate(folder / "decoder.safetensors", folder / "train.parquet", files, out, settings(method, **changes))
    return out


def predicted(trained, decoder):
    folder, files = trained[:2]
    out = folder / f"{decoder.stem}-predictions.parquet"
    predict(decoder, folder / "samples.parquet", files, out, predict_settings())
    return out


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibrated_answers_are_nearer_to_what_happens(trained, method):
    before = artifacts.read_table(predicted(trained, trained[0] / "decoder.safetensors")).to_pandas()
    after = artifacts.read_table(predicted(trained, calibrated(trained, method, method))).to_pandas()
    assert "uncalibrated" not in before
    np.testing.assert_array_equal(after.uncalibrated.str[0], before.scores.str[0])
    test = after[after.split == "test"]
    brier = [((test[name].str[0] - test.truth) ** 2).mean() for name in ("uncalibrated", "scores")]
    assert brier[1] < brier[0]
    assert (np.diff(after.sort_values("uncalibrated").scores.str[0]) >= -1e-12).all()  # the order stays


def test_test_labels_leave_the_calibrated_decoder_byte_equal(trained):
    folder, _, images, splits, labels = trained
    first = calibrated(trained).read_bytes()
    write_samples(
        folder / "samples.parquet", images, splits, {"sick": np.where(splits == "test", 1 - labels, labels)}, BINARY
    )
    second = calibrated(trained, name="again").read_bytes()
    write_samples(folder / "samples.parquet", images, splits, {"sick": labels}, BINARY)
    assert first == second


def test_other_validation_labels_give_another_map_of_the_same_decoder(trained):
    folder, _, images, splits, labels = trained
    first = artifacts.read_tensors(calibrated(trained))[0]
    changed = np.where((splits == "validation") & (np.arange(COUNT) % 3 == 0), 1 - labels, labels)
    write_samples(folder / "samples.parquet", images, splits, {"sick": changed}, BINARY)
    second = artifacts.read_tensors(calibrated(trained, name="again"))[0]
    write_samples(folder / "samples.parquet", images, splits, {"sick": labels}, BINARY)
    differ = {name for name in first if not np.array_equal(first[name], second[name])}
    assert differ == {"calibration.sick"}


def test_a_calibrated_file_says_what_its_run_chose(trained, tmp_path):
    folder, files = trained[:2]
    recipe = sound().model_copy(update={"epochs": 1})
    asked = train_settings().model_copy(
        update={"recipe": recipe, "candidates": candidates(recipe, ("linear", "logreg"), {"epochs": 1})}
    )
    decoder, out = tmp_path / "decoder.safetensors", tmp_path / "calibrated.safetensors"
    train(folder / "train.parquet", files, decoder, tmp_path / "training.parquet", asked)
    calibrate(decoder, folder / "train.parquet", files, out, settings())
    was, now = artifacts.read_metadata(decoder), artifacts.read_metadata(out)
    assert was["candidate"] and {name: now.get(name) for name in FROM_ITS_RUN} == {
        name: was.get(name) for name in FROM_ITS_RUN
    }


def test_flips_are_averaged_before_the_map(trained):
    assert calibrated(trained, tta="flips", name="flips").read_bytes() != calibrated(trained).read_bytes()


def test_any_images_are_scored_by_the_calibrated_decoder(trained, tmp_path):
    folder, files = trained[:2]
    decoder = calibrated(trained)
    line = [
        "predict",
        "--decoder",
        str(decoder),
        "--features",
        f"eyes={files['eyes'][0]}",
        "--out",
        str(tmp_path / "a.csv"),
    ]
    assert cli.main(line) == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    of_test = artifacts.read_table(predicted(trained, decoder)).to_pandas().set_index("sample_id")
    found = {f"s{row['path'][:4]}": float(row["sick"]) for row in rows}
    for sample, scores in of_test.scores.items():
        assert found[sample] == pytest.approx(scores[0], abs=1e-9)


def test_metrics_hold_calibration_before_and_after_and_thresholds_are_of_calibrated_answers(trained):
    made = EvaluateSettings(task="t", model="m", head="h", fusion="pooled", kind="classification", targets=BINARY)
    after = scored.read([predicted(trained, calibrated(trained))], made)["seed0"]["sick"]
    before = scored.read([predicted(trained, trained[0] / "decoder.safetensors")], made)["seed0"]["sick"]
    rows_N = np.flatnonzero(after.samples.split_N == "test")
    found = {measure.key: measure for measure in after.measures(rows_N)}
    plain = {measure.key: measure for measure in before.measures(rows_N)}
    for metric in ("calibration_intercept", "ece"):
        was, now = found[None, metric, BEFORE], found[None, metric, None]
        assert was.value == plain[None, metric, None].value != now.value and was.interval.low is not None
        assert abs(now.value) < abs(was.value)
    assert found[None, "auroc", None].value == plain[None, "auroc", None].value
    key = None, "sensitivity", "validation"
    assert found[key].threshold != plain[key].threshold and found[key].value == plain[key].value
    assert not any(point == BEFORE for _, _, point in plain)
