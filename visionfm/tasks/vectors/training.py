"""The training loop that all kinds share: epochs over arrays in memory, early stopping on validation, exact resume.

All randomness of an epoch (order, views, modalities dropped, dropout) comes from (seed, epoch); hence a run that was
stopped goes on bit for bit as if it had not been. Shapes: N samples, S streams, R rows, V views, F features, B batch, K
outputs, T labels.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from visionfm.errors import DataError
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.randomness import derived_seed
from visionfm.tasks.loop import Loop, check_finite
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.feature_arrays import Stream
from visionfm.tasks.vectors.objective import Objective
from visionfm.tasks.vectors.recipe import Recipe

EVALUATION_BATCH = 4096
MOMENTUM = 0.9
log = logging.getLogger("visionfm")


@dataclass
class Batches:
    """Standardised features and labels of some samples, as tensors on the training device."""

    streams: list[torch.Tensor]  # (R, V, F) each
    row_NS: torch.Tensor
    truth_NT: torch.Tensor
    times_NX: torch.Tensor | None = None  # see `streams.times`
    visits: int = 1  # the streams are those of all modalities at each of them

    @classmethod
    def of(
        cls,
        streams: Sequence[Stream],
        widths: Sequence[int],
        truth_NT: Any,
        device: str,
        times_NX: Any = None,
        visits: int = 1,
    ) -> "Batches":
        """Move the arrays to the device, uncopied on the CPU; a stream that no sample has gets one row of zeros."""
        rows = torch.from_numpy(np.stack([stream.row_N for stream in streams], axis=1)).to(device)
        truth = torch.from_numpy(np.asarray(truth_NT, dtype=np.float32)).to(device)
        features = [
            torch.from_numpy(stream.features_RVF).to(device)
            if len(stream.features_RVF)
            else torch.zeros(1, stream.features_RVF.shape[1], width, device=device)
            for stream, width in zip(streams, widths, strict=True)
        ]
        times = None if times_NX is None else torch.from_numpy(times_NX).to(device)
        return cls(features, rows, truth, times, visits)

    def __len__(self) -> int:
        """Return N."""
        return len(self.truth_NT)

    @property
    def present_NS(self) -> torch.Tensor:
        """Which sample has which stream."""
        return self.row_NS >= 0

    def times(self, at_B: torch.Tensor) -> torch.Tensor | None:
        """Return times_BX, or None where the decoder is told none."""
        return None if self.times_NX is None else self.times_NX[at_B]

    def features(self, at_B: torch.Tensor, view_BS: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return S tensors (B, F); any row stands in where a stream is missing. No `view_BS`: identity."""
        found = []
        for s, features_RVF in enumerate(self.streams):
            views = features_RVF.shape[1]
            index_B = self.row_NS[at_B, s].clamp(min=0) * views
            if view_BS is not None:
                index_B = index_B + view_BS[:, s]
            found.append(features_RVF.flatten(0, 1).index_select(0, index_B))
        return found


@contextmanager
def reproducible(threads: int = 1) -> Iterator[None]:
    """Fix threads, algorithms and float32 precision while the block runs; leave torch's own state as it was found.

    The last bits of a matrix product can depend on the number of threads, and a decoder's bytes must not.
    """
    found, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(found)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cuda.matmul.allow_tf32 = tf32


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; `sound` spares biases and norms the weight decay, `published` decays all."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), recipe.lr, MOMENTUM, weight_decay=recipe.weight_decay)
    parameters = list(network.parameters())
    spared = [p for p in parameters if p.ndim < 2 and recipe.mean_over == "known"]
    decayed = [p for p in parameters if not any(p is other for other in spared)]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], recipe.lr, weight_decay=recipe.weight_decay)


