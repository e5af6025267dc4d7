"""Decode and resize large JPEGs: the reduced-scale path against full-size PIL decode and resize, and what features say.

Reads photographs of ../shared/data/idrid, enlarges them to camera size with fine grain, and prints a line per measure:
`name | reference | ours | ratio | wanted`. Features come from the golden ViT-Ti (last four CLS tokens and patch mean).
"""

import argparse
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionfm.images.reading import decode
from visionfm.images.settings import Reading
from visionfm.images.transforms import resize_square
from visionfm.modalities import MODALITIES

SHARED = Path(os.environ.get("VISIONFM_SHARED", Path(__file__).resolve().parents[1] / ".." / "shared"))
CAMERA_PX = (4288, 2848)
OTHER_SIZES_PX = ((4281, 2841), (2896, 2896), (2048, 1536), (1600, 1216), (1024, 800))  # odd edges; near the margin
TARGET_PX = 224
Pixels = npt.NDArray[np.uint8]


def photograph(path: Path, size_px: tuple[int, int], grain: float, quality: int, seed: int) -> bytes:
    """A JPEG (4:2:0) of camera size: the enlarged photograph plus grey grain, standard deviation `grain` levels."""
    with Image.open(path) as image:
        pixels_HWC = np.asarray(image.convert("RGB").resize(size_px, Image.Resampling.BICUBIC), dtype=np.float32)
    noise_HW = np.random.default_rng(seed).normal(0, grain, pixels_HWC.shape[:2]).astype(np.float32)
    lit_HW = pixels_HWC.mean(-1) > 20  # a camera's surround is black
    pixels_HWC = (pixels_HWC + (noise_HW * lit_HW)[..., None]).clip(0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC.astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def reference(data: bytes, interpolation: str = "bilinear") -> Pixels:
    """Decode at full size and resize, as published."""
    with Image.open(io.BytesIO(data)) as image:
        full = image.convert("RGB")
    return np.array(full.resize((TARGET_PX, TARGET_PX), getattr(Image.Resampling, interpolation.upper())))


def ours(data: bytes, interpolation: str = "bilinear", exact: bool = False) -> Pixels:
    """Decode as the extraction does."""
    pixels = decode(data, Reading(), target_px=TARGET_PX, exact=exact, where="bench")
    return resize_square(pixels, TARGET_PX, interpolation)  # type: ignore[arg-type]


def best_of(action: Callable[[bytes], Pixels], files: list[bytes], rounds: int) -> float:
    """Seconds per image: the best of some rounds for each file, then the mean over files."""
    best_s = [float("inf")] * len(files)
    for _ in range(rounds):
        for at, data in enumerate(files):
            started = time.perf_counter()
            action(data)
            best_s[at] = min(best_s[at], time.perf_counter() - started)
    return sum(best_s) / len(best_s)


def golden_features(images: list[Pixels]) -> npt.NDArray[np.float32]:
    """(N, 5, 192): the golden encoder's last four CLS tokens and its patch mean, fp32."""
    import timm
    import torch

    allowed = [argparse.Namespace, np._core.multiarray.scalar, np.dtype, np.dtypes.Float64DType]  # type: ignore[attr-defined]
    with torch.serialization.safe_globals(allowed):
        checkpoint = torch.load(SHARED / "golden" / "visionfm_vit_tiny_teacher.pth", weights_only=True)
    state = {key.removeprefix("backbone."): value.float() for key, value in checkpoint["teacher"].items()}
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval()
    model.load_state_dict({key: value for key, value in state.items() if key in model.state_dict()})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in MODALITIES["Fundus"][1:3])
    with torch.inference_mode():
        images_BCHW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        taps = model.get_intermediate_layers((images_BCHW - mean) / std, n=4, return_prefix_tokens=True, norm=True)
        parts = [prefix[:, 0] for _, prefix in taps] + [taps[-1][0].mean(1)]
    return np.asarray(torch.stack(parts, 1).numpy())


def lowest_cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """The lowest cosine over images and the five parts."""
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    paths = sorted((SHARED / "data" / "idrid" / "images" / "train").iterdir())
    paths = paths[:: len(paths) // args.images][: args.images]

    def files(size_px: tuple[int, int], grain: float, quality: int) -> list[bytes]:
        return [photograph(path, size_px, grain, quality, seed) for seed, path in enumerate(paths)]

    print("name | reference | ours | ratio | wanted")
    width, height = CAMERA_PX
    kinds = {f"grain {grain:g}, quality {quality}": (grain, quality) for grain, quality in ((1, 90), (2, 90), (3, 95))}
    for kind, (grain, quality) in kinds.items():
        jpegs = files(CAMERA_PX, grain, quality)
        kilobytes = sum(map(len, jpegs)) // len(jpegs) // 1000
        name = f"decode+resize {width}x{height} ({kind}, {kilobytes} kB)"
        reference_s, ours_s, exact_s = (
            best_of(action, jpegs, args.rounds) for action in (reference, ours, lambda data: ours(data, exact=True))
        )
        wanted = ">= 4" if quality == 90 else "(no promise)"
        print(f"{name} | {reference_s * 1e3:.0f} ms | {ours_s * 1e3:.0f} ms | {reference_s / ours_s:.1f} | {wanted}")
        print(f"{name}, exact | {reference_s * 1e3:.0f} ms | {exact_s * 1e3:.0f} ms | {reference_s / exact_s:.1f} | -")
        for interpolation in ("bilinear", "bicubic"):
            full = golden_features([reference(data, interpolation) for data in jpegs])
            cosine = lowest_cosine(full, golden_features([ours(data, interpolation) for data in jpegs]))
            print(f"lowest feature cosine, {interpolation} ({kind}) | 1 | {cosine:.6f} | - | >= 0.999")
    for size_px in OTHER_SIZES_PX:
        jpegs = files(size_px, 2, 90)
        full, fast = (golden_features([action(data) for data in jpegs]) for action in (reference, ours))
        cosine = lowest_cosine(full, fast)
        print(f"lowest feature cosine, {size_px[0]}x{size_px[1]} | 1 | {cosine:.6f} | - | >= 0.999")
    same = all(np.array_equal(reference(data), ours(data, exact=True)) for data in jpegs)
    print(f"exact mode equals the reference | - | {'yes' if same else 'NO'} | - | yes")


if __name__ == "__main__":
    main()
