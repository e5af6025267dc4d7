"""Feature extraction against the published way, in one run: `python -m bench.extract`.

Prints `name | reference | ours | ratio | wanted` with images per second, and the cosine between the features of both.
Models are loaded and warm on both sides before the clock starts; reference and ours take turns, and each counts by its
best round.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

from bench import reference
from visionfm import artifacts
from visionfm.encoders.file import read_encoder_file
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.encoders.vit import load_encoder
from visionfm.features import encode
from visionfm.features.cache import read_cache, write_cache
from visionfm.features.row_bank import RowBank
from visionfm.features.rows import Names, RowIdentity
from visionfm.features.settings import ExtractSettings
from visionfm.images.transforms import VIEWS
from visionfm.runtime.interruption import StopFlag

FAST_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 names, then the Arm one
INTERESTING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "avx_vnni", "asimd", "bf16")


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16_224")
    parser.add_argument("--images", type=int, default=128, help="small images of the one-pass rows")
    parser.add_argument("--training-images", type=int, default=32, help="images of the rows with ten passes")
    parser.add_argument("--full-size", type=int, default=0, help="also this many 4288 x 2848 JPEGs, ten passes")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=0, help="decoding processes, on both sides")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count processor time: for a machine that others use too"
    )
    args = parser.parse_args()
    if args.cpu_time and args.workers:
        parser.error("--cpu-time sees this process only: use --workers 0")
    torch.set_num_threads(args.threads)
    print(_machine(args))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args)
        print("name | reference | ours | ratio | wanted")
        for precision, wanted in (("fp32", 1.2), ("bf16", 2.0)):
            small = bench.draw("small", args.images, (256, 256))
            bench.compare(f"one pass, {precision}", small, precision, VIEWS[:1], passes=1, wanted=wanted)
        bench.network_alone(args.images)
        few = bench.draw("few", args.training_images, (256, 256))
        for precision in ("fp32", "bf16"):
            name = f"training set: {reference.PASSES} passes of random flips, four exact views, {precision}"
            bench.compare(name, few, precision, VIEWS, passes=reference.PASSES, wanted=5.0)
        if args.full_size:
            full = bench.draw("full", args.full_size, (4288, 2848))
            name = "the same of 4288 x 2848 JPEGs, fp32"
            bench.compare(name, full, "fp32", VIEWS, passes=reference.PASSES, wanted=5.0)


class Bench:
    """One encoder on both sides, and a folder for what they write."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        """Make an untrained encoder and load it into the reference."""
        self.folder = folder
        self.args = args
        self.encoder_path = folder / "encoder.safetensors"
        import_encoder(ImportSettings(modality="Fundus", weights="random", arch=args.arch), self.encoder_path)
        tensors, metadata = artifacts.read_tensors(self.encoder_path)
        self.metadata = metadata
        self.reference = reference.ReferenceEncoder({name: torch.from_numpy(array) for name, array in tensors.items()})
        self.loaded: dict[tuple[str, str], encode.Encoding] = {}
        self.runs = 0

    def draw(self, name: str, count: int, size: tuple[int, int]) -> list[Path]:
        """Write smooth coloured JPEGs of `size` (width, height) px."""
        generator = np.random.default_rng(0)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{number:04}.jpg" for number in range(count)]
        for path in paths:
            coarse = Image.fromarray(generator.integers(0, 256, (24, 24, 3)).astype(np.uint8))
            coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
        return paths

    def compare(
        self, name: str, paths: Sequence[Path], precision: str, views: Sequence[str], *, passes: int, wanted: float
    ) -> None:
        """Print one row, and how far the features are apart."""
        ours = lambda: self._ours(paths, precision, views)  # noqa: E731
        theirs = lambda: self._theirs(paths, passes)  # noqa: E731
        best = {"ours": np.inf, "theirs": np.inf}
        self._ours(paths[:4], precision, views[:1])  # warm
        for _ in range(self.args.rounds):
            best["theirs"] = min(best["theirs"], self._seconds(theirs))
            best["ours"] = min(best["ours"], self._seconds(ours))
        rates = {side: len(paths) / seconds for side, seconds in best.items()}
        ratio = rates["ours"] / rates["theirs"]
        print(f"{name} | {rates['theirs']:.3g} images/s | {rates['ours']:.3g} images/s | {ratio:.2f} | {wanted}")
        print(f"  cosine of features, the lowest: {self._cosine(paths, precision):.6f} (wanted 0.999)")

    def network_alone(self, images: int) -> None:
        """Print what timm's own network does by itself in bf16, all of it cast, against the encoder that we run."""
        plain = timm.create_model(self.args.arch).eval().to(torch.bfloat16)
        encoder = load_encoder(self.encoder_path, precision="bf16")
        pixels_BCHW = torch.randint(0, 255, (16, 3, encoder.image_size, encoder.image_size), dtype=torch.uint8)
        floats_BCHW = (pixels_BCHW / 255).to(torch.bfloat16)
        works: dict[str, Callable[[], object]] = {
            "theirs": lambda: plain.forward_features(floats_BCHW),
            "ours": lambda: encoder.cls_and_mean(pixels_BCHW),
        }
        batches = max(1, images // len(pixels_BCHW))
        best = dict.fromkeys(works, np.inf)
        with torch.inference_mode():
            for _ in range(self.args.rounds + 1):
                for side, work in works.items():
                    best[side] = min(best[side], self._seconds(lambda work=work: [work() for _ in range(batches)]))  # type: ignore[misc]
        rates = {side: batches * len(pixels_BCHW) / seconds for side, seconds in best.items()}
        ratio = rates["ours"] / rates["theirs"]
        said = f"{rates['theirs']:.3g} images/s | {rates['ours']:.3g} images/s | {ratio:.2f} | 1.0"
        print(f"network alone in bf16, timm's all cast against ours | {said}")

    def _seconds(self, run: Callable[[], object]) -> float:
        clock = time.process_time if self.args.cpu_time else time.perf_counter
        started = clock()
        run()
        return clock() - started

    def _theirs(self, paths: Sequence[Path], passes: int, augment: bool = True) -> Path:
        self.runs += 1
        out = self.folder / f"pickles{self.runs}"
        mean, std = self._triple("mean"), self._triple("std")
        options = {"passes": passes, "augment": augment and passes > 1, "workers": self.args.workers}
        reference.extract(self.reference, paths, out, mean=mean, std=std, **options)
        return out

    def _triple(self, name: str) -> list[float]:
        return [float(value) for value in json.loads(self.metadata[name])]

    def _ours(self, paths: Sequence[Path], precision: str, views: Sequence[str]) -> Path:
        """Do what the stage does once the encoder is loaded, up to the published file."""
        self.runs += 1
        out = self.folder / f"ours{self.runs}.h5"
        settings = ExtractSettings(precision=precision, device="cpu", workers=self.args.workers, views=list(views))
        root = paths[0].parent
        key = (precision, str(root))
        if key not in self.loaded:
            self.loaded[key] = encode.Encoding(self.encoder_path, settings, root, lambda *_: None, StopFlag())
        images = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]
        image_ids = [image_id for _, image_id in images]
        encoder = read_encoder_file(self.encoder_path)
        blocks = encoder.vector_blocks
        bank = RowBank(image_ids, views, settings.dtype, len(blocks), encoder.width)
        for done_ids, rows in self.loaded[key].run(images, tuple(views)):
            bank.put(done_ids, views, rows)
        identity = RowIdentity("", "", json.dumps(list(blocks)), precision, settings.dtype)
        made_by = artifacts.provenance("extract", {}, {})
        names = Names([path for path, _ in images], image_ids, tuple(views))
        write_cache(out, names, bank.take(image_ids), identity, made_by)
        return out

    def _cosine(self, paths: Sequence[Path], precision: str) -> float:
        theirs_NLD = reference.read_pickles(self._theirs(paths, 1, augment=False))
        ours_NLD = read_cache(self._ours(paths, precision, VIEWS[:1])).cls_NVLD[:, 0].astype(np.float32)
        products = (theirs_NLD * ours_NLD).sum(-1)
        return float((products / np.linalg.norm(theirs_NLD, axis=-1) / np.linalg.norm(ours_NLD, axis=-1)).min())


def _machine(args: argparse.Namespace) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    flags = " ".join(flag for flag in INTERESTING_FLAGS if flag in words)
    bf16 = "has bf16 arithmetic" if FAST_BF16 & words else "has no bf16 arithmetic: bf16 is emulated"
    clock = "processor time" if args.cpu_time else "wall time"
    return f"{args.arch}, {args.threads} threads, {clock}, torch {torch.__version__}; the processor ({flags}) {bf16}"


if __name__ == "__main__":
    main()
