"""Running the encoder over the images that have no rows yet: device, processes, batches, part files.

The only module of `features` that imports torch, inside functions. Under torchrun each process takes every
world-th batch.
Invariant: on one machine a row's bits depend on the image and the encoder alone, since batches have one shape.
Shapes: B rows of a batch, N images of a batch, V views, L taps, D width.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from visionfm.errors import DataError, Stopped
from visionfm.features.cache import Rows
from visionfm.images.batches import Batch, BatchReading, batches_of, decoded_batches
from visionfm.images.settings import EncoderReading
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.processes import Process, choose_device, decoding_processes, this_process
from visionfm.runtime.progress import Waits, track

if TYPE_CHECKING:
    import torch

    from visionfm.encoders.vit import Encoder, Precision
    from visionfm.features.settings import ExtractSettings

log = logging.getLogger("visionfm")
Decoded = tuple[Batch, npt.NDArray[np.uint8]]
Encoded = TypeVar("Encoded")
PART_IMAGES, PART_S = 1024, 60.0
CPU_ACTIVATION_MB = 12.0  # of the widest activation: larger ones leave the cache, and are allocated anew each time
CPU_ROWS = (4, 16)  # a multiple of the first, so that the four views of images fill a batch; at most the second


@contextmanager
def together(stop: StopFlag) -> Iterator[Callable[[], None]]:
    """Join the processes that torchrun started; yields a function that waits until all of them call it.

    It raises Stopped or DataError when another process ended instead.
    """
    process = this_process()
    if process.world == 1:
        yield lambda: None
        return
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=timedelta(days=7))  # the shares may end hours apart
    try:
        yield lambda: _wait_for_all(stop)
    finally:
        dist.destroy_process_group()


def _wait_for_all(stop: StopFlag) -> None:
    import torch.distributed as dist

    try:
        dist.barrier()
    except RuntimeError as error:
        if stop():
            raise Stopped(f"stopped by {stop.signal_name}, progress saved", do="run the same command again") from error
        raise DataError(
            "another process ended before its share was done", do="see what it says, then run the same command again"
        ) from error


class Encoding:
    """One encoder, ready on its device, and how its share of the images is read."""

    def __init__(
        self,
        encoder_path: Path,
        settings: "ExtractSettings",
        root: Path,
        keep: Callable[[Sequence[str], Sequence[str], Rows], None],
        stop: StopFlag,
    ) -> None:
        """`keep(image_ids, views, rows)` publishes a part: called every 1024 images or 60 s, and when stopped."""
        self.settings = settings
        self.process = this_process()
        self.device = choose_device(settings.device, settings.gpu, self.process.local_rank)
        self.encoder = load(encoder_path, settings.size, settings.precision, self.device, settings.modality)
        on_gpu = self.device.type == "cuda"
        rows = max(CPU_ROWS[0], settings.batch_size) if on_gpu else cpu_rows(self.encoder, settings.size)
        self.workers = decoding_processes(settings.workers, self.device)
        self.reading = BatchReading(root, settings.size, rows, EncoderReading.of(settings))
        self.keep = keep
        self.stop = stop

    def run(self, images: Sequence[tuple[str, str]], views: tuple[str, ...]) -> Iterator[tuple[Sequence[str], Rows]]:
        """Yield (image_ids, rows) of this process's share of (path, image_id) images, in chunks that are already kept.

        Raises DataError naming an image whose features are not finite, Stopped after a signal.
        """
        chunk, since = _Chunk(), time.monotonic()
        encode = partial(_encode_all, self.encoder, self.device)
        steps = steps_of(images, views, self.reading, self.workers, self.stop, encode, "extract", self.process)
        for batch, (cls_BLD, patch_mean_BD), stopping in steps:
            chunk.add(batch, *_stored(batch, cls_BLD, patch_mean_BD, self.settings.dtype))
            if stopping or len(chunk.image_ids) >= PART_IMAGES or time.monotonic() - since >= PART_S:
                self.keep(chunk.image_ids, views, chunk.rows())
                yield chunk.image_ids, chunk.rows()
                chunk, since = _Chunk(), time.monotonic()
        if chunk.image_ids:
            if self.process.world > 1:  # the process that puts the file together reads the others' parts
                self.keep(chunk.image_ids, views, chunk.rows())
            yield chunk.image_ids, chunk.rows()


def steps_of(
    images: Sequence[tuple[str, str]],
    views: tuple[str, ...],
    reading: BatchReading,
    workers: int,
    stop: StopFlag,
    encode: Callable[[Iterator[Decoded]], Iterator[tuple[Batch, Encoded]]],
    what: str,
    process: Process | None = None,
) -> Iterator[tuple[Batch, Encoded, bool]]:
    """Yield each batch of a process's share of (path, image_id) images, encoded, and whether to save it at once.

    Raises Stopped after that, once a signal came.
    """
    process = process or Process(0, 1, 0)
    batches = batches_of(images, views, reading.rows)[process.rank :: process.world]
    count = sum(len(batch.images) for batch in batches)
    done, each = 0, len(batches[0].images) if batches else 1
    # One batch is not worth a process that decodes it.
    with closing(decoded_batches(batches, reading, max(0, min(workers, len(batches) - 1)))) as decoded:
        waits = Waits()
        encoded = encode(waits.counted(decoded))
        shown = encoded if process.rank else track(encoded, total=count, what=what, weight=each, waits=waits)
        for batch, rows in shown:
            done += len(batch.images)
            stopping = stop()
            yield batch, rows, stopping
            if stopping:
                raise Stopped(
                    f"stopped by {stop.signal_name}, progress saved",
                    found=f"{done} of {count} images encoded",
                    do="run the same command again: it goes on from there",
                )


class _Chunk:
    """Rows since the last part."""

    def __init__(self) -> None:
        self.image_ids: list[str] = []
        self._cls: list[npt.NDArray[Any]] = []
        self._patch_mean: list[npt.NDArray[Any]] = []

    def add(self, batch: Batch, cls_NVLD: npt.NDArray[Any], patch_mean_NVD: npt.NDArray[Any]) -> None:
        self.image_ids += [image_id for _, image_id in batch.images]
        self._cls.append(cls_NVLD)
        self._patch_mean.append(patch_mean_NVD)

    def rows(self) -> Rows:
        return np.concatenate(self._cls), np.concatenate(self._patch_mean)


def cpu_rows(encoder: "Encoder", size_px: int) -> int:
    """Return how many images go through the encoder at a time on a CPU: as many as fit its cache."""
    tokens = (size_px // encoder.patch) ** 2 + 1
    each_mb = tokens * 4 * encoder.dim * 4 / 2**20
    fitting = int(CPU_ACTIVATION_MB // each_mb)
    return min(max(fitting - fitting % CPU_ROWS[0], CPU_ROWS[0]), CPU_ROWS[1])


def load(
    path: Path, size: int, precision: "Precision", device: "torch.device", modality: str | None = None
) -> "Encoder":
    """Return an encoder for images of `size` px on its device, with reproducible arithmetic on a GPU."""
    import torch

    from visionfm.encoders.vit import load_encoder

    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("highest")  # no TF32
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.cuda.set_device(device)
    return load_encoder(path, image_size=size, device=device, precision=precision, modality=modality)


def _encode_all(encoder: "Encoder", device: "torch.device", decoded: Iterator[Decoded]) -> Iterator[tuple[Batch, Rows]]:
    """Yield each batch with cls_BLD and patch_mean_BD; a GPU gets the next batch before the last one's are fetched."""
    import torch

    waiting: tuple[Batch, torch.Tensor, torch.Tensor] | None = None
    for batch, images_BHWC in decoded:
        images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).contiguous()
        if device.type == "cuda":
            images_BCHW = images_BCHW.pin_memory().to(device, non_blocking=True)
        with torch.inference_mode():
            cls_BLD, patch_mean_BD = encoder.cls_and_mean(images_BCHW)
        if device.type == "cpu":
            yield batch, (cls_BLD.float().numpy(), patch_mean_BD.float().numpy())
            continue
        if waiting is not None:
            yield waiting[0], (waiting[1].float().cpu().numpy(), waiting[2].float().cpu().numpy())
        waiting = (batch, cls_BLD, patch_mean_BD)
    if waiting is not None:
        yield waiting[0], (waiting[1].float().cpu().numpy(), waiting[2].float().cpu().numpy())


def _stored(batch: Batch, cls_BLD: npt.NDArray[Any], patch_mean_BD: npt.NDArray[Any], dtype: str) -> Rows:
    """Return cls_NVLD and patch_mean_NVD in the cache's type, padding dropped; DataError unless all are finite."""
    count, views = len(batch.images), len(batch.views)
    with np.errstate(over="ignore"):
        cls_NVLD = cls_BLD[: count * views].astype(dtype).reshape(count, views, *cls_BLD.shape[1:])
        patch_mean_NVD = patch_mean_BD[: count * views].astype(dtype).reshape(count, views, -1)
    finite_N = np.isfinite(cls_NVLD).all((1, 2, 3)) & np.isfinite(patch_mean_NVD).all((1, 2))
    if not finite_N.all():
        first = int(np.argmin(finite_N))
        before_cast = np.isfinite(cls_BLD).all() and np.isfinite(patch_mean_BD).all()
        raise DataError(
            "features are not finite",
            expected=f"numbers that {dtype} can hold",
            found="an overflow" if before_cast else "NaN or infinity from the encoder",
            where=batch.images[first][0],
            do="set `dtype: float32` for the features" if before_cast else "check the encoder's weights and this image",
        )
    return cls_NVLD, patch_mean_NVD
