"""A pack holds the pixels that training would see without it; incremental packs have the bytes of new ones."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from world.image_sets import ImageSet, draw_image, source_of

from visionfm import artifacts
from visionfm.errors import ArtifactError, DataError
from visionfm.pretraining import pack_files
from visionfm.pretraining.reading import read_pixels


@pytest.fixture
def eyes(results: Path) -> ImageSet:
    return ImageSet(results.parent)


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data files of about two images."""
    monkeypatch.setattr(pack_files, "BUCKET_BYTES", 50_000)


def files_of(eyes: ImageSet) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(eyes.pack_index.parent.iterdir())}


def clean_pack(eyes: ImageSet) -> dict[str, bytes]:
    """The bytes of a pack made from nothing."""
    for folder in (eyes.run / "results/packs", eyes.run / "results/.kept/packs"):
        shutil.rmtree(folder, ignore_errors=True)
    eyes.pack()
    return files_of(eyes)


def test_training_sees_equal_pixels_with_and_without_a_pack(eyes: ImageSet) -> None:
    eyes.pack()
    packed, plain = source_of(eyes, packed=True), source_of(eyes, pack_px=80)
    assert packed.image_ids == plain.image_ids
    for one, other in zip(packed.items, plain.items, strict=True):
        assert one[:-1] == other[:-1] and one.place is not None
        pixels = read_pixels(one, packed.files, None)
        assert min(pixels.shape[:2]) <= 80 and pixels.shape == (one.height, one.width, 3)
        np.testing.assert_array_equal(pixels, read_pixels(other, plain.files, None))


def test_an_unchanged_dataset_is_packed_once(eyes: ImageSet, caplog: pytest.LogCaptureFixture) -> None:
    eyes.pack()
    before = files_of(eyes)
    caplog.clear()
    with caplog.at_level(logging.INFO, "visionfm"):
        eyes.pack()
        eyes.pack_index.unlink()
        eyes.pack()
    assert caplog.text.count("unchanged: ") == 2 and "to pack" not in caplog.text
    assert files_of(eyes) == before


@pytest.mark.usefixtures("small_buckets")
def test_one_more_image_decodes_one_and_ends_like_a_new_pack(eyes: ImageSet, caplog: pytest.LogCaptureFixture) -> None:
    eyes.pack()
    before = files_of(eyes)
    assert len(before) > 3
    draw_image(eyes.root / "new.png", 55)
    eyes.index()
    with caplog.at_level(logging.INFO, "visionfm"):
        eyes.pack()
    assert "pack: read 1, reused 6 images" in caplog.text
    after = files_of(eyes)
    assert sum(name in before for name in after) >= 2  # the other files stay as they are
    assert clean_pack(eyes) == after


@pytest.mark.usefixtures("small_buckets")
def test_a_removed_image_decodes_none_and_ends_like_a_new_pack(
    eyes: ImageSet, caplog: pytest.LogCaptureFixture
) -> None:
    eyes.pack()
    (eyes.root / "03.jpg").unlink()
    eyes.index()
    with caplog.at_level(logging.INFO, "visionfm"):
        eyes.pack()
    assert "pack: read 0, reused 5 images" in caplog.text
    after = files_of(eyes)
    assert clean_pack(eyes) == after


@pytest.mark.usefixtures("small_buckets")
def test_a_stopped_pack_goes_on_with_the_files_it_finished(
    eyes: ImageSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, written = pack_files.write_data, []

    def failing(*arguments: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        write(*arguments)  # type: ignore[arg-type]
        written.append(arguments)

    monkeypatch.setattr(pack_files, "write_data", failing)
    with pytest.raises(KeyboardInterrupt):
        eyes.pack()
    assert not eyes.pack_index.exists()
    monkeypatch.setattr(pack_files, "write_data", write)
    with caplog.at_level(logging.INFO, "visionfm"):
        eyes.pack()
    fresh = int(caplog.text.split("pack: read ")[1].split(",")[0])
    assert 0 < fresh < 6
    after = files_of(eyes)
    assert clean_pack(eyes) == after


def test_a_renamed_file_changes_no_pack(eyes: ImageSet) -> None:
    eyes.pack()
    before = files_of(eyes)
    (eyes.root / "00.png").rename(eyes.root / "zz.png")
    eyes.index()
    eyes.pack()
    assert files_of(eyes) == before


def test_a_damaged_pack_is_noticed_when_it_is_read(eyes: ImageSet) -> None:
    eyes.pack()
    source = source_of(eyes, packed=True)
    item = source.items[0]
    assert item.place is not None
    path = Path(item.place.file)
    content = bytearray(path.read_bytes())
    content[item.place.at + item.place.bytes // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="a pack is damaged"):
        read_pixels(item, source.files, None)
    with pytest.raises(ArtifactError):
        artifacts.read_metadata(path)


def test_a_pack_of_other_images_is_refused(eyes: ImageSet) -> None:
    eyes.pack()
    draw_image(eyes.root / "new.png", 55)
    eyes.index()
    with pytest.raises(ArtifactError, match="a pack does not fit its dataset"):
        source_of(eyes, packed=True)


def test_unreadable_images_fail_or_are_left_out(eyes: ImageSet) -> None:
    (eyes.root / "x.png").write_bytes(b"no image")
    eyes.index()
    with pytest.raises(DataError, match="not_an_image"):
        eyes.pack()
    eyes.pack(bad_images="skip")
    assert len(source_of(eyes, packed=True, bad_images="skip")) == 6


def test_buckets_split_evenly_as_a_pack_grows() -> None:
    images = [pack_files.Wanted(f"{number:08x}" + "0" * 56, "", 16000, 16000) for number in range(0, 2**32, 2**29)]
    few, many = pack_files.buckets_of(images[::2], "512px", ""), pack_files.buckets_of(images, "512px", "")
    assert [len(bucket.images) for bucket in few] == [1] * 4
    assert [len(bucket.images) for bucket in many] == [1] * 8
