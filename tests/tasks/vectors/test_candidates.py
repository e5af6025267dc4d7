"""`auto`: validation chooses head and features, says what it chose, and a stop in the middle computes nothing twice."""

from pathlib import Path

import numpy as np
import pytest
from world.decoder_data import BINARY, image, predict_settings, splits_of, train_settings, write_cache
from world.decoder_data import write_samples as write
from world.tokens import lesions, write_tokens

from visionfm import artifacts
from visionfm.errors import Stopped
from visionfm.tasks import train as stage
from visionfm.tasks.predict import predict
from visionfm.tasks.regression import fit
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.train import train
from visionfm.tasks.vectors.candidates import candidates
from visionfm.tasks.vectors.decoder import load_own
from visionfm.tasks.vectors.recipe import sound

HEADS, COUNT, EPOCHS = ("linear", "attentive", "logreg"), 150, 4
GIVEN = {"epochs": EPOCHS, "lr": 0.03}


def world(folder: Path, in_vectors: bool) -> tuple[Path, dict[str, list[Path]]]:
    """A table of samples and both caches; the sign lies in the vectors, or in one patch of each sick image."""
    folder.mkdir()
    tokens_NLPD, sick_N = lesions(COUNT, 0, strength=0.0 if in_vectors else 40.0)
    rng = np.random.default_rng(1)
    vectors_NVD = rng.normal(size=(COUNT, 1, 6)) + (3 * sick_N[:, None, None] if in_vectors else 0)
    files = [
        write_cache(folder / "eyes.cls224.h5", vectors_NVD[:, :, None], vectors_NVD, ("identity",)),
        write_tokens(folder / "eyes.dense224.h5", tokens_NLPD),
    ]
    rows = [[image(n)] for n in range(COUNT)]
    table = write(folder / "s.parquet", rows, splits_of(COUNT), {"sick": sick_N.astype(float)}, BINARY)
    return table, {"eyes": files}


def settings_of(heads=HEADS, **given):
    recipe = sound().model_copy(update={**GIVEN, **given})
    tried = candidates(recipe, heads, {**GIVEN, **given})
    return train_settings(BINARY).model_copy(update={"recipe": recipe, "candidates": tried})


def run(table: Path, files, settings) -> Path:
    out = table.with_name("decoder.safetensors")
    train(table, files, out, table.with_name("training.parquet"), settings)
    return out


@pytest.mark.parametrize(("in_vectors", "best"), [(True, ("linear", "logreg")), (False, ("attentive",))])
def test_validation_chooses_the_head_that_sees_the_sign_and_says_so(tmp_path, in_vectors, best) -> None:
    table, files = world(tmp_path / "w", in_vectors)
    decoder = run(table, files, settings_of())
    said = artifacts.read_metadata(decoder)["candidate"]
    assert said.split("-")[0] in best
    assert load_own(decoder).spec.head == {"logreg-both": "linear", "linear-both": "linear"}.get(said, said)
    rows = artifacts.read_table(decoder.with_name("training.parquet")).to_pandas()
    losses = rows.groupby("candidate")["candidate_loss"].first()
    assert set(losses.index) == {"linear-both", "attentive", "logreg-both"} and losses.idxmin() == said
    assert (rows["chosen"] == (rows["candidate"] == said)).all()
    epochs = rows[(rows["candidate"] == "attentive") & rows["best"]]
    assert epochs["validation_loss"].item() == losses["attentive"], "as the candidate's own training says"
    predict(decoder, table.with_name("s.parquet"), files, tmp_path / "p.parquet", predict_settings(BINARY))
    found = artifacts.read_table(tmp_path / "p.parquet").to_pandas().query("split == 'test'")
    sick = found["scores"].str[0] > 0.5
    assert (sick == (found["truth"] > 0)).mean() > 0.8


def test_features_are_chosen_among_all_that_the_cache_holds(tmp_path) -> None:
    table, files = world(tmp_path / "w", in_vectors=True)
    decoder = run(table, files, settings_of((), features="auto"))
    assert artifacts.read_metadata(decoder)["features"] in ("both", "cls", "last_cls", "patch_mean")
    rows = artifacts.read_table(decoder.with_name("training.parquet")).to_pandas()
    assert list(rows["candidate"].unique()) == ["linear-both", "linear-cls", "linear-last_cls", "linear-patch_mean"]


def test_the_last_blocks_cls_token_alone_is_read(tmp_path) -> None:
    rng = np.random.default_rng(0)
    cls_NVLD, mean_NVD = rng.normal(size=(3, 1, 4, 5)), rng.normal(size=(3, 1, 5))
    path = write_cache(tmp_path / "eyes.cls224.h5", cls_NVLD, mean_NVD, ("identity",))
    store = stage.cache.FeatureStore({"eyes": [path]})
    names = [("eyes", image(n)["path"], image(n)["image_id"]) for n in range(3)]
    assert store.width("last_cls") == 5
    np.testing.assert_array_equal(store.gather(names, "last_cls")[:, 0], cls_NVLD[:, 0, -1].astype(np.float32))


def test_a_stop_between_candidates_ends_in_a_clean_runs_bytes_and_trains_none_again(tmp_path, monkeypatch) -> None:
    table, files = world(tmp_path / "clean", in_vectors=False)
    clean = run(table, files, settings_of(("linear", "attentive"))).read_bytes()
    table, files = world(tmp_path / "stopped", in_vectors=False)
    fit, stops, epochs = stage._fit, [True], []

    def stopping(samples, gathered, settings, *rest, **more):
        if settings.recipe.head == "attentive" and stops:
            stops.clear()
            raise Stopped("a signal")
        return fit(samples, gathered, settings, *rest, **more)

    monkeypatch.setattr(stage, "_fit", stopping)
    with pytest.raises(Stopped):
        run(table, files, settings_of(("linear", "attentive")))
    from visionfm.tasks.vectors.training import Training

    steps = Training._epoch
    monkeypatch.setattr(Training, "_epoch", lambda self, stop: epochs.append(self.recipe.head) or steps(self, stop))
    assert run(table, files, settings_of(("linear", "attentive"))).read_bytes() == clean
    assert epochs == ["attentive"] * EPOCHS
    assert not list(tmp_path.rglob("training-*"))


def test_losses_of_values_are_of_one_unit_whichever_head_is_tried() -> None:
    targets = {"thickness": TargetSpec(type="value", unit="um")}
    tried = candidates(sound(), ("linear", "attentive"), {})
    settings = train_settings(targets, kind="regression")
    truth_NT = np.array([[250.0], [300.0], [350.0]])
    made = [fit.make(settings, one.recipe, truth_NT).constants() for one in tried.values()]
    assert made[0] == made[1] and made[0]["targets.mean"] == 300
