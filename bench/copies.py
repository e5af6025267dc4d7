"""Copies of photographs: how many planted ones are found, what else is called a copy, and what a large search costs.

Run: `python bench/copies.py IMAGES... [--every 5] [--strangers 100000] [--seed 0]`; folders of images, each counted
by itself.
"""

import argparse
import io
import random
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from visionfm.data import copied, copies
from visionfm.images.reading import ALLOWED_SUFFIXES
from visionfm.images.thumbnail import DECODE_PX, thumbnail


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


def fabricated(real_NP: copies.Bytes, number: int) -> copies.Bytes:
    """Return structures of strangers: random mixtures of real ones, with their mean and covariance."""
    rng = np.random.default_rng(0)
    mean_P, lit_P = real_NP.mean(0, dtype=np.float32), (real_NP != 0).mean(0) > 0.5
    apart_NP = (real_NP - mean_P) / np.float32(np.sqrt(len(real_NP)))
    made_MP = np.empty((number, real_NP.shape[1]), np.int8)
    for start in range(0, number, copies.BLOCK):
        weights_MN = rng.standard_normal((min(copies.BLOCK, number - start), len(real_NP)), np.float32)
        mixed_MP = np.rint((mean_P + weights_MN @ apart_NP) * lit_P)
        made_MP[start : start + len(mixed_MP)] = np.clip(mixed_MP, -copies.LEVELS, copies.LEVELS)
    return made_MP


def count(folder: Path, every: int, strangers: int, seed: int) -> None:
    """Print what is found among a folder's images, strangers, and copies planted of each n-th; time and memory."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ALLOWED_SUFFIXES)
    rng = random.Random(seed)
    own = copies.structure([small(file) for file in files])
    chosen = range(0, len(files), every)
    made = copies.structure([small(io.BytesIO(planted(Image.open(files[at]).convert("RGB"), rng))) for at in chosen])
    everything = np.concatenate([own, fabricated(own, strangers), made])
    begin = time.process_time()
    found = copies.search(everything)
    cpu, gib = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wanted = {(at, len(own) + strangers + number) for number, at in enumerate(chosen)}
    right = [one.score for one in found if (one.one, one.other) in wanted]
    least = f"{min(right, default=0):.2f}"
    print(f"{folder.parent.name}, {len(everything):,} images: {cpu:.0f} s CPU, {gib:.2f} GiB")
    name = copied.names([(str(one.one), str(one.other)) for one in found])
    joined = sum(name.get(str(one), one) == name.get(str(other), other) for one, other in wanted)
    print(f"  {len(right)} of {len(made)} planted copies found, the least alike at {least}; {joined} in the same group")
    pairs = [one for one in found if one.other < len(own)]
    total = len(files) * (len(files) - 1) // 2
    print(f"  among its own {total:,} pairs {len(pairs)} ({len(pairs) / max(total, 1):.4%}) are called copies:")
    for one in pairs[:20]:
        mirrored = ", mirrored" if one.mirrored else ""
        print(f"  {files[one.one].stem} = {files[one.other].stem} at {one.score:.2f}{mirrored}")
    strange = sum(len(own) <= one.one < len(own) + strangers or one.other < len(own) + strangers for one in found)
    print(f"  {strange - len(pairs)} pairs with a stranger are called copies")


def main() -> None:
    """Count, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=5, help="of how many images one has a planted copy")
    parser.add_argument("--strangers", type=int, default=0, help="fabricated images that it is sought among")
    parser.add_argument("--seed", type=int, default=0, help="of how copies are altered")
    args = parser.parse_args()
    for folder in args.folders:
        count(folder, args.every, args.strangers, args.seed)


if __name__ == "__main__":
    main()
