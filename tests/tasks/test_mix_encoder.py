"""An encoder of several modalities serves a task as one of the task's modality alone does: bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from world.decoder_data import train_settings
from world.dense_project import MASK, DenseProject
from world.dense_project import write_encoder as dense_encoder
from world.finetuning_data import SIZE_PX, Project, tensors
from world.mixed_encoder import write_mix

from visionfm import artifacts
from visionfm.artifacts.archive import Archive
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError
from visionfm.features import extract
from visionfm.features.cache import read_cache
from visionfm.features.settings import ExtractSettings, TokenReading
from visionfm.tasks.encodings import NAME, Encoding, to_json
from visionfm.tasks.maps.any_images import IMAGES, _of_folder
from visionfm.tasks.maps.settings import DensePredictSettings
from visionfm.tasks.maps.spec import DenseSpec
from visionfm.tasks.train import train


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_classification(project: Project, tmp_path: Path) -> None:
    decoders = []
    for name, encoder in (
        ("plain", project.encoder),
        ("mix", write_mix(project.encoder, tmp_path / "mix.safetensors")),
    ):
        cache, out = tmp_path / name / "eyes.cls32.h5", tmp_path / name / "decoder.safetensors"
        images = [extract.IndexedImage(image["path"], image["image_id"]) for image in project.images]
        source = extract.Source(project.roots["eyes"], encoder, artifacts.payload_digest(encoder))
        settings = ExtractSettings(size=SIZE_PX, modality="Fundus" if name == "mix" else None, device="cpu", workers=0)
        extract.extract(images, source, settings, cache, artifacts.provenance("extract", {}, {}))
        assert read_cache(cache).metadata["transform"].endswith("-Fundus") == (name == "mix")
        chosen = train_settings(targets=project.targets, epochs=2)
        train(project.train, {"eyes": [cache]}, out, out.with_name("training.parquet"), chosen)
        decoders.append(tensors(out))
    for name, value in decoders[0].items():
        np.testing.assert_array_equal(value, decoders[1][name], err_msg=name)


def test_fine_tuning(project: Project, tmp_path: Path) -> None:
    plain = project.run("plain", epochs=1)
    project.encoder = write_mix(project.encoder, tmp_path / "mix.safetensors")
    mix = project.run("mix", epochs=1)
    for name, value in tensors(plain.encoder).items():
        np.testing.assert_array_equal(value, tensors(mix.encoder)[name], err_msg=name)
    said = read_encoder_file(mix.encoder)
    assert said.modality == "Fundus" and not said.is_mix, "what was fine-tuned on one modality is an encoder of it"
    assert said.statistics() == read_encoder_file(plain.encoder).statistics()
    with pytest.raises(DataError, match="Fundus, OCT"):
        project.run("both", epochs=1, modalities=["Fundus", "OCT"])


def test_segmentation_from_the_cache_and_streamed(tmp_path: Path) -> None:
    plain = dense_encoder(tmp_path / "plain.safetensors")
    mix = write_mix(plain, tmp_path / "mix.safetensors")
    of_fundus = {"eyes": TokenReading(modality="Fundus")}
    found = {}
    for name, encoder, max_gb in (("plain", plain, 20), ("mix", mix, 20), ("streamed", mix, 0)):
        project = DenseProject(tmp_path / name, encoder)
        own = {} if name == "plain" else {"datasets": of_fundus}
        project.dense(max_gb=max_gb, **({} if name == "plain" else {"modality": "Fundus"}))
        # A published head sees the image itself too, normalised by the same statistics.
        project.train(epochs=1, head="unetr", **own)
        project.predict(**own)
        masks = Archive(project.run / "masks.zip")
        found[name] = (tensors(project.run / "decoder.safetensors"), {one: masks.read(one) for one in masks.names})
    for name in ("mix", "streamed"):
        assert found[name][1] == found["plain"][1]
        for tensor, value in found["plain"][0].items():
            np.testing.assert_array_equal(value, found[name][0][tensor], err_msg=f"{name}: {tensor}")


def test_a_folder_of_images_is_taken_for_the_decoders_modality(tmp_path: Path) -> None:
    plain = dense_encoder(tmp_path / "plain.safetensors")
    mix, decoder = write_mix(plain, tmp_path / "mix.safetensors"), tmp_path / "decoder.safetensors"
    seen = Encoding("0" * 64, "square64-bicubic-exact-OCT", "[3, 5, 7, 11]", "bf16")
    spec = DenseSpec("segmentation", MASK, ["OCT"], "light", 64, 16, 192, 1, 0.0, None, [])
    extra = {**spec.metadata(), NAME: to_json({"OCT": [seen]})}
    artifacts.write_tensors(decoder, {}, artifacts.provenance("train", {}, {}), schema=spec.SCHEMA, extra=extra)
    settings = DensePredictSettings(kind="segmentation")
    of_mix = _of_folder(settings, decoder, mix)
    read = TokenReading(interpolation="bicubic", exact_decode=True, precision="bf16")
    assert of_mix.modalities == ["OCT"]
    assert of_mix.datasets[IMAGES] == read.model_copy(update={"modality": "OCT"})
    assert _of_folder(settings, decoder, plain).datasets[IMAGES] == read, "and its images are read as the decoder's own"


def test_settings_of_other_encoders_do_not_mention_the_modality() -> None:
    assert "modality" not in TokenReading().model_dump(mode="json")
    assert TokenReading(modality="OCT").model_dump(mode="json")["modality"] == "OCT"
