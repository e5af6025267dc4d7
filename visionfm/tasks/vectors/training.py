"""The training loop that all kinds share: epochs over arrays in memory, early stopping on validation, exact resume.

All randomness of an epoch (order, views, modalities dropped, slices hidden, dropout) comes from (seed, epoch); hence a
run that was stopped goes on bit for bit as if it had not been. Shapes: N samples, S streams, R rows, I slices, V views,
F features, B batch, K outputs, T labels.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from visionfm.errors import DataError
from visionfm.runtime.randomness import derived_seed
from visionfm.tasks.loop import Loop, adamw
from visionfm.tasks.optimizers import Optimizer, Sgd
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.feature_arrays import Scaling, Stream
from visionfm.tasks.vectors.objective import Objective
from visionfm.tasks.vectors.recipe import Recipe
from visionfm.tasks.vectors.slices import HIDDEN, Slices

EVALUATION_BATCH = 4096
MOMENTUM = 0.9
log = logging.getLogger("visionfm")


@dataclass
class Batches:
    """Features and labels of some samples, as tensors on the training device; features come out standardised."""

    streams: list[torch.Tensor]  # (R, V, F) each, standardised but for those with a scaling
    row_NS: torch.Tensor
    truth_NT: torch.Tensor
    times_NX: torch.Tensor | None = None  # see `streams.times`
    visits: int = 1  # the streams are those of all modalities at each of them
    count_NS: torch.Tensor | None = (
        None  # slices that a decoder pools itself: how many rows from `row_NS` on, at least 1
    )
    scalings: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    # of streams as they are stored: mean_MF, std_MF, and code_R of each row

    @classmethod
    def of(
        cls,
        streams: Sequence[Stream],
        widths: Sequence[int],
        truth_NT: Any,
        device: str,
        times_NX: Any = None,
        visits: int = 1,
        shared: "Batches | None" = None,
        scalings: Mapping[int, Scaling] | None = None,
    ) -> "Batches":
        """Move the arrays to the device, uncopied on the CPU; a stream that no sample has gets one row of zeros.

        `shared` are other samples of the same rows; `scalings` standardise the rows of a stream, by its number, when
        they are asked for.
        """
        rows = torch.from_numpy(np.stack([stream.row_N for stream in streams], axis=1)).to(device)
        truth = torch.from_numpy(np.asarray(truth_NT, dtype=np.float32)).to(device)
        features = (
            shared.streams
            if shared is not None
            else [
                torch.from_numpy(stream.features_RVF).to(device)
                if len(stream.features_RVF)
                else torch.zeros(1, stream.features_RVF.shape[1], width, device=device)
                for stream, width in zip(streams, widths, strict=True)
            ]
        )
        times = None if times_NX is None else torch.from_numpy(times_NX).to(device)
        counts = [stream.count_N for stream in streams if stream.count_N is not None]
        count_NS = torch.from_numpy(np.stack(counts, axis=1)).clamp(min=1).to(device) if counts else None
        moved = {
            number: tuple(torch.from_numpy(part).to(device) for part in one) for number, one in (scalings or {}).items()
        }
        scaled = shared.scalings if shared is not None else moved
        return cls(features, rows, truth, times, visits, count_NS, scaled)  # type: ignore[arg-type]

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

    def slices(self, at_B: torch.Tensor, shown_NSI: torch.Tensor | None = None) -> Slices | None:
        """Return which slices are the samples' own, or None where each sample has one row."""
        if self.count_NS is None:
            return None
        return Slices(self.count_NS[at_B], None if shown_NSI is None else shown_NSI[at_B])

    @property
    def most_slices(self) -> int:
        """The largest number of rows that a sample has in one stream."""
        return 1 if self.count_NS is None else int(self.count_NS.max())

    def features(self, at_B: torch.Tensor, view_BS: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return S tensors (B, F); any row stands in where a stream is missing. No `view_BS`: identity.

        With slices S tensors (B, I, F), I the most of the batch; a sample's first row stands in beyond its own.
        """
        found = []
        for s, features_RVF in enumerate(self.streams):
            views = features_RVF.shape[1]
            index_B = self.row_NS[at_B, s].clamp(min=0) * views
            if view_BS is not None:
                index_B = index_B + view_BS[:, s]
            if self.count_NS is None:
                found.append(self._rows(s, index_B))
                continue
            count_B1 = self.count_NS[at_B, s].unsqueeze(1)
            place_I = torch.arange(int(count_B1.max()), device=at_B.device)
            index_BI = index_B.unsqueeze(1) + torch.where(place_I < count_B1, place_I, 0) * views
            found.append(self._rows(s, index_BI.flatten()).view(*index_BI.shape, -1))
        return found

    def _rows(self, stream: int, index_X: torch.Tensor) -> torch.Tensor:
        """Return rows_XF of a stream, float32 and standardised; `index_X` counts its views one after another."""
        features_RVF = self.streams[stream]
        rows_XF = features_RVF.flatten(0, 1).index_select(0, index_X)
        if stream not in self.scalings:
            return rows_XF
        mean_MF, std_MF, code_R = self.scalings[stream]
        code_X = code_R[index_X // features_RVF.shape[1]] if len(mean_MF) > 1 else slice(None)
        return rows_XF.float().sub_(mean_MF[code_X]).div_(std_MF[code_X])  # a copy of their own, in place


def optimizer_of(network: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer; `sound` spares biases and norms the weight decay, `published` decays all."""
    if recipe.optimizer == "sgd":
        return Sgd([{"params": list(network.parameters())}], recipe.lr, MOMENTUM, recipe.weight_decay)
    return adamw(network, recipe.lr, recipe.weight_decay, decay_all=recipe.mean_over != "known")


class Training(Loop):
    """One run of the loop over one decoder."""

    network: Decoder
    recipe: Recipe

    def __init__(
        self, network: Decoder, train: Batches, validation: Batches, objective: Objective, recipe: Recipe, seed: int
    ) -> None:
        """All on one device; raises DataError where BatchNorm would meet a single sample."""
        super().__init__(network, recipe, optimizer_of(network, recipe), seed)
        self.train, self.validation, self.objective = train, validation, objective
        self.batch_size = recipe.batch(len(train))
        widest = max(features_RVF.shape[2] for features_RVF in train.streams)
        self.inputs = int(getattr(network.head, "inputs", widest))
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

    def _lr(self, epoch: int) -> float:
        return self.recipe.learning_rate(epoch, self.batch_size, self.inputs)

    def _steps(self, epoch: int) -> Iterator[tuple[int, Callable[[], torch.Tensor]]]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "epoch", epoch))
        train, device = self.train, self.train.truth_NT.device
        count, streams = len(train), len(train.streams)
        order_N = torch.randperm(count, generator=generator).to(device)
        views = train.streams[0].shape[1]
        view_NS = torch.randint(views, (count, streams), generator=generator).to(device)
        found_NS = train.present_NS.cpu()
        present_NS = drop_modalities(found_NS, self.recipe.modality_dropout, generator, train.visits).to(device)
        shown_NSI = None
        if train.count_NS is not None:
            shown_NSI = torch.rand((count, streams, train.most_slices), generator=generator).to(device) >= HIDDEN
        for at_B in torch.split(order_N, self.batch_size):
            if len(at_B) > 1 or not self.batch_norm:
                slices = train.slices(at_B, shown_NSI)
                yield len(at_B), partial(self._loss, at_B, view_NS[at_B], present_NS[at_B], slices)

    def _loss(
        self, at_B: torch.Tensor, view_BS: torch.Tensor, present_BS: torch.Tensor, slices: Slices | None
    ) -> torch.Tensor:
        train = self.train
        outputs_BK = self.network(train.features(at_B, view_BS), present_BS, train.times(at_B), slices)
        truth_BT = train.truth_NT[at_B]
        return self.objective.loss(outputs_BK, truth_BT.repeat(len(outputs_BK) // len(truth_BT), 1))

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
        for at_B, streams in _pieces(batches, view):
            parts.append(network(streams, present_NS[at_B], batches.times(at_B), batches.slices(at_B)))
    return torch.cat(parts)


def slice_weights(network: Decoder, batches: Batches, view: int = 0) -> list[torch.Tensor]:
    """Return for each stream the weights of all samples' slices, one after another, from one cached view."""
    assert network.slices is not None and batches.count_NS is not None
    parts: list[list[torch.Tensor]] = [[] for _ in batches.streams]
    network.eval()
    with torch.no_grad():
        for at_B, streams in _pieces(batches, view):
            count_BS = batches.count_NS[at_B]
            for s, weight_BI in enumerate(network.slices.weights(streams, Slices(count_BS))):
                own_BI = torch.arange(weight_BI.shape[1], device=at_B.device) < count_BS[:, s].unsqueeze(1)
                parts[s].append(weight_BI[own_BI & (batches.row_NS[at_B, s] >= 0).unsqueeze(1)])
    return [torch.cat(part) for part in parts]


def _pieces(batches: Batches, view: int) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Yield the places of some samples and their features: about as many rows at once, however many slices."""
    step = max(1, EVALUATION_BATCH // batches.most_slices)
    for at_B in torch.split(torch.arange(len(batches), device=batches.row_NS.device), step):
        yield at_B, batches.features(at_B, torch.full((len(at_B), len(batches.streams)), view, device=at_B.device))
