"""A packaged model answers as the pipeline did, on nothing but the package; and says what it does not know."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from world.decoder_data import BINARY
from world.handed_over import EVENTS, GRADES, SIGNS, USE, VALUES, Run

from visionfm import artifacts, cli
from visionfm.artifacts.archive import writing
from visionfm.errors import ArtifactError, UsageError
from visionfm.tasks.package import contents, making
from visionfm.tasks.package.card import card
from visionfm.tasks.package.making import package
from visionfm.tasks.package.model import Model, load_model
from visionfm.tasks.package.novelty import Novelty

ARTIFACT = 4  # exit code


def answered(folder: Path, run: str = "seed0") -> pd.DataFrame:
    """What the pipeline answered to its validation and test samples, in the order of the samples."""
    rows = artifacts.read_table(folder / run / "predictions.parquet").to_pandas()
    return rows[rows["subset"] == "all"].sort_values(["target", "class", "sample_id"], kind="stable")


def photos(run: Run, folder: Path, dataset: str = "eyes", of: str = "seed0") -> list[Path]:
    """The images of those samples."""
    names = answered(folder, of)["sample_id"].unique()
    paths = sorted(run.ids[dataset])
    modality = {"eyes": "Fundus", "scans": "OCT"}[dataset]
    return [run.folder / modality / paths[int(name[1:])] for name in names]


def test_a_package_alone_answers_as_the_pipeline_to_the_bit(
    run: Run, sick: Path, sick_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.csv"
    words = [str(path) for path in photos(run, sick)]
    assert cli.main(["predict", "--model", str(sick_model), *words, "--out", str(out), "--workers", "0"]) == 0
    found = pd.read_csv(out)
    assert found["status"].eq("ok").all()
    np.testing.assert_allclose(found["sick"], [scores[0] for scores in answered(sick)["scores"]], rtol=1e-14)
    frame = load_model(sick_model, device="cpu").predict(photos(run, sick))
    np.testing.assert_array_equal(frame["sick"], [scores[0] for scores in answered(sick)["scores"]])


def test_thresholds_and_sets_are_those_of_the_pipelines_metrics(sick: Path, sick_model: Path) -> None:
    metrics = artifacts.read_table(sick / "metrics.parquet").to_pandas()
    with contents.opened(sick_model) as (said, _):
        (question,) = said.questions
    for point, threshold in question.points.items():
        rows = metrics[(metrics["operating_point"] == point) & metrics["threshold"].notna()]
        assert rows["threshold"].eq(threshold).all() and len(rows)
    assert set(question.points) == {"0.5", "validation", "sensitivity 0.9"}
    limit = metrics[metrics["operating_point"] == "conformal 0.8"]["threshold"]
    assert limit.eq(question.limit).all() and len(limit)


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_seeds_become_an_ensemble_with_its_spread(run: Run, hidden: np.ndarray, tta: str) -> None:
    labels = [[float(value > 0), float(value > 1)] for value in hidden]
    folder = run.task(f"signs_{tta}", SIGNS, labels, kind="classification", seeds=2, tta=tta)
    found = load_model(run.packaged(folder), device="cpu").predict(photos(run, folder))
    both = [np.array([scores[0] for scores in answered(folder, name)["scores"]]) for name in ("seed0", "seed1")]
    asked = len(found)
    for at, label in enumerate(["blue", "red"]):  # sorted as `answered` sorts
        members = np.stack([one[at * asked : (at + 1) * asked] for one in both])
        np.testing.assert_array_equal(found[f"signs.{label}"], members.mean(axis=0))
        np.testing.assert_array_equal(found[f"signs.{label} highest"], members.max(axis=0))


def test_decoders_of_folds_are_an_ensemble_in_which_each_answers_as_it_did(run: Run, hidden: np.ndarray) -> None:
    labels = (hidden > 0).astype(float)
    folder = run.task("folded", BINARY, labels, kind="classification", seeds=2, folds=2)
    names = [f"seed{seed}-fold{fold}" for seed in range(2) for fold in range(2)]
    with contents.opened(model := run.packaged(folder)) as (said, _):
        assert [member.run for member in said.members] == names
    loaded = load_model(model, device="cpu")
    for name in names:
        rows = answered(folder, name)
        found = loaded.predict(photos(run, folder, of=name))
        own = np.array([scores[0] for scores in rows["scores"]])
        assert ((found["sick lowest"] <= own) & (own <= found["sick highest"])).all()
        assert ((found["sick lowest"] < found["sick"]) & (found["sick"] < found["sick highest"])).all()


def test_the_risk_of_an_event_is_packaged(run: Run, hidden: np.ndarray) -> None:
    days = np.maximum(1, np.ceil(500 * np.exp(-hidden)))
    seen = {"interval_days": np.minimum(days, 800)}
    folder = run.task("worse", EVENTS, (days <= 800).astype(float), kind="progression", more=seen)
    found = load_model(run.packaged(folder), device="cpu").predict(photos(run, folder))
    of_days = found[["worse.by 365 days", "worse.by 730 days"]].to_numpy()
    np.testing.assert_array_equal(of_days, np.stack(answered(folder)["scores"]))


def test_one_encoder_of_several_modalities_reads_each_by_its_own_statistics(hidden: np.ndarray, tmp_path: Path) -> None:
    run = Run(tmp_path, mix=True)
    labels = (hidden > 0).astype(float)
    folder = run.task("sick", BINARY, labels, kind="classification", datasets=("eyes", "scans"), fusion="attention")
    with contents.opened(model := run.packaged(folder)) as (said, _):
        assert [(one.modality, one.mixed) for one in said.encoders] == [("Fundus", True), ("OCT", True)]
    pairs = zip(photos(run, folder), photos(run, folder, "scans"), strict=True)
    given = {f"s{at:03}": {"Fundus": eye, "OCT": scan} for at, (eye, scan) in enumerate(pairs)}
    found = load_model(model, device="cpu").predict(given)
    np.testing.assert_array_equal(found["sick"], [scores[0] for scores in answered(folder)["scores"]])


def test_grades_and_values_are_packaged(run: Run, hidden: np.ndarray) -> None:
    grades = run.task("grades", GRADES, np.digitize(hidden, [-0.5, 0.5]).astype(float), kind="ordinal")
    found = load_model(run.packaged(grades), device="cpu").predict(photos(run, grades))
    np.testing.assert_array_equal(found["grade"], answered(grades)["value"])
    assert set(found["grade call"]) <= {"none", "mild", "severe"}
    values = run.task("thick", VALUES, 250 + 20 * hidden, kind="regression")
    found = load_model(run.packaged(values), device="cpu").predict(photos(run, values))
    np.testing.assert_array_equal(found["thickness"], answered(values)["value"])


def test_photos_in_folders_by_modality_are_joined_by_name(run: Run, hidden: np.ndarray, tmp_path: Path) -> None:
    labels = (hidden > 0).astype(float)
    folder = run.task("joined", BINARY, labels, kind="classification", datasets=("eyes", "scans"), fusion="attention")
    model = load_model(run.packaged(folder), device="cpu")
    given = {
        f"s{at:03}": {"Fundus": eye, "OCT": scan}
        for at, (eye, scan) in enumerate(zip(photos(run, folder), photos(run, folder, "scans"), strict=True))
    }
    found = model.predict(given)
    np.testing.assert_array_equal(found["sick"], [scores[0] for scores in answered(folder)["scores"]])
    for sample, images in list(given.items())[:3]:
        for modality, path in images.items():
            (tmp_path / "photos" / modality).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / modality / f"{sample}{path.suffix}").write_bytes(path.read_bytes())
    again = model.predict(tmp_path / "photos")
    assert again["sample"].tolist() == ["s000", "s001", "s002"]
    # Asked together with others, the last bits of float32 are others.
    np.testing.assert_allclose(again["sick"], found["sick"][:3], rtol=1e-6)
    (tmp_path / "photos/OCT/s001.png").unlink(missing_ok=True)
    (tmp_path / "photos/OCT/s001.jpg").unlink(missing_ok=True)
    assert model.predict(tmp_path / "photos")["modality"].tolist() == ["Fundus+OCT", "Fundus", "Fundus+OCT"]


def test_what_cannot_be_read_and_what_is_unlike_all_else_is_named(sick_model: Path, run: Run, tmp_path: Path) -> None:
    (good, *_) = sorted((run.folder / "Fundus/eyes").iterdir())
    (tmp_path / "good.jpg").write_bytes(good.read_bytes())
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    model = load_model(sick_model, device="cpu")
    found = model.predict(tmp_path).set_index("image")
    assert found.loc["cut.jpg", "status"].startswith("truncated") and pd.isna(found.loc["cut.jpg", "sick"])
    assert "constant" in found.loc["black.png", "doubts"]
    assert "unlike" not in found.loc["good.jpg", "doubts"] and found.loc["good.jpg", "typicality"] > 0.1
    model.novelty = {"Fundus": model.novelty["Fundus"]._replace(distance_V=np.zeros(200))}  # all of them were closer
    found = model.predict(tmp_path).set_index("image")
    assert "unlike the Fundus images of training" in found.loc["good.jpg", "doubts"]


def test_typicality_is_a_share_of_images_that_were_not_learned_from() -> None:
    draw = np.random.default_rng(0)
    mix_DD = draw.normal(size=(8, 8))
    known = Novelty.of(draw.normal(size=(300, 8)) @ mix_DD, draw.normal(size=(199, 8)) @ mix_DD)
    new_N = known.typicality(draw.normal(size=(1000, 8)) @ mix_DD)
    assert new_N.min() >= 1 / 200 and new_N.max() <= 1
    np.testing.assert_allclose(np.quantile(new_N, [0.05, 0.5]), [0.05, 0.5], atol=0.05)  # uniform, as it promises
    far_N = known.typicality(draw.normal(size=(5, 8)) @ mix_DD * 20)
    assert known.is_rare(far_N).all() and known.is_rare(new_N).mean() < 0.03


def test_nothing_of_a_patient_is_in_it(run: Run, sick: Path, sick_model: Path) -> None:
    samples = artifacts.read_table(sick / "samples.parquet").to_pandas()
    with zipfile.ZipFile(sick_model) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist()) + archive.comment
    for name in [*samples["subject_id"], *run.ids["eyes"], *run.ids["eyes"].values()]:
        assert name.encode() not in content
    assert str(run.folder).encode() not in content
    for path in photos(run, sick)[:5]:
        assert path.read_bytes()[100:160] not in content


def test_the_card_says_use_numbers_and_licences(sick_model: Path) -> None:
    with contents.opened(sick_model) as (_, folder):
        card = (folder / contents.CARD).read_text()
    for text in (USE, "CC0-1.0", "no medical device", "AUROC", "36 images of train", "sensitivity 0.9"):
        assert text in card


def test_the_card_of_folds_promises_less(sick: Path, sick_model: Path) -> None:
    metrics = artifacts.read_table(sick / "metrics.parquet").to_pandas()
    with contents.opened(sick_model) as (said, _):
        (one,) = said.members
        folds = [one.model_copy(update={"run": f"seed0-fold{fold}"}) for fold in range(2)]
    text = card(said.model_copy(update={"members": folds}), metrics)
    assert "The first decoder: 36 images of train" in text and "they have seen everybody" in text
    assert "none on test data" not in text and "is not exact" in text
    assert "none on test data" in card(said, metrics)


def changed(model: Path, out: Path, change: Any) -> Path:
    """The package, sealed again after `change` on its files by name."""
    with zipfile.ZipFile(model) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with writing(out, artifacts.Provenance("package", 1, ""), schema=contents.SCHEMA) as archive:
        for name, data in files.items():
            archive.add(name, data)
    return out


def with_text(before: str, after: str) -> Any:
    def change(files: dict[str, bytes]) -> None:
        text = files[contents.MODEL].decode()
        assert before in text
        files[contents.MODEL] = text.replace(before, after, 1).encode()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.update({"../../evil.sh": b"x"}), "holds no model"),
        (lambda files: files.pop(contents.CARD), "holds no model"),
        (lambda files: files.update({contents.MODEL: b"{}"}), "holds no model"),
        (lambda files: files.update({contents.CARD: bytes(2 << 20)}), "damaged"),
        (with_text('"Fundus": 0', '"Fundus": 7'), "holds no model"),
        (with_text('"type": "binary"', '"type": "value"'), "not the one that its package says"),
        (lambda files: files.update({contents.encoder_name(0): b"x"}), "damaged"),
        (with_text('"answers": [\n   [\n    0', '"answers": [\n   [\n    1'), "golden image"),
    ],
)  # fmt: skip
def test_a_package_that_was_tampered_with_is_refused(sick_model: Path, tmp_path: Path, change: Any, said: str) -> None:
    made = changed(sick_model, tmp_path / "made.vfm", change)
    with pytest.raises(ArtifactError, match=said):
        load_model(made, device="cpu")
    assert not (tmp_path.parent / "evil.sh").exists()


def test_a_package_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such packaged model"):
        load_model(tmp_path / "m.vfm", device="cpu")


def test_a_flipped_byte_is_found_before_anything_is_read(sick_model: Path, tmp_path: Path) -> None:
    data = bytearray(sick_model.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.vfm").write_bytes(data)
    words = ["predict", "--model", str(tmp_path / "m.vfm"), str(tmp_path), "--out", str(tmp_path / "a.csv")]
    assert cli.main(words) == ARTIFACT


def test_on_another_processor_a_last_bit_may_differ(sick_model: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO", "visionfm")

    def elsewhere(files: dict[str, bytes]) -> None:
        said = contents.Contents.model_validate_json(files[contents.MODEL])
        assert said.golden is not None
        answers = [[value + 1e-7 for value in of] for of in said.golden.answers]
        machine = said.golden.machine.model_copy(update={"processor": "another"})
        golden = said.golden.model_copy(update={"answers": answers, "machine": machine})
        files[contents.MODEL] = said.model_copy(update={"golden": golden}).model_dump_json().encode()

    assert isinstance(load_model(changed(sick_model, tmp_path / "m.vfm", elsewhere), device="cpu"), Model)
    assert "on another machine" in caplog.text


def test_what_is_not_packaged_is_said(run: Run, sick: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a model's results"):
        package(tmp_path, tmp_path / "m.vfm", USE)
    with pytest.raises(UsageError, match="no decoder"):
        (run.results / "tasks/sick/empty/knn").mkdir(parents=True, exist_ok=True)
        package(run.results / "tasks/sick/empty", tmp_path / "m.vfm", USE)
    with pytest.raises(UsageError, match="intended use"):
        package(sick, tmp_path / "m.vfm", " ")


def test_a_model_that_joins_the_frames_of_files_is_not_packaged(
    sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (member,) = making.members_of(sick)
    frames = [(dataset, f"{path}#1", f"{image_id}:1") for dataset, path, image_id in member.samples.references]
    volumes = replace(member.samples, references=frames)
    joined = replace(member, spec=replace(member.spec, fusion="mean"), samples=volumes)
    monkeypatch.setattr(making, "members_of", lambda folder: [joined])
    with pytest.raises(UsageError, match="a model of volumes"):
        package(sick, tmp_path / "m.vfm", USE)
