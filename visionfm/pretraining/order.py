"""In which order images are trained on: which image stands in which step and in which forward pass.

A pure function of (number of images, recipe, epoch): neither the number of processes nor a stop and a start change
it. An epoch is a seeded permutation of all images, cut into steps of the effective batch; what does not fill a step is
left out, another part each epoch. A step is cut into micro-batches, one forward pass each, which the processes share.
"""

from collections.abc import Iterator

import numpy as np

from visionfm.pretraining.recipe import Recipe
from visionfm.runtime.randomness import derived_seed


class Order:
    """The order of a run's images."""

    def __init__(self, images: int, recipe: Recipe) -> None:
        """`images` is how many there are; with fewer than a batch, the batch is all of them."""
        self.images, self.recipe = images, recipe
        self.batch = min(recipe.batch_size, images)
        self.steps = images // self.batch  # an epoch

    def micro_batch(self, epoch: int) -> int:
        """Return the images of a forward pass; fewer in epochs of high resolution, so that memory stays the same."""
        shrink = (self.recipe.image_size / self.recipe.size_in(epoch)) ** 2
        return max(1, min(self.batch, int(self.recipe.micro_batch * shrink)))

    def passes(self, epoch: int) -> int:
        """Return how many micro-batches a step has."""
        return -(-self.batch // self.micro_batch(epoch))

    def of_epoch(self, epoch: int) -> list[list[list[int]]]:
        """Return step -> micro-batch -> positions of images."""
        rng = np.random.default_rng(derived_seed(self.recipe.seed, "order", epoch))
        order = [int(at) for at in rng.permutation(self.images)]
        size = self.micro_batch(epoch)
        steps = [order[step * self.batch : (step + 1) * self.batch] for step in range(self.steps)]
        return [[step[at : at + size] for at in range(0, len(step), size)] for step in steps]

    def of_process(self, epoch: int, first_step: int, rank: int, world: int) -> Iterator[list[int]]:
        """Yield the micro-batches of one process among `world`, from `first_step` of the epoch on."""
        for step in self.of_epoch(epoch)[first_step:]:
            yield from step[rank::world]


def sample_rng(recipe: Recipe, epoch: int, position: int, what: str) -> np.random.Generator:
    """Return the generator of one image's `what` (crops, masks) in an epoch; nothing else draws from it."""
    return np.random.default_rng(derived_seed(recipe.seed, what, epoch, position))
