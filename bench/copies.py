"""Copies of photographs: how many planted ones are found, what else is called a copy, and what a large search costs.

Run: `python bench/copies.py IMAGES... [--every 5] [--fabricated 100000]`; folders of images, counted each by itself.
"""

import argparse
import io
import random
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from visionfm.data import copies
from visionfm.images.reading import ALLOWED_SUFFIXES
from visionfm.images.thumbnail import DECODE_PX, THUMBNAIL_PX, thumbnail


def planted(image: Image.Image, rng: random.Random) -> bytes:
    """A JPEG of quality 50 to 95: mirrored or not, turned by up to 5 degrees, cut by up to 10 %, scaled by 0.3 to 2."""
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-5, 5), Image.Resampling.BICUBIC)
    w, h = image.size
    (left, across), (top, along) = ((rng.uniform(0, cut), cut) for cut in (rng.uniform(0, 0.1), rng.uniform(0, 0.1)))
    image = image.crop((int(left * w), int(top * h), int((1 - across + left) * w), int((1 - along + top) * h)))
    scale, light = float(np.exp(rng.uniform(np.log(0.3), np.log(2)))), rng.uniform(0.75, 1.25)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.point(lambda value: min(255, int(light * value))).save(written, "JPEG", quality=rng.randint(50, 95))
    return written.getvalue()


def small(source: Path | io.BytesIO) -> bytes:
    """The thumbnail that `index` makes."""
    image = Image.open(source)
    if image.format == "JPEG":
        image.draft(None, (DECODE_PX, DECODE_PX))
    return thumbnail(np.asarray(image.convert("RGB")))


def count(folder: Path, every: int) -> None:
    """Print what is found among a folder's images, and of the copies planted of each n-th."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ALLOWED_SUFFIXES)
    rng = random.Random(0)
    own = copies.structure([small(file) for file in files])
    made = copies.structure(
        [small(io.BytesIO(planted(Image.open(file).convert("RGB"), rng))) for file in files[::every]]
    )
    found = copies.search(made, own)
    right = sum(one.other == one.one * every for one in found)
    least = min((one.score for one in found if one.other == one.one * every), default=0)
    print(f"{folder.name}: {right} of {len(made)} planted copies found, the least alike at {least:.2f}")
    pairs = copies.search(own)
    total = len(files) * (len(files) - 1) // 2
    print(f"  among its own {total:,} pairs {len(pairs)} ({len(pairs) / max(total, 1):.4%}) are called copies:")
    for one in pairs[:20]:
        mirrored = ", mirrored" if one.mirrored else ""
        print(f"  {files[one.one].stem} = {files[one.other].stem} at {one.score:.2f}{mirrored}")


def fabricated(number: int) -> None:
    """Print seconds and memory of a search among fabricated images."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    structure_NP = np.empty((number, THUMBNAIL_PX**2), np.int8)
    for start in range(0, number, copies.BLOCK):
        part = rng.standard_normal((min(copies.BLOCK, number - start), THUMBNAIL_PX, THUMBNAIL_PX), np.float32)
        soft = ndimage.gaussian_filter(part, (0, 2, 2))
        structure_NP[start : start + len(part)] = np.clip(soft / soft.std() * copies.STEPS, -31, 31).reshape(
            len(part), -1
        )
    structure_NP[-10:] = structure_NP[:10]
    begin, cpu = time.perf_counter(), time.process_time()
    found = copies.search(structure_NP)
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{number:,} fabricated images: {len(found)} of 10 copies, {cpu:.0f} s CPU, {took:.0f} s, {gib:.2f} GiB")


def main() -> None:
    """Count, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--every", type=int, default=5, help="of how many images one has a planted copy")
    parser.add_argument("--fabricated", type=int, default=0, help="images of the search that is timed")
    args = parser.parse_args()
    for folder in args.folders:
        count(folder, args.every)
    if args.fabricated:
        fabricated(args.fabricated)


if __name__ == "__main__":
    main()
