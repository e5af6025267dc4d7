"""Rows are reused by (image bytes, encoder, transform) and by nothing else."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from visionfm import artifacts
from visionfm.errors import ArtifactError
from visionfm.features.cache import Rows, write_cache
from visionfm.features.row_bank import RowBank, VectorParts
from visionfm.features.rows import Names, RowIdentity
from visionfm.images.transforms import VIEWS

IDENTITY = RowIdentity("e" * 64, "square224-bilinear-fast", "[8, 9, 10, 11]", "fp32", "float16")
NAMES = Names(["a.png"], ["a"], ("identity", "h"))
MADE_BY = artifacts.provenance("extract", {}, {})


def rows(count: int, views: int, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    return (
        generator.standard_normal((count, views, 4, 6)).astype(np.float16),
        generator.standard_normal((count, views, 6)).astype(np.float16),
    )


def bank_of(*image_ids: str, views: tuple[str, ...] = ("identity", "h")) -> RowBank:
    return RowBank(image_ids, views, "float16", 4, 6)


def test_what_is_missing_is_grouped_by_the_views_it_lacks() -> None:
    bank = bank_of("a", "b", "c", "a")
    assert bank.missing() == {("identity", "h"): ["a", "b", "c"]}
    bank.put(["b", "unknown"], ["identity", "v"], rows(2, 2))
    bank.put(["c"], ["h", "identity"], rows(1, 2))
    assert bank.missing() == {("identity", "h"): ["a"], ("h",): ["b"]}


def test_rows_come_back_by_image_in_any_order_and_number() -> None:
    bank = bank_of("a", "b")
    cls_NVLD, patch_mean_NVD = rows(2, 2)
    bank.put(["b", "a"], ["h", "identity"], (cls_NVLD, patch_mean_NVD))
    taken_cls, taken_patch_mean = bank.take(["b", "a", "b"])
    np.testing.assert_array_equal(taken_cls, cls_NVLD[[0, 1, 0]][:, ::-1])
    np.testing.assert_array_equal(taken_patch_mean, patch_mean_NVD[[0, 1, 0]][:, ::-1])


def test_a_cache_is_put_together_in_less_than_two_and_a_half_times_its_own_bytes(tmp_path: Path) -> None:
    image_ids = [f"{n:064x}" for n in range(500)]
    generator = np.random.default_rng(0)
    whole = tuple(generator.standard_normal((500, 4, *shape)).astype(np.float16) for shape in ((4, 768), (768,)))
    tracemalloc.start()
    bank = RowBank(image_ids, VIEWS, "float16", 4, 768)
    bank.put(image_ids, VIEWS, whole)
    write_cache(tmp_path / "c.h5", Names(image_ids, image_ids, VIEWS), bank.take(image_ids), IDENTITY, MADE_BY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * (tmp_path / "c.h5").stat().st_size


def test_rows_that_got_lost_are_an_error() -> None:
    with pytest.raises(ArtifactError, match="got lost"):
        bank_of("a").take(["a"])


@pytest.mark.parametrize(
    "changed",
    [
        {"encoder_sha256": "f" * 64},
        {"transform": "square224-bicubic-fast"},
        {"blocks": "[4, 5, 6, 7]"},
        {"precision": "bf16"},
        {"dtype": "float32"},
    ],
)
def test_rows_of_another_encoder_or_transform_are_not_reused(tmp_path: Path, changed: dict[str, str]) -> None:
    path = tmp_path / "a.h5"
    write_cache(path, NAMES, rows(1, 2), IDENTITY._replace(**changed), MADE_BY)
    bank = bank_of("a")
    bank.fill_from([path], IDENTITY)
    assert bank.missing()
    write_cache(path, NAMES, rows(1, 2), IDENTITY, MADE_BY)
    bank.fill_from([path], IDENTITY)
    assert not bank.missing()


def test_a_damaged_file_is_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.h5"
    write_cache(path, NAMES, rows(1, 2), IDENTITY, MADE_BY)
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "b.h5").write_bytes(b"")
    bank = bank_of("a")
    with caplog.at_level("WARNING", "visionfm"):
        bank.fill_from([path, tmp_path / "b.h5"], IDENTITY)
    assert bank.missing()
    assert "a.h5" in caplog.text
    assert "b.h5" in caplog.text


def test_parts_are_found_again_also_by_a_dataset_of_another_name_and_removed_in_the_end(tmp_path: Path) -> None:
    parts = VectorParts(tmp_path / "results/features/fundus/old.cls224.h5", IDENTITY)
    parts.publish(["a"], ["identity", "h"], rows(1, 2, seed=1))
    parts.publish(["b"], ["identity", "h"], rows(1, 2, seed=2))
    other = VectorParts(tmp_path / "results/features/fundus/new.cls224.h5", IDENTITY)
    bank = bank_of("b", "a")
    bank.fill_from(other.reusable(), IDENTITY)
    np.testing.assert_array_equal(bank.take(["a"])[0], rows(1, 2, seed=1)[0])
    np.testing.assert_array_equal(bank.take(["b"])[0], rows(1, 2, seed=2)[0])
    parts.remove()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_part_written_twice_is_one_file(tmp_path: Path) -> None:
    parts = VectorParts(tmp_path / "x.h5", IDENTITY)
    for _ in range(2):
        parts.publish(["a"], ["identity"], rows(1, 1))
    assert len(list(parts.folder.iterdir())) == 1
