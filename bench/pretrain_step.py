"""A step of pretraining against the published way, in one run: `python -m bench.pretrain_step` (`--gpu` on a GPU).

Prints `name | reference | ours | ratio | wanted` with images per second, the difference of the first steps' losses
(fp32) and the peak memory of both. On a GPU also the share of the device's peak that the model's own arithmetic uses.
Reference and ours take turns; each counts by its best round; on the CPU seconds are those of the processor, summed over
threads, so that other work on the machine does not count.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.reference_pretrain import Reference
from visionfm.pretraining.block import Pretrain
from visionfm.pretraining.crops import CropBatch
from visionfm.pretraining.distillation import Distillation
from visionfm.pretraining.masking import draw_mask
from visionfm.pretraining.networks import Pair, build_vit, pair_of
from visionfm.pretraining.order import sample_rng
from visionfm.pretraining.processes import Group
from visionfm.pretraining.recipe import DistillationRecipe
from visionfm.pretraining.schedules import Values
from visionfm.runtime.processes import Process

VALUES = Values(lr=1e-4, weight_decay=0.04, momentum=0.996, teacher_temp=0.07, patch_temp=0.04, last_layer_frozen=False)
PEAK_TFLOPS = 989.0  # of an H100 or H200, dense bf16
SIDES = ("reference", "ours")


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, help="images per step; 8 on the CPU, 128 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps per round; 1 on the CPU, 10 on a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--gpu", action="store_true", help="bf16 and compiled against the reference's own fp16")
    parser.add_argument("--peak-tflops", type=float, default=PEAK_TFLOPS, help="of the GPU, dense bf16")
    parser.add_argument("--memory-of", choices=SIDES, help=argparse.SUPPRESS)  # a process of its own for each side
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.batch = args.batch or (128 if args.gpu else 8)
    args.steps = args.steps or (10 if args.gpu else 1)
    if args.memory_of:
        print(json.dumps({"peak_mb": _cpu_peak_mb(args)}))
        return
    device = torch.cuda.get_device_name() if args.gpu else "CPU"
    print(f"{args.arch}, 2 x 224, batch {args.batch}, {device}, {args.threads} threads, torch {torch.__version__}")
    print("name | reference | ours | ratio | wanted")
    if args.gpu:
        _on_gpu(args)
    else:
        _on_cpu(args)


def recipe(precision: str, batch: int) -> DistillationRecipe:
    fields = {"precision": precision, "batch_size": batch, "micro_batch": batch, "drop_path": 0.0}
    block = Pretrain(datasets=["none"], arch="none", mask_ratio=[0.3], mask_spread=[0.2], **fields)
    return block.recipe_values()


def networks(arch: str, chosen: DistillationRecipe) -> Pair:
    torch.manual_seed(0)
    vits = [build_vit(arch, None, chosen) for _ in range(2)]
    vits[1].load_state_dict(vits[0].state_dict())
    return pair_of(vits, chosen)


def crops_of(chosen: DistillationRecipe, batch: int, patch: int, device: torch.device) -> CropBatch:
    generator = torch.Generator().manual_seed(1)
    side = chosen.image_size // patch
    drawn = [[draw_mask(chosen, side, 0, sample_rng(chosen, g, b, "masks")) for b in range(batch)] for g in range(2)]
    masks = torch.from_numpy(np.array(drawn))
    pixels = torch.randn(2, batch, 3, chosen.image_size, chosen.image_size, generator=generator)
    return CropBatch(pixels.to(device), None, masks.to(device), list(range(batch)))


class Ours:
    """This project's step."""

    def __init__(self, pair: Pair, chosen: DistillationRecipe, device: torch.device, *, compiled: bool = False) -> None:
        """Put the networks on the device."""
        for network in pair.networks:
            network.to(device).train()
            if compiled:
                network.backbone.compile_blocks()
        self.learner = Distillation(pair, chosen, Group(Process(0, 1, 0), device))
        self.count = 0

    def step(self, crops: CropBatch) -> float:
        """Do one optimizer step; return the loss."""
        learned = self.learner.learn([crops], self.count, VALUES, len(crops.at_B), list)
        self.learner.update(VALUES)
        self.count += 1
        return learned.means["loss"]


def _reference_step(side: Reference, crops: CropBatch) -> float:
    temps = (VALUES.teacher_temp, VALUES.patch_temp)
    return side.step(
        crops.global_CBchw, crops.masks_CBPP.flatten(2), VALUES.lr, VALUES.weight_decay, VALUES.momentum, temps
    )


def _seconds(work: Callable[[], object], steps: int) -> float:
    """Return seconds of one step: of the CPU, all threads together (what else runs does not count), or of a GPU."""
    on_gpu = torch.cuda.is_available()
    clock = time.perf_counter if on_gpu else time.process_time
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else (lambda: None)
    wait()
    started = clock()
    for _ in range(steps):
        work()
    wait()
    return (clock() - started) / steps


def _best(works: dict[str, Callable[[], object]], rounds: int, steps: int) -> dict[str, float]:
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(_seconds(work, steps))
    return {name: min(values) for name, values in times.items()}


# --- CPU ------------------------------------------------------------------------------------------------------------


