"""FeatureStore gives the rows asked for, whatever file they lie in, or says which it cannot give."""

from pathlib import Path

import numpy as np
import pytest
from world import decoder_data
from world.random_cache import TAPS, WIDTH, write

from visionfm import artifacts
from visionfm.errors import ArtifactError
from visionfm.features.cache import FeatureStore, read_cache


def references(dataset: str, names: list[str]) -> list[tuple[str, str, str]]:
    return [(dataset, name, f"id-{name}") for name in names]


def test_features_come_in_the_order_asked_for_blocks_shallow_to_deep_then_patch_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", ["x", "y", "z"], ("identity", "h"))
    cache = read_cache(path)
    store = FeatureStore({"a": [path]})
    wanted = references("a", ["z", "x", "z"])
    both_NVF = store.gather(wanted, "both")
    assert both_NVF.dtype == np.float32
    assert both_NVF.shape == (3, 2, (TAPS + 1) * WIDTH)
    for n, row in enumerate([2, 0, 2]):
        expected_VF = np.concatenate([cache.cls_NVLD[row].reshape(2, -1), cache.patch_mean_NVD[row]], axis=1)
        np.testing.assert_array_equal(both_NVF[n], expected_VF)
    np.testing.assert_array_equal(store.gather(wanted, "cls"), both_NVF[:, :, : TAPS * WIDTH])
    np.testing.assert_array_equal(store.gather(wanted, "patch_mean"), both_NVF[:, :, TAPS * WIDTH :])
    assert [store.width(name) for name in ("cls", "patch_mean", "both")] == [24, 6, 30]


def test_rows_of_several_datasets_and_shards_are_joined(tmp_path: Path) -> None:
    files = {
        "a": [write(tmp_path / "a.0.h5", ["x", "y"], seed=1), write(tmp_path / "a.1.h5", ["z"], seed=2)],
        "b": [write(tmp_path / "b.h5", ["x"], seed=3)],
    }
    store = FeatureStore(files)
    mixed_NVF = store.gather([*references("b", ["x"]), *references("a", ["z", "x"])], "cls")
    for n, (path, row) in enumerate([(files["b"][0], 0), (files["a"][1], 0), (files["a"][0], 0)]):
        np.testing.assert_array_equal(mixed_NVF[n, 0], read_cache(path).cls_NVLD[row, 0].ravel())


def test_only_views_that_every_dataset_has_are_given_unless_one_is_named(tmp_path: Path) -> None:
    store = FeatureStore(
        {"a": [write(tmp_path / "a.h5", ["x"], ("identity", "h", "hv"))], "b": [write(tmp_path / "b.h5", ["x"])]}
    )
    assert store.views == ("identity",)
    assert store.gather(references("a", ["x"]), "cls").shape[1] == 1
    assert store.gather(references("a", ["x"]), "cls", views=("h", "hv")).shape[1] == 2
    with pytest.raises(ArtifactError, match="lacks a view"):
        store.gather(references("b", ["x"]), "cls", views=("h",))


def test_a_missing_row_and_a_row_of_other_bytes_are_both_named(tmp_path: Path) -> None:
    store = FeatureStore({"a": [write(tmp_path / "a.h5", ["x", "y"])]})
    with pytest.raises(ArtifactError) as caught:
        store.gather([("a", "x", "id-other"), ("a", "gone", "id-gone"), ("a", "y", "id-y")], "cls")
    assert "2 problems" in str(caught.value)
    assert "a: x: expected the features of image id-other, found id-x" in str(caught.value)
    assert "a: gone: expected a row, found none" in str(caught.value)


def test_encoders_of_different_width_are_not_pooled(tmp_path: Path) -> None:
    store = FeatureStore({"a": [write(tmp_path / "a.h5", ["x"])], "b": [write(tmp_path / "b.h5", ["x"], width=8)]})
    assert (store.width("cls", "a"), store.width("cls", "b")) == (24, 32)
    assert store.gather(references("b", ["x"]), "cls").shape == (1, 1, 32)
    with pytest.raises(ArtifactError, match="different widths"):
        store.width("cls")
    with pytest.raises(ArtifactError, match="different widths"):
        store.gather([*references("a", ["x"]), *references("b", ["x"])], "cls")


def test_no_references_give_an_empty_array_of_the_right_width(tmp_path: Path) -> None:
    store = FeatureStore({"a": [write(tmp_path / "a.h5", ["x"])]})
    assert store.gather([], "cls").shape == (0, 1, 24)


def test_an_empty_shard_is_no_obstacle(tmp_path: Path) -> None:
    store = FeatureStore({"a": [write(tmp_path / "a.0.h5", []), write(tmp_path / "a.1.h5", ["x"])]})
    assert store.width("cls") == 24
    assert store.gather(references("a", ["x"]), "cls").shape == (1, 1, 24)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_flipped_bit_anywhere_is_noticed_on_opening(tmp_path: Path, at: float) -> None:
    path = write(tmp_path / "a.h5", [f"{number}" for number in range(50)])
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        FeatureStore({"a": [path]})


def test_another_artefact_is_no_feature_cache(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    artifacts.write_hdf5(path, {"x": np.zeros(3)}, artifacts.provenance("train", {}, {}), schema="visionfm/other/1")
    with pytest.raises(ArtifactError, match="another kind of artefact"):
        FeatureStore({"a": [path]})


def test_the_pooled_output_of_a_network_of_stages_has_a_width_of_its_own(tmp_path: Path) -> None:
    cls_NVLD, mean_NVD = np.arange(22.0).reshape(2, 1, 1, 11), np.arange(10.0).reshape(2, 1, 5)
    path = decoder_data.write_cache(tmp_path / "eyes.cls64.h5", cls_NVLD, mean_NVD, ("identity",))
    store = FeatureStore({"eyes": [path]})
    assert [store.width(name) for name in ("cls", "patch_mean", "both")] == [11, 5, 16]
    both_NVF = store.gather([("eyes", "0001.png", f"{'0001.png':0>64}")], "both")
    np.testing.assert_array_equal(both_NVF[0, 0], [*cls_NVLD[1].ravel(), *mean_NVD[1].ravel()])
