"""The training loop of dense decoders: batches of images with tokens, early stopping on validation, exact resume.

All randomness of an epoch (order, flips, augmentation, dropout) comes from (seed, epoch). Validation goes image by
image. Shapes: B batch, S px of the square input, K outputs, L levels, P patches, D width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import nn

from visionfm.images.transforms import VIEWS, flip
from visionfm.runtime.progress import track
from visionfm.runtime.randomness import derived_seed
from visionfm.tasks.loop import Loop, adamw
from visionfm.tasks.maps.examples import Example, augmented, cropped, flipped
from visionfm.tasks.maps.objective import MapObjective
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.tiles import tiled_logits
from visionfm.tasks.maps.tokens import TokenSource, Wanted

LEAST_STD = 1e-2  # of a pixel in [0, 1]


class DenseInput:
    """Examples to what a dense head eats."""

    def __init__(self, source: TokenSource, device: str, head: str) -> None:
        """`source` gives the tokens, and the statistics that normalise the image for the published heads.

        The light head sees each image at mean 0 and deviation 1 of its own, so that a brighter eye is no other eye.
        """
        self.source, self.device, self.own_statistics = source, device, head == "light"

    def __call__(self, wanted: Sequence[Wanted]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens_BLPD and the normalised images (B, 3, S, S), each in its view."""
        tokens_BLPD = torch.from_numpy(self.source.tokens(wanted)).to(self.device)
        images = []
        for one in wanted:
            pixels_HWC = flip(one.image_SSC, one.view).astype(np.float32) / np.float32(255)
            mean, std = (np.array(values, np.float32) for values in self.source.statistics(one.dataset))
            if self.own_statistics:
                mean, std = pixels_HWC.mean(axis=(0, 1)), np.maximum(pixels_HWC.std(axis=(0, 1)), LEAST_STD)
            images.append((pixels_HWC - mean) / std)
        images_BCSS = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().to(self.device)
        return tokens_BLPD, images_BCSS


