"""The loop over epochs and steps: reads crops, learns, notes rows, saves, stops in good order and goes on exactly.

A row of training.parquet ends every `log_steps` steps and every epoch. Speeds are in the log alone, since a file that
held them would not be equal twice.
"""

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from visionfm.encoders import adapters
from visionfm.errors import DataError, Stopped, UsageError
from visionfm.images.parallel import Pool, worker_pool
from visionfm.pretraining import optimisation
from visionfm.pretraining.checkpoints import Folder, State
from visionfm.pretraining.crops import batches
from visionfm.pretraining.families import STEPS
from visionfm.pretraining.loss import rank_me
from visionfm.pretraining.monitoring import Monitor
from visionfm.pretraining.order import Order
from visionfm.pretraining.processes import Group, shard, shared
from visionfm.pretraining.recipe import ContinuedRecipe
from visionfm.pretraining.schedules import Schedules
from visionfm.pretraining.settings import CPU_WORKERS, PretrainSettings
from visionfm.pretraining.source import ImageSource
from visionfm.pretraining.starting import Start
from visionfm.pretraining.step import Learned
from visionfm.runtime import compiling
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.processes import decoding_processes
from visionfm.runtime.progress import Waits, track

FEATURES = 1024  # CLS tokens that the effective rank is taken of, the latest ones
SHOWN_IMAGES = 8
log = logging.getLogger("visionfm")


