"""The loop of fine-tuning: steps over images, the best epoch on validation, exact resume from any step.

All randomness of a step comes from (seed, epoch, step); hence a run that was killed goes on from its last checkpoint
bit for bit as if it had not been (on a CPU). Shapes: B batch, N samples, S px, K outputs, T labels.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from visionfm.errors import DataError, Stopped
from visionfm.runtime import compiling
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.processes import Process
from visionfm.runtime.progress import track
from visionfm.runtime.randomness import derived_seed
from visionfm.tasks.finetuning.images import Images, Place, loader, order
from visionfm.tasks.finetuning.mixing import mix
from visionfm.tasks.finetuning.network import Tensors, TunedNetwork, optimizer_of
from visionfm.tasks.finetuning.processes import gathered, shared, summed
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.loop import Epochs, check_finite, copied
from visionfm.tasks.resume import State, StateFile
from visionfm.tasks.slots import count_outputs
from visionfm.tasks.vectors.feature_arrays import CONSTANT_STD
from visionfm.tasks.vectors.objective import Objective

EVALUATION_BATCH = 32
CALIBRATED = 512  # training images that the features' statistics are taken over after an epoch
EMA_RISE = 10  # steps over which the average's decay rises to its own
log = logging.getLogger("visionfm")


class Data(NamedTuple):
    """The images of one split and their labels."""

    images: Images
    truth_NT: torch.Tensor


class Finetuning(Epochs):
    """One run of the loop."""

    recipe: FinetuneRecipe

    def __init__(
        self,
        network: TunedNetwork,
        train: Data,
        validation: Data,
        objective: Objective,
        recipe: FinetuneRecipe,
        seed: int,
        weight_N: torch.Tensor | None,
        process: Process,
        device: torch.device,
        workers: int,
    ) -> None:
        """`weight_N` are the chances of training samples where classes are balanced. Raises DataError for too few."""
        super().__init__(recipe, optimizer_of(network, recipe), seed)
        self.network, self.train, self.validation, self.objective = network, train, validation, objective
        self.weight_N = weight_N
        self.process, self.device, self.workers = process, device, workers
        compiled: Any = network
        if recipe.compile:
            compiling.keep_apart()
            compiled = torch.compile(network)
        self.forward: Any = shared(compiled, process, device)
        self.batch_size = recipe.batch(len(train.images))
        least, last = 2 * process.world * recipe.accumulate, len(train.images) % self.batch_size
        self.steps = len(train.images) // self.batch_size + (last >= least)
        if min(self.batch_size, len(train.images)) < least:
            raise DataError(
                "there are too few samples in a batch: norms, mixup and cutmix need two in each part of it",
                expected=f"at least {least}: 2 x {process.world} processes x {recipe.accumulate} parts",
                found=f"{len(train.images)} training samples, batch size {self.batch_size}",
                do="label more images, or lower `accumulate`",
            )
        if 0 < last < least:
            log.info("finetune: the last batch of each epoch has %d samples, too few: it is left out", last)
        self.average: Tensors = copied(network.moving()) if recipe.ema else {}
        self.step, self.sums = 0, [0.0, 0.0]  # inside the epoch: steps done; loss x samples, samples

    def run(self, stop: StopFlag, file: StateFile, checkpoint_minutes: float) -> None:
        """Train to the end, or raise Stopped with the state saved, as soon as some process was told to stop."""
        saved_at = time.monotonic()
        with contextlib.closing(self._images()) as images:
            while self.goes_on():
                epoch = self.done
                self.forward.train()
                left = range(self.step, self.steps)
                name = f"epoch {epoch + 1}"
                for step in track(left, total=len(left), what=name, unit="steps") if not self.process.rank else left:
                    loss, count = self._step(epoch, step, images)
                    total, seen, stopping = summed([loss, count, float(stop())], self.process)
                    check_finite(total, "training", f"{name}, step {step + 1}")
                    self.step, self.sums = step + 1, [self.sums[0] + total, self.sums[1] + seen]
                    if stopping:
                        self._save(file)
                        raise Stopped(
                            f"finetune: stopped by {stop.signal_name or 'a signal'} in {name}, step {step + 1}",
                            do="run the same command again; it goes on from there",
                        )
                    if time.monotonic() - saved_at > 60 * checkpoint_minutes:
                        self._save(file)
                        saved_at = time.monotonic()
                self._note(epoch)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _parts(self, epoch: int, first_step: int) -> Iterator[list[Place]]:
        """Yield what this process works through from a step on: `accumulate` parts a step."""
        places = order(len(self.train.images), self.seed, epoch, self.weight_N)
        for step in range(first_step, self.steps):
            batch = places[step * self.batch_size : (step + 1) * self.batch_size]
            for at in range(self.recipe.accumulate):
                yield batch[at :: self.recipe.accumulate][self.process.rank :: self.process.world]

    def _images(self) -> Generator[tuple[list[Place], torch.Tensor]]:
        """Yield (places, images_B3SS) of all steps still to come."""
        first, step = self.done, self.step

        def parts() -> Iterator[list[Place]]:
            for epoch in range(first, self.recipe.epochs):
                yield from self._parts(epoch, step if epoch == first else 0)

        yield from zip(parts(), loader(self.train.images, parts(), self.workers), strict=True)

    def _step(self, epoch: int, step: int, images: Iterator[tuple[list[Place], torch.Tensor]]) -> tuple[float, int]:
        """Take one step; return loss x samples and samples of this process."""
        lr = self.recipe.lr_at(epoch, step, self.steps, self.batch_size)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["share"]
        self.optimizer.zero_grad()
        whole = len(range(*slice(step * self.batch_size, (step + 1) * self.batch_size).indices(len(self.train.images))))
        total, count = 0.0, 0
        for at in range(self.recipe.accumulate):
            places, images_B3SS = next(images)
            truth_BT = self.train.truth_NT[[place.row for place in places]]
            last = at == self.recipe.accumulate - 1
            waits = contextlib.nullcontext() if last or self.process.world == 1 else self.forward.no_sync()
            seed = derived_seed(self.seed, "step", epoch, step, at, self.process.rank)
            with waits:
                loss = self._loss(images_B3SS.to(self.device), truth_BT.to(self.device), seed)
                (loss * len(places) * self.process.world / whole).backward()  # type: ignore[no-untyped-call]
            total, count = total + loss.item() * len(places), count + len(places)
        self.optimizer.step()
        self._average(epoch * self.steps + step)
        return total, count

    def _loss(self, images_B3SS: torch.Tensor, truth_BT: torch.Tensor, seed: int) -> torch.Tensor:
        mixed_B3SS, share = mix(images_B3SS, self.recipe.mixup, self.recipe.cutmix, seed)
        torch.manual_seed(seed)  # of dropout and stochastic depth
        outputs_BK = self.forward(mixed_B3SS)
        loss = self.objective.loss(outputs_BK, truth_BT)
        return loss if share == 1 else share * loss + (1 - share) * self.objective.loss(outputs_BK, truth_BT.flip(0))

    def _average(self, steps: int) -> None:
        if not self.average:
            return
        keep = min(self.recipe.ema, (1 + steps) / (EMA_RISE + steps))
        for name, value in self.network.moving().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - keep)
            else:
                self.average[name].copy_(value)

    # --- epochs -----------------------------------------------------------------------------------------------------

    def _note(self, epoch: int) -> None:
        """Score the epoch on validation and keep its weights if it is the best so far."""
        own = copied(self.network.moving())
        shown = self.average or own
        if self.average:
            self.network.take(shown)
        if self.recipe.standardise:
            self.calibrate()
        scores = self.objective.score(self.outputs(), self.validation.truth_NT)
        lr = self.recipe.lr_at(epoch, 0, self.steps, self.batch_size)
        better = self.add(epoch, self.sums[0] / self.sums[1], scores, lr)
        if better:
            self.best = copied(self.network.moving())
        if self.average:
            self.network.take(own)
        self.step, self.sums = 0, [0.0, 0.0]
        if not self.process.rank:
            log.info("finetune: epoch %d: validation loss %.4g%s", epoch + 1, scores[0], ", best" if better else "")

    def begin(self, row: dict[str, Any]) -> None:
        """Take the network as it is, its head trained alone, as the first that may be the best; `row` says how."""
        validation_loss, score = self.objective.score(self.outputs(), self.validation.truth_NT)
        check_finite(validation_loss, "validation", "the head alone, on frozen features")
        scored = {"epoch": 0, "validation_loss": validation_loss, "selection": score, "best": True}
        self.history.append({**row, **scored})
        self.best = copied(self.network.moving())
        self.average = copied(self.best) if self.average else {}

    def outputs(self) -> torch.Tensor:
        """Return outputs_NK on validation, on the CPU, in evaluation mode."""
        width = count_outputs(self.network.decoder.spec.targets)
        return self._evaluated(self.network, self.validation, range(len(self.validation.images)), width)

    def features(self, data: Data, rows: range, mirrored: Sequence[Sequence[int]] = ((),)) -> torch.Tensor:
        """Return features_NVF of some images without augmentation, on the CPU.

        Each of the views is `mirrored` along some dimensions of the images.
        """
        (width,) = self.network.decoder.spec.widths

        def views(images_B3SS: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.network.raw_features(images_B3SS.flip(list(along))) for along in mirrored], dim=1)

        return self._evaluated(views, data, rows, len(mirrored) * width).reshape(-1, len(mirrored), width)

    def _evaluated(
        self, function: Callable[[torch.Tensor], torch.Tensor], data: Data, rows: range, width: int
    ) -> torch.Tensor:
        self.network.eval()
        mine = rows[self.process.rank :: self.process.world]
        starts = range(0, len(mine), EVALUATION_BATCH)
        batches = [[Place(row, None) for row in mine[at : at + EVALUATION_BATCH]] for at in starts]
        with torch.no_grad():
            parts = [function(x.to(self.device)).cpu() for x in loader(data.images, batches, self.workers)]
        mine_NK = torch.cat([torch.zeros(0, width), *parts])  # more processes than samples: some have none
        return gathered(mine_NK, len(rows), self.process)

    def calibrate(self, train_NF: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Set, and return, the features' mean_F and std_F over (at most CALIBRATED of) the training images."""
        if train_NF is None:
            count = len(self.train.images)
            train_NF = self.features(self.train, range(0, count, -(-count // CALIBRATED)))[:, 0]
        mean_F, std_F = train_NF.double().mean(0), train_NF.double().std(0, correction=0)
        std_F = torch.where(std_F <= CONSTANT_STD * (1 + mean_F.abs()), torch.ones_like(std_F), std_F)
        self.network.set_statistics(mean_F.float(), std_F.float())
        return mean_F, std_F

    # --- state ------------------------------------------------------------------------------------------------------

    def _save(self, file: StateFile) -> None:
        if self.process.rank:
            return
        progress = {"step": self.step, "sums": self.sums}
        file.save(State(self.network.moving(), self.best, self.moments(), self.history, self.average, progress))

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.network.take(state.model)
        self.take_up(state)
        self.average = state.average
        self.step, self.sums = state.progress["step"], list(state.progress["sums"])