class DenseTraining(Loop):
    """One run of the loop over one dense head."""

    recipe: DenseRecipe

    def __init__(
        self,
        network: nn.Module,
        train: Sequence[Example],
        validate: Callable[["DenseTraining"], tuple[float, float]],
        objective: MapObjective,
        recipe: DenseRecipe,
        source: TokenSource,
        seed: int,
        device: str,
        order: list[int],
        tile_px: int | None = None,
    ) -> None:
        """`order` says which point becomes which in a mirror image; `tile_px`: train on random crops of that side."""
        super().__init__(network, recipe, adamw(network, recipe.lr, recipe.weight_decay, recipe.decay_all), seed)
        self.train, self.validate, self.objective = train, validate, objective
        self.input, self.order = DenseInput(source, device, recipe.head), order
        self.device, self.tile_px = device, tile_px
        self.batch_size = min(recipe.batch_size, len(train))

    @property
    def views(self) -> tuple[str, ...]:
        """The flips that training picks among: of landmarks left and right alone, as published."""
        if self.recipe.augmentation == "none":
            return VIEWS[:1]
        return self.objective.flips

    def logits(self, wanted: Sequence[Wanted]) -> torch.Tensor:
        """Return logits_BKSS of whole images, float32."""
        return self._applied(*self.input(wanted))

    def _applied(self, tokens_BLPD: torch.Tensor, images_BCSS: torch.Tensor) -> torch.Tensor:
        half = self.recipe.precision == "bf16"
        with torch.autocast(torch.device(self.device).type, torch.bfloat16) if half else nullcontext():
            logits_BKSS: torch.Tensor = self.network(tokens_BLPD, images_BCSS)
        return logits_BKSS.float()

    def _lr(self, epoch: int) -> float:
        return self.recipe.learning_rate(epoch)

    def _steps(self, epoch: int) -> Iterator[tuple[int, Callable[[], torch.Tensor]]]:
        rng = np.random.default_rng(derived_seed(self.seed, "epoch", epoch))
        order = rng.permutation(len(self.train))
        starts = range(0, len(order), self.batch_size)
        for start in track(starts, total=len(starts), what=f"train: epoch {epoch + 1}", unit="steps"):
            examples = [self.train[int(at)] for at in order[start : start + self.batch_size]]
            yield len(examples), partial(self._loss, examples, rng)

    def _loss(self, examples: list[Example], rng: np.random.Generator) -> torch.Tensor:
        wanted, truth = self._batch(examples, rng)
        tokens, images, truth = self._cut(*self.input(wanted), truth.to(self.device), rng)
        return self.objective.loss(self._applied(tokens, images), truth)

    def _batch(self, examples: list[Example], rng: np.random.Generator) -> tuple[list[Wanted], torch.Tensor]:
        """Return what to encode and the truth, each example in a random view, augmented or cropped."""
        wanted, moved = [], []
        for example in examples:
            view = self.views[int(rng.integers(len(self.views)))]
            changed = example if self.tile_px is None else cropped(example, self.tile_px, rng)
            if self.recipe.augmentation in ("affine", "rich"):
                changed = augmented(changed, self.recipe.augmentation, rng)
            path = example.sample.path if changed is example else None
            wanted.append(Wanted(example.sample.dataset, path, view, changed.image_HWC))
            moved.append(flipped(changed, view, self.order))
        return wanted, self.objective.truth(moved)

    def _cut(
        self, tokens_BLPD: torch.Tensor, images_BCSS: torch.Tensor, truth: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return random squares of whole patches, another in each image: more steps of less work."""
        patch, side = self.input.source.shape[0], math.isqrt(tokens_BLPD.shape[2])
        count = round(self.recipe.crop_px / patch)
        if not 0 < count < side or not self.objective.has_crops:
            return tokens_BLPD, images_BCSS, truth
        grid_BLGGD = tokens_BLPD.view(*tokens_BLPD.shape[:2], side, side, -1)
        parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for at in range(len(grid_BLGGD)):
            top, left = (int(start) for start in rng.integers(side - count + 1, size=2))
            rows, columns = (slice(start * patch, (start + count) * patch) for start in (top, left))
            tokens = grid_BLGGD[at, :, top : top + count, left : left + count].flatten(1, 2)
            parts.append((tokens, images_BCSS[at, :, rows, columns], truth[at, rows, columns]))
        tokens_BLPD, images_BCSS, truth = (torch.stack(column) for column in zip(*parts, strict=True))
        return tokens_BLPD, images_BCSS, truth

    def _validate(self) -> tuple[float, float]:
        self.network.eval()
        with torch.no_grad():
            return self.validate(self)


class Validation:
    """The validation images, one at a time: resized as a whole, or in tiles as predictions are made."""

    def __init__(self, examples: Sequence[Example], size: int, tile_overlap: float | None) -> None:
        """`size` is the side of a tile in px."""
        self.examples, self.size, self.tile_overlap = examples, size, tile_overlap

    def _pairs(self, training: DenseTraining) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield logits (1, K, H, W) and truth of each image."""
        for example in self.examples:
            dataset, path = example.sample.dataset, example.sample.path
            if self.tile_overlap is None:
                logits = training.logits([Wanted(dataset, path, VIEWS[0], example.image_HWC)])
            else:
                logits = tiled_logits(training.logits, dataset, example.image_HWC, self.size, self.tile_overlap)
            yield logits.to(training.device), training.objective.truth([example]).to(training.device)

    def __call__(self, training: DenseTraining) -> tuple[float, float]:
        """Return the mean loss and the mean quality."""
        return mean_scores([training.objective.score(logits, truth) for logits, truth in self._pairs(training)])

    def threshold(self, training: DenseTraining) -> float:
        """Return the threshold of the recipe, or, where masks have one output, that of the best epoch's best Dice."""
        if training.recipe.threshold is not None:
            return training.recipe.threshold

        def pairs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            training.network.load_state_dict(training.best)
            training.network.eval()
            yield from self._pairs(training)

        with torch.no_grad():
            best = training.objective.best_threshold(pairs)
        return 0.5 if best is None else best


def mean_scores(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return mean loss and mean quality; images without a quality are left out, and all without one give -1."""
    losses, qualities = np.array(rows).T
    known = qualities[~np.isnan(qualities)]
    return float(losses.mean()), float(known.mean()) if len(known) else -1.0
