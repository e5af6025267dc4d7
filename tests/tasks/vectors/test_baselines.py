"""k-NN and logistic regression on the cached features."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
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
from visionfm.errors import ArtifactError, DataError
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.train import train
from visionfm.tasks.vectors.baselines import C_GRID
from visionfm.tasks.vectors.heads import KnnHead

COUNT = 200
GRADES = {"grade": TargetSpec(type="multiclass", classes=["none", "some", "much"])}


@pytest.fixture
def task(tmp_path):
    """Planted features of 200 images, and a function from labels to (decoder, training table, predictions)."""
    cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
    files = {"eyes": [write_cache(tmp_path / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}

    def run(baseline, labels, targets, **changes):
        images = [[image(n)] for n in range(COUNT)]
        table = write_samples(tmp_path / "samples.parquet", images, splits_of(COUNT), labels, targets)
        out = tmp_path / f"{baseline}.safetensors"
        settings = train_settings(targets, baseline=baseline, **changes)
        train(table, files, out, tmp_path / "training.parquet", settings)
        predict(out, tmp_path / "samples.parquet", files, tmp_path / "p.parquet", predict_settings(targets))
        tables = (artifacts.read_table(tmp_path / name).to_pandas() for name in ("training.parquet", "p.parquet"))
        return (out, *tables)

    return run, cls_NVLD, patch_mean_NVD, hidden_N


def standardised(cls_NVLD, patch_mean_NVD):
    """Features `both` of the identity view, standardised over the training rows."""
    both = np.concatenate([cls_NVLD[:, 0].reshape(COUNT, -1), patch_mean_NVD[:, 0]], axis=1).astype(np.float32)
    train = both[np.array(splits_of(COUNT)) == "train"]
    return (both - train.mean(0)) / train.std(0)


def test_logistic_regression_is_scikit_learns_with_the_best_c_on_validation(task):
    run, cls_NVLD, patch_mean_NVD, hidden_N = task
    truth_N = np.digitize(hidden_N, [-0.4, 0.4])
    _, tried, found = run("logreg", {"grade": truth_N.astype(float)}, GRADES)
    features_NF, splits = standardised(cls_NVLD, patch_mean_NVD), np.array(splits_of(COUNT))
    losses, scores = [], []
    for c in C_GRID:
        model = LogisticRegression(C=c, max_iter=5000).fit(features_NF[splits == "train"], truth_N[splits == "train"])
        losses.append(
            log_loss(truth_N[splits == "validation"], model.predict_proba(features_NF[splits == "validation"]))
        )
        scores.append(model.predict_proba(features_NF[splits == "test"]))
    best = int(np.argmin(losses))
    assert tried.value.tolist() == list(C_GRID) and tried.best.tolist() == [at == best for at in range(len(C_GRID))]
    assert tried.validation_loss.to_numpy() == pytest.approx(losses, abs=2e-3)
    said = np.stack(found[found.split == "test"].sort_values("sample_id").scores)
    assert np.abs(said - scores[best]).max() < 5e-3


@pytest.mark.parametrize("type_", ["binary", "multiclass"])
def test_neighbours_vote_as_scikit_learns_do_with_one_vote_of_the_prior(task, type_):
    run, cls_NVLD, patch_mean_NVD, hidden_N = task
    targets = BINARY if type_ == "binary" else GRADES
    name = next(iter(targets))
    truth_N = np.digitize(hidden_N, [0.3] if type_ == "binary" else [-0.4, 0.4])
    decoder, tried, found = run("knn", {name: truth_N.astype(float)}, targets)
    k = int(tried.value[tried.best].item())
    features_NF, splits = standardised(cls_NVLD, patch_mean_NVD), np.array(splits_of(COUNT))
    learned = splits == "train"
    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(features_NF[learned], truth_N[learned])
    prior_C = np.bincount(truth_N[learned]) / learned.sum()
    expected = (model.predict_proba(features_NF[splits == "test"]) * k + prior_C) / (k + 1)
    said = np.stack(found[found.split == "test"].sort_values("sample_id").scores)
    assert np.abs(said - (expected if type_ == "multiclass" else expected[:, 1:])).max() < 1e-5
    held = artifacts.read_tensors(decoder)[0]
    assert len(held["truth_NK"]) == learned.sum() and "rows_NF" not in held


@pytest.mark.parametrize("baseline", ["knn", "logreg"])
def test_baselines_learn_a_planted_sign_and_nothing_from_permuted_labels(task, baseline):
    run, _, _, hidden_N = task
    _, _, found = run(baseline, {"sick": (hidden_N > 0) * 1.0}, BINARY)
    assert roc_auc_score(found.truth, found.scores.str[0]) > 0.8
    chance = []
    for seed in range(6):
        labels = np.random.default_rng(seed).permutation(np.arange(COUNT) % 2) * 1.0
        found = run(baseline, {"sick": labels}, BINARY)[2]
        found = found[found.split == "test"]
        chance.append(roc_auc_score(found.truth, found.scores.str[0]))
    assert 0.4 < np.mean(chance) < 0.6


@pytest.mark.parametrize("baseline", ["knn", "logreg"])
def test_multilabel_findings_with_unknown_labels_are_fitted_each_on_what_is_known(task, baseline):
    run, _, _, hidden_N = task
    targets = {"signs": TargetSpec(type="multilabel", classes=["drusen", "fluid"])}
    signs = [[float(v > 0), None if n % 5 == 0 else float(v < 0)] for n, v in enumerate(hidden_N)]
    _, tried, found = run(baseline, {"signs": signs}, targets)
    assert set(tried["class"]) == {"drusen", "fluid"} and tried.best.sum() == 2
    for _, rows in found[found.truth.notna()].groupby("class"):
        assert roc_auc_score(rows.truth, rows.scores.str[0]) > 0.8


@pytest.mark.parametrize("baseline", ["knn", "logreg"])
def test_baselines_of_a_fused_task_join_modalities_and_score_each_alone(tmp_path, baseline):
    cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
    files = {"eyes": [write_cache(tmp_path / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}
    files["scans"] = [write_cache(tmp_path / "scans.cls224.h5", cls_NVLD[..., :9] * 2, patch_mean_NVD[..., :9])]
    images = [[image(n)] * (n % 4 != 0) + [image(n, "scans", "OCT")] * (n % 4 != 1) for n in range(COUNT)]
    table = write_samples(
        tmp_path / "s.parquet", images, splits_of(COUNT), {"sick": (hidden_N > 0) * 1.0}, BINARY, "attention"
    )
    both = {"modalities": ["Fundus", "OCT"], "fusion": "attention"}
    out = tmp_path / "d.safetensors"
    train(table, files, out, tmp_path / "t.parquet", train_settings(baseline=baseline, **both))
    predict(out, tmp_path / "s.parquet", files, tmp_path / "p.parquet", predict_settings(**both))
    found = artifacts.read_table(tmp_path / "p.parquet").to_pandas()
    assert set(found.subset) == {"all", "Fundus", "OCT"}
    for _, rows in found.groupby("subset"):
        assert roc_auc_score(rows.truth, rows.scores.str[0]) > 0.75


def test_a_class_without_a_training_sample_is_an_error(task):
    run, _, _, hidden_N = task
    with pytest.raises(DataError, match="all 3 classes"):
        run("knn", {"grade": (hidden_N > 0) * 1.0}, GRADES)


def test_the_best_value_depends_on_validation_only_and_equal_input_gives_equal_bytes(task):
    run, _, _, hidden_N = task
    labels = (hidden_N > 0) * 1.0
    first = run("knn", {"sick": labels}, BINARY)[0].read_bytes()
    test_flipped = np.where(np.array(splits_of(COUNT)) == "test", 1 - labels, labels)
    assert run("knn", {"sick": test_flipped}, BINARY)[0].read_bytes() == first


def test_a_nearest_neighbour_head_loads_however_many_labels_its_file_has():
    head, other = KnnHead(4, 1), KnnHead(4, 1)
    head.remember(torch.randn(7, 4), torch.arange(7)[:, None] % 2 * 1.0)
    head.odds_K[:] = True
    other.load_state_dict(head.state_dict())
    other.remember(head.rows_NF, other.truth_NK)
    x_BF = torch.randn(3, 4)
    assert torch.equal(head(x_BF), other(x_BF))


# --- its training samples stay in the caches ------------------------------------------------------------------------


@pytest.fixture
def neighbours(task, tmp_path):
    """A k-NN decoder, the bytes of a function that scores with a decoder, and the cache."""
    run, cls_NVLD, patch_mean_NVD, hidden_N = task
    decoder = run("knn", {"sick": (hidden_N > 0) * 1.0}, BINARY)[0]
    cache = tmp_path / "eyes.cls224.h5"
    queries = {"eyes": [write_cache(tmp_path / "queries" / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}

    def scored(which=decoder):
        predict(which, tmp_path / "samples.parquet", queries, tmp_path / "q.parquet", predict_settings(BINARY))
        return artifacts.read_table(tmp_path / "q.parquet").replace_schema_metadata()

    return decoder, scored, cache, (cls_NVLD, patch_mean_NVD)


def test_a_nearest_neighbour_decoder_names_an_image_in_fewer_bytes_than_its_features_have(neighbours):
    decoder, _, _, _ = neighbours
    assert len(artifacts.read_tensors(decoder)[0]["neighbours"]) < 120 * 0.6 * COUNT


def test_it_answers_the_same_beside_its_caches_and_handed_over(neighbours, tmp_path):
    decoder, scored, cache, _ = neighbours
    expected = scored()
    alone = tmp_path / "elsewhere" / "knn.safetensors"
    cli.main(["handover", str(decoder), "--out", str(alone)])
    cache.unlink()
    assert scored(alone).equals(expected)
    assert "neighbours" not in artifacts.read_tensors(alone)[0]


def test_rows_that_others_added_to_a_cache_change_nothing(neighbours):
    _, scored, cache, arrays = neighbours
    expected = scored()
    names = [f"{n:04}.png" for n in range(COUNT)] + ["new.png"]
    more = [np.concatenate([array, array[:1]]) for array in arrays]
    write_cache(cache, *more, names=names)
    assert scored().equals(expected)


def test_without_its_caches_it_says_what_it_needs(neighbours):
    _, scored, cache, _ = neighbours
    cache.unlink()
    with pytest.raises(ArtifactError, match="120 training samples") as told:
        scored()
    assert str(cache) in str(told.value) and "handover" in str(told.value)


def test_it_refuses_other_features_of_its_images_and_a_cache_that_lacks_some(neighbours):
    _, scored, cache, (cls_NVLD, patch_mean_NVD) = neighbours
    write_cache(cache, cls_NVLD + 1e-3, patch_mean_NVD)
    with pytest.raises(ArtifactError, match="other features of its training images"):
        scored()
    write_cache(cache, cls_NVLD[:-10], patch_mean_NVD[:-10])
    with pytest.raises(ArtifactError, match="no features of 6 of the images"):
        scored()


def test_what_stands_alone_already_is_not_handed_over(task, tmp_path, capsys):
    run, _, _, hidden_N = task
    decoder = run("logreg", {"sick": (hidden_N > 0) * 1.0}, BINARY)[0]
    assert cli.main(["handover", str(decoder), "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "copy the file" in capsys.readouterr().err
