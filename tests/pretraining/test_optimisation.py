"""The optimizer's groups, clipping and moving average are the published ones (published system, 3.7)."""

import pytest
import torch
from torch import nn
from world.pretraining_recipes import pair, recipe

from visionfm.pretraining import optimisation
from visionfm.pretraining.schedules import Values

VALUES = Values(0.1, 0.04, 0.9, 0.04, 0.07, False)


def test_biases_and_vectors_are_spared_the_decay_and_nothing_else_is() -> None:
    student = pair().student
    optimizer = optimisation.optimizer_of(student, recipe(), depth=6)
    optimisation.set_values(optimizer, VALUES)
    name_of = {id(parameter): name for name, parameter in student.named_parameters()}
    spared = {name_of[id(p)] for group in optimizer.param_groups for p in group["params"] if group["weight_decay"] == 0}
    assert all(name.endswith(".bias") or ".norm" in name for name in spared)
    decayed = {name_of[id(p)] for group in optimizer.param_groups for p in group["params"]} - spared
    assert {"backbone.masked_embed", "backbone.vit.cls_token", "backbone.vit.pos_embed"} <= decayed
    assert "head.last_layer.weight_v" in decayed and "head.last_layer.weight_g" not in spared | decayed


def test_lower_blocks_move_less_with_layer_decay() -> None:
    student = pair().student
    optimizer = optimisation.optimizer_of(student, recipe(layer_decay=0.5), depth=6)
    optimisation.set_values(optimizer, VALUES)
    name_of = {id(parameter): name for name, parameter in student.named_parameters()}
    lr = {name_of[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert lr["head.mlp.0.weight"] == lr["backbone.vit.norm.weight"] == pytest.approx(0.1)
    assert lr["backbone.vit.blocks.5.attn.qkv.weight"] == pytest.approx(0.05)
    assert lr["backbone.vit.blocks.0.attn.qkv.weight"] == pytest.approx(0.1 / 2**6)
    assert lr["backbone.vit.pos_embed"] == lr["backbone.masked_embed"] == pytest.approx(0.1 / 2**7)


@pytest.mark.parametrize(("by", "expected"), [("parameter", (3.0, 1.0)), ("all", (3 * 30 / 901**0.5, 3 / 901**0.5))])
def test_gradients_are_clipped_each_or_together(by: str, expected: tuple[float, float]) -> None:
    parameters = [nn.Parameter(torch.zeros(4)) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.full((4,), 15.0), torch.full((4,), 0.5)  # norms 30 and 1
    norm = optimisation.clip_gradients(parameters, recipe(clip_by=by))
    assert norm == pytest.approx(901**0.5, rel=1e-5)
    assert [float(p.grad.norm()) for p in parameters if p.grad is not None] == pytest.approx(expected, rel=1e-4)


def test_the_last_layer_holds_still_while_it_is_frozen() -> None:
    student = pair().student
    for parameter in student.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimisation.hold_last_layer(student)
    still = {name for name, parameter in student.named_parameters() if parameter.grad is None}
    assert still == {"head.last_layer.weight_g", "head.last_layer.weight_v"}


def test_the_teacher_moves_towards_the_student_by_one_minus_momentum() -> None:
    networks = pair()
    with torch.no_grad():
        for parameter in networks.student.parameters():
            parameter.add_(1)
    before = {name: p.clone() for name, p in networks.teacher.named_parameters()}
    optimisation.MovingAverage(networks.student, networks.teacher).move(0.75)
    for name, parameter in networks.teacher.named_parameters():
        torch.testing.assert_close(parameter.data, before[name] + 0.25)
