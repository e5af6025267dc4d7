"""An epoch's order is seeded, complete, and the same for any number of processes and any start."""

from itertools import chain

import pytest
from world.pretraining_recipes import recipe

from visionfm.pretraining.order import Order


def flat(steps: list[list[list[int]]]) -> list[int]:
    return list(chain.from_iterable(chain.from_iterable(steps)))


def test_every_image_is_seen_at_most_once_an_epoch_and_all_of_them_over_epochs() -> None:
    order = Order(50, recipe(batch_size=16, micro_batch=4))
    assert (order.batch, order.steps) == (16, 3)
    epochs = [flat(order.of_epoch(epoch)) for epoch in range(6)]
    assert all(len(seen) == len(set(seen)) == 48 for seen in epochs)
    assert set(chain.from_iterable(epochs)) == set(range(50))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_together_train_on_the_same_images_whatever_their_number(world: int) -> None:
    order = Order(64, recipe(batch_size=24, micro_batch=5))
    whole = order.of_epoch(2)
    shares = [list(order.of_process(2, 1, rank, world)) for rank in range(world)]
    for step in whole[1:]:
        for rank, share in enumerate(shares):
            mine = step[rank::world]
            assert share[: len(mine)] == mine
            del share[: len(mine)]
    assert shares == [[]] * world


def test_a_dataset_smaller_than_a_batch_is_one_step_of_all_images() -> None:
    order = Order(7, recipe(batch_size=128, micro_batch=64))
    assert (order.batch, order.steps) == (7, 1)
    assert sorted(flat(order.of_epoch(0))) == list(range(7))


def test_a_forward_pass_of_larger_crops_has_fewer_images() -> None:
    order = Order(256, recipe(epochs=4, batch_size=64, micro_batch=32, high_res_epochs=1, high_res_size=448))
    assert [order.micro_batch(epoch) for epoch in range(4)] == [32, 32, 32, 8]
    assert flat(order.of_epoch(3)) and len(order.of_epoch(3)[0]) == 8