class Training(Loop):
    """One run of the loop over one decoder."""

    network: Decoder
    recipe: Recipe

    def __init__(
        self, network: Decoder, train: Batches, validation: Batches, objective: Objective, recipe: Recipe, seed: int
    ) -> None:
        """All on one device; raises DataError where BatchNorm would meet a single sample."""
        super().__init__()
        self.network, self.train, self.validation, self.objective = network, train, validation, objective
        self.recipe, self.seed = recipe, seed
        self.batch_size = recipe.batch(len(train))
        self.inputs = max(features_RVF.shape[2] for features_RVF in train.streams)
        self.optimizer = optimizer_of(network, recipe)
        self.batch_norm = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
        if self.batch_norm and min(self.batch_size, len(train)) < 2:
            raise DataError(
                "BatchNorm cannot be trained on one sample at a time",
                expected="at least two training samples, and a batch size of at least 2",
                found=f"{len(train)} samples, batch size {self.batch_size}",
                do="use `recipe: sound`, or more samples",
            )
        if self.batch_norm and len(train) % self.batch_size == 1:
            log.info("train: the last batch of each epoch has one sample, which BatchNorm cannot use: it is left out")

    def _epoch(self, stop: StopFlag) -> bool:
        """Train and score one epoch; False where a stop came first."""
        epoch = len(self.history)
        lr = self.recipe.learning_rate(epoch, self.batch_size, self.inputs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        total = torch.zeros((), dtype=torch.float64)
        count = 0
        self.network.train()
        for step, batch in enumerate(self._batches(epoch)):
            if stop():
                return False
            self.optimizer.zero_grad()
            features, present_BS, times_BX, truth_BT = batch
            loss = self.objective.loss(self.network(features, present_BS, times_BX), truth_BT)
            value = loss.item()
            check_finite(value, "training", f"epoch {epoch + 1}, step {step + 1}")
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += value * len(truth_BT)
            count += len(truth_BT)
        self._note(epoch, float(total) / count, lr)
        return True

    def _batches(
        self, epoch: int
    ) -> Iterator[tuple[list[torch.Tensor], torch.Tensor, torch.Tensor | None, torch.Tensor]]:
        """Yield features, presence, times and labels of an epoch's batches."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "epoch", epoch))
        torch.manual_seed(derived_seed(self.seed, "dropout", epoch))
        train, device = self.train, self.train.truth_NT.device
        count, streams = len(train), len(train.streams)
        order_N = torch.randperm(count, generator=generator).to(device)
        views = train.streams[0].shape[1]
        view_NS = torch.randint(views, (count, streams), generator=generator).to(device)
        found_NS = train.present_NS.cpu()
        present_NS = drop_modalities(found_NS, self.recipe.modality_dropout, generator, train.visits).to(device)
        for start in range(0, count, self.batch_size):
            at_B = order_N[start : start + self.batch_size]
            if self.batch_norm and len(at_B) == 1:
                continue
            yield train.features(at_B, view_NS[at_B]), present_NS[at_B], train.times(at_B), train.truth_NT[at_B]

    def _validate(self) -> tuple[float, float]:
        return self.objective.score(outputs_of(self.network, self.validation), self.validation.truth_NT)


def drop_modalities(
    present_NS: torch.Tensor, probability: float, generator: torch.Generator, visits: int = 1
) -> torch.Tensor:
    """Return presence with each entry dropped at the given probability; of those there, one always stays.

    Of several `visits` a modality is dropped from all or from none.
    """
    if visits > 1:
        any_NM = present_NS.reshape(len(present_NS), visits, -1).any(dim=1)
        return present_NS & drop_modalities(any_NM, probability, generator).repeat(1, visits)
    if present_NS.shape[1] == 1 or probability == 0:
        return present_NS
    draw_NS = torch.rand(present_NS.shape, generator=generator) * present_NS
    kept_NS = draw_NS > probability
    stays_NS = draw_NS == draw_NS.max(dim=1, keepdim=True).values
    return torch.where(kept_NS.any(dim=1, keepdim=True), kept_NS, stays_NS & present_NS)


def outputs_of(
    network: Decoder, batches: Batches, present_NS: torch.Tensor | None = None, view: int = 0
) -> torch.Tensor:
    """Return outputs_NK in evaluation mode, from one cached view, with the streams in `present_NS`."""
    present_NS = batches.present_NS if present_NS is None else present_NS
    network.eval()
    parts = []
    with torch.no_grad():
        for at_B in torch.split(torch.arange(len(batches), device=present_NS.device), EVALUATION_BATCH):
            view_BS = torch.full((len(at_B), len(batches.streams)), view, device=at_B.device)
            parts.append(network(batches.features(at_B, view_BS), present_NS[at_B], batches.times(at_B)))
    return torch.cat(parts)
