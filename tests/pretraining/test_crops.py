"""What is seen depends on seed, epoch and image alone; each image is normalised by its own modality."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from world.image_sets import GREY, ImageSet, draw_image, source_of
from world.pretraining_recipes import recipe as recipe_of

from visionfm.config.base import Statistics
from visionfm.errors import ConfigError, DataError
from visionfm.images.parallel import Pool, worker_pool
from visionfm.pretraining import reading
from visionfm.pretraining.crops import CropBatch, batches, check_sizes, normalised
from visionfm.pretraining.recipe import Augment, Recipe
from visionfm.pretraining.source import ImageSource

PATCH = 16


def small(**changed: object) -> Recipe:
    return recipe_of(image_size=48, batch_size=4, micro_batch=2, epochs=4, **changed)


def seen(
    source: ImageSource,
    recipe: Recipe,
    epoch: int = 0,
    first_step: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int | Pool = 0,
) -> list[CropBatch]:
    with closing(batches(source, recipe, PATCH, epoch, first_step, rank, world, workers)) as made:
        return list(made)


def assert_equal(found: list[CropBatch], expected: list[CropBatch]) -> None:
    assert [batch.at_B for batch in found] == [batch.at_B for batch in expected]
    for one, other in zip(found, expected, strict=True):
        for ours, theirs in zip(one[:3], other[:3], strict=True):
            assert (ours is None and theirs is None) or torch.equal(ours, theirs)


@pytest.fixture
def eyes(results: Path) -> ImageSet:
    return ImageSet(results.parent, count=9)


def test_a_batch_holds_normalised_crops_and_a_mask_for_each_global_one(eyes: ImageSet) -> None:
    recipe = small(augment=Augment(local_crops=3, local_size=32))
    first = seen(source_of(eyes), recipe)[0]
    assert first.global_CBchw.shape == (2, 2, 3, 48, 48) and first.global_CBchw.dtype == torch.float32
    assert first.local_CBchw is not None and first.local_CBchw.shape == (3, 2, 3, 32, 32)
    assert first.masks_CBPP.shape == (2, 2, 3, 3) and first.masks_CBPP.dtype == torch.bool
    assert -2 <= float(first.global_CBchw.min()) < float(first.global_CBchw.max()) <= 2
    assert not torch.equal(first.global_CBchw[0], first.global_CBchw[1])
    assert seen(source_of(eyes), small())[0].local_CBchw is None


def test_workers_change_nothing_and_may_serve_several_epochs(eyes: ImageSet) -> None:
    source, recipe = source_of(eyes), small(augment=Augment(local_crops=1))
    alone = [seen(source, recipe, epoch) for epoch in (0, 1)]
    assert not torch.equal(alone[0][0].global_CBchw, alone[1][0].global_CBchw)
    with worker_pool(2) as pool:
        for epoch in (0, 1):
            assert_equal(seen(source, recipe, epoch, workers=pool), alone[epoch])


def test_processes_share_the_batches_of_one(eyes: ImageSet) -> None:
    source, recipe = source_of(eyes), small()
    alone = seen(source, recipe)
    shared = [seen(source, recipe, rank=rank, world=2) for rank in (0, 1)]
    assert_equal([batch for pair in zip(*shared, strict=True) for batch in pair], alone)


def test_a_resumed_epoch_goes_on_with_the_same_batches(eyes: ImageSet) -> None:
    source, recipe = source_of(eyes), small()
    assert_equal(seen(source, recipe, first_step=1), seen(source, recipe)[2:])


def test_packs_give_equal_batches(eyes: ImageSet) -> None:
    draw_image(eyes.root / "large.jpg", 77, (900, 600))
    eyes.index()
    eyes.pack()
    recipe = small()
    assert_equal(seen(source_of(eyes, packed=True), recipe), seen(source_of(eyes, pack_px=80), recipe))


def test_each_image_is_decoded_once_for_all_its_crops(eyes: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    read_checked = reading.read_checked

    def counting(root: Path, path: str, *which: Any, **options: Any) -> object:
        decoded.append(path)
        return read_checked(root, path, *which, **options)

    monkeypatch.setattr(reading, "read_checked", counting)
    seen(source_of(eyes), small(augment=Augment(local_crops=6, local_size=32)))
    assert len(decoded) == len(set(decoded)) == 8


def test_mixed_modalities_are_each_normalised_by_their_own(eyes: ImageSet, results: Path) -> None:
    scans = ImageSet(results.parent, "scans", "OCT", count=9, seed=1)
    source = source_of(eyes, scans)
    other = Statistics(mean=[0.1, 0.2, 0.3], std=[0.5, 0.4, 0.3])
    recipe = small()
    grey = seen(source, recipe)
    own = seen(source.with_statistics({"Fundus": GREY, "OCT": other}), recipe)
    kinds = set()
    for before, after in zip(grey, own, strict=True):
        for b, at in enumerate(before.at_B):
            modality = source.items[at].modality
            kinds.add(modality)
            pixels = before.global_CBchw[:, b] * 0.25 + 0.5
            said = other if modality == "OCT" else GREY
            mean, std = (torch.tensor(values)[:, None, None] for values in (said.mean, said.std))
            assert torch.allclose(after.global_CBchw[:, b], (pixels - mean) / std, atol=1e-5)
    assert kinds == {"Fundus", "OCT"}


def test_a_modality_without_statistics_is_refused(eyes: ImageSet) -> None:
    with pytest.raises(ConfigError, match="found: Fundus"):
        seen(source_of(eyes).with_statistics({"OCT": GREY}), small())


@pytest.mark.parametrize("changed", [{"image_size": 50}, {"augment": Augment(local_crops=1, local_size=50)}])
def test_crops_that_do_not_divide_into_patches_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(DataError, match="nearest: 48 and 64"):
        check_sizes(recipe_of(**changed), PATCH, "vit_tiny_patch16_224")
    check_sizes(recipe_of(image_size=48), PATCH, "vit_tiny_patch16_224")


def test_the_circle_of_a_fundus_photograph_is_found_on_the_decoded_image(eyes: ImageSet) -> None:
    plain = seen(source_of(eyes), small())
    circled = seen(source_of(eyes), small(augment=Augment(fundus_circle=True)))
    assert_equal(circled, plain)  # these pictures are lit everywhere: the circle is the whole image


def test_bytes_that_a_gpu_is_sent_become_the_same_crops(eyes: ImageSet) -> None:
    recipe = small(augment=Augment(local_crops=3, local_size=32))
    source = source_of(eyes)
    sent = list(batches(source, recipe, 16, 0, 0, 0, 1, 0, on_gpu=True))
    assert all(crops.global_CBchw.dtype == torch.uint8 for crops in sent)
    assert_equal([normalised(crops) for crops in sent], list(batches(source, recipe, 16, 0, 0, 0, 1, 0)))