def _on_cpu(args: argparse.Namespace) -> None:
    device = torch.device("cpu")
    chosen = recipe("fp32", args.batch)
    pair = networks(args.arch, chosen)
    weights = {name: value.clone() for name, value in pair.student.state_dict().items()}
    crops = crops_of(chosen, args.batch, pair.patch, device)
    side, ours = Reference(weights, device, half=False), Ours(pair, chosen, device)
    losses = [(_reference_step(side, crops), ours.step(crops)) for _ in range(2)]
    off = max(abs(one - other) for one, other in losses)
    print(f"loss of two steps, fp32: differs by {off:.1e} (wanted: below 1e-4; {losses[0][0]:.5f}, {losses[0][1]:.5f})")
    for precision, wanted in (("fp32", 1.1), ("bf16", 1.8)):
        if precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
            print(f"step, bf16 | - | - | - | {wanted} (this processor has no bfloat16 instructions)")
            continue
        if precision == "bf16":
            ours = Ours(networks(args.arch, recipe("bf16", args.batch)), recipe("bf16", args.batch), device)
        works: dict[str, Callable[[], object]] = {
            "reference": lambda side=side: _reference_step(side, crops),  # type: ignore[misc]
            "ours": lambda ours=ours: ours.step(crops),  # type: ignore[misc]
        }
        found = _best(works, args.rounds, args.steps)
        _row(f"step, {precision}", found, args.batch, wanted)
    peaks = {name: _measured_apart(name, args) for name in SIDES}
    ratio = peaks["ours"] / peaks["reference"]
    print(f"peak memory, fp32 | {peaks['reference']:.0f} MB | {peaks['ours']:.0f} MB | {ratio:.2f} | at most 0.7")


def _row(name: str, seconds: dict[str, float], batch: int, wanted: float) -> None:
    speeds = {side: batch / value for side, value in seconds.items()}
    ratio = speeds["ours"] / speeds["reference"]
    print(f"{name} | {speeds['reference']:.2f} images/s | {speeds['ours']:.2f} images/s | {ratio:.2f} | {wanted}")


def _measured_apart(side: str, args: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "bench.pretrain_step", "--memory-of", side, "--arch", args.arch]
    command += ["--batch", str(args.batch), "--threads", str(args.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mb"])


def _cpu_peak_mb(args: argparse.Namespace) -> float:
    """Return what two steps need at their peak beyond what was there before the networks were built."""
    device, chosen = torch.device("cpu"), recipe("fp32", args.batch)
    torch.randn(64, 64) @ torch.randn(64, 64)
    before_kb = _peak_kb()
    pair = networks(args.arch, chosen)
    crops = crops_of(chosen, args.batch, pair.patch, device)
    if args.memory_of == "reference":
        side = Reference(pair.student.state_dict(), device, half=False)
        del pair
        for _ in range(2):
            _reference_step(side, crops)
    else:
        ours = Ours(pair, chosen, device)
        for _ in range(2):
            ours.step(crops)
    return (_peak_kb() - before_kb) / 1024


def _peak_kb() -> int:
    """Return this process's own peak; that of getrusage begins with the peak of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


# --- GPU ------------------------------------------------------------------------------------------------------------


def _on_gpu(args: argparse.Namespace) -> None:
    device = torch.device("cuda")
    torch.backends.cuda.matmul.allow_tf32 = True
    chosen = recipe("bf16", args.batch)
    pair = networks(args.arch, chosen)
    weights = {name: value.clone() for name, value in pair.student.state_dict().items()}
    crops = crops_of(chosen, args.batch, pair.patch, device)
    peaks, found = {}, {}
    for name in SIDES:  # one after the other: both together may not fit
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        if name == "reference":
            side = Reference(weights, device, half=True)
            found |= _best({name: lambda side=side: _reference_step(side, crops)}, args.rounds, args.steps)  # type: ignore[misc]
            del side
        else:
            ours = Ours(pair, chosen, device, compiled=True)
            found |= _best({name: lambda ours=ours: ours.step(crops)}, args.rounds, args.steps)  # type: ignore[misc]
        peaks[name] = torch.cuda.max_memory_allocated() / 1e6
    _row("step, reference fp16, ours bf16 compiled", found, args.batch, 2.0)
    ratio = peaks["ours"] / peaks["reference"]
    print(f"peak memory | {peaks['reference']:.0f} MB | {peaks['ours']:.0f} MB | {ratio:.2f} | at most 0.7")
    used = step_flops(pair, chosen) * args.batch / found["ours"] / (args.peak_tflops * 1e12)
    print(f"model-flop utilisation of ours | - | {100 * used:.1f} % of {args.peak_tflops:g} TFLOP/s | - | 40 %")


def step_flops(pair: Pair, chosen: DistillationRecipe) -> float:
    """Return the arithmetic of one image's two global crops in the blocks: student there and back, teacher there."""
    vit = pair.student.backbone.vit
    dim, depth, tokens = int(vit.embed_dim), len(vit.blocks), 1 + pair.student.backbone.side**2
    forward = depth * tokens * (24 * dim**2 + 4 * tokens * dim)
    return 2 * forward * (3 + 1)


if __name__ == "__main__":
    main()
