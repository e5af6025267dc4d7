"""Batches have one shape, come in order, and are the same whoever decodes them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.batch_files import children, command_line, reading_of, with_ids
from world.small_project import write_images

from visionfm.errors import DataError
from visionfm.images.batches import Batch, batches_of, decoded_batches, pieces_of
from visionfm.images.transforms import VIEWS


def test_batches_hold_as_many_images_as_their_views_leave_room_for() -> None:
    images = [(f"{number}", "") for number in range(5)]
    assert [len(batch.images) for batch in batches_of(images, ("identity",), 4)] == [4, 1]
    assert [len(batch.images) for batch in batches_of(images, ("identity", "h"), 4)] == [2, 2, 1]
    assert [len(batch.images) for batch in batches_of(images, ("h", "v", "hv"), 4)] == [1] * 5
    assert batches_of([], ("identity",), 4) == []


def test_views_are_flips_of_the_resized_image_and_the_last_row_fills_the_batch(tmp_path: Path) -> None:
    name = write_images(tmp_path, 2)[1]
    batch = Batch(tuple(with_ids(tmp_path, [name])), VIEWS)
    ((_, images_BHWC),) = decoded_batches([batch], reading_of(tmp_path, rows=6), 0)
    assert images_BHWC.shape == (6, 32, 32, 3)
    assert images_BHWC.dtype == np.uint8
    with Image.open(tmp_path / name) as image:
        small_HWC = np.array(image.resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images_BHWC[0], small_HWC)
    np.testing.assert_array_equal(images_BHWC[1], small_HWC[:, ::-1])
    np.testing.assert_array_equal(images_BHWC[2], small_HWC[::-1])
    np.testing.assert_array_equal(images_BHWC[3], small_HWC[::-1, ::-1])
    np.testing.assert_array_equal(images_BHWC[4:], images_BHWC[[3, 3]])


def test_worker_processes_give_the_same_batches_in_the_same_order(tmp_path: Path) -> None:
    batches = batches_of(with_ids(tmp_path, write_images(tmp_path, 7)), ("identity", "h"), 4)
    alone = list(decoded_batches(batches, reading_of(tmp_path), 0))
    helped = list(decoded_batches(batches, reading_of(tmp_path), 2))
    assert [batch for batch, _ in helped] == batches
    for (_, expected), (_, found) in zip(alone, helped, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_changed_since_index_is_named(tmp_path: Path, workers: int) -> None:
    images = with_ids(tmp_path, write_images(tmp_path, 2))
    (tmp_path / images[1][0]).write_bytes((tmp_path / images[0][0]).read_bytes())
    with (
        closing(decoded_batches(batches_of(images, ("identity",), 1), reading_of(tmp_path, 1), workers)) as decoded,
        pytest.raises(DataError, match="eyes/001.png changed since index"),
    ):
        list(decoded)


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    images = with_ids(tmp_path, write_images(tmp_path, 1))
    (tmp_path / images[0][0]).unlink()
    with pytest.raises(DataError, match=r"cannot be read.*\n.*eyes/000.jpg"):
        list(decoded_batches([Batch(tuple(images), ("identity",))], reading_of(tmp_path), 0))


def test_a_volume_is_one_piece_of_work_and_single_images_come_by_batches() -> None:
    frames = [(f"{name}.vol#{n}", f"{name}:{n}") for name in "ab" for n in range(6)]
    single = [(f"{n}.png", f"{n}") for n in range(5)]
    batches = batches_of([*single, *frames, ("z.png", "z")], ("identity",), 4)
    pieces = pieces_of(batches, 224)
    assert [len(piece) for piece in pieces] == [4, 1, 6, 6, 1]
    assert [image for piece in pieces for image in piece] == [image for batch in batches for image in batch.images]
    assert [len(piece) for piece in pieces_of(batches_of(frames, ("identity",), 4), 2048)] == [5, 1, 5, 1]


def test_leaving_early_ends_the_workers(tmp_path: Path) -> None:
    batches = batches_of(with_ids(tmp_path, write_images(tmp_path, 6)), ("identity",), 1)
    before = children()
    with closing(decoded_batches(batches, reading_of(tmp_path), 1)) as decoded:
        next(decoded)
        workers = children() - before
        assert workers
    assert not {pid for pid in workers if "spawn_main" in command_line(pid)}


def test_workers_outlive_signals_to_the_group_but_not_their_parent(tmp_path: Path) -> None:
    write_images(tmp_path, 6)
    script = f"""
import time
from pathlib import Path
from world.batch_files import children, command_line, reading_of, with_ids
from visionfm.images.batches import batches_of, decoded_batches
if __name__ == "__main__":
    root = Path({str(tmp_path)!r})
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*g"))
    decoded = decoded_batches(batches_of(with_ids(root, names), ("identity",), 1), reading_of(root), 1)
    next(decoded)
    print(*(pid for pid in children() if "spawn_main" in command_line(pid)), flush=True)
    time.sleep(60)
"""
    (tmp_path / "main.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    workers = {int(pid) for pid in parent.stdout.readline().split()}
    assert workers
    for pid in workers:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(pid, number)
    time.sleep(0.3)
    assert all("spawn_main" in command_line(pid) for pid in workers)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any("spawn_main" in command_line(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any("spawn_main" in command_line(pid) for pid in workers)