class Training:
    """One training of one pair of networks."""

    def __init__(
        self, start: Start, source: ImageSource, settings: PretrainSettings, group: Group, folder: Folder
    ) -> None:
        """Put the networks on the group's device; raises UsageError where processes would have nothing to do."""
        self.source, self.settings, self.group, self.folder = source, settings, group, folder
        self.recipe = recipe = settings.recipe
        self.pair = start.pair
        for network in self.pair.networks:
            network.to(group.device).train()
        self.order = Order(len(source), recipe)
        self.schedules = Schedules(recipe, self.order.steps, self.order.batch)
        passes = min(self.order.passes(epoch) for epoch in (0, recipe.epochs - 1))
        if passes < group.process.world:
            raise UsageError(
                f"{group.process.world} processes share {passes} micro-batches per step",
                expected="at least one for each",
                found=f"batches of {self.order.batch} images, micro_batch {self.order.micro_batch(0)}",
                do=f"set `micro_batch: {max(1, self.order.batch // group.process.world)}`, or ask for fewer GPUs",
            )
        student = self.pair.student
        student.backbone.activation_checkpointing = settings.activation_checkpointing
        if settings.compile:
            compiling.keep_apart()
            for network in self.pair.networks:
                network.backbone.compile_blocks()
        sharded = settings.fsdp and shard(self.pair, group)
        if sharded and any(self.order.passes(epoch) % group.process.world for epoch in (0, recipe.epochs - 1)):
            raise UsageError(
                "with `fsdp` all processes take as many micro-batches",
                expected=f"a multiple of {group.process.world} a step",
                found=f"{passes}, of {self.order.micro_batch(0)} images",
                do="change `batch_size` or `micro_batch`",
            )
        trained = student if sharded else shared(student, group)
        self.learner = STEPS[type(recipe)](self.pair, recipe, group, trained, sharded=sharded)
        self.learner.take(start.state)
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.interval: dict[str, float] = {}
        self.features_ND = torch.zeros(0, int(student.backbone.vit.embed_dim))
        self.saved: Path | None = None
        self.waits = Waits()  # for images

    def run(self, stop: StopFlag, monitor: Monitor) -> None:
        """Train to the end, or raise Stopped with the state saved as soon as `stop` says so."""
        left = (self.schedules.total - self.step) * self.order.batch
        workers = decoding_processes(self.settings.workers, self.group.device, on_cpu=CPU_WORKERS)
        with worker_pool(workers) as pool, closing(self._steps(stop, monitor, pool)) as steps:
            shown: Iterable[None] = steps
            if self.group.leads:
                shown = track(steps, total=left, what="pretrain", weight=self.order.batch, waits=self.waits)
            for _ in shown:
                if not self.group.alone and self.step == self.schedules.total:
                    self.group.wait()

    def _steps(self, stop: StopFlag, monitor: Monitor, pool: Pool | int) -> Generator[None]:
        saved_at = time.monotonic()
        rank, world, steps = self.group.process.rank, self.group.process.world, self.order.steps
        while self.step < self.schedules.total:
            epoch, first = divmod(self.step, steps)
            mine = len(range(rank, self.order.passes(epoch), world))
            on_gpu = self.group.device.type == "cuda"
            crops = batches(self.source, self.recipe, self.pair.patch, epoch, first, rank, world, pool, on_gpu)
            with closing(crops):  # type: ignore[type-var]
                for at in range(first, steps):
                    passes = list(islice(self.waits.counted(crops), mine))
                    minutes = (time.monotonic() - saved_at) / 60
                    due = self.group.leads and minutes >= self.settings.checkpoint_minutes
                    learned = self._learn(passes, epoch, at, lambda due=due: [float(stop()), float(due)])  # type: ignore[misc]
                    stopping, due_anywhere = (flag > 0 for flag in learned.flags)
                    if at + 1 == steps or self.step % self.recipe.log_steps == 0:
                        self._note(epoch, monitor, epoch_ends=at + 1 == steps)
                    if stopping or due_anywhere or at + 1 == steps:
                        self.save()
                        saved_at = time.monotonic()
                    if stopping:
                        raise Stopped(
                            f"pretrain: stopped by {stop.signal_name or 'a signal to another process'}",
                            found=f"step {self.step} of {self.schedules.total}, saved",
                            do="run the same command again; it goes on from there",
                        )
                    yield

    def _learn(self, passes: list[Any], epoch: int, at: int, flags: Callable[[], list[float]]) -> Learned:
        """Do one step; raise DataError where the loss is no number, before it reaches the weights."""
        values = self.schedules.at(self.step)
        learned = self.learner.learn(passes, self.step, values, self.order.batch, flags)
        norm = self.learner.update(values) if learned.finite else float("nan")
        scaling = self.learner.scaler.is_enabled()
        if not learned.finite or ((norm != norm or norm == float("inf")) and not scaling):
            raise self._not_finite(learned, norm, epoch, at)
        self.step += 1
        skipped = not math.isfinite(norm)  # fp16 alone: the scaler leaves such a step out, and tries a smaller scale
        counted = {"gradient_norm": 0.0 if skipped else norm, "skipped": float(skipped), "steps": 1.0}
        for name, value in {**learned.means, **counted}.items():
            self.interval[name] = self.interval.get(name, 0.0) + value
        self.features_ND = torch.cat([self.features_ND, learned.features_ND])[-FEATURES:]
        return learned

    def _not_finite(self, learned: Learned, norm: float, epoch: int, at: int) -> DataError:
        images = self.source.names([one for part in self.order.of_epoch(epoch)[at] for one in part])
        more = f" and {len(images) - SHOWN_IMAGES} more" if len(images) > SHOWN_IMAGES else ""
        what = "loss" if not learned.finite else "gradient"
        return DataError(
            f"the {what} of pretraining is not a finite number",
            expected=f"a finite {what}",
            found=", ".join(f"{name} {value:g}" for name, value in {**learned.means, "gradient_norm": norm}.items()),
            where=f"step {self.step + 1} (epoch {epoch + 1}); images {', '.join(images[:SHOWN_IMAGES])}{more}; "
            f"last good checkpoint: {self.saved or 'none yet'}",
            do="lower `lr`, or take bf16 instead of fp16; look at these images; the checkpoint is from before",
        )

    def _note(self, epoch: int, monitor: Monitor, *, epoch_ends: bool) -> None:
        """Add a row: means since the last one, the schedules of the last step, and how healthy the features are."""
        values = self.schedules.at(self.step - 1)
        count = self.interval.pop("steps")
        moved, norms = count - self.interval.pop("skipped", 0.0), self.interval.pop("gradient_norm")
        row: dict[str, Any] = {
            "step": self.step,
            "epoch": epoch + 1,
            "images": self.step * self.order.batch,
            **{name: total / count for name, total in self.interval.items()},
            "gradient_norm": norms / moved if moved else None,
            **{name: getattr(values, name) for name in self.learner.noted},
            "rank_me": rank_me(self.features_ND),
            "knn": None,
        }
        self.interval, self.features_ND = {}, self.features_ND[:0]
        if epoch_ends and self.group.leads:
            row["knn"] = monitor.knn(epoch, self.learner.encoder)
        self.rows.append(row)
        if self.group.leads:
            monitor.show(row, count * self.order.batch)

    # --- state ------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save the state; all processes must call this."""
        student, optimizer = self.pair.student, self.learner.optimizer
        parts = {
            **{f"student.{name}": value for name, value in student.state_dict().items()},
            **{f"moments.{name}": value for name, value in optimisation.moments(student, optimizer).items()},
            **self.learner.moving(),
            "features": self.features_ND,
        }
        tensors = {name: optimisation.whole(value) for name, value in parts.items()}
        if self.group.leads:
            scaler = self.learner.scaler.state_dict()
            self.saved = self.folder.save(State(self.step, tensors, self.rows, self.interval, scaler))
        self.group.wait()

    def restore(self, state: State) -> None:
        """Go on from a state."""
        student = self.pair.student
        optimisation.restore(student, "student", state.tensors)
        optimisation.restore_moments(student, self.learner.optimizer, _under("moments", state.tensors))
        self.learner.take(state.tensors)
        if state.scaler:
            self.learner.scaler.load_state_dict(state.scaler)
        self.step, self.rows, self.interval = state.step, list(state.rows), dict(state.interval)
        self.features_ND = state.tensors["features"]
        latest = self.folder.checkpoints()
        self.saved = latest[0] if latest else None

    def encoder_tensors(self) -> dict[str, torch.Tensor]:
        """Return the finished ViT under timm's names, float32 on the CPU; adapters are merged."""
        tensors = {name: optimisation.whole(value) for name, value in self.learner.encoder.vit.state_dict().items()}
        lora = self.recipe.lora if isinstance(self.recipe, ContinuedRecipe) else None
        return {name: value.float() for name, value in adapters.merged(tensors, lora).items()}


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
