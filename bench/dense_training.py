"""What training a dense decoder costs, encoder in every step or cached tokens: `python -m bench.dense_training`.

Prints `name | reference | ours | ratio | wanted` for 20 images of 512 px, 20 epochs, ViT-B/16, fp32, in CPU seconds,
which other work on the machine hardly changes. Both sides are measured on a few images and steps and multiplied by how
often they happen: the reference encodes an image in each step, as the published code does, and trains the published
UNETR; ours encodes each image in four views once.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.features.settings import TokenReading
from visionfm.features.token_encode import TokenEncoder
from visionfm.tasks.maps.heads import LightHead, UnetrHead
from visionfm.tasks.maps.settings import DenseTarget
from visionfm.tasks.segmentation.fit import Segmentation

SIZE_PX, WIDTH, IMAGES, EPOCHS, VIEWS = 512, 768, 20, 20, 4
WANTED = 3.0


def main() -> None:
    """Measure the parts, then add them up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2, help="how often each part is measured; the least counts")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    pixels_BHWC = rng.integers(0, 256, (1, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "encoder.safetensors"
        import_encoder(ImportSettings(modality="Fundus", weights="random", arch="vit_base_patch16_224"), path)
        encoder = TokenEncoder(path, SIZE_PX, TokenReading(), torch.device("cpu"))
    encoder.rows = 1
    encode_s = least(args.repeats, lambda: encoder(pixels_BHWC))
    tokens_BLPD = torch.from_numpy(encoder(pixels_BHWC).astype(np.float32))
    image_BCSS = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255
    truth_BSS = torch.from_numpy((rng.random((1, SIZE_PX, SIZE_PX)) > 0.9).astype(np.uint8))
    step_s = {
        name: least(args.repeats, step_of(head, tokens_BLPD, image_BCSS, truth_BSS))
        for name, head in (
            ("unetr", UnetrHead(WIDTH, 1)),
            ("light", LightHead(WIDTH, 1).to(memory_format=torch.channels_last)),
        )
    }
    print(
        f"one image: encoder {encode_s:.2f} s, step of unetr {step_s['unetr']:.2f} s, of light {step_s['light']:.2f} s"
    )
    print("name | reference | ours | ratio | wanted")
    cached_s = IMAGES * VIEWS * encode_s
    for name, head, ours in (
        ("the published head, then the default one", "unetr", "light"),
        ("the published head on both sides", "unetr", "unetr"),
        ("the default head on both sides", "light", "light"),
    ):
        reference_s = IMAGES * EPOCHS * (encode_s + step_s[head])
        ours_s = cached_s + IMAGES * EPOCHS * step_s[ours]
        ratio = reference_s / ours_s
        print(f"{IMAGES} images, {EPOCHS} epochs: {name} | {reference_s:.0f} | {ours_s:.0f} | {ratio:.2f} | {WANTED:g}")


def least(repeats: int, work: Callable[[], object]) -> float:
    """Return the least CPU time of several runs, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def step_of(
    head: torch.nn.Module, tokens_BLPD: torch.Tensor, image_BCSS: torch.Tensor, truth_BSS: torch.Tensor
) -> Callable[[], None]:
    """Return one training step on one image."""
    kind = Segmentation(DenseTarget(column="vessel", classes=["background", "vessel"], values=[[0], [255]]))
    optimizer = torch.optim.AdamW(head.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        kind.loss(head(tokens_BLPD, image_BCSS), truth_BSS).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
