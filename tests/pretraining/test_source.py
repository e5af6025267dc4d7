"""The image list does not depend on names; what cannot be trained on is refused, all of it at once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.image_sets import ImageSet, draw_image, source_of

from visionfm.errors import DataError, UsageError
from visionfm.pretraining.reading import Item, Place, read_pixels
from visionfm.pretraining.shrinking import packed, shrunk_size, unpacked
from visionfm.pretraining.source import Images, open_source


@pytest.fixture
def eyes(results: Path) -> ImageSet:
    return ImageSet(results.parent)


def test_images_come_in_order_of_their_bytes_whatever_their_files_are_called(eyes: ImageSet, results: Path) -> None:
    before = source_of(eyes).image_ids
    assert before == sorted(before) and len(before) == 6
    (eyes.root / "00.png").rename(eyes.root / "zz.png")
    eyes.index()
    assert source_of(eyes).image_ids == before


def test_equal_bytes_count_once(eyes: ImageSet) -> None:
    (eyes.root / "again.png").write_bytes((eyes.root / "00.png").read_bytes())
    eyes.index()
    assert len(source_of(eyes)) == 6


def test_an_image_is_read_whole_or_as_small_as_is_enough(eyes: ImageSet) -> None:
    draw_image(eyes.root / "large.jpg", 77, (1600, 1200))
    eyes.index()
    source = source_of(eyes)
    at = next(at for at in range(len(source)) if source.items[at].path == "large.jpg")
    item = source.items[at]
    assert (item.width, item.height) == (1600, 1200)
    assert read_pixels(item, source.files, None).shape == (1200, 1600, 3)
    assert read_pixels(item, source.files, 90).shape == (150, 200, 3)
    assert source.names([at]) == ["eyes/large.jpg"]


def test_pixels_are_those_of_the_file(eyes: ImageSet) -> None:
    source = source_of(eyes)
    item = next(item for item in source.items if item.path == "02.png")
    with Image.open(eyes.root / item.path) as image:
        np.testing.assert_array_equal(read_pixels(item, source.files, None), np.asarray(image))


def test_a_changed_and_a_missing_file_are_named(eyes: ImageSet) -> None:
    source = source_of(eyes)
    item = source.items[0]
    (eyes.root / item.path).write_bytes(b"something else")
    with pytest.raises(DataError, match="changed since index"):
        read_pixels(item, source.files, None)
    (eyes.root / item.path).unlink()
    with pytest.raises(DataError, match=item.path):
        read_pixels(item, source.files, None)


def test_unreadable_images_fail_together_or_are_left_out(eyes: ImageSet) -> None:
    for name in ("x.png", "y.png"):
        (eyes.root / name).write_bytes(b"no image")
    eyes.index()
    with pytest.raises(DataError, match=r"2 problems(?s:.*)eyes/x.png: not_an_image(?s:.*)eyes/y.png"):
        source_of(eyes)
    assert len(source_of(eyes, bad_images="skip")) == 6


def test_a_modality_without_images_is_refused(eyes: ImageSet) -> None:
    for path in eyes.root.iterdir():
        path.write_bytes(b"no image")
    eyes.index()
    with pytest.raises(DataError, match="Fundus: expected images, found none that can be used in eyes"):
        source_of(eyes, bad_images="skip")


def test_images_of_another_modality_are_refused(eyes: ImageSet) -> None:
    eyes.modality = "OCT"
    with pytest.raises(DataError, match="expected OCT, found Fundus"):
        source_of(eyes)


def test_one_picture_under_two_modalities_is_refused(eyes: ImageSet, results: Path) -> None:
    other = ImageSet(results.parent, "scans", "OCT", seed=1)
    (other.root / "stray.png").write_bytes((eyes.root / "00.png").read_bytes())
    other.index()
    with pytest.raises(DataError, match=r"scans/stray.png \(OCT\) is also eyes/00.png \(Fundus\)"):
        source_of(eyes, other)


def test_a_dataset_without_its_files_is_a_usage_error(eyes: ImageSet) -> None:
    with pytest.raises(UsageError, match="eyes="):
        open_source({"eyes": eyes.settings()}, {}, {}, {}, {})


def test_a_run_goes_on_with_the_images_it_began_with(eyes: ImageSet) -> None:
    began = list(reversed(source_of(eyes).image_ids))
    draw_image(eyes.root / "new.png", 55)
    eyes.index()
    source = source_of(eyes).take(began)
    assert source.image_ids == began
    (eyes.root / "00.png").unlink()
    eyes.index()
    with pytest.raises(DataError, match="found: 1 missing"):
        source_of(eyes).take(began)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((4288, 2848), (771, 512)), ((500, 900), (500, 900)), ((600, 6000), (512, 5120)), ((512, 513), (512, 513))],
)
def test_the_shorter_side_is_shrunk_and_nothing_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrunk_size(*size, 512) == expected
    assert shrunk_size(*size, None) == size


def test_packing_loses_nothing() -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    np.testing.assert_array_equal(unpacked(packed(image_HWC), 53, 37), image_HWC)


def test_a_list_of_images_takes_few_bytes_and_gives_its_items_back() -> None:
    places = [None if n % 3 else Place("packs/d/512px.0", 10**9 + n, 500_000, 2**32 - 1 - n) for n in range(1000)]
    items = [Item("d", f"a/{n:08d}.jpg", f"{n:064x}", "Fundus", 640, 512, place) for n, place in enumerate(places)]
    images = Images.of({name: [getattr(item, name) for item in items] for name in Item._fields})
    assert list(images) == items and images.take([7, 3])[:] == [items[7], items[3]]
    assert images.at_places(places[::-1]).column("place") == places[::-1]
    assert images.nbytes < 200 * len(images)  # as Python's objects 630
