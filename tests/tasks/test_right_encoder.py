"""A decoder is applied to images that were encoded as its own were, and refused anything else: what a user sees."""

import json
from pathlib import Path
from typing import Any

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
)  # fmt: skip
from world.dense_project import DenseProject
from world.dense_project import write_encoder as write_dense_encoder
from world.finetuning_data import Project as TunedProject
from world.small_project import write_encoder, write_images, write_index

from visionfm import artifacts, cli
from visionfm.tasks.predict import predict
from visionfm.tasks.train import train

ARTIFACT = 4  # exit code
COUNT = 20


class Clinic:
    """A folder of images, encoders of one architecture, and a decoder trained with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.encoders = {name: write_encoder(folder / f"{name}.safetensors", seed) for seed, name in enumerate("ab")}
        paths = write_images(folder / "photos", COUNT)
        write_index(folder / "images.parquet", folder / "photos")
        listed = artifacts.read_table(folder / "images.parquet").to_pylist()
        ids = {row["path"].removeprefix("eyes/"): row["image_id"] for row in listed}
        same = {"modality": "Fundus", "dataset": "eyes"}
        images = [[{**same, "path": name, "image_id": ids[name]}] for name in sorted(ids)]
        labels = {"sick": [float(n % 3 == 0) for n in range(len(paths))]}
        self.samples = folder / "samples.parquet"
        self.train_table = write_samples(self.samples, images, splits_of(COUNT), labels, BINARY)
        self.decoder = folder / "decoder.safetensors"
        self.right = self.embed("right.h5", "a", "--views", "identity", "h", "v", "hv")
        settings = train_settings(epochs=2).model_dump_json()
        files = ("--train", str(self.train_table), "--features", f"eyes={self.right}")
        outs = ("--out", str(self.decoder), "--training-out", str(folder / "training.parquet"))
        assert cli.main(["train", *files, *outs, "--settings", settings]) == 0

    def embed(self, name: str, encoder: str, *more: str) -> Path:
        """`visionfm embed`; return the cache."""
        out = self.folder / name
        same = ("--workers", "0", "--device", "cpu", "--encoder", str(self.encoders[encoder]), "--out", str(out))
        assert cli.main(["embed", str(self.folder / "photos/eyes"), *same, *more]) == 0
        return out

    def on_images(self, cache: Path) -> int:
        """`visionfm predict --decoder FILE --features CACHE`."""
        out = ("--out", str(self.folder / "answers.csv"))
        return cli.main(["predict", "--decoder", str(self.decoder), "--features", f"photos={cache}", *out])

    def on_samples(self, cache: Path, **changed: Any) -> int:
        """`predict` as a task whose `decoder` is a file starts it."""
        settings = predict_settings(**changed).model_dump_json()
        files = ("--decoder", str(self.decoder), "--samples", str(self.samples), "--features", f"eyes={cache}")
        return cli.main(["predict", *files, "--out", str(self.folder / "predictions.parquet"), "--settings", settings])


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    return Clinic(tmp_path_factory.mktemp("clinic"))


def test_the_right_encoder_is_applied(clinic: Clinic) -> None:
    assert clinic.on_images(clinic.right) == 0
    assert clinic.on_samples(clinic.right) == 0


@pytest.mark.parametrize(
    ("encoder", "options", "expected", "found"),
    [
        ("b", (), "encoder ", "encoder "),
        ("a", ("--size", "48"), "square32-bilinear-fast", "square48-bilinear-fast"),
        ("a", ("--exact",), "square32-bilinear-fast", "square32-bilinear-exact"),
        ("a", ("--precision", "bf16"), "fp32", "bf16"),
    ],
)
def test_any_other_is_refused(
    clinic: Clinic,
    capsys: pytest.CaptureFixture[str],
    encoder: str,
    options: tuple[str, ...],
    expected: str,
    found: str,
) -> None:
    cache = clinic.embed("other.h5", encoder, *options)
    for apply in (clinic.on_images, clinic.on_samples):
        capsys.readouterr()
        assert apply(cache) == ARTIFACT
        said = capsys.readouterr().err
        assert "learned from other features of Fundus images" in said
        lines = {line.strip().partition(": ")[0]: line for line in said.splitlines() if ": " in line}
        assert expected in lines["expected"] and found in lines["found"] and lines["expected"] != lines["found"]
        assert "decoder.safetensors" in lines["where"] and "encode the images" in lines["what to do"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"targets": {"sick": BINARY["sick"].model_copy(update={"classes": ["yes", "no"]})}}, "targets"),
        ({"fusion": "concat"}, "samples"),
    ],
)
def test_another_question_is_refused(
    clinic: Clinic, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], what: str
) -> None:
    assert clinic.on_samples(clinic.right, **changed) == ARTIFACT
    assert f"its {what} are not those of" in capsys.readouterr().err


def test_each_modality_keeps_its_place_in_whatever_order_the_config_has_them(tmp_path: Path) -> None:
    count, files, of = 40, {}, ("Fundus", "OCT")
    for dataset, modality in enumerate(of):
        cls_NVLD, patch_mean_NVD, hidden_N = planted(count, seed=dataset)
        files[modality] = [write_cache(tmp_path / f"{modality}.h5", cls_NVLD, patch_mean_NVD)]
    images = [[image(n, modality, modality) for modality in of] for n in range(count)]
    samples = tmp_path / "samples.parquet"
    train_table = write_samples(samples, images, splits_of(count), {"sick": (hidden_N > 0) * 1.0}, BINARY, "concat")
    decoder, found = tmp_path / "decoder.safetensors", []
    same = {"fusion": "concat"}
    train(train_table, files, decoder, tmp_path / "t.parquet", train_settings(modalities=[*of], epochs=3, **same))
    for modalities in (of, of[::-1]):
        out = tmp_path / f"{modalities[0]}.parquet"
        predict(decoder, samples, files, out, predict_settings(modalities=[*modalities], **same))
        found.append(artifacts.read_table(out).to_pydict())
    assert found[0] == found[1]


def test_a_decoder_that_does_not_say_its_encoder_is_refused(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    whole = clinic.decoder.read_bytes()
    tensors, metadata = artifacts.read_tensors(clinic.decoder)
    own = ("schema", "stage", "version", "key", "inputs", "seed", "payload_sha256", "file_sha256", "encodings")
    extra = {name: text for name, text in metadata.items() if name not in own}
    made_by = artifacts.provenance("train", {}, {})
    try:
        artifacts.write_tensors(clinic.decoder, tensors, made_by, schema=metadata["schema"], extra=extra)
        assert clinic.on_images(clinic.right) == ARTIFACT
        assert "train the decoder again" in capsys.readouterr().err
    finally:
        clinic.decoder.write_bytes(whole)


def test_a_fine_tuned_decoder_wants_the_encoder_that_was_tuned_with_it(tmp_path: Path) -> None:
    project = TunedProject(tmp_path)
    tuned = project.run(epochs=1)
    seen = json.loads(artifacts.read_metadata(tuned.decoder)["encodings"])["Fundus"][0]
    assert seen["encoder_sha256"] == artifacts.payload_digest(tuned.encoder)
    for encoder, code in ((tuned.encoder, 0), (project.encoder, ARTIFACT)):
        cache = tmp_path / "photos.h5"
        same = ("--workers", "0", "--device", "cpu", "--encoder", str(encoder), "--out", str(cache))
        assert cli.main(["embed", str(project.roots["eyes"]), *same]) == 0
        arguments = ("--decoder", str(tuned.decoder), "--features", f"photos={cache}", "--out", str(tmp_path / "a.csv"))
        assert cli.main(["predict", *arguments]) == code


def test_a_decoder_of_masks_wants_its_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = DenseProject(tmp_path, write_dense_encoder(tmp_path / "a.safetensors"))
    project.dense()
    project.train(epochs=1)
    other = tmp_path / "b.safetensors"
    tensors, metadata = artifacts.read_tensors(project.encoder)
    facts = ("arch", "image_size", "patch", "modality", "mean", "std", "interpolation", "source", "renamed", "dropped")
    artifacts.write_tensors(
        other, {name: value * 2 for name, value in tensors.items()}, artifacts.provenance("import", {}, {}),
        schema=metadata["schema"], extra={name: metadata[name] for name in facts},
    )  # fmt: skip
    settings = json.dumps({"kind": "segmentation", "threads": 1})
    for encoder, code in ((project.encoder, 0), (other, ARTIFACT)):
        files = ("--decoder", str(project.run / "decoder.safetensors"), "--images", str(project.root / "img"))
        outs = ("--out", str(tmp_path / "p.parquet"), "--masks-out", str(tmp_path / "m.zip"))
        assert cli.main(["predict", *files, "--encoder", str(encoder), *outs, "--settings", settings]) == code
    assert "learned from other features" in capsys.readouterr().err
