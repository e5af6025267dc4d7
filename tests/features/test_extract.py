"""`extract` encodes each image once, says what it did, and gives the same bytes whatever way it took."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from world.small_project import SIZE_PX, WIDTH, Project, write_encoder, write_images

from visionfm import artifacts
from visionfm.errors import DataError, UsageError
from visionfm.features import encode
from visionfm.features.cache import FeatureStore, read_cache

FOUR_VIEWS = ["identity", "h", "v", "hv"]
NewProject = Callable[..., Project]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "visionfm")


def test_the_cache_holds_four_blocks_and_the_patch_mean_of_each_image_in_path_order(project: Project) -> None:
    project.extract(views=FOUR_VIEWS)
    cache = read_cache(project.out)
    assert cache.cls_NVLD.shape == (5, 4, 4, WIDTH)
    assert cache.cls_NVLD.dtype == cache.patch_mean_NVD.dtype == np.float16
    assert cache.paths == sorted(cache.paths)
    assert cache.views == ("identity", "h", "v", "hv")
    assert cache.metadata["blocks"] == "[8, 9, 10, 11]"
    assert cache.metadata["transform"] == f"square{SIZE_PX}-bilinear-fast"
    assert cache.metadata["encoder_sha256"] == artifacts.payload_digest(project.encoder)
    assert cache.metadata["precision"] == "fp32"
    store = FeatureStore({"eyes": [project.out]})
    references = list(zip(["eyes"] * 5, cache.paths, cache.image_ids, strict=True))
    assert store.gather(references, "both").shape == (5, 4, 5 * WIDTH)


def test_rows_are_what_the_encoder_says_of_the_flipped_images(project: Project) -> None:
    import torch

    from visionfm.encoders.vit import load_encoder
    from visionfm.images.reading import decode
    from visionfm.images.settings import Reading
    from visionfm.images.transforms import resize_square

    project.extract(views=FOUR_VIEWS, dtype="float32", exact_decode=True)
    cache = read_cache(project.out)
    encoder = load_encoder(project.encoder)
    content = (project.root / cache.paths[2]).read_bytes()
    pixels = decode(content, Reading(), target_px=None, exact=True, where="")
    small_HWC = resize_square(pixels, SIZE_PX, "bilinear")
    flipped = [small_HWC, small_HWC[:, ::-1], small_HWC[::-1], small_HWC[::-1, ::-1]]
    images_BCHW = torch.from_numpy(np.stack(flipped)).permute(0, 3, 1, 2).contiguous()
    cls_BLD, patch_mean_BD = encoder.cls_and_mean(images_BCHW)
    np.testing.assert_allclose(cache.cls_NVLD[2], cls_BLD.numpy(), atol=1e-5)
    np.testing.assert_allclose(cache.patch_mean_NVD[2], patch_mean_BD.numpy(), atol=1e-5)


def test_an_unchanged_run_does_nothing_and_a_deleted_output_comes_back(
    project: Project, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.extract()
    monkeypatch.setattr(encode, "Encoding", None)
    project.out.unlink()
    assert project.extract() == first
    assert "unchanged" in caplog.text


def test_one_added_image_encodes_one_and_equals_a_clean_run(
    new_project: NewProject, caplog: pytest.LogCaptureFixture
) -> None:
    project, clean = new_project(5), new_project(6, name="clean")
    project.extract(views=FOUR_VIEWS)
    write_images(project.root, 6)
    project.reindex()
    caplog.clear()
    assert project.extract(views=FOUR_VIEWS) == clean.extract(views=FOUR_VIEWS)
    assert "encoded 1, reused 5" in caplog.text


def test_a_removed_image_encodes_nothing(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.extract()
    (project.root / "eyes/002.jpg").unlink()
    project.reindex()
    project.extract()
    assert "encoded 0, reused 4" in caplog.text
    assert len(read_cache(project.out).paths) == 4


def test_a_missing_view_is_added_and_the_file_equals_a_clean_one(
    new_project: NewProject, caplog: pytest.LogCaptureFixture
) -> None:
    project, clean = new_project(), new_project(name="clean")
    project.extract()
    rows_before = read_cache(project.out).cls_NVLD[:, 0]
    assert project.extract(views=FOUR_VIEWS) == clean.extract(views=FOUR_VIEWS)
    np.testing.assert_array_equal(read_cache(project.out).cls_NVLD[:, 0], rows_before)
    caplog.clear()
    project.extract(views=["identity", "v"])
    assert "encoded 0, reused 5" in caplog.text


def test_another_dataset_with_the_same_images_encodes_nothing(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.extract()
    first = artifacts.payload_digest(project.out)
    project.out = project.out.with_name("renamed.cls32.h5")
    project.extract()
    assert artifacts.payload_digest(project.out) == first  # the file's metadata name its dataset
    assert "encoded 0, reused 5" in caplog.text
    project.out = project.out.with_name("half.cls32.0.h5")
    (project.root / "eyes/000.jpg").unlink()
    project.reindex()
    project.extract()
    assert "encoded 0, reused 4" in caplog.text


def test_identical_images_are_encoded_once_and_stand_in_each_of_their_rows(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    (project.root / "eyes/copy.jpg").write_bytes((project.root / "eyes/000.jpg").read_bytes())
    project.reindex()
    project.extract()
    assert "encoded 5, reused 1" in caplog.text
    cache = read_cache(project.out)
    first, copy = cache.paths.index("eyes/000.jpg"), cache.paths.index("eyes/copy.jpg")
    np.testing.assert_array_equal(cache.cls_NVLD[first], cache.cls_NVLD[copy])


@pytest.mark.parametrize("changed", [{"interpolation": "bicubic"}, {"exact_decode": True}, {"dtype": "float32"}])
def test_another_transform_or_type_encodes_all(
    project: Project, changed: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    project.extract()
    project.extract(**changed)
    assert "encoded 5, reused 0" in caplog.text.split("encoded 5, reused 0", 1)[1]


def test_replaced_weights_encode_all(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    before = project.extract()
    write_encoder(project.encoder, seed=1)
    caplog.clear()
    assert project.extract() != before
    assert "encoded 5, reused 0" in caplog.text


@pytest.mark.parametrize("changed", [{"batch_size": 3}, {"workers": 2}, {"max_rows": 5}, {"gpu": 1}])
def test_settings_of_the_machine_change_no_byte_and_no_key(
    new_project: NewProject, changed: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    project, other = new_project(), new_project(name="other")
    assert project.extract() == other.extract(**changed)
    project.extract(**changed)
    assert "unchanged" in caplog.text


def test_bits_depend_on_neither_batch_nor_threads(new_project: NewProject, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    threads = torch.get_num_threads()
    found = set()
    try:
        for number, (rows, count) in enumerate([((4, 4), 1), ((4, 16), 1), ((4, 16), 2), ((5, 5), 2)]):
            monkeypatch.setattr(encode, "CPU_ROWS", rows)
            torch.set_num_threads(count)
            found.add(new_project(name=f"run{number}").extract(views=FOUR_VIEWS))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_bad_images_fail_with_the_whole_list_or_are_left_out_by_name(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.reindex({"eyes/001.png": "truncated: 10 bytes short", "eyes/003.png": "empty: 0 bytes"})
    with pytest.raises(DataError) as caught:
        project.extract()
    assert "eyes/001.png: truncated" in str(caught.value)
    assert "eyes/003.png: empty" in str(caught.value)
    assert not project.out.exists()
    project.extract(bad_images="skip")
    assert read_cache(project.out).paths == ["eyes/000.jpg", "eyes/002.jpg", "eyes/004.jpg"]
    assert "eyes/001.png: truncated" in caplog.text
    with pytest.raises(DataError, match="2 problems"):
        project.extract(bad_images="fail")


def test_an_image_that_changed_since_index_fails_and_the_old_file_stays(project: Project) -> None:
    before = project.extract()
    write_images(project.root, 6)
    project.reindex()
    (project.root / "eyes/005.png").write_bytes(b"other")
    with pytest.raises(DataError, match="eyes/005.png changed since index"):
        project.extract()
    assert project.out.read_bytes() == before


def test_too_many_images_for_a_file_say_how_many_shards_to_set(project: Project) -> None:
    with pytest.raises(DataError, match=r"(?s)expected: at most 2.*found: 5.*`shards: 3`"):
        project.extract(max_rows=2)


def test_an_empty_shard_gives_an_empty_file(project: Project) -> None:
    for path in (project.root / "eyes").iterdir():
        path.unlink()
    import pyarrow as pa

    table = pa.table({name: pa.array([], pa.string()) for name in ("path", "image_id", "status")})
    artifacts.write_table(project.index, table, artifacts.provenance("index", {}, {}), schema="visionfm/images/1")
    project.extract()
    assert read_cache(project.out).cls_NVLD.shape == (0, 1, 4, WIDTH)


def test_features_that_float16_cannot_hold_name_the_image(project: Project) -> None:
    tensors, metadata = artifacts.read_tensors(project.encoder)
    tensors["norm.weight"] *= 1e6
    own = {"schema", "stage", "version", "key", "inputs", "seed", "payload_sha256", "file_sha256", "owner"}
    extra = {name: text for name, text in metadata.items() if name not in own}
    made_by = artifacts.provenance("import", {"scaled": True}, {})
    artifacts.write_tensors(project.encoder, tensors, made_by, schema="visionfm/encoder/1", extra=extra)
    with pytest.raises(DataError, match=r"(?s)float16.*overflow.*eyes/000.jpg.*dtype: float32"):
        project.extract()
    project.extract(dtype="float32")
    tensors["norm.weight"][0] = np.nan
    artifacts.write_tensors(project.encoder, tensors, made_by, schema="visionfm/encoder/1", extra=extra)
    with pytest.raises(DataError, match=r"(?s)NaN.*eyes/000.jpg"):
        project.extract(dtype="float32")


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(project: Project) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for asked in ({"device": "auto", "gpu": 1}, {"device": "cuda"}):
        with pytest.raises(UsageError, match=r"(?s)no GPU to compute on.*device: cpu"):
            project.extract(**asked)
    project.extract(device="auto", gpu=0)


def test_unknown_views_are_an_error(project: Project) -> None:
    with pytest.raises(UsageError, match="diagonal"):
        project.extract(views=["identity", "diagonal"])


def test_a_damaged_kept_file_is_encoded_again(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    before = project.extract()
    kept = artifacts.kept_path(project.out)
    assert kept is not None
    content = bytearray(before)
    content[len(content) // 2] ^= 1
    project.out.unlink()
    kept.write_bytes(content)
    caplog.clear()
    assert project.extract() == before
    assert "encoded 5, reused 0" in caplog.text


def test_when_all_is_cached_torch_is_not_imported(project: Project) -> None:
    project.extract()
    project.out = project.out.with_name("other.cls32.h5")
    (project.root / "eyes/000.jpg").unlink()
    project.reindex()  # another key: rows are put together anew
    script = (
        "import argparse, sys\n"
        "from visionfm.features import extract\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--settings')\n"
        "extract.add_arguments(parser)\n"
        "extract.main(parser.parse_args())\n"
        "heavy = sorted({'torch', 'timm', 'pandas', 'sklearn'} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    for _ in range(2):  # put together, then recalled
        subprocess.run([sys.executable, "-c", script, *project.arguments()], check=True)
    assert len(read_cache(project.out).paths) == 4


def test_golden_features_survive_the_cache(new_project: NewProject, tmp_path: Path) -> None:
    from PIL import Image
    from world.checkout import SHARED, golden_weights

    from visionfm.encoders.importing import import_encoder
    from visionfm.encoders.settings import ImportSettings

    golden_weights()  # skips where there are none
    golden = np.load(SHARED / "golden" / "features_vit_tiny.npz")
    project = new_project(0)
    weights = SHARED / "golden" / "visionfm_vit_tiny_teacher.pth"
    import_encoder(ImportSettings(modality="Fundus", weights=str(weights)), project.encoder)
    project.root.mkdir(exist_ok=True)
    for number, image in enumerate(golden["images_224"]):
        Image.fromarray(image).save(project.root / f"{number}.png")
    project.reindex()
    project.extract(size=224, dtype="float32")
    cache = read_cache(project.out)
    np.testing.assert_allclose(cache.cls_NVLD[:, 0], golden["cls_last4"], atol=1e-4)
    np.testing.assert_allclose(cache.patch_mean_NVD[:, 0], golden["patch_mean_last"], atol=1e-4)
    project.extract(size=224)
    stored = read_cache(project.out).cls_NVLD[:, 0].astype(np.float32)
    # Relative to the size of a feature, as single numbers may be near zero.
    assert np.abs(stored - golden["cls_last4"]).max() <= 1e-3 * np.abs(golden["cls_last4"]).max()
