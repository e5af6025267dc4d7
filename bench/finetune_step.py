"""One step of fine-tuning (forward, backward, AdamW) against a plain float32 one: `python -m bench.finetune_step`.

Prints `name | reference | ours | ratio | wanted`. The plain step is the published one: attention written out, head on
the CLS tokens of the last four blocks, everything trained. Images a second stand beside ours; where there is a GPU, the
same on it with larger batches.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional

from bench import reference
from visionfm.encoders.file import TAPS
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.encoders.vit import load_encoder
from visionfm.tasks.finetuning.network import TunedNetwork, optimizer_of
from visionfm.tasks.finetuning.recipe import RECIPES, finetune_recipe
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.heads import ClsHead
from visionfm.tasks.vectors.spec import Spec

TARGETS = {"grade": TargetSpec(type="multiclass", classes=list("01234"))}
WANTED = 1.6


class PlainStep:
    """The published step."""

    def __init__(self, weights: dict[str, torch.Tensor], width: int, device: str) -> None:
        """Build encoder, head and optimizer."""
        self.encoder = reference.ReferenceEncoder(weights).to(device).train()
        self.head = ClsHead(TAPS * width, 5).to(device)
        groups = [{"params": self.encoder.parameters(), "lr": 1e-5}, {"params": self.head.parameters(), "lr": 1e-4}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.05)

    def __call__(self, images_B3SS: torch.Tensor, truth_B: torch.Tensor) -> None:
        """Take one step."""
        self.optimizer.zero_grad()
        forward = reference.ReferenceEncoder.forward.__wrapped__  # the encoder's own forward takes no gradients
        taps = forward(self.encoder, images_B3SS.float() / 255)
        outputs_BK = self.head(torch.cat([tokens[:, 0] for tokens in taps], dim=1))
        functional.cross_entropy(outputs_BK, truth_B).backward()
        self.optimizer.step()


class OurStep:
    """The step of `finetune` in recipe published."""

    def __init__(self, path: Path, precision: str, device: str) -> None:
        """Build the network and its optimizer."""
        encoder = load_encoder(path)
        recipe = finetune_recipe(RECIPES / "published.yaml", {"precision": precision})
        spec = Spec("classification", TARGETS, ["Fundus"], "pooled", "ClsHead", "cls", [TAPS * encoder.dim])
        self.network = TunedNetwork(encoder, Decoder(spec), recipe).to(device).train()
        self.optimizer = optimizer_of(self.network, recipe)

    def __call__(self, images_B3SS: torch.Tensor, truth_B: torch.Tensor) -> None:
        """Take one step."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self.network(images_B3SS), truth_B).backward()
        self.optimizer.step()


def seconds(step, batch: int, rounds: int, device: str) -> float:  # type: ignore[no-untyped-def]
    """Return the best of some steps: on a CPU in its own seconds, all threads together, so that others do not count."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    images_B3SS = torch.randint(0, 255, (batch, 3, 224, 224), dtype=torch.uint8, device=device)
    truth_B = torch.arange(batch, device=device) % 5
    best_s = float("inf")
    for _ in range(rounds + 1):
        started = clock()
        step(images_B3SS, truth_B)
        if device == "cuda":
            torch.cuda.synchronize()
        best_s = min(best_s, clock() - started)
    return best_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("name | reference | ours | ratio | wanted")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        import_encoder(ImportSettings(modality="Fundus", weights="random", arch=args.arch), path)
        weights = dict(load_encoder(path).network.state_dict())
        for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            batch = args.batch if device == "cpu" else 16 * args.batch
            plain = seconds(PlainStep(weights, weights["norm.weight"].shape[0], device), batch, args.rounds, device)
            for precision in ("fp32", "bf16"):
                ours = seconds(OurStep(path, precision, device), batch, args.rounds, device)
                wanted = f">= {WANTED}" if precision == "bf16" else "-"
                name = f"step of {args.arch}, batch {batch}, {device}, {precision}"
                rate = f"{batch / ours:.2f} images/s"
                print(f"{name} | {plain:.2f} s | {ours:.2f} s, {rate} | {plain / ours:.2f} | {wanted}")


if __name__ == "__main__":
    main()
